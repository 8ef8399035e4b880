"""
Encode: a picture to bytes, without the upload's metadata, under a ceiling where there is one, and white where it was.

JPEG's errors end with the block they are in. WebP and AVIF predict each block from those around it and smooth across
their edges, so that an error can travel: measured on product photos, WebP at quality 95 made up to 3 % of a white
background 253 or 254. A page that is to be white is therefore looked at again once it is encoded.
"""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import pyvips

from pipelines import _jpeg
from pipelines._outcomes import RefusalCode
from pipelines._refusal import Refusal
from pipelines.renditions import BoxRendition, CanvasRendition, WidthRendition
from pipelines.steps import decode
from pipelines.steps.colour import flatten
from pipelines.steps.measure import RINGING

LONGEST_SIDE = {"jpeg": 65_500, "png": 100_000, "webp": 16_383, "avif": 16_384}
"""The longest side in pixels that can be encoded: the bounds of libjpeg, of our reports, of WebP and of libheif."""

_PNG_COMPRESSION = 6
_QUALITY_STEP = 6
_SUBSAMPLING = {"4:2:0": "on", "4:4:4": "off"}
_WHITE = (255, 255, 255)

# How the encoders are set: as usual (each step up in AVIF's effort doubles the time and saves a few per cent), for a
# white page, with more care for one, and without any loss. For WebP "text" means no filter across blocks and no noise
# shaping, which leaves white alone nearly always, at the same size and fidelity. AVIF finds smaller blocks with more
# effort, in three times the time.
_SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "webp": {
        "usual": {"effort": 4},
        "page": {"effort": 4, "preset": "text"},
        "careful": {"effort": 4, "preset": "text"},
        "lossless": {"lossless": True, "effort": 1},
    },
    "avif": {
        "usual": {"effort": 1},
        "page": {"effort": 1},
        "careful": {"effort": 3},
        "lossless": {"lossless": True, "effort": 0},
    },
}
# By how much the second try is better: only where the setting itself is the same.
_CAREFUL_STEP = {"webp": 3, "avif": 0}
# How many times as long as the first try another may take, measured at 2,000 px: 4.5 at most.
_COST_OF_CARE = 5


class Page(NamedTuple):
    """An encoded page, and how many pixels of its background are not as white as they were."""

    data: bytes
    stained: int


class UnderCeiling(NamedTuple):
    """An encoded picture and the quality it has."""

    data: bytes
    quality: int


def encode(
    image: pyvips.Image,
    media_format: str,
    *,
    quality: int = 90,
    chroma: str = "4:2:0",
    xmp: bytes | None = None,
    setting: str = "usual",
) -> bytes:
    """
    Return the picture as "jpeg" (on white), "webp", "avif" or "png" (lossless; `quality` and `chroma` do not apply).

    `xmp` becomes its only metadata. `setting` is "usual", "page", "careful" or "lossless"; WebP and AVIF have them.
    """
    if media_format == "jpeg":
        # libvips would switch to 4:4:4 by itself at quality 90, so the choice is always made here.
        jpeg = bytes(
            flatten(image).jpegsave_buffer(
                Q=quality, subsample_mode=_SUBSAMPLING[chroma], optimize_coding=True, keep="none"
            )
        )
        # Not through libvips, which writes the upload's resolution as soon as it keeps anything.
        return jpeg if xmp is None else _jpeg.with_xmp(jpeg, xmp)
    keep = "none"
    if xmp is not None:
        image = image.copy()
        image.set_type(pyvips.GValue.blob_type, "xmp-data", xmp)
        keep = "xmp"
    if media_format == "webp":
        return bytes(image.webpsave_buffer(Q=quality, keep=keep, **_SETTINGS["webp"][setting]))
    if media_format == "avif":
        sampling = "off" if setting == "lossless" else _SUBSAMPLING[chroma]
        return bytes(
            image.heifsave_buffer(
                compression="av1", Q=quality, subsample_mode=sampling, keep=keep, **_SETTINGS["avif"][setting]
            )
        )
    return _without_resolution(bytes(image.pngsave_buffer(compression=_PNG_COMPRESSION, keep=keep)))


