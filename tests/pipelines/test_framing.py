"""The steps of a boxed rendition against formulas and against Pillow, and whole renditions in the sandbox."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pipelines import Encoded, Limits, Pixels, Recipe, RefusalCode, Refused, Renditions, Sandbox
from pipelines._reports import PLACEHOLDER
from pipelines.steps import background, finish, placeholder
from pipelines.steps.crop import GRAVITY, corner, crop, plan_box, trim
from tests import photos
from tests.pipelines.pictures import decoded, difference

sides = st.integers(min_value=1, max_value=10_000)
boxes = st.tuples(st.integers(16, 4000), st.integers(16, 4000))


def vips(image: Image.Image) -> pyvips.Image:
    return pyvips.Image.new_from_array(np.asarray(image), interpretation="srgb")


def recipe(**fields: Any) -> Recipe:
    watermark = fields.pop("mark", None)
    spec = {"name": "one", "fit": "box", "width": 300, "height": 200, "format": "png", **fields}
    return Recipe.model_validate({"name": "one", "title": "One", "renditions": [spec], "watermark": watermark})


def rendered(sandbox: Sandbox, image: Image.Image, **fields: Any) -> tuple[NDArray[Any], list[str]]:
    with (
        Pixels.from_bytes(image.tobytes(), image.width, image.height, len(image.mode)) as source,
        sandbox.render(source, recipe(**fields), Limits()) as renditions,
    ):
        return np.asarray(decoded(renditions[0].data).convert("RGB")), [note.code for note in renditions.notes]


@given(sides, sides, boxes, st.sampled_from(["fill", "pad", "inside"]))
def test_a_box_is_filled_or_holds_and_nothing_is_enlarged(
    width: int, height: int, box: tuple[int, int], mode: str
) -> None:
    plan = plan_box(width, height, box, mode)

    assert plan.scale <= 1
    assert plan.width <= box[0]
    assert plan.height <= box[1]
    assert plan.picture_width <= width or plan.picture_width == plan.width
    if mode == "fill":
        assert plan.picture_width >= plan.width
        assert plan.picture_height >= plan.height
    else:
        assert plan.picture_width <= plan.width
        assert plan.picture_height <= plan.height
    if mode != "inside":
        # The shape is the box's, but for a pixel of rounding.
        assert abs(plan.width * box[1] - plan.height * box[0]) <= max(box)
        assert ((plan.width, plan.height) == box) or plan.scale == 1


@pytest.mark.parametrize("gravity", GRAVITY)
def test_gravity_is_where_pillow_would_crop(gravity: str) -> None:
    image = photos.picture(90, 70, seed=1)
    left, top = corner(gravity, 50, 40)

    found = crop(vips(image), 40, 30, gravity).numpy()

    assert (found == np.asarray(image.crop((left, top, left + 40, top + 30)))).all()
    assert ("west" in gravity) == (left == 0)
    assert ("south" in gravity) == (top == 40)


@pytest.mark.parametrize("focus", ["attention", "entropy"])
def test_smart_crop_finds_what_is_not_plain(focus: str) -> None:
    page = Image.new("RGB", (900, 300), (200, 200, 200))
    page.paste(photos.picture(200, 200, seed=3, detail=60), (640, 50))

    found = crop(vips(page), 300, 300, focus).numpy()

    assert (np.abs(found.astype(int) - 200).max(axis=2) > 12).mean() > 0.35


def test_trim_takes_the_plain_border_and_nothing_else() -> None:
    page = Image.new("RGB", (300, 200), (250, 250, 250))
    page.paste((30, 60, 90), (40, 20, 240, 180))
    clear = Image.new("RGBA", (300, 200), (0, 0, 0, 0))
    clear.paste((250, 250, 250, 255), (40, 20, 240, 180))

    for image in (page, clear):
        assert (trim(vips(image)).width, trim(vips(image)).height) == (200, 160)
    for blank in (Image.new("RGB", (50, 40), (9, 9, 9)), Image.new("RGB", (1, 1))):
        assert (trim(vips(blank)).width, trim(vips(blank)).height) == blank.size


def test_a_gradient_is_the_formula() -> None:
    found = background.gradient(7, 101, (0, 100, 255), (200, 100, 5)).numpy()

    share = np.arange(101)[:, None] / 100
    expected = np.array([0, 100, 255]) + share * np.array([200, 0, -250])
    assert np.abs(found - expected[:, None, :]).max() <= 0.5


def test_a_blurred_background_keeps_the_colours_and_loses_the_detail() -> None:
    image = photos.picture(640, 480, seed=6, detail=80)
    found = background.blurred(vips(image), 300, 500).numpy().astype(float)

    expected = np.asarray(image.filter(ImageFilter.GaussianBlur(60)), dtype=float).mean(axis=(0, 1)) * 0.92
    assert found.shape == (500, 300, 3)
    assert np.abs(found.mean(axis=(0, 1)) - expected).max() < 12
    assert np.abs(np.diff(found, axis=1)).max() < 8


def test_a_shadow_lies_under_the_foot_and_nowhere_else() -> None:
    alpha = pyvips.Image.new_from_array(np.full((200, 100), 255, dtype=np.uint8))
    shadow = background.contact_shadow(alpha, 150, 50, (400, 400), 0.5).numpy()

    foot = 250
    assert 0.3 < shadow[foot - 5 : foot + 5, 200].max() <= 0.5
    assert shadow[: foot - 60].max() < 0.01
    assert shadow[foot + 40 :].max() < 0.01
    assert shadow[foot, :100].max() < 0.01


def test_sharpening_raises_edges_only_where_something_was_reduced() -> None:
    image = vips(photos.picture(400, 300, seed=2, detail=100)).thumbnail_image(200).copy_memory()

    def crispness(picture: pyvips.Image) -> float:
        return float(np.abs(np.diff(picture.numpy().astype(float), axis=1)).mean())

    full, half, eighth = (crispness(finish.sharpen_for_size(image, scale)) for scale in (1.0, 0.5, 0.125))
    assert full == crispness(image)
    assert full < half < eighth < full * 1.6


@pytest.mark.parametrize("opacity", [0.25, 1.0])
def test_a_watermark_is_pillows_alpha_composite(opacity: float) -> None:
    image = photos.picture(400, 300, seed=8)
    mark = Image.new("RGBA", (80, 40), (250, 10, 10, 200))

    found = finish.watermark(vips(image), vips(mark), opacity=opacity, width=0.2, gravity="south-east", tile=False)

    layer = Image.new("RGBA", image.size)
    layer.paste(Image.new("RGBA", (80, 40), (250, 10, 10, round(200 * opacity))), (400 - 80 - 9, 300 - 40 - 9))
    expected = Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")
    assert np.abs(found.numpy().astype(int) - np.asarray(expected).astype(int)).max() <= 2


def test_a_tiled_watermark_is_everywhere() -> None:
    image = Image.new("RGB", (400, 300), (255, 255, 255))
    found = finish.watermark(
        vips(image), vips(Image.new("RGBA", (20, 10), (0, 0, 0, 255))), opacity=0.5, width=0.1, gravity="centre",
        tile=True,
    ).numpy()  # fmt: skip

    for row in range(0, 300, 100):
        for column in range(0, 400, 100):
            assert 0.2 < (found[row : row + 100, column : column + 100] < 200).all(axis=2).mean() < 0.8


def test_placeholders_are_those_of_their_authors_programs() -> None:
    """The expected strings were made by the PyPI packages blurhash 1.1.5 and thumbhash 0.1.2 from the same pixels."""
    for size, blur, thumb in (
        ((32, 24), "L7F=:jwF$%^UCH.OwaVb1BX+OqG]", "df07021584b05ca5f0575a95b88e6a878b87900a57"),
        ((20, 32), "T9F=?m?YF{3VP0T^N6Tuv~%wTcKk", "df07020c06690cc5877ba879dca74cb0810486"),
    ):
        flat = photos.picture(*size, seed=5).convert("RGBA").tobytes()
        pixels = [(flat[i], flat[i + 1], flat[i + 2], flat[i + 3]) for i in range(0, len(flat), 4)]

        assert placeholder.blurhash(pixels, *size) == blur
        assert placeholder.thumbhash(pixels, *size).hex() == thumb


def test_dominant_colours_come_by_their_frequency() -> None:
    pixels = [(200, 10, 10, 255)] * 60 + [(10, 10, 200, 255)] * 30 + [(0, 255, 0, 0)] * 500

    assert placeholder.dominant_colours(pixels)[:2] == ["#c80a0a", "#0a0ac8"]
    assert placeholder.dominant_colours([(0, 0, 0, 0)]) == []


@given(st.binary(min_size=4, max_size=4 * 64), st.integers(1, 8))
def test_any_picture_has_a_placeholder_that_is_let_through(data: bytes, width: int) -> None:
    height = max(1, len(data) // 4 // width)
    width = min(width, len(data) // 4)
    image = pyvips.Image.new_from_memory(data[: width * height * 4], width, height, 4, "uchar")
    made = placeholder.placeholder(image.copy(interpretation="srgb"), width, height)

    assert PLACEHOLDER.fullmatch(made)


# -- in the sandbox ---------------------------------------------------------------------------------------------------


def test_the_avatar_recipe_makes_squares_and_a_placeholder(sandbox: Sandbox) -> None:
    from pipelines import load_recipes

    def facts(renditions: Renditions) -> list[tuple[str, str, int, int]]:
        return [(one.name, one.media_type, one.width, one.height) for one in renditions]

    with (
        Encoded.from_bytes(photos.jpeg(1200, 900)) as source,
        sandbox.render(source, load_recipes()["avatar"], Limits()) as renditions,
    ):
        found = facts(renditions)
        said = json.loads(bytes(renditions[2].data))

    assert found == [
        ("w512", "image/jpeg", 512, 512),
        ("w128", "image/webp", 128, 128),
        ("placeholder", "application/json", 1200, 900),
    ]
    assert (said["width"], said["height"], len(said["colours"])) == (1200, 900, 5)


def test_filling_a_box_by_gravity_is_pillows_fit(sandbox: Sandbox) -> None:
    from PIL import ImageOps

    image = photos.picture(1200, 900, seed=7)
    found, notes = rendered(sandbox, image, focus="centre")

    assert notes == []
    assert difference(found, np.asarray(ImageOps.fit(image, (300, 200), Image.Resampling.LANCZOS))) < 3


def test_padding_keeps_the_whole_picture_and_shows_the_background_around_it(sandbox: Sandbox) -> None:
    image = Image.new("RGB", (400, 400), (200, 30, 30))
    found, notes = rendered(sandbox, image, mode="pad", background=[10, 20, 30], background_to=[110, 120, 130])
    at_east, _ = rendered(sandbox, image, mode="pad", focus="east", background=[10, 20, 30])
    blurred, _ = rendered(sandbox, image, mode="pad", blurred_background=True)

    assert notes == []
    assert (found[:, 50:250] == (200, 30, 30)).all()
    assert found[0, 0].tolist() == [10, 20, 30]
    assert found[199, 299].tolist() == [110, 120, 130]
    assert (at_east[:, 100:] == (200, 30, 30)).all()
    assert np.abs(blurred[:, :50].astype(int) - np.array([200, 30, 30]) * 0.92).max() <= 2


def test_a_photo_too_small_gets_a_smaller_box_and_a_note(sandbox: Sandbox) -> None:
    found, notes = rendered(sandbox, photos.picture(150, 150, seed=1))

    assert found.shape == (100, 150, 3)
    assert notes == ["box-smaller"]


def test_a_transparent_picture_is_padded_through_its_alpha(sandbox: Sandbox) -> None:
    found, _ = rendered(sandbox, Image.new("RGBA", (300, 200), (0, 0, 0, 0)), mode="pad", background=[1, 2, 3])

    assert (found == (1, 2, 3)).all()


def test_a_recipes_watermark_is_on_its_rendition(sandbox: Sandbox) -> None:
    logo = photos.encode(Image.new("RGBA", (60, 30), (255, 0, 0, 255)), "PNG")
    mark = {"png": base64.b64encode(logo).decode(), "opacity": 1.0, "width": 0.2, "gravity": "north-west"}
    image = Image.new("RGB", (600, 400), (0, 0, 255))

    found, _ = rendered(sandbox, image, watermark=True, mark=mark)
    without, _ = rendered(sandbox, image, mark=mark)

    assert found[20, 30].tolist() == [255, 0, 0]
    assert found[150, 200].tolist() == [0, 0, 255]
    assert (without == (0, 0, 255)).all()


def test_a_ceiling_of_bytes_is_kept_by_lowering_the_quality_or_refused(sandbox: Sandbox) -> None:
    upload = photos.encode(photos.picture(900, 600, seed=3, detail=300), "JPEG", quality=95)
    sizes = []
    with Encoded.from_bytes(upload) as source:
        for ceiling in (60_000, 30_000):
            wanted = recipe(format="jpeg", quality=95, quality_min=20, max_bytes=ceiling)
            with sandbox.render(source, wanted, Limits()) as renditions:
                sizes.append(len(renditions[0].data))
        with pytest.raises(Refused) as refused:
            sandbox.render(source, recipe(format="jpeg", quality_min=60, max_bytes=900), Limits())

    assert sizes[0] > sizes[1]
    assert sizes[1] <= 30_000
    assert refused.value.code is RefusalCode.OUTPUT_TOO_LARGE


def test_a_cut_out_on_a_gradient_throws_a_shadow_under_its_foot(sandbox: Sandbox) -> None:
    cut_out = Image.new("RGBA", (600, 600), (0, 0, 0, 0))
    cut_out.paste((40, 90, 160, 255), (100, 100, 500, 500))
    spec = {
        "name": "one", "fit": "canvas", "canvas": 500, "canvas_min": 100, "fill": 0.6, "format": "png",
        "background": [250, 250, 250], "background_to": [220, 220, 220],
    }  # fmt: skip
    found = []
    for shadow in (0.0, 0.6):
        wanted = Recipe.model_validate({"name": "a", "title": "A", "renditions": [{**spec, "shadow": shadow}]})
        with (
            Pixels.from_bytes(cut_out.tobytes(), 600, 600, 4) as source,
            sandbox.render(source, wanted, Limits()) as renditions,
        ):
            found.append(np.asarray(decoded(renditions[0].data)).astype(int))

    plain, shaded = found
    assert plain[0, 0].tolist() == [250, 250, 250]
    assert plain[499, 0].tolist() == [220, 220, 220]
    darker = (plain - shaded).max(axis=2)
    assert darker[:300].max() <= 1
    assert darker[395:420, 200:300].max() > 40
    assert (darker[:, :40] <= 1).all()
