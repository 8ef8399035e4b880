"""
Keep blobs as files under one folder.

A blob is written to `.unfinished/`, flushed to the disk, then renamed to its place, whose folder is flushed too. All
of this happens for every blob: an accepted upload whose ciphertext a power cut takes would cost its job, and an output
must be durable before its job says done. It costs about 0.6 ms on a solid-state disk.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final, cast

from storage.blobs.protocol import BLOB_NAME, BlobInfo, BlobSink, BlobWeakness
from storage.errors import (
    BlobExistsError,
    CiphertextMissingError,
    StorageError,
    StoreConfigError,
    StoreFullError,
    StoreUnavailableError,
)
from storage.names import ObjectClass

_HOUR: Final = re.compile(r"\d{10}")
_UNFINISHED: Final = ".unfinished"
# Names hold no "+", so a whole path fits in one file name and can be read back.
_SEPARATOR: Final = "+"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class FileBlobStore:
    """
    A blob store in one folder of one file system.

    Raises:
        StoreConfigError: The folder cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unfinished = folder / _UNFINISHED
        with _translated(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            for each in (folder, self._unfinished):
                each.mkdir(mode=0o700, exist_ok=True)

    def __repr__(self) -> str:
        return f"FileBlobStore({str(self._folder)!r})"

    def path(self, name: str) -> Path:
        """
        Return where the blob *name* lies.

        Raises:
            ValueError: It is not a blob's name.
        """
        if BLOB_NAME.fullmatch(name) is None:
            raise ValueError("not the name of a blob")
        return self._folder / name

    @contextmanager
    def create(self, name: str, *, exclusive: bool = False) -> Iterator[BlobSink]:
        target = self.path(name)
        draft = self._unfinished / f"{name.replace('/', _SEPARATOR)}{_SEPARATOR}{secrets.token_hex(4)}"
        with _translated(self._folder):
            file = open(draft, "xb", buffering=0)  # noqa: SIM115 - closed by the block below, outside the translation
        # Only the store's own calls are translated: what the caller's block raises is the caller's.
        try:
            with file:
                yield _WholeWrites(file.fileno(), self._folder)
                with _translated(self._folder):
                    os.fsync(file.fileno())
            with _translated(self._folder, name):
                self._place(draft, target, os.link if exclusive else os.rename)
        except BaseException:
            with suppress(OSError):
                draft.unlink()
            raise

    def open(self, name: str) -> BinaryIO:
        with _translated(self._folder, name):
            return cast(BinaryIO, open(self.path(name), "rb", buffering=0))

    def size(self, name: str) -> int:
        with _translated(self._folder, name):
            return self.path(name).stat().st_size

    def delete(self, name: str) -> bool:
        target = self.path(name)
        draft = name.replace("/", _SEPARATOR) + _SEPARATOR
        found = False
        with _translated(self._folder):
            # Unfinished writes first: one that is renamed meanwhile is then caught in its place.
            doomed = [Path(entry) for entry in os.scandir(self._unfinished) if entry.name.startswith(draft)]
            for path in (*doomed, target):
                with suppress(FileNotFoundError):
                    path.unlink()
                    found = True
            self._drop_old_folder(target.parent)
        return found

    def list(self, prefix: str, *, after: str = "") -> Iterator[BlobInfo]:
        # Only the folder that the prefix names is walked, and of it only what lies behind *after*.
        folder = prefix.rpartition("/")[0]
        yield from self._walk(folder, prefix, after)

    def unfinished(self) -> Iterator[BlobInfo]:
        with _translated(self._folder):
            names = sorted(os.listdir(self._unfinished))
        for draft in names:
            name = draft.rpartition(_SEPARATOR)[0].replace(_SEPARATOR, "/")
            info = self._info(self._unfinished / draft, name)
            if info is not None and BLOB_NAME.fullmatch(name):
                yield info

    def check(self) -> None:
        probe = f"check/{secrets.token_hex(8)}"
        try:
            with self.create(probe) as sink:
                sink.write(b"dayfly")
            with self.open(probe) as file:
                if file.read() != b"dayfly":
                    raise StoreConfigError(f"The blob folder {self._folder} does not give back what is written to it.")
        finally:
            self.delete(probe)

    def probe(self, longest: Mapping[ObjectClass, timedelta]) -> Sequence[BlobWeakness]:
        # A folder has no settings of its own; the doctor looks at its file system.
        return ()

    def _walk(self, folder: str, prefix: str, after: str) -> Iterator[BlobInfo]:
        with _translated(self._folder):
            try:
                with os.scandir(self._folder / folder) as found:
                    entries = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
            except FileNotFoundError:
                return
        for entry, is_folder in entries:
            name = f"{folder}/{entry}" if folder else entry
            if entry.startswith("."):
                continue
            if is_folder:
                below = name + "/"
                if (below.startswith(prefix) or prefix.startswith(below)) and (
                    below > after or after.startswith(below)
                ):
                    yield from self._walk(name, prefix, after)
            elif name.startswith(prefix) and name > after:
                info = self._info(self._folder / name, name)
                if info is not None:
                    yield info

    def _info(self, path: Path, name: str) -> BlobInfo | None:
        with _translated(self._folder):
            try:
                found = path.stat()
            except FileNotFoundError:
                return None
        return BlobInfo(name, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def _place(self, draft: Path, target: Path, place: Callable[[Path, Path], None]) -> None:
        while True:
            self._make_folder(target.parent)
            try:
                place(draft, target)
                _flush_folder(target.parent)
                # A link leaves the draft; a rename has taken it along.
                draft.unlink(missing_ok=True)
            except FileExistsError as error:
                raise BlobExistsError(f"The blob store already holds {target.relative_to(self._folder)}.") from error
            except FileNotFoundError:
                # Either the draft was deleted, which ends it, or its new folder was dropped for being empty.
                if not draft.exists() and not target.exists():
                    raise
            else:
                return

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        _flush_folder(folder.parent)

    def _drop_old_folder(self, folder: Path) -> None:
        # A folder per hour is made; those of hours gone by go with their last blob.
        with suppress(OSError):
            if _HOUR.fullmatch(folder.name) and folder.name < datetime.now(UTC).strftime("%Y%m%d%H"):
                folder.rmdir()


class _WholeWrites:
    """Write all of every buffer: the system may take less at a time."""

    def __init__(self, descriptor: int, folder: Path) -> None:
        self._descriptor = descriptor
        self._folder = folder

    def write(self, data: memoryview | bytes, /) -> int:
        left = memoryview(data)
        with _translated(self._folder):
            while left:
                left = left[os.write(self._descriptor, left) :]
        return len(data)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _translated(folder: Path, name: str = "") -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError as error:
        if name and folder.is_dir():
            raise CiphertextMissingError(f"The blob store holds no ciphertext of {name}; it was deleted.") from error
        raise StoreUnavailableError(f"The blob folder {folder} is not there; is its disk mounted?") from error
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFullError(f"The disk of the blob folder {folder} is full; free some space.") from error
        if error.errno in _REFUSED or isinstance(error, NotADirectoryError | FileExistsError):
            raise StoreConfigError(
                f"The blob folder {folder} cannot be written ({error.strerror}); check its owner and its mount."
            ) from error
        raise StoreUnavailableError(f"The blob folder {folder} does not work: {error.strerror}.") from error
