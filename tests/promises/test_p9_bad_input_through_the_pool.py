"""P9 and P3 together: whatever is uploaded, its job ends with a right picture or a refusal, and without keys."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image

from storage import Shredded
from tests import photos
from tests.harness import Pool, photo
from worker.records import JobState

pytestmark = pytest.mark.timeout(120)

REFUSED = {
    "empty-file": b"",
    "not-an-image": b"Dear sir or madam,\n" * 40,
    "truncated": photo()[: len(photo()) // 2],
    "too-many-pixels": photos.huge_png(),
    "too-many-scans": photos.many_scans_jpeg(),
    "format-not-supported": photos.SVG,
}
ACCEPTED = {
    "an animated GIF": photos.animated_gif(size=640),
    "a CMYK JPEG": photos.cmyk_jpeg(),
    "a 16-bit PNG": photos.png_16_bit(),
    **{f"orientation {number}": photos.oriented_jpeg(number) for number in range(1, 9)},
}


def test_p9_every_bad_file_ends_its_job_and_its_key_and_costs_no_worker(pools: Callable[..., Pool]) -> None:
    pool = pools()
    worker = pool.start("worker")
    pool.start("sweeper")
    refused = {code: pool.submit(data, "web-set") for code, data in REFUSED.items()}
    accepted = {name: pool.submit(data, "original-clean") for name, data in ACCEPTED.items()}

    ended = {name: pool.ended(job.id, within=60) for name, job in (refused | accepted).items()}

    assert {name: ended[name].error_code for name in refused} == {name: name for name in refused}
    assert all((ended[name].error_message or "").endswith(".") for name in refused)
    assert ended["too-many-pixels"].to_json()["error"] == {
        "code": "too-many-pixels",
        "message": ended["too-many-pixels"].error_message,
        "actual": 900_000_000,
        "limit": 100_000_000,
    }, "a site can say it in another language"
    assert ended["format-not-supported"].error_facts == {"what": "SVG"}
    assert {ended[name].state for name in accepted} == {JobState.DONE}
    assert worker.poll() is None
    for job in ended.values():
        assert isinstance(pool.deployment.store.status(job.upload.oid), Shredded)
    upright = photos.compass()
    for number in range(1, 9):
        job = ended[f"orientation {number}"]
        with pool.client.open_output(job.id, job.outputs[0].name) as rendition:
            picture = Image.open(BytesIO(rendition.read())).convert("RGB")
        assert picture.size == upright.size
        corner = (picture.width // 4, picture.height // 4)
        difference = [abs(a - b) for a, b in zip(picture.getpixel(corner), upright.getpixel(corner), strict=True)]  # type: ignore[arg-type]  # RGB gives tuples
        assert max(difference) < 40, "the picture stands upright"
    pool.assert_nothing_left()
