"""
P7 for tasks that end at the provider without a result: another is bought only where the first certainly cost nothing,
with an intent of its own, and not for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from metrics.figures import StopReason
from providers import (
    BadResult,
    Charged,
    Done,
    Erasure,
    Pending,
    Provider,
    ProviderError,
    ProviderRegistry,
    Task,
    TaskFailed,
    Transient,
)
from tests.fakes.task_vendors import FakeFal
from tests.harness import pools
from tests.promises.test_p7_lost_calls import Killed
from tests.worker.visits import Visits, sandbox, visits
from worker import failed_tasks
from worker.faults import WorkerFault
from worker.gate import FAULTS_IN_A_ROW
from worker.records import JobRecord, JobState

__all__ = ["pools", "sandbox", "visits"]

DEVELOP = "darkroom"


def adapter(name: str) -> type[Provider]:
    return ProviderRegistry.from_entry_points().get(name)


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Charged], None]:
    """Have the darkroom's first tasks fail, once each is asked for."""

    def spoil(count: int, charged: Charged) -> None:
        spoilt: set[str] = set()
        poll = adapter(DEVELOP)._poll

        def failing(provider: Provider, task: Task) -> Done | Pending:
            if task.task_id in spoilt or len(spoilt) < count:
                spoilt.add(task.task_id)
                raise TaskFailed("The film was spoilt.", charged=charged)
            return poll(provider, task)

        monkeypatch.setattr(adapter(DEVELOP), "_poll", failing)

    return spoil


def left_behind(visits: Visits) -> list[str]:
    return [path.name for path in (visits.pool.folder / "darkroom").glob("*.png")]


def test_p7_a_task_that_failed_for_nothing_is_made_anew(visits: Visits, spoil: Callable[[int, Charged], None]) -> None:
    spoil(2, Charged.NO)
    job = visits.submit(DEVELOP)

    ended = visits.until_ended(job.id)

    bought = visits.pool.charges()
    assert (ended.state, ended.error_code) == (JobState.DONE, None)
    # Each purchase had an intent of its own; the fake counts what it accepts, whether it lets it be paid or not.
    assert len(bought) == len(set(bought)) == 3
    assert [transfer.answer for transfer in ended.transfers] == ["task-failed", "task-failed", "accepted"]
    assert [transfer.erasure for transfer in ended.transfers] == ["erased"] * 3
    assert left_behind(visits) == []
    assert [state.in_use for state in visits.bench.gate.states()] == [0]


@pytest.mark.parametrize("charged", [Charged.MAYBE, Charged.YES])
def test_p7_a_task_that_failed_and_may_have_been_charged_ends_the_job(
    visits: Visits, spoil: Callable[[int, Charged], None], charged: Charged
) -> None:
    spoil(1, charged)
    job = visits.submit(DEVELOP)
    visits.until(job.id, lambda record: record.task is not None)

    ended = visits.once(job.id)

    assert (ended.state, ended.error_code) == (JobState.FAILED, "task-failed")
    assert len(visits.pool.charges()) == 1
    assert (ended.transfers[-1].answer, left_behind(visits)) == ("task-failed", [])


def test_p7_a_job_whose_tasks_always_fail_ends(visits: Visits, spoil: Callable[[int, Charged], None]) -> None:
    spoil(99, Charged.NO)
    job = visits.submit(DEVELOP)

    ended = visits.until_ended(job.id)

    assert (ended.state, ended.error_code) == (JobState.FAILED, "task-failed")
    assert len(visits.pool.charges()) == failed_tasks.MOST_TASKS
    assert left_behind(visits) == []


def test_p7_a_poll_that_fails_is_no_task_that_failed(visits: Visits, monkeypatch: pytest.MonkeyPatch) -> None:
    job = visits.submit(DEVELOP)
    visits.until(job.id, lambda record: record.task is not None)

    def broken(*_: object) -> Done | Pending:
        raise Transient("The line is busy.")

    with monkeypatch.context() as patch:
        patch.setattr(adapter(DEVELOP), "_poll", broken)
        waiting = [visits.once(job.id) for _ in range(3)][-1]
    ended = visits.until_ended(job.id)

    assert waiting.state is JobState.AWAITING
    assert (ended.state, len(visits.pool.charges())) == (JobState.DONE, 1)


