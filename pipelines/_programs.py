"""
What a sandboxed child can do: one function per operation, from the mapped input to a small report.

Each runs once, in a process of its own, with nothing but its input, its payload file and its arguments. The report
is a dict of numbers and names from closed lists; the worker checks every one of them again.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pyvips

from pipelines import _jpeg
from pipelines._confinement import PAYLOAD
from pipelines._framing import Mark, frame
from pipelines._inspect import Facts, inspect
from pipelines._outcomes import RefusalCode
from pipelines._refusal import MissingLibrary, Refusal
from pipelines._wire import Bounds
from pipelines.provenance import DigitalSource, xmp_packet
from pipelines.renditions import (
    BoxRendition,
    CanvasRendition,
    CleanRendition,
    PlaceholderRendition,
    RenditionSpec,
    WidthRendition,
    rendition_from_json,
)
from pipelines.steps import decode, encode, place
from pipelines.steps.colour import flatten
from pipelines.steps.crop import plan_box
from pipelines.steps.finish import sharpen_for_size
from pipelines.steps.measure import measure
from pipelines.steps.placeholder import placeholder
from pipelines.steps.rights import Rights, rights_of

Report = dict[str, Any]

# Enough must be left for the renditions that are still to come, and for a processor that others use as well.
_SHARE_FOR_CARE = 0.6


@dataclass(frozen=True, slots=True)
class Work:
    """One run, as its program sees it."""

    data: decode.Data
    source: tuple[int, int, int] | None
    arguments: Mapping[str, Any]
    bounds: Bounds
    # In seconds of this process, which in a child began just before.
    started: float = field(default_factory=time.process_time)

    def seconds_for_care(self) -> float:
        """Return how much of the processor's time is left for what makes a rendition better, but is not needed."""
        return self.bounds.cpu_seconds * _SHARE_FOR_CARE - (time.process_time() - self.started)


Program = Callable[[Work], Report]


class Payload:
    """The output file: appended to, never read. Keeps the sum of all pieces under the bound."""

    def __init__(self, limit: int) -> None:
        self.size = 0
        self._limit = limit

    def append(self, piece: bytes) -> tuple[int, int]:
        """
        Write one piece and return its offset and size.

        Raises:
            Refusal: All pieces together would be larger than the bound.
        """
        offset = self.size
        if offset + len(piece) > self._limit:
            raise Refusal(RefusalCode.OUTPUT_TOO_LARGE, actual=offset + len(piece), limit=self._limit)
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(PAYLOAD, rest) :]
        self.size += len(piece)
        return offset, len(piece)


def probe(work: Work) -> Report:
    """Report what the header says."""
    return {"kind": "facts", **inspect(work.data, work.bounds).as_json()}


def prepare(work: Work) -> Report:
    """Write the clean picture: raw pixels, PNG or JPEG."""
    facts = inspect(work.data, work.bounds)
    side, encoding = work.arguments["max_side"], work.arguments["encoding"]
    with decode.reading(work.data, facts.format, facts.orientation, width=side, height=side) as image:
        if encoding == "jpeg":
            image = flatten(image)
        if encoding == "pixels":
            image.rawsave_target(pyvips.Target.new_to_descriptor(PAYLOAD))
            size = image.width * image.height * image.bands
        else:
            data = encode.encode(image, encoding, quality=95, chroma="4:4:4")
            _, size = Payload(work.bounds.payload_bytes).append(data)
    return {"kind": "picture", "width": image.width, "height": image.height, "bands": image.bands, "size": size}


def cut_out(work: Work) -> Report:
    """Write the product alone, as RGBA pixels of the same size."""
    # The zygote has imported it if it can be had; the child could not even look.
    step = sys.modules.get("pipelines.steps.cut_out")
    if step is None:
        raise MissingLibrary
    assert work.source is not None
    width, height, bands = work.source
    size = width * height * 4
    os.ftruncate(PAYLOAD, size)
    step.cut_out_into(work.data, width, height, bands, PAYLOAD)
    return {"kind": "picture", "width": width, "height": height, "bands": 4, "size": size}


def render(work: Work) -> Report:
    """Decode once and write every rendition, one after the other."""
    specs = [rendition_from_json(fields) for fields in work.arguments["renditions"]]
    facts: Facts | None = None
    if work.source is None:
        facts = inspect(work.data, work.bounds)
    payload = Payload(work.bounds.payload_bytes)
    items: list[Report] = []
    notes: list[Report] = []
    with ExitStack() as reading:
        master = _Master(work, facts, specs, reading)
        for index, spec in enumerate(specs):
            item = _render_one(spec, index, master, payload, notes)
            if item is not None:
                items.append({"index": index, **item})
    if not items:
        longest = max(encode.LONGEST_SIDE[spec.format] for spec in specs if isinstance(spec, WidthRendition))
        raise Refusal(RefusalCode.SIDE_TOO_LONG, actual=max(master.source_size), limit=longest)
    return {"kind": "renditions", "items": items, "notes": notes}


