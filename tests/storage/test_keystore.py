from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import redis

from storage import (
    DeadlineError,
    IntegrityError,
    KeyStore,
    Live,
    ObjectClass,
    ObjectId,
    ObjectRef,
    ObjectShreddedError,
    PublicRoot,
    Shredded,
    ShredReason,
    StaleRootError,
    StorageError,
    StoreConfigError,
    StoreFullError,
    StoreUnavailableError,
    Unknown,
    UnknownObjectError,
)
from tests.valkey import PrivateValkey

UPLOAD, OUTPUT = ObjectClass.UPLOAD, ObjectClass.OUTPUT
DAY = timedelta(days=1)
MARKER = b"\x00\xffwrapped-key-marker"


def soon(seconds: float = 300) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def new_ref(object_class: ObjectClass = UPLOAD) -> ObjectRef:
    return ObjectRef.new(object_class, soon() + DAY)


def publish(keys: KeyStore, object_class: ObjectClass = UPLOAD) -> PublicRoot:
    current = keys.roots.read(object_class)
    epoch = keys.roots.draw_epoch(object_class, 0)
    assert keys.roots.publish(object_class, current.epoch if current else None, epoch, b"public %d" % epoch)
    return keys.current_root(object_class)


def create(keys: KeyStore, ref: ObjectRef | None = None, *, seconds: float = 300) -> ObjectRef:
    ref = ref or new_ref()
    keys.create(ref, keys.current_root(ref.object_class), MARKER, deadline=soon(seconds), ceiling=soon() + DAY)
    return ref


def events(keys: KeyStore) -> list[dict[bytes, bytes]]:
    return [fields for _, fields in keys.client.xrange(keys.outbox)]


def let_expire(keys: KeyStore, ref: ObjectRef) -> None:
    """Bring the deadline of *ref* to now, as if time had passed, and wait until the server has let the row go."""
    keys.client.pexpire(keys.row(ref.oid), 1)
    keys.client.zadd(keys.live(ref.object_class), {str(ref): keys.client.pexpiretime(keys.row(ref.oid))})
    while keys.client.exists(keys.row(ref.oid)):
        pass


@pytest.fixture
def keys(valkey: PrivateValkey) -> KeyStore:
    store = KeyStore(valkey.client())
    publish(store, UPLOAD)
    publish(store, OUTPUT)
    return store


def test_a_created_row_loads_with_its_deadline(keys: KeyStore) -> None:
    deadline, ceiling = soon(300), soon() + DAY
    ref = new_ref()
    keys.create(ref, keys.current_root(UPLOAD), MARKER, deadline=deadline, ceiling=ceiling)
    row = keys.load(ref)

    assert (row.ref, row.epoch, row.wrapped) == (ref, 1, MARKER)
    assert abs(row.deadline - deadline) < timedelta(milliseconds=2)
    assert keys.client.pexpiretime(keys.row(ref.oid)) == int(deadline.timestamp() * 1000)
    assert keys.status(ref.oid) == Live(UPLOAD, row.deadline, 1)


def test_every_row_has_a_deadline_from_its_first_instant(keys: KeyStore) -> None:
    ref = create(keys)
    log = keys.client.pttl(keys.row(ref.oid))

    assert 0 < log <= 300_000


def test_the_same_create_twice_makes_one_row_and_one_event(keys: KeyStore) -> None:
    ref = new_ref()
    root, deadline = keys.current_root(UPLOAD), soon()
    for _ in range(2):
        keys.create(ref, root, MARKER, deadline=deadline, ceiling=deadline)

    assert len(events(keys)) == 1


def test_a_name_is_used_once(keys: KeyStore) -> None:
    ref = create(keys)
    with pytest.raises(StorageError, match="used once"):
        keys.create(ref, keys.current_root(UPLOAD), b"another", deadline=soon(), ceiling=soon(400))
    keys.shred([ref], ShredReason.DONE)
    with pytest.raises(StorageError, match="used once"):
        create(keys, ref)

    with pytest.raises(ObjectShreddedError):
        keys.load(ref)


