"""What processes have used, read from `/proc`: CPU time and memory."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: Iterable[int]) -> float:
    """
    The CPU time of processes and of the children they have waited for, user and system, in seconds.

    The kernel rounds each to 10 ms, so a measurement takes many jobs between two readings.
    """
    total = 0
    for pid in pids:
        # The name in brackets may hold spaces; what follows it does not.
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
        total += sum(int(ticks) for ticks in fields[11:15])
    return total / _TICK


def descendants(pid: int) -> list[int]:
    """List a process's children and theirs."""
    found: list[int] = []
    for task in _entries(Path(f"/proc/{pid}/task")):
        try:
            children = [int(child) for child in (task / "children").read_text("ascii").split()]
        except OSError:
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def rss_bytes(pid: int) -> int:
    """The resident memory of a process in bytes, shared pages included; 0 if it has ended."""
    return _status(pid, "VmRSS:")


def peak_rss_bytes(pid: int) -> int:
    """The most resident memory that a process ever had, in bytes, as `wait4` tells it; 0 if it has ended."""
    return _status(pid, "VmHWM:")


def _status(pid: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(field)), 0)


def pss_bytes(pid: int) -> int:
    """
    The resident memory of a process in bytes, of each shared page only its part; 0 if it has ended.

    That of a process that may not be looked into is its resident memory with all shared pages.
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except OSError:
        return rss_bytes(pid)
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)


class PeakMemory:
    """
    Watch the resident memory of a process and its descendants, summed, until the block ends.

    Pages they share count for each of them, or once with `shared_once`, which is slower to read.

    Attributes:
        idle: The sum before the block, in bytes.
        peak: The most it was.
        largest: The most that one of the processes had by itself.
    """

    def __init__(self, pid: int, *, every: float = 0.004, shared_once: bool = False) -> None:
        self._pid = pid
        self._bytes_of = pss_bytes if shared_once else rss_bytes
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)
        self.idle = self._now()
        self.peak = self.idle
        self.largest = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def over_idle(self) -> int:
        """How far the sum rose above what it was before, in bytes."""
        return self.peak - self.idle

    def _now(self) -> int:
        return sum(self._bytes_of(pid) for pid in self._pids())

    def _pids(self) -> list[int]:
        return [self._pid, *descendants(self._pid)]

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.peak = max(self.peak, self._now())
            self.largest = max(self.largest, *map(peak_rss_bytes, self._pids()))
            time.sleep(self._every)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
