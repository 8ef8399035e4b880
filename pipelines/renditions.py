"""
What one rendition looks like, as plain frozen data.

Five kinds, told apart by `fit`: scaled to a width, the subject on a canvas, the picture in a box, a placeholder of a
few bytes, or the picture unchanged. The same classes are validated by `pipelines.recipes` (with pydantic) and used
in the sandboxed child (without it).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le

RenditionFormat = Literal["jpeg", "webp", "avif", "png"]
Quality = Annotated[int, Ge(1), Le(100)]
Side = Annotated[int, Ge(16), Le(10_000)]
Level = Annotated[int, Ge(0), Le(255)]
Colour = tuple[Level, Level, Level]
Gravity = Literal[
    "centre", "north", "south", "west", "east", "north-west", "north-east", "south-west", "south-east"
]  # fmt: skip

MEDIA_TYPES: dict[str, str] = {
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "avif": "image/avif",
    "png": "image/png",
    "json": "application/json",
    "pixels": "pixels",
}

_STRICT = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthRendition:
    """
    The picture at most `width` pixels wide, keeping its proportions, on white if it was transparent in a JPEG.

    Of an animated GIF, WebP or AVIF the first frame; with `animated`, which WebP alone can hold, all of them. With
    `max_bytes` the quality is lowered down to `quality_min` until the file is no larger.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    name: str
    fit: Literal["width"] = "width"
    width: Side
    format: RenditionFormat
    quality: Quality = 82
    quality_min: Quality = 60
    chroma: Literal["4:2:0", "4:4:4"] = "4:2:0"
    max_bytes: Annotated[int, Gt(0)] | None = None
    sharpen: bool = False
    watermark: bool = False
    animated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CanvasRendition:
    """
    The subject alone on a canvas of one colour, its box filling `fill` of the canvas one way and less the other.

    `canvas` is the side of a square or width and height. The subject is never enlarged. A smaller subject gets a
    smaller canvas of the same shape, its longer side down to `canvas_min`; below that the photo is refused.
    Where the subject starts is a multiple of `grid`, which keeps JPEG's ringing inside its box.

    With `background_to` the canvas is a gradient down to that colour; `shadow` is how dark a soft contact shadow under
    a cut-out is.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    name: str
    fit: Literal["canvas"] = "canvas"
    canvas: Side | tuple[Side, Side]
    canvas_min: Side
    fill: Annotated[float, Gt(0), Le(1)]
    grid: Annotated[int, Ge(1), Le(64)] = 16
    background: Colour = (255, 255, 255)
    background_to: Colour | None = None
    shadow: Annotated[float, Ge(0), Le(1)] = 0.0
    format: RenditionFormat
    quality: Quality = 90
    quality_min: Quality = 60
    chroma: Literal["4:2:0", "4:4:4"] = "4:4:4"
    max_bytes: Annotated[int, Gt(0)] = 10_000_000

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the canvas."""
        return self.canvas if isinstance(self.canvas, tuple) else (self.canvas, self.canvas)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxRendition:
    """
    The whole picture in a box: covering it ("fill"), within it on a background ("pad"), or the box shrunk ("inside").

    It is never enlarged; a photo too small gets a smaller box of the same shape. `focus` is a side to keep or to lie
    at, or "attention" or "entropy" to look for what matters where something must go. `trim` first takes a border of
    one colour away. Padding is `background`, a gradient from it down to `background_to`, or the photo itself blurred.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    name: str
    fit: Literal["box"] = "box"
    width: Side
    height: Side
    mode: Literal["fill", "pad", "inside"] = "fill"
    focus: Gravity | Literal["attention", "entropy"] = "attention"
    trim: bool = False
    background: Colour = (255, 255, 255)
    background_to: Colour | None = None
    blurred_background: bool = False
    sharpen: bool = False
    watermark: bool = False
    format: RenditionFormat
    quality: Quality = 82
    quality_min: Quality = 60
    chroma: Literal["4:2:0", "4:4:4"] = "4:2:0"
    max_bytes: Annotated[int, Gt(0)] = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceholderRendition:
    """What a page shows before the picture is there, as JSON: BlurHash, ThumbHash, dominant colours, upright size."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    name: str
    fit: Literal["placeholder"] = "placeholder"


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanRendition:
    """
    The same pixels without any metadata.

    A JPEG that is upright and already sRGB keeps its compressed data bit for bit; anything else becomes a PNG.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    name: str
    fit: Literal["unchanged"] = "unchanged"


RenditionSpec = WidthRendition | CanvasRendition | BoxRendition | PlaceholderRendition | CleanRendition


KINDS: dict[str, Callable[..., RenditionSpec]] = {
    "width": WidthRendition,
    "canvas": CanvasRendition,
    "box": BoxRendition,
    "placeholder": PlaceholderRendition,
    "unchanged": CleanRendition,
}


def rendition_from_json(fields: dict[str, Any]) -> RenditionSpec:
    """
    Rebuild what `dataclasses.asdict` took apart, in the child.

    Raises:
        KeyError: `fit` is none of the kinds.
        TypeError: A field is missing or unknown.
    """
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    return KINDS[fields["fit"]](**values)
