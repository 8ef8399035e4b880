"""Somebody who may write to Redis changes rows, records and messages: nothing opens that should not, nobody falls."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from metrics.instruments import NudgeSource
from storage import IntegrityError, ObjectShreddedError, Shredded, StorageError, UnknownObjectError
from tests.harness import Pool
from tests.sealed import SealedRoom
from worker.advance import Advance
from worker.errors import JobDamagedError
from worker.records import JobId, JobState

GARBAGE = (b"", b"\xff\xfe", b"nonsense", b"-1", b"99999999999999999999", b"[]", b"{", b"null")


@pytest.fixture
def pool(pools: Callable[..., Pool]) -> Pool:
    """A pool in which only the test works."""
    pool = pools(pending=60)
    pool.ensure_roots()
    return pool


@pytest.mark.parametrize("field", ["class", "epoch", "wrapped", "blob"])
def test_p2_a_key_row_changed_in_any_field_opens_nothing(room: SealedRoom, field: str) -> None:
    ref = room.seal(b"a photo").ref
    row = room.keys.row(ref.oid)
    whole = room.keys.client.hget(row, field)
    other = room.keys.client.hget(room.keys.row(room.seal(b"another").ref.oid), field)
    changed = {bytes([whole[0] ^ 1]) + whole[1:], whole[:-1], whole + b"x", whole[:-1] + bytes([whole[-1] ^ 128])}
    for value in changed | ({other} - {whole}):
        room.keys.client.hset(row, field, value)
        with pytest.raises((IntegrityError, UnknownObjectError, StorageError)):
            room.store.open_bytes(ref)
    room.keys.client.hset(row, field, whole)

    assert room.store.open_bytes(ref) == b"a photo"


def test_p6_a_job_record_changed_in_any_field_costs_that_job_and_no_worker(pool: Pool, advance: Advance) -> None:
    redis, store = pool.deployment.redis, pool.deployment.store
    fields = [field for field in redis.hgetall(f"dayfly:job:{pool.submit(b'x', 'null').id}") if field != b"subject"]
    survivor = pool.submit(b"a photo", "null")
    damaged = 0
    for field in fields:
        for value in GARBAGE:
            job = pool.submit(b"a photo", "null")
            redis.hset(f"dayfly:job:{job.id}", field, value)
            advance(job.id)
            try:
                record = pool.client.show(job.id)
            except JobDamagedError:
                damaged += 1
                state = redis.hget(f"dayfly:job:{job.id}", "state")
                assert (field, state) == (field, b"failed")
                assert redis.zscore("dayfly:jobs:open", job.id) is None
                named = [ref for name, ref in ((b"upload", job.upload), (b"params", job.params)) if name != field]
                assert all(isinstance(store.status(ref), Shredded) for ref in named)
            else:
                # What the worker could still read, it carried to an end, or left to whoever looks after it.
                assert record.state.ended or redis.zscore("dayfly:jobs:open", job.id) is not None
    advance(survivor.id)

    assert damaged > len(fields)
    assert pool.client.show(survivor.id).state is JobState.DONE
    assert len(list(pool.client.list(1000))) >= 1


def test_p6_forged_and_repeated_messages_change_nothing(pool: Pool, advance: Advance) -> None:
    ended, cancelled = pool.submit(b"a photo", "null"), pool.submit(b"a photo", "null")
    pool.client.cancel(cancelled.id)
    advance(ended.id)
    redis = pool.deployment.redis
    records = {job.id: redis.hgetall(f"dayfly:job:{job.id}") for job in (ended, cancelled)}
    before = pool.deployment.keys.figures()

    for forged in (ended.id, cancelled.id, "f" * 32, "../../etc/passwd", "", "*", "x" * 100_000, "open", "ended\r\nx"):
        for _ in range(3):
            advance(forged)
            pool.deployment.broker.nudge(JobId(forged), NudgeSource.SWEEP)

    assert {job.id: redis.hgetall(f"dayfly:job:{job.id}") for job in (ended, cancelled)} == records
    after = pool.deployment.keys.figures()
    assert (after.created, after.destroyed) == (before.created, before.destroyed)
    assert redis.keys("dayfly:job:*passwd*") == []
    with pytest.raises(ObjectShreddedError):
        pool.deployment.store.open_bytes(ended.upload)
    assert "passwd" not in json.dumps([record.to_json() for record in pool.client.list()])
