"""The actor's body in this process: what a job comes to when a server fails at the worst moment."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest

from storage import Live, ObjectClass
from tests.harness import Pool, photo
from worker.advance import Advance
from worker.errors import ServerUnavailableError
from worker.jobs import Lease
from worker.leases import LeaseKeeper
from worker.records import JobState


@pytest.fixture
def pool(pools: Callable[..., Pool]) -> Pool:
    pool = pools(pending=60)
    pool.ensure_roots()
    return pool


def test_the_end_of_one_visit_does_not_let_go_of_the_next_ones_lease(pool: Pool) -> None:
    """A job handed on without a delay is claimed by another thread before the first has left it."""
    jobs = pool.deployment.jobs
    job = pool.submit(b"an upload", "null")
    with LeaseKeeper(jobs, timedelta(seconds=30)) as keeper:
        first = jobs.claim(job.id, lease_for=timedelta(seconds=30), most_strikes=5)
        with ExitStack() as second_visit:
            with keeper.keeping(first):
                jobs.release(first, wake_in=timedelta(), grace=timedelta())
                second = jobs.claim(job.id, lease_for=timedelta(seconds=30), most_strikes=5)
                second_visit.enter_context(keeper.keeping(second))

            assert keeper.held() == [second]
        assert keeper.held() == []


def let_lease_run_out(pool: Pool, job_id: str) -> None:
    pool.deployment.redis.hset(f"dayfly:job:{job_id}", "lease_until", "1")


def test_outputs_are_kept_when_the_answer_to_their_naming_is_lost(
    pool: Pool, advance: Advance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis took the record that names them and the answer timed out: the next worker finds them and ends the job."""
    job = pool.submit(photo(), "web-set")
    transition = pool.deployment.jobs.transition

    def answer_lost(lease: Lease, to: JobState, *rest: Any, **changes: Any) -> Lease:
        moved = transition(lease, to, *rest, **changes)
        if to is JobState.SETTLED:
            raise ServerUnavailableError("Redis does not answer in time.")
        return moved

    with monkeypatch.context() as stalled:
        stalled.setattr(pool.deployment.jobs, "transition", answer_lost)
        advance(job.id)
    assert pool.client.show(job.id).state is JobState.SETTLED
    let_lease_run_out(pool, job.id)
    advance(job.id)

    ended = pool.client.show(job.id)
    assert (ended.state, ended.error_code) == (JobState.DONE, None)
    assert ended.outputs
    assert all(isinstance(pool.deployment.store.status(output.ref), Live) for output in ended.outputs)


def test_outputs_that_no_record_names_die_with_the_pending_deadline(
    pool: Pool, advance: Advance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin: Redis did not take the record. What was sealed for it is made again, and the first copy dies soon."""
    job = pool.submit(photo(), "web-set")
    transition = pool.deployment.jobs.transition

    def never_arrived(lease: Lease, to: JobState, *rest: Any, **changes: Any) -> Lease:
        if to is JobState.SETTLED:
            raise ServerUnavailableError("Redis cannot be reached.")
        return transition(lease, to, *rest, **changes)

    with monkeypatch.context() as away:
        away.setattr(pool.deployment.jobs, "transition", never_arrived)
        advance(job.id)
    let_lease_run_out(pool, job.id)
    advance(job.id)

    ended = pool.client.show(job.id)
    assert ended.state is JobState.DONE
    left = pool.deployment.redis.zrange("dayfly:live:output", 0, -1, withscores=True)
    unnamed = [due for name, due in left if name.decode() not in {str(output.ref) for output in ended.outputs}]
    assert len(unnamed) == len(ended.outputs)
    assert max(unnamed) / 1000 < ended.created_at.timestamp() + 120
    assert pool.deployment.keys.figures().classes[ObjectClass.UPLOAD].live == 0


def test_p3_a_providers_result_that_no_record_names_dies_with_the_pending_deadline(
    pool: Pool, advance: Advance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody shreds it at the job's end: nobody knows that it is the job's."""
    monkeypatch.setenv("DARKROOM", str(pool.folder / "darkroom"))
    monkeypatch.setenv("DARKROOM_POLLS", "0")
    job = pool.submit(photo(), "amazon-main", provider="darkroom")
    transition = pool.deployment.jobs.transition

    def never_arrived(lease: Lease, to: JobState, *rest: Any, **changes: Any) -> Lease:
        if to is JobState.COLLECTING:
            raise ServerUnavailableError("Redis cannot be reached.")
        return transition(lease, to, *rest, **changes)

    advance(job.id)
    with monkeypatch.context() as away:
        away.setattr(pool.deployment.jobs, "transition", never_arrived)
        advance(job.id)

    due = dict(pool.deployment.redis.zrange("dayfly:live:upload", 0, -1, withscores=True))
    named = {str(ref).encode() for ref in job.consumed}
    assert len(due) == 3
    assert [at / 1000 < job.created_at.timestamp() + 120 for name, at in due.items() if name not in named] == [True]
    let_lease_run_out(pool, job.id)
    advance(job.id)
    assert pool.client.show(job.id).state is JobState.DONE
