"""
P7 for each shape of provider: a worker dies before, during and after the paid call, another takes the job up, and the
bill is read at the provider. In this process, so that every combination is quick; real kills of real processes are in
`test_p7_paid_once_at_a_provider` and, for all combinations, in the campaign below.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from metrics.instruments import PROVIDER_CALLS, CallOutcome
from providers import Done, OutcomeUnknown, Pending, Provider, ProviderRegistry, Transient
from tests.harness import Pool, eventually, photo, pools
from tests.worker.visits import Visits, sandbox, visits
from worker import lost_calls
from worker.errors import ServerUnavailableError
from worker.faults import WorkerFault
from worker.records import JobRecord, JobState

__all__ = ["pools", "sandbox", "visits"]

SHAPES = ["darkroom", "darkroom-sync", "darkroom-keyed", "darkroom-named"]
BEFORE, DURING, AFTER = "before", "during", "after"


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the code under test catches it."""


def adapter(name: str) -> type[Provider]:
    return ProviderRegistry.from_entry_points().get(name)


def kill(visits: Visits, monkeypatch: pytest.MonkeyPatch, provider: str, instant: str) -> JobRecord:
    """Have the worker of a job die at an instant of its call, and its lease run out."""
    job = visits.submit(provider)

    def die(*_: object) -> None:
        raise Killed

    def die_at(fault: WorkerFault) -> Callable[[WorkerFault], None]:
        return lambda point: die() if point is fault else None

    with monkeypatch.context() as patch:
        if instant == DURING:
            patch.setattr(adapter(provider), "_hang", die)
        else:
            fault = WorkerFault.INTENT_STORED if instant == BEFORE else WorkerFault.SUBMITTED
            patch.setattr("worker.steps.reach", die_at(fault))
        with pytest.raises(Killed):
            visits.once(job.id)
    visits.pool.deployment.redis.hset(f"dayfly:job:{job.id}", "lease_until", "1")
    return job


def unknown_calls(provider: str) -> float:
    return PROVIDER_CALLS.labels(provider=provider, outcome=CallOutcome.UNKNOWN)._value.get()


@pytest.mark.parametrize("instant", [BEFORE, DURING, AFTER])
@pytest.mark.parametrize("provider", SHAPES)
def test_p7_a_worker_that_dies_around_a_paid_call_leaves_at_most_one_charge(
    visits: Visits, monkeypatch: pytest.MonkeyPatch, provider: str, instant: str
) -> None:
    monkeypatch.setattr(lost_calls, "UNDER_WAY_FOR", timedelta())
    job = kill(visits, monkeypatch, provider, instant)
    counted = unknown_calls(provider)

    ended = visits.until_ended(job.id)

    if provider in ("darkroom-keyed", "darkroom-named"):
        assert ended.state is JobState.DONE
        assert len(visits.pool.charges()) == 1
    else:
        assert (ended.state, ended.error_code) == (JobState.FAILED, "outcome-unknown")
        assert len(visits.pool.charges()) == (0 if instant == BEFORE else 1)
        assert ended.transfers[-1].answer == "outcome-unknown"
        assert unknown_calls(provider) == counted + 1