@pytest.mark.parametrize("fault", [WorkerFault.ERASED, WorkerFault.PREPARED, WorkerFault.INTENT_STORED])
def test_p7_a_worker_that_dies_between_two_tasks_buys_no_third(
    visits: Visits, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[int, Charged], None], fault: WorkerFault
) -> None:
    spoil(1, Charged.NO)
    job = visits.submit(DEVELOP)
    failed = visits.until(job.id, lambda record: record.transfers[-1:] and record.transfers[-1].answer == "task-failed")

    def die(point: WorkerFault) -> None:
        if point is fault:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("worker.steps.reach", die)
        patch.setattr("worker.failed_tasks.reach", die)
        with pytest.raises(Killed):
            visits.once(job.id)
    visits.pool.deployment.redis.hset(f"dayfly:job:{job.id}", "lease_until", "1")
    ended = visits.until_ended(job.id)

    assert (failed.state, failed.task is not None, failed.owed) == (JobState.PREPARING, True, True)
    if fault is WorkerFault.INTENT_STORED:
        # Nobody can know whether the second call was made.
        assert (ended.error_code, ended.task, len(visits.pool.charges())) == ("outcome-unknown", None, 1)
    else:
        assert (ended.state, len(visits.pool.charges())) == (JobState.DONE, 2)
    assert left_behind(visits) == []


def test_p7_a_failed_task_that_cannot_be_erased_is_not_forgotten(
    visits: Visits, spoil: Callable[[int, Charged], None]
) -> None:
    spoil(1, Charged.NO)
    job = visits.submit(DEVELOP)
    visits.until(job.id, lambda record: record.transfers[-1:] and record.transfers[-1].answer == "task-failed")
    (visits.pool.folder / "darkroom" / "erase-fails").touch()

    waiting = visits.once(job.id)
    ended = visits.until_ended(job.id)

    assert (waiting.state, waiting.strikes, waiting.transfers[0].erasure) == (JobState.AWAITING, 0, "transient")
    assert [(number, task["provider"]) for number, task in waiting.left] == [(0, DEVELOP)]
    assert (ended.state, [transfer.erasure for transfer in ended.transfers]) == (JobState.DONE, ["erased"] * 2)
    assert (ended.left, ended.owed, left_behind(visits)) == ((), False, [])


def still_owed(visits: Visits) -> list[bytes]:
    found: list[bytes] = visits.pool.deployment.redis.zrange(visits.bench.jobs.erasures.key, 0, -1)
    return found


def until_ended_with_a_full_bin(visits: Visits, job_id: str) -> JobRecord:
    """Whenever a task is to be erased, the first attempt of the visit fails; it would fail at the next visit, too."""
    full = visits.pool.folder / "darkroom" / "erase-fails"
    full.touch()

    def ended(record: JobRecord) -> bool:
        full.touch()
        return record.state.ended

    return visits.until(job_id, ended)


def test_p7_a_failed_task_that_is_never_erased_costs_the_job_nothing(
    replicate_too: Visits, fal: FakeFal, spoil: Callable[[int, Charged], None]
) -> None:
    visits = replicate_too
    visits.bench = replace(visits.bench, prices={DEVELOP: {"default": 0.1}, "fal": {"default": 0.2}})
    spoil(1, Charged.NO)
    job = visits.submit("auto")

    ended = until_ended_with_a_full_bin(visits, job.id)
    (visits.pool.folder / "darkroom" / "erase-fails").unlink()
    owed = still_owed(visits)
    later = visits.once(job.id)

    assert (ended.state, ended.provider, ended.strikes) == (JobState.DONE, "fal", 0)
    assert [(transfer.provider, transfer.answer, transfer.erasure) for transfer in ended.transfers] == [
        (DEVELOP, "task-failed", "transient"),
        ("fal", "accepted", "unsupported"),
    ]
    assert owed == [job.id.encode()]
    assert [transfer.erasure for transfer in later.transfers] == ["erased", "unsupported"]
    assert (later.left, left_behind(visits), still_owed(visits)) == ((), [], [])


