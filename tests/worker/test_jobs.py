"""The job record: leases, fencing tokens, strikes, and the states a job may go through."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import redis

from metrics.instruments import ClaimResult
from storage import ObjectClass, ObjectRef, new_object_id
from worker.errors import JobNotFoundError, LeaseLostError, ServerUnavailableError
from worker.jobs import JobStore, Lease
from worker.records import JobId, JobState
from worker.settling import DONE_FIELDS

LONG = timedelta(seconds=30)
SHORT = timedelta(milliseconds=60)
MOST_STRIKES = 3


def _ref() -> ObjectRef:
    return ObjectRef.parse(f"{ObjectClass.UPLOAD}/2099010100/{new_object_id()}")


@pytest.fixture
def jobs(client: redis.Redis) -> JobStore:
    return JobStore(client)


@pytest.fixture
def job_id(jobs: JobStore) -> JobId:
    """An accepted job."""
    made = JobId("a" * 32)
    deadline = datetime.now(UTC) + timedelta(hours=24)
    jobs.create(
        {
            "recipe": "web-set",
            "provider": "none",
            "policy": "process-and-forget",
            "upload": str(_ref()),
            "params": str(_ref()),
            "deadline": str(int(deadline.timestamp() * 1000)),
        },
        made,
        look_after=LONG,
        longest=LONG,
    )
    return made


def claim(jobs: JobStore, job_id: JobId, lease_for: timedelta = LONG) -> Lease:
    return jobs.claim(job_id, lease_for=lease_for, most_strikes=MOST_STRIKES)


def let_run_out(lease_for: timedelta) -> None:
    """Leases are on the server's clock, which cannot be moved: wait for it."""
    time.sleep(lease_for.total_seconds() * 1.5)


def test_claiming_an_accepted_job_starts_preparing(jobs: JobStore, job_id: JobId) -> None:
    lease = claim(jobs, job_id)

    assert lease.held
    assert lease.job.state is JobState.PREPARING
    assert list(lease.job.stage_times) == [JobState.ACCEPTED, JobState.PREPARING]


def test_creating_a_job_twice_keeps_the_first(jobs: JobStore, job_id: JobId) -> None:
    before = jobs.show(job_id)

    jobs.create({"recipe": "another"}, job_id, look_after=LONG, longest=LONG)

    assert jobs.show(job_id) == before
    assert jobs.figures()[JobState.ACCEPTED] == 1


def test_of_many_claims_at_once_one_is_given(jobs: JobStore, job_id: JobId) -> None:
    start = threading.Barrier(8)

    def attempt(_: int) -> ClaimResult:
        start.wait()
        return claim(jobs, job_id).result

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(attempt, range(8)))

    assert sorted(results) == sorted([ClaimResult.CLAIMED, *[ClaimResult.TAKEN] * 7])


def test_a_zombie_cannot_write_after_its_lease_was_given_to_another(jobs: JobStore, job_id: JobId) -> None:
    zombie = claim(jobs, job_id, SHORT)
    let_run_out(SHORT)
    heir = claim(jobs, job_id)

    with pytest.raises(LeaseLostError):
        jobs.transition(zombie, JobState.RENDERING)
    with pytest.raises(LeaseLostError):
        jobs.finish(zombie)
    assert jobs.renew([zombie]) == [zombie]
    assert jobs.release(zombie, wake_in=timedelta(), grace=LONG) is False
    assert jobs.transition(heir, JobState.RENDERING).job.state is JobState.RENDERING


def test_a_transition_from_a_state_the_job_has_left_is_refused(jobs: JobStore, job_id: JobId) -> None:
    lease = claim(jobs, job_id)
    jobs.transition(lease, JobState.RENDERING)

    with pytest.raises(LeaseLostError):
        jobs.transition(lease, JobState.SUBMITTING)


def test_a_renewed_lease_outlives_its_first_term(jobs: JobStore, job_id: JobId) -> None:
    lease = claim(jobs, job_id, timedelta(milliseconds=200))
    for _ in range(4):
        time.sleep(0.08)
        assert jobs.renew([lease]) == []

    assert claim(jobs, job_id).result is ClaimResult.TAKEN


def test_leases_that_run_out_are_strikes_and_end_the_job(jobs: JobStore, job_id: JobId) -> None:
    for expected in (0, 1, 2):
        lease = claim(jobs, job_id, SHORT)
        assert lease.job.strikes == expected
        assert lease.job.state is JobState.PREPARING
        let_run_out(SHORT)

    last = claim(jobs, job_id)

    assert last.held
    assert last.job.state is JobState.SETTLED
    assert (last.job.outcome, last.job.error_code) == (JobState.FAILED, "gave-up")


def test_an_orderly_wait_clears_the_strikes(jobs: JobStore, job_id: JobId) -> None:
    claim(jobs, job_id, SHORT)
    let_run_out(SHORT)
    lease = claim(jobs, job_id)
    assert lease.job.strikes == 1

    jobs.release(lease, wake_in=timedelta(), grace=LONG)

    assert claim(jobs, job_id).job.strikes == 0


