"""Read an opened object as a file."""

from __future__ import annotations

import io
from collections.abc import Generator
from typing import BinaryIO, cast

from metrics.instruments import INTEGRITY_ERRORS, OPENED_BYTES
from storage._key_material import wipe
from storage.errors import IntegrityError
from storage.names import ObjectRef, associated_data
from storage.sealed_format import Source, open_segments


class OpenStream(io.RawIOBase):
    """The plaintext of one object, from its start to its end, every byte verified before it is given out."""

    def __init__(self, source: BinaryIO, key: bytearray, ref: ObjectRef) -> None:
        self._source = source
        self._key = key
        self._ref = ref
        self._segments = cast(
            "Generator[memoryview, None, None]", open_segments(cast("Source", source), key, associated_data(ref))
        )
        self._left = memoryview(b"")
        self._broken: IntegrityError | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # wider than typeshed's Buffer
        if self.closed:
            raise ValueError("I/O operation on closed file")
        # A broken object stays broken: a second read must not look like its end.
        if self._broken is not None:
            raise self._broken
        if not self._left:
            try:
                self._left = next(self._segments, memoryview(b""))
            except IntegrityError as error:
                INTEGRITY_ERRORS.inc()
                self._broken = error
                raise
            OPENED_BYTES.labels(object_class=self._ref.object_class.value).inc(len(self._left))
        with memoryview(buffer).cast("B") as target:
            count = min(len(target), len(self._left))
            target[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            self._left = memoryview(b"")
            self._segments.close()
            wipe(self._key)
            self._source.close()
        super().close()
