"""Say what the key store answers: rows, outcomes of shreds, states of objects, figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from storage._redis import from_ms
from storage.names import ObjectClass, ObjectRef, ShredReason


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One live key row. `wrapped` never prints."""

    ref: ObjectRef
    epoch: int
    wrapped: bytes = field(repr=False)
    deadline: datetime
    ceiling: datetime


@dataclass(frozen=True, slots=True)
class ShredOutcome:
    """
    What a shred found.

    `shredded_at` is `None` if the key store knows nothing of the object. `already` says that it was shredded before,
    and `reason` is then the reason of that time.
    """

    ref: ObjectRef
    shredded_at: datetime | None
    already: bool
    reason: ShredReason | None

    @property
    def unknown(self) -> bool:
        """Whether the key store knows neither a row nor a tombstone of the object."""
        return self.shredded_at is None


@dataclass(frozen=True, slots=True)
class Live:
    """The object's key lives, at the latest until `deadline`."""

    object_class: ObjectClass
    deadline: datetime
    epoch: int


@dataclass(frozen=True, slots=True)
class Shredded:
    """The object's key was destroyed."""

    at: datetime
    reason: ShredReason


@dataclass(frozen=True, slots=True)
class Unknown:
    """The key store knows nothing of the object."""


Status = Live | Shredded | Unknown


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """
    The figures of one class at one moment.

    `overdue` counts objects past their deadline whose end is not recorded yet; Redis has let their keys go.
    """

    live: int
    overdue: int
    oldest_deadline: datetime | None
    epoch: int | None
    root_created: datetime | None


@dataclass(frozen=True, slots=True)
class KeyFigures:
    """What the exporter shows of the key store, read at one moment by Redis' clock."""

    at: datetime
    classes: dict[ObjectClass, ClassFigures]
    created: dict[ObjectClass, int]
    destroyed: dict[tuple[ObjectClass, ShredReason], int]
    receipts_pending: int
    doomed: int


def read_outcome(ref: ObjectRef, answer: Sequence[bytes]) -> ShredOutcome:
    """Read what `shred.lua` answers about one object."""
    if answer[0] in (b"unknown", b"kept"):
        return ShredOutcome(ref, None, already=False, reason=None)
    return ShredOutcome(ref, from_ms(answer[1]), answer[0] == b"already", ShredReason(answer[2].decode()))


def read_class_figures(found: Sequence[Any]) -> ClassFigures:
    """Read what `figures.lua` answers about one class."""
    live, overdue, oldest, epoch, created = found
    return ClassFigures(
        live=int(live),
        overdue=int(overdue),
        oldest_deadline=from_ms(float(oldest)) if oldest else None,
        epoch=int(epoch) if epoch else None,
        root_created=from_ms(created) if created else None,
    )
