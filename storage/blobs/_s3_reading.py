"""Read one object of a bucket as a file, from any place in it, also over connections that break."""

from __future__ import annotations

import io
import time
from contextlib import suppress
from typing import Any, Final

from storage.blobs._s3_bucket import ATTEMPTS, NETWORK_ERRORS, Bucket, error_code
from storage.errors import CiphertextMissingError, StorageError, StoreUnavailableError

_FIRST_PAUSE_SECONDS: Final = 0.1


class S3Reader(io.RawIOBase):
    """
    One object, read as a stream; `seek` asks for a range.

    A body that is cut off is asked for again from where it stopped, and only of the same object. After a few attempts
    without a byte it is an error, never an end.
    """

    def __init__(self, bucket: Bucket, name: str) -> None:
        self._bucket = bucket
        self._name = name
        self._place = 0
        self._body: Any = None
        answer = bucket.call("get_object", blob=name, Key=bucket.key(name))
        # An error that came as a success has no entity tag; its text is not ciphertext that somebody changed.
        if not answer.get("ETag") or "ContentLength" not in answer:
            answer["Body"].close()
            raise StoreUnavailableError(f"The bucket {bucket.address.place} answers with something else than {name}.")
        self._tag = str(answer["ETag"])
        self.size = int(answer["ContentLength"])
        self._body = answer["Body"]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise ValueError("a place before the start")
        if start + offset != self._place:
            self._drop()
            self._place = start + offset
        return self._place

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # wider than typeshed's Buffer
        if self.closed:
            raise ValueError("I/O operation on closed file")
        with memoryview(buffer).cast("B") as target:
            wanted = min(len(target), self.size - self._place)
            if wanted <= 0:
                return 0
            chunk = self._read(wanted)
            target[: len(chunk)] = chunk
        self._place += len(chunk)
        return len(chunk)

    def readall(self) -> bytes:
        # The default asks for 8 KiB at a time.
        found = bytearray(max(0, self.size - self._place))
        with memoryview(found) as view:
            filled = 0
            while filled < len(found):
                filled += self.readinto(view[filled:])
        return bytes(found)

    def close(self) -> None:
        if not self.closed:
            self._drop()
        super().close()

    def _read(self, wanted: int) -> bytes:
        failure: BaseException | None = None
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(_FIRST_PAUSE_SECONDS * 2**attempt)
            try:
                if self._body is None:
                    self._body = self._ask_again()
                chunk: bytes = self._body.read(wanted)
                if chunk:
                    return chunk
            except NETWORK_ERRORS as error:
                failure = error
            except StoreUnavailableError as error:
                failure = error.__cause__ or error
            self._drop()
        place = self._bucket.address.place
        raise StoreUnavailableError(f"The bucket {place} keeps breaking off in {self._name}.") from failure

    def _ask_again(self) -> Any:
        try:
            answer = self._bucket.call(
                "get_object",
                blob=self._name,
                Key=self._bucket.key(self._name),
                Range=f"bytes={self._place}-",
                IfMatch=self._tag,
            )
        except StorageError as error:
            if error_code(error.__cause__) in ("PreconditionFailed", "412"):
                raise CiphertextMissingError(
                    f"The ciphertext of {self._name} was replaced while it was read."
                ) from error
            raise
        expected = f"bytes {self._place}-{self.size - 1}/{self.size}"
        if answer.get("ETag") != self._tag or answer.get("ContentRange", expected) != expected:
            answer["Body"].close()
            raise StoreUnavailableError(
                f"The bucket {self._bucket.address.place} gives another part than was asked for."
            )
        if "ContentRange" not in answer and self._place:
            answer["Body"].close()
            raise StoreUnavailableError(f"The bucket {self._bucket.address.place} does not give parts of objects.")
        return answer["Body"]

    def _drop(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            with suppress(*NETWORK_ERRORS):
                body.close()
