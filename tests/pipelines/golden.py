"""
Small copies of what the recipes made when somebody last looked: `python -m tests.pipelines.golden` makes them anew.

They are compared by how different they look, so that another version of a codec does not matter and another picture
does. Look at `make gallery` before you make them anew, and at the difference before you commit it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines import Encoded, Limits, Pixels, Recipe, Sandbox, load_recipes
from tests import photos
from tests.harness import REPO
from tests.pipelines.pictures import decoded

FOLDER = Path(__file__).with_name("golden")
SIDE = 128


def recipes() -> dict[str, Recipe]:
    """Return every recipe that makes pictures, the gallery's own included."""
    found = load_recipes(REPO / "examples" / "gallery")
    return {name: recipe for name, recipe in found.items() if recipe.renditions}


def small(picture: Image.Image) -> Image.Image:
    """Return the picture on white, at most `SIDE` long."""
    page = Image.new("RGB", picture.size, (255, 255, 255))
    page.paste(picture, mask=picture.getchannel("A") if picture.mode == "RGBA" else None)
    page.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    return page


def made(sandbox: Sandbox, recipe: Recipe) -> Iterator[tuple[str, Image.Image]]:
    """Render the recipe of the seeded photo, cut out by its own mask where the recipe asks for that."""
    photo = photos.product_photo("sneaker", width=1600, height=1200)
    if recipe.operation is None:
        source: Encoded | Pixels = Encoded.from_bytes(photo.encoded)
    else:
        source = Pixels.from_bytes(np.dstack([photo.rgb, photo.mask]).tobytes(), 1600, 1200, 4)
    with source, sandbox.render(source, recipe, Limits()) as renditions:
        for one in renditions:
            if one.media_type != "application/json":
                yield f"{recipe.name}.{one.name}", small(decoded(one.data))


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.webp"):
        old.unlink()
    with Sandbox() as sandbox:
        for recipe in recipes().values():
            for name, picture in made(sandbox, recipe):
                picture.save(FOLDER / f"{name}.webp", quality=90)
    print(f"{len(list(FOLDER.iterdir()))} pictures in {FOLDER.relative_to(REPO)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
