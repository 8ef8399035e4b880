"""Place: find the subject, size it, and set it on a canvas of one colour."""

from __future__ import annotations

import math
from typing import NamedTuple

import pyvips

from pipelines._outcomes import RefusalCode
from pipelines._refusal import Refusal
from pipelines.renditions import CanvasRendition
from pipelines.steps import background
from pipelines.steps.colour import flatten
from pipelines.steps.subject import box_unlike

# Alpha below this is invisible on any background, but would keep the canvas from being exactly its colour.
_FAINT_ALPHA = 8
_VISIBLE_ALPHA = 16
_COLOUR_DISTANCE = 10


class Placement(NamedTuple):
    """Where a subject of a given size goes: the canvas, scale (never above 1), size and corner in pixels."""

    canvas_width: int
    canvas_height: int
    scale: float
    width: int
    height: int
    left: int
    top: int

    @property
    def canvas(self) -> int:
        """The longer side of the canvas."""
        return max(self.canvas_width, self.canvas_height)


class Placed(NamedTuple):
    """The canvas with the subject on it; `cut_out` is False if the subject was found by colour, not by alpha."""

    image: pyvips.Image
    placement: Placement
    cut_out: bool


def plan_placement(width: int, height: int, spec: CanvasRendition) -> Placement:
    """
    Decide how a subject of `width` × `height` pixels sits on the canvas.

    It fills at least `spec.fill` of the canvas one way and no more the other; its corner is a multiple of `spec.grid`.

    Raises:
        Refusal: Without enlarging, the canvas would be smaller than `spec.canvas_min`.
    """
    canvas = spec.size
    wanted = [math.ceil(side * spec.fill) for side in canvas]
    # The side that meets its share of the canvas first.
    tight = 0 if width * wanted[1] >= height * wanted[0] else 1
    own = (width, height)[tight]
    scale = min(1.0, wanted[tight] / own)
    if own < wanted[tight]:
        side = math.floor(own / spec.fill)
        canvas = (
            (side, round(side * canvas[1] / canvas[0])) if tight == 0 else (round(side * canvas[0] / canvas[1]), side)
        )
    if max(canvas) < spec.canvas_min:
        least = spec.canvas_min * spec.size[tight] / max(spec.size)
        raise Refusal(RefusalCode.TOO_SMALL, actual=own, limit=math.ceil(least * spec.fill))
    fitted_width, fitted_height = max(1, round(width * scale)), max(1, round(height * scale))
    return Placement(
        canvas_width=canvas[0],
        canvas_height=canvas[1],
        scale=scale,
        width=fitted_width,
        height=fitted_height,
        left=_on_grid(canvas[0] - fitted_width, spec.grid),
        top=_on_grid(canvas[1] - fitted_height, spec.grid),
    )


def _on_grid(room: int, grid: int) -> int:
    """Return the multiple of `grid` nearest to half the room, without leaving it."""
    nearest = round(room / 2 / grid) * grid
    return nearest if nearest <= room else room // grid * grid


def subject_box(image: pyvips.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Return left, top, width and height of what is visible (with alpha) or unlike `colour` (without)."""
    if image.hasalpha():
        left, top, width, height = image.extract_band(3).find_trim(
            threshold=_VISIBLE_ALPHA, background=[0], line_art=True
        )
    else:
        left, top, width, height = box_unlike(image, colour, _COLOUR_DISTANCE)
    return left, top, width, height


def _on_canvas(subject: pyvips.Image, at: Placement, spec: CanvasRendition) -> pyvips.Image:
    size = at.canvas_width, at.canvas_height
    if spec.background_to is None and not subject.hasalpha():
        return subject.embed(at.left, at.top, *size, extend="background", background=list(spec.background))
    canvas = background.gradient(*size, spec.background, spec.background_to or spec.background)
    if spec.shadow and subject.hasalpha():
        alpha = subject.extract_band(3)
        canvas = background.darken(canvas, background.contact_shadow(alpha, at.left, at.top, size, spec.shadow))
    return background.over(canvas, subject, at.left, at.top)


def place(image: pyvips.Image, spec: CanvasRendition) -> Placed:
    """
    Return the canvas with the subject on it.

    Raises:
        Refusal: There is no subject, or it is too small for the smallest canvas.
    """
    left, top, width, height = subject_box(image, spec.background)
    if width == 0 or height == 0:
        raise Refusal(RefusalCode.NO_PRODUCT_FOUND)
    cut_out = bool(image.hasalpha())
    subject = image.crop(left, top, width, height)
    if cut_out:
        alpha = subject.extract_band(3)
        alpha = (alpha < _FAINT_ALPHA).ifthenelse(0, alpha)
        subject = subject.extract_band(0, n=3).bandjoin(alpha).copy(interpretation="srgb")
        if spec.background_to is None and spec.shadow == 0:
            # One colour all around: a picture without alpha is quicker to reduce and to set.
            subject = flatten(subject, spec.background)
    placement = plan_placement(width, height, spec)
    if placement.scale < 1.0:
        subject = subject.thumbnail_image(placement.width, height=placement.height, size="force", no_rotate=True)
    canvas = _on_canvas(subject, placement, spec)
    # In memory, because encoding may have to be tried more than once.
    return Placed(canvas.copy_memory(), placement, cut_out)
