"""The pictures themselves: as they looked when somebody last looked, and as another engine makes them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from pipelines import CanvasRendition, Encoded, Limits, Pixels, Recipe, Sandbox
from pipelines.steps.place import plan_placement
from tests import photos
from tests.pipelines import golden
from tests.pipelines.pictures import decoded, perceptual_distance

# What another version of an encoder may change; the smallest fault of `FAULTS` is above it.
CLOSE = 0.015
RECIPES = golden.recipes()
FAULTS = {
    "mirrored": ImageOps.mirror,
    "upside down": ImageOps.flip,
    "colours swapped": lambda picture: Image.merge("RGB", picture.split()[::-1]),
    "washed out": lambda picture: picture.point(lambda level: 60 + level * 195 // 255),
    "moved": lambda picture: Image.fromarray(np.roll(np.asarray(picture), 4, axis=1)),
    "blurred": lambda picture: picture.filter(ImageFilter.GaussianBlur(2)),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_still_makes_the_pictures_it_made(name: str, sandbox: Sandbox) -> None:
    found = dict(golden.made(sandbox, RECIPES[name]))

    expected = {file.stem for file in golden.FOLDER.glob(f"{name}.*.webp")}
    assert set(found) == expected
    for stem, picture in found.items():
        kept = decoded((golden.FOLDER / f"{stem}.webp").read_bytes()).convert("RGB")
        assert picture.size == kept.size
        assert perceptual_distance(np.asarray(picture), np.asarray(kept)) < CLOSE, stem


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["web-set.w480-jpeg", "amazon-main.main"])
def test_the_distance_sees_what_a_person_would(name: str, fault: str) -> None:
    kept = decoded((golden.FOLDER / f"{name}.webp").read_bytes()).convert("RGB")
    wrong = FAULTS[fault](kept)

    assert perceptual_distance(np.asarray(kept), np.asarray(kept)) == 0
    assert perceptual_distance(np.asarray(wrong), np.asarray(kept)) > CLOSE


def test_a_canvas_is_what_the_other_engine_puts_together(sandbox: Sandbox) -> None:
    photo = photos.product_photo("sneaker", width=1600, height=1200)
    cut_out = Image.fromarray(np.dstack([photo.rgb, photo.mask]))
    spec = CanvasRendition(name="main", canvas=(600, 800), canvas_min=100, fill=0.9, format="png")
    wanted = Recipe(name="one", title="One", renditions=(spec,))
    with (
        Pixels.from_bytes(cut_out.tobytes(), *cut_out.size, 4) as source,
        sandbox.render(source, wanted, Limits()) as renditions,
    ):
        ours = np.asarray(decoded(renditions[0].data).convert("RGB"))

    box = Image.fromarray((photo.mask >= 16).astype(np.uint8)).getbbox()
    assert box is not None
    plan = plan_placement(box[2] - box[0], box[3] - box[1], spec)
    page = Image.new("RGB", (600, 800), (255, 255, 255))
    product = cut_out.crop(box).convert("RGBa").resize((plan.width, plan.height), Image.Resampling.LANCZOS)
    product = product.convert("RGBA")
    page.paste(product, (plan.left, plan.top), product)
    assert perceptual_distance(ours, np.asarray(page)) < 0.03


@pytest.mark.parametrize("media_format", ["JPEG", "AVIF", "HEIF", "BMP"])
def test_a_width_is_what_the_other_engine_reduces(media_format: str, sandbox: Sandbox) -> None:
    photo = Image.fromarray(photos.product_photo("mug", width=800, height=600).rgb)
    upload = photos.encode(photo, media_format, **({} if media_format == "BMP" else {"quality": 95}))
    with Encoded.from_bytes(upload) as source, sandbox.render(source, RECIPES["web-set"], Limits()) as renditions:
        ours = {one.name: np.asarray(decoded(one.data).convert("RGB")) for one in renditions}

    for name, width in (("w480-jpeg", 480), ("w480-webp", 480)):
        theirs = np.asarray(photo.resize((width, width * 3 // 4), Image.Resampling.LANCZOS))
        assert perceptual_distance(ours[name], theirs) < 0.12
