"""The loop of a contender that is written in Python. It imports nothing that would count as the contender's memory."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Task = dict[str, Any]


class CannotError(Exception):
    """This contender has no decoder or no step for the task."""


def race(work: Callable[[Path, list[Task]], list[bytes]], folder: Path, out: Path) -> None:
    """Answer each line `TASK COUNT` of the input; `work` is given a photo's file and the outputs to make of it."""
    tasks: dict[str, Task] = json.loads((folder / "tasks.json").read_text())
    for line in sys.stdin:
        name, count = line.split()
        seconds, made = [], []
        try:
            for _ in range(int(count)):
                started = time.perf_counter()
                made = work(folder / tasks[name]["photo"], tasks[name]["outputs"])
                seconds.append(time.perf_counter() - started)
        except CannotError as error:
            print(json.dumps({"cannot": str(error)}), flush=True)
            continue
        files = [f"{name}.{index}" for index in range(len(made))]
        for file, data in zip(files, made, strict=True):
            (out / file).write_bytes(data)
        print(json.dumps({"seconds": seconds, "files": files}), flush=True)


def folders() -> tuple[Path, Path]:
    """Return the contender's two arguments: the photos' folder and its own."""
    return Path(sys.argv[1]), Path(sys.argv[2])
