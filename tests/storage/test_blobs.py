from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from storage import BlobStore, StoreConfigError, StoreFullError, StoreUnavailableError, open_blob_store
from tests.storage.blob_conformance import NAME, BlobStoreConformance, write


class TestFile(BlobStoreConformance):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> BlobStore:
        return open_blob_store(f"file://{tmp_path / 'blobs'}")


@pytest.mark.parametrize("url", ["", "/tmp/x", "file://host/x", "ftp://host/prefix", "http://[", "file:///x?fsync=no"])
def test_a_wrong_address_is_refused_with_what_is_allowed(url: str) -> None:
    with pytest.raises(StoreConfigError, match="file:///"):
        open_blob_store(url)


def test_a_folder_that_is_a_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("")

    with pytest.raises(StoreConfigError, match="cannot be written"):
        open_blob_store(f"file://{tmp_path}/blobs")


def test_a_folder_that_went_away_is_unavailable(tmp_path: Path) -> None:
    blobs = open_blob_store(f"file://{tmp_path}/blobs")
    (tmp_path / "blobs" / ".unfinished").rmdir()
    (tmp_path / "blobs").rmdir()

    with pytest.raises(StoreUnavailableError, match="mounted"):
        write(blobs, NAME, b"x")
    with pytest.raises(StoreUnavailableError):
        blobs.open(NAME)


def test_a_full_disk_says_so_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = open_blob_store(f"file://{tmp_path}/blobs")

    def full(descriptor: int, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreFullError, match="free some space"):
        write(blobs, NAME, b"x")
    monkeypatch.undo()

    assert list(blobs.unfinished()) == []


def test_a_file_size_limit_of_the_real_kernel_is_a_full_store(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from storage import StoreFullError, open_blob_store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
blobs = open_blob_store(sys.argv[1])
try:
    with blobs.create("upload/2026112401/x") as sink:
        sink.write(bytes(5000))
except StoreFullError:
    print("full", list(blobs.list("")), list(blobs.unfinished()))
"""
    answer = subprocess.run(
        [sys.executable, "-c", code, f"file://{tmp_path}/b"], capture_output=True, text=True, check=True
    )

    assert answer.stdout.strip() == "full [] []"


def test_folders_of_hours_gone_by_go_with_their_last_blob(tmp_path: Path) -> None:
    blobs = open_blob_store(f"file://{tmp_path}/blobs")
    for hour in ("2020010100", "2999010100"):
        write(blobs, f"upload/{hour}/x", b"x")
        blobs.delete(f"upload/{hour}/x")

    assert sorted(path.name for path in (tmp_path / "blobs" / "upload").iterdir()) == ["2999010100"]


def test_a_blob_is_flushed_with_its_folder_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = open_blob_store(f"file://{tmp_path}/blobs")
    events: list[str] = []
    fsync, rename = os.fsync, os.rename

    def watched_fsync(descriptor: int) -> None:
        events.append("flush " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).name[:17])
        fsync(descriptor)

    def watched_rename(source: Path, target: Path) -> None:
        events.append("rename")
        rename(source, target)

    write(blobs, NAME[:-1] + "e", b"so that the folder is there")
    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "rename", watched_rename)
    write(blobs, NAME, b"x")

    assert events == ["flush " + NAME.replace("/", "+")[:17], "rename", "flush 2026112401"]


def test_p1_a_folder_that_is_made_is_for_this_user_only(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        open_blob_store((tmp_path / "new" / "blobs").as_uri())
    finally:
        os.umask(umask)

    assert (tmp_path / "new" / "blobs").stat().st_mode & 0o777 == 0o700
