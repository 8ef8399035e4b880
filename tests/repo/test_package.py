from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("metrics", "pipelines", "providers", "storage", "worker")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in a freshly built wheel."""
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = out.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def test_the_wheel_carries_every_file_of_the_rooms(wheel: set[str]) -> None:
    kept = {".py", ".lua", ".toml", ".typed", ".yml", ".json"}
    wanted = {
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and (path.suffix in kept or path.name == "py.typed")
    }

    assert wanted - wheel == set()


def test_the_wheel_carries_the_photographs_of_the_demo_and_their_licences(wheel: set[str]) -> None:
    assert {"worker/samples/README.md", "worker/samples/shoe.jpg"} <= wheel


def test_the_wheel_carries_nothing_else(wheel: set[str]) -> None:
    assert {name.partition("/")[0] for name in wheel} - set(ROOMS) == {
        f"dayfly-{PROJECT['project']['version']}.dist-info"
    }


def test_every_dependency_has_a_line_in_the_documentation() -> None:
    text = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    project = PROJECT["project"]
    listed = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
        *(name for group in PROJECT["dependency-groups"].values() for name in group if isinstance(name, str)),
    ]
    names = {re.match(r"[\w-]+", name).group() for name in listed}  # type: ignore[union-attr]

    assert {name for name in names if f"| {name} |" not in text} == set()


def test_the_changelog_opens_with_the_version_that_is_built() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[?([\w.]+)\]?", text, re.MULTILINE)

    assert next(name for name in versions if name != "Unreleased") == PROJECT["project"]["version"]
