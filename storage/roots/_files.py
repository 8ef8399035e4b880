"""
Keep roots as files: what the root stores `volatile` and `file` share.

A file holds 8 bytes of deadline in milliseconds, then the root. No kernel enforces the deadline of a file: it is
enforced whenever a root is read or listed, and by the sweep. With everything dead, the file stays until either.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Final

from storage._key_material import wipe, wiped
from storage.errors import RootLostError, StorageError, StoreConfigError, StoreFullError, StoreUnavailableError
from storage.names import ObjectClass

_DEADLINE: Final = 8
_SUFFIX: Final = ".root"


class RootFiles:
    """One file per root in a folder that only its owner may enter."""

    clock: ClassVar[int] = time.CLOCK_REALTIME

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with self._translated():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_mode & 0o077:
                raise StoreConfigError(f"The root folder {folder} is open to other users; run chmod 700 on it.")

    def put(self, object_class: ObjectClass, epoch: int, secret: bytearray, lifetime: timedelta) -> None:
        path = self._path(object_class, epoch)
        with self._translated(), wiped(bytearray(self._deadline(lifetime)) + secret) as content:
            draft = path.with_suffix(f".{secrets.token_hex(4)}")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, content)
                os.fsync(descriptor)
                os.rename(draft, path)
            except BaseException:
                self._overwrite(draft)
                raise
            finally:
                os.close(descriptor)
            self._flush_folder()

    def get(self, object_class: ObjectClass, epoch: int) -> bytearray:
        path = self._path(object_class, epoch)
        with self._translated():
            content = self._read(path)
            if content is None:
                raise self._lost(object_class, epoch)
            with wiped(content):
                return content[_DEADLINE:]

    def renew(self, object_class: ObjectClass, epoch: int, lifetime: timedelta) -> None:
        path = self._path(object_class, epoch)
        with self._translated():
            content = self._read(path)
            if content is None:
                raise self._lost(object_class, epoch)
            wipe(content)
            # In place: a second copy of the file would leave the first one's bytes behind.
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise self._lost(object_class, epoch) from None
            try:
                os.pwrite(descriptor, self._deadline(lifetime), 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def destroy(self, object_class: ObjectClass, epoch: int) -> None:
        with self._translated():
            self._overwrite(self._path(object_class, epoch))

    def epochs(self, object_class: ObjectClass) -> list[int]:
        with self._translated():
            found = [(path, epoch) for path, name, epoch in self._files() if name == object_class.value]
            return sorted(epoch for path, epoch in found if path.suffix == _SUFFIX and self._alive(path))

    def expire(self) -> int:
        with self._translated():
            return sum(not self._alive(path) for path, _, _ in self._files())

    def check(self) -> None:
        probe = type(self)(self._folder / f"check-{secrets.token_hex(4)}")
        with wiped(bytearray(secrets.token_bytes(96))) as secret:
            try:
                probe.put(ObjectClass.UPLOAD, 0, secret, timedelta(seconds=30))
                if probe.get(ObjectClass.UPLOAD, 0) != secret:
                    raise StoreConfigError(f"The root folder {self._folder} does not give back what is put in it.")
            finally:
                probe.destroy(ObjectClass.UPLOAD, 0)
                with suppress(OSError):
                    probe._folder.rmdir()

    def remarks(self) -> list[str]:
        return []

    def _path(self, object_class: ObjectClass, epoch: int) -> Path:
        return self._folder / f"{object_class.value}-{epoch}{_SUFFIX}"

    def _files(self) -> Iterator[tuple[Path, str, int]]:
        # With what a crash in `put` left under a draft's name: it runs out like the rest.
        for path in self._folder.glob("*-*.*"):
            name, _, epoch = path.stem.partition("-")
            if epoch.isdigit():
                yield path, name, int(epoch)

    def _deadline(self, lifetime: timedelta) -> bytes:
        now = time.clock_gettime(self.clock)
        return int((now + lifetime.total_seconds()) * 1000).to_bytes(_DEADLINE, "big")

    def _alive(self, path: Path) -> bool:
        content = self._read(path)
        if content is None:
            return False
        wipe(content)
        return True

    def _read(self, path: Path) -> bytearray | None:
        """Return a root's file, or `None` if it is gone; one that has run out is destroyed here."""
        try:
            with open(path, "rb", buffering=0) as file:
                content = bytearray(os.fstat(file.fileno()).st_size)
                file.readinto(content)
        except FileNotFoundError:
            return None
        if int.from_bytes(content[:_DEADLINE], "big") > time.clock_gettime(self.clock) * 1000:
            return content
        wipe(content)
        self._overwrite(path)
        return None

    def _overwrite(self, path: Path) -> None:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            os.pwrite(descriptor, secrets.token_bytes(os.fstat(descriptor).st_size), 0)
            os.fsync(descriptor)
            with suppress(FileNotFoundError):
                os.unlink(path)
        finally:
            os.close(descriptor)
        self._flush_folder()

    def _flush_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFullError(f"The disk of the root folder {self._folder} is full; free some space.") from error
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
                raise StoreConfigError(
                    f"The root folder {self._folder} cannot be used ({error.strerror}); check its owner and its mount."
                ) from error
            raise StoreUnavailableError(f"The root folder {self._folder} does not work: {error.strerror}.") from error

    def _lost(self, object_class: ObjectClass, epoch: int) -> RootLostError:
        return RootLostError(
            f"The root of epoch {epoch} of class {object_class.value} is not in {self._folder}: "
            "it was destroyed or ran out."
        )
