"""Keep roots as files in memory, where the kernel keyring cannot be used."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import ClassVar, Final

from storage.errors import StoreConfigError
from storage.roots._files import RootFiles

_MEMORY_BACKED: Final = frozenset({"tmpfs", "ramfs"})


class VolatileRootStore(RootFiles):
    """
    A root store on a memory-backed file system, such as `/dev/shm`.

    Raises:
        StoreConfigError: The folder is not on one, cannot be used, or is open to other users.
    """

    name: Final = "volatile"
    residue_class: Final = "volatile-memory"
    bound: Final = (
        "A destroyed root is overwritten and deleted at once, in memory; nothing survives a reboot. Memory-backed "
        "files can be swapped out: run without swap. A deadline is enforced when a root is read and by the sweep, not "
        "by the kernel: with every process dead, a root stays in memory until one of them or a reboot. One machine."
    )
    # It goes on through suspend and cannot be set back; the files do not outlive it.
    clock: ClassVar[int] = time.CLOCK_BOOTTIME

    def __init__(self, folder: Path) -> None:
        kind = file_system(folder)
        if kind not in _MEMORY_BACKED:
            raise StoreConfigError(
                f"The root folder {folder} is on {kind}, not in memory; choose one under /dev/shm, or use file:///."
            )
        super().__init__(folder)


def file_system(folder: Path) -> str:
    """Return the kind of file system that *folder*, or the nearest parent that exists, is on."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    device = place.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            before, _, after = line.partition(" - ")
            if before.split()[2] == wanted:
                return after.split()[0]
    return "an unknown file system"
