"""
What a child may say, read as if an attacker had written it.

A report is at most 64 KiB of JSON that must match one of these shapes exactly: numbers within bounds, names from
closed lists. No text of the child's own is ever shown, logged or stored.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pipelines._confinement import Layer
from pipelines._outcomes import RefusalCode
from pipelines.sources import NoteCode, PhotoFormat

# A header may claim 2³² pixels each way, and the refusal says how many that are.
Count = Annotated[int, Field(ge=0, le=1 << 64)]
Size = Annotated[int, Field(ge=1, le=100_000)]
Millionths = Annotated[int, Field(ge=0, le=1_000_000)]
Index = Annotated[int, Field(ge=0, le=63)]
# The kinds of file that are known and not read, as a sentence names them.
FileKind = Literal[
    "Photoshop", "PDF", "PostScript", "icon", "JPEG XL", "JPEG 2000", "ZIP", "camera raw", "HEIC", "video", "SVG",
    "multi-channel", "unusual TIFF",
]  # fmt: skip


# A placeholder goes to the web page as it is, so nothing but this is let through.
PLACEHOLDER = re.compile(
    rb'\{"width":\d{1,6},"height":\d{1,6},"blurhash":"[0-9A-Za-z#$%*+,\-.:;=?@\[\]^_{|}~]{6,200}",'
    rb'"thumbhash":"[0-9A-Za-z+/=]{6,80}","colours":\[(?:"#[0-9a-f]{6}"(?:,"#[0-9a-f]{6}"){0,7})?\]\}'
)


class _Strict(BaseModel):
    # Built when a sandbox starts: most processes of the command have none, and it takes a tenth of a second.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)


class FactsReport(_Strict):
    """The answer of `probe`."""

    kind: Literal["facts"]
    format: Annotated[PhotoFormat, Field(strict=False)]
    width: Size
    height: Size
    frames: Count
    bands: Annotated[int, Field(ge=1, le=64)]
    bits: Literal[8, 16, 32, 64]
    has_alpha: bool
    has_profile: bool
    orientation: Annotated[int, Field(ge=1, le=8)]
    scans: Count


class MeasuredReport(_Strict):
    """The answer of `measure`; shares in parts of a million."""

    kind: Literal["measured"]
    format: Annotated[PhotoFormat, Field(strict=False)]
    width: Size
    height: Size
    frames: Count
    cmyk: bool
    has_alpha: bool
    white_border: Millionths
    white_outside: Millionths | None
    fill: Millionths


class PictureReport(_Strict):
    """The answer of `prepare` and `cut_out`: one picture, from the payload's first byte."""

    kind: Literal["picture"]
    width: Size
    height: Size
    bands: Literal[3, 4]
    size: Count


class RenditionItem(_Strict):
    """One rendition: a piece of the payload."""

    index: Index
    format: Literal["jpeg", "webp", "avif", "png", "json"]
    width: Size
    height: Size
    offset: Count
    size: Annotated[int, Field(ge=1, le=1 << 48)]


class NoteItem(_Strict):
    """One shortfall."""

    index: Index
    code: NoteCode
    actual: Count
    wanted: Count


class RenditionsReport(_Strict):
    """The answer of `render`."""

    kind: Literal["renditions"]
    items: Annotated[list[RenditionItem], Field(max_length=64)]
    notes: Annotated[list[NoteItem], Field(max_length=128)]


class RefusedReport(_Strict):
    """The file is at fault."""

    kind: Literal["refused"]
    code: Annotated[RefusalCode, Field(strict=False)]
    actual: Count | None = None
    limit: Count | None = None
    what: FileKind | None = None


class UnconfinedReport(_Strict):
    """A layer of the sandbox could not be put on."""

    kind: Literal["unconfined"]
    layer: Annotated[Layer, Field(strict=False)]


class MissingLibraryReport(_Strict):
    """An optional library is not installed."""

    kind: Literal["missing-library"]


class BrokenReport(_Strict):
    """Our own code failed, at this file and line, with this class of error."""

    kind: Literal["broken"]
    where: Annotated[str, Field(pattern=r"^[\w.<>]{1,60}:\d{1,6} \w{1,60}$")]


Report = Annotated[
    FactsReport
    | MeasuredReport
    | PictureReport
    | RenditionsReport
    | RefusedReport
    | UnconfinedReport
    | MissingLibraryReport
    | BrokenReport,
    Field(discriminator="kind"),
]
AnyReport = (
    FactsReport
    | MeasuredReport
    | PictureReport
    | RenditionsReport
    | RefusedReport
    | UnconfinedReport
    | MissingLibraryReport
    | BrokenReport
)
_ADAPTER: TypeAdapter[AnyReport] = TypeAdapter(Report, config=ConfigDict(defer_build=True))


def build() -> None:
    """Build what reads reports, once, before threads do."""
    _ADAPTER.rebuild()


def read_report(message: bytes) -> AnyReport | None:
    """Return the report, or None for anything that is not exactly one."""
    try:
        return _ADAPTER.validate_json(message)
    except ValidationError:
        return None