def test_a_waiting_job_is_not_claimed_before_its_time(jobs: JobStore, job_id: JobId) -> None:
    jobs.release(claim(jobs, job_id), wake_in=LONG, grace=LONG)

    assert claim(jobs, job_id).result is ClaimResult.WAITING


def test_failed_attempts_are_strikes_and_the_last_settles_the_job(jobs: JobStore, job_id: JobId) -> None:
    gave_up = []
    for _ in range(MOST_STRIKES):
        lease = claim(jobs, job_id)
        gave_up.append(
            jobs.release(
                lease,
                wake_in=timedelta(),
                grace=LONG,
                strikes=1,
                most_strikes=MOST_STRIKES,
                give_up={"outcome": "failed", "reason": "failed", "error_code": "gave-up", "error_message": "No."},
            )
        )

    assert gave_up == [False, False, True]
    assert jobs.show(job_id).state is JobState.SETTLED
    assert jobs.show(job_id).error_code == "gave-up"


def test_cancelling_voids_the_lease_of_whoever_works_on_the_job(jobs: JobStore, job_id: JobId) -> None:
    worker = claim(jobs, job_id)

    canceller = jobs.cancel(job_id, lease_for=LONG)

    assert canceller.held
    with pytest.raises(LeaseLostError):
        jobs.transition(worker, JobState.RENDERING)
    jobs.finish(canceller)
    assert jobs.show(job_id).state is JobState.CANCELLED


def test_an_ended_job_stays_as_it_ended(jobs: JobStore, job_id: JobId) -> None:
    lease = jobs.transition(claim(jobs, job_id), JobState.SETTLED, DONE_FIELDS)
    jobs.finish(lease)

    assert claim(jobs, job_id).result is ClaimResult.ENDED
    assert jobs.cancel(job_id, lease_for=LONG).result is ClaimResult.ENDED
    assert jobs.show(job_id).state is JobState.DONE
    with pytest.raises(LeaseLostError):
        jobs.finish(lease)


def test_the_state_counts_follow_the_job(jobs: JobStore, job_id: JobId) -> None:
    assert jobs.figures()[JobState.ACCEPTED] == 1
    jobs.finish(jobs.transition(claim(jobs, job_id), JobState.SETTLED, DONE_FIELDS))

    assert {state: count for state, count in jobs.figures().items() if count} == {JobState.DONE: 1}


def test_a_job_nobody_moves_on_is_due_once_per_look(jobs: JobStore, job_id: JobId) -> None:
    assert jobs.due(limit=10, look_again=LONG) == []
    claim(jobs, job_id, SHORT)
    let_run_out(SHORT)

    assert jobs.due(limit=10, look_again=LONG) == [job_id]
    assert jobs.due(limit=10, look_again=LONG) == []


def test_an_ended_job_is_never_due(jobs: JobStore, job_id: JobId) -> None:
    jobs.finish(jobs.transition(claim(jobs, job_id, SHORT), JobState.SETTLED, DONE_FIELDS))
    let_run_out(SHORT)

    assert jobs.due(limit=10, look_again=LONG) == []


def test_watching_sees_every_change_and_ends_with_the_job(jobs: JobStore, job_id: JobId) -> None:
    watched = jobs.watch(job_id)
    states = [next(watched).state]
    lease = claim(jobs, job_id)
    states.append(next(watched).state)
    lease = jobs.transition(lease, JobState.SETTLED, DONE_FIELDS)
    jobs.finish(lease)
    states += [record.state for record in watched]

    assert states[:2] == [JobState.ACCEPTED, JobState.PREPARING]
    assert states[-1] is JobState.DONE


def test_watching_ends_at_the_time_asked_for(jobs: JobStore, job_id: JobId) -> None:
    seen = list(jobs.watch(job_id, end=datetime.now(UTC) + timedelta(milliseconds=50)))

    assert [record.state for record in seen] == [JobState.ACCEPTED]


def test_an_unknown_job_is_said_to_be_unknown(jobs: JobStore) -> None:
    with pytest.raises(JobNotFoundError, match=r"no job .b{32}"):
        jobs.show(JobId("b" * 32))
    assert claim(jobs, JobId("b" * 32)).result is ClaimResult.UNKNOWN


def test_an_unreachable_server_is_one_sentence() -> None:
    jobs = JobStore(redis.Redis(unix_socket_path="/nonexistent/valkey.sock"))

    with pytest.raises(ServerUnavailableError, match="cannot be reached; check that it runs"):
        jobs.show(JobId("c" * 32))


def test_a_settled_job_that_cannot_be_finished_now_waits_like_any_other(jobs: JobStore, job_id: JobId) -> None:
    """Its keys must be destroyed, so it is never given up, however many strikes it has; nor tried in a hot loop."""
    lease = jobs.transition(claim(jobs, job_id), JobState.SETTLED, DONE_FIELDS)

    gave_up = jobs.release(lease, wake_in=LONG, grace=LONG, strikes=MOST_STRIKES, most_strikes=MOST_STRIKES)

    assert gave_up is False
    assert claim(jobs, job_id).result is ClaimResult.WAITING
