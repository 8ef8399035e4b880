"""
A recipe's watermark as the PNG that its renditions carry: read from beside the recipe, or drawn from its text.

Text is drawn when the recipe is loaded, by the process of the operator whose text and font they are; the sandbox, where
no font file can be read, only ever gets the picture.
"""

from __future__ import annotations

import base64
import io
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

_PNG = b"\x89PNG\r\n\x1a\n"
# It travels with every order to the sandbox, in a message of 64 KiB.
_MOST_BYTES = 24 << 10
# The height of the letters, smaller where a long text would be too large a picture.
_LETTER_PIXELS = (56, 40, 28, 20)
_OUTLINE_SHARE = 0.05
_MOST_CHARACTERS = 60
# No font has a letter here.
_UNASSIGNED = "\U0010fffe"


class MarkError(Exception):
    """The watermark cannot be made; the message names its field."""


def with_picture(mark: dict[str, Any], beside: Traversable) -> dict[str, Any]:
    """
    Return the fields of a watermark with its picture, in base64, instead of where it comes from.

    Raises:
        MarkError: There is not exactly one of `image` and `text`, or it cannot be used.
    """
    if "png" in mark or ("image" in mark) == ("text" in mark):
        raise MarkError("watermark.image: must be the name of a PNG in the recipe's own folder, or text be given")
    if "text" in mark:
        data = _drawn(mark, beside)
    else:
        data = _read(mark["image"], "image", beside)
        if not data.startswith(_PNG) or len(data) > _MOST_BYTES:
            raise MarkError(f"watermark.image: {mark['image']} must be a PNG of at most 24 KiB")
    rest = {key: value for key, value in mark.items() if key not in ("image", "text", "font", "colour")}
    return {**rest, "png": base64.b64encode(data).decode()}


def _read(name: object, field: str, beside: Traversable) -> bytes:
    if not isinstance(name, str) or "/" in name:
        what = "a PNG" if field == "image" else "a font"
        raise MarkError(f"watermark.{field}: must be the name of {what} in the recipe's own folder")
    try:
        return beside.joinpath(name).read_bytes()
    except OSError as error:
        raise MarkError(f"watermark.{field}: {name} cannot be read: {error.strerror}") from error


def _drawn(mark: dict[str, Any], beside: Traversable) -> bytes:
    text, colour = mark["text"], mark.get("colour", [255, 255, 255])
    if not isinstance(text, str) or not text.strip() or len(text) > _MOST_CHARACTERS or not text.isprintable():
        raise MarkError(f"watermark.text: must be one line of at most {_MOST_CHARACTERS} characters")
    if not (isinstance(colour, list) and len(colour) == 3 and all(level in range(256) for level in colour)):
        raise MarkError("watermark.colour: must be three numbers from 0 to 255")
    font_file = _read(mark["font"], "font", beside) if "font" in mark else None
    data = b""
    for pixels in _LETTER_PIXELS:
        font = _font(font_file, pixels)
        _check_letters(font, text)
        data = _picture_of(text, font, (colour[0], colour[1], colour[2]))
        if len(data) <= _MOST_BYTES:
            return data
    raise MarkError("watermark.text: drawn it takes more than 24 KiB; make it shorter")


def _font(file: bytes | None, pixels: int) -> FreeTypeFont:
    # Only here: most recipes have no text, and the worker needs no font engine for those.
    from PIL import ImageFont

    if file is None:
        built_in = ImageFont.load_default(pixels)
        assert isinstance(built_in, ImageFont.FreeTypeFont)
        return built_in
    try:
        return ImageFont.truetype(io.BytesIO(file), pixels)
    except OSError as error:
        raise MarkError("watermark.font: is no font that FreeType reads") from error


def _check_letters(font: FreeTypeFont, text: str) -> None:
    absent = bytes(font.getmask(_UNASSIGNED))
    missing = [letter for letter in text if not letter.isspace() and bytes(font.getmask(letter)) == absent]
    if missing:
        raise MarkError(f"watermark.text: the font has no {missing[0]!r}; name one that has it as font")


def _picture_of(text: str, font: FreeTypeFont, colour: tuple[int, int, int]) -> bytes:
    """Return the letters as PNG, with an outline of the opposite lightness, so that any picture lets them be read."""
    from PIL import Image, ImageDraw

    outline = max(1, round(font.size * _OUTLINE_SHARE))
    left, top, right, bottom = font.getbbox(text, stroke_width=outline)
    picture = Image.new("RGBA", (round(right - left) + 2, round(bottom - top) + 2), (*colour, 0))
    ImageDraw.Draw(picture).text(
        (1 - left, 1 - top),
        text,
        font=font,
        fill=(*colour, 255),
        stroke_width=outline,
        stroke_fill=(255, 255, 255, 150) if sum(colour) < 3 * 128 else (0, 0, 0, 150),
    )
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
