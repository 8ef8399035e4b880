"""
Cut out: find the product on a plain background and make everything else transparent.

The background is estimated from the border; what differs from it seeds GrabCut on a small copy; the edge is then
refined at full size. Where that cannot be done honestly there is no result: a page without a product, a background
that is not plain, a product that fills the frame. Needs OpenCV (the extra `local`).
"""

from __future__ import annotations

import mmap
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines._outcomes import RefusalCode
from pipelines._refusal import Refusal
from pipelines.steps.backdrop import Backdrop, Floats, Mask, border_of, distance_from, fit_backdrop, shadows_on, to_lab
from pipelines.steps.decode import Data
from pipelines.steps.matte import write_cut_out

WORK_SIDE = 640
_GRABCUT_ROUNDS = 3

# The background is plain if its border agrees with itself, in Lab units.
_MOST_NOISE = 9.0
_LEAST_FIT = 0.55
# Distances from the background, in its own noise and at least in Lab units: below the first a pixel is background,
# above the second it is product.
_NEAR_NOISES, _NEAR_LEAST = 3.5, 3.5
_FAR_NOISES, _FAR_LEAST = 6.0, 8.0
# A piece is part of the product if it has this share of the largest piece; the product, this share of the frame.
_PIECE_SHARE = 0.02
_LEAST_SHARE, _MOST_SHARE = 0.001, 0.85
# A step within three pixels, in Lab units, that no shadow makes.
_EDGE_STEP = 4.0

# One thread: there are as many children as cores, and a forked pool of threads would hang.
cv2.setNumThreads(1)
cv2.ocl.setUseOpenCL(False)


def cut_out_into(data: Data, width: int, height: int, bands: int, payload: int) -> None:
    """
    Read raw pixels from `data` and write RGBA of the same size into the file `payload`, which has that size already.

    Raises:
        Refusal: No product can be told from the background.
    """
    picture = np.frombuffer(data, dtype=np.uint8).reshape(height, width, bands)
    # Never unmapped by hand: this process ends with its one picture, and arrays still look into the mapping.
    window = mmap.mmap(payload, width * height * 4, flags=mmap.MAP_SHARED)
    out = np.frombuffer(window, dtype=np.uint8).reshape(height, width, 4)
    if bands == 4 and int(picture[..., 3].min()) < 128:
        out[:] = picture
    else:
        cut_out(picture[..., :3], out)


def cut_out(rgb: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """
    Fill `out` (RGBA, as large as `rgb`) with the product alone.

    Raises:
        Refusal: No product can be told from the background.
    """
    height, width = rgb.shape[:2]
    scale = min(1.0, WORK_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small: Any = np.ascontiguousarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))
    write_cut_out(rgb, small, find_product(small), out)


def find_product(rgb: NDArray[np.uint8]) -> Mask:
    """
    Return where the product is on a small picture.

    Raises:
        Refusal: No product can be told from the background.
    """
    height, width = rgb.shape[:2]
    if min(height, width) < 16:
        raise _no_product()
    smooth: Any = cv2.bilateralFilter(rgb, 5, 20, 3)
    lab = to_lab(smooth)
    border = border_of(height, width)
    backdrop = fit_backdrop(lab, border)
    if backdrop.noise > _MOST_NOISE or backdrop.fit < _LEAST_FIT:
        raise _no_product()
    # Once more with all that looks like background: a surface fitted to the border alone may bend away inside.
    near, far = _thresholds(backdrop.noise)
    plain = distance_from(backdrop, lab) < near
    backdrop = fit_backdrop(lab, plain | border)
    near, far = _thresholds(backdrop.noise)
    distance = distance_from(backdrop, lab)

    reached = _reached_from_border(lab, backdrop, distance < near)
    seeds = _seeds(distance, near, far, reached)
    if not (seeds == cv2.GC_FGD).any():
        raise _no_product()
    mask = _clean(_grab(smooth, seeds), distance, near)
    _check(mask, distance, near, border)
    return mask


