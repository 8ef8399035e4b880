from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines import CanvasRendition
from pipelines._jpeg import count_scans, declared_size, is_complete, segments, tidied, without_metadata
from pipelines._outcomes import RefusalCode
from pipelines._refusal import Refusal
from pipelines._sentences import refused
from pipelines.steps import subject
from pipelines.steps.backdrop import border_of, distance_from, fit_backdrop, shadows_on, to_lab
from pipelines.steps.place import plan_placement
from tests import photos
from tests.harness import REPO
from tests.pipelines.pictures import decoded

SPEC = CanvasRendition(name="main", canvas=2000, canvas_min=500, fill=0.88, format="jpeg")
sides = st.integers(min_value=1, max_value=20_000)


@given(sides, sides)
def test_a_placement_fills_fits_and_never_enlarges(width: int, height: int) -> None:
    if max(width, height) < 440:
        with pytest.raises(Refusal):
            plan_placement(width, height, SPEC)
        return

    plan = plan_placement(width, height, SPEC)

    assert 500 <= plan.canvas <= 2000
    assert plan.width <= width
    assert plan.height <= height
    assert plan.left >= 0
    assert plan.top >= 0
    assert plan.left + plan.width <= plan.canvas
    assert plan.top + plan.height <= plan.canvas
    assert max(plan.width, plan.height) >= 0.85 * plan.canvas
    assert plan.left % 16 == plan.top % 16 == 0
    assert (plan.canvas == 2000) == (max(width, height) >= 1760)


@given(sides, sides, st.sampled_from([(1801, 2600), (1500, 2000), (2600, 1801), (2000, 300)]))
def test_a_placement_on_a_rectangle_fills_one_way_fits_the_other_and_keeps_its_shape(
    width: int, height: int, canvas: tuple[int, int]
) -> None:
    spec = CanvasRendition(name="main", canvas=canvas, canvas_min=16, fill=0.88, format="jpeg")
    try:
        plan = plan_placement(width, height, spec)
    except Refusal:
        assert max(width / canvas[0], height / canvas[1]) * max(canvas) < 17
        return

    size = (plan.canvas_width, plan.canvas_height)
    assert size[0] <= canvas[0]
    assert size[1] <= canvas[1]
    assert abs(size[0] - size[1] * canvas[0] / canvas[1]) <= max(1, canvas[0] / canvas[1])
    assert plan.width <= width
    assert plan.height <= height
    assert plan.left + plan.width <= size[0]
    assert plan.top + plan.height <= size[1]
    assert max(plan.width / size[0], plan.height / size[1]) >= 0.85
    assert plan.left % 16 == plan.top % 16 == 0


@given(st.binary(max_size=400))
def test_walking_the_markers_of_anything_ends_and_stays_inside(data: bytes) -> None:
    last = 0
    for segment in segments(b"\xff\xd8" + data):
        assert last <= segment.start < segment.end <= len(data) + 2
        last = segment.end


@given(st.integers(min_value=0, max_value=len(photos.jpeg(64, 48)) - 1))
def test_a_jpeg_cut_anywhere_is_not_complete(length: int) -> None:
    assert is_complete(photos.jpeg(64, 48))
    assert not is_complete(photos.jpeg(64, 48)[:length])


def test_scans_are_counted_up_to_the_limit_only() -> None:
    assert count_scans(photos.jpeg(64, 48), 100) == 1
    assert 1 < count_scans(photos.jpeg(64, 48, progressive=True), 100) <= 12
    assert count_scans(photos.many_scans_jpeg(64, 48), 1000) == 510
    assert count_scans(photos.many_scans_jpeg(64, 48), 100) == 101


def test_stray_bytes_hide_no_scan() -> None:
    bomb = photos.many_scans_jpeg(64, 48)
    at = bomb.index(b"\xff\xda")

    assert count_scans(bomb[:at] + b"\x00\x01" + bomb[at:], 100) == 101


@pytest.mark.parametrize("length", [0, 1])
@pytest.mark.parametrize("marker", [0xFE, 0xE5])
def test_a_length_with_no_room_for_itself_hides_no_scan(marker: int, length: int) -> None:
    bomb = photos.many_scans_jpeg(64, 48)
    bomb = bomb[:2] + bytes((0xFF, marker, 0, length)) + bomb[2:]

    assert decoded(bomb).size == (64, 48)
    assert count_scans(bomb, 100) == 101
    assert is_complete(bomb)
    assert tidied(bomb) == bomb


def test_a_million_empty_segments_are_not_walked() -> None:
    assert count_scans(b"\xff\xd8" + b"\xff\xfe\x00\x02" * 30_000, 5) == 6
    assert count_scans(b"\xff\xd8" + b"\xff\xfe\x00\x02" * 300, 5) == 0
    assert len(list(segments(b"\xff\xd8" + b"\xff\xfe\x00\x02" * 30_000))) == 20_001


def test_the_many_scans_bomb_is_a_valid_jpeg_and_so_worth_refusing() -> None:
    assert decoded(photos.many_scans_jpeg(64, 48)).size == (64, 48)


