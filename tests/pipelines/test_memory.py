"""The memory of a worker that decodes all day: what a job took must come back with the end of its child."""

from __future__ import annotations

import itertools
import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pipelines import Encoded, Limits, PipelineError, Recipe, Sandbox, load_recipes
from tests import photos
from tests.pipelines.hostile import FILES

pytestmark = pytest.mark.slow

RECIPES = load_recipes()


def jobs() -> Iterator[tuple[bytes, Recipe]]:
    """Give uploads of all formats and sizes, good and hostile, with recipes by turns; without end."""
    kinds = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "BMP", "HEIF")
    uploads = [photos.encode(photos.picture(300 + 90 * n, 500 - 40 * n, seed=n), kind) for n, kind in enumerate(kinds)]
    uploads += [photos.jpeg(2400, 1800), photos.jpeg(1200, 900, progressive=True), photos.oriented_jpeg(6, 400)]
    uploads += [
        FILES[name].make() for name in ("JPEG of 510 scans", "TIFF of 4 billion strips", "WebP of 268 megapixels")
    ]
    recipes = [RECIPES[name] for name in ("web-set", "avatar", "original-clean", "etsy")]
    return itertools.cycle(itertools.product(uploads, recipes))


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def growth(sandbox: Sandbox, rehearsal: int, count: int) -> tuple[int, int]:
    """Return by how many bytes worker and zygote have grown over `count` jobs after those of a rehearsal."""
    mixed, sizes = jobs(), []
    for part in (rehearsal, count):
        for upload, recipe in itertools.islice(mixed, part):
            with Encoded.from_bytes(upload) as source, suppress(PipelineError):
                sandbox.render(source, recipe, Limits()).close()
        sizes.append((resident(os.getpid()), resident(sandbox.zygote_pid)))
    return sizes[1][0] - sizes[0][0], sizes[1][1] - sizes[0][1]


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_the_memory_of_worker_and_zygote_is_flat_over_2000_mixed_jobs() -> None:
    with Sandbox() as sandbox:
        worker, zygote = growth(sandbox, 200, 2000)

    # Shown with -s, for whoever runs the campaign to see how flat it is.
    print(f"over 2,000 jobs the worker grew by {worker >> 10:,} KiB, the zygote by {zygote >> 10:,} KiB")
    assert worker < 16 << 20
    assert zygote < 4 << 20


def test_the_memory_of_worker_and_zygote_is_flat_over_a_few_mixed_jobs(sandbox: Sandbox) -> None:
    worker, zygote = growth(sandbox, 20, 36)

    assert worker < 16 << 20
    assert zygote < 4 << 20


def test_the_measure_would_see_a_leak() -> None:
    """Guards the tests above: twenty megabytes that are kept are seen."""
    before = resident(os.getpid())
    kept = mmap.mmap(-1, 20 << 20)
    kept.write(b"x" * (20 << 20))

    assert resident(os.getpid()) - before > 16 << 20
    kept.close()