def test_p7_each_failed_task_is_asked_about_until_it_is_erased(
    visits: Visits, spoil: Callable[[int, Charged], None]
) -> None:
    spoil(99, Charged.NO)
    job = visits.submit(DEVELOP)

    ended = until_ended_with_a_full_bin(visits, job.id)
    (visits.pool.folder / "darkroom" / "erase-fails").unlink()
    later = visits.once(job.id)

    assert (ended.state, ended.error_code) == (JobState.FAILED, "task-failed")
    # At the end the first of three attempts failed.
    assert [transfer.erasure for transfer in ended.transfers] == ["transient", "erased", "erased"]
    assert ([number for number, _ in ended.left], ended.owed) == ([0], False)
    assert [transfer.erasure for transfer in later.transfers] == ["erased"] * 3
    # Nobody asks to stop what has failed, except the last one, which the job ended with.
    assert [transfer.cancelled for transfer in later.transfers] == [None, None, "accepted"]
    assert (later.left, left_behind(visits)) == ((), [])


def test_p7_a_failed_task_that_cannot_be_erased_is_given_up_like_any_other(
    visits: Visits, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[int, Charged], None]
) -> None:
    spoil(1, Charged.NO)
    erase, first = adapter(DEVELOP)._erase, list[str]()

    def failing(provider: Provider, task: Task) -> Erasure:
        first[:] = first or [task.task_id]
        if task.task_id in first:
            raise Transient("The bin is full.")
        return erase(provider, task)

    monkeypatch.setattr(adapter(DEVELOP), "_erase", failing)
    job = visits.submit(DEVELOP)
    ended = visits.until_ended(job.id)
    record = [visits.once(job.id) for _ in range(9)][-1]

    assert (ended.state, [number for number, _ in ended.left]) == (JobState.DONE, [0])
    assert (record.erase_tries, record.left, still_owed(visits)) == (5, (), [])
    assert [transfer.erasure for transfer in record.transfers] == ["transient", "erased"]


def test_p7_a_job_cancelled_before_its_second_task_has_the_first_erased_once_that_can_be(
    visits: Visits, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[int, Charged], None]
) -> None:
    spoil(1, Charged.NO)
    job = visits.submit(DEVELOP)
    visits.until(job.id, lambda record: record.transfers[-1:] and record.transfers[-1].answer == "task-failed")
    (visits.pool.folder / "darkroom" / "erase-fails").touch()

    def die(point: WorkerFault) -> None:
        if point is WorkerFault.PREPARED:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("worker.steps.reach", die)
        with pytest.raises(Killed):
            visits.once(job.id)
    between = visits.pool.client.cancel(job.id)
    ended = visits.once(job.id)

    assert (between.task, between.owed, len(between.left)) == (None, False, 1)
    assert [transfer.erasure for transfer in ended.transfers] == ["erased"]
    assert (ended.state, ended.left, left_behind(visits)) == (JobState.CANCELLED, (), [])


@pytest.mark.parametrize(
    ("subjects", "reason"),
    [
        (["u-1"] * FAULTS_IN_A_ROW, None),
        ([f"u-{number}" for number in range(FAULTS_IN_A_ROW)], StopReason.FAULTS),
        ([None] * FAULTS_IN_A_ROW, StopReason.FAULTS),
    ],
    ids=["of one person", "of several", "of nobody in particular"],
)
def test_p7_failed_tasks_of_one_person_are_one_fault_of_the_account(
    visits: Visits, spoil: Callable[[int, Charged], None], subjects: list[str | None], reason: StopReason | None
) -> None:
    """Otherwise whoever knows what a provider stumbles over could stop it for everybody."""
    spoil(99, Charged.NO)
    jobs = [visits.submit(DEVELOP, subject=subject).id for subject in subjects]
    for job in jobs:
        visits.until(job, lambda record: record.task is not None)
    failed = [visits.once(job).transfers[-1].answer for job in jobs]

    assert failed == ["task-failed"] * FAULTS_IN_A_ROW
    assert [state.reason for state in visits.bench.gate.states()] == [reason]


