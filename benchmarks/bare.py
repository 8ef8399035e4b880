"""
The image work of a job done bare in one process: the same steps, without sandbox, sealing, Redis or a second process.

Started as `python -m benchmarks.bare PHOTO RECIPES`; for each line `RECIPE COUNT` on its input it does the work that
often and answers with one line of JSON: the CPU seconds used and the digests of the renditions.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import pyvips

from pipelines.recipes import Recipe, load_recipes
from pipelines.renditions import CanvasRendition, WidthRendition
from pipelines.steps import decode, encode, place
from pipelines.steps.cut_out import cut_out

pyvips.cache_set_max(0)


def renditions(photo: bytes, recipe: Recipe) -> list[bytes]:
    """Do what the sandboxed children of one job do to the pixels."""
    if recipe.operation is None:
        widest = max(spec.width for spec in recipe.renditions if isinstance(spec, WidthRendition))
        return _encode_all(decode.load(photo, "jpeg", 1, width=widest), recipe)
    image = decode.load(photo, "jpeg", 1)
    pixels = np.frombuffer(image.write_to_memory(), np.uint8).reshape(image.height, image.width, image.bands)
    out = np.empty((image.height, image.width, 4), np.uint8)
    cut_out(pixels, out)
    return _encode_all(decode.load_from_pixels(memoryview(out).cast("B"), image.width, image.height, 4), recipe)


def _encode_all(master: pyvips.Image, recipe: Recipe) -> list[bytes]:
    reduced: dict[int, pyvips.Image] = {}
    image = master
    for width in sorted({spec.width for spec in recipe.renditions if isinstance(spec, WidthRendition)}, reverse=True):
        if image.width > width:
            image = image.thumbnail_image(width, height=decode.ANY_SIDE, size="down", no_rotate=True).copy_memory()
        reduced[width] = image
    made = []
    for spec in recipe.renditions:
        if isinstance(spec, WidthRendition):
            made.append(encode.encode(reduced[spec.width], spec.format, quality=spec.quality, chroma=spec.chroma))
        elif isinstance(spec, CanvasRendition):
            made.append(encode.encode_page(place.place(master, spec).image, spec).data)
    return made


def main() -> None:
    photo = Path(sys.argv[1]).read_bytes()
    recipes = load_recipes(Path(sys.argv[2]))
    for line in sys.stdin:
        name, count = line.split()
        made: list[bytes] = []
        started = time.process_time()
        for _ in range(int(count)):
            made = renditions(photo, recipes[name])
        used = time.process_time() - started
        print(json.dumps({"cpu": used, "digests": [hashlib.sha256(data).hexdigest() for data in made]}), flush=True)


if __name__ == "__main__":
    main()
