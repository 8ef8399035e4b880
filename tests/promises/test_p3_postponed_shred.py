"""P3 with a policy that postpones the shred: never beyond what was agreed, and only for a job that is done."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from storage import DeadlineError, Live, ObjectShreddedError, Shredded, ShredReason
from tests.harness import Pool, eventually
from worker.errors import PolicyError
from worker.records import JobState
from worker.settling import finish_settled, settle
from worker.sweeper import Sweeper

POLICY = """\
name = "second-try"
title = "For tests"

[upload]
shred = "after"
after_seconds = 3600
latest_seconds = 7200

[output]
latest_seconds = 86400
"""


@pytest.fixture
def pool(pools: Callable[..., Pool]) -> Pool:
    """A pool in which nobody works; the tests bring jobs to their ends."""
    pool = pools(pending=60)
    (pool.folder / "policies" / "second-try.toml").write_text(POLICY)
    pool.ensure_roots()
    return pool


def near(one: datetime, other: datetime) -> bool:
    return abs(one - other) < timedelta(seconds=20)


def test_p3_the_upload_of_a_done_job_lives_as_long_as_agreed(pool: Pool) -> None:
    job = pool.done(pool.submit(b"an upload", "null", policy="second-try"))

    assert job.state is JobState.DONE
    for ref in (job.upload, job.params):
        status = pool.deployment.store.status(ref)
        assert isinstance(status, Live)
        assert near(status.deadline, datetime.now(UTC) + timedelta(hours=1))
    assert str(job.upload) in pool.ciphertexts()


@pytest.mark.parametrize("outcome", [JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED])
def test_p3_a_job_that_ends_otherwise_keeps_nothing(pool: Pool, outcome: JobState) -> None:
    job = pool.submit(b"an upload", "null", policy="second-try")
    if outcome is JobState.CANCELLED:
        pool.client.cancel(job.id)
    else:
        lease = pool.deployment.jobs.claim(job.id, lease_for=timedelta(seconds=30), most_strikes=5)
        finish_settled(settle(lease, pool.deployment.jobs, outcome, ShredReason.FAILED), pool.deployment)

    for ref in (job.upload, job.params):
        assert isinstance(pool.deployment.store.status(ref), Shredded)
    assert pool.ciphertexts() == set()


def test_p3_a_job_may_ask_for_less_and_the_default_policy_keeps_nothing(pool: Pool) -> None:
    at_once = pool.done(pool.submit(b"a", "null", policy="second-try", keep_upload=timedelta()))
    shorter = pool.done(
        pool.submit(
            b"b", "null", policy="second-try", keep_upload=timedelta(minutes=5), keep_outputs=timedelta(minutes=7)
        )
    )
    default = pool.done(pool.submit(b"c", "null"))

    assert isinstance(pool.deployment.store.status(at_once.upload), Shredded)
    assert isinstance(pool.deployment.store.status(default.upload), Shredded)
    for ref, minutes in ((shorter.upload, 5), (shorter.outputs[0].ref, 7)):
        status = pool.deployment.store.status(ref)
        assert isinstance(status, Live)
        assert near(status.deadline, datetime.now(UTC) + timedelta(minutes=minutes))


@pytest.mark.parametrize(
    ("policy", "asked"),
    [
        ("second-try", {"keep_upload": timedelta(hours=2)}),
        ("quick", {"keep_upload": timedelta(seconds=1)}),
        ("quick", {"keep_outputs": timedelta(days=2)}),
        ("quick", {"keep_outputs": timedelta()}),
        ("second-try", {"keep_upload": timedelta(seconds=-1)}),
    ],
)
def test_p3_a_job_that_asks_for_more_is_refused_before_anything_is_sealed(
    pool: Pool, policy: str, asked: dict[str, timedelta]
) -> None:
    with pytest.raises(PolicyError, match="may only ask for less"):
        pool.submit(b"an upload", "null", policy=policy, **asked)

    assert pool.ciphertexts() == set()


def test_p3_an_extension_never_passes_what_the_policy_gives_at_most(pool: Pool) -> None:
    submitted = datetime.now(UTC)
    job = pool.done(pool.submit(b"an upload", "null", policy="second-try"))
    later = submitted + timedelta(minutes=90)

    assert near(pool.client.extend(job.id, later), later)
    with pytest.raises(DeadlineError, match="ceiling"):
        pool.client.extend(job.id, submitted + timedelta(hours=3))
    assert near(pool.client.extend(job.id, submitted + timedelta(minutes=5)), later)
    gone = pool.done(pool.submit(b"an upload", "null"))
    with pytest.raises(ObjectShreddedError):
        pool.client.extend(gone.id, later)


def test_p3_what_a_done_job_kept_can_be_shredded_at_once(pool: Pool) -> None:
    job = pool.done(pool.submit(b"an upload", "null", policy="second-try"))

    pool.client.shred(job.id)

    assert all(isinstance(pool.deployment.store.status(ref), Shredded) for ref in job.objects)
    assert pool.ciphertexts() == set()


def test_p3_the_end_of_a_postponed_shred_is_recorded_with_its_true_time(pool: Pool) -> None:
    job = pool.done(pool.submit(b"an upload", "null", policy="second-try", keep_upload=timedelta(seconds=1)))
    status = pool.deployment.store.status(job.upload)
    assert isinstance(status, Live)
    row = pool.deployment.keys.row(job.upload.oid)
    eventually(lambda: not pool.deployment.keys.client.exists(row))

    sweeper = Sweeper.of(pool.deployment)
    sweeper.sweep()
    sweeper.sweep()

    ends = [r for r in pool.receipts() if r.get("oid") == job.upload.oid and r["type"] == "destroyed"]
    assert [(end["reason"], end["at"]) for end in ends] == [("expired", int(status.deadline.timestamp() * 1000))]
    assert str(job.upload) not in pool.ciphertexts()
