"""
Ask a provider to erase its copies after the job has ended, where nobody could do so before.

Best effort, and recorded: what a provider answers, or that it did not, stands in the job's list of transfers.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import structlog

from providers import CancelSupport, Provider, ProviderError, ProviderTools, Task, TaskNotFound
from storage.faults import reach
from worker.bench import Bench
from worker.choosing import key_of
from worker.errors import JobDamagedError, ServerUnavailableError
from worker.faults import WorkerFault
from worker.records import JobId, JobRecord, JobState
from worker.transfers import ACCEPTED, LeftTasks, Transfers, amended, erased

MOST_TRIES: Final = 5
FIRST_BACKOFF: Final = timedelta(seconds=30)

log = structlog.get_logger(__name__)


def erase_owed(bench: Bench, job_id: JobId) -> None:
    """
    Ask for the erasure that an ended job owes, if it owes one and nobody else is at it. Never raises.

    A task that may still be running is cancelled first: nobody will fetch its result any more.
    """
    try:
        job = bench.jobs.erasures.claim(job_id, lease_for=timedelta(seconds=bench.settings.lease_seconds))
        if job is None:
            return
        transfers, owed, left = _asked(bench, job)
        reach(WorkerFault.ERASED_LATER)
        retryable = (owed or left) and job.erase_tries < MOST_TRIES
        again = FIRST_BACKOFF * 2 ** (job.erase_tries - 1) if retryable else None
        bench.jobs.erasures.answer(job_id, transfers, again_in=again, owed=owed, left=left)
        if job.outcome is not JobState.DONE:
            bench.gate.leave(key_of(bench, job.provider), job_id)
        log.info("provider asked to erase", job=job_id, answers=[transfer.erasure for transfer in transfers])
    except JobDamagedError as error:
        # What it says of the task cannot be trusted, and the record's end is not far.
        log.error("erasure of a damaged record left undone", job=job_id, problem=str(error))
    except ServerUnavailableError as error:
        # It stays owed, and the sweeper nudges whoever is next.
        log.warning("erasure left to the sweeper", job=job_id, problem=str(error))


def _asked(bench: Bench, job: JobRecord) -> tuple[Transfers, bool, LeftTasks]:
    """Give the transfers with the providers' answers, and what to ask about again: the task, or failed ones."""
    transfers, owed, left = job.transfers, False, list[tuple[int, Mapping[str, Any]]]()
    for number, task in job.left:
        transfers, again = _asked_about(bench, transfers, number, task)
        if again:
            left.append((number, task))
    if job.owed:
        running = job.outcome is not JobState.DONE and not job.results
        transfers, owed = _asked_about(bench, transfers, -1, job.task, running=running)
    return transfers, owed, tuple(left)


def _asked_about(
    bench: Bench, transfers: Transfers, number: int, found: Mapping[str, Any] | None, *, running: bool = False
) -> tuple[Transfers, bool]:
    """Give the transfers with the provider's answers about one task, and whether asking again may help."""
    try:
        task = Task.model_validate(found)
        provider = bench.providers.build(
            task.provider, ProviderTools(transport=bench.transport, accounts=bench.accounts)
        )
        if running:
            transfers = amended(transfers, number, cancelled=_cancelled(provider, task))
        return erased(transfers, provider.erase(task), number), False
    except ProviderError as error:
        return amended(transfers, number, erasure=error.code), error.retryable
    except ValueError:
        # The task in the record is none that could be asked for.
        return amended(transfers, number, erasure=TaskNotFound.code), False


def _cancelled(provider: Provider, task: Task) -> str | None:
    if provider.capabilities.cancel is CancelSupport.NONE:
        return None
    try:
        provider.cancel(task)
    except ProviderError as error:
        return error.code
    return ACCEPTED
