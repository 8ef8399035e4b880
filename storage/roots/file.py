"""Keep roots as files on a disk: the store for those that must survive a reboot."""

from __future__ import annotations

from typing import Final

from storage.roots._files import RootFiles


class FileRootStore(RootFiles):
    """
    A root store on a disk.

    Raises:
        StoreConfigError: The folder cannot be used, or is open to other users.
    """

    name: Final = "file"
    residue_class: Final = "best-effort"
    bound: Final = (
        "Best effort. A destroyed root is overwritten, flushed and deleted, but flash memory, a copy-on-write or "
        "journalling file system, and every snapshot or backup of the folder may keep what was written before. "
        "A deadline is enforced when a root is read and by the sweep, not by the kernel."
    )
