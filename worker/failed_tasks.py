"""
Tasks that ended at a provider without a result: what may be done about one without paying twice.

Where the provider certainly took nothing for it, another is made, by the same provider or, where the pool chooses, by
the next. It is a new purchase like any other, with an intent of its own that is stored before the call. Everywhere else
the job ends as `task-failed`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from providers import Charged, ProviderError, Task, TaskFailed
from storage.faults import reach
from worker.faults import WorkerFault
from worker.gate import jittered
from worker.records import JobState
from worker.run import Run
from worker.transfers import Transfers, amended, encode_left, encode_transfers, erased, failed_tasks

MOST_TASKS: Final = 3
"""How many tasks of one job may fail for nothing; with the last of them the job fails, too."""

PAUSE: Final = timedelta(seconds=10)
"""How long after the first of them the next is made; twice as long after each further one."""


def begin_again(run: Run, error: TaskFailed) -> timedelta:
    """
    Send a job whose task failed for nothing back to where its provider is chosen, and say when it should go on.

    The record keeps the task until it is let go, so that whoever comes next knows what to have erased.

    Raises:
        TaskFailed: It may have been charged, or it has happened too often.
    """
    transfers = amended(run.job.transfers, answer=error.code)
    told = {"transfers": encode_transfers(transfers)}
    free = error.charged is Charged.NO or not run.provider.capabilities.charges
    failed = len(failed_tasks(transfers))
    if not free or not 0 < failed < MOST_TASKS:
        run.note(told, transfers=transfers)
        raise error
    run.advance(JobState.PREPARING, told, transfers=transfers)
    return jittered(PAUSE * 2 ** (failed - 1))


def let_go(run: Run) -> None:
    """
    Have a failed task erased before another takes its place in the record.

    The user's picture does not wait for the deletion of what failed: what could not be erased stays owed, and is asked
    for again after the job's end.
    """
    task = run.job.task
    assert task is not None, "only a task that was made can be let go"
    transfers, owed = asked_to_erase(run)
    left = (*run.job.left, (len(transfers) - 1, task)) if owed else run.job.left
    fields = {"transfers": encode_transfers(transfers), "task": "null", "owed": "0", "left": encode_left(left)}
    run.note(fields, transfers=transfers, task=None, owed=False, left=left)


def asked_to_erase(run: Run) -> tuple[Transfers, bool]:
    """Ask the provider to erase the job's task; give the transfers with its answer, and whether to ask again."""
    try:
        erasure = run.provider.erase(Task.model_validate(run.job.task))
    except ProviderError as error:
        return amended(run.job.transfers, erasure=error.code), error.retryable
    reach(WorkerFault.ERASED)
    return erased(run.job.transfers, erasure), False
