"""
Write one object into a bucket while it is made: small ones in one request, large ones in parts, a few at a time.

Nothing touches a disk, and no more than `PARTS_IN_FLIGHT` parts and the one being filled are in memory.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import UTC, datetime
from threading import Event
from typing import Any, Final

from storage.blobs._s3_bucket import Bucket, error_code
from storage.errors import (
    BlobExistsError,
    CiphertextMissingError,
    StorageError,
    StoreConfigError,
    StoreUnavailableError,
)
from storage.names import ObjectRef

PARTS_IN_FLIGHT: Final = 3
MOST_PARTS: Final = 10_000
"""What S3 allows; services that copy it want parts of one size."""

DEADLINE: Final = "dayfly-deadline"
"""Metadata: the moment after which the object cannot be alive. Deadlines move; this one, its ceiling, does not."""

_WRITE: Final = "dayfly-write"
_CONFLICT: Final = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})


class S3Write:
    """One write. `finish` makes the object appear, `abort` leaves nothing; one of the two ends it."""

    def __init__(self, bucket: Bucket, name: str, *, only_if_absent: bool) -> None:
        self.name = name
        self.started = datetime.now(UTC)
        self.cancelled = Event()
        self._bucket = bucket
        self._key = bucket.key(name)
        self._condition = {"IfNoneMatch": "*"} if only_if_absent else {}
        # By this the write knows its own object again when an answer was lost.
        self._token = secrets.token_hex(16)
        self._buffer = bytearray()
        self._size = 0
        self._upload_id: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._sent = 0
        self._threads: ThreadPoolExecutor | None = None
        self._flying: deque[Future[dict[str, Any]]] = deque()

    @property
    def size(self) -> int:
        """How many bytes were written so far."""
        return self._size

    @property
    def on_server(self) -> bool:
        """Whether the service knows of the write and lists it as unfinished."""
        return self._upload_id is not None

    def write(self, data: memoryview | bytes, /) -> int:
        part_bytes = self._bucket.address.part_bytes
        with memoryview(data) as view, view.cast("B") as left:
            done = 0
            while done < len(left):
                # A full part leaves only when more comes, so the last one is never empty.
                if len(self._buffer) == part_bytes:
                    self.send_part()
                taken = left[done : done + part_bytes - len(self._buffer)]
                self._buffer += taken
                done += len(taken)
            self._size += done
            return done

    def finish(self) -> None:
        """
        Make the object appear.

        Raises:
            CiphertextMissingError: The unfinished write was deleted meanwhile.
            BlobExistsError: There is one of this name, and there must not be.
        """
        if self._upload_id is not None:
            self.send_part()
            while self._flying:
                self._land()
        self._refuse_cancelled()
        try:
            self._commit()
        except StorageError as error:
            # A lost answer, or a repeated request that found its first one done: the object itself tells. Asked in this
            # order, because the service may be ending the upload just now.
            gone = self._upload_is_gone()
            if not self._appeared():
                if error_code(error.__cause__) in _CONFLICT:
                    raise BlobExistsError(f"The blob store already holds {self.name}.") from error
                if gone:
                    raise self._deleted() from error
                raise
        self._close_threads()

    def abort(self) -> None:
        """Leave nothing behind. Never raises: what cannot be removed now, the sweep removes."""
        for future in self._flying:
            future.cancel()
        wait(self._flying)
        self._flying.clear()
        self._close_threads()
        self._buffer = bytearray()
        if self._upload_id is not None:
            with suppress(StorageError):
                self._bucket.call("abort_multipart_upload", blob=self.name, Key=self._key, UploadId=self._upload_id)

    def take_back(self) -> None:
        """
        Delete what this write made to appear, and nothing that another made.

        Raises:
            StorageError: It cannot be deleted now.
        """
        listed = self._bucket.ask("list_object_versions", Prefix=self._key) or {}
        versions = [found["VersionId"] for found in listed.get("Versions", ()) if found["Key"] == self._key]
        for version in [{"VersionId": version} for version in versions] or [{}]:
            with suppress(CiphertextMissingError):
                head = self._bucket.call("head_object", blob=self.name, Key=self._key, **version)
                if self._is_ours(head):
                    self._bucket.call("delete_object", blob=self.name, Key=self._key, **version)

    def _commit(self) -> None:
        if self._upload_id is None:
            body, self._buffer = self._buffer, bytearray()
            answer = self._bucket.call(
                "put_object", Key=self._key, Body=body, ContentMD5=_md5(body), **self._condition, **self._described()
            )
        else:
            answer = self._bucket.call(
                "complete_multipart_upload",
                blob=self.name,
                Key=self._key,
                UploadId=self._upload_id,
                MultipartUpload={"Parts": self._parts},
                **self._condition,
            )
        self._tag_of(answer)

    def send_part(self) -> None:
        """
        Send what is in memory as a part; waits while enough parts are on their way.

        Raises:
            CiphertextMissingError: The unfinished write was deleted meanwhile.
        """
        self._refuse_cancelled()
        if self._upload_id is None:
            answer = self._bucket.call("create_multipart_upload", Key=self._key, **self._described())
            self._upload_id = str(answer["UploadId"])
            self._threads = ThreadPoolExecutor(PARTS_IN_FLIGHT, "dayfly-s3-part")
        if self._sent == MOST_PARTS:
            limit = MOST_PARTS * self._bucket.address.part_bytes >> 30
            raise StoreConfigError(
                f"An object is larger than {limit} GiB, which {MOST_PARTS} parts hold; raise part_mib."
            )
        while len(self._flying) >= PARTS_IN_FLIGHT:
            self._land()
        assert self._threads is not None
        self._sent += 1
        body, self._buffer = self._buffer, bytearray()
        self._flying.append(self._threads.submit(self._upload_part, self._sent, body))

    def _upload_part(self, number: int, body: bytearray) -> dict[str, Any]:
        answer = self._bucket.call(
            "upload_part",
            blob=self.name,
            Key=self._key,
            UploadId=self._upload_id,
            PartNumber=number,
            Body=body,
            ContentMD5=_md5(body),
        )
        return {"PartNumber": number, "ETag": self._tag_of(answer)}

    def _land(self) -> None:
        try:
            self._parts.append(self._flying.popleft().result())
        except StoreUnavailableError as error:
            if self._upload_is_gone():
                raise self._deleted() from error
            raise

    def _upload_is_gone(self) -> bool:
        # Not every service says so when a part or the end of an aborted upload comes.
        if self._upload_id is None:
            return False
        try:
            self._bucket.call("list_parts", blob=self.name, Key=self._key, UploadId=self._upload_id, MaxParts=1)
        except CiphertextMissingError:
            return True
        except StorageError:
            return False
        return False

    def _deleted(self) -> CiphertextMissingError:
        return CiphertextMissingError(f"The unfinished bytes of {self.name} were deleted while they were written.")

    def _tag_of(self, answer: dict[str, Any]) -> str:
        # Some services report a failure as a success with an error for a body.
        if not answer.get("ETag"):
            raise StoreUnavailableError(f"The bucket {self._bucket.address.place} did not confirm a write.")
        return str(answer["ETag"])

    def _refuse_cancelled(self) -> None:
        if self.cancelled.is_set():
            raise self._deleted()

    def _appeared(self) -> bool:
        """Say whether the object is there although the answer said otherwise or was lost."""
        with suppress(StorageError):
            return self._is_ours(self._bucket.call("head_object", blob=self.name, Key=self._key))
        return False

    def _is_ours(self, head: dict[str, Any]) -> bool:
        metadata = {name.lower(): value for name, value in head.get("Metadata", {}).items()}
        return metadata.get(_WRITE) == self._token and int(head.get("ContentLength", -1)) == self._size

    def _described(self) -> dict[str, Any]:
        metadata = {_WRITE: self._token}
        with suppress(ValueError):
            hour = datetime.strptime(ObjectRef.parse(self.name).ceiling_hour, "%Y%m%d%H").replace(tzinfo=UTC)
            metadata[DEADLINE] = hour.strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"Metadata": metadata, "ContentType": "application/octet-stream", **self._bucket.encryption()}

    def _close_threads(self) -> None:
        if self._threads is not None:
            self._threads.shutdown()


def _md5(body: bytearray) -> str:
    # The one checksum that every service verifies; against accidents, not against people.
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
