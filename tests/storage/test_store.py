from __future__ import annotations

import fcntl
import io
import mmap
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from metrics.instruments import INTEGRITY_ERRORS, OPENED_BYTES, SEALED_BYTES
from storage import (
    CiphertextMissingError,
    DeadlineError,
    IntegrityError,
    ObjectClass,
    ObjectRef,
    ObjectShreddedError,
    RootLostError,
    SealedStore,
    Shredded,
    ShredReason,
    StoreConfigError,
    StoreFullError,
    Unknown,
    UnknownObjectError,
)
from tests.sealed import SealedRoom
from tests.valkey import PrivateValkey

UPLOAD, OUTPUT = ObjectClass.UPLOAD, ObjectClass.OUTPUT
SIZES = [0, 1, 10_000, (1 << 20) - 56, (1 << 20) - 55, 3 << 20]


def read_memfd(descriptor: int) -> bytes:
    try:
        return os.pread(descriptor, 1 << 26, 0)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("size", SIZES)
def test_every_way_of_opening_gives_what_was_sealed(room: SealedRoom, size: int) -> None:
    content = os.urandom(size)
    now = datetime.now(UTC)
    for source in (content, bytearray(content), memoryview(content), io.BytesIO(content)):
        sealed = room.store.seal(
            source, object_class=UPLOAD, deadline=now + timedelta(minutes=1), ceiling=now + timedelta(hours=1)
        )
        assert sealed.size == size
        assert room.store.open_bytes(sealed.ref) == content
        assert read_memfd(room.store.open_memfd(sealed.ref)) == content
        with room.store.open_stream(sealed.ref) as stream:
            assert stream.read() == content


def test_a_stream_is_read_in_small_pieces(room: SealedRoom) -> None:
    content = os.urandom(3 << 20)
    with room.store.open_stream(room.seal(content).ref) as stream:
        assert b"".join(iter(lambda: stream.read(70_001), b"")) == content
    with pytest.raises(ValueError, match="closed"):
        stream.read(1)


def test_a_broken_stream_never_looks_like_its_end(room: SealedRoom) -> None:
    ref = room.seal(os.urandom(3 << 20)).ref
    path = room.blob_path(ref)
    path.write_bytes(path.read_bytes()[:-1])
    with room.store.open_stream(ref) as stream:
        for _ in range(3):
            with pytest.raises(IntegrityError):
                stream.read()


