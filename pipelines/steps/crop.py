"""Crop: away with a plain border, or down to a shape, keeping what matters."""

from __future__ import annotations

import math
from typing import NamedTuple

import pyvips

_BORDER_DISTANCE = 16

# Where the picture stays when there is too much of it, or goes when there is too little, as shares of the room.
GRAVITY = {
    "centre": (0.5, 0.5),
    "north": (0.5, 0.0),
    "south": (0.5, 1.0),
    "west": (0.0, 0.5),
    "east": (1.0, 0.5),
    "north-west": (0.0, 0.0),
    "north-east": (1.0, 0.0),
    "south-west": (0.0, 1.0),
    "south-east": (1.0, 1.0),
}


class BoxPlan(NamedTuple):
    """The box in pixels, the picture's size when it is in it, and its scale, never above 1."""

    width: int
    height: int
    picture_width: int
    picture_height: int
    scale: float


def plan_box(width: int, height: int, box: tuple[int, int], mode: str) -> BoxPlan:
    """
    Decide how a picture goes into a box: "fill" covers it, "pad" lies within it, "inside" shrinks the box around it.

    The picture is never enlarged; a box that is too large for it is made smaller in the same shape.
    """
    ratios = box[0] / width, box[1] / height
    scale = max(ratios) if mode == "fill" else min(ratios)
    if scale > 1:
        box, scale = (max(1, round(box[0] / scale)), max(1, round(box[1] / scale))), 1.0
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if mode == "inside":
        box = size
    elif mode == "fill":
        size = max(box[0], size[0]), max(box[1], size[1])
    else:
        size = min(box[0], size[0]), min(box[1], size[1])
    return BoxPlan(*box, *size, scale)


def trim(image: pyvips.Image) -> pyvips.Image:
    """Return the picture without its border of one colour (that of its top left corner); whole if that is all of it."""
    if image.hasalpha():
        box = image.extract_band(3).find_trim(threshold=_BORDER_DISTANCE, background=[0], line_art=True)
    elif min(image.width, image.height) < 3:
        return image
    else:
        box = image.find_trim(threshold=_BORDER_DISTANCE, background=image.getpoint(0, 0))
    left, top, width, height = box
    return image.crop(left, top, width, height) if width and height else image


def crop(image: pyvips.Image, width: int, height: int, focus: str) -> pyvips.Image:
    """
    Return `width` × `height` pixels of the picture, which is at least as large.

    `focus` is one of `GRAVITY`, or "attention" (skin, colour, edges) or "entropy" (detail), which look for a subject.
    """
    if (image.width, image.height) == (width, height):
        return image
    if focus in GRAVITY:
        return image.crop(*corner(focus, image.width - width, image.height - height), width, height)
    return image.smartcrop(width, height, interesting=focus)


def corner(gravity: str, room_width: int, room_height: int) -> tuple[int, int]:
    """Return where the top left corner goes, given the room on each axis."""
    x, y = GRAVITY[gravity]
    return math.floor(room_width * x), math.floor(room_height * y)