def _without_resolution(png: bytes) -> bytes:
    """Return the PNG without its pHYs chunk: libvips copies the upload's resolution there, even with keep="none"."""
    kept = [png[:8]]
    position = 8
    while position < len(png):
        end = position + 12 + int.from_bytes(png[position : position + 4], "big")
        if png[position + 4 : position + 8] != b"pHYs":
            kept.append(png[position:end])
        position = end
    return b"".join(kept)


def encode_under(
    image: pyvips.Image,
    spec: WidthRendition | CanvasRendition | BoxRendition,
    xmp: bytes | None = None,
    setting: str = "usual",
) -> UnderCeiling:
    """
    Encode at the highest quality, from `spec.quality` down to `spec.quality_min`, that fits `spec.max_bytes`, if any.

    Raises:
        Refusal: Even the lowest quality is too large.
    """
    qualities = range(spec.quality, spec.quality_min - 1, -_QUALITY_STEP) or (spec.quality,)
    size = 0
    for quality in qualities:
        data = encode(image, spec.format, quality=quality, chroma=spec.chroma, xmp=xmp, setting=setting)
        size = len(data)
        if spec.max_bytes is None or size <= spec.max_bytes:
            return UnderCeiling(data, quality)
        if spec.format == "png":
            break
    raise Refusal(RefusalCode.OUTPUT_TOO_LARGE, actual=size, limit=spec.max_bytes)


def encode_page(
    image: pyvips.Image,
    spec: CanvasRendition | BoxRendition,
    xmp: bytes | None = None,
    *,
    seconds: float = math.inf,
) -> Page:
    """
    Encode as `encode_under` does, and see to it that a white background is exactly white farther than 16 px from
    what is on it: where it is not, with more care, then without loss, if that fits under the ceiling.

    Neither is tried if it might take longer than `seconds` of the processor's time, the first try included.

    Raises:
        Refusal: Even the lowest quality is too large.
    """
    if not _is_white_page(spec) or spec.format not in _SETTINGS:
        return Page(encode_under(image, spec, xmp).data, 0)
    started = time.process_time()
    box = _box_of_all_but_white(image)
    data, quality = encode_under(image, spec, xmp, "page")
    first = Page(data, _stained(data, spec.format, box))
    if first.stained == 0:
        return first
    quality = min(100, quality + _CAREFUL_STEP[spec.format])
    took = time.process_time() - started
    for setting in ("careful", "lossless"):
        if time.process_time() - started + _COST_OF_CARE * took > seconds:
            break
        data = encode(image, spec.format, quality=quality, chroma=spec.chroma, xmp=xmp, setting=setting)
        if len(data) <= spec.max_bytes and _stained(data, spec.format, box) == 0:
            return Page(data, 0)
    return first


def _is_white_page(spec: CanvasRendition | BoxRendition) -> bool:
    """Say whether what is around the picture is to be white. A box that the picture fills has nothing around it."""
    if spec.background != _WHITE or spec.background_to is not None:
        return False
    return isinstance(spec, CanvasRendition) or (spec.mode == "pad" and not spec.blurred_background)


def _box_of_all_but_white(image: pyvips.Image) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of what is not white, and 16 px around it."""
    white = (flatten(image) == list(_WHITE)).bandand()
    left, top, width, height = white.find_trim(threshold=1, background=[255], line_art=True)
    if width == 0 or height == 0:
        return 0, 0, 0, 0
    right, bottom = min(image.width, left + width + RINGING), min(image.height, top + height + RINGING)
    return max(0, left - RINGING), max(0, top - RINGING), right, bottom


def _stained(data: bytes, media_format: str, box: tuple[int, int, int, int]) -> int:
    """Return how many pixels outside the box are not white once the file is decoded, as every viewer will."""
    page = decode.load(data, media_format, 1)
    coloured = (flatten(page) != list(_WHITE)).bandor().copy_memory()
    left, top, right, bottom = box
    count: float = coloured.avg() * coloured.width * coloured.height
    if right > left and bottom > top:
        part = coloured.crop(left, top, right - left, bottom - top)
        count -= part.avg() * part.width * part.height
    return round(count / 255)
