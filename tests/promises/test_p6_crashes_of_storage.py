"""A process is killed at every enumerated point of the storage room; what it left is finished, nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage import (
    FaultPoint,
    Live,
    ObjectClass,
    ObjectRef,
    ObjectShreddedError,
    Rotator,
    ShredReason,
    StaleRootError,
)
from tests.sealed import SealedRoom
from tests.storage.test_keystore import let_expire

pytestmark = pytest.mark.slow

UPLOAD = ObjectClass.UPLOAD

# Passes every fault point once. What it seals is printed, so that the test knows what it must find.
ONE_OF_EACH = """
import os, sys, time
from datetime import UTC, datetime, timedelta
import redis
from storage import *
socket, folder, roots_url = sys.argv[1:]
keys = KeyStore(redis.Redis(unix_socket_path=socket))
roots, blobs = open_root_store(roots_url), open_blob_store("file://" + folder)
stores = {ObjectClass.UPLOAD: roots}
store, sweep = SealedStore(keys, blobs, stores), ObjectSweep(keys, blobs, stores)
now = datetime.now(UTC)
def seal(seconds=300):
    sealed = store.seal(b"photo" * 300_000, object_class=ObjectClass.UPLOAD,
                        deadline=now + timedelta(seconds=seconds), ceiling=now + timedelta(hours=1))
    print(sealed.ref, flush=True)
    return sealed.ref
