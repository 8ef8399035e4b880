from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageSequence

from pipelines import Encoded, Limits, Prepared, Recipe, RefusalCode, Refused, Sandbox, load_recipes
from pipelines.steps import decode
from tests import photos
from tests.pipelines.pictures import array_of, decoded, difference

Prepare = Callable[..., Prepared]

_FORMATS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 92},
    "PNG": {},
    "WEBP": {"lossless": True},
    "GIF": {},
    "TIFF": {"compression": "tiff_lzw"},
    "AVIF": {"quality": 90},
    "BMP": {},
    "HEIF": {"quality": 90, "chroma": 444},
}


@pytest.mark.parametrize("media_format", _FORMATS)
def test_each_format_decodes_to_what_the_other_engine_sees(media_format: str, prepared: Prepare) -> None:
    data = photos.encode(photos.picture(301, 203, seed=1), media_format, **_FORMATS[media_format])

    ours = array_of(prepared(data))

    assert difference(ours[..., :3], np.asarray(decoded(data).convert("RGB"))) < 2


@pytest.mark.parametrize("media_format", _FORMATS)
@pytest.mark.parametrize("side", [150, 64])
def test_each_format_reduces_to_what_the_other_engine_sees(media_format: str, side: int, prepared: Prepare) -> None:
    data = photos.encode(photos.picture(900, 600, seed=2), media_format, **_FORMATS[media_format])

    ours = array_of(prepared(data, side))

    height, width = ours.shape[:2]
    theirs = decoded(data).convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    assert max(width, height) == side
    assert difference(ours[..., :3], np.asarray(theirs)) < 3


