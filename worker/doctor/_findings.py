"""What the doctor says about one thing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that was looked at.

    Attributes:
        check: What it is.
        found: What was found.
        advice: What to change; empty if nothing.
        promise: The promise that leans on it.
    """

    check: str
    verdict: Verdict
    found: str
    advice: str = ""
    promise: str = ""

    def to_json(self) -> dict[str, str]:
        """Give the finding as plain values."""
        return {**asdict(self), "verdict": self.verdict.value}


def ok(check: str, found: str, promise: str = "") -> Finding:
    """Nothing to change."""
    return Finding(check, Verdict.OK, found, promise=promise)


def warning(check: str, found: str, advice: str, promise: str = "") -> Finding:
    """Weakens a promise, or will break it later."""
    return Finding(check, Verdict.WARNING, found, advice, promise)


def broken(check: str, found: str, advice: str, promise: str = "") -> Finding:
    """A promise does not hold."""
    return Finding(check, Verdict.BROKEN, found, advice, promise)
