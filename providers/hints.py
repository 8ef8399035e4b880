"""When to come back, in every form in which providers say it in a header."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST: Final = timedelta(hours=1)
"""A provider that asks for more is asked again after this."""


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> timedelta | None:
    """
    Read ``retry-after-ms``, then ``retry-after`` in seconds or as a date.

    Returns:
        The wait, from zero to `LONGEST`; None if there is no hint or it makes no sense.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return bounded(milliseconds / 1000)
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None:
        return bounded(seconds)
    if not text:
        return None
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, IndexError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return bounded((date - (now or datetime.now(UTC))).total_seconds())


def bounded(seconds: float) -> timedelta | None:
    """Turn a number of seconds into a wait we are willing to keep."""
    if seconds != seconds:  # not a number
        return None
    return timedelta(seconds=min(max(seconds, 0.0), LONGEST.total_seconds()))


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
