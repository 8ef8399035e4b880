"""
Backdrop: what a plain background looks like, and how far each pixel is from it.

A photographed sheet of paper is lit unevenly but smoothly, so it is modelled as a quadratic surface per channel,
fitted to the frame's border by least squares that forget outliers: a product may touch a part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_BORDER_SHARE = 0.03
_ROUNDS = 5
_MOST_POINTS = 8_000
# In CIE Lab units. A plain sheet in an ordinary camera has a noise of 1 to 3.
_LEAST_NOISE = 0.6
_OUTLIER_NOISES = 3.0
# A shadow dims the backdrop's light: down to this share of it, and with no more than this change of
# colour, which is large because a red pot reddens the shadow it stands in.
_DEEPEST_SHADOW = 0.40
_SHADOW_HUE = 25.0
_GAMMA = 2.2


@dataclass(frozen=True, slots=True)
class Backdrop:
    """
    The fitted background of a Lab picture.

    `surface` is its colour everywhere, `noise` its spread in Lab units, `fit` the share of the border that agrees.
    """

    surface: Floats
    noise: float
    fit: float


def to_lab(rgb: NDArray[np.uint8]) -> Floats:
    """Return CIE Lab (lightness 0 to 100) as float32."""
    lab: Any = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return lab  # type: ignore[no-any-return]  # OpenCV's own types say only "a matrix".


def border_of(height: int, width: int) -> Mask:
    """Return the strip along the frame's edge that should show background only."""
    strip = max(3, round(_BORDER_SHARE * max(height, width)))
    mask = np.zeros((height, width), dtype=bool)
    mask[:strip] = mask[-strip:] = mask[:, :strip] = mask[:, -strip:] = True
    return mask


def fit_backdrop(lab: Floats, where: Mask) -> Backdrop:
    """Fit the background to the pixels `where`, leaving out those that do not follow the rest."""
    height, width = where.shape
    terms = _terms(height, width)
    # A few thousand pixels fix six coefficients as well as all of them.
    thinned = np.flatnonzero(where)[:: max(1, int(where.sum()) // _MOST_POINTS)]
    rows = terms.reshape(-1, terms.shape[2])[thinned]
    values = lab.reshape(-1, 3)[thinned]
    kept = np.ones(len(rows), dtype=bool)
    noise = _LEAST_NOISE
    coefficients: NDArray[Any] = np.zeros((terms.shape[2], 3))
    for _ in range(_ROUNDS):
        coefficients = np.linalg.lstsq(rows[kept], values[kept], rcond=None)[0]
        distance = np.linalg.norm(values - rows @ coefficients, axis=1)
        # The median tells the spread of the majority, whatever the minority is.
        noise = max(_LEAST_NOISE, float(np.median(distance[kept])))
        kept = distance < _OUTLIER_NOISES * noise
        if kept.sum() < terms.shape[2] * 4:
            break
    surface = (terms @ coefficients).astype(np.float32)
    return Backdrop(surface, noise, float(kept.mean()))


def distance_from(backdrop: Backdrop, lab: Floats) -> Floats:
    """Return each pixel's distance from the background in Lab units, shadows included."""
    distance: Floats = np.linalg.norm(lab - backdrop.surface, axis=2).astype(np.float32)
    return distance


def shadows_on(backdrop: Backdrop, lab: Floats) -> Mask:
    """
    Return where the picture could be the background in shadow: the same hue, dimmer in linear light.

    A grey product on white looks the same; that a shadow has no edge is for the caller to use.
    """
    light, own = _linear(lab), _linear(backdrop.surface)
    share = (light * own).sum(axis=2) / np.maximum((own * own).sum(axis=2), 1e-6)
    dimmed: Any = cv2.cvtColor(
        (np.maximum(own * share[..., None], 0) ** (1 / _GAMMA)).astype(np.float32), cv2.COLOR_RGB2LAB
    )
    hue_kept = np.linalg.norm(lab - dimmed, axis=2) < max(_SHADOW_HUE, _OUTLIER_NOISES * backdrop.noise)
    shadows: Mask = (share > _DEEPEST_SHADOW) & (share < 1.0) & hue_kept
    return shadows


def _linear(lab: Floats) -> Floats:
    rgb: Any = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return np.maximum(rgb, 0) ** _GAMMA  # type: ignore[no-any-return]  # OpenCV's own types say only "a matrix".


def _terms(height: int, width: int) -> NDArray[np.float64]:
    y, x = np.mgrid[0:height, 0:width]
    x = x / max(1, width - 1) * 2 - 1
    y = y / max(1, height - 1) * 2 - 1
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
