"""
Seeded test photos and hostile files, made from nothing: no binary is stored in the repository.

    from tests.photos import jpeg, product_photo

    upload = jpeg(width=4000, height=3000, seed=7)
    photo = product_photo("mug", seed=1)   # photo.encoded, photo.rgb, photo.mask
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageDraw, ImageFilter

Array = NDArray[Any]

PRODUCTS = ("mug", "bottle", "pale-vase", "camera", "spoon", "sneaker")


def picture(width: int, height: int, *, seed: int = 0, detail: int = 16) -> Image.Image:
    """Return an RGB picture of smooth random colours with `detail` blobs along its longer side, and fine grain."""
    random = np.random.default_rng(seed)
    columns, rows = max(2, detail * width // max(width, height)), max(2, detail * height // max(width, height))
    blobs = Image.fromarray(random.integers(20, 236, (rows, columns, 3), dtype=np.uint8))
    smooth = np.asarray(blobs.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    grain = random.integers(-6, 7, (height, width, 1), dtype=np.int16)
    return Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))


def encode(image: Image.Image, media_format: str, **options: Any) -> bytes:
    """Return the picture in a Pillow format such as "JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "BMP" or "HEIF"."""
    if media_format == "HEIF":
        # Its wheel is installed for tests; in the sandbox the zygote imports it.
        import pillow_heif

        pillow_heif.register_heif_opener()
    buffer = io.BytesIO()
    image.save(buffer, media_format, **options)
    return buffer.getvalue()


@lru_cache(maxsize=16)
def jpeg(width: int = 1200, height: int = 900, *, seed: int = 0, quality: int = 88, progressive: bool = False) -> bytes:
    """Return a plain baseline (or progressive) JPEG photo."""
    return encode(picture(width, height, seed=seed), "JPEG", quality=quality, progressive=progressive)


def marked_jpeg(marker: bytes, width: int = 600, height: int = 400) -> bytes:
    """Return a JPEG with `marker` in its EXIF, GPS, XMP and a comment."""
    exif = Image.Exif()
    exif[0x010E] = marker.decode()
    exif.get_ifd(0x8825)[29] = marker.decode()
    photo = encode(
        picture(width, height), "JPEG", exif=exif, comment=marker, xmp=b"<x:xmpmeta>" + marker + b"</x:xmpmeta>"
    )
    return photo + marker


