"""What holds for every picture, whatever its size: generated sizes, through the whole sandbox."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines import Encoded, Limits, Pixels, Recipe, Sandbox
from tests import photos
from tests.pipelines.pictures import decoded

# Each example is a process; the machine decides how long that takes, so no deadline.
few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
more = settings(few, max_examples=24)
sides = st.integers(1, 700)
boxes = st.integers(16, 300)
formats = st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])


def rendered(sandbox: Sandbox, source: Encoded | Pixels, *specs: dict[str, Any]) -> list[Image.Image]:
    named = [{"name": f"r{index}", **spec} for index, spec in enumerate(specs)]
    recipe = Recipe.model_validate({"name": "any", "title": "Any", "renditions": named})
    with source, sandbox.render(source, recipe, Limits()) as renditions:
        return [decoded(one.data) for one in renditions]


def upload(width: int, height: int, media_format: str) -> Encoded:
    return Encoded.from_bytes(photos.encode(photos.picture(width, height, seed=width), media_format))


@few
@given(st.integers(300, 700), st.integers(300, 700), boxes, boxes, formats)
def test_any_size_in_is_the_asked_size_out(
    sandbox: Sandbox, width: int, height: int, box_width: int, box_height: int, media_format: str
) -> None:
    box = {"fit": "box", "width": box_width, "height": box_height, "format": "png"}
    found = rendered(
        sandbox,
        upload(width, height, media_format),
        {**box, "mode": "fill"},
        {**box, "mode": "pad"},
        {"fit": "width", "width": box_width, "format": "webp"},
    )

    assert [picture.size for picture in found[:2]] == [(box_width, box_height)] * 2
    assert found[2].width == box_width
    assert abs(found[2].height - box_width * height / width) <= 1


@few
@given(sides, sides, boxes, boxes, st.sampled_from(["fill", "pad", "inside"]), formats)
def test_nothing_is_ever_enlarged(
    sandbox: Sandbox, width: int, height: int, box_width: int, box_height: int, mode: str, media_format: str
) -> None:
    box, by_width = rendered(
        sandbox,
        upload(width, height, media_format),
        {"fit": "box", "width": box_width, "height": box_height, "mode": mode, "format": "png"},
        {"fit": "width", "width": box_width, "format": "png"},
    )

    assert by_width.width <= min(width, box_width)
    assert by_width.height <= height
    assert box.width <= box_width
    assert box.height <= box_height
    if mode == "pad":
        # Padding adds around the picture, so one of the sides is the picture's own, or smaller.
        assert box.width <= width or box.height <= height
    else:
        assert box.width <= width
        assert box.height <= height


@few
@given(sides, sides, formats, st.integers(1, 8))
def test_to_normalise_what_is_normal_changes_nothing(
    sandbox: Sandbox, width: int, height: int, media_format: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"exif": exif} if media_format in ("JPEG", "PNG", "WEBP") else {}
    data = photos.encode(photos.picture(width, height, seed=3), media_format, **options)
    normal = []
    for _ in range(2):
        with (
            Encoded.from_bytes(data) as source,
            sandbox.prepare(source, max_side=None, encoding="png", limits=Limits()) as picture,
        ):
            data = os.pread(picture.fd, picture.size, 0)
            normal.append(np.asarray(decoded(data)))

    assert (normal[0] == normal[1]).all()


@more
@given(
    st.integers(120, 600),
    st.integers(120, 600),
    st.tuples(*[st.integers(0, 160)] * 3),
    st.integers(60, 100),
    st.sampled_from(["4:2:0", "4:4:4"]),
    st.sampled_from(["jpeg", "png", "webp", "avif"]),
)
def test_white_is_exactly_white_beyond_16_pixels_of_the_subject(
    sandbox: Sandbox, width: int, height: int, colour: tuple[int, int, int], quality: int, chroma: str, kind: str
) -> None:
    subject = np.zeros((height + 80, width + 80, 4), dtype=np.uint8)
    subject[40:-40, 40:-40] = (*colour, 255)
    spec = {
        "fit": "canvas", "canvas": 512, "canvas_min": 16, "fill": 0.8, "format": kind, "quality": quality,
        "quality_min": 1, "chroma": chroma,
    }  # fmt: skip
    # JPEG's blocks end at 16 px. WebP and AVIF smooth across theirs, and are looked at again.
    (page,) = rendered(sandbox, Pixels.from_bytes(subject.tobytes(), width + 80, height + 80, 4), spec)

    shown = np.asarray(page.convert("RGB"))
    rows, columns = np.nonzero(shown.min(axis=2) < 215)
    outside = np.ones(shown.shape[:2], dtype=bool)
    outside[max(0, rows.min() - 16) : rows.max() + 17, max(0, columns.min() - 16) : columns.max() + 17] = False
    assert (shown[outside] == 255).all()
