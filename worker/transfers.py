"""
What left this machine on behalf of a job: the list of transfers that its record keeps.

A transfer is written before its call and completed by the answer, so that a crash in between leaves an entry that says
"perhaps". It names no person and holds nothing of what was sent: who got how many bytes, where and when, what that
provider says it keeps and until when, and what became of the request to erase it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Final

from providers import Capabilities, EraseSupport, Erasure, ErasureOutcome, OutcomeUnknown, Task, TaskFailed

ACCEPTED: Final = "accepted"
"""The answer of a provider that took the data; every other answer is the code of an error."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """
    One call that carried a user's data to a provider.

    Attributes:
        provider: Who got it.
        host: Where it went.
        region: Where it is processed, if the operator or the provider says so.
        at: When the call was begun; of the first attempt, where several were refused.
        sent_bytes: Of the picture and the words, before any encoding; of all attempts together.
        attempts: How many calls this entry stands for: those that the provider turned down are counted in one.
        answer: `ACCEPTED`, or the code of the error, also of a task that was accepted and failed later; None while the
            call is under way or its end was never learnt.
        retention: What the provider says it keeps.
        kept_until: Until when, if it says so.
        cancelled: How the request to stop the task was answered; None if none was made.
        erasure: How the request to erase was answered: an `ErasureOutcome` or the code of an error; None if none was
            made, or not yet.
        erased_at: When it was or will be erased, if the provider says so.
    """

    provider: str
    host: str
    region: str | None
    at: datetime
    sent_bytes: int
    retention: str
    attempts: int = 1
    answer: str | None = None
    kept_until: datetime | None = None
    cancelled: str | None = None
    erasure: str | None = None
    erased_at: datetime | None = None

    def to_json(self) -> dict[str, object]:
        """Give the plain values that JSON can hold."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Transfer:
        """
        Read what `to_json` wrote; fields of a newer version are ignored.

        Raises:
            ValueError: It is no transfer, or a time in it is none.
            TypeError: A field is missing.
        """
        if not isinstance(value, dict):
            raise ValueError("no transfer")
        known: dict[str, Any] = {field.name: value[field.name] for field in fields(cls) if field.name in value}
        for name in ("at", "kept_until", "erased_at"):
            known[name] = None if value.get(name) is None else datetime.fromisoformat(value[name])
        return cls(**known)

    def was_erased(self, erasure: Erasure) -> Transfer:
        """Give the entry with the answer to a request to erase."""
        kept_until = self.kept_until
        if erasure.outcome is ErasureOutcome.SCHEDULED:
            kept_until = erasure.at or kept_until
        elif erasure.outcome in (ErasureOutcome.ERASED, ErasureOutcome.NOTHING_KEPT):
            kept_until = None
        return replace(self, erasure=str(erasure.outcome), erased_at=erasure.at, kept_until=kept_until)


Transfers = tuple[Transfer, ...]

LeftTasks = tuple[tuple[int, Mapping[str, Any]], ...]
"""Failed tasks whose providers have yet to erase them: the number of the transfer that made each, and the task."""


def begun(transfers: Transfers, transfer: Transfer) -> Transfers:
    """Add a transfer that is about to be made. One that the same provider turned down just before is continued."""
    last = transfers[-1] if transfers else None
    if last and _turned_down(last) and (last.provider, last.host) == (transfer.provider, transfer.host):
        again = replace(last, sent_bytes=last.sent_bytes + transfer.sent_bytes, attempts=last.attempts + 1, answer=None)
        return (*transfers[:-1], replace(again, erasure=None, erased_at=None))
    return (*transfers, transfer)


def answered(transfers: Transfers, able: Capabilities, answer: str, task: Task | None = None) -> Transfers:
    """
    Complete the last transfer by its answer.

    Where there is no task, there is nothing by which the provider could be asked to erase: what it keeps, it keeps for
    as long as it says.
    """
    if not transfers:
        return transfers
    last = replace(transfers[-1], answer=answer)
    if task is not None:
        last = replace(last, kept_until=task.expires_at)
    elif able.erase is EraseSupport.NOT_NEEDED:
        last = last.was_erased(Erasure(ErasureOutcome.NOTHING_KEPT))
    else:
        kept_until = None if able.result_lifetime is None else datetime.now(UTC) + able.result_lifetime
        last = replace(last.was_erased(Erasure(ErasureOutcome.UNSUPPORTED)), kept_until=kept_until)
    return (*transfers[:-1], last)


def amended(transfers: Transfers, number: int = -1, /, **changes: Any) -> Transfers:
    """Change a transfer, the last unless another is named, if there is one of that number."""
    return _with(transfers, number, lambda transfer: replace(transfer, **changes))


def erased(transfers: Transfers, erasure: Erasure, number: int = -1, /) -> Transfers:
    """Complete a transfer, the last unless another is named, by the provider's answer about its copy."""
    return _with(transfers, number, lambda transfer: transfer.was_erased(erasure))


def encode_transfers(transfers: Transfers) -> str:
    """Write transfers as the record's `transfers` field."""
    return json.dumps([transfer.to_json() for transfer in transfers], separators=(",", ":"))


def decode_transfers(text: str) -> Transfers:
    """Read what `encode_transfers` wrote."""
    return tuple(map(Transfer.from_json, json.loads(text)))


def failed_tasks(transfers: Transfers) -> list[str]:
    """Name the providers whose tasks failed for nothing, one name for each task."""
    return [transfer.provider for transfer in transfers if transfer.answer == TaskFailed.code]


def encode_left(left: LeftTasks) -> str:
    """Write failed tasks that are still to be erased as the record's `left` field."""
    return json.dumps(left, separators=(",", ":"))


def decode_left(text: str) -> LeftTasks:
    """Read what `encode_left` wrote."""
    return tuple((int(number), task) for number, task in json.loads(text))


def _with(transfers: Transfers, number: int, change: Callable[[Transfer], Transfer]) -> Transfers:
    if not -len(transfers) <= number < len(transfers):
        return transfers
    changed = list(transfers)
    changed[number] = change(transfers[number])
    return tuple(changed)


def _turned_down(transfer: Transfer) -> bool:
    # Who had accepted it has, or had, a copy of its own for each time.
    return transfer.answer not in (None, ACCEPTED, OutcomeUnknown.code, TaskFailed.code)


def _plain(value: object) -> object:
    return value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else value
