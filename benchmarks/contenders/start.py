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
    """
    What one task took.

    Attributes:
        seconds: Each time.
        cpu: CPU seconds a time.
        peak: The most bytes that all its processes had together.
        idle: What they had before the first photo.
    """

    seconds: list[float]
    cpu: float
    peak: int
    idle: int
    made: list[bytes]


class Racer:
    """A contender's running process."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path) -> None:
        self._process = process
        self._out = out
        self._idle: int | None = None

    def work(self, task: str, count: int) -> Took | None:
        """
        Do a task `count` times. None if it cannot.

        Raises:
            AssertionError: The contender failed, rather than said that it cannot do such a task.
        """
        if self._idle is None:
            # It answers when it has started.
            self._ask(task, 0)
            self._idle = PeakMemory(self._process.pid, shared_once=True).idle
        before = self._cpu()
        with PeakMemory(self._process.pid, shared_once=True) as memory:
            answer = self._ask(task, count)
        if "cannot" in answer:
            return None
        made = [(self._out / name).read_bytes() for name in answer["files"]]
        return Took(answer["seconds"], (self._cpu() - before) / count, memory.peak, self._idle, made)

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
