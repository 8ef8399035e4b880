"""Helpers to compare pictures in tests."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines import Pixels, Prepared


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
