"""
Start those who do the same image work: the sandbox, bare libvips, and what others use.

Each is told its tasks as lines on its input, does them with bytes in and bytes out on one core, and answers with the
seconds each took and the renditions of the last. What is not in this project's own environment is installed into
`contenders` of the virtual environment when it is first wanted.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import PeakMemory, cpu_seconds, descendants
from tests.harness import REPO

HOME = Path(sys.prefix) / "contenders"
SHARP, THUMBOR = "sharp@0.35.5", "thumbor==7.8.0"


class NotThereError(Exception):
    """A contender cannot be had on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class Contender:
    """How to start one. `install` makes sure of it, where it may, and gives what its environment needs."""

    name: str
    command: tuple[str, ...]
    install: Callable[[bool], dict[str, str]] = lambda _may_install: {}


@dataclass(frozen=True, slots=True)
class Took:
    """What one task took: the seconds of each time, the CPU seconds of one, and what was made."""

    seconds: list[float]
    cpu: float
    made: list[bytes]


@dataclass(frozen=True, slots=True)
class Weighed:
    """
    The memory of one task in bytes.

    Attributes:
        largest: The most that one of its processes had by itself.
        together: The most that all had together, of shared pages only one.
        idle: What all had together before the first photo.
    """

    largest: int
    together: int
    idle: int


class Racer:
    """A contender's running process."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path) -> None:
        self._process = process
        self._out = out

    def weigh(self, task: str) -> Weighed | None:
        """
        Do a task twice and watch the memory. None if the contender cannot do it.

        Raises:
            AssertionError: The contender failed, rather than said that it cannot do such a task.
        """
        # It answers when it has started.
        self._ask(task, 0)
        with PeakMemory(self._process.pid, shared_once=True) as memory:
            answer = self._ask(task, 2)
        return None if "cannot" in answer else Weighed(memory.largest, memory.peak, memory.idle)

    def work(self, task: str, count: int) -> Took:
        """
        Do a task `count` times, which `weigh` found that it can, with nobody watching: that would cost it time.

        Raises:
            AssertionError: The contender failed.
        """
        before = self._cpu()
        answer = self._ask(task, count)
        if "cannot" in answer:
            raise AssertionError(f"a contender could do {task} once and not again")
        made = [(self._out / name).read_bytes() for name in answer["files"]]
        return Took(answer["seconds"], (self._cpu() - before) / count, made)

    def _ask(self, task: str, count: int) -> dict[str, list[float] | list[str]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{task} {count}\n".encode())
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"a contender ended during {task}")
        answer: dict[str, list[float] | list[str]] = json.loads(line)
        return answer

    def _cpu(self) -> float:
        return cpu_seconds([self._process.pid, *descendants(self._process.pid)])


@contextmanager
def racing(contender: Contender, folder: Path, *, may_install: bool) -> Iterator[Racer]:
    """
    Start a contender on `folder`, which holds the photos and `tasks.json`.

    Raises:
        NotThereError: It cannot be had here.
    """
    environment = contender.install(may_install)
    out = folder / contender.name
    out.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [*contender.command, str(folder), str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "HOME": str(out), "PYTHONPATH": str(REPO), "VIPS_CONCURRENCY": "1"}
        | environment,
    )
    try:
        yield Racer(process, out)
    finally:
        process.communicate()


def _npm(may_install: bool) -> dict[str, str]:
    folder = HOME / "node"
    if not (folder / "node_modules" / "sharp").is_dir():
        if not may_install or not shutil.which("npm"):
            raise NotThereError("needs npm")
        _run("npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--loglevel=error", SHARP)
    return {"SHARP": str(folder / "node_modules" / "sharp" / "package.json")}


def _thumbor(may_install: bool) -> dict[str, str]:
    folder = HOME / "thumbor"
    if not (folder / "bin" / "thumbor").exists():
        if not may_install:
            raise NotThereError("is not installed")
        _run(sys.executable, "-m", "venv", str(folder))
        _run(str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", THUMBOR)
    return {"THUMBOR": str(folder / "bin" / "thumbor")}


def _vipsthumbnail(may_install: bool) -> dict[str, str]:
    if not shutil.which("vipsthumbnail"):
        if not may_install or os.geteuid() != 0 or not shutil.which("apt-get"):
            raise NotThereError("needs Debian's libvips-tools")
        _run("apt-get", "install", "--yes", "--no-install-recommends", "libvips-tools")
    return {}


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise NotThereError(f"{Path(command[0]).name} could not install it")


def _python(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"benchmarks.contenders.{name}")


SANDBOX = Contender("sandbox", _python("by_sandbox"))
BARE = Contender("pyvips", _python("by_pyvips"))
OTHERS = (
    Contender("Pillow", _python("by_pillow")),
    Contender("sharp", ("node", str(Path(__file__).with_name("by_sharp.mjs"))), _npm),
    Contender("vipsthumbnail", _python("by_vipsthumbnail"), _vipsthumbnail),
    Contender("thumbor", _python("by_thumbor"), _thumbor),
)
