"""
What a call costs, as the operator knows it: the order in which `--provider auto` asks.

    [replicate]
    edit-image = 0.04
    default = 0.05

Any currency does, as long as it is one. Nothing is shipped: what a call costs depends on contract and model.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, TypeAdapter, ValidationError

from providers import Capabilities, Operation
from worker.errors import SettingProblem, SettingsError

Prices = Mapping[str, Mapping[str, float]]

DEFAULT: Final = "default"
_ALLOWED: Final = "a TOML file: a table for each provider with prices by operation, or 'default'"
_Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Table: TypeAdapter[dict[str, dict[str, _Price]]] = TypeAdapter(dict[str, dict[str, _Price]])


def load_prices(path: Path | None) -> Prices:
    """
    Read the price table.

    Raises:
        SettingsError: It cannot be read, or is none.
    """
    if path is None:
        return {}
    try:
        table = _Table.validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
        unknown = sorted({name for prices in table.values() for name in prices} - {DEFAULT, *Operation})
        problem = f"names {unknown[0]!r}, which is no operation" if unknown else None
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        problem = "is not TOML"
    except ValidationError as error:
        problem = f"has no price at {'.'.join(str(part) for part in error.errors()[0]['loc'])}"
    if problem is not None:
        raise SettingsError([SettingProblem("DAYFLY_PRICES", problem, _ALLOWED)])
    return table


def price_of(prices: Prices, provider: str, able: Capabilities, operation: Operation) -> float:
    """Give the price of a call; what charges nothing is free, and what nobody priced comes last."""
    of_provider = prices.get(provider, {})
    known = of_provider.get(operation, of_provider.get(DEFAULT))
    return known if known is not None else (float("inf") if able.charges else 0.0)
