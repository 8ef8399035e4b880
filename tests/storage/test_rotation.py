from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

import pytest

from metrics.instruments import REWRAPPED, ROTATIONS
from storage import (
    KeyStore,
    ObjectClass,
    ObjectShreddedError,
    PublicRoot,
    RootElsewhereError,
    RootLostError,
    Rotator,
    ShredReason,
    StaleRootError,
    open_root_store,
)
from storage.names import ObjectRef, associated_data
from storage.wrapping import wrap
from tests.sealed import SealedRoom, keyring_url

UPLOAD, OUTPUT = ObjectClass.UPLOAD, ObjectClass.OUTPUT


def epoch_events(room: SealedRoom) -> list[int]:
    events = room.keys.client.xrange(room.keys.outbox)
    return [int(fields[b"epoch"]) for _, fields in events if fields[b"type"] == b"epoch"]


def test_a_rotation_leaves_one_root_and_every_live_object_opens(room: SealedRoom) -> None:
    refs = [room.seal(b"%d" % number).ref for number in range(20)]
    report = room.rotators[UPLOAD].rotate()

    assert (report.epoch, report.rewrapped, report.skipped, report.lost) == (2, 20, 0, 0)
    assert room.roots.epochs(UPLOAD) == [2]
    assert room.keys.current_root(UPLOAD).retiring == ()
    assert [room.store.open_bytes(ref) for ref in refs] == [b"%d" % number for number in range(20)]
    assert epoch_events(room) == [1]


def test_a_rotation_keeps_every_deadline(room: SealedRoom) -> None:
    ref = room.seal().ref
    before = room.keys.client.pexpiretime(room.keys.row(ref.oid))
    room.rotators[UPLOAD].rotate()

    assert room.keys.client.pexpiretime(room.keys.row(ref.oid)) == before


def test_a_rotation_touches_one_class_only(room: SealedRoom) -> None:
    ref = room.seal(object_class=OUTPUT).ref
    room.rotators[UPLOAD].rotate()

    assert room.keys.load(ref).epoch == 1
    assert (room.roots.epochs(UPLOAD), room.roots.epochs(OUTPUT)) == ([2], [1])


