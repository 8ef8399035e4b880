"""The end of a job, repeated by another worker after a crash, however much later that is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from storage import Live, ObjectRef, Shredded, ShredReason
from tests.harness import Pool
from worker.jobs import Lease
from worker.records import JobState
from worker.settling import finish_settled

LEASE = timedelta(seconds=30)


@pytest.fixture
def pool(pools: Callable[..., Pool]) -> Pool:
    pool = pools(pending=60)
    pool.ensure_roots()
    return pool


def settled_with_an_output(pool: Pool) -> tuple[Lease, ObjectRef]:
    """A job as a worker leaves it that dies right after it settled the job as done."""
    lease = pool.settle_as_done(pool.submit(b"an upload", "null"), b"a rendition")
    return lease, lease.job.outputs[0].ref


def test_a_repeated_end_asks_for_the_deadline_of_the_first(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first worker extended the outputs and died; the second comes when "now" would pass their ceiling."""
    lease, output = settled_with_an_output(pool)
    asked: list[datetime] = []
    extend = pool.deployment.store.extend

    def remembered(refs: list[ObjectRef], deadline: datetime, **how: bool) -> object:
        asked.append(deadline)
        return extend(refs, deadline, **how)

    monkeypatch.setattr(pool.deployment.store, "extend", remembered)
    with monkeypatch.context() as crash:

        def die(*_: object) -> None:
            raise SystemExit

        crash.setattr(pool.deployment.store, "shred", die)
        with pytest.raises(SystemExit):
            finish_settled(lease, pool.deployment)
    finish_settled(lease, pool.deployment)

    assert len(asked) == 2
    assert asked[0] == asked[1] == lease.job.stage_times[JobState.SETTLED] + timedelta(seconds=86_400)
    assert isinstance(pool.deployment.store.status(output.oid), Live)
    assert pool.client.show(lease.job_id).state is JobState.DONE


def test_outputs_that_died_before_the_end_make_the_job_expired_and_not_done(pool: Pool) -> None:
    lease, output = settled_with_an_output(pool)
    pool.deployment.store.shred([output], ShredReason.EXPIRED)

    finish_settled(lease, pool.deployment)

    ended = pool.client.show(lease.job_id)
    assert (ended.state, ended.error_code) == (JobState.EXPIRED, "outputs-expired")
    upload = pool.deployment.store.status(ended.upload.oid)
    assert isinstance(upload, Shredded)
    assert upload.reason is ShredReason.EXPIRED, "the receipt must not call the job done"


def test_p3_a_job_ends_though_its_policy_was_taken_away_meanwhile(pool: Pool) -> None:
    """The worker that finishes may be of a release, or have a folder of policies, without the job's policy."""
    lease, output = settled_with_an_output(pool)
    pool.deployment.policies = {}

    finish_settled(lease, pool.deployment)

    assert pool.client.show(lease.job_id).state is JobState.DONE
    status = pool.deployment.store.status(output.oid)
    assert isinstance(status, Live)
    kept = status.deadline - lease.job.stage_times[JobState.SETTLED]
    assert abs(kept - timedelta(days=1)) < timedelta(seconds=1)


def test_ending_twice_changes_nothing(pool: Pool) -> None:
    lease, _ = settled_with_an_output(pool)
    finish_settled(lease, pool.deployment)
    shredded = pool.deployment.store.status(lease.job.upload.oid)

    with pytest.raises(Exception, match=r"no longer|held|holds"):
        finish_settled(lease, pool.deployment)

    assert pool.deployment.store.status(lease.job.upload.oid) == shredded
    assert pool.client.show(lease.job_id).state is JobState.DONE
