"""What renditions say about themselves, read by exiftool, which shares no code with what wrote them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms

from pipelines import DigitalSource, Encoded, Limits, Pixels, Recipe, Sandbox, digital_source_of
from tests import photos

MARKER = b"GPS-of-my-home-19ab"
# What exiftool makes up about any file, or reads from the picture's own structure.
STRUCTURE = {
    "File", "ExifTool", "SourceFile", "Composite", "QuickTime", "PNG:ImageWidth", "PNG:ImageHeight", "PNG:BitDepth",
    "PNG:ColorType", "PNG:Compression", "PNG:Filter", "PNG:Interlace", "RIFF:VP8Version", "RIFF:ImageWidth",
    "RIFF:HorizontalScale", "RIFF:ImageHeight", "RIFF:VerticalScale", "RIFF:WebP_Flags",
}  # fmt: skip


def recipe(**fields: Any) -> Recipe:
    widths = [{"name": kind, "fit": "width", "width": 200, "format": kind} for kind in ("jpeg", "webp", "png", "avif")]
    canvas = {"name": "canvas", "fit": "canvas", "canvas": 300, "canvas_min": 16, "fill": 0.9, "format": "jpeg"}
    clean = {"name": "clean", "fit": "unchanged"}
    return Recipe.model_validate(
        {"name": "all-kinds", "title": "All", "renditions": [*widths, canvas, clean], **fields}
    )


def uploads() -> list[bytes]:
    exif = Image.Exif()
    exif[0x010E] = MARKER.decode()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = photos.picture(400, 300)
    return [
        photos.marked_jpeg(MARKER, 400, 300),
        photos.encode(picture, "JPEG", exif=exif, icc_profile=srgb, dpi=(300, 300)),
        photos.encode(picture, "PNG", exif=exif, icc_profile=srgb, dpi=(300, 300)),
        photos.encode(picture, "WEBP", exif=exif, icc_profile=srgb, xmp=b"<x>" + MARKER + b"</x>"),
        photos.encode(picture, "TIFF", tiffinfo={270: MARKER.decode()}, dpi=(300, 300)),
    ]


def told(folder: Path) -> list[dict[str, Any]]:
    """Return what exiftool finds in each file, group by group, without what is the picture itself."""
    done = subprocess.run(
        ["exiftool", "-json", "-G0", "-a", "-u", "-ee", *sorted(map(str, folder.iterdir()))],
        check=False,
        capture_output=True,
        text=True,
    )
    return [
        {name: value for name, value in found.items() if name not in STRUCTURE and name.split(":")[0] not in STRUCTURE}
        for found in json.loads(done.stdout)
    ]


def rendered(sandbox: Sandbox, folder: Path, upload: bytes, source: DigitalSource | None, **fields: Any) -> None:
    with (
        Encoded.from_bytes(upload) as photo,
        sandbox.render(photo, recipe(**fields), Limits(), digital_source=source) as renditions,
    ):
        for one in renditions:
            (folder / f"{len(list(folder.iterdir())):03}-{one.name}").write_bytes(one.data)


def test_exiftool_would_see_what_the_uploads_carry(tmp_path: Path) -> None:
    for index, upload in enumerate(uploads()):
        (tmp_path / str(index)).write_bytes(upload)

    assert all(found for found in told(tmp_path))


def test_no_rendition_of_a_photo_carries_anything(sandbox: Sandbox, tmp_path: Path) -> None:
    for upload in uploads():
        rendered(sandbox, tmp_path, upload, None)

    found = told(tmp_path)
    assert len(found) == 5 * 6
    assert [one for one in found if one] == []


@pytest.mark.parametrize("source", DigitalSource)
def test_a_rendition_of_what_a_model_made_says_that_and_nothing_else(
    source: DigitalSource, sandbox: Sandbox, tmp_path: Path
) -> None:
    for upload in uploads():
        rendered(sandbox, tmp_path, upload, source)

    found = told(tmp_path)
    said = f"http://cv.iptc.org/newscodes/digitalsourcetype/{source.value}"
    assert len(found) == 5 * 6
    assert {tuple(one.items()) for one in found} == {(("XMP:DigitalSourceType", said),)}


def test_the_mark_is_there_on_pixels_too(sandbox: Sandbox, tmp_path: Path) -> None:
    picture = photos.picture(400, 300)
    with (
        Pixels.from_bytes(picture.tobytes(), 400, 300, 3) as pixels,
        sandbox.render(pixels, recipe(), Limits(), digital_source=DigitalSource.GENERATED) as renditions,
    ):
        for one in renditions:
            (tmp_path / one.name).write_bytes(one.data)

    assert all(list(found) == ["XMP:DigitalSourceType"] for found in told(tmp_path))


OWNED = {"keep_copyright": True}


def owned_uploads() -> list[bytes]:
    """Uploads that say whose they are in EXIF, in IPTC or in XMP, beside what must not be kept."""
    exif = Image.Exif()
    exif[0x8298], exif[0x013B], exif[0x010E] = "© 2026 Kiln & Co".encode(), "Ana", MARKER.decode()
    exif.get_ifd(0x8825)[29] = MARKER.decode()
    picture = photos.picture(400, 300)
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/">'
        b'<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">\xc2\xa9 2026 Kiln &amp; Co</rdf:li></rdf:Alt></dc:rights>'
        b"<dc:creator><rdf:Seq><rdf:li>Ana</rdf:li></rdf:Seq></dc:creator>"
        b"<photoshop:City>" + MARKER + b"</photoshop:City></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    iptc = b"".join(
        b"\x1c\x02" + bytes((number,)) + len(text).to_bytes(2, "big") + text
        for number, text in ((80, b"Ana"), (90, MARKER), (116, "© 2026 Kiln & Co".encode()))
    )
    block = b"8BIM\x04\x04\x00\x00" + len(iptc).to_bytes(4, "big") + iptc + bytes(len(iptc) % 2)
    segment = b"Photoshop 3.0\x00" + block
    jpeg = photos.jpeg(400, 300)
    return [
        photos.encode(picture, "JPEG", exif=exif),
        photos.encode(picture, "PNG", exif=exif),
        photos.encode(picture, "WEBP", exif=exif),
        photos.encode(picture, "AVIF", exif=exif),
        photos.encode(picture, "HEIF", exif=exif),
        photos.encode(picture, "WEBP", xmp=xmp),
        photos.encode(picture, "TIFF", tiffinfo=dict(exif.items())),
        jpeg[:2] + b"\xff\xed" + (len(segment) + 2).to_bytes(2, "big") + segment + jpeg[2:],
    ]


def test_copyright_and_creator_are_kept_where_a_recipe_asks_and_nothing_else_is(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    for upload in owned_uploads():
        rendered(sandbox, tmp_path, upload, None, **OWNED)

    found = told(tmp_path)
    assert len(found) == 8 * 6
    kept = {"XMP:Rights": "© 2026 Kiln & Co", "XMP:Creator": "Ana"}
    assert [one for one in found if one != kept] == []


def test_without_the_recipes_word_no_copyright_is_kept(sandbox: Sandbox, tmp_path: Path) -> None:
    for upload in owned_uploads():
        rendered(sandbox, tmp_path, upload, None)

    assert [one for one in told(tmp_path) if one] == []


def test_a_notice_is_no_place_to_carry_something_out_in(sandbox: Sandbox, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x8298] = "<script>\x07" + "x" * 5000
    rendered(sandbox, tmp_path, photos.encode(photos.picture(400, 300), "JPEG", exif=exif), None, **OWNED)

    assert {one["XMP:Rights"] for one in told(tmp_path)} == {"<script>" + "x" * 292}


def test_only_what_shows_no_camera_s_scene_is_marked() -> None:
    assert digital_source_of(None) is None
    assert digital_source_of("remove-background") is None
    assert digital_source_of("upscale") is None
    assert digital_source_of("replace-background") is DigitalSource.COMPOSITE
    assert digital_source_of("generate-image") is DigitalSource.GENERATED
