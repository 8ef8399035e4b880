"""Pillow, as its documentation advises: `draft` and `reducing_gap`."""

from __future__ import annotations

import io
from pathlib import Path

import pillow_heif
from PIL import Image

from benchmarks.contenders.race import Task, folders, race

Image.MAX_IMAGE_PIXELS = None
pillow_heif.register_heif_opener(decode_threads=1)


def work(photo: Path, outputs: list[Task]) -> list[bytes]:
    image = Image.open(io.BytesIO(photo.read_bytes()))
    if "square" in outputs[0]:
        side = outputs[0]["square"]
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2)
        page = Image.new("RGB", (side, side), (255, 255, 255))
        page.paste(image, ((side - image.width) // 2, (side - image.height) // 2), image)
        return [_encoded(page, outputs[0], subsampling=0)]
    reduced: dict[int, Image.Image] = {}
    for width in sorted({output["width"] for output in outputs}, reverse=True):
        image = image if not reduced else min(reduced.items())[1].copy()
        image.thumbnail((width, 1_000_000), Image.Resampling.LANCZOS, reducing_gap=2)
        reduced[width] = image
    return [_encoded(reduced[output["width"]].convert("RGB"), output) for output in outputs]


def _encoded(image: Image.Image, output: Task, **options: int) -> bytes:
    buffer = io.BytesIO()
    extra = {"method": 4} if output["format"] == "webp" else {"optimize": True, **options}
    image.save(buffer, output["format"], quality=output["quality"], icc_profile=None, exif=b"", **extra)
    return buffer.getvalue()


if __name__ == "__main__":
    race(work, *folders())
