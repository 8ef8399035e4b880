"""The bounds one image is held to, from its bytes to the seconds spent on it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MIB = 1 << 20

Seconds = Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(minutes=10))]


class Limits(BaseModel):
    """
    What an image may cost. The defaults take any phone's photo, and refuse what only an attacker or a scanner makes.

    The child checks the declared sizes before it decodes; the kernel enforces time, memory and output whatever the
    child does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: Annotated[int, Field(gt=0, le=2048 * MIB, description="size of the upload in bytes")] = 64 * MIB
    pixels: Annotated[int, Field(gt=0, le=400_000_000, description="width × height of one frame")] = 100_000_000
    side: Annotated[int, Field(gt=0, le=20_000, description="longest side in pixels")] = 20_000
    frames: Annotated[int, Field(gt=0, description="frames a file may hold; only the first is ever used")] = 1_000
    scans: Annotated[int, Field(gt=0, description="scans of a progressive JPEG; real ones have about ten")] = 100
    profile_bytes: Annotated[int, Field(gt=0, description="size of an embedded colour profile in bytes")] = 4 * MIB
    wall: Annotated[Seconds, Field(description="time on the clock for one run")] = timedelta(seconds=10)
    cpu: Annotated[Seconds, Field(description="processor time for one run; the kernel counts whole seconds")] = (
        timedelta(seconds=8)
    )
    memory_bytes: Annotated[int, Field(ge=64 * MIB, description="address space a run may add, in bytes")] = 1536 * MIB
    output_bytes: Annotated[int, Field(gt=0, description="all encoded renditions of one run, in bytes")] = 64 * MIB
