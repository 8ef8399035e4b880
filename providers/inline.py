"""
Films that come as base64 inside JSON: sealed while they arrive, so that only the rest of the document is held.

A string of `LONG` characters or more that can be base64 is no text. If it begins like what is wanted, it goes through
the sink, and its place in the document holds a `SealedResult`. Whatever else it is (a picture that we had sent, a
signature) is dropped, and its place holds an empty `Blob`. Shorter strings, and longer ones that are text, stay.

A reference is given only for a body that was read to its end: what the sink took before is whoever owns the sink's.
"""

from __future__ import annotations

import binascii
import io
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from providers.errors import BadResult
from providers.exchange import SealedResult
from providers.media import MOST_RESULTS, SNIFFED_BYTES, Blob, Document, media_type_of

LONG: Final = 1024
MOST_REST_BYTES: Final = 4 << 20
"""How much of a document may remain, and be held, when its films are taken out."""

_QUOTE: Final = re.compile(rb'"')
_STOP: Final = re.compile(rb'["\\]')
_ANY: Final = re.compile(rb"(?s:.)")
_BASE64: Final = re.compile(rb"(?:data:[a-zA-Z0-9.+/-]{1,80};base64,)?([A-Za-z0-9+/_-]+={0,2})")
# Of all that may be escaped, base64 holds only the slash, and whatever a server writes as a number without need.
_ESCAPE: Final = re.compile(rb"\\(?:/|u00([2-7][0-9a-fA-F]))")
_CUT_ESCAPE: Final = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")


def read(chunks: Iterator[bytes], sink: Callable[[Any, str], str], media: str) -> Document:
    """
    Read a JSON body; one that is none gives a document whose value is None.

    Args:
        chunks: The body.
        sink: Takes a stream and a media type.
        media: What the type of a result must start with, for example ``video/``.

    Raises:
        BadResult: The body ends within a result, the base64 of one is broken, too much of the body is no result, or it
            holds too many.
    """
    body, rest, places, sealed = _Body(chunks), bytearray(), list[SealedResult | Blob](), 0
    while True:
        before, quote = body.upto(_QUOTE)
        rest += before
        if quote:
            # The beginning of a string is held until it is known what it is.
            head = bytearray()
            closed = body.copy(head)
            while not closed and len(head) < LONG:
                closed = body.copy(head)
            text, cut = _unescaped(bytes(head))
            found = _BASE64.fullmatch(text) if len(text) >= LONG or not closed else None
            if found is None:
                rest += b'"' + head
                while not closed:
                    closed = body.copy(_bounded(rest))
                rest += b"" if body.ended else b'"'
            else:
                rest += b'{"\\u0000blob":%d}' % len(places)
                data = _Data(body, found[1], cut, closed)
                places.append(_placed(data, sink if sealed < MOST_RESULTS else _full, media))
                sealed += isinstance(places[-1], SealedResult)
        elif body.ended:
            break
        _bounded(rest)
    return Document.assembled(rest, places)


def _placed(data: _Data, sink: Callable[[Any, str], str], media: str) -> SealedResult | Blob:
    media_type = data.media_type()
    if media_type is None or not media_type.startswith(media):
        data.drop()
        return Blob(memoryview(b""))
    ref = sink(io.BufferedReader(data, 1 << 16), media_type)
    # Whatever the sink left: the string must end, and as base64 does.
    while data.read(1 << 16):
        pass
    return SealedResult(ref, media_type)


def _full(_stream: Any, _media_type: str) -> str:
    raise BadResult(f"The provider's answer holds more than {MOST_RESULTS} results.")


def _bounded(rest: bytearray) -> bytearray:
    if len(rest) > MOST_REST_BYTES:
        raise BadResult(f"The provider's answer is longer than {MOST_REST_BYTES} bytes without its results.")
    return rest


def _unescaped(text: bytes) -> tuple[bytes, bytes]:
    """Give the text as it was meant, and the escape at its end of which a part has not come yet."""
    if b"\\" not in text:
        return text, b""
    cut = _CUT_ESCAPE.search(text)
    end = cut.start() if cut else len(text)
    return _ESCAPE.sub(lambda escape: bytes.fromhex(escape[1].decode()) if escape[1] else b"/", text[:end]), text[end:]


class _Body:
    """A body of which only the piece at hand is held."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._piece = b""
        self._at = 0
        self.ended = False

    def upto(self, stop: re.Pattern[bytes]) -> tuple[bytes, bytes]:
        """Give what lies before the next byte that *stop* finds, and that byte, if it is in the piece at hand."""
        while self._at == len(self._piece) and not self.ended:
            piece = next(self._chunks, None)
            self.ended = piece is None
            self._piece, self._at = piece or b"", 0
        found = stop.search(self._piece, self._at)
        start, end = self._at, len(self._piece) if found is None else found.start()
        self._at = end if found is None else found.end()
        return self._piece[start:end], self._piece[end : self._at]

    def copy(self, text: bytearray) -> bool:
        """Copy what is at hand of a string, as it is written, and say whether that was its end."""
        before, stop = self.upto(_STOP)
        text += before
        if stop == b"\\":
            # The next byte is no end, whatever it is.
            text += stop + self.upto(_ANY)[1]
        return stop == b'"' or self.ended


class _Data(io.RawIOBase):
    """The decoded bytes of a string of which the beginning was read."""

    def __init__(self, body: _Body, text: bytes, cut: bytes, closed: bool) -> None:
        self._body = body
        self._text = text
        self._cut = cut
        self._closed = closed
        self._padded = self._url_safe = False
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def media_type(self) -> str | None:
        """Say what the string begins like; None if it is nothing that could be wanted."""
        text = self._text[: 4 * SNIFFED_BYTES].translate(_URL_SAFE)
        try:
            start = binascii.a2b_base64(text[: len(text) // 4 * 4], strict_mode=True)
        except ValueError:
            return None
        return media_type_of(start)

    def drop(self) -> None:
        """Pass over the string."""
        while not self._closed:
            self._piece()

    def readinto(self, buffer: Any, /) -> int:
        while not self._ready and (self._text or self._cut or not self._closed):
            self._decode()
        with memoryview(buffer).cast("B") as target:
            count = min(len(target), len(self._ready))
            target[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _piece(self) -> bytes:
        piece, quote = self._body.upto(_QUOTE)
        self._closed = bool(quote)
        if self._body.ended:
            raise BadResult("The provider's answer ends within a result.")
        return piece

    def _decode(self) -> None:
        text = self._text
        if len(text) < 4 and not self._closed:
            plain, self._cut = _unescaped(self._cut + self._piece())
            text += plain
        if b"-" in text or b"_" in text:
            self._url_safe, text = True, text.translate(_URL_SAFE)
        if self._closed and self._url_safe:
            # This kind may come without padding.
            text += b"=" * (-len(text) % 4)
        end = len(text) if self._closed else len(text) // 4 * 4
        try:
            # Only the end may be padded, and an escape that did not end is none.
            if (self._padded and text) or (self._closed and self._cut):
                raise ValueError
            self._ready = memoryview(binascii.a2b_base64(text[:end], strict_mode=True))
        except ValueError:
            raise BadResult("The provider's answer holds a result whose base64 is broken.") from None
        self._padded = self._padded or text[:end].endswith(b"=")
        self._text = text[end:]