def test_the_memory_file_can_be_neither_written_nor_resized(room: SealedRoom) -> None:
    descriptor = room.store.open_memfd(room.seal(b"photo").ref)
    try:
        with pytest.raises(PermissionError):
            os.pwrite(descriptor, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)
        with pytest.raises(PermissionError):
            mmap.mmap(descriptor, 5)
        assert fcntl.fcntl(descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        with mmap.mmap(descriptor, 5, prot=mmap.PROT_READ) as mapping:
            assert mapping[:] == b"photo"
    finally:
        os.close(descriptor)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def assert_refused(room: SealedRoom, ref: ObjectRef, error: type[Exception], count: int) -> None:
    """Every way of opening raises *error* and leaks no descriptor; *count* of them count as tampering."""
    before, counted = open_descriptors(), INTEGRITY_ERRORS._value.get()
    with pytest.raises(error):
        room.store.open_memfd(ref)
    with pytest.raises(error):
        room.store.open_bytes(ref)
    with pytest.raises(error), room.store.open_stream(ref) as stream:
        stream.read()
    assert open_descriptors() == before
    assert INTEGRITY_ERRORS._value.get() - counted == count


def test_a_flipped_bit_a_cut_and_an_extension_are_integrity_errors(room: SealedRoom) -> None:
    for change in (lambda c: c[:-1] + bytes([c[-1] ^ 1]), lambda c: c[:-1], lambda c: c + b"x", lambda c: b""):
        ref = room.seal(os.urandom(5000)).ref
        path = room.blob_path(ref)
        path.write_bytes(change(path.read_bytes()))

        assert_refused(room, ref, IntegrityError, 3)


def test_swapped_ciphertext_is_an_integrity_error(room: SealedRoom) -> None:
    first, second = room.seal(b"first").ref, room.seal(b"other").ref
    content = room.blob_path(first).read_bytes()
    room.blob_path(first).write_bytes(room.blob_path(second).read_bytes())
    room.blob_path(second).write_bytes(content)

    assert_refused(room, first, IntegrityError, 3)
    assert_refused(room, second, IntegrityError, 3)


def test_swapped_key_rows_are_integrity_errors_even_when_made_to_match(room: SealedRoom) -> None:
    first, second = room.seal(b"first").ref, room.seal(b"other").ref
    rows = [room.keys.row(ref.oid) for ref in (first, second)]
    wrapped = [room.keys.client.hget(row, "wrapped") for row in rows]
    for row, key in zip(rows, reversed(wrapped), strict=True):
        room.keys.client.hset(row, "wrapped", key)
    assert_refused(room, first, IntegrityError, 3)

    # The attacker swaps the ciphertext as well, so that key and ciphertext belong together again.
    content = room.blob_path(first).read_bytes()
    room.blob_path(first).write_bytes(room.blob_path(second).read_bytes())
    room.blob_path(second).write_bytes(content)
    assert_refused(room, first, IntegrityError, 3)


def test_an_object_does_not_open_as_one_of_another_class(room: SealedRoom) -> None:
    sealed = room.seal(b"photo")
    other = ObjectRef(OUTPUT, sealed.ref.ceiling_hour, sealed.ref.oid)
    room.blob_path(other).parent.mkdir(parents=True)
    os.rename(room.blob_path(sealed.ref), room.blob_path(other))

    with pytest.raises(IntegrityError):
        room.store.open_bytes(other)


def test_shredded_unknown_and_missing_are_different_errors(room: SealedRoom) -> None:
    shredded, missing = room.seal().ref, room.seal().ref
    room.store.shred([shredded], ShredReason.DONE)
    room.blob_path(missing).unlink()

    assert_refused(room, shredded, ObjectShreddedError, 0)
    assert_refused(room, missing, CiphertextMissingError, 0)
    assert_refused(room, ObjectRef.new(UPLOAD, datetime.now(UTC)), UnknownObjectError, 0)


def test_a_process_without_roots_seals_and_cannot_open(room: SealedRoom) -> None:
    web_tier = SealedStore(room.keys, room.blobs, {OUTPUT: room.roots})
    now = datetime.now(UTC)
    sealed = web_tier.seal(b"photo", object_class=UPLOAD, deadline=now + timedelta(60), ceiling=now + timedelta(61))

    with pytest.raises(StoreConfigError, match="holds no roots"):
        web_tier.open_bytes(sealed.ref)
    assert room.store.open_bytes(sealed.ref) == b"photo"
    assert web_tier.open_bytes(room.seal(b"out", object_class=OUTPUT).ref) == b"out"


def test_a_lost_root_says_so(room: SealedRoom) -> None:
    ref = room.seal().ref
    room.forget_roots()

    assert_refused(room, ref, RootLostError, 0)


def test_sealing_goes_on_over_rotations_by_another_process(room: SealedRoom) -> None:
    for _ in range(3):
        sealed = room.seal(b"photo")
        room.rotators[UPLOAD].rotate()
        assert room.store.open_bytes(sealed.ref) == b"photo"


def test_opening_passes_a_rotation_between_row_and_root(room: SealedRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = room.seal(b"photo").ref
    load = room.keys.load
    loads: list[int] = []

    def overtaken(wanted: ObjectRef) -> object:
        row = load(wanted)
        loads.append(row.epoch)
        if len(loads) == 1:
            room.rotators[UPLOAD].rotate()
        return row

    monkeypatch.setattr(room.keys, "load", overtaken)
    assert room.store.open_bytes(ref) == b"photo"
    assert loads[0] < loads[1]


class Failing(io.RawIOBase):
    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        raise ConnectionResetError("the upload broke off")


def test_a_failed_source_leaves_no_key_and_no_ciphertext(room: SealedRoom) -> None:
    now = datetime.now(UTC)
    with pytest.raises(ConnectionResetError):
        room.store.seal(  # type: ignore[arg-type]  # a raw stream is enough
            Failing(), object_class=UPLOAD, deadline=now + timedelta(minutes=1), ceiling=now + timedelta(hours=1)
        )

    assert room.files() == []
    figures = room.keys.figures()
    assert (figures.classes[UPLOAD].live, figures.doomed) == (0, 0)
    assert figures.destroyed[UPLOAD, ShredReason.FAILED] == 1


def test_a_full_blob_store_leaves_no_key(room: SealedRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreFullError):
        room.seal()
    monkeypatch.undo()

    assert room.keys.figures().classes[UPLOAD].live == 0
    assert room.files() == []


def test_a_deadline_that_cannot_be_kept_is_refused_before_a_byte_is_read(room: SealedRoom) -> None:
    now = datetime.now(UTC)
    with pytest.raises(DeadlineError):
        room.store.seal(  # type: ignore[arg-type]
            Failing(), object_class=UPLOAD, deadline=now - timedelta(seconds=1), ceiling=now + timedelta(hours=1)
        )

    assert room.files() == []


def test_deleting_ciphertext_spares_live_objects(room: SealedRoom) -> None:
    live, shredded = room.seal(b"live").ref, room.seal().ref
    room.store.shred([shredded], ShredReason.DONE)

    assert room.store.delete_ciphertext([live, shredded]) == 1
    assert room.store.delete_ciphertext([live, shredded]) == 0
    assert room.store.open_bytes(live) == b"live"
    assert room.keys.figures().doomed == 0


def test_extending_through_the_store_moves_the_deadline(room: SealedRoom) -> None:
    ref = room.seal().ref
    later = datetime.now(UTC) + timedelta(hours=2)

    assert abs(room.store.extend([ref], later)[ref] - later) < timedelta(milliseconds=2)


def test_bytes_are_counted_by_class(room: SealedRoom) -> None:
    sealed = SEALED_BYTES.labels(object_class="upload")._value.get()
    opened = OPENED_BYTES.labels(object_class="upload")._value.get()
    ref = room.seal(bytes(1234)).ref
    room.store.open_bytes(ref)
    with room.store.open_stream(ref) as stream:
        stream.read()

    assert SEALED_BYTES.labels(object_class="upload")._value.get() - sealed == 1234
    assert OPENED_BYTES.labels(object_class="upload")._value.get() - opened == 2468


def test_status_answers_by_name_and_by_id(room: SealedRoom) -> None:
    ref = room.seal().ref
    room.store.shred([ref], ShredReason.ERASED)

    assert isinstance(room.store.status(ref), Shredded)
    assert room.store.status(ref.oid) == room.store.status(ref)
    assert room.store.status(ObjectRef.new(UPLOAD, datetime.now(UTC))) == Unknown()


def test_a_store_that_has_never_rotated_says_what_is_missing(valkey: PrivateValkey, tmp_path: Path) -> None:
    from storage import KeyStore, StoreUnavailableError, open_blob_store

    store = SealedStore(KeyStore(valkey.client()), open_blob_store(f"file://{tmp_path}/b"), {})
    now = datetime.now(UTC)
    with pytest.raises(StoreUnavailableError, match="sweeper"):
        store.seal(b"x", object_class=UPLOAD, deadline=now + timedelta(60), ceiling=now + timedelta(61))
