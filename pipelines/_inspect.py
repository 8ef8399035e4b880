"""What a file is and what it claims, checked before a pixel is decoded. Runs in the child."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pyvips
from PIL import Image

from pipelines import _jpeg
from pipelines._outcomes import RefusalCode
from pipelines._refusal import Refusal
from pipelines._wire import Bounds
from pipelines.steps import decode

_HEAD_BYTES = 512
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
    (b"BM", "bmp"),
    (b"8BPS", "Photoshop"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\x00\x00\x01\x00", "icon"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"PK\x03\x04", "ZIP"),
)
_ISO_BRANDS = {b"avif": "avif", b"avis": "avif", b"crx ": "camera raw"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_DECODED = frozenset({"jpeg", "png", "gif", "tiff", "webp", *decode.BY_PILLOW})
# Bits of one sample by libvips' band format.
_BITS = {"uchar": 8, "char": 8, "ushort": 16, "short": 16, "uint": 32, "int": 32, "float": 32, "double": 64}
_MAX_BANDS = 5


@dataclass(frozen=True, slots=True)
class Facts:
    """What the header says: the child's side of `PhotoFacts`, plus what only the child needs."""

    format: str
    width: int
    height: int
    frames: int
    bands: int
    bits: int
    has_alpha: bool
    has_profile: bool
    orientation: int
    scans: int
    cmyk: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the facts as the report of `probe` carries them."""
        facts = asdict(self)
        del facts["cmyk"]
        return facts


def name_format(data: decode.Data) -> str | None:
    """
    Tell the format from the first bytes, never from a name.

    Returns a lower-case name for a format that is read, a capitalised one for a format that is known and is not
    read, and None for anything else.
    """
    head = bytes(data[:_HEAD_BYTES])
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        brands = {head[i : i + 4] for i in (8, *range(16, min(len(head), int.from_bytes(head[:4], "big")), 4))}
        for brand, name in _ISO_BRANDS.items():
            if brand in brands:
                return name
        if brands & _HEIF_BRANDS:
            return "heic" if decode.heic_is_read() else "HEIC"
        return "video"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<svg", b"<?xml", b"<!doctype svg")):
        return "SVG"
    return None


def inspect(data: decode.Data, bounds: Bounds) -> Facts:
    """
    Read the header and hold it to the bounds.

    Raises:
        Refusal: Not an image, a format that is not read, a broken header, or over a bound.
    """
    kind = name_format(data)
    if kind is None:
        raise Refusal(RefusalCode.NOT_AN_IMAGE)
    if kind not in _DECODED:
        raise Refusal(RefusalCode.FORMAT_NOT_SUPPORTED, what=kind)

    scans = 1
    if kind == "jpeg":
        # Before anything else reads it: header readers decode nothing, but later steps may.
        scans = _jpeg.count_scans(data, bounds.scans)
        if scans > bounds.scans:
            raise Refusal(RefusalCode.TOO_MANY_SCANS, limit=bounds.scans)

    facts = _pillow_facts(data, kind, bounds) if kind in decode.BY_PILLOW else _vips_facts(data, kind, scans, bounds)
    if min(facts.width, facts.height) < 1:
        raise decode.broken(data, kind)
    _check_size(facts.width, facts.height, bounds)
    if facts.frames > bounds.frames:
        raise Refusal(RefusalCode.TOO_MANY_FRAMES, actual=facts.frames, limit=bounds.frames)
    if facts.bands > _MAX_BANDS:
        raise Refusal(RefusalCode.FORMAT_NOT_SUPPORTED, what="multi-channel")
    return facts


def _vips_facts(data: decode.Data, kind: str, scans: int, bounds: Bounds) -> Facts:
    try:
        image = decode.open_sequential(data, kind)
    except pyvips.Error as error:
        # VIPS_MAX_COORD makes the loader itself refuse a side that is too long, before we see the header.
        _check_size(*_declared_size(data, kind), bounds)
        raise decode.broken(data, kind, str(error)) from error
    if image.format not in ("uchar", "ushort"):
        # What the numbers of a TIFF mean, as light, is anybody's guess then.
        raise Refusal(RefusalCode.FORMAT_NOT_SUPPORTED, what="unusual TIFF")
    if kind == "gif":
        # libvips takes a screen that is too large for a mistake and shows something smaller.
        _check_size(*_declared_size(data, kind), bounds)
    profile = image.get("icc-profile-data") if image.get_typeof("icc-profile-data") else b""
    if len(profile) > bounds.profile_bytes:
        raise Refusal(RefusalCode.PROFILE_TOO_LARGE, actual=len(profile), limit=bounds.profile_bytes)
    if image.interpretation == "multiband":
        # A TIFF whose bands are no colours that libvips knows: shown as RGB it would be a wrong picture.
        raise Refusal(RefusalCode.FORMAT_NOT_SUPPORTED, what="multi-channel")
    return Facts(
        format=kind,
        width=image.width,
        height=image.get_page_height() if kind == "gif" else image.height,
        frames=max(1, int(image.get("n-pages"))) if image.get_typeof("n-pages") else 1,
        bands=image.bands,
        bits=_BITS.get(image.format, 8),
        has_alpha=bool(image.hasalpha()),
        has_profile=bool(profile),
        orientation=_vips_orientation(image, data, kind),
        scans=scans,
        cmyk=image.interpretation == "cmyk",
    )


def _pillow_facts(data: decode.Data, kind: str, bounds: Bounds) -> Facts:
    with decode.decoding(data, kind):
        image = decode.open_by_pillow(data, kind)
    profile = image.info.get("icc_profile") or b""
    if len(profile) > bounds.profile_bytes:
        raise Refusal(RefusalCode.PROFILE_TOO_LARGE, actual=len(profile), limit=bounds.profile_bytes)
    return Facts(
        format=kind,
        width=image.width,
        height=image.height,
        frames=int(getattr(image, "n_frames", 1)),
        bands=len(image.getbands()),
        bits=8,
        has_alpha=image.has_transparency_data,
        has_profile=bool(profile),
        orientation=_exif_orientation(image.getexif),
        scans=1,
    )


def _vips_orientation(image: pyvips.Image, data: decode.Data, kind: str) -> int:
    if image.get_typeof("orientation"):
        return _orientation(image.get("orientation"))
    return _exif_orientation(lambda: _late_exif(data)) if kind == "png" else 1


def _exif_orientation(read: Callable[[], Image.Exif]) -> int:
    """Return the orientation of an EXIF that Pillow reads, 1 where it is damaged: the picture is there all the same."""
    try:
        return _orientation(read().get(0x0112, 1))
    except PermissionError:
        # The sandbox said no to our own code, such as a late import; the file has nothing to do with that.
        raise
    except Exception:  # noqa: BLE001  Pillow's reader of EXIF raises whatever it stumbles over.
        return 1


def _check_size(width: int, height: int, bounds: Bounds) -> None:
    if width * height > bounds.pixels:
        raise Refusal(RefusalCode.TOO_MANY_PIXELS, actual=width * height, limit=bounds.pixels)
    if max(width, height) > bounds.side:
        raise Refusal(RefusalCode.SIDE_TOO_LONG, actual=max(width, height), limit=bounds.side)


def _orientation(value: object) -> int:
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _late_exif(data: decode.Data) -> Image.Exif:
    """
    Read the EXIF that stands behind a PNG's pixels, where libvips does not look; empty if there is none.

    The format allows it there (PNG, third edition, 11.3.4.7), and exiftool writes it so.
    """
    exif = Image.Exif()
    position = 8
    while position + 12 <= len(data):
        size, name = int.from_bytes(data[position : position + 4], "big"), bytes(data[position + 4 : position + 8])
        if name == b"eXIf":
            exif.load(bytes(data[position + 8 : position + 8 + size]))
            break
        position += 12 + size
    return exif


def _declared_size(data: decode.Data, kind: str) -> tuple[int, int]:
    """Return the size a header declares where it stands in a fixed place, else zeros."""
    head = bytes(data[:_HEAD_BYTES])
    if kind == "png" and head[12:16] == b"IHDR":
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if kind == "gif":
        return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    if kind == "jpeg":
        return _jpeg.declared_size(data)
    return 0, 0
