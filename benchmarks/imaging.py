"""The image work alone: the sandbox beside bare libvips, Pillow, sharp, vipsthumbnail and thumbor."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.contenders.start import BARE, OTHERS, SANDBOX, NotThereError, Racer, Took, Weighed, racing
from benchmarks.contenders.tasks import lay_out
from benchmarks.report import Figure, at_most, told

# Mean difference of levels beyond which two contenders did not make the same picture.
SAME_PICTURE = 6.0
# Three renditions cost this much more CPU in the sandbox than bare, at most.
SANDBOX_TARGET = 1.10
MEMORY_TARGET = 1.2


def measure(*, quick: bool) -> list[Figure]:
    """By turns: each task by each contender that can do it, in a process of its own for each task."""
    rounds, count = (1, 1) if quick else (5, 8)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="dayfly-bench-", dir="/dev/shm") as name:
        folder = Path(name)
        for task, facts in lay_out(folder, quick=quick).items():
            print(f"  {facts['what']} …", file=sys.stderr, flush=True)
            with ExitStack() as stack:
                racers = _start(stack, folder, quick=quick)
                weights = {who: racer.weigh(task) for who, racer in racers.items()}
                weighed = {who: weight for who, weight in weights.items() if weight is not None}
                took: dict[str, list[Took]] = {who: [] for who in weighed}
                for _ in range(rounds):
                    for who, rounds_of in took.items():
                        rounds_of.append(racers[who].work(task, count))
            _compare(task, took)
            figures += _figures(task, facts["what"], took, weighed)
    return figures


def _start(stack: ExitStack, folder: Path, *, quick: bool) -> dict[str, Racer]:
    racers = {}
    for contender in (SANDBOX, BARE, *OTHERS):
        try:
            # Nothing is installed to show that a measurement works.
            racers[contender.name] = stack.enter_context(racing(contender, folder, may_install=not quick))
        except NotThereError as problem:
            print(f"  without {contender.name}, which {problem}", file=sys.stderr, flush=True)
    return racers


def _compare(task: str, took: Mapping[str, list[Took]]) -> None:
    """
    Make sure that speed was not bought with a wrong picture.

    Raises:
        AssertionError: Two contenders made pictures of different sizes, or that do not look the same.
    """
    expected = [_pixels(data) for data in took[SANDBOX.name][-1].made]
    for who, rounds in took.items():
        found = [_pixels(data) for data in rounds[-1].made]
        if len(found) != len(expected):
            raise AssertionError(f"{who} made {len(found)} renditions of {task}, the sandbox {len(expected)}")
        for ours, theirs in zip(expected, found, strict=True):
            if max(abs(a - b) for a, b in zip(ours.shape, theirs.shape, strict=True)) > 1:
                raise AssertionError(f"{who} made {theirs.shape} of {task}, the sandbox {ours.shape}")
            height, width = (min(a, b) for a, b in zip(ours.shape[:2], theirs.shape[:2], strict=True))
            apart = np.abs(ours[:height, :width] - theirs[:height, :width]).mean()
            if apart > SAME_PICTURE:
                raise AssertionError(f"{who}'s picture of {task} is not the sandbox's: {apart:.1f} levels apart")


def _pixels(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    return np.asarray(Image.open(BytesIO(data)).convert("RGB")).astype(np.int16)


def _figures(task: str, what: str, took: Mapping[str, list[Took]], weighed: Mapping[str, Weighed]) -> list[Figure]:
    figures = []
    ours = took[SANDBOX.name]
    bare, sharp = took.get(BARE.name), took.get("sharp")
    if bare is not None:
        ratios = [one.cpu / max(other.cpu, 0.001) for one, other in zip(ours, bare, strict=True)]
        title = f"{what}: CPU in the sandbox, to bare libvips"
        figures.append(at_most(title, SANDBOX_TARGET, ratios) if task == "three" else told(title, ratios, unit="×"))
    if sharp is not None:
        ratios = [_median(one) / _median(other) for one, other in zip(ours, sharp, strict=True)]
        figures.append(at_most(f"{what}: time in the sandbox, to sharp's", 1.0, ratios))
    if len(took) > 1:
        weight = weighed[SANDBOX.name]
        # As wait4 tells it of each process; the worker and the zygote are there once, however many photos are in work.
        share = weight.largest / min(one.largest for one in weighed.values())
        figures.append(at_most(f"{what}: peak memory of the largest process, to the lowest", MEMORY_TARGET, [share]))
        share = weight.together / min(one.together for one in weighed.values())
        figures.append(told("… of all processes together, to the lowest", [share], unit="×"))
    for who, rounds in took.items():
        cpu, weight = statistics.median(one.cpu for one in rounds), weighed[who]
        peaks = f"peak {_mib(weight.largest)} MiB, together {_mib(weight.together)}, idle {_mib(weight.idle)}"
        note = f"CPU {cpu * 1000:.0f} ms, {peaks}"
        figures.append(told(f"… {who}", [_median(one) * 1000 for one in rounds], unit="ms", note=note))
    return figures


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f}"


def _median(took: Took) -> float:
    return statistics.median(took.seconds)
