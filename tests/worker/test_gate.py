"""The gate before an account: slots that free themselves, a pace, a hold, and a circuit that one call closes again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import redis

from metrics.figures import StopReason
from providers import (
    AuthFailed,
    BadResult,
    ContentRefused,
    InvalidRequest,
    ModelGone,
    OutcomeUnknown,
    OutOfCredit,
    ProviderError,
    RateLimited,
    Stage,
    Transient,
)
from worker.gate import (
    FAULTS_IN_A_ROW,
    HOLD_FOR,
    LONGEST_STOP,
    STOP_FOR,
    WELL,
    AccountKey,
    Admission,
    Gate,
    Refusal,
    Verdict,
    jittered,
    verdict_of,
)

KEY = AccountKey("acme", "main")
LONG, SHORT = timedelta(minutes=5), timedelta(milliseconds=60)


@pytest.fixture
def gate(client: redis.Redis) -> Gate:
    return Gate(client)


def enter(gate: Gate, holder: str, *, slot_for: timedelta = LONG, at_once: int | None = None) -> Admission:
    return gate.enter(KEY, holder, slot_for=slot_for, at_once=at_once, a_minute=None)


def let_time_pass(gate: Gate, client: redis.Redis) -> None:
    """The stop is over: its end is on the server's clock, which cannot be moved."""
    client.hset("dayfly:provider:acme:main:state", "until", 1)


def test_no_more_than_the_slots_are_taken_at_once_however_many_ask(gate: Gate) -> None:
    together = threading.Barrier(8)

    def ask(number: int) -> bool:
        together.wait()
        return enter(gate, f"job-{number}", at_once=3).open

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(8)))

    assert answers.count(True) == 3
    (state,) = gate.states()
    assert (state.in_use, state.waiting) == (3, 5)


def test_a_slot_given_back_is_taken_by_the_next(gate: Gate) -> None:
    enter(gate, "first", at_once=1)
    refused = enter(gate, "second", at_once=1)
    gate.leave(KEY, "first")

    assert (refused.refusal, refused.needs_a_person) == (Refusal.FULL, False)
    assert timedelta(seconds=0.7) < refused.again_in < timedelta(seconds=1.3)
    assert enter(gate, "second", at_once=1).open
    assert gate.states()[0].waiting == 0


def test_asking_twice_is_one_slot(gate: Gate) -> None:
    assert enter(gate, "first", at_once=1).open
    assert enter(gate, "first", at_once=1).open
    assert gate.states()[0].in_use == 1


def test_the_slot_of_a_crashed_holder_frees_itself_under_steady_traffic(gate: Gate) -> None:
    """A counter whose lifetime every request renews never would."""
    enter(gate, "crashed", slot_for=SHORT, at_once=2)
    end = time.monotonic() + 10
    freed = False
    while not freed and time.monotonic() < end:
        enter(gate, "steady", at_once=2)
        freed = enter(gate, "next", at_once=2).open

    assert freed
    assert gate.states()[0].in_use == 2


def test_a_task_keeps_its_slot_longer_than_its_call_and_the_key_with_it(gate: Gate, client: redis.Redis) -> None:
    enter(gate, "task", slot_for=SHORT, at_once=1)
    taken = gate.keep(KEY, "task", slot_for=LONG)

    assert taken == 1
    assert client.pttl("dayfly:provider:acme:main:slots") > 200_000


def test_calls_are_begun_at_the_pace_of_the_account(gate: Gate) -> None:
    def enter_at(a_minute: int, times: int) -> list[Admission]:
        key = AccountKey("acme", str(a_minute))
        return [
            gate.enter(key, f"job-{number}", slot_for=LONG, at_once=None, a_minute=a_minute) for number in range(times)
        ]

    slow, quick = enter_at(1, 2), enter_at(100, 10)

    assert [answer.refusal for answer in slow] == [None, Refusal.PACED]
    assert timedelta() < slow[1].again_in <= timedelta(seconds=75)
    assert all(answer.open for answer in quick), "a tenth of a minute's calls may be begun at once"


def test_a_hold_is_for_everybody_and_ends_by_itself(gate: Gate, client: redis.Redis) -> None:
    gate.report(KEY, Verdict("held", span=timedelta(seconds=40)))
    gate.report(KEY, Verdict("held", span=timedelta(seconds=1)))
    held = enter(gate, "any")
    client.hset("dayfly:provider:acme:main:state", "held_until", 1)

    assert held.refusal is Refusal.HELD
    assert timedelta(seconds=25) < held.again_in < timedelta(seconds=51)
    assert enter(gate, "any").open


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OutOfCredit("x"), StopReason.OUT_OF_CREDIT),
        (AuthFailed("x"), StopReason.AUTH_FAILED),
        (ModelGone("x"), StopReason.MODEL_GONE),
    ],
)
def test_what_every_further_call_would_be_answered_too_stops_the_account(
    gate: Gate, error: ProviderError, reason: StopReason
) -> None:
    verdict = verdict_of(error)
    assert verdict is not None
    stopped = gate.report(KEY, verdict)

    answer = enter(gate, "next")

    assert stopped
    assert (answer.refusal, answer.reason, answer.needs_a_person) == (Refusal.STOPPED, reason, True)
    assert gate.report(KEY, WELL) is False
    assert enter(gate, "next").open


