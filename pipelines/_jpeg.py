"""
The marker structure of a JPEG file, read without decoding a pixel.

A decoder's work grows with the number of scans, which no size check sees; and a file can be freed of its metadata
without touching its compressed data. Both need only the markers (ITU-T T.81, annex B).
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from typing import NamedTuple

Data = bytes | memoryview | mmap.mmap

_SOI, _EOI, _SOS, _COM, _APP0, _APP14, _APP15, _TEM = 0xD8, 0xD9, 0xDA, 0xFE, 0xE0, 0xEE, 0xEF, 0x01
# Real files have some dozens; a large profile or a multi-picture file some hundreds.
_MOST_SEGMENTS = 20_000
_RESTARTS = range(0xD0, 0xD8)
_ADOBE_SEGMENT_BYTES = 14
_XMP_NAME = b"http://ns.adobe.com/xap/1.0/\x00"

# In compressed data FF 00 is a byte, FF D0…D7 are restarts, FF FF is filling: everything else ends it.
_END_OF_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


class Segment(NamedTuple):
    """One marker with its parameters, and for a scan its compressed data too: the bytes from `start` to `end`."""

    marker: int
    start: int
    end: int


def segments(data: Data) -> Iterator[Segment]:
    """
    Walk the segments from the start-of-image up to and including the end-of-image; what follows is not looked at.

    Ends early, without the end-of-image segment, where the structure breaks off or makes no sense.
    """
    size = len(data)
    if size < 2 or data[0] != 0xFF or data[1] != _SOI:
        return
    yield Segment(_SOI, 0, 2)
    position = 2
    while position + 2 <= size:
        if data[position] != 0xFF:
            return
        if data[position + 1] == 0xFF:
            position += 1
            continue
        marker = data[position + 1]
        if marker in _RESTARTS or marker == _TEM:
            yield Segment(marker, position, position + 2)
            position += 2
            continue
        if marker == _EOI:
            yield Segment(marker, position, position + 2)
            return
        if position + 4 > size:
            return
        end = position + 2 + (data[position + 2] << 8 | data[position + 3])
        if end > size or end < position + 4:
            return
        if marker == _SOS:
            found = _END_OF_SCAN.search(data, end)
            if found is None:
                yield Segment(marker, position, size)
                return
            end = found.start()
        yield Segment(marker, position, end)
        position = end


def count_scans(data: Data, limit: int) -> int:
    """
    Return the number of scans, or `limit` + 1 as soon as there are more than `limit`.

    A file of more segments than any program writes counts as such, too: walking a million empty ones takes seconds.
    """
    scans = 0
    for number, segment in enumerate(segments(data)):
        scans += segment.marker == _SOS
        if scans > limit or number >= _MOST_SEGMENTS:
            return limit + 1
    return scans


def is_complete(data: Data) -> bool:
    """Say whether the structure reaches the end-of-image marker."""
    last = 0
    for segment in segments(data):
        last = segment.marker
    return last == _EOI


def without_metadata(data: Data) -> bytes:
    """
    Return the file with its tables and compressed data bit for bit, and nothing else.

    Comments and application segments go, and whatever follows the end of the image. Adobe's APP14 stays, cut to the
    14 bytes it needs, because it says how the colours are stored.
    """
    kept: list[bytes] = []
    for segment in segments(data):
        if segment.marker == _APP14:
            adobe = bytes(data[segment.start : segment.end])
            if adobe[4:9] == b"Adobe" and len(adobe) >= 2 + _ADOBE_SEGMENT_BYTES:
                kept.append(b"\xff\xee\x00\x0e" + adobe[4 : 2 + _ADOBE_SEGMENT_BYTES])
            continue
        if segment.marker == _COM or _APP0 <= segment.marker <= _APP15:
            continue
        kept.append(bytes(data[segment.start : segment.end]))
    return b"".join(kept)


def with_xmp(data: bytes, packet: bytes) -> bytes:
    """Return the file with an XMP packet of less than 64 KiB right after its first marker."""
    body = _XMP_NAME + packet
    return data[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + data[2:]


def declared_size(data: Data) -> tuple[int, int]:
    """Return width and height from the frame header, or zeros where there is none."""
    for segment in segments(data):
        if (
            0xC0 <= segment.marker <= 0xCF
            and segment.marker not in (0xC4, 0xC8, 0xCC)
            and segment.end - segment.start >= 9
        ):
            head = bytes(data[segment.start + 5 : segment.start + 9])
            return int.from_bytes(head[2:], "big"), int.from_bytes(head[:2], "big")
        if segment.marker == _SOS:
            break
    return 0, 0
