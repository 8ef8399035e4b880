"""What comes back from a provider: read once, within its limit, and never put into a message."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

from providers import inline
from providers.errors import BadResult, OutcomeUnknown, ProviderError, Transient
from providers.media import SNIFFED_BYTES, Document, media_type_of


class Reply:
    """
    An answer whose body has not been read yet.

    Attributes:
        status: The HTTP status.
        headers: By lowercase name.
    """

    def __init__(self, response: httpx.Response, most_bytes: int, *, paid: bool) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._most = most_bytes
        # An error status says by itself that the work was not done; a success whose body is lost was paid for.
        self._paid = paid and response.status_code < 400

    def document(self) -> Document:
        """
        Read the body as JSON. A body that is none gives a document whose value is None.

        Raises:
            OutcomeUnknown: The body of a paid success broke off.
            Transient: The body of any other answer broke off.
            BadResult: It is too long.
        """
        body = bytearray()
        for chunk in self._chunks():
            body += chunk
        return Document.parse(body)

    def sealing(self, sink: Callable[[Any, str], str], media: str) -> Document:
        """
        Read the body as JSON, and pass the results inside it on into *sink* as they come; see `providers.inline`.

        Raises:
            OutcomeUnknown: The body of a paid success broke off.
            Transient: The body of any other answer broke off.
            BadResult: It is too long, or a result in it is broken.
        """
        return inline.read(self._chunks(), sink, media)

    def stream(self) -> io.BufferedReader:
        """
        Return the body as a stream. Reading it raises what `document` does.

        Raises:
            BadResult: It declares more than the limit, or comes compressed.
        """
        length = self.headers.get("content-length", "")
        if length.isdigit() and int(length) > self._most:
            raise self._too_long()
        if self.headers.get("content-encoding", "identity") != "identity":
            raise BadResult("The provider sent its result compressed, which was not asked for.")
        return io.BufferedReader(_Body(self._chunks()), 1 << 16)

    def _chunks(self) -> Iterator[bytes]:
        size = 0
        try:
            for chunk in self._response.iter_bytes(1 << 16):
                size += len(chunk)
                if size > self._most:
                    raise self._too_long()
                yield chunk
        except (httpx.HTTPError, OSError) as error:
            raise self._broken(type(error).__name__) from None

    def _too_long(self) -> ProviderError:
        return BadResult(f"The provider's answer is longer than the {self._most} bytes that are taken.")

    def _broken(self, kind: str) -> ProviderError:
        if self._paid:
            return OutcomeUnknown(f"The provider's answer broke off ({kind}); the call has probably been charged.")
        return Transient(f"The provider's answer broke off ({kind}).")


class _Body(io.RawIOBase):
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._ready:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._ready = memoryview(chunk)
        with memoryview(buffer).cast("B") as target:
            count = min(len(target), len(self._ready))
            target[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count


def seal(
    stream: io.RawIOBase | io.BufferedReader, sink: Callable[[Any, str], str], *, media: str = ""
) -> tuple[str, str]:
    """
    Pass a result on into *sink* and return what the sink says and the media type that the first bytes show.

    Args:
        stream: The result; read once, from where it stands.
        sink: Takes a stream and a media type.
        media: What the type must start with, for example ``image/``; empty for any picture or film.

    Raises:
        BadResult: It is no picture and no film.
    """
    reader = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream, 1 << 16)
    media_type = media_type_of(reader.peek(SNIFFED_BYTES))
    if media_type is None or not media_type.startswith(media):
        raise BadResult("The provider said success and sent something that is no picture and no film.")
    return sink(reader, media_type), media_type
