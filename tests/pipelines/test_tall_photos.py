from __future__ import annotations

import pytest

from pipelines import Encoded, Limits, Sandbox, load_recipes
from tests.photos import encode, picture

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("media_format", ["JPEG", "AVIF"])
def test_width_of_a_portrait_is_its_width_and_not_the_side_of_a_square(
    sandbox: Sandbox, limits: Limits, media_format: str
) -> None:
    photo = encode(picture(1800, 3000), media_format)

    with Encoded.from_bytes(photo) as source, sandbox.render(source, load_recipes()["web-set"], limits) as renditions:
        sizes = {rendition.name: (rendition.width, rendition.height) for rendition in renditions}

    assert sizes["w1600-jpeg"] == (1600, 2667)
    assert sizes["w960-jpeg"] == (960, 1600)
    assert sizes["w480-webp"] == (480, 800)
