"""One job's CPU time in the whole pool, against the same image work done bare in one process."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path

from benchmarks.processes import cpu_seconds
from benchmarks.report import Figure, at_most, told
from benchmarks.site import Site, running_site
from pipelines._zygote_process import _ENVIRONMENT as ZYGOTE_ENVIRONMENT
from tests.harness import REPO
from tests.photos import product_photo
from worker.client import JobSpec

# Three renditions of a product that the provider `local` has cut out.
PRODUCT_SET = """\
title = "A product on white: for the marketplace, the page and the list"
operation = "remove-background"
provider = "local"

[[renditions]]
name = "main"
fit = "canvas"
canvas = 2000
canvas_min = 200
fill = 0.88
format = "jpeg"
quality = 90
max_bytes = 10_000_000

[[renditions]]
name = "page"
fit = "width"
width = 960
format = "webp"
quality = 80

[[renditions]]
name = "list"
fit = "width"
width = 480
format = "jpeg"
quality = 82
"""
RECIPES = {"product-set": "3 renditions, provider local", "web-set": "6 renditions, no provider"}
TARGET = 1.15


class _Bare:
    """The bare contender: a process that does image work when told to."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def work(self, recipe: str, count: int) -> tuple[float, list[str]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{recipe} {count}\n".encode())
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["cpu"] / count, answer["digests"]


@contextmanager
def _bare(photo: Path, recipes: Path, environment: Mapping[str, str]) -> Iterator[_Bare]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bare", str(photo), str(recipes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPO), **environment},
    )
    try:
        yield _Bare(process)
    finally:
        process.communicate()


def measure(*, quick: bool) -> list[Figure]:
    """By turns: jobs through the pool, the bare work as anybody would start it, and with the zygote's own tuning."""
    width, height = (2400, 1800) if quick else (4000, 3000)
    rounds, jobs = (1, 1) if quick else (5, 4)
    photo = product_photo("camera", width=width, height=height).encoded
    figures: list[Figure] = []
    with ExitStack() as stack:
        site = stack.enter_context(running_site())
        recipes = site.folder / "recipes"
        recipes.mkdir()
        (recipes / "product-set.toml").write_text(PRODUCT_SET)
        (site.folder / "photo.jpg").write_bytes(photo)
        site.environment["DAYFLY_RECIPES_DIR"] = str(recipes)
        worker = site.start("worker")
        plain, tuned = (
            stack.enter_context(_bare(site.folder / "photo.jpg", recipes, environment))
            for environment in ({"VIPS_CONCURRENCY": "1"}, ZYGOTE_ENVIRONMENT)
        )
        for recipe, what in RECIPES.items():
            pool_seconds: list[float] = []
            plain_seconds: list[float] = []
            tuned_seconds: list[float] = []
            for turn in range(rounds + 1):
                used, made = _through_pool(site, site.members(worker), photo, recipe, jobs if turn else 1)
                plain_used, expected = plain.work(recipe, jobs if turn else 1)
                tuned_used, _ = tuned.work(recipe, jobs if turn else 1)
                if made != expected:
                    raise AssertionError(f"pool and bare work disagree about {recipe}")
                if turn:  # the first is a rehearsal
                    pool_seconds.append(used)
                    plain_seconds.append(plain_used)
                    tuned_seconds.append(tuned_used)
            title = f"CPU of a job, {width * height / 1e6:.0f} MP JPEG, {what}"
            note = f"bare {statistics.median(plain_seconds) * 1000:.0f} ms"
            figures += [
                at_most(f"{title}, to bare", TARGET, _ratios(pool_seconds, plain_seconds), note=note),
                told("… to bare with the sandbox's allocator tuning", _ratios(pool_seconds, tuned_seconds), unit="×"),
                told("… in the pool", [1000 * used for used in pool_seconds], unit="ms"),
            ]
    return figures


def _through_pool(site: Site, pids: list[int], photo: bytes, recipe: str, count: int) -> tuple[float, list[str]]:
    before = cpu_seconds(pids)
    for _ in range(count):
        job = site.client.wait(site.client.submit(BytesIO(photo), JobSpec(recipe=recipe)).id)
    used = (cpu_seconds(pids) - before) / count
    if job.error_code is not None:
        raise AssertionError(f"a job failed: {job.error_message}")
    made = []
    for output in job.outputs:
        with site.client.open_output(job.id, output.name) as rendition:
            made.append(hashlib.sha256(rendition.read()).hexdigest())
    return used, made


def _ratios(ours: list[float], bare: list[float]) -> list[float]:
    return [used / other for used, other in zip(ours, bare, strict=True)]
