"""The commands about jobs, against a running pool."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.cli.conftest import REPO, Run
from tests.photos import blank_page, encode, jpeg, product_photo
from worker.cli import ExitCode
from worker.demo import DemoPool


@pytest.fixture
def run(dayfly: Run, pool: DemoPool) -> Run:
    """The command, against the pool."""

    def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        return dayfly(*arguments, stdin=stdin, home=str(pool.home))

    return run


def data(done: subprocess.CompletedProcess[str]) -> object:
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_submit_and_wait_shows_the_renditions(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mug.jpg").write_bytes(product_photo().encoded)

    done = run("submit", "mug.jpg", "--recipe", "amazon-main", "--wait")

    assert done.returncode == ExitCode.OK
    assert done.stderr == ""
    assert ": done" in done.stdout
    assert "main       image/jpeg" in done.stdout


def test_submit_reads_standard_input_and_prints_nothing_but_the_id(run: Run) -> None:
    done = run("submit", "-", "--recipe", "web-set", stdin=jpeg(800, 600))

    job_id = done.stdout.strip()
    assert len(job_id) == 32
    assert done.stderr == ""
    shown = data(run("job", "show", job_id, "--json"))
    assert isinstance(shown, dict)
    assert shown["id"] == job_id


def test_a_job_that_fails_is_told_and_changes_the_exit_code(run: Run, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "blank.jpg").write_bytes(encode(Image.fromarray(blank_page()), "JPEG"))

    done = run("submit", "blank.jpg", "--recipe", "amazon-main", "--wait")

    assert done.returncode == ExitCode.FAILED
    assert ": failed" in done.stdout
    assert "nothing-to-do: No product was found in the photo" in done.stdout


def test_waiting_ends_after_the_time_given_and_the_job_goes_on(run: Run, pool: DemoPool) -> None:
    done = run("submit", "-", "-r", "web-set", "--wait", "--timeout", "0", stdin=jpeg(3000, 2000))

    assert done.returncode == ExitCode.FAILED
    assert "has not ended within 0 s; it goes on" in done.stderr
    job_id = done.stderr.split()[2]
    assert pool.client.wait(job_id).state == "done"


def test_fetch_writes_ordinary_files_and_replaces_none_unasked(run: Run, tmp_path: Path) -> None:
    job = data(run("submit", "-", "-r", "web-set", "--wait", "--json", stdin=jpeg(800, 600)))
    assert isinstance(job, dict)

    first = run("fetch", job["id"], "-o", "out")
    again = run("fetch", job["id"], "-o", "out")
    forced = run("fetch", job["id"], "-o", "out", "--force", "--json")

    assert first.returncode == ExitCode.OK
    written = {path.name: path for path in (tmp_path / "out").iterdir()}
    assert {f"{output['name']}.{output['media_type'][6:].replace('jpeg', 'jpg')}" for output in job["outputs"]} == set(
        written
    )
    umask = os.umask(0o022)
    os.umask(umask)
    assert {path.stat().st_mode & 0o777 for path in written.values()} == {0o666 & ~umask}
    assert again.returncode == ExitCode.USAGE
    assert again.stderr.startswith("out/")
    assert "exists; give --force" in again.stderr
    assert forced.returncode == ExitCode.OK
    assert {path.stat().st_size for path in written.values()} == {
        output["size"] for output in json.loads(forced.stdout)
    }


def test_fetch_of_one_rendition_and_of_none_such(run: Run, tmp_path: Path) -> None:
    job = data(run("submit", "-", "-r", "web-set", "--wait", "--json", stdin=jpeg(800, 600)))
    assert isinstance(job, dict)

    one = run("fetch", job["id"][:8], "-o", "one", "--name", "w480-jpeg")
    none = run("fetch", job["id"], "-o", "none", "--name", "poster")

    assert one.returncode == ExitCode.OK
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["w480-jpeg.jpg"]
    assert none.returncode == ExitCode.NOT_FOUND
    assert "has no rendition called 'poster'; it has: w480-webp" in none.stderr
    assert not (tmp_path / "none").exists()


def test_p3_a_cancelled_jobs_renditions_are_shredded(run: Run) -> None:
    job_id = run("submit", "-", "-r", "web-set", stdin=jpeg(3000, 2000)).stdout.strip()

    cancelled = data(run("job", "cancel", job_id, "--json"))
    fetched = run("fetch", job_id)

    assert isinstance(cancelled, dict)
    # The worker may have been faster; then the job is done and stays so.
    assert cancelled["state"] in ("cancelled", "done")
    assert fetched.returncode == (ExitCode.NOT_FOUND if cancelled["state"] == "cancelled" else ExitCode.OK)


def test_p3_a_job_tells_what_became_of_its_upload(run: Run) -> None:
    job = data(run("submit", "-", "-r", "web-set", "--wait", "--json", stdin=jpeg(800, 600)))
    assert isinstance(job, dict)

    shown = run("job", "show", job["id"])

    assert job["upload_status"]["status"] == "shredded"
    assert job["upload_status"]["reason"] == "done"
    assert re.search(r"\n  upload shredded at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \(done\)\n", shown.stdout)


def test_p4_a_waiting_jobs_upload_has_a_deadline_and_the_user_is_told_that_no_worker_runs(
    dayfly: Run, tmp_path: Path
) -> None:
    (tmp_path / "photo.jpg").write_bytes(jpeg(400, 300))

    done = dayfly("submit", "photo.jpg", "-r", "web-set", "--wait", "--timeout", "4")
    job_id = data(dayfly("job", "list", "--json"))[0]["id"]  # type: ignore[index]  # a list, as another test holds
    shown = dayfly("job", "show", job_id)
    told = data(dayfly("job", "show", job_id, "--json"))

    hint, end = done.stderr.splitlines()
    assert hint == "No worker has taken the job yet; if none runs, start one with 'dayfly worker'."
    assert end.startswith(f"The job {job_id} has not ended within 4 s")
    assert done.returncode == ExitCode.FAILED
    assert re.search(r"\n  upload live until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC at the latest\n", shown.stdout)
    assert isinstance(told, dict)
    assert told["upload_status"]["status"] == "live"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whoever_is_stopped_while_waiting_leaves_no_server_behind(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "photo.jpg").write_bytes(jpeg(400, 300))
    home = tmp_path / "home"
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.cli", "submit", "photo.jpg", "-r", "web-set", "--wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "DAYFLY_HOME": str(home), "PYTHONPATH": str(REPO)},
        cwd=tmp_path,
        text=True,
    )
    assert process.stderr is not None
    # Said once it waits.
    assert process.stderr.readline().startswith("No worker has taken the job yet")
    assert (home / "valkey" / "valkey.sock").exists()

    process.send_signal(number)
    _, told = process.communicate(timeout=30)

    assert process.returncode == ExitCode.INTERRUPTED
    assert told.startswith("The job goes on; 'dayfly job show ")
    assert not (home / "valkey" / "valkey.sock").exists()


def test_list_gives_the_newest_first_as_text_and_as_data(run: Run) -> None:
    ids = [run("submit", "-", "-r", "web-set", stdin=jpeg(400, 300)).stdout.strip() for _ in range(2)]

    listed = data(run("job", "list", "-n", "2", "--json"))
    text = run("job", "list", "-n", "2").stdout.splitlines()

    assert isinstance(listed, list)
    assert [job["id"] for job in listed] == ids[::-1]
    assert text[0].split()[:2] == ["JOB", "STATE"]
    assert [line.split()[0] for line in text[1:]] == ids[::-1]


def test_p1_the_prompt_is_in_no_output_of_the_command(run: Run, tmp_path: Path) -> None:
    words = "on oak in soft morning light"
    (tmp_path / "words.txt").write_text(f"{words}\n")

    done = run("submit", "-", "-r", "web-set", "--prompt-file", "words.txt", "--wait", "--json", stdin=jpeg(400, 300))
    job_id = json.loads(done.stdout)["id"]

    shown = run("job", "show", job_id)
    assert words not in done.stdout + done.stderr + shown.stdout + shown.stderr


def on_a_terminal(*arguments: str, home: Path) -> str:
    """Run the command with a terminal for its output and give what it shows there."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "DAYFLY_HOME": str(home), "TERM": "xterm", "COLUMNS": "120"},
        cwd=REPO,
    )
    os.close(follower)
    shown = b""
    ready = select.poll()
    ready.register(leader, select.POLLIN)
    while ready.poll(30_000):
        try:
            part = os.read(leader, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(leader)
    assert process.wait(30) == 0
    return shown.decode()


@pytest.mark.parametrize("command", [("recipes",), ("job", "list")])
def test_on_a_terminal_a_table_is_drawn(pool: DemoPool, command: tuple[str, ...]) -> None:
    assert "───" in on_a_terminal(*command, home=pool.home)


def test_on_a_terminal_waiting_shows_progress(pool: DemoPool, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(jpeg(800, 600))

    shown = on_a_terminal("submit", str(tmp_path / "photo.jpg"), "-r", "web-set", "--wait", home=pool.home)

    assert "…" in shown
    assert ": done" in shown


def test_on_a_terminal_an_id_is_short_enough_for_its_line_and_long_enough_for_a_command(
    pool: DemoPool, run: Run
) -> None:
    job_id = run("submit", "-", "-r", "web-set", stdin=jpeg(400, 300)).stdout.strip()

    shown = on_a_terminal("job", "list", "-n", "1", home=pool.home)

    assert job_id[:12] in shown
    assert job_id not in shown
    assert run("job", "show", job_id[:12]).stdout.startswith(f"job {job_id}: ")


def test_erase_says_what_was_destroyed_and_export_what_there_was(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(800, 600))
    done = data(run("submit", "a.jpg", "--recipe", "original-clean", "--subject", "u-erase", "--wait", "--json"))
    assert isinstance(done, dict)

    exported = run("export", "--subject", "u-erase", "-o", "out.zip")
    assert exported.returncode == ExitCode.OK
    assert (tmp_path / "out.zip").stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert [name for name in archive.namelist() if name.startswith(done["id"])]
    assert run("export", "--subject", "u-erase", "-o", "out.zip").returncode == ExitCode.USAGE

    erased = run("erase", "--subject", "u-erase")
    assert erased.returncode == ExitCode.OK, erased.stderr
    assert done["id"] in erased.stdout
    again = data(run("erase", "--subject", "u-erase", "--json"))
    assert isinstance(again, dict)
    assert again["complete"]
    assert all(item["already"] for item in again["objects"])


@pytest.mark.parametrize("asked", ["--keep-upload=7d", "--keep-outputs=2d", "--keep-outputs=soon"])
def test_asking_to_keep_for_longer_than_the_policy_is_a_wrong_command_line(
    run: Run, tmp_path: Path, asked: str
) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(80, 60))

    refused = run("submit", "a.jpg", "--recipe", "original-clean", asked)

    assert refused.returncode == ExitCode.USAGE
    assert refused.stdout == ""


def test_a_renditions_life_can_be_shortened_and_ended(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(800, 600))
    done = data(
        run(
            "submit",
            "a.jpg",
            "--recipe",
            "original-clean",
            "--keep-outputs",
            "30m",
            "--keep-upload=0",
            "--wait",
            "--json",
        )
    )
    assert isinstance(done, dict)

    assert run("job", "shred", done["id"]).returncode == ExitCode.OK
    assert run("fetch", done["id"], "-o", "out").returncode == ExitCode.NOT_FOUND
