"""Measure: how white a picture's background is, and how much of the frame its product fills."""

from __future__ import annotations

from typing import NamedTuple

import pyvips

from pipelines.steps.colour import flatten
from pipelines.steps.subject import box_unlike

_WHITE = [255, 255, 255]
_STRIP_SHARE = 50
_COLOUR_DISTANCE = 12
# The search for the box takes most of the time, and a share is as good on a picture of this size.
_SEARCH_SIDE = 1000
# JPEG's ringing reaches to the end of the block, or of the two, that an edge lies in.
RINGING = 16


class Measured(NamedTuple):
    """Shares of 1; `white_outside` is None if nothing is farther than 16 px from the product's box."""

    white_border: float
    white_outside: float | None
    fill: float


def measure(image: pyvips.Image) -> Measured:
    """
    Measure an upright sRGB picture; transparency counts as white, which is what shops show it on.

    The product is what differs from the border's most usual colour, so it is found on any plain background.
    """
    flat = flatten(image)
    # Counted several times, so kept; a byte a pixel.
    white = (flat == _WHITE).bandand().copy_memory()
    left, top, width, height = box_unlike(flat, _border_colour(flat), _COLOUR_DISTANCE, _SEARCH_SIDE)
    strips = _strips(white)
    border = sum(strip.avg() * strip.width * strip.height for strip in strips)
    return Measured(
        white_border=border / 255 / sum(strip.width * strip.height for strip in strips),
        white_outside=_white_outside(white, left, top, width, height),
        fill=max(width / flat.width, height / flat.height),
    )


def _strips(image: pyvips.Image) -> list[pyvips.Image]:
    """Return the four strips along the frame; in a tiny picture they overlap."""
    deep = max(1, min(image.width, image.height) // _STRIP_SHARE)
    width, height = image.width, image.height
    boxes = [
        (0, 0, width, deep),
        (0, height - deep, width, deep),
        (0, 0, deep, height),
        (width - deep, 0, deep, height),
    ]
    return [image.crop(*box) for box in boxes]


def _border_colour(flat: pyvips.Image) -> list[int]:
    """Return the median of the border, band by band: what most of it is, whatever touches it somewhere."""
    strips = _strips(flat)
    counts = [strip.hist_find() for strip in strips]
    total = counts[0] + counts[1] + counts[2] + counts[3]
    values = memoryview(total.cast("uint").write_to_memory()).cast("I")
    half = sum(strip.width * strip.height for strip in strips) / 2
    colour = []
    for band in range(flat.bands):
        seen = 0
        for level in range(total.width):
            seen += values[level * flat.bands + band]
            if seen >= half:
                break
        colour.append(level)
    return colour


def _white_outside(white: pyvips.Image, left: int, top: int, width: int, height: int) -> float | None:
    total = white.width * white.height
    if width == 0 or height == 0:
        return float(white.avg() / 255)
    x, y = max(0, left - RINGING), max(0, top - RINGING)
    box = white.crop(x, y, min(white.width, left + width + RINGING) - x, min(white.height, top + height + RINGING) - y)
    area = box.width * box.height
    if area == total:
        return None
    share: float = (white.avg() * total - box.avg() * area) / 255 / (total - area)
    return share