first, second, orphan = seal(), seal(), seal()
os.close(store.open_memfd(first))
store.extend([first], now + timedelta(minutes=30))
store.shred([second], ShredReason.DONE)
store.delete_ciphertext([second])
Rotator(keys, roots, ObjectClass.UPLOAD, timedelta(minutes=5)).rotate()
OutboxDrain(keys, blobs).drain()
store.shred([first], ShredReason.DONE)
keys.client.unlink(keys.row(orphan.oid))
sweep.expire_due()
sweep.delete_doomed()
sweep.collect_orphans()
"""


def crash(room: SealedRoom, point: FaultPoint, times: int = 1) -> list[ObjectRef]:
    """Run the whole way in another process that dies at *point*; return what it had sealed."""
    done = subprocess.run(
        [sys.executable, "-c", ONE_OF_EACH, str(room.server.socket), str(room.blob_folder), room.roots_url],
        env={**os.environ, "DAYFLY_FAULT_POINT": f"{point.value}:{times}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -9, f"{point} was not reached: {done.stderr}"
    return [ObjectRef.parse(line) for line in done.stdout.splitlines()]


def recover(room: SealedRoom) -> None:
    """What the sweeper does from time to time."""
    for rotator in room.rotators.values():
        rotator.ensure()
    # A root that was stored and never published waits, unused, for the next rotation.
    room.rotators[UPLOAD].rotate()
    sweep = room.sweep
    while sweep.expire_due() + sweep.delete_doomed() + sweep.collect_orphans():
        pass
    while room.drain.drain():
        pass


def assert_whole(room: SealedRoom) -> None:
    """Nothing left, nothing lost, nothing doubled."""
    client = room.keys.client
    rows = {key[-32:].decode() for key in client.scan_iter("dayfly:key:*")}
    assert all(client.pexpiretime(room.keys.row(oid)) > 0 for oid in rows)
    # Unfinished ciphertext carries its object's id in its name and stays until the row dies.
    assert all(any(oid in path.name for oid in rows) for path in room.files())
    assert room.roots.epochs(UPLOAD) == [room.keys.current_root(UPLOAD).epoch]
    assert room.keys.current_root(UPLOAD).retiring == ()
    figures = room.keys.figures()
    assert (figures.doomed, figures.receipts_pending, figures.classes[UPLOAD].overdue) == (0, 0, 0)

    files = (room.blob_folder / "receipts").rglob("*.jsonl")
    receipts = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert len({receipt["id"] for receipt in receipts}) == len(receipts)
    said = Counter((receipt["type"], receipt.get("oid", receipt["epoch"])) for receipt in receipts)
    assert set(said.values()) == {1}
    created = {oid for kind, oid in said if kind == "created"}
    destroyed = {oid for kind, oid in said if kind == "destroyed"}
    assert destroyed <= created
    # The one whose row the script took away by hand has an index entry until its deadline.
    indexed = {name[-32:].decode() for name in client.zrange(room.keys.live(UPLOAD), 0, -1)}
    assert created - destroyed == indexed
    assert sum(figures.created.values()) == len(created)
    assert sum(figures.destroyed.values()) == len(destroyed)


# The healing of a restored key store is killed in test_p5_restored_key_store.py.
@pytest.mark.parametrize("point", [point for point in FaultPoint if point is not FaultPoint.RESTORE_APPLIED])
def test_p6_a_process_killed_at_any_point_of_storage_loses_and_leaves_nothing(
    room: SealedRoom, point: FaultPoint
) -> None:
    bystander, shredded = room.seal(b"bystander").ref, room.seal().ref
    room.store.shred([shredded], ShredReason.CANCELLED)
    made = crash(room, point)
    recover(room)

    assert_whole(room)
    assert room.store.open_bytes(bystander) == b"bystander"
    with pytest.raises(ObjectShreddedError):
        room.store.open_bytes(shredded)
    for ref in made:
        if isinstance(room.keys.status(ref), Live):
            assert room.store.open_bytes(ref) == b"photo" * 300_000

    # What the dead process left alive dies at its deadline like everything else.
    for name in room.keys.client.zrange(room.keys.live(UPLOAD), 0, -1):
        ref = ObjectRef.parse(name.decode())
        if room.keys.client.exists(room.keys.row(ref.oid)):
            let_expire(room.keys, ref)
    recover(room)
    assert room.files() == []
    assert list(room.keys.client.scan_iter("dayfly:key:*")) == []


@pytest.mark.parametrize("point", [point for point in FaultPoint if point.value.startswith("rotate-")])
def test_p6_a_rotation_killed_at_any_point_is_finished_and_nothing_shredded_returns(
    room: SealedRoom, point: FaultPoint
) -> None:
    live = [room.seal(b"%d" % number).ref for number in range(230)]
    crash(room, point)
    room.store.shred(live[:50], ShredReason.CANCELLED)
    report = room.rotators[UPLOAD].rotate()
    recover(room)

    assert_whole(room)
    assert report.lost == 0
    assert [room.store.open_bytes(ref) for ref in live[50::20]] == [b"%d" % number for number in range(50, 230, 20)]
    assert not any(room.keys.client.exists(room.keys.row(ref.oid)) for ref in live[:50])


def test_p6_open_extend_shred_and_rotate_race_without_a_wrong_answer(room: SealedRoom) -> None:
    refs = [room.seal(b"%d" % number).ref for number in range(120)]
    shredded_at: dict[ObjectRef, bool] = {}
    wrong: list[str] = []
    start = threading.Barrier(7)
    stop = threading.Event()

    def guarded(work: object) -> None:
        try:
            start.wait()
            work()  # type: ignore[operator]
        except Exception as error:
            wrong.append(repr(error))

    def open_all() -> None:
        while not stop.is_set():
            for number, ref in enumerate(refs):
                was_shredded = shredded_at.get(ref, False)
                try:
                    if room.store.open_bytes(ref) != b"%d" % number or was_shredded:
                        wrong.append(f"{ref} opened wrongly")
                except ObjectShreddedError:
                    pass

    def extend_all() -> None:
        while not stop.is_set():
            for ref in refs:
                with contextlib.suppress(ObjectShreddedError):
                    room.store.extend([ref], datetime.now(UTC) + timedelta(minutes=6))

    def rotate(rounds: int) -> None:
        rotator = Rotator(room.keys, room.roots, UPLOAD, timedelta(minutes=5))
        for _ in range(rounds):
            with contextlib.suppress(StaleRootError):
                rotator.rotate()

    def shred() -> None:
        seen = 1
        for group in (refs[start : start + 20 : 2] for start in range(0, 120, 20)):
            # Right behind the making of a new root, while its rotation wraps the keys again.
            while not done.is_set() and (epoch := room.keys.current_root(UPLOAD).epoch) == seen:
                pass
            seen = epoch
            for ref in group:
                room.store.shred([ref], ShredReason.CANCELLED)
                shredded_at[ref] = True

    # The second rotator overtakes the first for a while, then leaves it the field.
    work = [open_all, open_all, extend_all, shred, shred, lambda: rotate(8), lambda: rotate(2)]
    done = threading.Event()
    threads = [threading.Thread(target=guarded, args=(task,)) for task in work]
    for thread in threads:
        thread.start()
    for thread in threads[5:]:
        thread.join(30)
    done.set()
    for thread in threads[3:5]:
        thread.join(30)
    stop.set()
    for thread in threads:
        thread.join(30)

    assert wrong == []
    assert not any(room.keys.client.exists(room.keys.row(ref.oid)) for ref in refs[::2])
    assert [room.store.open_bytes(ref) for ref in refs[1::2]] == [b"%d" % number for number in range(1, 120, 2)]
    room.rotators[UPLOAD].rotate()
    recover(room)
    assert_whole(room)


def test_p6_every_fault_point_is_in_the_code() -> None:
    source = "".join(path.read_text() for path in Path("storage").rglob("*.py") if path.name != "faults.py")

    assert [point.name for point in FaultPoint if f"FaultPoint.{point.name}" not in source] == []