def test_a_row_under_a_retired_root_is_refused(keys: KeyStore) -> None:
    old = keys.current_root(UPLOAD)
    publish(keys)
    with pytest.raises(StaleRootError):
        keys.create(new_ref(), old, MARKER, deadline=soon(), ceiling=soon(400))

    assert keys.figures().classes[UPLOAD].live == 0


def test_a_root_of_the_same_epoch_from_another_life_of_the_store_is_refused(keys: KeyStore) -> None:
    old = keys.current_root(UPLOAD)
    keys.client.flushall()
    epoch = keys.roots.draw_epoch(UPLOAD, 0)
    keys.roots.publish(UPLOAD, None, epoch, b"another public half")
    assert keys.current_root(UPLOAD).epoch == old.epoch

    with pytest.raises(StaleRootError):
        keys.create(new_ref(), old, MARKER, deadline=soon(), ceiling=soon(400))


def test_a_deadline_in_the_past_or_beyond_the_ceiling_is_refused(keys: KeyStore) -> None:
    root = keys.current_root(UPLOAD)
    with pytest.raises(DeadlineError, match="past"):
        keys.create(new_ref(), root, MARKER, deadline=soon(-1), ceiling=soon())
    with pytest.raises(DeadlineError, match="ceiling"):
        keys.create(new_ref(), root, MARKER, deadline=soon(300), ceiling=soon(299))

    assert events(keys) == []


def test_shred_destroys_row_and_says_so_in_one_step(keys: KeyStore) -> None:
    first, second, kept = create(keys), create(keys, new_ref(OUTPUT)), create(keys)
    outcomes = keys.shred([first, second], ShredReason.CANCELLED)

    assert [outcome.already for outcome in outcomes] == [False, False]
    assert not keys.client.exists(keys.row(first.oid), keys.row(second.oid))
    assert keys.status(first) == Shredded(outcomes[0].shredded_at, ShredReason.CANCELLED)  # type: ignore[arg-type]
    assert keys.doomed_first(10) == sorted([first, second], key=str)
    assert [(e[b"type"], e[b"oid"].decode()) for e in events(keys)[3:]] == [
        (b"destroyed", first.oid),
        (b"destroyed", second.oid),
    ]
    figures = keys.figures()
    assert (figures.classes[UPLOAD].live, figures.classes[OUTPUT].live) == (1, 0)
    assert figures.created == {UPLOAD: 2, OUTPUT: 1}
    assert figures.destroyed[UPLOAD, ShredReason.CANCELLED] == figures.destroyed[OUTPUT, ShredReason.CANCELLED] == 1
    assert keys.load(kept).wrapped == MARKER


def test_shredding_again_keeps_the_first_time_and_reason(keys: KeyStore) -> None:
    ref = create(keys)
    (first,) = keys.shred([ref], ShredReason.FAILED)
    (again,) = keys.shred([ref], ShredReason.DONE)

    assert (again.already, again.shredded_at, again.reason) == (True, first.shredded_at, ShredReason.FAILED)
    assert len(events(keys)) == 2


def test_shredding_the_unknown_invents_nothing(keys: KeyStore) -> None:
    (outcome,) = keys.shred([new_ref()], ShredReason.DONE)

    assert outcome.unknown
    assert events(keys) == []
    assert keys.doomed_first(10) == []
    assert keys.shred([], ShredReason.DONE) == []


def test_no_wrapped_key_stays_in_tombstone_event_or_index(keys: KeyStore) -> None:
    ref = create(keys)
    keys.shred([ref], ShredReason.DONE)
    dump = b"".join(keys.client.dump(key) for key in keys.client.scan_iter())

    assert MARKER not in dump


def test_live_shredded_and_unknown_are_three_errors(keys: KeyStore) -> None:
    with pytest.raises(UnknownObjectError):
        keys.load(new_ref())
    ref = create(keys)
    keys.shred([ref], ShredReason.DONE)
    with pytest.raises(ObjectShreddedError) as caught:
        keys.load(ref)

    assert caught.value.reason is ShredReason.DONE
    assert abs(caught.value.shredded_at - datetime.now(UTC)) < timedelta(seconds=5)
    assert keys.status(ObjectId("f" * 32)) == Unknown()


