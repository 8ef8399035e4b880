"""P4 when clocks are wrong: the server's decides, and one that jumps makes a key die early, or as late as it jumps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import pytest

import worker.client as client_module
from storage import DeadlineError, Live, ObjectShreddedError, Shredded, ShredReason
from tests.harness import Pool, eventually
from tests.sealed import SealedRoom, keyring_url
from tests.valkey import PrivateValkey

LIBRARY = next(
    (path for path in Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), Path("libfaketime.so.1 is not installed")
)
HOUR = timedelta(hours=1)


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Set the clock of a server that is started after this, at once and while it runs."""
    assert LIBRARY.exists(), LIBRARY
    file = tmp_path / "clock"
    file.write_text("+0s\n")
    for name, value in {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }.items():
        monkeypatch.setenv(name, value)

    def set_to(offset: timedelta) -> None:
        file.write_text(f"{offset.total_seconds():+.0f}s\n")

    return set_to


@pytest.fixture
def room(
    clock: object, fresh_valkey: Callable[..., PrivateValkey], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SealedRoom]:
    """A room whose server has a clock of its own; this process keeps the machine's."""
    server = fresh_valkey()
    monkeypatch.delenv("LD_PRELOAD")
    room = SealedRoom.open(server, tmp_path, keyring_url())
    yield room
    room.forget_roots()


def offset(room: SealedRoom) -> float:
    return float(room.keys.client.time()[0] - time.time())


def test_p4_a_server_whose_clock_jumps_forward_lets_keys_die_early_and_never_late(
    room: SealedRoom, clock: Callable[[timedelta], None]
) -> None:
    ref = room.seal(lifetime=timedelta(minutes=30)).ref
    longer = room.seal(lifetime=timedelta(hours=3)).ref

    clock(HOUR)
    eventually(lambda: offset(room) > 3000)

    with pytest.raises(ObjectShreddedError):
        room.store.open_bytes(ref)
    assert isinstance(room.store.status(longer), Live)
    assert room.sweep.expire_due() == 1
    ended = room.store.status(ref)
    clock(timedelta(0))
    eventually(lambda: abs(offset(room)) < 60)
    # It does not come back with the clock.
    assert room.store.status(ref) == ended
    assert isinstance(ended, Shredded)
    room.rotators[ref.object_class].rotate()
    assert isinstance(room.store.status(ref), Shredded)


def test_p4_a_server_whose_clock_jumps_back_keeps_a_key_as_much_longer_as_it_jumped(
    room: SealedRoom, clock: Callable[[timedelta], None]
) -> None:
    clock(HOUR)
    eventually(lambda: offset(room) > 3000)
    now = datetime.now(UTC)
    ref = room.store.seal(
        b"a photo", object_class=next(iter(room.rotators)), deadline=now + HOUR * 1.5, ceiling=now + HOUR * 2
    ).ref
    shredded = room.seal(lifetime=HOUR * 1.5).ref
    room.store.shred([shredded], ShredReason.DONE)

    clock(timedelta(0))
    eventually(lambda: abs(offset(room)) < 60)

    status = room.store.status(ref)
    assert isinstance(status, Live)
    assert status.deadline <= now + HOUR * 1.5 + timedelta(seconds=1)
    with pytest.raises(ObjectShreddedError):
        room.store.open_bytes(shredded)
    # What comes after the jump is told behind what came before it.
    assert room.drain.drain() > 0
    room.store.shred([ref], ShredReason.DONE)
    assert room.drain.drain() == 1
    told = [(r["type"], r["oid"]) for r in room.drain.receipts() if "oid" in r]
    assert len(told) == len(set(told))


@pytest.mark.parametrize(("wrong_by", "accepted"), [(-HOUR, False), (HOUR, True)])
def test_p4_a_web_tier_with_a_wrong_clock_is_refused_or_held_to_its_ceiling(
    pools: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch, wrong_by: timedelta, accepted: bool
) -> None:
    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + wrong_by

    pool = pools()
    pool.ensure_roots()
    monkeypatch.setattr(client_module, "datetime", Wrong)

    if not accepted:
        with pytest.raises(DeadlineError, match="check this machine's clock"):
            pool.submit(b"a photo", "null")
        assert pool.ciphertexts() == set()
        return
    job = pool.submit(b"a photo", "null")
    status = pool.deployment.store.status(job.upload)
    assert isinstance(status, Live)
    assert status.deadline < datetime.now(UTC) + wrong_by + timedelta(seconds=601)
