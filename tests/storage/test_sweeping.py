from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from storage import KeyStore, ObjectClass, ObjectRef, ShredReason, StorageError, StoreUnavailableError, open_root_store
from storage.names import new_object_id
from storage.sweeping import ObjectSweep
from tests.sealed import SealedRoom
from tests.storage.root_conformance import root
from tests.storage.test_keystore import let_expire
from tests.valkey import PrivateValkey

UPLOAD, OUTPUT = ObjectClass.UPLOAD, ObjectClass.OUTPUT


def test_an_expired_object_goes_all_the_way(room: SealedRoom) -> None:
    upload, output = room.seal().ref, room.seal(object_class=OUTPUT).ref
    live = room.seal(b"live").ref
    for ref in (upload, output):
        let_expire(room.keys, ref)

    assert (room.sweep.expire_due(), room.sweep.delete_doomed()) == (2, 2)
    assert room.files() == [room.blob_path(live)]
    assert room.store.open_bytes(live) == b"live"
    assert room.keys.figures().destroyed[OUTPUT, ShredReason.EXPIRED] == 1


def test_doomed_ciphertext_is_deleted_once_and_the_oldest_first(room: SealedRoom) -> None:
    refs = [room.seal().ref for _ in range(3)]
    for ref in refs:
        room.store.shred([ref], ShredReason.DONE)
        started = time.monotonic()
        while time.monotonic() - started < 0.002:
            pass

    assert room.sweep.delete_doomed(limit=2) == 2
    assert room.files() == [room.blob_path(refs[2])]
    assert [room.sweep.delete_doomed(), room.sweep.delete_doomed()] == [1, 0]


def test_one_that_cannot_be_deleted_waits_and_stops_no_other(room: SealedRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    refs = [room.seal().ref for _ in range(3)]
    room.store.shred(refs, ShredReason.DONE)
    delete = room.blobs.delete

    def stubborn(name: str) -> bool:
        if name == str(refs[0]):
            raise StoreUnavailableError("not now")
        return delete(name)

    monkeypatch.setattr(room.blobs, "delete", stubborn)
    with pytest.raises(StorageError, match="not now"):
        room.sweep.delete_doomed()
    monkeypatch.undo()

    assert room.keys.doomed_first(10) == [refs[0]]
    assert room.sweep.delete_doomed() == 1


def test_ciphertext_without_a_row_is_collected_and_nothing_else(room: SealedRoom) -> None:
    live, orphan = room.seal(b"live").ref, room.seal().ref
    room.keys.client.delete(room.keys.row(orphan.oid))
    room.drain.drain()

    assert room.sweep.collect_orphans() == 1
    assert room.files() == [room.blob_path(live)]
    assert room.store.open_bytes(live) == b"live"
    assert room.drain.find_receipts(live.oid)


def test_an_unfinished_write_without_a_row_is_collected_and_its_writer_told(room: SealedRoom) -> None:
    ref = room.seal().ref
    room.store.shred([ref], ShredReason.DONE)
    room.sweep.delete_doomed()
    with pytest.raises(StorageError), room.blobs.create(str(ref)) as sink:  # noqa: PT012 - the block is the point
        sink.write(b"too late")
        assert room.sweep.collect_orphans() == 1

    assert room.files() == []


def test_an_unfinished_write_with_a_row_is_left_alone(room: SealedRoom) -> None:
    ref = room.seal().ref
    with room.blobs.create(str(ref)) as sink:
        sink.write(b"replaced")
        assert room.sweep.collect_orphans() == 0

    assert room.blobs.size(str(ref)) == 8


def test_a_forgotten_draft_of_a_receipt_file_goes_when_it_is_old(room: SealedRoom) -> None:
    drafts = room.blob_folder / ".unfinished"
    for name, age in (("receipts+2026+11+24+1-2.jsonl+0badcafe", 7200), ("receipts+2026+11+24+3-4.jsonl+0badcafe", 60)):
        (drafts / name).write_text("")
        os.utime(drafts / name, (time.time() - age, time.time() - age))
    room.sweep.collect_orphans()

    assert [path.name.split("+")[4] for path in drafts.iterdir()] == ["3-4.jsonl"]


def test_ciphertext_of_another_key_store_is_not_taken_for_orphans(room: SealedRoom) -> None:
    """A sweeper with the address of another Redis, or of one that lost its data, must not empty the blob store."""
    ref = room.seal(b"live").ref
    elsewhere = KeyStore(room.keys.client, namespace="elsewhere")
    sweep = ObjectSweep(elsewhere, room.blobs, {})

    with pytest.raises(StorageError, match="1 objects that this key store never knew"):
        sweep.collect_orphans()

    assert room.store.open_bytes(ref) == b"live"


def test_ciphertext_of_an_unknown_object_goes_with_its_ceiling(room: SealedRoom) -> None:
    """Nothing can be alive past the hour in its name, whichever key store it was of."""
    past = ObjectRef(UPLOAD, "2020010100", new_object_id())
    with room.blobs.create(str(past)) as sink:
        sink.write(b"nobody's")

    assert room.sweep.collect_orphans() == 1
    assert room.files() == []


def test_orphans_are_looked_for_in_bounded_steps_that_come_round(room: SealedRoom) -> None:
    refs = sorted(room.seal().ref for _ in range(5))
    room.keys.client.delete(room.keys.row(refs[4].oid))
    sweep = room.sweep

    assert [sweep.collect_orphans(limit=2) for _ in range(3)] == [0, 0, 1]
    room.keys.client.delete(room.keys.row(refs[0].oid))
    assert sum(sweep.collect_orphans(limit=2) for _ in range(3)) == 1


def test_roots_that_ran_out_go_with_the_sweep(valkey: PrivateValkey, tmp_path: Path) -> None:
    from datetime import timedelta

    roots = open_root_store(f"file://{tmp_path}/roots")
    roots.put(UPLOAD, 1, root(), timedelta(seconds=-1))
    room = SealedRoom.open(valkey, tmp_path, f"file://{tmp_path}/other")
    ObjectSweep(room.keys, room.blobs, {UPLOAD: roots, OUTPUT: roots}).expire_due()

    assert list((tmp_path / "roots").iterdir()) == []


def test_a_reference_orders_by_its_name() -> None:
    refs = [
        ObjectRef.parse(f"{name}/{hour}/{'a' * 32}")
        for name in ("upload", "output")
        for hour in (2026112402, 2026112401)
    ]

    assert [str(ref) for ref in sorted(refs)] == sorted(map(str, refs))