def _reached_from_border(lab: Floats, backdrop: Backdrop, plain: Mask) -> Mask:
    """
    Return what of the background, its shadows included, hangs together with the frame's edge without a step.

    That parts a shadow, which sets in softly, from a grey product, which does not; and a white label inside a product
    from the white sheet around it.
    """
    steps = cv2.morphologyEx(lab, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).max(axis=2)
    smooth = steps < max(_EDGE_STEP, 3 * backdrop.noise)
    open_ground = (plain | shadows_on(backdrop, lab)) & smooth
    _count, labels = cv2.connectedComponents(open_ground.astype(np.uint8), connectivity=4)
    rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return np.isin(labels, np.unique(rim[rim > 0]))


def _thresholds(noise: float) -> tuple[float, float]:
    return max(_NEAR_LEAST, _NEAR_NOISES * noise), max(_FAR_LEAST, _FAR_NOISES * noise)


def _seeds(distance: Floats, near: float, far: float, reached: Mask) -> NDArray[np.uint8]:
    """Return GrabCut's first guess: sure, probably, probably not, surely not."""
    seeds = np.full(distance.shape, cv2.GC_PR_BGD, dtype=np.uint8)
    seeds[distance >= near] = cv2.GC_PR_FGD
    seeds[reached] = cv2.GC_BGD
    sure = cv2.erode(((distance >= far) & ~reached).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    # A speck of dust is not a product, however dark it is.
    count, labels, stats, _centres = cv2.connectedComponentsWithStats(sure.astype(np.uint8), connectivity=8)
    for label in range(1, count):
        if stats[label, cv2.CC_STAT_AREA] >= max(6, distance.size * _LEAST_SHARE * 0.1):
            seeds[labels == label] = cv2.GC_FGD
    return seeds


def _grab(rgb: NDArray[np.uint8], seeds: NDArray[np.uint8]) -> Mask:
    """Let GrabCut settle what is probable. The same picture always gives the same mask."""
    if not np.isin(seeds, (cv2.GC_BGD, cv2.GC_PR_BGD)).any():
        raise _no_product()
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    mask = seeds.copy()
    cv2.grabCut(rgb, mask, (0, 0, 1, 1), *models, _GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD))


def _clean(mask: Mask, distance: Floats, near: float) -> Mask:
    """Drop specks, and fill holes that do not show the background."""
    cleaned = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    cleaned = np.where(mask & (distance > near), 1, cleaned).astype(np.uint8)
    count, labels, stats, _centres = cv2.connectedComponentsWithStats(cleaned, connectivity=8)
    if count < 2:
        raise _no_product()
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = np.isin(labels, 1 + np.flatnonzero(areas >= areas.max() * _PIECE_SHARE))
    count, labels, stats, _centres = cv2.connectedComponentsWithStats((~kept).astype(np.uint8), connectivity=4)
    for label in range(1, count):
        left, top, width, height, area = stats[label]
        touches = left == 0 or top == 0 or left + width == mask.shape[1] or top + height == mask.shape[0]
        if touches:
            continue
        hole = labels == label
        if area < mask.size * 0.0002 or float(np.median(distance[hole])) > near:
            kept |= hole
    return kept


def _check(mask: Mask, distance: Floats, near: float, border: Mask) -> None:
    """
    Be honest about the result.

    Raises:
        Refusal: It is no product: next to nothing, next to everything, all over the border, or hardly different.
    """
    share = float(mask.mean())
    on_border = float(mask[border].mean())
    hardly = float(np.median(distance[mask])) < near if mask.any() else True
    if not _LEAST_SHARE <= share <= _MOST_SHARE or on_border > 0.5 or hardly:
        raise _no_product()


def _no_product() -> Refusal:
    return Refusal(RefusalCode.NO_PRODUCT_FOUND)
