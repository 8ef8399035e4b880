"""Background: what lies under a picture that does not fill its frame, and the shadow it throws there."""

from __future__ import annotations

from collections.abc import Sequence

import pyvips

# The blurred photo is a hint of its colours, not a second picture.
_BLUR_SHARE = 0.04
_BLUR_SIDE = 64
_DIMMED = 0.92

# A contact shadow: as wide as the subject's foot, a tenth as high as the subject, soft. A handle or a shoulder that
# hangs in the air throws none: it would lie beside the foot like a thing of its own.
_FOOT = 0.06
_SHADOW_HEIGHT = 0.10
_SHADOW_BLUR = 0.02


def gradient(width: int, height: int, top: Sequence[int], bottom: Sequence[int]) -> pyvips.Image:
    """Return a gradient from `top` in the first row to `bottom` in the last."""
    share = pyvips.Image.xyz(1, height).extract_band(1) / max(1, height - 1)
    step = [end - start for start, end in zip(top, bottom, strict=True)]
    column = (share.bandjoin([share, share]) * step + list(top)).rint().cast("uchar")
    return column.embed(0, 0, width, height, extend="copy").copy(interpretation="srgb")


def blurred(image: pyvips.Image, width: int, height: int) -> pyvips.Image:
    """Return the picture itself, covering the frame, out of focus and a little darker."""
    # Blurring a small copy looks the same as blurring the large one, at a hundredth of the work.
    small = image.thumbnail_image(_BLUR_SIDE, height=_BLUR_SIDE, size="force", no_rotate=True)
    soft = small.gaussblur(_BLUR_SIDE * _BLUR_SHARE)
    ratio = max(width / image.width, height / image.height)
    cover = soft.resize(image.width * ratio / soft.width, vscale=image.height * ratio / soft.height, kernel="cubic")
    left, top = max(0, (cover.width - width) // 2), max(0, (cover.height - height) // 2)
    cropped = cover.crop(left, top, min(width, cover.width), min(height, cover.height))
    return (
        (cropped.embed(0, 0, width, height, extend="copy") * _DIMMED).rint().cast("uchar").copy(interpretation="srgb")
    )


def contact_shadow(alpha: pyvips.Image, left: int, top: int, size: tuple[int, int], strength: float) -> pyvips.Image:
    """
    Return how dark the shadow of a subject is, 0 to 1 for each pixel of a frame of `size`.

    The subject's alpha lies at `left`, `top`; its shadow is the shape of its foot pressed flat.
    """
    width, height = size
    deep = max(2, round(alpha.height * _SHADOW_HEIGHT))
    low = max(1, round(alpha.height * _FOOT))
    standing = alpha.crop(0, alpha.height - low, alpha.width, low)
    flat = standing.thumbnail_image(alpha.width, height=deep, size="force", no_rotate=True)
    foot = top + alpha.height - deep * 2 // 3
    there = flat.embed(left, foot, width, height, extend="black")
    return there.gaussblur(max(1.0, alpha.width * _SHADOW_BLUR)) * (strength / 255)


def darken(background: pyvips.Image, shadow: pyvips.Image) -> pyvips.Image:
    """Return the background under a shadow of 0 to 1."""
    return (background * (shadow * -1 + 1)).rint().cast("uchar").copy(interpretation="srgb")


def over(background: pyvips.Image, picture: pyvips.Image, left: int, top: int) -> pyvips.Image:
    """Return the background with the picture on it, through its alpha where it has one."""
    if not picture.hasalpha():
        return background.insert(picture, left, top)
    return background.composite2(picture, "over", x=left, y=top).extract_band(0, n=3).rint().cast("uchar")
