"""Errors as a user meets them: one clear sentence on standard error, the right exit code, no traceback."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.photos import jpeg
from tests.valkey import PrivateValkey
from worker import cli
from worker.addresses import ALLOWED as REDIS_ADDRESSES
from worker.cli import ExitCode

SECRET = "correct-horse-battery"


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The only thing on standard error."""
    (sentence,) = done.stderr.splitlines()
    assert "Traceback" not in sentence
    assert done.stdout == ""
    return sentence


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg(400, 300))
    return path


@dataclass(frozen=True)
class Disk:
    """A disk that takes nothing, what a command says about it, and its exit code."""

    folder: Path
    complaint: str
    code: ExitCode


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Disk]:
    """A tiny memory file system where this user may mount one, else a folder that is not writable."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield Disk(folder, "Permission denied|not writable", ExitCode.SETTINGS)
        folder.chmod(0o700)
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)], check=True)
    yield Disk(folder, "full|room|No space left on device", ExitCode.UNAVAILABLE)
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_photo_that_is_not_there(dayfly: Run) -> None:
    done = dayfly("submit", "nowhere.jpg", "--recipe", "web-set")

    assert one_sentence(done) == "The photo nowhere.jpg cannot be read (No such file or directory)."
    assert done.returncode == ExitCode.USAGE


def test_a_folder_is_no_photo(dayfly: Run, tmp_path: Path) -> None:
    done = dayfly("submit", str(tmp_path), "--recipe", "web-set")

    assert one_sentence(done) == f"The photo {tmp_path} cannot be read (Is a directory)."
    assert done.returncode == ExitCode.USAGE


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--recipe", "web-sett"), "There is no recipe called 'web-sett'; known: .* Did you mean 'web-set'?"),
        (
            ("--recipe", "web-set", "--provider", "darkroom"),
            "There is no provider called 'darkroom'; known: .*local, .*none",
        ),
        (
            ("--recipe", "amazon-main", "--provider", "none"),
            "The provider 'none' cannot do 'remove-background', which the recipe 'amazon-main' needs; those that can: ",
        ),
        (("--recipe", "web-set", "--subject", ""), "The subject is not accepted: string should have at least 1 charac"),
        (("--recipe", "web-set", "--subject", "s" * 300), "The subject is not accepted: .* at most 256 characters"),
        (("--recipe", "web-set", "--policy", "keep"), "There is no policy called 'keep'; known: process-and-forget"),
        (("--recipe", "web-set", "--option", "colour"), r"The 1\. --option is not of the form NAME=VALUE"),
        (("--recipe", "web-set", "--prompt", "a", "--prompt-file", "b"), "Give --prompt or --prompt-file, not both"),
        (("--recipe", "web-set", "--prompt-file", "b"), "The prompt file b cannot be read"),
        ((), "Missing option '--recipe'"),
    ],
)
def test_a_wish_that_cannot_be_fulfilled(dayfly: Run, photo: Path, arguments: tuple[str, ...], sentence: str) -> None:
    done = dayfly("submit", str(photo), *arguments)

    assert re.match(sentence, one_sentence(done))
    assert done.returncode == ExitCode.USAGE


@pytest.mark.parametrize(
    "command", [("job", "list"), ("submit", "photo.jpg", "-r", "web-set"), ("worker",), ("sweeper",)]
)
def test_a_redis_that_cannot_be_reached(dayfly: Run, photo: Path, command: tuple[str, ...]) -> None:
    done = dayfly(*command, redis_url=f"redis://user:{SECRET}@127.0.0.1:1/0")

    assert one_sentence(done) == (
        "Redis at 127.0.0.1:1 (DAYFLY_REDIS_URL) cannot be reached; check that it runs and that its URL is right."
    )
    assert done.returncode == ExitCode.UNAVAILABLE


def test_a_redis_that_refuses_the_password(dayfly: Run, valkey: PrivateValkey) -> None:
    done = dayfly("job", "list", redis_url=valkey.url.replace("unix://", f"unix://user:{SECRET}@"))

    assert "does not accept the user and password of its URL" in one_sentence(done)
    assert SECRET not in done.stderr
    assert done.returncode == ExitCode.UNAVAILABLE


def test_wrong_settings_are_listed_all(dayfly: Run) -> None:
    done = dayfly("recipes", worker_threads="none", redis_url=f"http://{SECRET}@host")

    assert done.stderr.splitlines() == [
        f"DAYFLY_REDIS_URL has no scheme that Redis understands; allowed: {REDIS_ADDRESSES}.",
        "DAYFLY_WORKER_THREADS is 'none'; allowed: a whole number from 1 to 256.",
    ]
    assert done.returncode == ExitCode.SETTINGS


def test_a_worker_lists_all_wrong_settings_though_it_reads_one_before_the_others(dayfly: Run) -> None:
    done = dayfly("worker", sandbox="off", worker_threads="none", blobs="ftp://host/folder", roots_uploads="hsm:slot")

    assert [line.partition(";")[0] for line in done.stderr.splitlines()] == [
        "DAYFLY_BLOBS has a scheme that no blob store has",
        "DAYFLY_ROOTS_UPLOADS has a scheme that no root store has",
        "DAYFLY_WORKER_THREADS is 'none'",
        "DAYFLY_SANDBOX is 'off'",
    ]
    assert done.returncode == ExitCode.SETTINGS


def test_a_policy_that_does_not_exist_is_a_wrong_setting(dayfly: Run) -> None:
    done = dayfly("job", "list", policy="keep-it")

    assert one_sentence(done) == "DAYFLY_POLICY is 'keep-it'; allowed: process-and-forget."
    assert done.returncode == ExitCode.SETTINGS


@pytest.mark.parametrize("kind", ["recipes", "policies"])
def test_a_wrong_file_of_recipes_or_policies_is_named(dayfly: Run, tmp_path: Path, kind: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "broken.toml").write_text("titel = 'a misspelt field'\n")

    done = dayfly(kind, **{f"{kind}_dir": str(tmp_path / "mine")})

    assert "broken.toml" in one_sentence(done)
    assert done.returncode == ExitCode.SETTINGS


def test_a_home_that_cannot_be_made(dayfly: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    done = dayfly("job", "list", home=str(tmp_path / "file" / "home"))

    assert one_sentence(done).startswith("DAYFLY_HOME cannot be used (File exists)")
    assert done.returncode == ExitCode.SETTINGS


def test_a_full_disk_for_ciphertext(dayfly: Run, photo: Path, full_disk: Disk) -> None:
    done = dayfly("submit", str(photo), "-r", "web-set", blobs=full_disk.folder.as_uri())

    assert re.search(full_disk.complaint, one_sentence(done))
    assert done.returncode == full_disk.code
    assert [path for path in full_disk.folder.rglob("*") if path.is_file()] == []


def test_a_full_disk_for_the_private_server(dayfly: Run, full_disk: Disk) -> None:
    if full_disk.code is ExitCode.UNAVAILABLE:
        (full_disk.folder / "filler").write_bytes(b"x" * 8192)

    done = dayfly("job", "list", home=str(full_disk.folder))

    assert re.search(full_disk.complaint, one_sentence(done))
    assert done.returncode == ExitCode.UNAVAILABLE


def test_a_missing_disk(dayfly: Run, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "gone").write_text("")

    done = dayfly("submit", str(photo), "-r", "web-set", blobs=(tmp_path / "gone" / "blobs").as_uri())

    assert str(tmp_path / "gone") in one_sentence(done)
    assert done.returncode in (ExitCode.SETTINGS, ExitCode.UNAVAILABLE)


@pytest.mark.parametrize("command", [("job", "show"), ("job", "cancel"), ("fetch",)])
def test_a_job_that_does_not_exist(dayfly: Run, command: tuple[str, ...]) -> None:
    done = dayfly(*command, "0" * 32)

    assert one_sentence(done).startswith(f"There is no job '{'0' * 32}'")
    assert done.returncode == ExitCode.NOT_FOUND


def test_an_exporter_on_a_port_that_is_taken(dayfly: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = dayfly("exporter", "--metrics-port", str(port))

    assert f"127.0.0.1:{port} cannot be used (Address already in use)" in one_sentence(done)
    assert done.returncode == ExitCode.SETTINGS


def test_a_root_store_that_does_not_work_here_is_told_by_its_setting(dayfly: Run, tmp_path: Path) -> None:
    done = dayfly("sweeper", roots_uploads=f"volatile:{Path(__file__).parent}/roots")

    assert one_sentence(done).startswith("DAYFLY_ROOTS_UPLOADS: ")
    assert done.returncode == ExitCode.SETTINGS


@pytest.mark.parametrize("command", ["worker", "sweeper", "exporter"])
@pytest.mark.parametrize(
    ("host", "why"), [("nowhere.invalid", "its name is not known"), ("192.0.2.1", "Cannot assign requested address")]
)
def test_metrics_at_an_address_that_is_not_this_machines(dayfly: Run, command: str, host: str, why: str) -> None:
    done = dayfly(command, "--metrics-port", "9464", metrics_host=host)

    assert f"DAYFLY_METRICS_HOST {host} cannot be used ({why})" in one_sentence(done)
    assert done.returncode == ExitCode.SETTINGS


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("bogus",), "No such command 'bogus'"),
        (("recipes", "--bogus"), "No such option: --bogus"),
        (("job", "list", "-n", "0"), "Invalid value for '--limit'"),
    ],
)
def test_a_command_line_that_is_wrong(dayfly: Run, arguments: tuple[str, ...], sentence: str) -> None:
    done = dayfly(*arguments)

    assert one_sentence(done).startswith(sentence)
    assert done.returncode == ExitCode.USAGE


def test_p1_a_mistake_of_ours_is_told_without_its_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise KeyError(SECRET)

    monkeypatch.setattr("worker.cli.recipes.load_recipes", broken)

    assert cli.main(["recipes"]) == ExitCode.FAILED

    told = capsys.readouterr().err
    assert told.startswith("Internal error: KeyError at test_errors.py, line ")
    assert SECRET not in told

    monkeypatch.setenv("DAYFLY_DEBUG", "1")
    cli.main(["recipes"])
    told = capsys.readouterr().err
    assert "test_errors.py" in told
    assert SECRET not in told


def test_a_reader_that_leaves_is_no_error(dayfly: Run, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli", "recipes"],
        stdout=write,
        stderr=subprocess.PIPE,
        env={**os.environ, "DAYFLY_HOME": str(tmp_path / "home")},
        cwd=Path(__file__).parents[2],
        timeout=30,
    )
    os.close(write)

    assert done.stderr == b""
