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

_SOI, _EOI, _SOS, _COM, _TEM = 0xD8, 0xD9, 0xDA, 0xFE, 0x01
_SOF0, _SOF1 = 0xC0, 0xC1
_APP0, _APP14, _APP15 = 0xE0, 0xEE, 0xEF
_RESTARTS = range(0xD0, 0xD8)
# Not a marker: compressed data, which the standard calls an entropy-coded segment.
_CODED = 0x00
# Real files have some dozens; a large profile or a multi-picture file some hundreds.
_MOST_SEGMENTS = 20_000
_ADOBE_SEGMENT_BYTES = 14
# Of a frame header, up to the number of its components.
_FRAME_BYTES = 10
_XMP_NAME = b"http://ns.adobe.com/xap/1.0/\x00"

_MARKER = re.compile(rb"\xff[\x01-\xfe]")
# In compressed data FF 00 is a byte, FF D0…D7 are restarts, FF FF is filling: everything else ends it.
_END_OF_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


class Segment(NamedTuple):
    """The bytes from `start` to `end`: one marker with its parameters, or (as marker 0) a scan's compressed data."""

    marker: int
    start: int
    end: int


def segments(data: Data) -> Iterator[Segment]:
    """
    Walk the segments from the start-of-image up to and including the end-of-image; what follows is not looked at.

    Stray bytes between two segments belong to none, as decoders have it. Ends early, without the end-of-image segment,
    where the structure breaks off, and after more segments than any program writes: a million take seconds.
    """
    size = len(data)
    if size < 2 or data[0] != 0xFF or data[1] != _SOI:
        return
    yield Segment(_SOI, 0, 2)
    position = 2
    for _ in range(_MOST_SEGMENTS):
        marked = _MARKER.search(data, position)
        if marked is None:
            return
        position = marked.start()
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
        # Decoders take a length that has not even room for itself for one that has, in a comment or a profile.
        end = position + 2 + max(2, data[position + 2] << 8 | data[position + 3])
        if end > size:
            return
        yield Segment(marker, position, end)
        position = end
        if marker == _SOS:
            found = _END_OF_SCAN.search(data, end)
            position = size if found is None else found.start()
            if position > end:
                yield Segment(_CODED, end, position)


def count_scans(data: Data, limit: int) -> int:
    """
    Return the number of scans, or `limit` + 1 as soon as there are more than `limit`.

    A file of more segments than any program writes counts as such, too. Where the first scan has all there is, decoders
    look for no other, and nor is it done here.
    """
    scans = components = 0
    for number, segment in enumerate(segments(data)):
        if segment.marker in (_SOF0, _SOF1) and segment.end - segment.start >= _FRAME_BYTES:
            components = data[segment.start + 9]
        if segment.marker == _SOS:
            scans += 1
            if scans == 1 and data[segment.start + 4 : segment.start + 5] == bytes((components,)):
                return 1
        if scans > limit or number >= _MOST_SEGMENTS - 1:
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


def tidied(data: Data) -> bytes:
    """
    Return the file without the oddities that libjpeg warns of although the picture is whole.

    These are stray bytes between two segments, an unknown revision of JFIF, an unknown transform in Adobe's segment,
    and what the firmware of some phones writes into the header of a sequential scan.
    """
    frame = _frame(data)
    # What an unknown transform is taken for: colours as luma and chroma, with or without black.
    transform = 2 if frame is not None and data[frame.start + 9] == 4 else 1
    kept: list[bytes] = []
    for segment in segments(data):
        piece = bytearray(data[segment.start : segment.end])
        if segment.marker == _APP0 and piece[4:9] == b"JFIF\x00" and len(piece) > 9:
            piece[9] = 1
        elif (
            segment.marker == _APP14 and piece[4:9] == b"Adobe" and len(piece) > 15 and piece[15] not in (0, transform)
        ):
            piece[15] = transform
        elif segment.marker == _SOS and frame is not None and frame.marker in (_SOF0, _SOF1):
            piece[-3:] = bytes((0, 63, 0))
        kept.append(bytes(piece))
    return b"".join(kept)


def with_xmp(data: bytes, packet: bytes) -> bytes:
    """Return the file with an XMP packet of less than 64 KiB right after its first marker."""
    body = _XMP_NAME + packet
    return data[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + data[2:]


def declared_size(data: Data) -> tuple[int, int]:
    """Return width and height from the frame header, or zeros where there is none."""
    frame = _frame(data)
    if frame is None:
        return 0, 0
    head = bytes(data[frame.start + 5 : frame.start + 9])
    return int.from_bytes(head[2:], "big"), int.from_bytes(head[:2], "big")


def _frame(data: Data) -> Segment | None:
    """Return the segment of the frame header; None if there is none before the first scan, or a piece of one."""
    for segment in segments(data):
        if segment.marker == _SOS:
            break
        if (
            0xC0 <= segment.marker <= 0xCF
            and segment.marker not in (0xC4, 0xC8, 0xCC)
            and segment.end - segment.start >= _FRAME_BYTES
        ):
            return segment
    return None
