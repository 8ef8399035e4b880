"""Look for secrets in the memory of processes."""

from __future__ import annotations


def occurrences(pid: int, needle: bytes) -> int:
    """Count how often *needle* stands in the memory of a process."""
    count = 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            area, permissions = line.split()[:2]
            if "r" not in permissions or "[v" in line:
                continue
            start, end = (int(edge, 16) for edge in area.split("-"))
            try:
                memory.seek(start)
                count += memory.read(end - start).count(needle)
            except OSError:
                continue
    return count
