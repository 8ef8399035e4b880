"""Encode: a picture to bytes, without the upload's metadata, and under a ceiling where there is one."""

from __future__ import annotations

import pyvips

from pipelines import _jpeg
from pipelines._outcomes import RefusalCode
from pipelines._refusal import Refusal
from pipelines.renditions import BoxRendition, CanvasRendition
from pipelines.steps.colour import flatten

LONGEST_SIDE = {"jpeg": 65_500, "png": 100_000, "webp": 16_383, "avif": 16_384}
"""The longest side in pixels that can be encoded: the bounds of libjpeg, of our reports, of WebP and of libheif."""

_WEBP_EFFORT = 4
_PNG_COMPRESSION = 6
# Each step up doubles the time and saves a few per cent.
_AVIF_EFFORT = 1
_QUALITY_STEP = 6
_SUBSAMPLING = {"4:2:0": "on", "4:4:4": "off"}


def encode(
    image: pyvips.Image, media_format: str, *, quality: int = 90, chroma: str = "4:2:0", xmp: bytes | None = None
) -> bytes:
    """
    Return the picture as "jpeg" (on white), "webp", "avif" or "png" (lossless; `quality` and `chroma` do not apply).

    `xmp` becomes its only metadata.
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
        return bytes(image.webpsave_buffer(Q=quality, effort=_WEBP_EFFORT, keep=keep))
    if media_format == "avif":
        return bytes(
            image.heifsave_buffer(
                compression="av1", Q=quality, effort=_AVIF_EFFORT, subsample_mode=_SUBSAMPLING[chroma], keep=keep
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


def encode_under(image: pyvips.Image, spec: CanvasRendition | BoxRendition, xmp: bytes | None = None) -> bytes:
    """
    Encode at the highest quality, from `spec.quality` down to `spec.quality_min`, that fits `spec.max_bytes`.

    Raises:
        Refusal: Even the lowest quality is too large.
    """
    qualities = range(spec.quality, spec.quality_min - 1, -_QUALITY_STEP) or (spec.quality,)
    size = 0
    for quality in qualities:
        data = encode(image, spec.format, quality=quality, chroma=spec.chroma, xmp=xmp)
        size = len(data)
        if size <= spec.max_bytes:
            return data
        if spec.format == "png":
            break
    raise Refusal(RefusalCode.OUTPUT_TOO_LARGE, actual=size, limit=spec.max_bytes)
