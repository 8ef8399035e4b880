"""Finish: sharpen what was reduced, and put a mark on it."""

from __future__ import annotations

import pyvips

from pipelines.steps.crop import corner

_MARGIN_SHARE = 0.03
_TILE_GAP = 0.5


def sharpen_for_size(image: pyvips.Image, scale: float) -> pyvips.Image:
    """
    Return a reduced picture with the crispness it lost: nothing at full size, most from a quarter down.

    Flat areas and strong edges are left alone, so neither noise nor halos appear.
    """
    if scale >= 1:
        return image
    amount = 1.2 * min(1.0, (1 - scale) / 0.75)
    if not image.hasalpha():
        return image.sharpen(sigma=0.6, x1=1.5, y2=8, y3=12, m1=0, m2=amount)
    colour = image.extract_band(0, n=3).sharpen(sigma=0.6, x1=1.5, y2=8, y3=12, m1=0, m2=amount)
    return colour.bandjoin(image.extract_band(3))


def watermark(
    image: pyvips.Image, mark: pyvips.Image, *, opacity: float, width: float, gravity: str, tile: bool
) -> pyvips.Image:
    """
    Return the picture with a mark `width` of its width, near the edge `gravity` names or, with `tile`, all over it.

    The mark is reduced to that width, and enlarged where it is smaller: it is the operator's own picture.
    """
    if not mark.hasalpha():
        mark = mark.bandjoin(255)
    wanted = max(1, round(image.width * width))
    mark = mark.thumbnail_image(wanted, height=max(1, image.height), size="both", no_rotate=True)
    mark = mark.extract_band(0, n=3).bandjoin((mark.extract_band(3) * opacity).rint().cast("uchar"))
    mark = mark.copy(interpretation="srgb").copy_memory()
    if tile:
        gap_x, gap_y = round(mark.width * (1 + _TILE_GAP)), round(mark.height * (1 + _TILE_GAP))
        one = mark.embed(0, 0, gap_x, gap_y, extend="black")
        many = one.replicate(-(-image.width // gap_x), -(-image.height // gap_y))
        mark, left, top = many.crop(0, 0, image.width, image.height), 0, 0
    else:
        margin = round(min(image.width, image.height) * _MARGIN_SHARE)
        room_width = max(0, image.width - mark.width - 2 * margin)
        room_height = max(0, image.height - mark.height - 2 * margin)
        left, top = corner(gravity, room_width, room_height)
        left, top = left + margin, top + margin
    alpha = image.extract_band(3) if image.hasalpha() else None
    colour = image.extract_band(0, n=3).composite2(mark, "over", x=left, y=top)
    colour = colour.extract_band(0, n=3).rint().cast("uchar")
    return colour if alpha is None else colour.bandjoin(alpha)
