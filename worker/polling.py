"""
When to ask for a task again.

A young task is asked for as often as its provider allows, an old one less often, and all tasks at one account
together no more often than `POLLS_A_SECOND`: five thousand of them wait longer instead of asking more. Each pause is
spread, so that tasks made together are not asked for together. A webhook, where there is one, ends the pause.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from providers import Pending
from worker.choosing import key_of
from worker.gate import jittered
from worker.run import Run

POLLS_A_SECOND: Final = 50
LONGEST: Final = timedelta(seconds=30)
"""The longest pause that age alone makes."""

SPARE: Final = timedelta(minutes=2)
"""How much longer than its pause a task keeps its slot: for whoever takes it up after a crash."""


def pause(run: Run, answer: Pending) -> timedelta:
    """Say how long to leave a task alone, and keep its slot at the account for that long."""
    age = datetime.now(UTC) - answer.task.submitted_at
    wanted = max(answer.next_poll, min(LONGEST, age / 10))
    if not run.provider.capabilities.network:
        return jittered(wanted)
    key, lease = key_of(run.bench, run.job.provider), timedelta(seconds=run.bench.settings.lease_seconds)
    under_way = run.bench.gate.keep(key, run.job.id, slot_for=2 * wanted + lease + SPARE)
    shared = timedelta(seconds=under_way / POLLS_A_SECOND)
    if shared > wanted:
        run.bench.gate.keep(key, run.job.id, slot_for=2 * shared + lease + SPARE)
    return jittered(max(wanted, shared))