def test_an_expired_row_answers_shredded_before_any_sweep(keys: KeyStore) -> None:
    ref = create(keys)
    let_expire(keys, ref)

    with pytest.raises(ObjectShreddedError) as caught:
        keys.load(ref)
    assert caught.value.reason is ShredReason.EXPIRED
    assert keys.figures().classes[UPLOAD].overdue == 1


def test_expiry_is_recorded_once_with_the_true_time(keys: KeyStore) -> None:
    ref = create(keys)
    let_expire(keys, ref)
    deadline = keys.client.zscore(keys.live(UPLOAD), str(ref))

    assert keys.expire_due(UPLOAD, 10) == 1
    assert keys.expire_due(UPLOAD, 10) == 0
    last = events(keys)[-1]
    assert (last[b"reason"], int(last[b"at"])) == (b"expired", int(deadline))
    assert keys.status(ref.oid) == keys.status(ref)
    assert keys.figures().destroyed[UPLOAD, ShredReason.EXPIRED] == 1


def test_shredding_an_expired_row_records_its_expiry(keys: KeyStore) -> None:
    ref = create(keys)
    let_expire(keys, ref)
    (outcome,) = keys.shred([ref], ShredReason.DONE)

    assert (outcome.already, outcome.reason) == (True, ShredReason.EXPIRED)
    assert keys.expire_due(UPLOAD, 10) == 0
    assert [e[b"reason"] for e in events(keys) if e[b"type"] == b"destroyed"] == [b"expired"]


def test_recording_expiries_is_bounded_per_call(keys: KeyStore) -> None:
    for _ in range(5):
        let_expire(keys, create(keys))

    assert [keys.expire_due(UPLOAD, 2) for _ in range(4)] == [2, 2, 1, 0]


def test_extend_moves_all_or_none(keys: KeyStore) -> None:
    first, second = create(keys), create(keys)
    later = soon(3600)
    assert set(keys.extend([first, second], later)) == {first, second}
    assert all(abs(keys.load(ref).deadline - later) < timedelta(milliseconds=2) for ref in (first, second))
    keys.shred([second], ShredReason.DONE)

    with pytest.raises(ObjectShreddedError):
        keys.extend([first, second], soon(7200))
    assert keys.load(first).deadline < soon(3700)
    with pytest.raises(UnknownObjectError):
        keys.extend([first, new_ref()], soon(7200))


def test_extend_never_passes_the_ceiling_nor_shortens_unasked(keys: KeyStore) -> None:
    ref = create(keys, seconds=600)
    before = keys.load(ref).deadline
    with pytest.raises(DeadlineError, match="ceiling"):
        keys.extend([ref], soon() + 2 * DAY)
    with pytest.raises(DeadlineError, match="past"):
        keys.extend([ref], soon(-5))

    assert keys.extend([ref], soon(60)) == {ref: before}
    assert keys.load(ref).deadline == before
    keys.extend([ref], soon(60), may_shorten=True)
    assert keys.load(ref).deadline < soon(61)
    assert keys.client.zscore(keys.live(UPLOAD), str(ref)) == keys.client.pexpiretime(keys.row(ref.oid))


def test_a_tombstone_wins_over_a_row_that_something_brought_back(keys: KeyStore) -> None:
    ref = create(keys)
    row = keys.client.dump(keys.row(ref.oid))
    keys.shred([ref], ShredReason.DONE)
    keys.client.restore(keys.row(ref.oid), 60_000, row)

    with pytest.raises(ObjectShreddedError):
        keys.load(ref)
    keys.shred([ref], ShredReason.DONE)
    assert not keys.client.exists(keys.row(ref.oid))
    assert len(events(keys)) == 2


def test_a_row_of_another_object_under_this_name_is_noticed(keys: KeyStore) -> None:
    first, second = create(keys), create(keys)
    keys.client.copy(keys.row(first.oid), keys.row(second.oid), replace=True)

    with pytest.raises(IntegrityError):
        keys.load(second)


def test_scripts_come_back_after_a_flush_and_a_restart(fresh_valkey: Callable[..., PrivateValkey]) -> None:
    server = fresh_valkey()
    keys = KeyStore(server.client())
    publish(keys)
    first = create(keys)
    server.client().script_flush()
    second = create(keys)
    server.stop()
    server.start()

    keys.shred([first], ShredReason.DONE)
    assert keys.load(second).wrapped == MARKER
    assert isinstance(keys.status(first), Shredded)


