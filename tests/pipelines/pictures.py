"""Helpers to compare pictures in tests."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines import Encoded, Limits, Pixels, Prepared, Sandbox


def array_of(picture: Prepared | Pixels) -> NDArray[Any]:
    """Return the raw pixels as height × width × bands."""
    data = os.pread(picture.fd, picture.width * picture.height * picture.bands, 0)
    return np.frombuffer(data, dtype=np.uint8).reshape(picture.height, picture.width, picture.bands)


def decoded(data: bytes | memoryview) -> Image.Image:
    """Decode with Pillow, the engine that did not encode it."""
    image = Image.open(io.BytesIO(bytes(data)))
    image.load()
    return image


def difference(left: NDArray[Any], right: NDArray[Any]) -> float:
    """Return the mean absolute difference of two pictures, in levels of 255."""
    return float(np.abs(left.astype(np.int16) - right.astype(np.int16)).mean())


def prepared_array(sandbox: Sandbox, data: bytes, limits: Limits, max_side: int | None = None) -> NDArray[Any]:
    """Return a file's clean pixels, as the sandbox makes them for a provider."""
    with (
        Encoded.from_bytes(data) as source,
        sandbox.prepare(source, max_side=max_side, encoding="pixels", limits=limits) as picture,
    ):
        return array_of(picture)


def flat(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return pixels on white, as floats."""
    rgb = pixels[..., :3].astype(float)
    if pixels.shape[2] == 3:
        return rgb
    alpha = pixels[..., 3:].astype(float) / 255
    return rgb * alpha + 255 * (1 - alpha)


def perceptual_distance(left: NDArray[Any], right: NDArray[Any]) -> float:
    """
    Return how different two pictures look: 0 for the same, 1 for nothing in common.

    1 minus the mean structural similarity (Wang et al. 2004, 8 × 8 windows) of the lightness, at full and at a quarter
    of the size, plus the mean difference of the colours in Lab where those are further apart than the eye forgives.
    """
    if left.shape != right.shape:
        raise ValueError("pictures of two sizes cannot be compared")
    pictures = [
        Image.fromarray(np.ascontiguousarray(one[..., :3])).convert("RGB").convert("LAB") for one in (left, right)
    ]
    distances = []
    for shrink in (1, 4):
        planes = [np.asarray(one.reduce(shrink) if shrink > 1 else one).astype(np.int16) for one in pictures]
        # Pillow stores a and b as signed bytes.
        lab = [np.dstack([plane[..., 0], plane[..., 1:].astype(np.int8)]).astype(float) for plane in planes]
        distances.append(1 - _similarity(lab[0][..., 0], lab[1][..., 0]))
        # Lightness is stored in 255 levels of Lab's 100.
        apart = np.linalg.norm((lab[0] - lab[1]) * (100 / 255, 1, 1), axis=2)
        distances.append(float(np.maximum(apart - 4, 0).mean()) / 50)
    return float(max(distances[0], distances[2]) + max(distances[1], distances[3]))


def _similarity(left: NDArray[Any], right: NDArray[Any]) -> float:
    side = 8
    rows, columns = left.shape[0] // side * side, left.shape[1] // side * side
    if rows == 0 or columns == 0:
        return 1 - float(np.abs(left - right).mean()) / 255

    def windows(plane: NDArray[Any]) -> NDArray[Any]:
        return plane[:rows, :columns].reshape(rows // side, side, columns // side, side).swapaxes(1, 2).reshape(-1, 64)

    a, b = windows(left), windows(right)
    mean_a, mean_b = a.mean(axis=1), b.mean(axis=1)
    spread_a, spread_b = a.var(axis=1), b.var(axis=1)
    both = ((a - mean_a[:, None]) * (b - mean_b[:, None])).mean(axis=1)
    first, second = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float(
        (
            (2 * mean_a * mean_b + first)
            * (2 * both + second)
            / ((mean_a**2 + mean_b**2 + first) * (spread_a + spread_b + second))
        ).mean()
    )
