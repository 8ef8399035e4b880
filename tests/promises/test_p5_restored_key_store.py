"""P5 when somebody restores an old copy of the key store by mistake, and nothing has been rotated since."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import storage.receipts as receipts_module
from metrics.instruments import KEY_STORE_RESTORES
from storage import (
    FaultPoint,
    ObjectShreddedError,
    OutboxDrain,
    RestoreHealer,
    RestoreReport,
    Shredded,
    ShredReason,
    Unknown,
)
from tests.sealed import SealedRoom, keyring_url
from tests.valkey import PrivateValkey

HEAL = """
import sys, redis
from storage import *
keys = KeyStore(redis.Redis(unix_socket_path=sys.argv[1]))
RestoreHealer(keys, open_blob_store("file://" + sys.argv[2])).heal()
"""

Start = Callable[..., PrivateValkey]


@pytest.fixture
def room(fresh_valkey: Start, tmp_path: Path) -> Iterator[SealedRoom]:
    room = SealedRoom.open(fresh_valkey(), tmp_path, keyring_url())
    yield room
    room.forget_roots()


def backup(room: SealedRoom, folder: Path) -> Path:
    room.keys.persist()
    shutil.copytree(room.server.folder, folder)
    return folder


def restored(room: SealedRoom, copy: Path, start: Start) -> SealedRoom:
    """The same blobs and roots behind a key store that was taken back."""
    room.server.stop()
    return SealedRoom.open(start(copy), room.blob_folder.parent, room.roots_url)


def heal(room: SealedRoom) -> RestoreReport | None:
    return RestoreHealer(room.keys, room.blobs).heal()


def receipts(room: SealedRoom) -> Counter[tuple[str, str]]:
    return Counter((str(r["type"]), str(r["oid"])) for r in room.drain.receipts() if "oid" in r)


def assert_counts_are_the_receipts(room: SealedRoom) -> None:
    while room.drain.drain():
        pass
    told, figures = receipts(room), room.keys.figures()
    assert set(told.values()) == {1}, "a receipt is doubled"
    assert sum(figures.created.values()) == sum(event == "created" for event, _ in told)
    assert sum(figures.destroyed.values()) == sum(event == "destroyed" for event, _ in told)


def test_p5_what_was_shredded_after_a_backup_stays_shredded_when_it_is_restored(
    room: SealedRoom, fresh_valkey: Start, tmp_path: Path
) -> None:
    shredded, kept = room.seal(b"gone").ref, room.seal(b"kept").ref
    room.drain.drain()
    copy = backup(room, tmp_path / "backup")
    later, both = room.seal().ref, room.seal().ref
    (outcome,) = room.store.shred([shredded], ShredReason.REFUSED)
    room.store.shred([both], ShredReason.DONE)
    room.drain.drain()
    room = restored(room, copy, fresh_valkey)
    assert room.store.open_bytes(shredded) == b"gone", "without the healing, the backup opens it"
    before = KEY_STORE_RESTORES._value.get()

    assert heal(room) == RestoreReport(files=1, shredded=1, lost=1)

    with pytest.raises(ObjectShreddedError) as error:
        room.store.open_bytes(shredded)
    assert (error.value.shredded_at, error.value.reason) == (outcome.shredded_at, ShredReason.REFUSED)
    assert room.store.open_bytes(kept) == b"kept"
    lost = room.store.status(later)
    assert isinstance(lost, Shredded)
    assert lost.reason is ShredReason.LOST
    assert KEY_STORE_RESTORES._value.get() == before + 1
    room.sweep.delete_doomed()
    assert [path.name for path in room.files()] == [kept.oid]
    assert heal(room) is None
    assert_counts_are_the_receipts(room)


def test_p5_events_that_waited_in_the_backup_are_told_once(
    room: SealedRoom, fresh_valkey: Start, tmp_path: Path
) -> None:
    room.seal()
    room.drain.drain()
    waiting, ended = room.seal().ref, room.seal().ref
    room.store.shred([ended], ShredReason.DONE)
    copy = backup(room, tmp_path / "backup")
    room.store.shred([waiting], ShredReason.DONE)
    room.drain.drain()
    room = restored(room, copy, fresh_valkey)

    assert heal(room) == RestoreReport(files=1, shredded=1, lost=0)

    assert_counts_are_the_receipts(room)


def test_p5_a_healing_that_is_killed_between_two_files_is_finished_by_the_next(
    room: SealedRoom, fresh_valkey: Start, tmp_path: Path
) -> None:
    refs = [room.seal().ref for _ in range(4)]
    room.drain.drain()
    copy = backup(room, tmp_path / "backup")
    later = room.seal().ref
    for ref in (*refs[:3], later):
        room.store.shred([ref], ShredReason.DONE)
        room.drain.drain()
    room = restored(room, copy, fresh_valkey)

    done = subprocess.run(
        [sys.executable, "-c", HEAL, str(room.server.socket), str(room.blob_folder)],
        env={**os.environ, "DAYFLY_FAULT_POINT": FaultPoint.RESTORE_APPLIED},
        capture_output=True,
        text=True,
    )

    assert done.returncode == -signal.SIGKILL, done.stderr
    assert heal(room) is not None
    assert heal(room) is None
    assert all(isinstance(room.store.status(ref), Shredded) for ref in (*refs[:3], later))
    assert_counts_are_the_receipts(room)


@pytest.mark.parametrize("point", [FaultPoint.DRAIN_CUT, FaultPoint.DRAIN_WRITTEN])
def test_p5_a_drain_that_was_killed_is_not_taken_for_a_restore(
    room: SealedRoom, monkeypatch: pytest.MonkeyPatch, point: FaultPoint
) -> None:
    ref = room.seal().ref
    room.drain.drain()
    room.store.shred([ref], ShredReason.DONE)

    def die(reached: FaultPoint) -> None:
        if reached is point:
            raise SystemExit

    with monkeypatch.context() as crash:
        crash.setattr(receipts_module, "reach", die)
        with pytest.raises(SystemExit):
            OutboxDrain(room.keys, room.blobs).drain()

    assert heal(room) is None
    assert_counts_are_the_receipts(room)


def test_p5_an_emptied_key_store_has_nothing_to_heal(room: SealedRoom) -> None:
    ref = room.seal().ref
    room.drain.drain()
    room.keys.client.flushall()

    assert heal(room) is None
    assert isinstance(room.store.status(ref), Unknown)
