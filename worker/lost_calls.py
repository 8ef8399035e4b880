"""
Paid calls whose answer was lost: what may be done about one without paying twice.

A provider that recognises a repetition by its key is simply called again with the same key. One that lets us name the
task is asked for that name, and called again only when it has not heard of it for longer than a call can be under way.
Everywhere else nobody can know: the job ends as `outcome-unknown`, unless its policy accepts a double charge.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from metrics.instruments import PROVIDER_CALLS, CallOutcome
from providers import AuthFailed, Done, IdempotencySupport, Operation, OutcomeUnknown, Pending, ProviderError
from worker.records import JobState
from worker.run import Run
from worker.transfers import begun, encode_transfers

LOOK_AGAIN: Final = timedelta(seconds=10)

UNDER_WAY_FOR: Final = timedelta(minutes=5)
"""How long a call may be under way after it was begun: longer than the transport lets a submit take."""

LOOK_FOR: Final = timedelta(hours=1)
"""How long a look-up that fails is tried again."""

MOST_REPEATS: Final = 3


@dataclass(frozen=True, slots=True)
class LookAgain:
    """The provider does not know the task, and the call may still be under way."""

    after: timedelta


def found(run: Run) -> Done | Pending | LookAgain | None:
    """
    Find out what became of a call that was perhaps made; None means that it may be made again.

    Raises:
        OutcomeUnknown: Nobody can know.
    """
    able = run.provider.capabilities
    if not able.charges:
        return None
    if not can_be_found(run):
        PROVIDER_CALLS.labels(provider=run.job.provider, outcome=CallOutcome.UNKNOWN).inc()
        raise OutcomeUnknown(
            f"A worker stopped while it called {run.job.provider!r}, which offers no way to tell whether the call was"
            " made; it may have been charged and is not repeated."
        )
    if able.idempotency is IdempotencySupport.CLIENT_ID:
        age = datetime.now(UTC) - _begun_at(run)
        try:
            answer = run.provider.look_up(Operation(run.recipe.operation or ""), run.job.intent or "")
        except ProviderError as error:
            if error.retryable and age < LOOK_FOR:
                return LookAgain(LOOK_AGAIN)
            raise OutcomeUnknown(f"{error.message} The call that was made before may have been charged.") from None
        if answer is not None:
            return answer
        if age < UNDER_WAY_FOR:
            return LookAgain(LOOK_AGAIN)
    transfer = run.transfer()
    transfers = run.job.transfers if transfer is None else begun(run.job.transfers, transfer)
    repeats = run.job.repeats + 1
    run.note({"repeats": str(repeats), "transfers": encode_transfers(transfers)}, repeats=repeats, transfers=transfers)
    return None


def can_be_found(run: Run) -> bool:
    """Whether the provider can tell a repetition from a new call, and has not been asked too often already."""
    provider, transfers = run.provider, run.job.transfers
    if provider.capabilities.idempotency not in (IdempotencySupport.KEY, IdempotencySupport.CLIENT_ID):
        return False
    try:
        host = provider.host(Operation(run.recipe.operation or ""))
    except AuthFailed:
        return False
    # If the account has moved since, another server that has never heard of the call says nothing.
    return run.job.repeats < MOST_REPEATS and (not transfers or transfers[-1].host == host)


def may_be_repeated(run: Run) -> bool:
    """Whether the job's policy would rather pay twice than not have the result; once."""
    policy = run.bench.policies.get(run.job.policy)
    return policy is not None and policy.accepts_double_charge and run.job.repeats == 0


def _begun_at(run: Run) -> datetime:
    """When the call was begun: as the state says, or later, if it is a repetition."""
    return max([run.job.stage_times[JobState.SUBMITTING], *(transfer.at for transfer in run.job.transfers[-1:])])
