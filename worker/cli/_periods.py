"""Read periods as people write them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from worker.cli._errors import UsageError

_UNITS: Final = {"": "seconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_PERIOD: Final = re.compile(r"(\d{1,7})([smhd]?)")


def period(option: str, text: str | None) -> timedelta | None:
    """
    Read `90`, `90s`, `30m`, `12h` or `7d`.

    Raises:
        UsageError: It is none of these; the sentence names the *option*.
    """
    if text is None:
        return None
    match = _PERIOD.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{option} takes a number of seconds, or one with a unit: 90s, 30m, 12h, 7d; not {text!r}.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
