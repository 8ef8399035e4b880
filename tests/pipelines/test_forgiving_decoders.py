"""A decoder's success is not a picture yet: tiles left black, scans ended early, numbers that are no light."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Literal

import numpy as np
import pytest
import pyvips
from PIL import Image

from pipelines import Encoded, Limits, Recipe, RefusalCode, Refused, Sandbox, load_recipes
from pipelines._refusal import Refusal
from pipelines.steps import decode
from tests import photos
from tests.pipelines.pictures import decoded, difference, prepared_array

# Smooth enough that what overwrites its compressed data cannot pass for it.
PHOTO = photos.picture(300, 300, seed=3, detail=4)
JPEG = photos.jpeg(400, 300)


def tiff(*, tiled: bool, compression: str = "deflate", pixel_format: str = "uchar", orientation: int = 1) -> bytes:
    picture = pyvips.Image.new_from_array(np.asarray(PHOTO)).cast(pixel_format).copy()
    picture.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return bytes(picture.tiffsave_buffer(compression=compression, tile=tiled, tile_width=64, tile_height=64))


def wounded(data: bytes, at: float, length: int = 300) -> bytes:
    """Return the file with a stretch of it overwritten, `at` a share of its length."""
    start = int(len(data) * at)
    return data[:start] + bytes((7 * i + 13) % 251 for i in range(length)) + data[start + length :]


def junk_before_a_segment(jpeg: bytes, junk: bytes = b"\x00\x11\x22\x33\x44") -> bytes:
    """Return the JPEG with bytes between its first table and what precedes it, which decoders pass over."""
    at = jpeg.index(b"\xff\xdb")
    return jpeg[:at] + junk + jpeg[at:]


def odd_scan_header(jpeg: bytes) -> bytes:
    """Return the JPEG with the parameters of its first scan as the firmware of some phones writes them."""
    at = jpeg.index(b"\xff\xda")
    end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return jpeg[: end - 3] + b"\x00\x00\x00" + jpeg[end:]


def revision_to_come(jpeg: bytes) -> bytes:
    """Return the JPEG as one of JFIF 3.01."""
    return jpeg.replace(b"JFIF\x00\x01", b"JFIF\x00\x03", 1)


def unknown_transform(jpeg: bytes) -> bytes:
    """Return the JPEG with a segment of Adobe's, in place of JFIF's, whose colour transform nobody knows."""
    at = 4 + int.from_bytes(jpeg[4:6], "big")
    return jpeg[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x07" + jpeg[at:]


def data_left_before_a_restart(jpeg: bytes) -> bytes:
    """Return the JPEG with bytes before its second restart that no pixel needs, as damaged data leaves them."""
    at = jpeg.index(b"\xff\xd1")
    return jpeg[:at] + b"\x2a\x2a\x2a" + jpeg[at:]


def no_restarts(jpeg: bytes) -> bytes:
    """Return the JPEG with a promise of restarts that it does not keep; a decoder fills with grey what it misses."""
    at = jpeg.index(b"\xff\xda")
    return jpeg[:at] + b"\xff\xdd\x00\x04\x00\x14" + jpeg[at:]


def wrong_restart(jpeg: bytes) -> bytes:
    """Return the JPEG with one bit of its last restart flipped."""
    at = max(jpeg.rindex(bytes((0xFF, marker))) for marker in range(0xD0, 0xD8))
    return jpeg[: at + 1] + bytes((jpeg[at + 1] ^ 1,)) + jpeg[at + 2 :]


def turned(jpeg: bytes, orientation: int) -> bytes:
    """Return the JPEG with nothing but an orientation in its EXIF."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = exif.tobytes()
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


