"""A service that is busy, slow, full, cut off in the middle or lying: an error of the room, and nothing left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from metrics.instruments import INTEGRITY_ERRORS
from storage import (
    BlobExistsError,
    BlobStore,
    CiphertextMissingError,
    ObjectClass,
    SealedStore,
    StorageError,
    StoreConfigError,
    StoreFullError,
    StoreUnavailableError,
    open_blob_store,
)
from storage.blobs import _s3_bucket, _s3_reading
from tests.s3 import SECRET_KEY, MotoServer, RcloneServer, free_port
from tests.s3_proxy import Fault, FaultProxy
from tests.sealed import SealedRoom
from tests.storage.blob_conformance import NAME, OTHER, read, write

pytestmark = pytest.mark.slow

LARGE = bytes(range(256)) * (18 << 12)  # three parts of the default size
PART, START, END = "partNumber=", "uploads", "uploadId="


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_s3_bucket, "ATTEMPTS", 2)
    monkeypatch.setattr(_s3_bucket, "READ_SECONDS", 1.5)
    monkeypatch.setattr(_s3_reading, "_FIRST_PAUSE_SECONDS", 0.01)


@pytest.fixture
def proxy(moto: MotoServer) -> Iterator[FaultProxy]:
    with FaultProxy(moto.endpoint) as proxy:
        yield proxy


@pytest.fixture
def bucket(moto: MotoServer) -> str:
    return moto.new_bucket(versioned=True)


@pytest.fixture
def blobs(moto: MotoServer, bucket: str, proxy: FaultProxy) -> BlobStore:
    return open_blob_store(moto.url(bucket, endpoint=proxy.endpoint))


@pytest.mark.parametrize("content", [b"small", LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    "fault", [Fault.BUSY, Fault.CUT_REQUEST, Fault.LOST_ANSWER, Fault.SILENCE, Fault.ERROR_AS_SUCCESS]
)
def test_a_write_outlives_one_failure_of_each_request(
    blobs: BlobStore, proxy: FaultProxy, fault: Fault, content: bytes
) -> None:
    requests = [("PUT", PART), ("POST", START), ("POST", END)] if content is LARGE else [("PUT", "")]
    for method, part in requests:
        proxy.on(fault, method, part, times=1)

    write(blobs, NAME, content)

    assert proxy.done == len(requests)
    assert read(blobs, NAME) == content


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault.BUSY, StoreUnavailableError),
        (Fault.CUT_REQUEST, StoreUnavailableError),
        (Fault.SILENCE, StoreUnavailableError),
        (Fault.ERROR_AS_SUCCESS, StoreUnavailableError),
        (Fault.FULL, StoreFullError),
        (Fault.DENIED, StoreConfigError),
    ],
)
@pytest.mark.parametrize(
    ("method", "part", "content"),
    [("PUT", "", b"small"), ("PUT", PART, LARGE), ("POST", START, LARGE), ("POST", END, LARGE)],
    ids=["whole", "part", "start", "end"],
)
def test_a_write_that_keeps_failing_is_an_error_and_leaves_nothing(
    blobs: BlobStore,
    proxy: FaultProxy,
    moto: MotoServer,
    bucket: str,
    fault: Fault,
    expected: type[StorageError],
    method: str,
    part: str,
    content: bytes,
) -> None:
    proxy.on(fault, method, part)
    started = time.monotonic()
    with pytest.raises(expected, match=bucket):
        write(blobs, NAME, content)

    assert time.monotonic() - started < 20
    assert moto.keys(bucket) == []
    assert list(blobs.unfinished()) == []


def test_a_write_deleted_by_another_process_says_so(moto: MotoServer, bucket: str) -> None:
    ours, theirs = open_blob_store(moto.url(bucket)), open_blob_store(moto.url(bucket))
    with pytest.raises(CiphertextMissingError, match="deleted while"), ours.create(NAME) as sink:  # noqa: PT012 - the block is the point
        sink.write(LARGE)
        assert [blob.name for blob in theirs.unfinished()] == [NAME]
        assert theirs.delete(NAME) is True

    assert moto.keys(bucket) == []


def test_an_exclusive_write_whose_answer_was_lost_knows_its_own_object(blobs: BlobStore, proxy: FaultProxy) -> None:
    with blobs.create("check/warm-up", exclusive=True) as sink:
        sink.write(b"so that conditions have been tried")
    for name, content in ((NAME, b"small"), (OTHER, LARGE)):
        proxy.on(Fault.LOST_ANSWER, "PUT" if content is not LARGE else "POST", name, times=1)
        with blobs.create(name, exclusive=True) as sink:
            sink.write(content)

        assert read(blobs, name) == content
        with pytest.raises(BlobExistsError), blobs.create(name, exclusive=True) as sink:
            sink.write(b"another's")


def test_a_body_cut_off_is_read_on_from_where_it_stopped(blobs: BlobStore, proxy: FaultProxy) -> None:
    write(blobs, NAME, LARGE)
    proxy.on(Fault.CUT_ANSWER, "GET", NAME, times=3)

    with blobs.open(NAME) as file:
        found = bytearray()
        while chunk := file.read(1 << 20):
            found += chunk

    assert bytes(found) == LARGE
    assert proxy.done == 3


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.SILENCE, Fault.ERROR_AS_SUCCESS, Fault.LOST_ANSWER])
def test_a_read_that_keeps_failing_is_an_error(blobs: BlobStore, proxy: FaultProxy, fault: Fault) -> None:
    write(blobs, NAME, b"content")
    proxy.on(fault, "GET", NAME)

    with pytest.raises(StoreUnavailableError):
        read(blobs, NAME)


def test_a_body_that_never_comes_whole_is_an_error_and_never_an_end(blobs: BlobStore, proxy: FaultProxy) -> None:
    write(blobs, NAME, LARGE)
    with blobs.open(NAME) as file:
        assert file.read(100) == LARGE[:100]
        file.seek(1 << 20)
        proxy.on(Fault.BUSY, "GET", NAME)
        with pytest.raises(StoreUnavailableError, match="breaking off"):
            file.read()


def test_an_object_deleted_while_it_is_read_is_missing(blobs: BlobStore) -> None:
    write(blobs, NAME, LARGE)
    with blobs.open(NAME) as file:
        file.read(100)
        blobs.delete(NAME)
        file.seek(5 << 20)
        with pytest.raises(CiphertextMissingError):
            file.read(100)


def test_an_object_replaced_while_it_is_read_is_not_mixed(blobs: BlobStore) -> None:
    write(blobs, NAME, LARGE)
    with blobs.open(NAME) as file:
        file.read(100)
        write(blobs, NAME, bytes(len(LARGE)))
        file.seek(5 << 20)
        with pytest.raises(CiphertextMissingError, match="replaced"):
            file.read(100)


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.ERROR_AS_SUCCESS, Fault.SILENCE, Fault.CUT_ANSWER])
def test_a_sealed_object_behind_a_broken_service_is_unavailable_and_not_tampered_with(
    room: SealedRoom, blobs: BlobStore, proxy: FaultProxy, fault: Fault
) -> None:
    store = SealedStore(room.keys, blobs, dict.fromkeys(ObjectClass, room.roots))
    room.store.blobs = blobs
    sealed = room.seal(LARGE)
    before = INTEGRITY_ERRORS._value.get()
    proxy.on(fault, "GET", str(sealed.ref))
    with pytest.raises(StoreUnavailableError):
        store.open_bytes(sealed.ref)
    assert INTEGRITY_ERRORS._value.get() == before

    proxy.well()
    assert store.open_bytes(sealed.ref) == LARGE


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.ERROR_AS_SUCCESS, Fault.SILENCE])
@pytest.mark.parametrize("request_part", ["GET ?versions", "GET ?uploads", "DELETE versionId"])
def test_a_deletion_that_fails_says_so(blobs: BlobStore, proxy: FaultProxy, fault: Fault, request_part: str) -> None:
    write(blobs, NAME, b"x")
    method, part = request_part.split()
    proxy.on(fault, method, part)
    with pytest.raises(StoreUnavailableError):
        blobs.delete(NAME)

    proxy.well()
    assert blobs.delete(NAME) is True


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.ERROR_AS_SUCCESS, Fault.CUT_ANSWER])
def test_a_list_that_fails_is_never_an_empty_list(blobs: BlobStore, proxy: FaultProxy, fault: Fault) -> None:
    write(blobs, NAME, b"x")
    proxy.on(fault, "GET", "list-type=2")
    proxy.on(fault, "GET", "uploads")

    with pytest.raises(StoreUnavailableError):
        list(blobs.list(""))
    with pytest.raises(StoreUnavailableError):
        list(blobs.unfinished())


def test_nobody_there_is_unavailable(moto: MotoServer) -> None:
    blobs = open_blob_store(moto.url("bucket", endpoint=f"http://127.0.0.1:{free_port()}"))

    with pytest.raises(StoreUnavailableError, match="s3://bucket/dayfly"):
        blobs.check()


def test_a_bucket_that_is_not_there_needs_a_person(moto: MotoServer, rclone: RcloneServer) -> None:
    for server in (moto, rclone):
        with pytest.raises(StoreConfigError, match="no bucket s3://nowhere/dayfly"):
            open_blob_store(server.url("nowhere")).check()


def test_wrong_credentials_need_a_person_and_are_not_printed(
    rclone: RcloneServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY + "-wrong")
    blobs = open_blob_store(rclone.url(rclone.new_bucket()))
    with pytest.raises(StoreConfigError, match="credentials") as caught:
        blobs.check()

    assert SECRET_KEY not in str(caught.value) + repr(blobs)


def test_no_credentials_need_a_person(moto: MotoServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    with pytest.raises(StoreConfigError, match="AWS_ACCESS_KEY_ID"):
        open_blob_store(moto.url(moto.new_bucket())).check()
