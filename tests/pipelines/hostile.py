"""
Hostile files made from nothing: bombs, lies and nonsense of every format, each with what it is about.

Each is small to send and dear to read, or claims what it does not hold. `good` says which of them still hold a picture
that may be shown; all others must be refused, and everything must be answered within the limits.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image

from tests import photos
from tests.pipelines.pngsuite import SIGNATURE, chunk


class Hostile(NamedTuple):
    """One file, made when it is wanted; `good` if its picture is harmless and may be shown."""

    make: Callable[[], bytes]
    good: bool = False


def _ifd(entries: list[tuple[int, int, int, int]], after: int = 0) -> bytes:
    return (
        struct.pack("<H", len(entries))
        + b"".join(struct.pack("<HHII", *entry) for entry in entries)
        + struct.pack("<I", after)
    )


def tiff(width: int, height: int, *, tiled: bool = False, endless: bool = False, strips: int = 1) -> bytes:
    """Return a TIFF whose header is all there is: one bit a pixel, in tiles, strips, or directories in a circle."""
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 1), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
    if tiled:
        entries += [(322, 4, 1, 16_384), (323, 4, 1, 16_384), (324, 4, 1, 8), (325, 4, 1, 8)]
    else:
        entries += [(273, 4, strips, 8), (278, 4, 1, 1), (279, 4, strips, 8)]
    return b"II*\x00" + struct.pack("<I", 8) + _ifd(entries, 8 if endless else 0)


def tiff_of_channels(count: int, photometric: int) -> bytes:
    """Return a good TIFF of 8 × 8 pixels and so many channels, which `photometric` says the meaning of."""
    pixels = bytes(range(64)) * count
    entries = [
        (256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, photometric), (273, 4, 1, 8),
        (277, 3, 1, count), (278, 4, 1, 8), (279, 4, 1, len(pixels)),
    ]  # fmt: skip
    return b"II*\x00" + struct.pack("<I", 8 + len(pixels)) + pixels + _ifd(entries)


def png_with(*chunks: tuple[bytes, bytes], times: int = 1) -> bytes:
    """Return a good little PNG with other chunks before its picture, again and again."""
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    extra = b"".join(chunk(name, data) for name, data in chunks) * times
    pixels = zlib.compress(bytes(1 + 3 * 8) * 8)
    return SIGNATURE + chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def huge_webp(side: int = 16_383) -> bytes:
    """Return a WebP of one colour: 268 megapixels in a few kilobytes, its declared size alone made larger."""
    data = bytearray(photos.encode(Image.new("RGB", (64, 64), (9, 9, 9)), "WEBP"))
    at = data.index(b"\x9d\x01\x2a") + 3
    data[at : at + 4] = struct.pack("<HH", side, side)
    return bytes(data)


def huge_gif(side: int = 65_535) -> bytes:
    """Return a GIF whose screen has 4,295 megapixels, and one frame of a pixel on it."""
    return (
        b"GIF89a" + struct.pack("<HH", side, side) + b"\x80\x00\x00" + bytes(6)
        + b"\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\x00\x02\x02\x44\x01\x00\x3b"
    )  # fmt: skip


def svg(size: str = "100", body: str = "", head: str = "") -> bytes:
    return f'<?xml version="1.0"?>{head}<svg xmlns="http://www.w3.org/2000/svg" width="{size}">{body}</svg>'.encode()


def _lol() -> bytes:
    entities = '<!ENTITY a "lol">' + "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9))
    return svg(head=f"<!DOCTYPE svg [{entities}]>", body="<text>&j;</text>")


def iso(brand: bytes, *boxes: bytes) -> bytes:
    """Return an ISO file (AVIF, HEIC) of a brand and whatever boxes."""
    head = brand + bytes(4) + brand + b"mif1miaf"
    return struct.pack(">I", 8 + len(head)) + b"ftyp" + head + b"".join(boxes)


def box(name: bytes, data: bytes, claimed: int | None = None) -> bytes:
    return struct.pack(">I", 8 + len(data) if claimed is None else claimed) + name + data


def timeless_avif() -> bytes:
    """Return a sequence whose clock has no ticks in a second, by which Pillow divides."""
    frames = [photos.picture(32, 24, seed=seed) for seed in range(2)]
    data = bytearray(photos.encode(frames[0], "AVIF", save_all=True, append_images=frames[1:]))
    at = data.index(b"mdhd") + 24
    data[at : at + 4] = bytes(4)
    return bytes(data)


def nested(depth: int = 4000) -> bytes:
    """Return boxes within boxes within boxes."""
    inner = b""
    for _ in range(depth):
        inner = box(b"iprp", inner)
    return inner


def _bmp(width: int, height: int, depth: int = 8, offset: int = 54, colours: int = 0, compression: int = 0) -> bytes:
    body = struct.pack("<IiiHHIIiiII", 40, width, height, 1, depth, compression, 0, 1, 1, colours, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, offset) + body


FILES: dict[str, Hostile] = {
    "PNG of 900 megapixels in 100 KB": Hostile(photos.huge_png),
    "PNG of 144 megapixels": Hostile(lambda: photos.huge_png(12_000)),
    "PNG text that expands to 200 MB": Hostile(photos.text_bomb_png, good=True),
    "PNG profile that expands to 200 MB": Hostile(
        lambda: png_with((b"iCCP", b"p\x00\x00" + zlib.compress(bytes(200 << 20), 9))), good=True
    ),
    "PNG of 100,000 text chunks": Hostile(lambda: png_with((b"tEXt", b"a\x00b"), times=100_000), good=True),
    "PNG of 100,000 unknown chunks": Hostile(lambda: png_with((b"quUx", b"?"), times=100_000), good=True),
    "PNG chunk of 2 GB that is not there": Hostile(
        lambda: SIGNATURE + struct.pack(">I", 0x7FFF_FFFF) + b"IHDR" + bytes(13)
    ),
    "APNG that claims 4 billion frames": Hostile(
        lambda: png_with((b"acTL", struct.pack(">II", 0xFFFF_FFFF, 0))), good=True
    ),
    "JPEG of 4,225 megapixels": Hostile(photos.lying_jpeg),
    "JPEG of 510 scans": Hostile(photos.many_scans_jpeg),
    "JPEG of a million markers": Hostile(lambda: b"\xff\xd8" + b"\xff\xfe\x00\x02" * 1_000_000),
    "JPEG of filling bytes": Hostile(lambda: b"\xff\xd8" + b"\xff" * 2_000_000),
    "JPEG with a profile of 6 MB": Hostile(photos.oversized_profile_jpeg),
    "JPEG followed by a ZIP": Hostile(lambda: photos.jpeg(64, 48) + b"PK\x03\x04" + bytes(4000), good=True),
    "WebP of 268 megapixels": Hostile(huge_webp),
    "WebP that claims 4 GB": Hostile(lambda: b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff"),
    "GIF of 4,295 megapixels": Hostile(huge_gif),
    "GIF of 600 frames": Hostile(lambda: photos.animated_gif(600, 8), good=True),
    "GIF of 1,001 frames": Hostile(lambda: photos.animated_gif(1001, 4)),
    "GIF of nothing but extensions": Hostile(
        lambda: b"GIF89a\x01\x00\x01\x00\x00\x00\x00" + b"!\xfe\x01a\x00" * 200_000 + b";"
    ),
    "TIFF of 1,600 megapixels in tiles": Hostile(lambda: tiff(40_000, 40_000, tiled=True)),
    "TIFF of one tile larger than the picture": Hostile(lambda: tiff(100, 100, tiled=True)),
    "TIFF whose directories go in a circle": Hostile(lambda: tiff(10, 10, endless=True)),
    "TIFF of 4 billion strips": Hostile(lambda: tiff(10, 10, strips=0xFFFF_FFFF)),
    "TIFF of 4 billion by 4 billion": Hostile(lambda: tiff(0xFFFF_FFFF, 0xFFFF_FFFF)),
    # libvips calls it multiband, and would have had it sharpened as if it were RGB.
    "TIFF whose four channels are no colours": Hostile(lambda: tiff_of_channels(4, 255)),
    "TIFF whose five channels are no colours": Hostile(lambda: tiff_of_channels(5, 4)),
    "BMP of 4,225 megapixels": Hostile(photos.lying_bmp),
    "BMP of minus a pixel": Hostile(lambda: _bmp(-1, -1)),
    "BMP of no pixels": Hostile(lambda: _bmp(0, 0)),
    "BMP whose pixels lie beyond its end": Hostile(lambda: _bmp(20, 20, offset=0xFFFF_FFF0)),
    "BMP of 4 billion colours": Hostile(lambda: _bmp(20, 20, colours=0xFFFF_FFFF)),
    "BMP of run lengths without an end": Hostile(
        lambda: _bmp(2000, 2000, compression=1) + b"\x00\x02\x00\x00" * 90_000
    ),
    "AVIF of nothing": Hostile(lambda: iso(b"avif")),
    "AVIF of boxes in boxes": Hostile(lambda: iso(b"avif", box(b"meta", bytes(4) + nested()))),
    "AVIF of a box of 4 GB": Hostile(lambda: iso(b"avif", box(b"meta", bytes(40), claimed=0xFFFF_FFFF))),
    "AVIF sequence of no time at all": Hostile(timeless_avif),
    "HEIC of nothing": Hostile(lambda: iso(b"heic")),
    "HEIC whose EXIF is none": Hostile(
        lambda: photos.encode(photos.picture(32, 24), "HEIF", exif=b"Exif\x00\x00no TIFF at all"), good=True
    ),
    "HEIC of boxes in boxes": Hostile(lambda: iso(b"heic", box(b"meta", bytes(4) + nested()))),
    "HEIC of 100,000 empty boxes": Hostile(lambda: iso(b"heic", box(b"free", b"") * 100_000)),
    "SVG of a billion laughs": Hostile(_lol),
    "SVG of 100,000 pixels": Hostile(lambda: svg("100000")),
    "SVG that reads a file": Hostile(lambda: photos.SVG),
    "SVG that fetches a picture": Hostile(lambda: svg(body='<image href="http://127.0.0.1/x"/>')),
    "PDF": Hostile(lambda: b"%PDF-1.7\n" + bytes(4000)),
    "PostScript": Hostile(lambda: b"%!PS-Adobe-3.0\n(/etc/passwd) (r) file\n"),
    "MVG that reads a file": Hostile(lambda: b"push graphic-context\nimage over 0,0 0,0 '/etc/passwd'\n"),
    "matrix and CSV that libvips would take": Hostile(lambda: b"3 3\n1 2 3\n4 5 6\n7 8 9\n"),
    "VIPS's own format": Hostile(lambda: b"\xb6\xa6\xf2\x08" + bytes(4000)),
    "JPEG XL": Hostile(lambda: b"\xff\x0a" + bytes(4000)),
    "empty file": Hostile(lambda: b""),
    "one byte": Hostile(lambda: b"\xff"),
    "zeros": Hostile(lambda: bytes(1 << 20)),
}
