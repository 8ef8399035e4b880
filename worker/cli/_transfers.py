"""What was sent to whom, in words."""

from __future__ import annotations

from providers import ErasureOutcome
from worker.cli._output import moment, size
from worker.transfers import ACCEPTED, Transfer


def transfer_as_words(transfer: Transfer) -> str:
    """Say in one line who got how much, what they say they keep, and how the request to erase it was answered."""
    where = f"{transfer.host}, {transfer.region}" if transfer.region else transfer.host
    often = f" in {transfer.attempts} calls" if transfer.attempts > 1 else ""
    answers = {ACCEPTED: "", None: "; no answer"}
    said = answers.get(transfer.answer, f"; answer: {transfer.answer}")
    stopped = "" if transfer.cancelled is None else f"; asked to stop: {transfer.cancelled}"
    return (
        f"sent {size(transfer.sent_bytes)}{often} to {transfer.provider} ({where}) at {moment(transfer.at)} UTC{said};"
        f" {_kept(transfer)}{stopped}. {transfer.retention}"
    )


def _kept(transfer: Transfer) -> str:
    until = "" if transfer.kept_until is None else f" until {moment(transfer.kept_until)} UTC"
    match transfer.erasure:
        case None:
            return f"not asked to erase yet, kept{until or ' for a time that is not known'}"
        case ErasureOutcome.ERASED:
            return "erased" if transfer.erased_at is None else f"erased at {moment(transfer.erased_at)} UTC"
        case ErasureOutcome.NOTHING_KEPT:
            return "nothing is kept"
        case ErasureOutcome.SCHEDULED:
            return f"kept{until}"
        case ErasureOutcome.UNSUPPORTED:
            return f"cannot be asked to erase, kept{until or ' for a time that is not known'}"
        case answer:
            return f"not erased ({answer}), kept{until or ' for a time that is not known'}"
