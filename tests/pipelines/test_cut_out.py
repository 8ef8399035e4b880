from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import Limits, Pixels, Prepared, RefusalCode, Refused, Sandbox
from tests import photos
from tests.pipelines.pictures import array_of

pytestmark = pytest.mark.slow

SAMPLES = Path(__file__).parents[2] / "examples" / "photos"


@pytest.fixture
def cut(sandbox: Sandbox, prepared: Callable[..., Prepared], limits: Limits) -> Iterator[Callable[[bytes], np.ndarray]]:
    """Cut the product out of a file and return RGBA."""
    made: list[Pixels] = []

    def work(data: bytes) -> np.ndarray:
        made.append(sandbox.cut_out(prepared(data).as_pixels(), limits))
        return array_of(made[-1])

    yield work
    for pixels in made:
        pixels.close()


Cut = Callable[[bytes], np.ndarray]


def overlap(alpha: np.ndarray, mask: np.ndarray) -> float:
    """Return intersection over union."""
    found, true = alpha > 127, mask > 127
    return float((found & true).sum() / (found | true).sum())


@pytest.mark.parametrize("product", photos.PRODUCTS)
@pytest.mark.parametrize(("width", "height"), [(1600, 1200), (500, 375)])
def test_the_product_is_found_to_the_pixel(product: str, width: int, height: int, cut: Cut) -> None:
    """On an unevenly lit sheet with a contact shadow, sensor noise and JPEG compression."""
    photo = photos.product_photo(product, width=width, height=height, seed=11)

    alpha = cut(photo.encoded)[..., 3]

    assert overlap(alpha, photo.mask) > 0.985
    assert np.abs(alpha.astype(int) - photo.mask).mean() / 255 < 0.004


def test_noise_of_a_dark_room_is_not_taken_for_a_product(cut: Cut) -> None:
    photo = photos.product_photo("mug", seed=2, noise=7.0)

    assert overlap(cut(photo.encoded)[..., 3], photo.mask) > 0.98


def test_the_handle_of_a_mug_can_be_looked_through_and_a_pale_label_cannot(cut: Cut) -> None:
    mug = cut(photos.product_photo("mug").encoded)[..., 3]
    bottle = cut(photos.product_photo("bottle").encoded)[..., 3]

    assert mug[int(0.52 * 1200), int(0.64 * 1600)] == 0
    assert bottle[int(0.65 * 1200), int(0.50 * 1600)] == 255


def test_the_contact_shadow_goes(cut: Cut) -> None:
    photo = photos.product_photo("camera", seed=3)
    alpha = cut(photo.encoded)[..., 3]

    below = int(0.78 * 1200) + 8
    assert alpha[below : below + 40].max() == 0


def test_edges_carry_no_colour_of_the_old_background(cut: Cut) -> None:
    """A dark product from a light sheet, put on black: a light rim would be the old background."""
    photo = photos.product_photo("camera", seed=3)
    result = cut(photo.encoded).astype(float)

    on_black = result[..., :3] * (result[..., 3:] / 255)
    edge = (photo.mask > 10) & (photo.mask < 245)
    assert edge.sum() > 500
    assert np.percentile(on_black[edge].max(axis=1), 95) < 75


def test_edges_are_soft_and_not_a_staircase(cut: Cut) -> None:
    photo = photos.product_photo("pale-vase", seed=3)

    alpha = cut(photo.encoded)[..., 3]

    between = (alpha > 20) & (alpha < 235)
    assert between.sum() > 0.3 * ((photo.mask > 20) & (photo.mask < 235)).sum()


@pytest.mark.parametrize("name", ["cactus.jpg", "shoe.jpg"])
def test_real_photographs_give_one_plausible_product(name: str, cut: Cut) -> None:
    alpha = cut((SAMPLES / name).read_bytes())[..., 3]

    share = float((alpha > 127).mean())
    height, width = alpha.shape
    rim = np.concatenate([alpha[:20].ravel(), alpha[-20:].ravel(), alpha[:, :20].ravel(), alpha[:, -20:].ravel()])
    assert 0.05 < share < 0.5
    assert rim.max() == 0
    assert alpha[height // 2, int(width * 0.45)] == 255


def test_the_same_photo_gives_the_same_cut_out(cut: Cut) -> None:
    data = photos.product_photo("sneaker").encoded

    assert (cut(data) == cut(data)).all()


def test_a_picture_that_is_cut_out_already_comes_back_as_it_is(sandbox: Sandbox, limits: Limits) -> None:
    image = np.zeros((40, 60, 4), dtype=np.uint8)
    image[10:30, 20:40] = (200, 10, 10, 255)
    with (
        Pixels.from_bytes(image.tobytes(), 60, 40, 4) as source,
        sandbox.cut_out(source, limits) as result,
    ):
        assert (array_of(result) == image).all()


def _textured() -> Image.Image:
    random = np.random.default_rng(1)
    return Image.fromarray(random.integers(0, 256, (600, 800, 3), dtype=np.uint8))


def _filling() -> Image.Image:
    """A product that leaves a sliver of background in one corner."""
    image = photos.picture(900, 700, seed=8, detail=8)
    image.paste((236, 236, 238), (0, 0, 60, 60))
    return image


HOPELESS = {
    "a blank page": lambda: Image.fromarray(photos.blank_page()),
    "a page of one colour": lambda: Image.new("RGB", (800, 600), (240, 240, 240)),
    "texture over the whole frame": _textured,
    "a scene without a plain background": lambda: photos.picture(900, 700, seed=4),
    "a product touching everything": _filling,
    "a checkerboard": lambda: Image.fromarray((np.indices((600, 800)).sum(axis=0) // 40 % 2 * 200).astype(np.uint8)),
    "three pixels": lambda: Image.new("RGB", (3, 1), (200, 0, 0)),
}


@pytest.mark.parametrize("name", HOPELESS)
def test_where_no_product_can_be_told_there_is_no_guess(name: str, cut: Cut) -> None:
    data = photos.encode(HOPELESS[name]().convert("RGB"), "PNG")

    with pytest.raises(Refused) as refused:
        cut(data)

    assert refused.value.code is RefusalCode.NO_PRODUCT_FOUND
    assert "plain background" in str(refused.value)
