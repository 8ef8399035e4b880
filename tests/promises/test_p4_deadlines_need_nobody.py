from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage import ObjectClass, ObjectShreddedError, RootLostError, ShredReason, open_root_store
from tests.sealed import SealedRoom, keyring_url
from tests.valkey import PrivateValkey

UPLOAD = ObjectClass.UPLOAD

# A process that seals an object with a short deadline under a root with its own, and is killed.
SEAL_AND_DIE = """
import os, signal, sys
from datetime import UTC, datetime, timedelta
import redis
from storage import *
socket, blobs, roots_url, deadline, lifetime = sys.argv[1:]
keys = KeyStore(redis.Redis(unix_socket_path=socket))
roots = open_root_store(roots_url)
Rotator(keys, roots, ObjectClass.UPLOAD, timedelta(seconds=float(lifetime))).ensure()
store = SealedStore(keys, open_blob_store("file://" + blobs), {ObjectClass.UPLOAD: roots})
now = datetime.now(UTC)
sealed = store.seal(b"photo", object_class=ObjectClass.UPLOAD,
                    deadline=now + timedelta(seconds=float(deadline)), ceiling=now + timedelta(hours=1))
assert store.open_bytes(sealed.ref) == b"photo"
print(sealed.ref, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def seal_and_die(server: PrivateValkey, folder: Path, roots_url: str, *, deadline: float, lifetime: float) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SEAL_AND_DIE, str(server.socket), str(folder), roots_url, str(deadline), str(lifetime)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == -9, done.stderr
    return done.stdout.strip()


def wait_until(what: Callable[[], bool], seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < give_up, "it did not happen in time"
        time.sleep(0.02)


def test_p4_with_every_process_dead_redis_itself_lets_the_key_go(valkey: PrivateValkey, tmp_path: Path) -> None:
    url = keyring_url()
    name = seal_and_die(valkey, tmp_path / "blobs", url, deadline=1.0, lifetime=600)
    client = valkey.client()
    row = f"dayfly:key:{name[-32:]}"
    wait_until(lambda: not client.exists(row), 5)

    room = SealedRoom.open(valkey, tmp_path, url)
    try:
        from storage import ObjectRef

        with pytest.raises(ObjectShreddedError) as caught:
            room.store.open_bytes(ObjectRef.parse(name))
        assert caught.value.reason is ShredReason.EXPIRED
        assert caught.value.shredded_at <= datetime.now(UTC)
    finally:
        room.forget_roots()


def test_p4_with_every_process_dead_the_kernel_itself_lets_the_root_go(valkey: PrivateValkey, tmp_path: Path) -> None:
    url = keyring_url()
    name = seal_and_die(valkey, tmp_path / "blobs", url, deadline=3000, lifetime=1)
    roots = open_root_store(url)

    def gone() -> bool:
        try:
            roots.get(UPLOAD, 1)
        except RootLostError:
            return True
        return False

    wait_until(gone, 6)
    # The row still lives; without its root it is so much noise.
    assert valkey.client().exists(f"dayfly:key:{name[-32:]}")


def test_p4_no_row_is_ever_without_a_deadline(room: SealedRoom) -> None:
    refs = [room.seal(object_class=name).ref for name in ObjectClass for _ in range(5)]
    room.store.extend(refs, datetime.now(UTC) + timedelta(hours=1))
    for rotator in room.rotators.values():
        rotator.rotate()
    room.store.shred(refs[::2], ShredReason.DONE)
    rows = list(room.keys.client.scan_iter("dayfly:key:*"))

    assert len(rows) == 5
    assert all(room.keys.client.pexpiretime(row) > 0 for row in rows)


def test_p4_a_restarted_server_keeps_the_deadlines(fresh_valkey: Callable[..., PrivateValkey], tmp_path: Path) -> None:
    server = fresh_valkey(None, "--appendfsync", "always")
    room = SealedRoom.open(server, tmp_path, f"file://{tmp_path}/roots")
    short, long = room.seal(lifetime=timedelta(seconds=1)).ref, room.seal().ref
    before = server.client().pexpiretime(room.keys.row(long.oid))
    server.kill()
    server.start()
    client = server.client()
    wait_until(lambda: not client.exists(room.keys.row(short.oid)), 5)

    assert client.pexpiretime(room.keys.row(long.oid)) == before
