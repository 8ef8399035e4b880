"""
Decode: from a file's bytes to an upright 8-bit sRGB picture of three or four bands.

libvips reads JPEG, PNG, WebP, GIF and TIFF; Pillow reads AVIF, at half the time and memory, BMP, and HEIC where the
optional pillow-heif is installed. Every decode fails on the first error: a half-uploaded photo must not become a
half-grey rendition. Where libvips goes on regardless, its error buffer tells.
"""

from __future__ import annotations

import io
import mmap
import re
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyvips
from PIL import AvifImagePlugin, Image, ImageFile, ImageSequence

from pipelines import _jpeg
from pipelines._outcomes import RefusalCode
from pipelines._refusal import Refusal, means_no_memory
from pipelines.steps.colour import to_srgb
from pipelines.steps.orient import upright

Data = bytes | memoryview | mmap.mmap
# Orientation, width, height and how they bind: what `_load_lazily` needs beside the file.
_Way = tuple[int, int | None, int | None, str]

# libvips' own decoder per format: none is ever chosen by what the bytes ask for.
_LOADERS = {
    "jpeg": "jpegload_buffer",
    "png": "pngload_buffer",
    "webp": "webpload_buffer",
    "gif": "gifload_buffer",
    "tiff": "tiffload_buffer",
}

# Pillow's own name of each format it reads; no other of its decoders is in reach.
BY_PILLOW = {"avif": "AVIF", "bmp": "BMP", "heic": "HEIF"}

ANIMATED = frozenset({"gif", "webp", "avif"})
# The longest time, in milliseconds, that WebP can show a frame for.
_LONGEST_DELAY = (1 << 24) - 1

# "As large as it likes", for the side of a box that nobody asked for. No more than the zygote's VIPS_MAX_COORD: libvips
# drops a larger value without an error and fits the picture into a square instead.
ANY_SIDE = 20_000

_STRIP_ROWS = 256

AvifImagePlugin.DEFAULT_MAX_THREADS = 1

# What libvips says of a TIFF that is whole, but of one of the many kinds that it does not read.
_KINDS_NOT_READ = (
    "not configured",
    "not implemented",
    "not supported",
    "not a whole number of bytes",
    "samples out of range",
    "bad labq format",
)
# What decoders say of files whose picture is whole: bytes between two segments (before a restart they would be the
# rest of damaged data), what the firmware of some phones writes into the header of a scan, other unusual headers, and
# metadata of a TIFF that points nowhere.
_HARMLESS = re.compile(
    r"extraneous bytes before marker 0x(?!d[0-7])"
    r"|Invalid SOS parameters for sequential JPEG"
    r"|unknown JFIF revision number"
    r"|Unknown Adobe color transform code"
    r"|source: bad seek to"
)


def broken(data: Data, kind: str, said: str = "") -> Refusal:
    """
    Return the refusal for a file whose decoder gave up: it ends early, or it is damaged.

    What the decoder *said* may tell that it is neither: there was no memory, or a TIFF is of a kind that is not read.
    """
    if means_no_memory(said):
        return Refusal(RefusalCode.TOO_MUCH_MEMORY)
    if kind == "tiff" and any(words in said for words in _KINDS_NOT_READ):
        return Refusal(RefusalCode.FORMAT_NOT_SUPPORTED, what="unusual TIFF")
    size = len(data)
    if kind == "jpeg":
        complete = _jpeg.is_complete(data)
    elif kind == "png":
        complete = b"IEND" in bytes(data[max(0, size - 1024) :])
    elif kind == "webp":
        complete = int.from_bytes(data[4:8], "little") + 8 <= size
    elif kind == "bmp":
        complete = int.from_bytes(data[2:6], "little") <= size
    elif kind == "gif":
        complete = b"\x3b" in bytes(data[max(0, size - 16) :])
    else:
        complete = True
    return Refusal(RefusalCode.DAMAGED if complete else RefusalCode.TRUNCATED)


