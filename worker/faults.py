"""
The instants in a job's way, and in the sweeper's, at which a crash test kills the process (see `storage.faults`).

Every state of a job has at least one; a new step that changes something outside the process brings its own.
"""

from __future__ import annotations

from enum import StrEnum


class WorkerFault(StrEnum):
    """Where a crash of the web tier, the worker or the sweeper is rehearsed."""

    CLIENT_SEALED = "client-sealed"
    CLIENT_ACCEPTED = "client-accepted"
    CLIENT_NUDGED = "client-nudged"
    CLAIMED = "claimed"
    PREPARED = "prepared"
    INTENT_STORED = "intent-stored"
    SUBMITTED = "submitted"
    TASK_STORED = "task-stored"
    POLLED = "polled"
    RESULTS_STORED = "results-stored"
    ERASED = "erased"
    ERASED_LATER = "erased-later"
    RENDERED = "rendered"
    OUTPUT_SEALED = "output-sealed"
    SETTLED = "settled"
    OUTPUTS_EXTENDED = "outputs-extended"
    SHREDDED = "shredded"
    CIPHERTEXT_DELETED = "ciphertext-deleted"
    FINISHED = "finished"
    CANCEL_SHREDDED = "cancel-shredded"
    CANCEL_CLAIMED = "cancel-claimed"
    ERASE_SHREDDED = "erase-shredded"
    ERASE_DELETED = "erase-deleted"
    SWEEP_NUDGED = "sweep-nudged"
