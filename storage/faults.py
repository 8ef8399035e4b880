"""
Enumerate the instants at which a process may be killed, and die there on request.

A test starts a process with `DAYFLY_FAULT_POINT=<name>` (or `<name>:3` for the third time it is reached); the process
then kills itself with SIGKILL at that point, as a crash would. Unset, as always outside tests, a point costs one
comparison.
"""

from __future__ import annotations

import os
import signal
from enum import StrEnum


class FaultPoint(StrEnum):
    """Every point at which the tests crash a process. Each is named for what has just been made durable."""

    SEAL_ROW_CREATED = "seal-row-created"
    SEAL_WRITING = "seal-writing"
    SEAL_WRITTEN = "seal-written"
    SEAL_COMMITTED = "seal-committed"
    OPEN_KEY_UNWRAPPED = "open-key-unwrapped"
    OPEN_DECRYPTED = "open-decrypted"
    EXTEND_DONE = "extend-done"
    SHRED_DONE = "shred-done"
    CIPHERTEXT_DELETED = "ciphertext-deleted"
    ROTATE_EPOCH_DRAWN = "rotate-epoch-drawn"
    ROTATE_ROOT_STORED = "rotate-root-stored"
    ROTATE_PUBLISHED = "rotate-published"
    ROTATE_REWRAPPING = "rotate-rewrapping"
    ROTATE_REWRAPPED = "rotate-rewrapped"
    ROTATE_ROOT_DESTROYED = "rotate-root-destroyed"
    ROTATE_FINISHED = "rotate-finished"
    DRAIN_CUT = "drain-cut"
    DRAIN_WRITTEN = "drain-written"
    DRAIN_TRIMMED = "drain-trimmed"
    RESTORE_APPLIED = "restore-applied"
    SWEEP_EXPIRED = "sweep-expired"
    SWEEP_CIPHERTEXT_DELETED = "sweep-ciphertext-deleted"
    SWEEP_ORPHAN_DELETED = "sweep-orphan-deleted"


def _armed(value: str | None) -> tuple[str | None, int]:
    if not value:
        return None, 0
    name, _, times = value.partition(":")
    return name, int(times or 1)


_point, _remaining = _armed(os.environ.get("DAYFLY_FAULT_POINT"))


def reach(point: StrEnum) -> None:
    """
    Die here if the process was started with this *point* armed; otherwise do nothing.

    Other rooms enumerate points of their own. A test that arms one waits for the crash, so a misspelt name fails it.
    """
    global _remaining
    if _point is not None and point == _point:
        _remaining -= 1
        if _remaining == 0:
            os.kill(os.getpid(), signal.SIGKILL)