def test_a_rotation_never_brings_back_what_is_shredded_under_it(
    room: SealedRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    shredded, live = room.seal().ref, room.seal(b"live").ref
    rewrap = room.keys.roots.rewrap

    def late(*arguments: object) -> int | None:
        room.store.shred([shredded], ShredReason.CANCELLED)
        return rewrap(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(room.keys.roots, "rewrap", late)
    report = room.rotators[UPLOAD].rotate()

    assert (report.rewrapped, report.skipped) == (1, 1)
    assert not room.keys.client.exists(room.keys.row(shredded.oid))
    with pytest.raises(ObjectShreddedError):
        room.store.open_bytes(shredded)
    assert room.store.open_bytes(live) == b"live"


def test_the_first_root_is_made_once(room: SealedRoom) -> None:
    assert room.rotators[UPLOAD].ensure() == room.rotators[UPLOAD].ensure()
    assert room.roots.epochs(UPLOAD) == [1]


def test_two_first_roots_at_once_leave_one(room: SealedRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    room.keys.client.flushall()
    room.forget_roots()
    put = room.roots.put
    overtaken: list[int] = []

    def slow(*arguments: object) -> None:
        put(*arguments)  # type: ignore[arg-type]
        if not overtaken:
            overtaken.append(1)
            room.rotators[UPLOAD].ensure()

    monkeypatch.setattr(room.roots, "put", slow)
    root = room.rotators[UPLOAD].ensure()

    assert room.roots.epochs(UPLOAD) == [root.epoch]
    assert room.store.open_bytes(room.seal(b"photo").ref) == b"photo"


def test_a_rotation_overtaken_by_another_gives_way(room: SealedRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = room.seal(b"photo").ref
    slow = Rotator(room.keys, room.roots, UPLOAD, timedelta(minutes=5))
    rewrap = room.keys.roots.rewrap

    def overtaken(*arguments: object) -> int | None:
        monkeypatch.undo()
        room.rotators[UPLOAD].rotate()
        return rewrap(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(room.keys.roots, "rewrap", overtaken)
    failed = ROTATIONS.labels(object_class="upload", outcome="failed")._value.get()
    with pytest.raises(StaleRootError):
        slow.rotate()

    assert room.store.open_bytes(ref) == b"photo"
    assert room.roots.epochs(UPLOAD) == [room.keys.current_root(UPLOAD).epoch]
    assert ROTATIONS.labels(object_class="upload", outcome="failed")._value.get() == failed + 1


def test_a_lost_root_is_replaced_and_what_was_under_it_is_shredded(room: SealedRoom) -> None:
    lost = room.seal().ref
    room.roots.destroy(UPLOAD, 1)
    root = room.rotators[UPLOAD].ensure()

    assert root.epoch == 2
    with pytest.raises(ObjectShreddedError) as caught:
        room.store.open_bytes(lost)
    assert caught.value.reason is ShredReason.ROOT_LOST
    assert room.store.open_bytes(room.seal(b"new").ref) == b"new"
    assert epoch_events(room) == [1]


def test_a_row_found_under_a_lost_root_is_spared_if_it_moved_meanwhile(room: SealedRoom) -> None:
    ref = room.seal(b"photo").ref
    room.rotators[UPLOAD].rotate()

    assert room.keys.shred_lost([ref], 1) == 0
    assert room.store.open_bytes(ref) == b"photo"


def test_a_key_store_that_starts_again_never_reuses_an_epoch(room: SealedRoom) -> None:
    for _ in range(3):
        room.rotators[UPLOAD].rotate()
    room.keys.client.flushall()
    root = room.rotators[UPLOAD].ensure()

    assert root.epoch == 5
    assert room.rotators[UPLOAD].rotate().epoch == 6
    # What was in use before is not known here to be nobody's: it dies with its lifetime.
    assert room.roots.epochs(UPLOAD) == [4, 6]


def test_two_key_stores_with_one_root_store_leave_each_others_roots_alone(room: SealedRoom) -> None:
    """Nobody means to do this; one command with the address of another Redis does."""
    ref = room.seal(b"photo").ref
    stranger = Rotator(KeyStore(room.keys.client, namespace="elsewhere"), room.roots, UPLOAD, timedelta(minutes=1))
    stranger.ensure()
    stranger.rotate()
    room.rotators[UPLOAD].rotate()
    stranger.rotate()

    assert room.store.open_bytes(ref) == b"photo"
    assert len(room.roots.epochs(UPLOAD)) == 2


def test_a_root_that_was_never_published_goes_with_the_next_rotation(
    room: SealedRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as crash:

        def die(*_: object) -> None:
            raise SystemExit

        crash.setattr(room.keys.roots, "publish", die)
        with pytest.raises(SystemExit):
            room.rotators[UPLOAD].rotate()
    assert room.roots.epochs(UPLOAD) == [1, 2]
    room.rotators[UPLOAD].rotate()

    assert room.roots.epochs(UPLOAD) == [3]
    assert room.keys.current_root(UPLOAD).drawn == ()
    assert epoch_events(room) == [1]


def test_renewing_keeps_the_root_alive_past_its_first_lifetime(room: SealedRoom) -> None:
    short = Rotator(room.keys, room.roots, OUTPUT, timedelta(seconds=1))
    short.rotate()
    ref = room.seal(b"out", object_class=OUTPUT).ref
    Rotator(room.keys, room.roots, OUTPUT, timedelta(minutes=1)).renew()
    give_up = time.monotonic() + 3
    while time.monotonic() < give_up:
        assert room.store.open_bytes(ref) == b"out"
        time.sleep(0.2)


def test_renewing_a_lost_root_says_so(room: SealedRoom) -> None:
    room.roots.destroy(UPLOAD, 1)

    with pytest.raises(RootLostError):
        room.rotators[UPLOAD].renew()


def test_the_end_of_an_epoch_is_said_once_whoever_says_it(room: SealedRoom) -> None:
    current = room.keys.current_root(UPLOAD)
    room.keys.roots.publish(UPLOAD, current.epoch, current.epoch + 1, b"next")
    answers = [room.keys.roots.finish(UPLOAD, current.epoch, "any") for _ in range(3)]

    assert answers == [True, False, False]
    assert epoch_events(room) == [current.epoch]


def test_p5_the_age_of_a_root_is_known_though_this_hosts_clock_is_wrong(
    room: SealedRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that is behind, a root would seem young for as long, and nothing would be rotated meanwhile."""

    class Behind(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) - timedelta(hours=1)

    for module in ("storage.rotation", "storage.root_records"):
        monkeypatch.setattr(f"{module}.datetime", Behind, raising=False)
    record = room.keys.root(UPLOAD)
    room.keys.client.hincrby(record, "created", -180_000)

    assert room.rotators[UPLOAD].due(timedelta(minutes=2, seconds=50))
    assert not room.rotators[UPLOAD].due(timedelta(minutes=3, seconds=30))
    room.keys.client.flushall()
    assert room.rotators[UPLOAD].due(timedelta(days=1))


def test_a_rotation_that_is_asked_for_is_due_until_the_asked_root_is_replaced(room: SealedRoom) -> None:
    rotator = room.rotators[UPLOAD]
    asked = room.keys.roots.ask_rotation(UPLOAD)

    assert asked == room.keys.current_root(UPLOAD).epoch
    assert rotator.due(timedelta(days=1))
    assert not room.keys.current_root(UPLOAD).replaces(asked)
    rotator.rotate()
    assert not rotator.due(timedelta(days=1))
    assert room.keys.current_root(UPLOAD).replaces(asked)
    assert room.keys.roots.ask_rotation(UPLOAD) != asked


def test_a_class_without_a_root_is_not_given_a_record_by_who_asks(room: SealedRoom) -> None:
    room.keys.client.flushall()

    assert room.keys.roots.ask_rotation(UPLOAD) is None
    assert room.keys.roots.read(UPLOAD) is None


def make_rows(room: SealedRoom, count: int) -> list[ObjectRef]:
    """Make key rows without ciphertext, as `seal` makes them."""
    root = room.keys.current_root(UPLOAD)
    now = datetime.now(UTC)
    refs = [ObjectRef.new(UPLOAD, now + timedelta(days=1)) for _ in range(count)]
    key = bytearray(range(32))
    for ref in refs:
        wrapped = wrap(key, root.public, associated_data(ref))
        room.keys.create(ref, root, wrapped, deadline=now + timedelta(hours=1), ceiling=now + timedelta(days=1))
    return refs


def test_ten_thousand_live_keys_are_all_rewrapped_by_one_rotation(room: SealedRoom) -> None:
    refs = make_rows(room, 10_000)
    counted = REWRAPPED.labels(object_class="upload")._value.get()
    report = room.rotators[UPLOAD].rotate()

    assert report.rewrapped == 10_000
    assert {room.keys.load(ref).epoch for ref in refs[::97]} == {report.epoch}
    assert REWRAPPED.labels(object_class="upload")._value.get() - counted == 10_000


@pytest.fixture
def other_host(room: SealedRoom) -> Iterator[Rotator]:
    """A host with the same key store and a root store of its own."""
    roots = open_root_store(keyring_url())
    yield Rotator(room.keys, roots, UPLOAD, timedelta(minutes=10))
    for epoch in roots.epochs(UPLOAD):
        roots.destroy(UPLOAD, epoch)


def let_renewals_age(room: SealedRoom, age: timedelta) -> None:
    """Make the current root's last renewal as old as if nobody had renewed it since."""
    name = room.keys.root(UPLOAD)
    client = room.keys.client
    client.hset(name, "renewed", int(client.hget(name, "renewed")) - int(age / timedelta(milliseconds=1)))


def test_a_root_that_another_host_has_just_made_is_not_lost(room: SealedRoom, other_host: Rotator) -> None:
    ref = room.seal(b"photo").ref
    for act in (other_host.ensure, other_host.rotate):
        with pytest.raises(RootElsewhereError, match="point both at one shared root store"):
            act()

    assert room.store.open_bytes(ref) == b"photo"
    assert room.keys.current_root(UPLOAD).epoch == 1


def test_a_root_that_another_host_renews_is_not_lost_however_old(room: SealedRoom, other_host: Rotator) -> None:
    ref = room.seal(b"photo").ref
    let_renewals_age(room, timedelta(minutes=5))
    room.rotators[UPLOAD].renew()
    with pytest.raises(RootElsewhereError):
        other_host.ensure()

    assert room.store.open_bytes(ref) == b"photo"


def test_a_root_that_nobody_renewed_for_the_window_is_lost(room: SealedRoom, other_host: Rotator) -> None:
    ref = room.seal(b"photo").ref
    let_renewals_age(room, timedelta(seconds=31))
    root = other_host.ensure()

    assert root.epoch == 2
    with pytest.raises(ObjectShreddedError) as caught:
        room.store.open_bytes(ref)
    assert caught.value.reason is ShredReason.ROOT_LOST


def test_past_its_lifetime_a_root_is_lost_whatever_the_window(room: SealedRoom) -> None:
    roots = open_root_store(keyring_url())
    hasty = Rotator(room.keys, roots, UPLOAD, timedelta(seconds=2), renewed_window=timedelta(minutes=5))
    let_renewals_age(room, timedelta(seconds=3))
    root = hasty.ensure()
    roots.destroy(UPLOAD, root.epoch)

    assert root.epoch == 2


def test_of_two_hosts_that_start_at_once_the_slower_one_refuses(
    room: SealedRoom, other_host: Rotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.keys.client.flushall()
    room.forget_roots()
    make = Rotator._make_root

    def overtaken(rotator: Rotator, current: PublicRoot | None) -> PublicRoot:
        monkeypatch.undo()
        room.rotators[UPLOAD].ensure()
        return make(rotator, current)

    monkeypatch.setattr(Rotator, "_make_root", overtaken)
    with pytest.raises(RootElsewhereError):
        other_host.ensure()

    assert room.store.open_bytes(room.seal(b"photo").ref) == b"photo"


def test_a_rotation_that_passes_between_two_looks_is_no_loss(room: SealedRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    get = room.roots.get

    def late(object_class: ObjectClass, epoch: int) -> bytearray:
        monkeypatch.undo()
        room.rotators[UPLOAD].rotate()
        return get(object_class, epoch)

    monkeypatch.setattr(room.roots, "get", late)

    assert room.rotators[UPLOAD].ensure().epoch == 2
