"""What is checked and settled about a run before a child is asked for."""

from __future__ import annotations

import math
import os

from pipelines._outcomes import RefusalCode
from pipelines._sentences import refused
from pipelines._wire import Bounds
from pipelines.limits import Limits
from pipelines.sources import Pixels, Source, check_sealed


def check_source(source: Source, limits: Limits) -> None:
    """
    Refuse what needs no child to be refused.

    Raises:
        Refused: Empty, too many bytes, or too many pixels.
        ValueError: The source is not sealed, or not as large as it says.
    """
    check_sealed(source.fd)
    size = os.fstat(source.fd).st_size
    if isinstance(source, Pixels):
        if size != source.width * source.height * source.bands or source.bands not in (3, 4):
            raise ValueError("a source of raw pixels must hold exactly width × height × bands bytes, in 3 or 4 bands")
        if source.width * source.height > limits.pixels:
            raise refused(RefusalCode.TOO_MANY_PIXELS, actual=source.width * source.height, limit=limits.pixels)
        return
    if size == 0:
        raise refused(RefusalCode.EMPTY_FILE)
    if size > limits.bytes:
        raise refused(RefusalCode.TOO_MANY_BYTES, actual=size, limit=limits.bytes)


def bounds_of(limits: Limits, payload_bytes: int) -> Bounds:
    """Return the limits as the child and the kernel take them; processor time in whole seconds, rounded up."""
    return Bounds(
        bytes=limits.bytes,
        pixels=limits.pixels,
        side=limits.side,
        frames=limits.frames,
        scans=limits.scans,
        profile_bytes=limits.profile_bytes,
        wall_seconds=limits.wall.total_seconds(),
        cpu_seconds=math.ceil(limits.cpu.total_seconds()),
        memory_bytes=limits.memory_bytes,
        output_bytes=limits.output_bytes,
        payload_bytes=payload_bytes,
    )
