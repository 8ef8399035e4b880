"""
Matte: from a rough mask of a small copy to soft edges and clean edge colours at full size.

Along the edge every pixel is a mixture of product F and background B; its alpha is how far from B towards F its
colour lies. F and B are smooth, so they are estimated on the small copy and enlarged; only the pixels near the edge
are ever computed at full size.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_TILE = 256
_BAND_RADIUS = 2
_SPREAD_RADIUS = 6
# A mixture below the first counts as background, above the second as product: what noise would make of pure pixels.
_FLOOR, _CEILING = 0.12, 0.88
# Squared RGB distance between F and B under which the colours tell nothing and the mask's own edge is used.
_LEAST_CONTRAST = 18.0**2


def write_cut_out(rgb: NDArray[np.uint8], small: NDArray[np.uint8], mask: Mask, out: NDArray[np.uint8]) -> None:
    """
    Fill `out` (RGBA, as large as `rgb`) with the product that `mask` marks on `small`, a reduced copy of `rgb`.
    """
    height, width = rgb.shape[:2]
    inside = mask.astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _BAND_RADIUS + 1, 2 * _BAND_RADIUS + 1))
    sure_product = cv2.erode(inside, kernel, borderType=cv2.BORDER_REPLICATE) > 0
    maybe_product = cv2.dilate(inside, kernel) > 0
    product = _spread(small, sure_product)
    background = _spread(small, ~maybe_product)
    soft_mask: Floats = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 0.8)  # type: ignore[assignment]  # As above.
    unknown = maybe_product & ~sure_product

    out[..., :3] = rgb[..., :3]
    out[..., 3] = cv2.resize(inside * np.uint8(255), (width, height), interpolation=cv2.INTER_NEAREST)
    down_x, down_y = mask.shape[1] / width, mask.shape[0] / height
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            bottom, right = min(height, top + _TILE), min(width, left + _TILE)
            rows = slice(max(0, int(top * down_y) - 2), int(bottom * down_y) + 3)
            columns = slice(max(0, int(left * down_x) - 2), int(right * down_x) + 3)
            if not unknown[rows, columns].any():
                continue
            place = np.array(
                [[down_x, 0, (left + 0.5) * down_x - 0.5], [0, down_y, (top + 0.5) * down_y - 0.5]], dtype=np.float32
            )
            size = (right - left, bottom - top)
            fields = [_enlarge(field, place, size) for field in (product, background, soft_mask)]
            band = _enlarge(unknown.astype(np.float32), place, size) > 0
            _mix(out[top:bottom, left:right], band, *fields)


def _mix(tile: NDArray[np.uint8], band: Mask, product: Floats, background: Floats, soft_mask: Floats) -> None:
    """Set alpha and colour of a tile's pixels in `band`."""
    colour = tile[..., :3][band].astype(np.float32)
    front, back, mask = product[band], background[band], soft_mask[band]
    step = front - back
    contrast = np.einsum("ij,ij->i", step, step)
    mixed = np.einsum("ij,ij->i", colour - back, step) / np.maximum(contrast, 1.0)
    trust = np.clip(contrast / _LEAST_CONTRAST, 0, 1) ** 2
    alpha = trust * mixed + (1 - trust) * mask
    alpha = np.clip((alpha - _FLOOR) / (_CEILING - _FLOOR), 0, 1)
    # What the pixel would be without its share of background; where there is next to none of it, the product's colour.
    share = np.maximum(alpha, 0.25)[:, None]
    cleaned = np.clip((colour - (1 - share) * back) / share, 0, 255)
    cleaned = np.where(alpha[:, None] < 0.25, front, cleaned)
    pixels = np.concatenate([cleaned, alpha[:, None] * 255], axis=1)
    tile[band] = np.rint(pixels).astype(np.uint8)


def _spread(colours: NDArray[np.uint8], where: Mask) -> Floats:
    """Return the colours of `where`, carried smoothly into their surroundings."""
    weight = where.astype(np.float32)
    side = 2 * _SPREAD_RADIUS + 1
    near = cv2.GaussianBlur(weight, (side, side), _SPREAD_RADIUS / 2)
    total = cv2.GaussianBlur(colours[..., :3].astype(np.float32) * weight[..., None], (side, side), _SPREAD_RADIUS / 2)
    # Further off than the blur reaches, any colour will do: those pixels are not in the band.
    spread: Any = total / np.maximum(near, 1e-4)[..., None]
    return spread  # type: ignore[no-any-return]  # OpenCV's own types say only "a matrix".


def _enlarge(field: Floats, place: Floats, size: tuple[int, int]) -> Floats:
    """Return the part of a small field that one full-size tile covers, at the tile's size, pixel centres aligned."""
    enlarged: Any = cv2.warpAffine(
        field, place, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    return enlarged  # type: ignore[no-any-return]  # OpenCV's own types say only "a matrix".
