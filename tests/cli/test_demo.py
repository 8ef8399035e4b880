"""`dayfly demo`: fast, true, and gone without a trace."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import REPO, Run
from tests.photos import blank_page, encode, product_photo
from worker.cli import ExitCode
from worker.demo import sample_photos


def processes_of(home: Path) -> list[str]:
    """The command lines of all processes that work in a home or were told of it."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            environment = (folder / "environ").read_bytes()
            working = os.readlink(folder / "cwd")
        except OSError:
            continue
        if f"DAYFLY_HOME={home}\0".encode() in environment or working.startswith(str(home)):
            found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def until_gone(home: Path) -> None:
    end = time.monotonic() + 20
    while (left := processes_of(home)) and time.monotonic() < end:
        time.sleep(0.05)
    assert left == []


def test_the_demo_shows_the_job_the_results_and_the_proof(dayfly: Run, tmp_path: Path) -> None:
    home = tmp_path / "demo-home"

    done = dayfly("demo", "--home", str(home))

    assert done.returncode == ExitCode.OK, done.stderr
    assert done.stderr == ""
    for stage in ("accepted", "preparing", "submitting", "rendering", "settled", "done"):
        assert f"\n  {stage}" in done.stdout
    assert (tmp_path / "dayfly-demo" / "shoe" / "main.jpg").stat().st_size > 10_000
    assert ": deleted (" in done.stdout
    assert "was shredded at" in done.stdout
    assert '"type": "destroyed"' in done.stdout
    assert 'dayfly_objects_destroyed_total{object_class="upload",reason="done"} 0 → 4' in done.stdout
    assert "dayfly_shred_lag_seconds_count 0 → 2" in done.stdout
    assert re.search(r"key gone    \d+ ms after the job was settled", done.stdout)
    until_gone(home)


def test_the_demo_as_data_for_a_photo_of_ones_own(dayfly: Run, tmp_path: Path) -> None:
    (tmp_path / "mug.jpg").write_bytes(product_photo().encoded)

    done = dayfly("demo", "mug.jpg", "--recipe", "amazon-main", "--json")

    assert done.returncode == ExitCode.OK, done.stderr
    told = json.loads(done.stdout)
    (story,) = told["stories"]
    assert story["job"]["state"] == "done"
    assert [receipt["type"] for receipt in story["proof"]["receipts"]] == ["created", "destroyed"]
    assert "shredded at" in story["proof"]["attempt"]
    assert told["seconds"] < 30


def test_a_photo_without_a_product_is_refused_and_shredded_all_the_same(dayfly: Run, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "blank.jpg").write_bytes(encode(Image.fromarray(blank_page()), "JPEG"))

    done = dayfly("demo", "blank.jpg", "-r", "amazon-main", "--json")

    (story,) = json.loads(done.stdout)["stories"]
    assert done.returncode == ExitCode.FAILED
    assert story["job"]["error"]["code"] == "nothing-to-do"
    assert "shredded at" in story["proof"]["attempt"]


def test_a_photo_that_is_not_there_starts_nothing(dayfly: Run) -> None:
    done = dayfly("demo", "nowhere.jpg")

    assert done.stderr == "The photo nowhere.jpg cannot be read; give the path of a file you may read.\n"
    assert done.returncode == ExitCode.USAGE


def test_a_recipe_that_does_not_exist_starts_nothing(dayfly: Run) -> None:
    done = dayfly("demo", "--recipe", "poster")

    assert done.stdout == ""
    assert done.stderr.startswith("There is no recipe called 'poster'; known: ")
    assert " amazon-main, " in done.stderr
    assert done.returncode == ExitCode.USAGE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_demo_leaves_no_process_however_it_is_stopped(tmp_path: Path, number: signal.Signals) -> None:
    home = tmp_path / "demo-home"
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.cli", "demo", str(sample_photos()[0]), "--home", str(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPO), "PYTHONUNBUFFERED": "1"},
        cwd=tmp_path,
        text=True,
        # A shell has what it starts in the background ignore Ctrl-C, and a suite may be started so.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("The pool runs under")
    assert processes_of(home)

    process.send_signal(number)
    _, complaint = process.communicate(timeout=30)

    until_gone(home)
    if number is not signal.SIGKILL:
        assert complaint == ""
        assert process.returncode == ExitCode.INTERRUPTED
