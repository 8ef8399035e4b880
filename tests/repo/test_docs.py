"""
Run what the documentation shows.

Every page is one session in a temporary folder with a temporary home: its `console` blocks are typed into one shell,
its `python` blocks run beside it, in the order of the page. In a console block, a line after `$ ` is a command, `\\` at
its end continues it, `# exit N` states another exit code than 0, and the lines below are what must be seen, in this
order, `…` standing for anything. Blocks that cannot be run here, such as those for a cluster, are `text`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
import yaml
from pydantic.fields import FieldInfo

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXIT = re.compile(r"\s+# exit (\d+)$")
DONE = "\x01"

# `make` verbs that would run this suite again, rebuild the environment or take minutes: only their existence is tested.
LONG_VERBS = {"setup", "test", "check", "bench", "chaos", "lock", "clean"}


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Command:
    text: str
    exit_code: int
    expected: tuple[str, ...]


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(found[1], found[2], text.count("\n", 0, found.start()) + 1) for found in FENCE.finditer(text)]


def commands(block: Block) -> Iterator[Command]:
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        typed, expected = [], []
        for line in part.splitlines():
            if not typed or typed[-1].endswith("\\"):
                typed.append(line)
            elif line.strip():
                expected.append(line.rstrip())
        text = "\n".join(typed)
        found = EXIT.search(text)
        yield Command(EXIT.sub("", text), int(found[1]) if found else 0, tuple(expected))


class Shell:
    """One bash that keeps its variables and background processes from command to command."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str) -> tuple[int, str]:
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{command}\nprintf '\\n{DONE}%s\\n' $?\n")
        self._bash.stdin.flush()
        seen = []
        for line in self._bash.stdout:
            if line.startswith(DONE):
                return int(line[1:]), "".join(seen)
            seen.append(line)
        raise AssertionError(f"the shell ended during {command!r}:\n{''.join(seen)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Whatever a page started in the background ends with the page; first by asking.
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._bash.pid, number)
            except ProcessLookupError:
                break
            if number is signal.SIGTERM:
                self._bash.communicate()


def shows(expected: tuple[str, ...], seen: str) -> bool:
    pattern = ".*".join(
        r"^\s*" + r"\s+".join(re.escape(word).replace("…", ".*?") for word in line.split()) + r"\s*$"
        for line in expected
    )
    return re.search(pattern, seen, re.MULTILINE | re.DOTALL) is not None


def typed(command: str) -> str:
    """What is really run for a command of the page."""
    words = shlex.split(command)
    if words[:1] == ["make"]:
        (verb,) = [word for word in words[1:] if "=" not in word]
        if verb in LONG_VERBS:
            return f"make -C {shlex.quote(str(ROOT))} --dry-run --always-make {verb} >/dev/null"
        assert verb == "demo", f"say in {__name__} how to run make {verb}"
        photos = [word.partition("=")[2] for word in words[1:] if word.startswith("PHOTO=")]
        return shlex.join(["dayfly", "demo", *photos])
    return command


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DAYFLY_")}
    return kept | {
        "HOME": str(tmp_path / "home"),
        "DAYFLY_HOME": str(tmp_path / "home" / "dayfly"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "120",
        "NO_COLOR": "1",
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_says(page: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (tmp_path / "home").mkdir()
    shutil.copytree(ROOT / "examples", folder / "examples")

    with Shell(folder, environment) as shell:
        for block in blocks(page):
            where = f"{page.relative_to(ROOT)}:{block.line}"
            if block.language == "console":
                for command in commands(block):
                    code, seen = shell.run(typed(command.text))
                    assert code == command.exit_code, f"{where}: {command.text}\n{seen}"
                    assert not command.expected or shows(command.expected, seen), f"{where}: {command.text}\n{seen}"
            elif block.language == "python":
                done = subprocess.run(
                    [sys.executable, "-W", "error", "-c", block.text],
                    cwd=folder,
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, f"{where}\n{done.stdout}{done.stderr}"
            elif block.language == "toml":
                tomllib.loads(block.text)
            elif block.language == "yaml":
                list(yaml.safe_load_all(block.text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_page_has_a_language(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= {"console", "python", "text", "toml", "yaml", "json"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    outside = re.compile(r"[a-z]+:")
    links = re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text(encoding="utf-8")))
    here = [link.partition("#") for link in links if not outside.match(link)]

    for name, _, anchor in here:
        target = page if not name else (page.parent / name).resolve()
        assert target.exists(), f"{page.name}: {name}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {name}#{anchor}"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_table_of_settings_is_what_the_code_says() -> None:
    from worker.settings import PREFIX, Settings

    said = [
        line
        for line in (ROOT / "docs/operations.md").read_text(encoding="utf-8").splitlines()
        if f"| `{PREFIX}" in line
    ]

    assert said == [
        f"| `{PREFIX}{name.upper()}` | {default(field.default)} | {field.description} | {allowed(field)} |"
        for name, field in Settings.model_fields.items()
    ]


def default(value: object) -> str:
    return "—" if value is None else f"`{value}`"


def allowed(field: FieldInfo) -> str:
    assert isinstance(field.json_schema_extra, dict)
    return str(field.json_schema_extra["allowed"])
