"""What results are made of: the types they may have, and pictures inside JSON that are never held twice."""

from __future__ import annotations

import binascii
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from providers.errors import BadResult

SNIFFED_BYTES: Final = 32
"""How much of a result must be seen to know its type."""
MOST_RESULTS: Final = 16
"""How many results one answer may hold: more than anybody asks for, and each costs an object before it is looked at."""

_SIGNATURES: Final = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "image/avif"),
    (re.compile(rb"....ftyp(isom|iso[2-9]|mp4[12]|avc1|M4V |qt  |dash)", re.DOTALL), "video/mp4"),
    (re.compile(rb"\x1a\x45\xdf\xa3"), "video/webm"),
)

# A string so long, and of these characters only, is no text. Some servers write "/" as "\/" and "=" as "\u003d".
_LONG_STRING: Final = re.compile(rb'"((?:data:[a-zA-Z0-9.+/\\-]{1,80};base64,)?)([A-Za-z0-9+/=\\]{1024,})"')


def media_type_of(start: bytes) -> str | None:
    """Return the media type that the first bytes of a result show, or None for anything but pictures and films."""
    for signature, media_type in _SIGNATURES:
        if signature.match(start):
            return media_type
    return None


@dataclass(frozen=True, slots=True, repr=False)
class Blob:
    """A picture in base64 inside a document: a window on the body it came in."""

    text: memoryview

    def open(self) -> io.RawIOBase:
        """Return a stream of the decoded bytes."""
        return _Decoded(self.text)


@dataclass(frozen=True, slots=True)
class Document:
    """
    A JSON body. Where a string held base64, its place holds a `Blob`, so that no picture is copied by parsing, and
    none can slip into a message.
    """

    value: Any

    @classmethod
    def parse(cls, body: bytes | bytearray) -> Document:
        """
        Read a body; one that is no JSON has the value None.

        *body* must not be changed while the blobs are in use.
        """
        view = memoryview(body)
        rest, end = bytearray(), 0
        blobs: list[Blob] = []
        for found in _LONG_STRING.finditer(body):
            rest += view[end : found.start()]
            rest += b'{"\\u0000blob":%d}' % len(blobs)
            blobs.append(Blob(_unescaped(view[found.start(2) : found.end(2)])))
            end = found.end()
        rest += view[end:]
        return cls.assembled(rest, blobs)

    @classmethod
    def assembled(cls, rest: bytes | bytearray, places: Sequence[Any]) -> Document:
        """Read a body from which strings were taken out, and put into each place, by its number, what stands for it."""
        try:
            return cls(json.loads(rest, object_hook=_placed(places)))
        except (ValueError, RecursionError):
            return cls(None)

    def at(self, *path: str | int) -> Any:
        """Return what is at the end of *path*, or None if the document is not of that shape."""
        value = self.value
        for step in path:
            if isinstance(step, str) and isinstance(value, dict):
                value = value.get(step)
            elif isinstance(step, int) and isinstance(value, list) and 0 <= step < len(value):
                value = value[step]
            else:
                return None
        return value

    def text(self, *path: str | int) -> str:
        """Return the string at the end of *path*, or an empty one."""
        value = self.at(*path)
        return value if isinstance(value, str) else ""


def as_blob(value: Any) -> Blob | None:
    """Take a value of a document for a picture in base64, however small, with or without the prefix of a data URI."""
    if isinstance(value, Blob):
        return value
    if not isinstance(value, str) or not value:
        return None
    if value.startswith("data:"):
        head, _, value = value.partition(",")
        if not head.endswith(";base64"):
            return None
    return Blob(memoryview(value.encode("ascii", "replace")))


def _placed(places: Sequence[Any]) -> Callable[[dict[str, Any]], Any]:
    def placed(found: dict[str, Any]) -> Any:
        number = found.get("\0blob")
        # Somebody else's document could hold the mark, too; what is the number of no place is left alone. The type is
        # compared, because true and false are integers as well.
        return places[number] if len(found) == 1 and type(number) is int and 0 <= number < len(places) else found

    return placed


def _unescaped(text: memoryview) -> memoryview:
    # A search needs no copy; the copies below are made for the few servers that escape more than they must.
    if re.search(rb"\\", text) is None:
        return text
    try:
        return memoryview(json.loads(b'"' + bytes(text) + b'"').encode("ascii", "replace"))
    except ValueError:
        return text


class _Decoded(io.RawIOBase):
    _STEP = 1 << 18

    def __init__(self, text: memoryview) -> None:
        self._text = text
        self._at = 0
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if not self._ready:
            part = self._text[self._at : self._at + self._STEP]
            last = self._at + len(part) == len(self._text)
            try:
                # Only the end may be padded: base64 put together from two pieces is not a picture.
                if not last and b"=" in bytes(part[-2:]):
                    raise ValueError
                self._ready = memoryview(binascii.a2b_base64(part, strict_mode=True))
            except ValueError:
                raise BadResult("The provider's answer holds a picture whose base64 is broken.") from None
            self._at += len(part)
        with memoryview(buffer).cast("B") as target:
            count = min(len(target), len(self._ready))
            target[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count
