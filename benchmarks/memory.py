"""The peak memory of one very large upload, over what the worker takes when it is idle."""

from __future__ import annotations

from io import BytesIO

from benchmarks.processes import PeakMemory
from benchmarks.report import Figure, at_most, told
from benchmarks.site import running_site
from tests.photos import encode, picture
from worker.client import JobSpec
from worker.records import JobState

# 2,000 px wide, from a JPEG that libjpeg can shrink while it decodes.
RECIPE = """\
title = "One rendition, 2,000 pixels wide"

[[renditions]]
name = "main"
fit = "width"
width = 2000
format = "jpeg"
quality = 85
"""


def measure(*, quick: bool) -> list[Figure]:
    """Sum the resident memory of worker, zygote and child, shared pages counted each time, and take its highest."""
    width, height = (4000, 3000) if quick else (16_320, 12_240)
    photo = encode(picture(width, height, detail=64), "JPEG", quality=80)
    with running_site() as site:
        recipes = site.folder / "recipes"
        recipes.mkdir()
        (recipes / "large.toml").write_text(RECIPE)
        site.environment["DAYFLY_RECIPES_DIR"] = str(recipes)
        worker = site.work("benchmarks.raised_worker")
        over_idle: list[float] = []
        for _ in range(1 if quick else 3):
            with PeakMemory(worker.pid) as memory:
                job = site.client.wait(site.client.submit(BytesIO(photo), JobSpec(recipe="large")).id)
            if job.state is not JobState.DONE:
                raise AssertionError(f"the job failed: {job.error_message}")
            over_idle.append(memory.over_idle / 2**20)
    what = f"{width * height / 1e6:.0f} MP JPEG to 2,000 px"
    return [
        at_most(f"peak RSS, {what}, worker and sandbox, over idle", 300, over_idle, unit="MiB"),
        told("… the upload", [len(photo) / 2**20], unit="MiB"),
    ]
