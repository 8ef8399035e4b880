from __future__ import annotations

import time

import pytest

from pipelines import Encoded, Limits, RefusalCode, Refused, Sandbox, load_recipes
from tests import photos

REFUSED = {
    "an empty file": (b"", RefusalCode.EMPTY_FILE, "This file is empty."),
    "text named .jpg": (b"Dear sir or madam,\n" * 40, RefusalCode.NOT_AN_IMAGE, "not a photo"),
    "half a JPEG": (photos.jpeg()[: len(photos.jpeg()) // 2], RefusalCode.TRUNCATED, "file ends before the picture"),
    "a JPEG header alone": (photos.jpeg()[:300], RefusalCode.TRUNCATED, "file ends before the picture"),
    "half a PNG": (photos.png_16_bit()[:600], RefusalCode.TRUNCATED, "file ends before the picture"),
    "900 megapixels in 100 KB": (
        photos.huge_png(),
        RefusalCode.TOO_MANY_PIXELS,
        "has 900 megapixels; the limit is 100",
    ),
    "a JPEG that lies about its size": (photos.lying_jpeg(), RefusalCode.TOO_MANY_PIXELS, "4,225 megapixels"),
    "a JPEG of 510 scans": (photos.many_scans_jpeg(), RefusalCode.TOO_MANY_SCANS, "more than 100 scans"),
    "a long thin PNG": (
        photos.encode(photos.Image.new("1", (20_001, 4)), "PNG"),
        RefusalCode.SIDE_TOO_LONG,
        "longest side of this photo has 20,001 pixels; the limit is 20,000",
    ),
    "an SVG with an external entity": (photos.SVG, RefusalCode.FORMAT_NOT_SUPPORTED, "SVG"),
    "a GIF of 1,001 frames": (
        photos.animated_gif(1001, 4),
        RefusalCode.TOO_MANY_FRAMES,
        "1,001 frames; the limit is 1,000",
    ),
    "a colour profile of 6 MiB": (photos.oversized_profile_jpeg(), RefusalCode.PROFILE_TOO_LARGE, "6,291,456 bytes"),
    "half a BMP": (photos.encode(photos.picture(80, 80), "BMP")[:9000], RefusalCode.TRUNCATED, "file ends before"),
    "a BMP of noise": (b"BM" + bytes(200), RefusalCode.DAMAGED, "damaged"),
    "a BMP that lies about its size": (photos.lying_bmp(), RefusalCode.TOO_MANY_PIXELS, "4,225 megapixels"),
    "a PDF": (b"%PDF-1.7\n%\xe2\xe3", RefusalCode.FORMAT_NOT_SUPPORTED, "PDF"),
    "an HEIC of noise": (
        b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64),
        RefusalCode.DAMAGED,
        "damaged",
    ),
    "half an HEIC": (
        photos.encode(photos.picture(400, 300), "HEIF")[:9000],
        RefusalCode.DAMAGED,
        "damaged",
    ),
    "a video": (
        b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomavc1" + bytes(64),
        RefusalCode.FORMAT_NOT_SUPPORTED,
        "video",
    ),
    "an AVIF of noise": (
        b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avifmif1miaf" + bytes(200),
        RefusalCode.DAMAGED,
        "damaged",
    ),
    "a PNG of noise": (b"\x89PNG\r\n\x1a\n" + b"IEND" * 50, RefusalCode.DAMAGED, "damaged"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_with_its_code_and_a_sentence(name: str, sandbox: Sandbox, limits: Limits) -> None:
    data, code, sentence = REFUSED[name]
    started = time.monotonic()

    with Encoded.from_bytes(data) as source, pytest.raises(Refused) as refused:
        sandbox.render(source, load_recipes()["web-set"], limits)

    assert refused.value.code is code
    assert sentence in str(refused.value)
    assert time.monotonic() - started < limits.wall.total_seconds()


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("recipe", ["amazon-main", "original-clean"])
def test_no_recipe_makes_a_picture_of_bad_input(name: str, recipe: str, sandbox: Sandbox, limits: Limits) -> None:
    with Encoded.from_bytes(REFUSED[name][0]) as source, pytest.raises(Refused):
        sandbox.render(source, load_recipes()[recipe], limits)


@pytest.mark.parametrize("name", ["an empty file", "a JPEG of 510 scans", "900 megapixels in 100 KB", "a video"])
def test_probe_already_refuses_what_its_header_gives_away(name: str, sandbox: Sandbox, limits: Limits) -> None:
    data, code, _sentence = REFUSED[name]

    with Encoded.from_bytes(data) as source, pytest.raises(Refused) as refused:
        sandbox.probe(source, limits)

    assert refused.value.code is code


def test_a_file_over_the_byte_limit_is_refused_before_any_child_runs(sandbox: Sandbox) -> None:
    with Encoded.from_bytes(bytes(3 << 20)) as source, pytest.raises(Refused, match="3 MiB; the limit is 1") as refused:
        sandbox.probe(source, Limits(bytes=1 << 20))

    assert refused.value.code is RefusalCode.TOO_MANY_BYTES


def test_the_pixel_limit_is_a_setting_and_the_sentence_names_it(sandbox: Sandbox) -> None:
    with (
        Encoded.from_bytes(photos.jpeg()) as source,
        pytest.raises(Refused, match=r"1\.1 megapixels; the limit is 1\."),
    ):
        sandbox.probe(source, Limits(pixels=1_000_000))


def test_a_text_chunk_that_expands_to_200_megabytes_does_no_harm(sandbox: Sandbox, limits: Limits) -> None:
    """libpng drops oversized text; the picture beside it is still right."""
    with Encoded.from_bytes(photos.text_bomb_png()) as source:
        facts = sandbox.probe(source, limits)

    assert (facts.width, facts.height) == (8, 8)


def test_every_truncation_of_a_photo_is_refused_or_whole_but_never_half_grey(sandbox: Sandbox, limits: Limits) -> None:
    whole = photos.jpeg(320, 240, seed=5)
    for kept in (0.25, 0.5, 0.75, 0.9, 0.99):
        with Encoded.from_bytes(whole[: int(len(whole) * kept)]) as source, pytest.raises(Refused) as refused:
            sandbox.prepare(source, max_side=160, encoding="jpeg", limits=limits)
        assert refused.value.code is RefusalCode.TRUNCATED


@pytest.mark.parametrize("seed", range(12))
def test_flipped_bytes_give_a_picture_or_a_refusal_and_nothing_else(
    seed: int, sandbox: Sandbox, limits: Limits
) -> None:
    random = photos.np.random.default_rng(seed)
    media_format = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF")[seed % 6]
    data = bytearray(photos.encode(photos.picture(160, 120, seed=seed), media_format))
    for at in random.integers(0, len(data), 12):
        data[at] ^= int(random.integers(1, 256))

    with Encoded.from_bytes(bytes(data)) as source:
        try:
            picture = sandbox.prepare(source, max_side=64, encoding="png", limits=limits)
        except Refused as refused:
            code = refused.code
        else:
            code = None
            with picture:
                assert max(picture.width, picture.height) <= 64

    assert code in (None, RefusalCode.DAMAGED, RefusalCode.TRUNCATED, RefusalCode.NOT_AN_IMAGE)