def test_a_killed_server_keeps_what_it_acknowledged(fresh_valkey: Callable[..., PrivateValkey]) -> None:
    # With `everysec` a server whose disk is slow holds writes back for two seconds after it has acknowledged them.
    server = fresh_valkey(None, "--appendfsync", "always")
    keys = KeyStore(server.client())
    publish(keys)
    first, second = create(keys), create(keys)
    keys.shred([first], ShredReason.DONE)
    server.kill()
    server.start()

    assert isinstance(keys.status(first), Shredded)
    assert isinstance(keys.status(second), Live)


def test_a_client_that_decodes_is_refused(valkey: PrivateValkey) -> None:
    with pytest.raises(StoreConfigError, match="decode_responses"):
        KeyStore(valkey.client(decode_responses=True))


def test_an_unreachable_server_is_unavailable_in_every_call(fresh_valkey: Callable[..., PrivateValkey]) -> None:
    server = fresh_valkey()
    keys = KeyStore(server.client(retry=None))
    root = publish(keys)
    server.kill()
    ref = new_ref()
    calls: list[Callable[[], object]] = [
        lambda: keys.create(ref, root, MARKER, deadline=soon(), ceiling=soon(400)),
        lambda: keys.load(ref),
        lambda: keys.status(ref),
        lambda: keys.extend([ref], soon()),
        lambda: keys.shred([ref], ShredReason.DONE),
        lambda: keys.expire_due(UPLOAD, 1),
        lambda: keys.doomed_among([ref]),
        lambda: keys.doomed_first(1),
        lambda: keys.forget_doomed([ref]),
        lambda: keys.without_row([ref]),
        lambda: keys.figures(),
        lambda: keys.current_root(UPLOAD),
        lambda: list(keys.roots.rows(UPLOAD, 1)),
        lambda: keys.persist(),
    ]

    for call in calls:
        with pytest.raises(StoreUnavailableError, match="cannot be reached") as caught:
            call()
        assert caught.value.retryable
        assert not isinstance(caught.value.__cause__, redis.RedisError)


def test_a_full_server_is_full_and_its_error_shows_no_key(fresh_valkey: Callable[..., PrivateValkey]) -> None:
    server = fresh_valkey(None, "--maxmemory", "100mb")
    keys = KeyStore(server.client())
    publish(keys)
    server.client().config_set("maxmemory", "1")

    with pytest.raises(StoreFullError) as caught:
        create(keys)
    assert (
        "wrapped-key-marker" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__suppress_context__}"
    )


def test_missing_permissions_are_a_sentence(fresh_valkey: Callable[..., PrivateValkey]) -> None:
    server = fresh_valkey()
    server.client().acl_setuser("reader", enabled=True, nopass=True, keys=["*"], categories=["+@read", "+@connection"])
    keys = KeyStore(server.client(username="reader", password="x"))

    with pytest.raises(StoreConfigError, match="permissions"):
        keys.shred([new_ref()], ShredReason.DONE)


def test_a_key_row_never_prints_its_key(keys: KeyStore) -> None:
    row = keys.load(create(keys))

    assert "wrapped-key-marker" not in repr(row)
    assert "public 1" not in repr(keys.current_root(UPLOAD))


def test_without_a_root_the_sentence_says_who_makes_it(valkey: PrivateValkey) -> None:
    with pytest.raises(StoreUnavailableError, match="sweeper"):
        KeyStore(valkey.client()).current_root(UPLOAD)


def test_namespaces_are_apart(valkey: PrivateValkey) -> None:
    one, other = KeyStore(valkey.client()), KeyStore(valkey.client(), namespace="{shop}")
    publish(one)
    publish(other)
    ref = create(other)

    assert one.status(ref) == Unknown()
    assert one.figures().classes[UPLOAD].live == 0
    assert isinstance(other.status(ref), Live)


def test_persist_knows_the_append_only_file(valkey: PrivateValkey, fresh_valkey: Callable[..., PrivateValkey]) -> None:
    assert KeyStore(valkey.client()).persist() is True
    assert KeyStore(fresh_valkey(None, "--appendonly", "no").client()).persist() is False
