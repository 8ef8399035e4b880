"""Colour: any band layout, depth and profile to 8-bit sRGB; and transparency onto a colour."""

from __future__ import annotations

from collections.abc import Sequence

import pyvips

_PROFILE = "icc-profile-data"


def to_srgb(image: pyvips.Image) -> pyvips.Image:
    """
    Return the picture as 8-bit sRGB with three bands, or four with alpha, and without its profile.

    An embedded profile is applied only where there is one: naming sRGB for an untagged photo would cost half as much
    as decoding it. A profile that does not fit the picture is ignored, as browsers do.
    """
    if image.get_typeof(_PROFILE):
        try:
            image = image.icc_transform("srgb", embedded=True, intent="relative", depth=8)
        except pyvips.Error:
            image = image.colourspace("srgb")
        image = image.copy()
        image.remove(_PROFILE)
    if image.interpretation != "srgb" or image.bands < 3:
        image = image.colourspace("srgb")
    if image.format != "uchar":
        image = image.cast("uchar")
    if image.bands > 4:
        image = image.extract_band(0, n=4)
    return image


def flatten(image: pyvips.Image, background: Sequence[int] = (255, 255, 255)) -> pyvips.Image:
    """Return the picture on `background` where it has alpha; libvips itself would put it on black."""
    return image.flatten(background=list(background)) if image.hasalpha() else image