def compass(size: int = 96) -> Image.Image:
    """Return a picture with four different quarters: red, green, blue, yellow from top left, clockwise."""
    image = Image.new("RGB", (size * 3 // 2, size))
    draw = ImageDraw.Draw(image)
    width, height = image.size
    half_x, half_y = width // 2, height // 2
    draw.rectangle((0, 0, half_x - 1, half_y - 1), fill=(220, 30, 30))
    draw.rectangle((half_x, 0, width, half_y - 1), fill=(30, 200, 30))
    draw.rectangle((half_x, half_y, width, height), fill=(30, 30, 220))
    draw.rectangle((0, half_y, half_x - 1, height), fill=(230, 220, 30))
    return image


def oriented_photo(orientation: int, size: int = 96, *, media_format: str = "JPEG", **options: Any) -> bytes:
    """Return a photo that shows `compass` upright once its EXIF orientation (1 to 8) is applied."""
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = compass(size) if undo is None else compass(size).transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    # As bytes: pillow-heif sets the rotation that HEIC keeps beside its pixels only from those.
    return encode(stored, media_format, quality=95, exif=exif.tobytes(), **options)


def oriented_jpeg(orientation: int, size: int = 96) -> bytes:
    """Return `oriented_photo` as a JPEG with full colour resolution."""
    return oriented_photo(orientation, size, subsampling=0)


def cmyk_jpeg(width: int = 300, height: int = 200) -> bytes:
    """Return a CMYK JPEG without a profile, as Adobe's programs store it."""
    return encode(picture(width, height, seed=3).convert("CMYK"), "JPEG", quality=92)


def png_16_bit(width: int = 300, height: int = 200) -> bytes:
    """Return a 16-bit grey PNG that rises from black (left) to white (right)."""
    ramp = np.tile(np.linspace(0, 65_535, width).astype(np.uint16), (height, 1))
    return encode(Image.fromarray(ramp), "PNG")


def animated_gif(frames: int = 5, size: int = 64) -> bytes:
    """Return an animated GIF whose first frame is red and whose other frames are blue."""
    colours = [(255, 0, 0), *[(0, index // 256, 255 - index % 256) for index in range(frames - 1)]]
    pictures = [Image.new("RGB", (size, size), colour) for colour in colours]
    return encode(pictures[0], "GIF", save_all=True, append_images=pictures[1:], duration=40)


@lru_cache(maxsize=1)
def swapped_profile() -> bytes:
    """Return a valid display profile that is not sRGB: its red and its green primary have changed places."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(profile[128:132], "big")
    tags = {bytes(profile[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


def profiled(colour: tuple[int, int, int], media_format: str = "JPEG", width: int = 120, height: int = 80) -> bytes:
    """Return a photo of one stored colour, to be read through `swapped_profile`."""
    return encode(Image.new("RGB", (width, height), colour), media_format, quality=95, icc_profile=swapped_profile())


# -- hostile files ----------------------------------------------------------------------------------------------------


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@lru_cache(maxsize=4)
def huge_png(side: int = 30_000) -> bytes:
    """Return a 1-bit PNG of side² pixels, all black: 900 megapixels in about 100 KB by default."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    rows = b"".join([packer.compress(row * 100) for _ in range(side // 100)]) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side // 100 * 100, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


@lru_cache(maxsize=4)
def many_scans_jpeg(width: int = 4000, height: int = 3000, scans: int = 510) -> bytes:
    """Return a valid grey progressive JPEG of `scans` scans, each of which a decoder must walk all blocks for."""
    blocks = ((width + 7) // 8) * ((height + 7) // 8)
    frame = struct.pack(">BHHB", 8, height, width, 1) + bytes((1, 0x11, 0))
    parts = [
        b"\xff\xd8",
        _segment(0xDB, bytes((0,)) + bytes([16] * 64)),
        _segment(0xC2, frame),
        # One symbol each, with the one-bit code 0: "no difference" for DC, "end of band for 2^14 + n blocks" for AC.
        _segment(0xC4, bytes((0x00, 1, *[0] * 15, 0x00))),
        _segment(0xC4, bytes((0x10, 1, *[0] * 15, 0xE0))),
        _segment(0xDA, bytes((1, 1, 0x00, 0, 0, 0x00))) + bytes((blocks + 7) // 8),
    ]
    run_bits = ""
    rest = blocks
    while rest > 0:
        run = min(rest, 2**15 - 1)
        run = max(run, 2**14)
        run_bits += "0" + format(run - 2**14, "014b")
        rest -= run
    run_bits += "1" * (-len(run_bits) % 8)
    empty_band = bytes(int(run_bits[i : i + 8], 2) for i in range(0, len(run_bits), 8)).replace(b"\xff", b"\xff\x00")
    passes = [(k, bit) for bit in range(8, -1, -1) for k in range(1, 64)][: scans - 1]
    for coefficient, low in passes:
        high = 0 if low == 8 else low + 1
        parts.append(_segment(0xDA, bytes((1, 1, 0x00, coefficient, coefficient, high << 4 | low))) + empty_band)
    return b"".join(parts) + b"\xff\xd9"


def _segment(marker: int, data: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data


def text_bomb_png(megabytes: int = 200) -> bytes:
    """Return a small PNG whose compressed text chunk expands to `megabytes`."""
    text = b"comment\x00\x00" + zlib.compress(bytes(megabytes << 20), 9)
    pixels = zlib.compress(bytes(1 + 3 * 8) * 8)
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"zTXt", text)
        + _chunk(b"IDAT", pixels)
        + _chunk(b"IEND", b"")
    )


def lying_jpeg(width: int = 65_000, height: int = 65_000) -> bytes:
    """Return a small JPEG whose header claims an enormous size."""
    data = bytearray(jpeg(64, 48))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def lying_bmp(width: int = 65_000, height: int = 65_000) -> bytes:
    """Return a small BMP whose header claims an enormous size."""
    data = bytearray(encode(picture(16, 12), "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def oversized_profile_jpeg(megabytes: int = 6) -> bytes:
    """Return a JPEG with a colour profile of `megabytes`."""
    return encode(picture(64, 48), "JPEG", icc_profile=bytes(megabytes << 20))


SVG = (
    b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY file SYSTEM "file:///etc/passwd">]>'
    b'<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100"><text>&file;</text></svg>'
)


# -- product photos ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProductPhoto:
    """A product on a plain background, and the truth about it: `mask` is its coverage, 0 to 255."""

    rgb: Array
    mask: Array

    @property
    def encoded(self) -> bytes:
        """The photo as a JPEG of camera quality."""
        return encode(Image.fromarray(self.rgb), "JPEG", quality=92)


@lru_cache(maxsize=16)
def product_photo(
    product: str = "mug", *, width: int = 1600, height: int = 1200, seed: int = 0, noise: float = 2.5
) -> ProductPhoto:
    """
    Return a photo of one of `PRODUCTS`.

    The background is lit unevenly, with a soft contact shadow under the product and sensor noise of `noise` levels.
    """
    random = np.random.default_rng(seed)
    base = {"pale-vase": (168, 170, 174), "sneaker": (218, 217, 215)}.get(product, (236, 236, 238))
    mask_image, colours = _draw(product, width, height)
    mask = np.asarray(mask_image, dtype=np.float32) / 255

    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    light = 1.0 - 0.10 * ((x / width - 0.35) ** 2 + (y / height - 0.3) ** 2) - 0.05 * (y / height)
    background = np.array(base, dtype=np.float32) * light[..., None]

    shape = Image.fromarray((mask * 255).astype(np.uint8))
    flat = shape.resize((width, max(1, height // 5))).resize((width, height // 5))
    shadow = Image.new("L", (width, height))
    bottom = int(np.nonzero(mask.max(axis=1) > 0.5)[0].max())
    shadow.paste(flat, (0, max(0, bottom - height // 5 + height // 28)))
    soft = np.asarray(shadow.filter(ImageFilter.GaussianBlur(width / 50)), dtype=np.float32) / 255
    background *= (1 - 0.28 * soft)[..., None]

    shade = 1.0 - 0.2 * (x / width - 0.3) + 0.05 * np.sin(y / height * 25)
    body = np.asarray(colours, dtype=np.float32) * shade[..., None]
    photo = body * mask[..., None] + background * (1 - mask[..., None])
    photo += random.normal(0, noise, photo.shape)
    return ProductPhoto(np.clip(photo, 0, 255).astype(np.uint8), (mask * 255).astype(np.uint8))


def blank_page(width: int = 1200, height: int = 900, *, seed: int = 0, noise: float = 2.5) -> Array:
    """Return an unevenly lit background with nothing on it."""
    random = np.random.default_rng(seed)
    x = np.linspace(0, 1, width, dtype=np.float32)
    page = (238 - 22 * x)[None, :, None] + random.normal(0, noise, (height, width, 3))
    return np.clip(page, 0, 255).astype(np.uint8)


def _draw(product: str, width: int, height: int) -> tuple[Image.Image, Image.Image]:
    """Return the product's coverage and its colours, drawn at four times the size so that edges are smooth."""
    factor = 4 if width <= 2000 else 2
    size = (width * factor, height * factor)
    mask, colours = Image.new("L", size), Image.new("RGB", size, (128, 128, 128))
    shape, paint = ImageDraw.Draw(mask), ImageDraw.Draw(colours)

    def box(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        return left * size[0], top * size[1], right * size[0], bottom * size[1]

    def points(*pairs: tuple[float, float]) -> list[tuple[float, float]]:
        return [(px * size[0], py * size[1]) for px, py in pairs]

    if product == "mug":
        paint.rectangle(box(0, 0, 1, 1), fill=(176, 38, 34))
        shape.rounded_rectangle(box(0.30, 0.25, 0.60, 0.80), radius=0.04 * size[0], fill=255)
        shape.ellipse(box(0.53, 0.36, 0.73, 0.68), fill=255)
        shape.ellipse(box(0.57, 0.42, 0.69, 0.62), fill=0)
        shape.rounded_rectangle(box(0.30, 0.25, 0.60, 0.80), radius=0.04 * size[0], fill=255)
        paint.rectangle(box(0.30, 0.45, 0.60, 0.55), fill=(240, 226, 200))
    elif product == "bottle":
        paint.rectangle(box(0, 0, 1, 1), fill=(24, 74, 132))
        shape.rounded_rectangle(box(0.40, 0.35, 0.60, 0.90), radius=0.05 * size[0], fill=255)
        shape.rectangle(box(0.465, 0.12, 0.535, 0.40), fill=255)
        paint.rectangle(box(0.40, 0.12, 0.60, 0.18), fill=(210, 170, 40))
        paint.rectangle(box(0.42, 0.55, 0.58, 0.75), fill=(238, 228, 205))
    elif product == "pale-vase":
        paint.rectangle(box(0, 0, 1, 1), fill=(246, 244, 240))
        shape.polygon(points((0.42, 0.15), (0.58, 0.15), (0.55, 0.35), (0.67, 0.62), (0.58, 0.86), (0.42, 0.86),
                             (0.33, 0.62), (0.45, 0.35)), fill=255)  # fmt: skip
    elif product == "camera":
        paint.rectangle(box(0, 0, 1, 1), fill=(34, 34, 38))
        shape.rounded_rectangle(box(0.22, 0.34, 0.78, 0.78), radius=0.02 * size[0], fill=255)
        shape.polygon(points((0.40, 0.36), (0.44, 0.25), (0.56, 0.25), (0.60, 0.36)), fill=255)
        paint.ellipse(box(0.39, 0.41, 0.61, 0.73), fill=(70, 72, 80))
        paint.ellipse(box(0.44, 0.48, 0.56, 0.66), fill=(20, 24, 60))
    elif product == "spoon":
        paint.rectangle(box(0, 0, 1, 1), fill=(120, 122, 128))
        shape.ellipse(box(0.12, 0.40, 0.32, 0.60), fill=255)
        shape.polygon(points((0.30, 0.485), (0.88, 0.47), (0.88, 0.53), (0.30, 0.515)), fill=255)
    elif product == "sneaker":
        paint.rectangle(box(0, 0, 1, 1), fill=(58, 140, 92))
        shape.polygon(points((0.15, 0.70), (0.16, 0.42), (0.30, 0.36), (0.44, 0.52), (0.70, 0.60), (0.85, 0.66),
                             (0.86, 0.74), (0.15, 0.76)), fill=255)  # fmt: skip
        paint.rectangle(box(0.0, 0.70, 1.0, 0.80), fill=(252, 250, 246))
    else:
        raise ValueError(f"no such product: {product}")
    return mask.resize((width, height), Image.Resampling.LANCZOS), colours.resize(
        (width, height), Image.Resampling.LANCZOS
    )
