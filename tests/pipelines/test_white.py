"""White pages in formats whose errors travel: exactly white all the same, or said not to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import pyvips

from pipelines import Note, Pixels, Recipe, Sandbox, _programs
from pipelines._orders import bounds_of
from pipelines.limits import Limits
from pipelines.renditions import BoxRendition, CanvasRendition
from pipelines.steps import encode
from tests import photos
from tests.pipelines.pictures import decoded, difference

PRODUCTS = ("mug", "camera", "spoon", "sneaker")


def cut_out(product: str, side: int = 640) -> Pixels:
    photo = photos.product_photo(product, width=side, height=side, seed=1)
    return Pixels.from_bytes(np.dstack([photo.rgb, photo.mask]).tobytes(), side, side, 4)


def canvas(**changes: Any) -> dict[str, Any]:
    return {
        "name": "main", "fit": "canvas", "canvas": 400, "canvas_min": 16, "fill": 0.85, "quality": 80, **changes,
    }  # fmt: skip


def stained(page: np.ndarray) -> int:
    """Return how many pixels farther than 16 px from what is darker than white are not white."""
    rows, columns = np.nonzero(page.min(axis=2) < 250)
    outside = np.ones(page.shape[:2], dtype=bool)
    outside[max(0, rows.min() - 16) : rows.max() + 17, max(0, columns.min() - 16) : columns.max() + 17] = False
    return int((page[outside] != 255).any(axis=1).sum())


def page_of(product: str, side: int = 400) -> pyvips.Image:
    """Return a product on white as a canvas is, before it is encoded."""
    photo = photos.product_photo(product, width=side, height=side, seed=1)
    share = photo.mask[..., None] / 255
    page = np.where(photo.mask[..., None] < 8, 255, photo.rgb * share + 255 * (1 - share)).round().astype(np.uint8)
    return pyvips.Image.new_from_array(page).copy(interpretation="srgb")


@pytest.mark.parametrize("kind", ["webp", "avif"])
def test_the_background_of_a_white_canvas_is_exactly_white_in_every_format(kind: str, sandbox: Sandbox) -> None:
    renditions = [canvas(name=f"q{quality}", format=kind, quality=quality) for quality in (60, 80, 95)]
    recipe = Recipe.model_validate({"name": "white", "title": "White", "renditions": renditions})
    for product in PRODUCTS:
        with cut_out(product) as source, sandbox.render(source, recipe, Limits()) as made:
            found = [stained(np.asarray(decoded(one.data).convert("RGB"))) for one in made]
            notes = [str(note) for note in made.notes]

        assert (found, notes) == ([0, 0, 0], [])


@pytest.mark.parametrize(("kind", "quality"), [("webp", 95), ("avif", 60)])
def test_left_to_itself_the_encoder_would_stain_the_background(kind: str, quality: int) -> None:
    """Guards the test above, which would hold of an encoder that needs no care as well."""
    plain = [encode.encode(page_of(product), kind, quality=quality, chroma="4:4:4") for product in PRODUCTS]

    assert any(stained(np.asarray(decoded(data).convert("RGB"))) for data in plain)


@pytest.fixture
def hopeless(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], CanvasRendition]:
    """Make every lossy try stain one pixel, and return a rendition for it."""

    def make(kind: str, **changes: Any) -> CanvasRendition:
        real = encode.encode

        def staining(image: pyvips.Image, media_format: str, **options: Any) -> bytes:
            if options["setting"] != "lossless":
                image = image.insert(pyvips.Image.black(1, 1, bands=3) + 200, 1, 1).cast("uchar")
                image = image.copy(interpretation="srgb")
                return real(image, media_format, **{**options, "quality": 100})
            return real(image, media_format, **options)

        monkeypatch.setattr(encode, "encode", staining)
        return CanvasRendition(**{**canvas(format=kind), **changes})

    return make


@pytest.mark.parametrize("kind", ["webp", "avif"])
def test_a_page_that_no_quality_keeps_white_is_stored_without_loss(
    kind: str, hopeless: Callable[..., CanvasRendition]
) -> None:
    page = page_of("mug")

    made = encode.encode_page(page, hopeless(kind))

    assert made.stained == 0
    assert difference(np.asarray(decoded(made.data).convert("RGB")), page.numpy()) == 0


@pytest.mark.parametrize("kind", ["webp", "avif"])
def test_a_page_too_large_without_loss_is_lossy_and_says_how_much_of_it_is_stained(
    kind: str, hopeless: Callable[..., CanvasRendition]
) -> None:
    page = page_of("mug")
    exact = len(encode.encode(page, kind, setting="lossless"))

    made = encode.encode_page(page, hopeless(kind, max_bytes=exact - 1))

    assert len(made.data) < exact
    assert made.stained >= 1


def test_care_is_not_begun_where_it_would_not_end_in_time(hopeless: Callable[..., CanvasRendition]) -> None:
    """A large canvas that took most of its time once must not be refused for a third of it more."""
    made = encode.encode_page(page_of("mug"), hopeless("webp"), seconds=0.0)

    assert made.stained >= 1


def test_what_is_not_white_in_the_end_is_in_the_notes(
    hopeless: Callable[..., CanvasRendition], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in a child, where no encoder can be made to fail."""
    monkeypatch.setattr(_programs.Payload, "append", lambda _self, piece: (0, len(piece)))
    photo = photos.product_photo("mug", width=640, height=640, seed=1)
    spec = hopeless("webp", max_bytes=40_000)
    work = _programs.Work(
        np.dstack([photo.rgb, photo.mask]).tobytes(),
        (640, 640, 4),
        {"renditions": [asdict(spec)]},
        bounds_of(Limits(), 1 << 20),
    )

    (note,) = _programs.render(work)["notes"]

    assert (note["index"], note["code"], note["wanted"]) == (0, "background-not-white", 0)
    assert note["actual"] >= 1
    said = str(Note("main", note["code"], 3, 0))
    assert said.startswith("main: 3 pixels of the background are not exactly white, because no file within max_bytes")


def test_only_a_page_that_is_to_be_white_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    box = {"name": "b", "width": 64, "height": 64, "format": "webp"}
    looked: list[bool] = []
    monkeypatch.setattr(encode, "_stained", lambda *_: looked.append(True) or 0)
    page = page_of("mug", 64)
    for spec in (
        CanvasRendition(**canvas(format="webp", background=(250, 255, 255))),
        CanvasRendition(**canvas(format="webp", background_to=(0, 0, 0))),
        CanvasRendition(**canvas(format="jpeg")),
        CanvasRendition(**canvas(format="png")),
        BoxRendition(**box, mode="fill"),
        BoxRendition(**box, mode="pad", blurred_background=True),
    ):
        encode.encode_page(page, spec)
    assert looked == []

    encode.encode_page(page, BoxRendition(**box, mode="pad"))

    assert looked == [True]
