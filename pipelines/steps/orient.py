"""Orient: turn the picture the way its EXIF tag says a viewer shows it."""

from __future__ import annotations

import pyvips


def upright(image: pyvips.Image, orientation: int) -> pyvips.Image:
    """
    Return the picture with EXIF `orientation` (1 to 8) applied and the tag gone.

    Anything but 1 reads the picture out of order: it must be in memory by then.
    """
    turned = {
        1: lambda: image,
        2: image.fliphor,
        3: image.rot180,
        4: image.flipver,
        5: lambda: image.rot90().fliphor(),
        6: image.rot90,
        7: lambda: image.rot270().fliphor(),
        8: image.rot270,
    }[orientation]()
    if turned.get_typeof("orientation"):
        # Metadata of a shared image must not be touched; a copy of its header costs nothing.
        turned = turned.copy()
        turned.remove("orientation")
    return turned
