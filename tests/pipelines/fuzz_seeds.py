"""
The files that the fuzzer begins with, and what is done to them.

Good files of every format that is read, small hostile ones; and wounds: cut, flipped, spliced and repeated.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence

from PIL import Image

from tests import photos
from tests.pipelines.hostile import FILES

KINDS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "BMP", "HEIF")

_SMALL_BYTES = 4 << 10
_XMP = b'<x:xmpmeta><dc:rights><rdf:Alt><rdf:li xml:lang="x">me</rdf:li></rdf:Alt></dc:rights></x:xmpmeta>'
_PNG = b"\x89PNG\r\n\x1a\n"


def seeds(kinds: tuple[str, ...] = KINDS) -> list[bytes]:
    """Return small good files of every format that is read, and of every feature that has code of its own."""
    picture = photos.picture(90, 70, seed=1)
    return [
        *(photos.encode(picture, kind) for kind in kinds),
        photos.encode(picture.convert("RGBA"), "PNG"),
        photos.encode(picture.convert("P"), "PNG", transparency=3),
        photos.encode(picture, "TIFF", compression="tiff_lzw"),
        photos.jpeg(90, 70, progressive=True),
        photos.cmyk_jpeg(60, 40),
        photos.png_16_bit(60, 40),
        photos.animated_gif(3, 24),
        photos.oriented_jpeg(6, 40),
        photos.marked_jpeg(b"marker", 60, 40),
        photos.profiled((10, 200, 30)),
        photos.SVG,
    ]


def more_seeds() -> list[bytes]:
    """Return what libFuzzer starts from beside `seeds`: cut-outs, and whatever is small of the hostile set."""
    cut_out = photos.compass(24).convert("RGBA")
    cut_out.putalpha(photos.picture(*cut_out.size, seed=2).convert("L"))
    frames = [photos.picture(20, 16, seed=seed) for seed in range(3)]
    moving = [
        photos.encode(frames[0], kind, save_all=True, append_images=frames[1:]) for kind in ("WEBP", "AVIF", "TIFF")
    ]
    exif = Image.Exif()
    exif[0x0112], exif[0x8298] = 6, "© Somebody"
    told = {"exif": exif.tobytes(), "icc_profile": photos.swapped_profile(), "xmp": _XMP}
    # Those that take long to make are not small either.
    quick = (hostile.make() for name, hostile in FILES.items() if "00" not in name and "MB" not in name)
    return [
        *(photos.encode(cut_out, kind) for kind in ("PNG", "WEBP", "AVIF", "TIFF")),
        *moving,
        *(photos.encode(frames[0], kind, **told) for kind in ("JPEG", "PNG", "WEBP", "AVIF", "HEIF")),
        photos.encode(frames[0], "TIFF", icc_profile=told["icc_profile"], compression="jpeg"),
        photos.product_photo("mug", width=64, height=48, seed=1).encoded,
        *(file for file in quick if 0 < len(file) <= _SMALL_BYTES),
    ]


def damaged(source: random.Random, files: Sequence[bytes]) -> bytes:
    """Return one of the files after a few wounds."""
    return wounded(source, source.choice(files), files)


def wounded(source: random.Random, file: bytes, files: Sequence[bytes]) -> bytes:
    """Return a file cut, flipped, repeated and mixed with pieces of others."""
    data = bytearray(file)
    for _ in range(source.randint(1, 6)):
        at = source.randrange(len(data)) if data else 0
        match source.randrange(6):
            case 0:
                del data[at:]
            case 1:
                for place in range(at, min(len(data), at + source.randint(1, 8))):
                    data[place] = source.randrange(256)
            case 2:
                other = source.choice(files)
                start = source.randrange(len(other))
                data[at:at] = other[start : start + source.randint(1, 200)]
            case 3:
                data[at:at] = data[at : at + source.randint(1, 100)] * source.randint(1, 30)
            case 4:
                data[at : at + 4] = source.choice(
                    [b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"\x00\x01"]
                )
            case _:
                del data[at : at + source.randint(1, 60)]
    return bytes(data)


def mended(file: bytes) -> bytes:
    """Return the file with the sums that hide what comes after them put right: PNG's checksums, RIFF's size."""
    if file[:4] == b"RIFF" and len(file) >= 12:
        return file[:4] + (len(file) - 8).to_bytes(4, "little") + file[8:]
    if file[:8] != _PNG:
        return file
    data, at = bytearray(file), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(data)
