"""
Keep blobs as objects of one bucket, on AWS or on any service that speaks S3.

    blobs = open_blob_store("s3://my-bucket/dayfly?region=eu-central-1")

A large blob is uploaded in parts while it is written. Deleting removes every version, every delete marker and every
unfinished upload of the object, whatever the bucket's settings are now or were before. `storage/blobs/_s3_bucket.py`
describes addresses.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, BinaryIO, Final, cast

from storage.blobs._s3_bucket import Bucket, S3Address
from storage.blobs._s3_reading import S3Reader
from storage.blobs._s3_state import bucket_state, lifecycle_rules, put_lifecycle_rules
from storage.blobs._s3_writing import S3Write
from storage.blobs.protocol import BLOB_NAME, BlobInfo, BlobSink, BlobWeakness, Weakness
from storage.errors import (
    BlobExistsError,
    CiphertextMissingError,
    StorageError,
    StoreConfigError,
    StoreUnavailableError,
)
from storage.names import ObjectClass

_PAGE: Final = 1000
"""How many names one answer gives, which is as many as S3 gives."""


class S3BlobStore:
    """
    A blob store in one bucket, under one prefix. Makes no request before the first method is called.

    Raises:
        StoreConfigError: The address cannot be used.
    """

    def __init__(self, address: S3Address) -> None:
        self._bucket = Bucket(address)
        self._place = address.place
        self._lock = threading.Lock()
        self._writes: dict[str, list[S3Write]] = {}
        self._conditions: bool | None = None
        self._knows_versions = True

    def __repr__(self) -> str:
        return f"S3BlobStore({self._place!r})"

    @contextmanager
    def create(self, name: str, *, exclusive: bool = False) -> Iterator[BlobSink]:
        self._key(name)
        condition = exclusive and self.honours_conditions()
        write = S3Write(self._bucket, name, only_if_absent=condition)
        with self._lock:
            self._writes.setdefault(name, []).append(write)
        try:
            try:
                yield write
                if exclusive and not condition:
                    self._refuse_existing(name)
                write.finish()
            except BaseException:
                write.abort()
                raise
        finally:
            with self._lock:
                self._writes[name].remove(write)
                if not self._writes[name]:
                    del self._writes[name]
        # Nobody can cancel the write any more, and whoever did may have looked before it was there.
        if write.cancelled.is_set():
            write.take_back()
            raise CiphertextMissingError(f"The unfinished bytes of {name} were deleted while they were written.")

    def open(self, name: str) -> BinaryIO:
        self._key(name)
        return cast(BinaryIO, S3Reader(self._bucket, name))

    def size(self, name: str) -> int:
        return int(self._bucket.call("head_object", blob=name, Key=self._key(name))["ContentLength"])

    def delete(self, name: str) -> bool:
        key = self._key(name)
        with self._lock:
            writes = [write for write in self._writes.get(name, ()) if not write.cancelled.is_set()]
            for write in writes:
                write.cancelled.set()
        # Unfinished uploads first: one that is completed meanwhile is then caught as an object.
        aborted = self._abort_uploads(key)
        return self._delete_versions(name, key) or aborted or bool(writes)

    def list(self, prefix: str, *, after: str = "") -> Iterator[BlobInfo]:
        start = {"StartAfter": self._bucket.key(after)} if after else {}
        for page in self._pages("list_objects_v2", Prefix=self._bucket.key(prefix), MaxKeys=_PAGE, **start):
            for found in page.get("Contents", ()):
                name = self._bucket.name(found["Key"])
                # Not every service honours StartAfter, and a bucket may hold what is not ours.
                if name > after and BLOB_NAME.fullmatch(name):
                    yield BlobInfo(name, int(found["Size"]), found["LastModified"])

    def unfinished(self) -> Iterator[BlobInfo]:
        """Yield as the protocol says; the size of an upload that another process began is not told and given as 0."""
        with self._lock:
            ours = [write for writes in self._writes.values() for write in writes if not write.on_server]
        found = [BlobInfo(write.name, write.size, write.started) for write in ours]
        for upload in self._uploads(""):
            name = self._bucket.name(upload["Key"])
            if BLOB_NAME.fullmatch(name):
                found.append(BlobInfo(name, 0, upload["Initiated"]))
        yield from sorted(found, key=lambda info: info.name)

    def check(self) -> None:
        probe = f"check/{secrets.token_hex(8)}"
        try:
            with self.create(probe) as sink:
                sink.write(b"dayfly")
            with self.open(probe) as file:
                if file.read() != b"dayfly":
                    raise StoreConfigError(f"The bucket {self._place} does not give back what is written to it.")
            upload = self._bucket.call("create_multipart_upload", Key=self._key(probe), **self._bucket.encryption())
            if not any(found["UploadId"] == upload["UploadId"] for found in self._uploads(self._key(probe))):
                raise StoreConfigError(
                    f"The bucket {self._place} does not list unfinished uploads, so those of a crash would stay."
                )
        finally:
            self.delete(probe)

    def probe(self, longest: Mapping[ObjectClass, timedelta]) -> Sequence[BlobWeakness]:
        state = bucket_state(self._bucket)
        for reason in state.broken:
            raise StoreConfigError(f"The bucket {self._place} {reason}.")
        weak = [*state.weaknesses(self._bucket, longest)]
        if not self.honours_conditions():
            weak.append(
                BlobWeakness(
                    Weakness.CONDITIONS,
                    "conditional writes are ignored",
                    "nothing to change: names are random; a service that honours If-None-Match would make sure",
                )
            )
        return weak

    def honours_conditions(self) -> bool:
        """
        Say whether the service refuses to write over an object when it is asked to. Tried once, then remembered.

        Raises:
            StorageError: It cannot be tried.
        """
        if self._conditions is None:
            name = f"check/{secrets.token_hex(8)}"
            try:
                self._conditions = all(self._refuses_second(name, in_parts) for in_parts in (False, True))
            finally:
                self.delete(name)
        return self._conditions

    def lifecycle(self, longest: Mapping[ObjectClass, timedelta]) -> dict[str, Any]:
        """Give the lifecycle configuration that deletes what everybody forgot, as the service takes it."""
        return {"Rules": lifecycle_rules(self._bucket.address.prefix, longest)}

    def apply_lifecycle(self, longest: Mapping[ObjectClass, timedelta]) -> None:
        """
        Put the lifecycle configuration on the bucket; rules of others stay.

        Raises:
            StorageError: It cannot be put.
        """
        put_lifecycle_rules(self._bucket, lifecycle_rules(self._bucket.address.prefix, longest))

    def _key(self, name: str) -> str:
        if BLOB_NAME.fullmatch(name) is None:
            raise ValueError("not the name of a blob")
        return self._bucket.key(name)

    def _pages(self, operation: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        token: dict[str, Any] = {}
        while True:
            # A service may call an empty list of uploads an upload that is not there.
            page = self._bucket.ask(operation, absent=("NoSuchUpload",), **{**arguments, **token}) or {}
            yield page
            if not page.get("IsTruncated"):
                return
            following = _next_page(page)
            if not following or following == token:
                raise StoreUnavailableError(f"The bucket {self._place} does not go on with a list.")
            token = following

    def _uploads(self, prefix: str) -> Iterator[dict[str, Any]]:
        for page in self._pages("list_multipart_uploads", Prefix=prefix or self._bucket.key(""), MaxUploads=_PAGE):
            yield from page.get("Uploads", ())

    def _abort_uploads(self, key: str) -> bool:
        found = False
        for upload in [upload for upload in self._uploads(key) if upload["Key"] == key]:
            # Another may have ended it meanwhile.
            with suppress(CiphertextMissingError):
                name = self._bucket.name(key)
                self._bucket.call("abort_multipart_upload", blob=name, Key=key, UploadId=upload["UploadId"])
                found = True
        return found

    def _delete_versions(self, name: str, key: str) -> bool:
        found = False
        for version in self._versions(key):
            with suppress(CiphertextMissingError):
                self._bucket.call("delete_object", blob=name, Key=key, VersionId=version)
                found = True
        if not found:
            # A service without versions, or one that hides them.
            with suppress(CiphertextMissingError):
                self._bucket.call("head_object", blob=name, Key=key)
                self._bucket.call("delete_object", blob=name, Key=key)
                found = True
        return found

    def _versions(self, key: str) -> Sequence[str]:
        versions = []
        token: dict[str, Any] = {}
        while self._knows_versions:
            page = self._bucket.ask("list_object_versions", Prefix=key, MaxKeys=_PAGE, **token)
            if not page:
                self._knows_versions = False
                break
            entries = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            versions += [entry["VersionId"] for entry in entries if entry["Key"] == key]
            if not page.get("IsTruncated"):
                break
            token = _next_page(page)
        return versions

    def _refuse_existing(self, name: str) -> None:
        with suppress(CiphertextMissingError):
            self._bucket.call("head_object", blob=name, Key=self._key(name))
            raise BlobExistsError(f"The blob store already holds {name}.")

    def _refuses_second(self, name: str, in_parts: bool) -> bool:
        if not in_parts:
            with self.create(name) as sink:
                sink.write(b"dayfly")
        write = S3Write(self._bucket, name, only_if_absent=True)
        try:
            write.write(b"dayfly")
            if in_parts:
                write.send_part()
            write.finish()
        except BlobExistsError:
            return True
        except StorageError:
            write.abort()
            raise
        finally:
            if in_parts:
                write.abort()
        return False


def _next_page(page: Mapping[str, Any]) -> dict[str, Any]:
    marks = {
        "NextContinuationToken": "ContinuationToken",
        "NextKeyMarker": "KeyMarker",
        "NextUploadIdMarker": "UploadIdMarker",
        "NextVersionIdMarker": "VersionIdMarker",
    }
    return {argument: page[mark] for mark, argument in marks.items() if page.get(mark)}
