"""Show data: tables and progress on a terminal, plain columns in a pipe, JSON when asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="Print data as JSON.")]


def console() -> Console:
    """Return the console on standard output; it writes text as it is, without reading markup into it."""
    return Console(markup=False, highlight=False, soft_wrap=True)


def notes() -> Console:
    """Return the console on standard error, for what is no result."""
    return Console(stderr=True, markup=False, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None) -> None:
    """Print rows under headings: boxed on a terminal, aligned plain text elsewhere."""
    if sys.stdout.isatty():
        table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
        for index, column in enumerate(columns):
            # The first column is what people copy.
            table.add_column(column, overflow="fold", no_wrap=index == 0)
        for row in rows:
            table.add_row(*row)
        Console(markup=False, highlight=False).print(table)
        return
    lines = [tuple(column.upper() for column in columns), *map(tuple, rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def size(count: int) -> str:
    """Write a number of bytes for people."""
    if count < 1000:
        return f"{count} B"
    for unit in ("kB", "MB"):
        count_in_unit = count / 1000
        if count_in_unit < 1000 or unit == "MB":
            return f"{count_in_unit:.1f} {unit}" if count_in_unit < 100 else f"{count_in_unit:.0f} {unit}"
        count //= 1000
    raise AssertionError


def seconds(value: float) -> str:
    """Write a duration for people."""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s" if value < 100 else f"{value:.0f} s"


def moment(value: datetime | None) -> str:
    """Write a time for people, in UTC."""
    return "" if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