@pytest.mark.parametrize("media_format", _FORMATS)
def test_probe_tells_the_format_from_the_bytes(media_format: str, sandbox: Sandbox, limits: Limits) -> None:
    with Encoded.from_bytes(photos.encode(photos.picture(64, 48), media_format)) as source:
        facts = sandbox.probe(source, limits)

    name = {"HEIF": "heic"}.get(media_format, media_format.lower())
    assert (facts.format.value, facts.width, facts.height, facts.frames) == (name, 64, 48, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("side", [None, 60])
def test_all_eight_orientations_come_out_upright(orientation: int, side: int | None, prepared: Prepare) -> None:
    picture = array_of(prepared(photos.oriented_jpeg(orientation), side))

    expected = photos.compass()
    if side is not None:
        expected = expected.resize((picture.shape[1], picture.shape[0]))
    assert picture.shape[:2] == (expected.height, expected.width)
    assert difference(picture, np.asarray(expected)) < 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("media_format", ["AVIF", "WEBP", "PNG", "HEIF"])
def test_orientation_is_not_a_matter_of_jpeg_only(media_format: str, orientation: int, prepared: Prepare) -> None:
    picture = array_of(prepared(photos.oriented_photo(orientation, media_format=media_format), 72))

    expected = photos.compass().resize((picture.shape[1], picture.shape[0]))
    assert picture.shape[:2] == (48, 72)
    assert difference(picture, np.asarray(expected)) < 5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_render_upright_in_every_recipe(
    orientation: int, sandbox: Sandbox, limits: Limits
) -> None:
    recipes = load_recipes()
    with Encoded.from_bytes(photos.oriented_jpeg(orientation, 800)) as source:
        for name in ("web-set", "original-clean"):
            with sandbox.render(source, recipes[name], limits) as renditions:
                for rendition in renditions:
                    shown = decoded(rendition.data)
                    expected = photos.compass(800).resize(shown.size)
                    assert shown.getexif().get(0x0112, 1) == 1
                    assert difference(np.asarray(shown.convert("RGB")), np.asarray(expected)) < 4


def test_a_turned_photo_is_reported_with_the_size_a_viewer_shows(sandbox: Sandbox, limits: Limits) -> None:
    with Encoded.from_bytes(photos.oriented_jpeg(6, 96)) as source:
        facts = sandbox.probe(source, limits)

    assert facts.orientation == 6
    assert facts.upright_size == (144, 96)


def test_cmyk_becomes_srgb_of_the_same_look(prepared: Prepare) -> None:
    data = photos.cmyk_jpeg()

    ours = array_of(prepared(data))

    # The engines' stand-ins for a missing CMYK profile differ by design; the picture must be the same one all the same.
    theirs = np.asarray(decoded(data).convert("RGB"))
    assert ours.shape == theirs.shape
    correlation = np.corrcoef(ours.reshape(-1).astype(float), theirs.reshape(-1).astype(float))[0, 1]
    assert correlation > 0.9


@pytest.mark.parametrize("side", [None, 150])
def test_16_bit_keeps_its_range_instead_of_clipping_to_white(side: int | None, prepared: Prepare) -> None:
    ramp = array_of(prepared(photos.png_16_bit(), side)).astype(float).mean(axis=(0, 2))

    expected = np.linspace(0, 255, len(ramp))
    assert np.abs(ramp - expected).max() < 3


def test_only_the_first_frame_of_an_animation_is_used(prepared: Prepare, sandbox: Sandbox, limits: Limits) -> None:
    data = photos.animated_gif(5)

    picture = array_of(prepared(data))
    with Encoded.from_bytes(data) as source:
        facts = sandbox.probe(source, limits)

    assert facts.frames == 5
    assert picture.shape[:2] == (64, 64)
    assert (picture[..., :3] == (255, 0, 0)).all()


@pytest.mark.parametrize("media_format", ["GIF", "WEBP", "AVIF"])
def test_all_frames_of_an_animation_are_kept_where_the_recipe_says_so(
    media_format: str, sandbox: Sandbox, limits: Limits
) -> None:
    frames = [photos.picture(120, 90, seed=seed, detail=4) for seed in range(4)]
    upload = photos.encode(frames[0], media_format, save_all=True, append_images=frames[1:], duration=[40, 60, 80, 100])

    with Encoded.from_bytes(upload) as source, sandbox.render(source, animation(), limits) as renditions:
        moving = Image.open(photos.io.BytesIO(bytes(renditions[0].data)))
        facts = [(one.width, one.height) for one in renditions]
        shown, delays = [], []
        for frame in ImageSequence.Iterator(moving):
            shown.append(np.asarray(frame.convert("RGB")))
            delays.append(frame.info["duration"])

    assert facts == [(60, 45), (60, 45)]
    assert delays == [40, 60, 80, 100]
    for picture, frame in zip(shown, frames, strict=True):
        assert difference(picture, np.asarray(frame.resize((60, 45), Image.Resampling.LANCZOS))) < 8


def test_an_animation_with_more_frames_than_there_is_room_for_shows_its_first_and_says_so(
    sandbox: Sandbox, limits: Limits
) -> None:
    with (
        Encoded.from_bytes(photos.animated_gif(300, 90)) as source,
        sandbox.render(source, animation(), limits) as renditions,
    ):
        shown = decoded(renditions[0].data)
        notes = [str(note) for note in renditions.notes]

    assert getattr(shown, "n_frames", 1) == 1
    assert notes == ["moving: only the first of 300 frames, because at most 222 of their size can be kept."]


@pytest.mark.parametrize("media_format", ["GIF", "WEBP", "AVIF"])
def test_the_bounds_on_frames_and_pixels_hold_for_all_frames_together(media_format: str, sandbox: Sandbox) -> None:
    frames = [photos.picture(40, 30, seed=seed) for seed in range(5)]
    upload = photos.encode(frames[0], media_format, save_all=True, append_images=frames[1:])

    with Encoded.from_bytes(upload) as source:
        with sandbox.render(source, animation(), Limits(pixels=5 * 40 * 30)) as all_of_them:
            moving = decoded(all_of_them[0].data)
        with sandbox.render(source, animation(), Limits(pixels=5 * 40 * 30 - 1)) as too_many:
            still = decoded(too_many[0].data)
            codes = [note.code for note in too_many.notes if note.rendition == "moving"]
        with pytest.raises(Refused) as refused:
            sandbox.render(source, animation(), Limits(frames=4))

    assert getattr(moving, "n_frames", 1) == 5
    assert getattr(still, "n_frames", 1) == 1
    assert "first-frame-only" in codes
    assert (refused.value.code, refused.value.actual, refused.value.limit) == (RefusalCode.TOO_MANY_FRAMES, 5, 4)


def test_an_avif_sequence_keeps_its_transparency(sandbox: Sandbox, limits: Limits) -> None:
    frames = [photos.compass(40).convert("RGBA") for _ in range(2)]
    for frame, alpha in zip(frames, (200, 60), strict=True):
        frame.putalpha(alpha)
    upload = photos.encode(frames[0], "AVIF", save_all=True, append_images=frames[1:])

    with Encoded.from_bytes(upload) as source, sandbox.render(source, animation(), limits) as renditions:
        moving = decoded(renditions[0].data)
        shown = [np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(moving)]

    assert [round(float(picture[..., 3].mean())) for picture in shown] == [200, 60]


def test_an_avif_sequence_is_turned_upright_frame_by_frame() -> None:
    """Not through a file: Pillow's encoder crashes on a sequence with an orientation."""
    frames = [photos.compass(40), photos.compass(40).transpose(Image.Transpose.ROTATE_180)]
    upload = photos.encode(frames[0], "AVIF", save_all=True, append_images=frames[1:], quality=95, subsampling="4:4:4")

    strip = decode.load_frames(upload, "avif", 6, 60)

    assert (strip.width, strip.height, strip.get_page_height()) == (40, 120, 60)
    for top, frame in zip((0, 60), frames, strict=True):
        shown = strip.crop(0, top, 40, 60).numpy()
        assert difference(shown, np.asarray(frame.transpose(Image.Transpose.ROTATE_270))) < 4


def animation() -> Recipe:
    widths = [
        {"name": "moving", "fit": "width", "width": 60, "format": "webp", "quality": 95, "animated": True},
        {"name": "still", "fit": "width", "width": 60, "format": "jpeg"},
    ]
    return Recipe.model_validate({"name": "animation", "title": "All frames", "renditions": widths})


@pytest.mark.parametrize("media_format", ["PNG", "WEBP", "AVIF", "TIFF", "HEIF"])
def test_alpha_is_kept_where_it_can_be_and_lies_on_white_where_it_cannot(
    media_format: str, sandbox: Sandbox, limits: Limits, prepared: Prepare
) -> None:
    image = Image.new("RGBA", (64, 64), (0, 0, 255, 0))
    image.paste((200, 0, 0, 255), (16, 16, 48, 48))
    data = photos.encode(image, media_format)

    with_alpha = array_of(prepared(data))
    with (
        Encoded.from_bytes(data) as source,
        sandbox.prepare(source, max_side=None, encoding="jpeg", limits=limits) as jpeg,
    ):
        flat = np.asarray(decoded(os.pread(jpeg.fd, jpeg.size, 0)))

    assert with_alpha.shape[2] == 4
    assert with_alpha[0, 0, 3] == 0
    assert with_alpha[32, 32, 3] == 255
    assert flat[0, 0].min() > 250
    assert difference(flat[20:44, 20:44], np.full((24, 24, 3), (200, 0, 0))) < 4


@pytest.mark.parametrize("media_format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "HEIF"])
@pytest.mark.parametrize("side", [None, 60])
def test_a_wide_profile_is_applied_and_not_just_dropped(media_format: str, side: int | None, prepared: Prepare) -> None:
    """Stored under a profile with swapped primaries, pure green must be shown as what that profile says it is."""
    data = photos.profiled((0, 255, 0), media_format)

    with_profile = array_of(prepared(data, side))

    theirs = ImageCms.profileToProfile(
        decoded(data).convert("RGB"),
        ImageCms.ImageCmsProfile(photos.io.BytesIO(photos.swapped_profile())),
        ImageCms.createProfile("sRGB"),
    )
    assert theirs is not None
    shown, stored = np.asarray(theirs).mean(axis=(0, 1)), np.asarray(decoded(data).convert("RGB")).mean(axis=(0, 1))
    assert np.abs(with_profile.mean(axis=(0, 1)) - shown).max() < 4
    assert np.abs(shown - stored).max() > 100


def test_a_broken_profile_is_ignored_as_browsers_do(prepared: Prepare) -> None:
    data = photos.encode(photos.picture(64, 48), "JPEG", icc_profile=b"not a profile" * 40)

    assert difference(array_of(prepared(data)), np.asarray(decoded(data))) < 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16"])
def test_odd_band_layouts_become_three_or_four_bands(mode: str, prepared: Prepare) -> None:
    if mode == "I;16":
        data = photos.png_16_bit(64, 48)
    else:
        data = photos.encode(photos.picture(64, 48).convert("RGBA" if mode == "LA" else "RGB").convert(mode), "PNG")

    assert prepared(data).bands in (3, 4)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_each_kind_of_bmp_is_what_the_other_engine_sees(mode: str, prepared: Prepare) -> None:
    data = photos.encode(photos.picture(61, 47).convert(mode), "BMP")

    ours = array_of(prepared(data))

    assert difference(ours[..., :3], np.asarray(decoded(data).convert("RGB"))) < 1


def test_a_progressive_jpeg_of_a_normal_number_of_scans_is_welcome(prepared: Prepare) -> None:
    data = photos.jpeg(400, 300, seed=4, progressive=True)

    assert difference(array_of(prepared(data)), np.asarray(decoded(data))) < 2


def test_a_prepared_picture_is_never_enlarged(prepared: Prepare) -> None:
    picture = prepared(photos.jpeg(320, 240, seed=5), 2000)

    assert (picture.width, picture.height) == (320, 240)
