from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from pipelines import Encoded, Limits, Pixels, Prepared, Recipe, RefusalCode, Refused, Sandbox, load_recipes
from tests import photos
from tests.pipelines.pictures import array_of, decoded, difference

RECIPES = load_recipes()
MARKER = b"GPS-of-my-home-7c2d"


@pytest.fixture
def cut_outs() -> Iterator[Callable[..., Pixels]]:
    """Make RGBA pixels with a dark product of a given size on nothing, ragged by a soft edge."""
    made: list[Pixels] = []

    def make(width: int, height: int, *, around: int = 60) -> Pixels:
        image = np.zeros((height + 2 * around, width + 2 * around, 4), dtype=np.uint8)
        image[..., :3] = (90, 140, 200)
        image[around : around + height, around : around + width] = (60, 40, 30, 255)
        # Faint remains of a background, as an imperfect cut-out leaves them.
        image[5:9, 5:9, 3] = 5
        made.append(Pixels.from_bytes(image.tobytes(), image.shape[1], image.shape[0], 4))
        return made[-1]

    yield make
    for pixels in made:
        pixels.close()


def product_box(image: np.ndarray) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of everything clearly darker than white."""
    rows, columns = np.nonzero(image.min(axis=2) < 200)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


@pytest.mark.parametrize(("width", "height"), [(2400, 1800), (1900, 2500), (1760, 1760), (5000, 300), (333, 2047)])
def test_amazon_main_is_2000_px_white_and_filled(
    width: int, height: int, sandbox: Sandbox, limits: Limits, cut_outs: Callable[..., Pixels]
) -> None:
    with sandbox.render(cut_outs(width, height), RECIPES["amazon-main"], limits) as renditions:
        (main,) = renditions
        image = np.asarray(decoded(main.data))
        size = len(main.data)

    left, top, right, bottom = product_box(image)
    outside = np.ones(image.shape[:2], dtype=bool)
    outside[max(0, top - 16) : bottom + 16, max(0, left - 16) : right + 16] = False
    assert (main.name, main.media_type, image.shape) == ("main", "image/jpeg", (2000, 2000, 3))
    assert (image[outside] == 255).all()
    assert max(right - left, bottom - top) >= 0.85 * 2000
    assert abs((left + right) / 2 - 1000) <= 9
    assert abs((top + bottom) / 2 - 1000) <= 9
    assert (left % 16, top % 16) == (0, 0)
    assert size <= 10_000_000
    assert not renditions.notes


def test_a_smaller_product_gets_a_smaller_canvas_and_a_note_instead_of_being_enlarged(
    sandbox: Sandbox, limits: Limits, cut_outs: Callable[..., Pixels]
) -> None:
    with sandbox.render(cut_outs(900, 600), RECIPES["amazon-main"], limits) as renditions:
        image = np.asarray(decoded(renditions[0].data))

    left, _top, right, _bottom = product_box(image)
    assert right - left == 900
    assert image.shape == (1022, 1022, 3)
    assert 900 / image.shape[0] >= 0.85
    assert [str(note) for note in renditions.notes] == [
        "main: the canvas is 1022 px instead of 2000 px, because the product is not enlarged."
    ]


def test_a_product_too_small_for_amazon_is_refused_with_the_numbers(
    sandbox: Sandbox, limits: Limits, cut_outs: Callable[..., Pixels]
) -> None:
    with pytest.raises(Refused, match="300 pixels long; at least 440 are needed") as refused:
        sandbox.render(cut_outs(300, 200), RECIPES["amazon-main"], limits)

    assert refused.value.code is RefusalCode.TOO_SMALL


def test_a_picture_without_alpha_is_placed_by_its_distance_from_white_and_the_note_says_so(
    sandbox: Sandbox, limits: Limits
) -> None:
    page = Image.new("RGB", (2600, 2200), (255, 255, 255))
    page.paste((40, 90, 60), (300, 200, 2300, 1900))
    with (
        Encoded.from_bytes(photos.encode(page, "PNG")) as source,
        sandbox.render(source, RECIPES["amazon-main"], limits) as renditions,
    ):
        image = np.asarray(decoded(renditions[0].data))

    left, top, right, bottom = product_box(image)
    assert (right - left, bottom - top) == (1760, 1496)
    assert [note.code for note in renditions.notes] == ["no-cut-out"]


def test_an_empty_cut_out_is_refused(sandbox: Sandbox, limits: Limits) -> None:
    with Pixels.from_bytes(bytes(100 * 100 * 4), 100, 100, 4) as nothing, pytest.raises(Refused) as refused:
        sandbox.render(nothing, RECIPES["amazon-main"], limits)

    assert refused.value.code is RefusalCode.NO_PRODUCT_FOUND


def test_web_set_makes_three_widths_in_two_formats_of_the_same_picture(sandbox: Sandbox, limits: Limits) -> None:
    upload = photos.jpeg(2400, 1600, seed=9)
    with Encoded.from_bytes(upload) as source, sandbox.render(source, RECIPES["web-set"], limits) as renditions:
        found = [(one.name, one.media_type, one.width, one.height) for one in renditions]
        pictures = [decoded(one.data).convert("RGB") for one in renditions]

    assert found == [
        (f"w{width}-{kind}", f"image/{kind}", width, round(width * 2 / 3))
        for width in (480, 960, 1600)
        for kind in ("webp", "jpeg")
    ]
    original = decoded(upload)
    for picture, (_name, _type, width, height) in zip(pictures, found, strict=True):
        assert picture.size == (width, height)
        expected = original.resize((width, height), Image.Resampling.LANCZOS)
        assert difference(np.asarray(picture), np.asarray(expected)) < 4
    assert not renditions.notes


@pytest.mark.parametrize(
    ("width", "sizes", "codes"),
    [
        (1600, [480, 480, 960, 960, 1600, 1600], []),
        (1200, [480, 480, 960, 960], ["skipped-too-narrow"] * 2),
        (480, [480, 480], ["skipped-too-narrow"] * 4),
        (300, [300, 300], ["narrower-than-asked"] * 2 + ["skipped-too-narrow"] * 4),
        (1, [1, 1], ["narrower-than-asked"] * 2 + ["skipped-too-narrow"] * 4),
    ],
)
def test_web_set_never_enlarges_and_always_makes_something(
    width: int, sizes: list[int], codes: list[str], sandbox: Sandbox, limits: Limits
) -> None:
    upload = photos.encode(Image.new("RGB", (width, 900), (9, 99, 199)), "PNG")
    with Encoded.from_bytes(upload) as source, sandbox.render(source, RECIPES["web-set"], limits) as renditions:
        assert [decoded(one.data).width for one in renditions] == sizes
        assert [note.code for note in renditions.notes] == codes
        assert all(str(width) in str(note) for note in renditions.notes)


def test_web_set_of_raw_pixels_is_that_of_the_file(sandbox: Sandbox, limits: Limits) -> None:
    upload = photos.encode(photos.picture(1000, 700, seed=3), "PNG")
    with (
        Encoded.from_bytes(upload) as source,
        sandbox.prepare(source, max_side=None, encoding="pixels", limits=limits) as prepared,
        sandbox.render(prepared.as_pixels(), RECIPES["web-set"], limits) as from_pixels,
        sandbox.render(source, RECIPES["web-set"], limits) as from_file,
    ):
        for left, right in zip(from_pixels, from_file, strict=True):
            assert difference(np.asarray(decoded(left.data)), np.asarray(decoded(right.data))) < 1.5


def test_original_clean_keeps_a_jpegs_compressed_data_bit_for_bit(sandbox: Sandbox, limits: Limits) -> None:
    upload = photos.marked_jpeg(MARKER)
    scan = upload[upload.index(b"\xff\xda") : upload.rindex(b"\xff\xd9") + 2]
    with Encoded.from_bytes(upload) as source, sandbox.render(source, RECIPES["original-clean"], limits) as renditions:
        (clean,) = renditions
        data = bytes(clean.data)

    assert upload.count(MARKER) >= 5  # EXIF, its GPS part, XMP, the comment and the bytes after the end.
    assert MARKER not in data
    assert data.endswith(scan)
    assert clean.media_type == "image/jpeg"
    assert not decoded(data).getexif()
    assert difference(np.asarray(decoded(data)), np.asarray(decoded(upload))) == 0


@pytest.mark.parametrize(
    "upload",
    [photos.oriented_jpeg(6), photos.profiled((0, 255, 0)), photos.encode(photos.picture(90, 60), "WEBP")],
    ids=["turned", "with a profile", "not a JPEG"],
)
def test_original_clean_is_a_lossless_png_where_pixels_must_change(
    upload: bytes, sandbox: Sandbox, limits: Limits
) -> None:
    with (
        Encoded.from_bytes(upload) as source,
        sandbox.render(source, RECIPES["original-clean"], limits) as renditions,
        sandbox.prepare(source, max_side=None, encoding="pixels", limits=limits) as pixels,
    ):
        assert renditions[0].media_type == "image/png"
        assert (np.asarray(decoded(renditions[0].data)) == array_of(pixels)).all()


@pytest.mark.parametrize("recipe", ["web-set", "original-clean"])
def test_no_rendition_carries_anything_of_the_uploads_metadata(recipe: str, sandbox: Sandbox, limits: Limits) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010E] = MARKER.decode()
    uploads = [
        photos.marked_jpeg(MARKER),
        photos.encode(photos.picture(700, 500), "JPEG", exif=exif, icc_profile=srgb, dpi=(300, 300)),
        photos.encode(photos.picture(700, 500), "WEBP", exif=exif, icc_profile=srgb),
        photos.encode(photos.picture(700, 500), "PNG", exif=exif, icc_profile=srgb),
        photos.encode(photos.picture(700, 500), "AVIF", exif=exif, icc_profile=srgb),
    ]
    for upload in uploads:
        assert MARKER in upload
        with Encoded.from_bytes(upload) as source, sandbox.render(source, RECIPES[recipe], limits) as renditions:
            for rendition in renditions:
                data = bytes(rendition.data)
                left = decoded(data).info.keys() - {"loop", "background", "timestamp", "duration"}
                assert MARKER not in data
                assert left == set(), left


def test_prepare_leaves_no_metadata_either(sandbox: Sandbox, limits: Limits) -> None:
    with Encoded.from_bytes(photos.marked_jpeg(MARKER)) as source:
        for encoding in ("png", "jpeg"):
            with sandbox.prepare(source, max_side=300, encoding=encoding, limits=limits) as picture:
                data = os.pread(picture.fd, picture.size, 0)
            assert MARKER not in data
            assert not decoded(data).info


def test_the_null_recipe_runs_no_child(limits: Limits) -> None:
    with Encoded.from_bytes(b"anything") as source, Sandbox().render(source, RECIPES["null"], limits) as renditions:
        assert len(renditions) == 0


def test_a_renditions_memory_ends_with_its_block(sandbox: Sandbox, limits: Limits) -> None:
    with Encoded.from_bytes(photos.jpeg(500, 300)) as source:
        with sandbox.render(source, RECIPES["web-set"], limits) as renditions:
            first = renditions[0]
        renditions.close()

    with pytest.raises(ValueError, match="released"):
        bytes(first.data)


def test_encoded_output_over_the_limit_is_refused(sandbox: Sandbox) -> None:
    with Encoded.from_bytes(photos.jpeg(2400, 1600, seed=9)) as source, pytest.raises(Refused) as refused:
        sandbox.render(source, RECIPES["web-set"], Limits(output_bytes=100_000))

    assert refused.value.code is RefusalCode.OUTPUT_TOO_LARGE


@pytest.mark.parametrize("kind", ["jpeg", "webp", "avif"])
def test_a_width_keeps_to_its_ceiling_by_lowering_the_quality_or_is_refused(
    kind: str, sandbox: Sandbox, limits: Limits
) -> None:
    def by_width(**changes: Any) -> Recipe:
        spec = {"name": "one", "fit": "width", "width": 320, "format": kind, "quality": 95, **changes}
        return Recipe.model_validate({"name": "a", "title": "A", "renditions": [spec]})

    upload = photos.encode(photos.picture(400, 300, seed=3, detail=200), "JPEG", quality=95)
    with Encoded.from_bytes(upload) as source:
        with sandbox.render(source, by_width(), limits) as free:
            size = len(free[0].data)
        with sandbox.render(source, by_width(quality_min=20, max_bytes=size // 2), limits) as bound:
            kept, shape = len(bound[0].data), (bound[0].width, bound[0].height)
        with pytest.raises(Refused) as refused:
            sandbox.render(source, by_width(quality_min=90, max_bytes=size // 2), limits)

    assert size // 4 < kept <= size // 2
    assert shape == (320, 240)
    assert (refused.value.code, refused.value.limit) == (RefusalCode.OUTPUT_TOO_LARGE, size // 2)


def test_an_animation_keeps_to_its_ceiling_with_all_its_frames(sandbox: Sandbox, limits: Limits) -> None:
    frames = [photos.picture(120, 90, seed=seed, detail=40) for seed in range(4)]
    upload = photos.encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    spec = {"name": "one", "fit": "width", "width": 100, "format": "webp", "quality": 95, "animated": True}
    sizes = []
    with Encoded.from_bytes(upload) as source:
        for ceiling in ({}, {"max_bytes": 6_000, "quality_min": 1}):
            recipe = Recipe.model_validate({"name": "a", "title": "A", "renditions": [{**spec, **ceiling}]})
            with sandbox.render(source, recipe, limits) as made:
                sizes.append(len(made[0].data))
                assert getattr(decoded(made[0].data), "n_frames", 1) == 4

    assert sizes[0] > 6_000 >= sizes[1]


def test_prepared_pixels_say_what_they_are(prepared: Callable[..., Prepared]) -> None:
    picture = prepared(photos.jpeg(100, 80), 50)

    assert (picture.media_type, picture.size) == ("pixels", 50 * 40 * 3)
    assert picture.as_pixels().bands == 3


def test_a_photo_that_is_read_once_is_never_there_as_a_whole(sandbox: Sandbox) -> None:
    # 72 MB of pixels in as many MB of address space as hold a heap and the stacks.
    limits = Limits(memory_bytes=64 << 20)
    photo = photos.jpeg(6000, 4000)

    with (
        Encoded.from_bytes(photo) as source,
        sandbox.prepare(source, max_side=None, encoding="pixels", limits=limits) as prepared,
    ):
        assert (prepared.width, prepared.height) == (6000, 4000)


@pytest.mark.parametrize("mib", [64, 76, 124, 136])
def test_a_photo_that_there_is_no_memory_for_is_not_called_damaged(mib: int, sandbox: Sandbox) -> None:
    # The one is decoded before it is encoded, the other meanwhile: the libraries run out of memory in other places.
    whole = {"name": "whole", "fit": "width", "width": 6000, "format": "jpeg"}
    once = Recipe.model_validate({"name": "once", "title": "Once", "renditions": [whole]})

    for recipe in (RECIPES["original-clean"], once):
        with Encoded.from_bytes(photos.jpeg(6000, 4000)) as source, pytest.raises(Refused, match="needs more memory"):
            sandbox.render(source, recipe, Limits(memory_bytes=mib << 20))