def test_p7_a_call_that_may_still_be_under_way_is_not_made_again(
    visits: Visits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider has not heard of it yet: that proves nothing for as long as a call can be under way."""
    job = kill(visits, monkeypatch, "darkroom-named", BEFORE)
    record = visits.once(job.id)
    waiting = (record.state, visits.pool.charges())
    monkeypatch.setattr(lost_calls, "UNDER_WAY_FOR", timedelta())

    ended = visits.until_ended(job.id)

    assert waiting == (JobState.SUBMITTING, [])
    assert (ended.state, len(visits.pool.charges())) == (JobState.DONE, 1)
    assert ended.repeats == 1


def test_p7_a_look_up_that_fails_does_not_make_a_new_call(visits: Visits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_calls, "UNDER_WAY_FOR", timedelta())
    job = kill(visits, monkeypatch, "darkroom-named", DURING)

    def broken(*_: object) -> Done | Pending | None:
        raise Transient("The darkroom is shut.")

    with monkeypatch.context() as patch:
        patch.setattr(adapter("darkroom-named"), "_look_up", broken)
        for _ in range(3):
            record = visits.once(job.id)
        patch.setattr(lost_calls, "LOOK_FOR", timedelta())
        given_up = visits.once(job.id)

    assert record.state is JobState.SUBMITTING
    assert (given_up.state, given_up.error_code) == (JobState.FAILED, "outcome-unknown")
    assert len(visits.pool.charges()) == 1


def test_p7_a_look_up_at_another_server_proves_nothing(visits: Visits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_calls, "UNDER_WAY_FOR", timedelta())
    job = kill(visits, monkeypatch, "darkroom-named", BEFORE)
    monkeypatch.setattr(adapter("darkroom-named"), "host", lambda *_: "elsewhere.example")

    ended = visits.until_ended(job.id)

    assert (ended.error_code, visits.pool.charges()) == ("outcome-unknown", [])


@pytest.mark.parametrize("provider", ["darkroom-keyed", "darkroom-named"])
def test_p7_an_answer_lost_in_a_living_worker_is_found_again(
    visits: Visits, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    job = visits.submit(provider)
    with monkeypatch.context() as patch:
        patch.setattr(adapter(provider), "_hang", lose_the_answer)
        lost = visits.once(job.id)

    ended = visits.until_ended(job.id)

    assert (lost.state, lost.transfers[-1].answer) == (JobState.SUBMITTING, "outcome-unknown")
    assert (ended.state, len(visits.pool.charges())) == (JobState.DONE, 1)


def test_p7_a_call_is_not_repeated_before_the_record_knows_of_it(
    visits: Visits, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = kill(visits, monkeypatch, "darkroom-keyed", BEFORE)

    def away(*_: object, **__: object) -> None:
        raise ServerUnavailableError("1 of 2 replicas have the change.")

    with monkeypatch.context() as patch:
        patch.setattr(visits.bench.jobs, "note", away)
        record = visits.once(job.id)

    assert (record.state, record.repeats, visits.pool.charges()) == (JobState.SUBMITTING, 0, [])


def test_p7_an_answer_that_is_always_lost_is_given_up(visits: Visits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter("darkroom-keyed"), "_hang", lose_the_answer)
    job = visits.submit("darkroom-keyed")

    ended = visits.until_ended(job.id)

    assert (ended.state, ended.error_code) == (JobState.FAILED, "outcome-unknown")
    assert len(visits.pool.charges()) == 1
    assert len(ended.transfers) == 1 + lost_calls.MOST_REPEATS


@pytest.mark.parametrize("instant", [DURING, AFTER])
def test_p7_a_policy_that_accepts_a_double_charge_has_the_call_made_once_more(
    visits: Visits, monkeypatch: pytest.MonkeyPatch, instant: str
) -> None:
    accept_double_charges(visits)
    job = kill(visits, monkeypatch, "darkroom", instant)

    ended = visits.until_ended(job.id)

    assert (ended.state, ended.repeats) == (JobState.DONE, 1)
    assert len(visits.pool.charges()) == 2


def test_p7_a_double_charge_is_not_a_triple_one(visits: Visits, monkeypatch: pytest.MonkeyPatch) -> None:
    accept_double_charges(visits)
    monkeypatch.setattr(adapter("darkroom"), "_hang", lose_the_answer)
    job = visits.submit("darkroom")

    ended = visits.until_ended(job.id)

    assert (ended.state, ended.error_code) == (JobState.FAILED, "outcome-unknown")
    assert len(visits.pool.charges()) == 2


def test_p7_a_worker_that_stops_in_order_before_the_call_leaves_no_doubt(
    visits: Visits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has stored the intent and not called: whoever comes next must not take that for a lost answer."""
    job = visits.submit("darkroom")

    def stop(point: WorkerFault) -> None:
        if point is WorkerFault.INTENT_STORED:
            visits.draining.set()

    with monkeypatch.context() as patch:
        patch.setattr("worker.steps.reach", stop)
        handed_on = visits.once(job.id)
    visits.draining.clear()
    ended = visits.until_ended(job.id)

    assert (handed_on.state, handed_on.transfers) == (JobState.PREPARING, ())
    assert (ended.state, len(visits.pool.charges())) == (JobState.DONE, 1)
    assert [transfer.attempts for transfer in ended.transfers] == [1]


def test_p7_what_was_paid_for_is_stored_before_the_account_is_seen_to(
    visits: Visits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that fails between the answer and anything but its storing costs no second call."""

    def away(*_: object, **__: object) -> int:
        raise ServerUnavailableError("Redis cannot be reached.")

    job = visits.submit("darkroom")
    with monkeypatch.context() as patch:
        for name in ("report", "keep", "leave"):
            patch.setattr(visits.bench.gate, name, away)
        visits.once(job.id)
    visits.pool.deployment.redis.hset(f"dayfly:job:{job.id}", "lease_until", "1")
    ended = visits.until_ended(job.id)

    assert (ended.state, len(visits.pool.charges())) == (JobState.DONE, 1)


def test_p7_the_task_is_stored_with_all_that_another_worker_needs(visits: Visits) -> None:
    job = visits.submit("darkroom")

    record = visits.until(job.id, lambda record: record.task is not None)

    assert record.task is not None
    assert record.task.keys() == {
        "provider", "credential", "base_url", "model", "task_id", "poll_url", "submitted_at", "expires_at",
    }  # fmt: skip


def lose_the_answer(*_: object) -> None:
    raise OutcomeUnknown("The call was sent and its answer was lost; it may have been charged.")


def accept_double_charges(visits: Visits) -> None:
    policies = visits.bench.policies
    assert isinstance(policies, dict)
    policies["quick"] = policies["quick"].model_copy(update={"accepts_double_charge": True})


@pytest.mark.campaign
@pytest.mark.timeout(120)
@pytest.mark.parametrize("instant", [BEFORE, DURING, AFTER])
@pytest.mark.parametrize("provider", SHAPES)
def test_p7_campaign_of_real_kills_around_a_paid_call(pools: Callable[..., Pool], provider: str, instant: str) -> None:
    pool = pools()
    points = {BEFORE: WorkerFault.INTENT_STORED, AFTER: WorkerFault.SUBMITTED}
    extra = {"DARKROOM_HANG": "1"} if instant == DURING else {"DAYFLY_FAULT_POINT": str(points[instant])}
    doomed = pool.start("worker", **extra)
    job = pool.submit(photo(), "amazon-main", provider=provider)
    if instant == DURING:
        eventually(pool.charges, what="the provider accepts the call")
        doomed.kill()
    doomed.wait()
    pool.start("worker")
    pool.start("sweeper")

    if (provider, instant) == ("darkroom-named", BEFORE):
        # It is looked for until no call can be under way any more, which is longer than this test.
        eventually(lambda: pool.client.show(job.id).state is JobState.SUBMITTING, what="the look-up")
        assert pool.charges() == []
        return
    ended = pool.ended(job.id)

    assert len(pool.charges()) <= 1
    found = provider in ("darkroom-keyed", "darkroom-named")
    assert (ended.state, ended.error_code) == ((JobState.DONE, None) if found else (JobState.FAILED, "outcome-unknown"))
    pool.assert_nothing_left()