@contextmanager
def decoding(data: Data, kind: str, *, forgiving: bool = True) -> Iterator[list[str]]:
    """
    Turn a decoder's error into a refusal, and its message into nothing: it may quote the file.

    Pixels must be evaluated by the last operation of the block, or in a block of their own: pyvips empties libvips'
    error buffer whenever it looks up an operation. Yields a list that holds, after the block, what the decoder
    complained of and is harmless; nothing is unless `forgiving`.

    Raises:
        Refusal: The file is truncated or damaged, a TIFF of a kind that is not read, or there was no memory.
    """
    pyvips.vips_lib.vips_error_clear()
    complaints: list[str] = []
    try:
        yield complaints
    except PermissionError:
        # The sandbox said no to our own code, such as a late import; the file has nothing to do with that.
        raise
    except (
        pyvips.Error,
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        RuntimeError,
        ArithmeticError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        raise broken(data, kind, str(error)) from error
    complaints += _complaints(data, kind, forgiving=forgiving)


def _complaints(data: Data, kind: str, *, forgiving: bool) -> list[str]:
    # libvips leaves a tile that it cannot decode black, libjpeg the rest of a scan grey, and both call it a success.
    said: str = pyvips.ffi.string(pyvips.vips_lib.vips_error_buffer()).decode("utf-8", "replace")
    lines = said.splitlines()
    if not all(forgiving and _HARMLESS.search(line) for line in lines):
        raise broken(data, kind, said)
    return lines


def open_sequential(data: Data, kind: str) -> pyvips.Image:
    """
    Read the header; pixels follow top to bottom when they are asked for.

    Raises:
        pyvips.Error: The header is broken.
    """
    return pyvips.Operation.call(_LOADERS[kind], data, access="sequential", fail_on="error")


def heic_is_read() -> bool:
    """Say whether the zygote could import what decodes HEIC; a child could not even look."""
    return "pipelines.steps.heic" in sys.modules


def open_by_pillow(data: Data, kind: str) -> Image.Image:
    """
    Read a header with Pillow, as the one format that the file's first bytes tell.

    Raises:
        OSError: It is not such a file, or its header is broken.
    """
    return Image.open(io.BytesIO(bytes(data)), formats=[BY_PILLOW[kind]])


@contextmanager
def reading(
    data: Data,
    kind: str,
    orientation: int,
    *,
    width: int | None = None,
    height: int | None = None,
    exact: bool = False,
) -> Iterator[pyvips.Image]:
    """
    Lend the picture to be read once, from top to bottom: upright, in sRGB, reduced as `load` does.

    It is decoded while it is read, and never there as a whole. Only when the block ends without an error was it right.

    Raises:
        Refusal: As `decoding`.
        pyvips.Error: Whoever read it failed, or had no memory; the file is not at fault.
    """
    way = orientation, width, height, "force" if exact else "down"
    with decoding(data, kind) as opening:
        image, complaints = _load_lazily(data, kind, *way)
    pyvips.vips_lib.vips_error_clear()
    try:
        yield image
    except pyvips.Error as error:
        # Whoever reads it, such as an encoder, may be at fault as well. Without memory it is neither.
        if not means_no_memory(str(error)):
            _check(data, kind, way, forgiving=True)
        raise
    complaints = opening + complaints + _complaints(data, kind, forgiving=True)
    if complaints and kind == "jpeg":
        # libjpeg says only the first of its complaints. With its cause put right, one that is not harmless comes up.
        _check(_jpeg.tidied(data), kind, way, forgiving=False)


def _check(data: Data, kind: str, way: _Way, *, forgiving: bool) -> None:
    """
    Decode for nothing but the decoder's complaints.

    Raises:
        Refusal: As `decoding`.
    """
    with decoding(data, kind, forgiving=forgiving):
        image, complaints = _load_lazily(data, kind, *way)
        image.avg()
    if complaints and not forgiving:
        raise broken(data, kind)


def load(
    data: Data,
    kind: str,
    orientation: int,
    *,
    width: int | None = None,
    height: int | None = None,
    exact: bool = False,
) -> pyvips.Image:
    """
    Decode into memory, upright and in sRGB, reduced to fit `width` × `height` where these are given; never enlarged.

    With `exact` it becomes just that size, which must be the picture's own shape but for rounding.

    Raises:
        Refusal: As `decoding`.
        pyvips.Error: There was no memory.
    """
    with reading(data, kind, orientation, width=width, height=height, exact=exact) as image:
        # So that several renditions can start from it.
        return image.copy_memory()


def load_frames(data: Data, kind: str, orientation: int, width: int) -> pyvips.Image:
    """
    Decode every frame of an animation, one below the other, each reduced to `width`; never enlarged.

    How long each is shown is kept. How many frames there are is the caller's to bound, before.

    Raises:
        Refusal: The file is truncated or damaged.
    """
    with decoding(data, kind):
        if kind in BY_PILLOW:
            return _pillow_frames(data, kind, orientation, width)
        image = pyvips.Image.thumbnail_buffer(
            data, width, height=ANY_SIDE, size="down", option_string="[n=-1,fail_on=error]"
        )
        return to_srgb(image).copy_memory()


def load_from_pixels(data: Data, width: int, height: int, bands: int) -> pyvips.Image:
    """Return raw sRGB pixels as an image, without copying them."""
    return pyvips.Image.new_from_memory(data, width, height, bands, "uchar").copy(interpretation="srgb")


def _load_lazily(
    data: Data, kind: str, orientation: int, width: int | None, height: int | None, size: str
) -> tuple[pyvips.Image, list[str]]:
    """Return the picture, and the harmless complaints of what had to be decoded for it already."""
    complaints: list[str] = []
    if kind in BY_PILLOW:
        image = upright(_pillow_pixels(data, kind), orientation)
        if width is not None or height is not None:
            image = image.thumbnail_image(width or ANY_SIDE, height=height or ANY_SIDE, size=size, no_rotate=True)
        return to_srgb(image), complaints
    if width is None and height is None:
        image = open_sequential(data, kind)
    else:
        box = (width or ANY_SIDE, height or ANY_SIDE)
        image = _within(data, kind, *(box if orientation < 5 else box[::-1]), size)
    if orientation != 1:
        # Turned afterwards: libvips does not know of every place for an orientation, and needs all of it to turn.
        with decoding(data, kind) as complaints:
            image = image.copy_memory()
    return to_srgb(upright(image, orientation)), complaints


def _within(data: Data, kind: str, width: int, height: int, size: str) -> pyvips.Image:
    """
    Reduce a picture while it is decoded, to fit `width` × `height` or, with `size` "force", to become just that.

    libjpeg halves, quarters or eighths at a fraction of the cost of a resize. libvips' own thumbnail leaves a factor
    of 2 or more to the resize; here it may be anything from 1, as sharp has it by default. Measured on five photos
    that is 0.2 to 0.5 levels of 255 further from a Lanczos reduction, for 25 to 50 % less time.
    """
    photo = open_sequential(data, kind)
    if size != "force":
        reduction = max(photo.width / width, photo.height / height, 1.0)
        # From the photo's own size, which what libjpeg makes of it would not give exactly.
        width, height = (max(1, round(side / reduction)) for side in (photo.width, photo.height))
    if kind == "webp":
        # Its decoder reduces to any size. The operation ignores its own fail_on (libvips issue 5195), not the loader's.
        return pyvips.Image.thumbnail_buffer(
            data, width, height=height, size="force", no_rotate=True, option_string="[fail_on=error]"
        )
    if kind == "jpeg":
        shrink = max(by for by in (1, 2, 4, 8) if by == 1 or by <= min(photo.width / width, photo.height / height))
        if shrink > 1:
            photo = pyvips.Image.jpegload_buffer(data, shrink=shrink, access="sequential", fail_on="error")
    # Leaves CMYK by itself. From the bytes, libvips would take a smaller page of a TIFF for a reduction of the first.
    return photo.thumbnail_image(width, height=height, size="force", no_rotate=True)


def _pillow_pixels(data: Data, kind: str) -> pyvips.Image:
    return _pixels_of(open_by_pillow(data, kind))


def _pillow_frames(data: Data, kind: str, orientation: int, width: int) -> pyvips.Image:
    frames: list[pyvips.Image] = []
    delays: list[int] = []
    for photo in ImageSequence.Iterator(open_by_pillow(data, kind)):
        frame = upright(_pixels_of(photo), orientation)
        # Reduced one by one, so that only one is ever there at full size.
        frame = frame.thumbnail_image(width, height=ANY_SIDE, size="down", no_rotate=True)
        frames.append(to_srgb(frame).copy_memory())
        delays.append(max(0, min(_LONGEST_DELAY, int(photo.info.get("duration", 0)))))
    image = pyvips.Image.arrayjoin(frames, across=1).copy()
    image.set_type(pyvips.GValue.gint_type, "page-height", frames[0].height)
    image.set_type(pyvips.GValue.array_int_type, "delay", delays)
    return image.copy_memory()


def _pixels_of(photo: Image.Image) -> pyvips.Image:
    if photo.mode.startswith("I;16"):
        # Grey of 10 or 12 bits. Pillow itself would clip it to white.
        grey = pyvips.Image.new_from_memory(photo.tobytes(), photo.width, photo.height, 1, "ushort")
        return grey.copy(interpretation="grey16")
    mode = "RGBA" if photo.has_transparency_data else "RGB"
    profile: Any = photo.info.get("icc_profile")
    photo.load()
    if isinstance(photo, ImageFile.ImageFile):
        # Its reader of AVIF keeps the pixels there once more.
        photo.fp = None
    row = photo.width * len(mode)
    pixels = bytearray(row * photo.height)
    # A strip at a time: converted and written out whole, the picture would be there four times.
    for top in range(0, photo.height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, photo.height)
        strip = photo.crop((0, top, photo.width, bottom))
        pixels[top * row : bottom * row] = strip.convert(mode).tobytes()
    image = pyvips.Image.new_from_memory(pixels, photo.width, photo.height, len(mode), "uchar")
    image = image.copy(interpretation="srgb")
    if profile:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return image