def test_faults_stop_the_account_only_when_they_come_in_a_row(gate: Gate) -> None:
    fault = verdict_of(Transient("x"))
    assert fault is not None
    before = [gate.report(KEY, fault) for _ in range(FAULTS_IN_A_ROW - 1)]
    gate.report(KEY, WELL)
    again = [gate.report(KEY, fault) for _ in range(FAULTS_IN_A_ROW)]

    assert before == [False] * (FAULTS_IN_A_ROW - 1)
    assert again == [False] * (FAULTS_IN_A_ROW - 1) + [True]
    assert not enter(gate, "next").needs_a_person


def test_faults_that_one_person_may_have_caused_are_one(gate: Gate) -> None:
    fault = verdict_of(Transient("x"))
    assert fault is not None
    people = [f"person-{number}" for number in range(FAULTS_IN_A_ROW)]

    first = [gate.report(KEY, fault, blamed=each) for each in people[:1] * 20 + people[1:-1] + people[:-1]]
    last = gate.report(KEY, fault, blamed=people[-1])
    again = gate.report(KEY, fault, blamed=people[0])

    assert not any(first)
    assert last
    assert again, "who tries after a stop and meets the fault stops the account anew, whoever it is"
    gate.report(KEY, WELL)
    assert not gate.report(KEY, fault, blamed=people[0])


def test_after_a_stop_one_call_tries_and_the_others_wait_for_it(gate: Gate, client: redis.Redis) -> None:
    gate.report(KEY, Verdict("stopped", StopReason.OUT_OF_CREDIT, STOP_FOR))
    let_time_pass(gate, client)
    first, second = enter(gate, "first"), enter(gate, "second")
    gate.report(KEY, Verdict("stopped", StopReason.OUT_OF_CREDIT, STOP_FOR))
    still = enter(gate, "second")

    assert (first.open, second.refusal, still.refusal) == (True, Refusal.STOPPED, Refusal.STOPPED)
    assert still.again_in > 1.4 * STOP_FOR, "a stop that did not help is followed by a longer one"


def test_a_stop_never_grows_beyond_its_limit(gate: Gate) -> None:
    for _ in range(30):
        gate.report(KEY, Verdict("stopped", StopReason.AUTH_FAILED, STOP_FOR))

    (state,) = gate.states()
    assert state.until is not None
    assert state.since is not None
    assert state.until - state.since <= LONGEST_STOP + timedelta(minutes=1)
    assert enter(gate, "x").again_in <= 1.25 * LONGEST_STOP


def test_one_account_does_not_stop_another(gate: Gate) -> None:
    gate.report(KEY, Verdict("stopped", StopReason.AUTH_FAILED, STOP_FOR))

    assert gate.enter(AccountKey("acme", "second"), "x", slot_for=LONG, at_once=1, a_minute=1).open


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (None, WELL),
        (ContentRefused("x", stage=Stage.INPUT), WELL),
        (InvalidRequest("x"), None),
        (BadResult("x"), None),
        (RateLimited("x"), Verdict("held", span=HOLD_FOR)),
        (RateLimited("x", retry_after=timedelta(seconds=7)), Verdict("held", span=timedelta(seconds=7))),
        (OutcomeUnknown("x"), verdict_of(Transient("x"))),
    ],
)
def test_what_an_answer_says_of_the_account(error: ProviderError | None, verdict: Verdict | None) -> None:
    assert verdict_of(error) == verdict


def test_a_model_that_the_job_named_itself_says_nothing_of_the_account() -> None:
    """Otherwise any user could stop the account for all others."""
    assert verdict_of(ModelGone("x"), own_model=True) is None


def test_pauses_are_spread() -> None:
    pauses = {jittered(timedelta(seconds=10)) for _ in range(200)}

    assert len(pauses) > 100
    assert timedelta(seconds=7.5) <= min(pauses) < timedelta(seconds=9)
    assert timedelta(seconds=11) < max(pauses) <= timedelta(seconds=12.5)


@pytest.fixture(autouse=True)
def no_key_lives_for_ever(client: redis.Redis) -> Iterator[None]:
    """Slots and waiting lists of an account that is never called again must go."""
    yield
    for part in ("slots", "waiting"):
        for name in client.scan_iter(f"dayfly:provider:*:{part}"):
            assert client.pttl(name) > 0
