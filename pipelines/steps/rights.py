"""Rights: whose picture the upload says it is. Read only for a recipe that keeps it; all else is left behind."""

from __future__ import annotations

import html
import io
import re
from typing import Any, NamedTuple

from PIL import Image, IptcImagePlugin

from pipelines.steps.decode import BY_PILLOW, Data

# EXIF tags and IPTC datasets: copyright notice, and who made the picture.
_EXIF_COPYRIGHT, _EXIF_ARTIST = 0x8298, 0x013B
_IPTC_COPYRIGHT, _IPTC_BYLINE = (2, 116), (2, 80)
_XMP_RIGHTS = re.compile(r"<dc:rights>.*?<rdf:li[^>]*>([^<]*)</rdf:li>", re.DOTALL)
_XMP_CREATOR = re.compile(r"<dc:creator>.*?<rdf:li[^>]*>([^<]*)</rdf:li>", re.DOTALL)
_MOST_XMP = 64 << 10
_MOST_CHARACTERS = 300


class Rights(NamedTuple):
    """The copyright notice and the creator, each empty where the upload names none."""

    notice: str
    creator: str


def rights_of(data: Data, kind: str) -> Rights:
    """
    Return what the upload's EXIF, IPTC or XMP says, in this order; nothing where its metadata is damaged.

    Each is cut to 300 printable characters: a name is wanted, not a place to carry something out in.
    """
    try:
        photo = Image.open(io.BytesIO(bytes(data)), formats=[BY_PILLOW.get(kind, kind.upper())])
        exif = photo.getexif()
        iptc: dict[tuple[int, int], Any] = IptcImagePlugin.getiptcinfo(photo) or {}
        xmp = _text(photo.info.get("xmp", b"")[:_MOST_XMP])
    except PermissionError:
        # The sandbox said no to our own code; the file has nothing to do with that.
        raise
    except Exception:  # noqa: BLE001  Whatever is wrong with its metadata, the picture has been read.
        return Rights("", "")
    return Rights(
        _first(exif.get(_EXIF_COPYRIGHT), iptc.get(_IPTC_COPYRIGHT), _found(_XMP_RIGHTS, xmp)),
        _first(exif.get(_EXIF_ARTIST), iptc.get(_IPTC_BYLINE), _found(_XMP_CREATOR, xmp)),
    )


def _first(*found: object) -> str:
    for one in found:
        value = one[0] if isinstance(one, list) and one else one
        if isinstance(value, str):
            # Pillow reads EXIF's text as Latin-1; nearly everyone writes UTF-8 there.
            value = value.encode("latin-1", "ignore")
        if isinstance(value, bytes):
            text = "".join(letter for letter in _text(value) if letter.isprintable()).strip()
            if text:
                return text[:_MOST_CHARACTERS]
    return ""


def _found(pattern: re.Pattern[str], xmp: str) -> bytes | None:
    match = pattern.search(xmp)
    return None if match is None else html.unescape(match[1]).encode()


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