def test_p7_what_put_the_first_task_off_does_not_count_against_the_second(
    visits: Visits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A useless result may be asked for anew once, of each task."""
    answers: list[ProviderError] = [
        BadResult("No film."),
        TaskFailed("The film was spoilt.", charged=Charged.NO),
        Transient("The line is busy."),
        BadResult("No film."),
    ]
    poll = adapter(DEVELOP)._poll

    def answering(provider: Provider, task: Task) -> Done | Pending:
        if answers:
            raise answers.pop(0)
        return poll(provider, task)

    monkeypatch.setattr(adapter(DEVELOP), "_poll", answering)
    ended = visits.until_ended(visits.submit(DEVELOP).id)

    assert (ended.state, ended.error_code, len(visits.pool.charges())) == (JobState.DONE, None, 2)


def test_p7_a_job_cancelled_between_two_tasks_buys_no_second_and_has_the_first_erased(
    visits: Visits, spoil: Callable[[int, Charged], None]
) -> None:
    spoil(1, Charged.NO)
    job = visits.submit(DEVELOP)
    visits.until(job.id, lambda record: record.transfers[-1:] and record.transfers[-1].answer == "task-failed")

    visits.pool.client.cancel(job.id)
    ended = visits.once(job.id)

    assert (ended.state, len(visits.pool.charges()), left_behind(visits)) == (JobState.CANCELLED, 1, [])


@pytest.fixture
def fal() -> Iterator[FakeFal]:
    with FakeFal() as fake:
        fake.pending = 0
        yield fake


@pytest.fixture
def replicate_too(visits: Visits, fal: FakeFal) -> Visits:
    """The pool's choice is between fal, which is the cheaper, and the darkroom."""
    visits.account("fal", fal.url)
    visits.account(DEVELOP, "file:")
    policies = visits.bench.policies
    assert isinstance(policies, dict)
    policies["quick"] = policies["quick"].model_copy(update={"providers": ("fal", DEVELOP)})
    visits.bench = replace(visits.bench, prices={"fal": {"default": 0.1}, DEVELOP: {"default": 0.2}})
    return visits


def polled(fal: FakeFal, visits: Visits, provider: str) -> JobRecord:
    job = visits.submit(provider)
    visits.until(job.id, lambda record: record.transfers[-1:] and record.transfers[-1].answer == "task-failed")
    return visits.until_ended(job.id)


def test_p7_the_next_provider_is_asked_when_the_task_of_the_first_failed_for_nothing(
    replicate_too: Visits, fal: FakeFal
) -> None:
    fal.on_poll = ["downstream_service_unavailable"]

    ended = polled(fal, replicate_too, "auto")

    assert (ended.state, ended.provider) == (JobState.DONE, DEVELOP)
    assert [(transfer.provider, transfer.answer) for transfer in ended.transfers] == [
        ("fal", "task-failed"),
        (DEVELOP, "accepted"),
    ]
    assert (fal.charges, len(replicate_too.pool.charges())) == (1, 1)


def test_p7_no_other_is_asked_when_the_task_of_the_first_may_have_been_charged(
    replicate_too: Visits, fal: FakeFal
) -> None:
    """The same type under a status that the vendor does not promise to be free."""
    fal.on_poll = ["downstream_service_error"]

    ended = polled(fal, replicate_too, "auto")

    assert (ended.state, ended.error_code, ended.provider) == (JobState.FAILED, "task-failed", "fal")
    assert (fal.charges, replicate_too.pool.charges()) == (1, [])


def test_p7_a_pool_without_another_choice_asks_the_same_again(replicate_too: Visits, fal: FakeFal) -> None:
    policies = replicate_too.bench.policies
    assert isinstance(policies, dict)
    policies["quick"] = policies["quick"].model_copy(update={"providers": ("fal",)})
    fal.on_poll = ["downstream_service_unavailable"]

    ended = polled(fal, replicate_too, "auto")

    assert (ended.state, ended.provider, fal.charges) == (JobState.DONE, "fal", 2)


def test_p7_an_answer_that_only_a_gateway_gave_makes_no_second_task(replicate_too: Visits, fal: FakeFal) -> None:
    fal.on_poll = ["gateway", "gateway"]

    ended = replicate_too.until_ended(replicate_too.submit("fal").id)

    assert (ended.state, fal.charges) == (JobState.DONE, 1)