def test_the_declared_size_is_read_without_a_decoder() -> None:
    assert declared_size(photos.jpeg(64, 48)) == (64, 48)
    assert declared_size(photos.lying_jpeg()) == (65_000, 65_000)
    assert declared_size(b"\xff\xd8\xff\xda") == (0, 0)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_without_metadata_decodes_to_the_same_pixels(mode: str) -> None:
    photo = photos.encode(photos.picture(90, 70).convert(mode), "JPEG", quality=90, comment=b"here", dpi=(300, 300))

    clean = without_metadata(photo)

    assert b"here" not in clean
    assert b"JFIF" not in clean
    assert (np.asarray(decoded(clean)) == np.asarray(decoded(photo))).all()


def test_flattening_gives_the_formula_of_alpha_over_white() -> None:
    from pipelines.steps.colour import flatten

    image = np.zeros((1, 256, 4), dtype=np.uint8)
    image[..., :3] = (40, 90, 160)
    image[0, :, 3] = np.arange(256)

    flat = flatten(pyvips.Image.new_from_array(image, interpretation="srgb")).numpy()

    share = np.arange(256)[:, None] / 255
    assert np.abs(flat[0] - (np.array([40, 90, 160]) * share + 255 * (1 - share))).max() <= 1


def test_an_uneven_sheet_is_fitted_and_a_product_on_its_border_forgotten() -> None:
    page = photos.blank_page(320, 240)
    page[200:, 60:140] = (180, 20, 20)
    lab = to_lab(page)

    backdrop = fit_backdrop(lab, border_of(240, 320))
    distance = distance_from(backdrop, lab)

    assert 0.75 < backdrop.fit < 0.97
    assert np.median(distance[:150]) < 5
    assert distance[205:235, 65:135].min() > 30


def test_a_shadow_keeps_the_hue_and_a_product_of_another_hue_is_none() -> None:
    page = np.full((100, 100, 3), 220, dtype=np.uint8)
    page[40:60, 20:40] = 160
    page[40:60, 60:80] = (60, 160, 60)
    lab = to_lab(page)

    shadows = shadows_on(fit_backdrop(lab, border_of(100, 100)), lab)

    assert shadows[45:55, 25:35].all()
    assert not shadows[45:55, 65:75].any()


@pytest.mark.parametrize("code", RefusalCode)
def test_every_refusal_has_a_sentence_with_and_without_numbers(code: RefusalCode) -> None:
    for error in (refused(code, actual=412_300_000, limit=100_000_000, what="PDF"), refused(code)):
        assert error.code is code
        assert str(error).endswith(".")
        assert "None" not in str(error)


def test_the_page_lists_every_refusal_with_the_sentence_it_has() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+\.) \|$", (REPO / "docs" / "recipes.md").read_text("utf-8"), re.MULTILINE)
    numbers: dict[str, dict[str, Any]] = {
        "too-many-bytes": {"actual": 80 << 20, "limit": 64 << 20},
        "format-not-supported": {"what": "PDF"},
        "too-many-pixels": {"actual": 412_000_000, "limit": 100_000_000},
        "side-too-long": {"actual": 20_001, "limit": 20_000},
        "too-many-frames": {"actual": 1001, "limit": 1000},
        "too-many-scans": {"limit": 100},
        "profile-too-large": {"actual": 6_291_456, "limit": 4_194_304},
        "too-small": {"actual": 300, "limit": 440},
    }

    assert [code for code, _sentence in rows] == [code.value for code in RefusalCode]
    for code, sentence in rows:
        error = refused(RefusalCode(code), **numbers.get(code, {}))
        assert str(error) == sentence
        assert {"actual": error.actual, "limit": error.limit, "what": error.what}.items() >= numbers.get(
            code, {}
        ).items()


def test_the_sentence_for_pixels_is_the_one_a_site_can_show() -> None:
    error = refused(RefusalCode.TOO_MANY_PIXELS, actual=412_000_000, limit=100_000_000)

    assert str(error) == "This photo has 412 megapixels; the limit is 100."


def test_the_compass_turned_and_turned_back_is_itself() -> None:
    """Guards the orientation tests: their generator must undo what a viewer does."""
    from PIL import ImageOps

    for orientation in range(1, 9):
        shown = ImageOps.exif_transpose(decoded(photos.oriented_jpeg(orientation)))
        assert isinstance(shown, Image.Image)
        assert shown.size == photos.compass().size
        assert np.abs(np.asarray(shown).astype(int) - np.asarray(photos.compass())).mean() < 3


@pytest.mark.parametrize(("width", "height"), [(600, 400), (3000, 2000), (5000, 900)])
def test_a_subject_is_found_in_a_large_photo_to_within_a_pixel_of_the_smaller_one(width: int, height: int) -> None:
    left, top, wide, high = width // 7, height // 5, width // 3, height // 3
    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[top : top + high, left : left + wide] = (30, 60, 90)

    found = subject.box_unlike(pyvips.Image.new_from_array(pixels), (255, 255, 255), 10, 1000)

    # The median takes a pixel off each corner of the smaller picture, no more.
    slack = 2 * max(1, max(width, height) // 1000)
    edges = (found[0], found[1], found[0] + found[2], found[1] + found[3])
    for edge, expected in zip(edges, (left, top, left + wide, top + high), strict=True):
        assert abs(edge - expected) <= slack


def test_nothing_unlike_the_background_is_no_subject() -> None:
    page = pyvips.Image.black(2500, 300, bands=3) + 255

    assert subject.box_unlike(page.cast("uchar"), (255, 255, 255), 10) == (0, 0, 0, 0)
