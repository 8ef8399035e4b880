"""Say what a blob store does, and open one by its address."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, runtime_checkable
from urllib.parse import unquote, urlsplit

from storage.errors import StoreConfigError
from storage.names import ObjectClass

BLOB_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)+")
"""What a blob may be called: folders and a last part, none of which begins with a dot."""

ALLOWED_ADDRESSES: Final = "file:///folder, s3://bucket/prefix"


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """One blob, or one unfinished write of it: its name, its size in bytes, when it was last written."""

    name: str
    size: int
    modified: datetime


class Weakness(StrEnum):
    """What about a blob store's own settings may weaken a promise."""

    VERSIONS = "versions"
    UNFINISHED = "unfinished"
    EXPIRY = "expiry"
    OBJECT_LOCK = "object-lock"
    CONDITIONS = "conditions"
    TRANSPORT = "transport"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True)
class BlobWeakness:
    """One weakness: its kind, what was found, what to do."""

    kind: Weakness
    found: str
    advice: str


class BlobSink(Protocol):
    """What a blob being made is written to; each write takes all it is given."""

    def write(self, data: memoryview | bytes, /) -> int: ...


class BlobStore(Protocol):
    """
    Whole blobs under names such as `upload/2026112401/<object id>`.

    Every method may raise `StoreUnavailableError`, `StoreFullError` or `StoreConfigError`.
    """

    def create(self, name: str, *, exclusive: bool = False) -> AbstractContextManager[BlobSink]:
        """
        Lend a sink; the blob appears, whole and durable, when the block ends without an exception, else never.

        A blob of the same name is replaced, unless the write is *exclusive*: of several such writes at once, one
        succeeds. (A service that cannot promise this says so when it is probed; there the check may come too early.)
        A write whose unfinished bytes were deleted meanwhile does not appear.

        Raises:
            CiphertextMissingError: The unfinished bytes were deleted while they were written.
            BlobExistsError: The write is exclusive and there is one of this name.
        """
        ...

    def open(self, name: str) -> BinaryIO:
        """
        Open a blob for reading, unbuffered, from its start or from where `seek` says.

        Raises:
            CiphertextMissingError: There is none of this name.
        """
        ...

    def size(self, name: str) -> int:
        """
        Return a blob's size in bytes.

        Raises:
            CiphertextMissingError: There is none of this name.
        """
        ...

    def delete(self, name: str) -> bool:
        """Delete a blob and every unfinished write of it; say whether there was anything."""
        ...

    def list(self, prefix: str, *, after: str = "") -> Iterator[BlobInfo]:
        """Yield the blobs whose names begin with *prefix*, by name, beginning behind the name *after*."""
        ...

    def unfinished(self) -> Iterator[BlobInfo]:
        """Yield the writes that are going on or were left by a crash, each with the name of the blob it would be."""
        ...

    def check(self) -> None:
        """
        Write, read and delete a few bytes.

        Raises:
            StoreConfigError: It is not writable; one sentence says why.
        """
        ...

    def probe(self, longest: Mapping[ObjectClass, timedelta]) -> Sequence[BlobWeakness]:
        """
        Look at how the store itself is set up, and tell what weakens the promises.

        Args:
            longest: The longest life that any policy gives an object of each class.

        Raises:
            StoreConfigError: Something breaks a promise; says what and what to change.
        """
        ...


@runtime_checkable
class HasLifecycle(Protocol):
    """A blob store with rules of its own that end what everybody forgot: a second line behind the sweep."""

    def lifecycle(self, longest: Mapping[ObjectClass, timedelta]) -> dict[str, Any]:
        """Give the rules that fit the policies, in the service's own form."""
        ...

    def apply_lifecycle(self, longest: Mapping[ObjectClass, timedelta]) -> None:
        """
        Set these rules; rules of others stay.

        Raises:
            StorageError: They cannot be set.
        """
        ...


def open_blob_store(url: str) -> BlobStore:
    """
    Open the blob store at *url*.

    `file:///absolute/folder` is made if it is missing. `s3://bucket/prefix` needs the extra `s3`; settings stand behind
    a question mark, see `storage/blobs/_s3_bucket.py`. No request is made yet.

    Raises:
        StoreConfigError: The address is wrong: names what is allowed.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise StoreConfigError(f"The blob store address is not a URL; allowed: {ALLOWED_ADDRESSES}.") from None
    if parts.scheme == "s3":
        return _open_s3(url)
    if parts.scheme != "file":
        raise StoreConfigError(f"The blob store address has the scheme {parts.scheme!r}; allowed: {ALLOWED_ADDRESSES}.")
    if parts.netloc or not parts.path.startswith("/") or parts.query or parts.fragment:
        raise StoreConfigError("The blob store address must be file:/// and an absolute folder, and nothing else.")
    from storage.blobs.file import FileBlobStore

    return FileBlobStore(Path(unquote(parts.path)))


def _open_s3(url: str) -> BlobStore:
    try:
        from storage.blobs._s3_bucket import S3Address
        from storage.blobs.s3 import S3BlobStore
    except ImportError as error:
        raise StoreConfigError("A blob store at s3:// needs boto3: install 'dayfly[s3]'.") from error
    return S3BlobStore(S3Address.parse(url))