def ended_early(jpeg: bytes) -> bytes:
    """Return the JPEG with half of its compressed data, and a proper end."""
    return jpeg[: len(jpeg) * 3 // 5] + b"\xff\xd9"


# Each makes a JPEG whose picture is whole, and that libjpeg warns of.
HARMLESS = {
    "stray bytes": junk_before_a_segment,
    "a scan header of some phones": odd_scan_header,
    "a revision of JFIF to come": revision_to_come,
    "a colour transform nobody knows": unknown_transform,
}


def unusual(**options: object) -> bytes:
    out = io.BytesIO()
    PHOTO.save(out, "TIFF", **options)
    return out.getvalue()


REFUSED = {
    "tiles of a TIFF, deflated": (wounded(tiff(tiled=True), 0.5), RefusalCode.DAMAGED),
    "tiles of a TIFF, LZW": (wounded(tiff(tiled=True, compression="lzw"), 0.5), RefusalCode.DAMAGED),
    "strips of a TIFF": (wounded(tiff(tiled=False), 0.5), RefusalCode.DAMAGED),
    "a JPEG with half of its scan": (ended_early(JPEG), RefusalCode.DAMAGED),
    **{f"such a JPEG with {name}": (ended_early(odd(JPEG)), RefusalCode.DAMAGED) for name, odd in HARMLESS.items()},
    "a JPEG with all of these and half of its scan": (
        ended_early(odd_scan_header(junk_before_a_segment(revision_to_come(JPEG)))),
        RefusalCode.DAMAGED,
    ),
    "a JPEG with data left before a restart": (
        data_left_before_a_restart(photos.encode(PHOTO, "JPEG", restart_marker_blocks=20)),
        RefusalCode.DAMAGED,
    ),
    "a JPEG without its restarts": (no_restarts(JPEG), RefusalCode.DAMAGED),
    "a JPEG with a wrong restart": (
        wrong_restart(photos.encode(PHOTO, "JPEG", restart_marker_blocks=20)),
        RefusalCode.DAMAGED,
    ),
    "a TIFF compressed with LZMA": (unusual(compression="lzma"), RefusalCode.FORMAT_NOT_SUPPORTED),
    "a TIFF compressed with Zstandard": (unusual(compression="zstd"), RefusalCode.FORMAT_NOT_SUPPORTED),
    "a TIFF of signed numbers": (tiff(tiled=False, pixel_format="char"), RefusalCode.FORMAT_NOT_SUPPORTED),
    "a TIFF of floating point": (tiff(tiled=False, pixel_format="float"), RefusalCode.FORMAT_NOT_SUPPORTED),
    "a TIFF of 64 bits": (tiff(tiled=False, pixel_format="double"), RefusalCode.FORMAT_NOT_SUPPORTED),
}


@pytest.mark.parametrize("recipe", ["web-set", "original-clean"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_would_show_a_hole_or_a_guess_is_refused(name: str, recipe: str, sandbox: Sandbox, limits: Limits) -> None:
    data, code = REFUSED[name]

    with Encoded.from_bytes(data) as source, pytest.raises(Refused) as refused:
        sandbox.render(source, load_recipes()[recipe], limits)

    assert refused.value.code is code
    if code is RefusalCode.FORMAT_NOT_SUPPORTED:
        assert str(refused.value).startswith("This file is a TIFF of an unusual kind; please use JPEG")


@pytest.mark.parametrize("encoding", ["pixels", "png", "jpeg"])
@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_also_where_the_picture_is_written_while_it_is_decoded(
    name: str, encoding: Literal["pixels", "png", "jpeg"], sandbox: Sandbox, limits: Limits
) -> None:
    data, code = REFUSED[name]

    with Encoded.from_bytes(data) as source, pytest.raises(Refused) as refused:
        sandbox.prepare(source, max_side=None, encoding=encoding, limits=limits)

    assert refused.value.code is code


@pytest.mark.parametrize("orientation", range(1, 9))
def test_damage_is_seen_however_the_photo_is_turned_and_whatever_is_made_of_it(
    orientation: int, sandbox: Sandbox, limits: Limits
) -> None:
    damaged = [
        turned(ended_early(JPEG), orientation),
        turned(ended_early(junk_before_a_segment(JPEG)), orientation),
        wounded(tiff(tiled=True, orientation=orientation), 0.5),
    ]
    mark = {"png": base64.b64encode(photos.encode(Image.new("RGBA", (20, 8), "red"), "PNG")).decode()}
    width = {"name": "one", "fit": "width", "width": 200, "format": "jpeg"}
    recipes = [
        Recipe.model_validate({"name": "made", "title": "Made", "watermark": mark, "renditions": renditions})
        for renditions in (
            [width],
            [{**width, "sharpen": True}],
            [{**width, "watermark": True}],
            [{**width, "format": "webp", "sharpen": True, "watermark": True}],
            [{**width, "name": "box", "fit": "box", "height": 200, "mode": "pad"}],
        )
    ]
    for photo in damaged:
        for recipe in [*recipes, load_recipes()["web-set"], load_recipes()["original-clean"]]:
            with Encoded.from_bytes(photo) as source, pytest.raises(Refused) as refused:
                sandbox.render(source, recipe, limits)
            assert refused.value.code is RefusalCode.DAMAGED
        with Encoded.from_bytes(photo) as source, pytest.raises(Refused) as refused:
            sandbox.prepare(source, max_side=None, encoding="pixels", limits=limits)
        assert refused.value.code is RefusalCode.DAMAGED


def test_what_goes_wrong_where_a_picture_is_used_is_not_called_the_photos_fault() -> None:
    with pytest.raises(ZeroDivisionError), decode.reading(JPEG, "jpeg", 1):
        _ = 1 / 0
    with pytest.raises(pyvips.Error), decode.reading(JPEG, "jpeg", 1) as image:
        image.crop(0, 0, 10_000, 10_000)
    with pytest.raises(Refusal), decode.reading(ended_early(JPEG), "jpeg", 1) as image:
        image.crop(0, 0, 10_000, 10_000)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("VipsJpeg: Insufficient memory (case 4)", RefusalCode.TOO_MUCH_MEMORY),
        ("vips_tracked: out of memory -- size == 68MB", RefusalCode.TOO_MUCH_MEMORY),
        ("glib: Error creating thread: Resource temporarily unavailable", RefusalCode.TOO_MUCH_MEMORY),
        ("gifload: bad image dimensions\ngifload_buffer: Out of memory", RefusalCode.DAMAGED),
    ],
)
def test_what_decoders_say_of_memory_is_told_from_what_they_say_of_a_file(said: str, code: RefusalCode) -> None:
    whole = photos.encode(photos.picture(16, 16), "GIF")

    assert decode.broken(whole, "gif", said).code is code


@pytest.mark.parametrize("tiled", [True, False])
def test_the_same_tiff_without_a_wound_is_read(tiled: bool, sandbox: Sandbox, limits: Limits) -> None:
    ours = prepared_array(sandbox, tiff(tiled=tiled), limits)

    assert difference(ours, np.asarray(PHOTO)) == 0


def test_a_smaller_page_of_a_tiff_is_not_taken_for_a_reduction_of_the_first(sandbox: Sandbox, limits: Limits) -> None:
    out = io.BytesIO()
    other = Image.new("RGB", (150, 150), "red")
    PHOTO.save(out, "TIFF", save_all=True, append_images=[other, other.resize((75, 75))])

    ours = prepared_array(sandbox, out.getvalue(), limits, 75)

    assert difference(ours, np.asarray(PHOTO.resize((75, 75), Image.Resampling.LANCZOS))) < 4


@pytest.mark.parametrize("oddity", HARMLESS)
def test_what_decoders_only_warn_of_costs_neither_the_photo_nor_its_clean_original(
    oddity: str, sandbox: Sandbox, limits: Limits
) -> None:
    with (
        Encoded.from_bytes(HARMLESS[oddity](JPEG)) as source,
        sandbox.render(source, load_recipes()["original-clean"], limits) as renditions,
    ):
        (clean,) = renditions
        picture = decoded(clean.data)

    assert clean.media_type == "image/jpeg"
    assert difference(np.asarray(picture), np.asarray(decoded(JPEG))) == 0


@pytest.mark.parametrize("bits", [10, 12])
def test_a_grey_heic_of_more_than_eight_bits_is_not_white(bits: int, sandbox: Sandbox, limits: Limits) -> None:
    ramp = np.tile(np.linspace(0, 65_535, 256).astype("<u2"), (64, 1))
    data = photos.encode(Image.fromarray(ramp), "HEIF", quality=-1, bit_depth=bits)

    ours = prepared_array(sandbox, data, limits)

    assert difference(ours[..., 0], (ramp >> 8).astype(np.uint8)) < 2


@pytest.mark.parametrize("side", [None, 60])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_behind_a_pngs_pixels_counts(
    orientation: int, side: int | None, sandbox: Sandbox, limits: Limits
) -> None:
    png = photos.oriented_photo(orientation, media_format="PNG")
    at = png.index(b"eXIf") - 4
    chunk = png[at : at + 12 + int.from_bytes(png[at : at + 4], "big")]
    moved = png.replace(chunk, b"")
    moved = moved[: moved.index(b"IEND") - 4] + chunk + moved[moved.index(b"IEND") - 4 :]
    assert moved.index(b"eXIf") > moved.rindex(b"IDAT")

    ours = prepared_array(sandbox, moved, limits, side)

    expected = photos.compass()
    if side is not None:
        expected = expected.resize((ours.shape[1], ours.shape[0]))
    assert ours.shape[:2] == (expected.height, expected.width)
    assert difference(ours[..., :3], np.asarray(expected)) < 5


@pytest.mark.parametrize("noise", [b"MM\x00*\xff\xff\xff\xff noise", b"no TIFF at all", b"", b"MM"])
def test_a_png_whose_late_exif_is_noise_is_shown_as_it_is(noise: bytes, sandbox: Sandbox, limits: Limits) -> None:
    png = photos.encode(photos.picture(40, 30), "PNG")
    chunk = b"eXIf" + noise
    late = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data = png[: png.index(b"IEND") - 4] + late + png[png.index(b"IEND") - 4 :]

    assert prepared_array(sandbox, data, limits).shape == (30, 40, 3)


def test_a_photo_too_long_for_a_format_goes_without_that_rendition(sandbox: Sandbox, limits: Limits) -> None:
    scroll = photos.encode(photos.picture(16, 17_000), "PNG")

    with (
        Encoded.from_bytes(scroll) as source,
        sandbox.render(source, load_recipes()["web-set"], limits) as renditions,
    ):
        made = {rendition.name: (rendition.width, rendition.height) for rendition in renditions}
        notes = {note.rendition: str(note) for note in renditions.notes}

    assert made == {"w480-jpeg": (16, 17_000)}
    assert "its format ends at 16383 px" in notes["w480-webp"]


def test_a_photo_too_long_for_every_format_is_refused(sandbox: Sandbox, limits: Limits) -> None:
    scroll = photos.encode(photos.picture(16, 17_000), "PNG")
    webp_only = load_recipes()["web-set"].model_copy(
        update={"renditions": [one for one in load_recipes()["web-set"].renditions if one.name.endswith("webp")]}
    )

    with Encoded.from_bytes(scroll) as source, pytest.raises(Refused) as refused:
        sandbox.render(source, webp_only, limits)

    assert str(refused.value) == "The longest side of this photo has 17,000 pixels; the limit is 16,383."
