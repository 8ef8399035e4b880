"""
Keep what a process holds in memory from leaving it: no core file, no debugger, no look from beside.

    harden()

For every process of the command, before it reads a secret. The sandbox's zygote and its children do the same for
themselves (`pipelines._confinement`). A web tier that uses the library may call it, too.
"""

from __future__ import annotations

import ctypes
import resource
from typing import Final

_PR_SET_DUMPABLE: Final = 4


def harden() -> None:
    """
    Turn core files off and make this process non-dumpable.

    A process that is not dumpable leaves no core even where the kernel hands cores to a program, and its memory can be
    read by root only, not by other processes of its user. Programs that it starts are as before.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(0), 0, 0, 0)
