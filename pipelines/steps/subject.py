"""Subject: the box around what differs from a colour, found on a smaller picture where the photo is large."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyvips

# libvips' search takes a median of every pixel first: five seconds for 100 megapixels.
SEARCH_SIDE = 4000
"""No side is searched that is shorter than this; what is thinner than a pixel of the smaller picture may be lost."""

# Below this there is no room for a product and a border, and the median does not fit in.
_LEAST_SIDE = 8


def box_unlike(
    flat: pyvips.Image, colour: Sequence[int], threshold: int, search_side: int = SEARCH_SIDE
) -> tuple[int, int, int, int]:
    """
    Return left, top, width and height of what is further than `threshold` from `colour`; zeros if nothing is.

    The box reaches outwards to whole pixels of the smaller picture: an edge must not count as background.
    """
    if min(flat.width, flat.height) < _LEAST_SIDE:
        return 0, 0, flat.width, flat.height
    factor = max(1, max(flat.width, flat.height) // search_side)
    small = flat.shrink(factor, factor) if factor > 1 and min(flat.width, flat.height) >= factor * _LEAST_SIDE else flat
    scale_x, scale_y = flat.width / small.width, flat.height / small.height
    left, top, width, height = small.find_trim(threshold=threshold, background=list(colour))
    if width == 0 or height == 0:
        return 0, 0, 0, 0
    right, bottom = math.ceil((left + width) * scale_x), math.ceil((top + height) * scale_y)
    left, top = math.floor(left * scale_x), math.floor(top * scale_y)
    return left, top, min(flat.width, right) - left, min(flat.height, bottom) - top