class _Master:
    """
    The decoded source, made on first use at the largest size any rendition needs, and its reductions.

    Where one rendition reads it once, it is decoded meanwhile, until `reading` ends.
    """

    def __init__(self, work: Work, facts: Facts | None, specs: list[RenditionSpec], reading: ExitStack) -> None:
        self.work = work
        self.facts = facts
        source = work.arguments.get("digital_source")
        rights = Rights("", "")
        if work.arguments.get("keep_copyright") and facts is not None:
            rights = rights_of(work.data, facts.format)
        self.xmp = xmp_packet(None if source is None else DigitalSource(source), *rights)
        self.mark = Mark(work.arguments.get("watermark"), work.bounds)
        self._widths = sorted({spec.width for spec in specs if isinstance(spec, WidthRendition)}, reverse=True)
        self._only_widths = all(isinstance(spec, WidthRendition | PlaceholderRendition) for spec in specs)
        self._boxes = [spec for spec in specs if isinstance(spec, BoxRendition)]
        self._only_boxes = all(
            (isinstance(spec, BoxRendition) and not spec.trim) or isinstance(spec, PlaceholderRendition)
            for spec in specs
        )
        self._reading = reading
        only = specs[0] if len(specs) == 1 else None
        self._read_once = isinstance(only, WidthRendition) and only.max_bytes is None and not only.watermark
        self._whole: pyvips.Image | None = None
        self._reduced: dict[int, pyvips.Image] = {}

    @property
    def source_size(self) -> tuple[int, int]:
        """The upright width and height of the source in pixels."""
        if self.facts is None:
            assert self.work.source is not None
            return self.work.source[:2]
        size = self.facts.width, self.facts.height
        return size[::-1] if self.facts.orientation >= 5 else size

    @property
    def source_width(self) -> int:
        """The upright width of the source in pixels."""
        return self.source_size[0]

    @property
    def asked(self) -> list[int]:
        """The widths asked for, largest first."""
        return self._widths

    def widths(self) -> list[int]:
        """The widths asked for that the source can fill, or its own width if it can fill none; largest first."""
        return [width for width in self._widths if width <= self.source_width] or [self.source_width]

    def whole(self) -> pyvips.Image:
        """The source at full size, or as large as the largest rendition needs it where only widths or boxes are."""
        if self._whole is None:
            if self.facts is None:
                assert self.work.source is not None
                self._whole = decode.load_from_pixels(self.work.data, *self.work.source)
            else:
                self._whole = self._decoded(self.facts)
        return self._whole

    def _decoded(self, facts: Facts) -> pyvips.Image:
        data, kind, orientation = self.work.data, facts.format, facts.orientation
        if self._read_once:
            return self._reading.enter_context(decode.reading(data, kind, orientation, width=self.widths()[0]))
        if self._only_widths and self._widths:
            return decode.load(data, kind, orientation, width=self.widths()[0])
        if self._only_boxes and self._boxes:
            plans = [plan_box(*self.source_size, (spec.width, spec.height), spec.mode) for spec in self._boxes]
            largest = max(plans, key=lambda plan: plan.picture_width)
            if largest.scale < 1:
                # Exactly that large, so that its frame needs no second reduction.
                size = largest.picture_width, largest.picture_height
                return decode.load(data, kind, orientation, width=size[0], height=size[1], exact=True)
        return decode.load(data, kind, orientation)

    def at_width(self, width: int) -> pyvips.Image:
        """The source reduced to `width`, one of `widths`; each is made from the next larger one, which is cheaper."""
        if not self._reduced:
            image = self.whole()
            for wide in self.widths():
                if image.width > wide:
                    image = image.thumbnail_image(wide, height=decode.ANY_SIDE, size="down", no_rotate=True)
                    image = image.copy_memory()
                self._reduced[wide] = image
        return self._reduced[width]

    def animated(self, width: int) -> pyvips.Image | None:
        """All frames one below the other, `width` wide; None if there is only one, or not room for all."""
        if self.facts is None or self.frames < 2 or self.frames > self.most_frames:
            return None
        return decode.load_frames(self.work.data, self.facts.format, self.facts.orientation, width)

    @property
    def frames(self) -> int:
        """How many frames of the source can be shown one after the other."""
        return 1 if self.facts is None or self.facts.format not in decode.ANIMATED else self.facts.frames

    @property
    def most_frames(self) -> int:
        """How many such frames there is room for: one below the other they are one picture, within its bounds."""
        width, height = self.source_size
        return min(decode.ANY_SIDE // height, self.work.bounds.pixels // (width * height))


def _render_one(
    spec: RenditionSpec, index: int, master: _Master, payload: Payload, notes: list[Report]
) -> Report | None:
    def note(code: str, actual: int, wanted: int) -> None:
        notes.append({"index": index, "code": code, "actual": actual, "wanted": wanted})

    def encoded_page(page: pyvips.Image, its: CanvasRendition | BoxRendition) -> bytes:
        made = encode.encode_page(page, its, master.xmp, seconds=master.work.seconds_for_care())
        if made.stained:
            note("background-not-white", made.stained, 0)
        return made.data

    if isinstance(spec, WidthRendition):
        widths = master.widths()
        width = spec.width
        if width not in widths:
            # The photo is too narrow. The narrowest of these renditions stands in at the photo's own width.
            if widths != [master.source_width] or spec.width != master.asked[-1]:
                note("skipped-too-narrow", master.source_width, spec.width)
                return None
            width = master.source_width
            note("narrower-than-asked", width, spec.width)
        frames = master.animated(width) if spec.animated else None
        if frames is not None:
            return _item(spec.format, frames, payload.append(encode.encode_under(frames, spec, master.xmp).data))
        if spec.animated and master.frames > 1:
            note("first-frame-only", master.frames, master.most_frames)
        image = master.at_width(width)
        if image.height > encode.LONGEST_SIDE[spec.format]:
            note("skipped-too-long", image.height, encode.LONGEST_SIDE[spec.format])
            return None
        if spec.sharpen:
            image = sharpen_for_size(image, width / master.source_width)
        if spec.watermark:
            image = master.mark.on(image)
        return _item(spec.format, image, payload.append(encode.encode_under(image, spec, master.xmp).data))
    if isinstance(spec, CanvasRendition):
        placed = place.place(master.whole(), spec)
        if placed.placement.canvas < max(spec.size):
            note("canvas-smaller", placed.placement.canvas, max(spec.size))
        if not placed.cut_out:
            note("no-cut-out", 0, 0)
        return _item(spec.format, placed.image, payload.append(encoded_page(placed.image, spec)))
    if isinstance(spec, BoxRendition):
        framed = frame(master.whole(), spec, master.source_size)
        if max(framed.plan.width, framed.plan.height) < max(spec.width, spec.height) and spec.mode != "inside":
            note("box-smaller", max(framed.plan.width, framed.plan.height), max(spec.width, spec.height))
        image = master.mark.on(framed.image) if spec.watermark else framed.image
        return _item(spec.format, image, payload.append(encoded_page(image, spec)))
    if isinstance(spec, PlaceholderRendition):
        offset, size = payload.append(placeholder(master.whole(), *master.source_size))
        wide, high = master.source_size
        return {"format": "json", "width": wide, "height": high, "offset": offset, "size": size}
    return _clean(spec, master, payload)


def _clean(_spec: CleanRendition, master: _Master, payload: Payload) -> Report:
    facts, image = master.facts, master.whole()
    if facts is not None and facts.format == "jpeg" and facts.orientation == 1 and not facts.has_profile:
        stripped = _jpeg.without_metadata(master.work.data)
        # A claim worth checking: the file without its metadata decodes to the very same pixels.
        if _shows(stripped, image):
            if master.xmp is not None:
                stripped = _jpeg.with_xmp(stripped, master.xmp)
            return _item("jpeg", image, payload.append(stripped))
    return _item("png", image, payload.append(encode.encode(image, "png", xmp=master.xmp)))


def _shows(jpeg: bytes, image: pyvips.Image) -> bool:
    """Say whether the file is whole, not only forgiven by a decoder, and decodes to just this picture."""
    try:
        return _jpeg.is_complete(jpeg) and (decode.load(jpeg, "jpeg", 1) != image).max() == 0
    except Refusal:
        return False


def _item(media_format: str, image: pyvips.Image, written: tuple[int, int]) -> Report:
    offset, size = written
    # Of an animation the frames lie one below the other.
    height = image.get_page_height()
    return {"format": media_format, "width": image.width, "height": height, "offset": offset, "size": size}


def measured(work: Work) -> Report:
    """Report what a marketplace looks at, shares in parts of a million."""
    facts = inspect(work.data, work.bounds)
    found = measure(decode.load(work.data, facts.format, facts.orientation))
    turned = facts.orientation >= 5
    return {
        "kind": "measured",
        "format": facts.format,
        "width": facts.height if turned else facts.width,
        "height": facts.width if turned else facts.height,
        "frames": facts.frames,
        "cmyk": facts.cmyk,
        "has_alpha": facts.has_alpha,
        "white_border": int(found.white_border * 1_000_000),
        "white_outside": None if found.white_outside is None else int(found.white_outside * 1_000_000),
        "fill": int(found.fill * 1_000_000),
    }


PROGRAMS: dict[str, Program] = {
    "probe": probe,
    "prepare": prepare,
    "render": render,
    "measure": measured,
}
# In a zygote of its own: what it needs is large, and few photos need it.
CUT_OUT: dict[str, Program] = {"cut_out": cut_out}
