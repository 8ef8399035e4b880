from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("metrics", "pipelines", "providers", "storage", "worker")
MOST_LINES = 500

# Files that may be longer, each with its reason. The list only ever gets shorter.
LONGER: dict[str, str] = {
    "metrics/dashboards/pool.json": "a dashboard is data",
}


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def texts() -> dict[str, str]:
    found = {}
    for path in tracked():
        try:
            found[str(path.relative_to(ROOT))] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    unbounded = {".lock", ".md", ".svg", ".txt"}
    long = {
        name: text.count("\n")
        for name, text in texts().items()
        if Path(name).suffix not in unbounded and name != "LICENSE" and text.count("\n") > MOST_LINES
    }

    assert long.keys() == LONGER.keys()


def test_lock_files_pin_hashes_and_name_no_host() -> None:
    for path in sorted((ROOT / "requirements").glob("*.lock")):
        text = path.read_text(encoding="utf-8")
        pins = re.split(r"\n(?=\S)", text.strip())

        assert "://" not in text, path.name
        assert not re.search(r"^--", text, re.MULTILINE), path.name
        assert all(re.match(r"[a-z0-9][a-z0-9._-]*==", pin) and "--hash=sha256:" in pin for pin in pins), path.name


def test_lock_files_agree_with_each_other() -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
        return set(re.findall(r"^\S+==\S+", text, re.MULTILINE))

    assert pins("runtime.lock") <= pins("dev.lock")
    assert pins("build.lock") <= pins("dev.lock")


def test_no_machine_and_no_note_to_self_is_left_behind() -> None:
    marks = re.compile(r"/(?:work|root|farm)/|\b(?:TO" + "DO|FIX" + r"ME|XX" + r"X)\b")

    assert {name: found[0] for name, text in texts().items() if (found := marks.findall(text))} == {}


def test_every_room_is_typed() -> None:
    assert [room for room in ROOMS if not (ROOT / room / "py.typed").is_file()] == []


def test_photographs_have_a_source_and_a_licence() -> None:
    notes = (ROOT / "examples/photos/README.md").read_text(encoding="utf-8")

    for photo in (ROOT / "examples/photos").glob("*.jpg"):
        assert notes.count(photo.name) >= 2, photo.name
