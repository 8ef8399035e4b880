"""
What goes into the sandbox and what comes out: sealed memory files and plain facts about them.

Every descriptor here is a memfd sealed against writing, growing and shrinking, so neither side can change a picture
under the other's feet, and nothing touches a disk.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Literal, Self

from pipelines.renditions import MEDIA_TYPES

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK
PIXELS = MEDIA_TYPES["pixels"]


class _Descriptor:
    """Close a descriptor once, by hand or by `with`."""

    __slots__ = ()
    fd: int

    def close(self) -> None:
        """Close the descriptor; the memory goes when its last holder has closed it."""
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def new_memfd(name: str) -> int:
    """Return an empty, unsealed memory file; `name` is shown in /proc only."""
    return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def seal_memfd(fd: int) -> None:
    """
    Freeze a memory file's content and size for good.

    Raises:
        OSError: Somebody still maps it for writing, or it is not a memory file.
    """
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)


def check_sealed(fd: int) -> None:
    """
    Make sure that nobody can change the file while a child reads it.

    Raises:
        ValueError: The descriptor is not a memfd sealed against write, grow and shrink.
    """
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        seals = 0
    if seals & SEALS != SEALS:
        raise ValueError("a sandbox source must be a memfd sealed against write, grow and shrink")


def memfd_of(data: bytes | memoryview, name: str = "dayfly-source") -> int:
    """Return a sealed memory file holding a copy of `data`; the caller closes it."""
    fd = new_memfd(name)
    try:
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[os.write(fd, rest) :]
        seal_memfd(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


@dataclass(frozen=True, slots=True)
class Encoded(_Descriptor):
    """An image file as it was uploaded, or as a provider returned it. Nothing about it is believed."""

    fd: int

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Encoded:
        """Copy `data` into a sealed memory file; use the result in a `with` block, or close it."""
        return cls(memfd_of(data))


@dataclass(frozen=True, slots=True)
class Pixels(_Descriptor):
    """Raw 8-bit sRGB pixels, row by row without padding: RGB when `bands` is 3, RGBA (not premultiplied) when 4."""

    fd: int
    width: int
    height: int
    bands: int

    @classmethod
    def from_bytes(cls, data: bytes | memoryview, width: int, height: int, bands: int) -> Pixels:
        """
        Copy raw pixels into a sealed memory file.

        Raises:
            ValueError: The data's size is not width × height × bands.
        """
        if memoryview(data).nbytes != width * height * bands:
            raise ValueError("raw pixels must be exactly width × height × bands bytes")
        return cls(memfd_of(data, "dayfly-pixels"), width, height, bands)


Source = Encoded | Pixels


class PhotoFormat(StrEnum):
    """The image formats that are read; HEIC where the extra `heic` is installed."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    GIF = "gif"
    TIFF = "tiff"
    AVIF = "avif"
    BMP = "bmp"
    HEIC = "heic"


@dataclass(frozen=True, slots=True)
class PhotoFacts:
    """
    What a file's header says.

    `width` and `height` are those of one stored frame, before its orientation is applied. A truncated file can have
    perfect facts: only decoding tells.
    """

    format: PhotoFormat
    width: int
    height: int
    frames: int
    bands: int
    bits: int
    has_alpha: bool
    has_profile: bool
    orientation: int
    scans: int

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height as a viewer shows them."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


@dataclass(frozen=True, slots=True)
class Prepared(_Descriptor):
    """A clean picture for a provider: upright, sRGB, first frame, no metadata. `media_type` may be "pixels"."""

    fd: int
    media_type: str
    width: int
    height: int
    bands: int
    size: int

    def as_pixels(self) -> Pixels:
        """
        Return the same descriptor as raw pixels; close one of the two, not both.

        Raises:
            ValueError: The picture was prepared encoded.
        """
        if self.media_type != PIXELS:
            raise ValueError(f"this picture was prepared as {self.media_type}, not as pixels")
        return Pixels(self.fd, self.width, self.height, self.bands)


NoteCode = Literal[
    "narrower-than-asked", "skipped-too-narrow", "canvas-smaller", "box-smaller", "no-cut-out", "first-frame-only",
    "skipped-too-long", "background-not-white",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Note:
    """Something a rendition fell short of, with the numbers in pixels and a sentence for people."""

    rendition: str
    code: NoteCode
    actual: int
    wanted: int

    def __str__(self) -> str:
        sentences = {
            "narrower-than-asked": f"{self.rendition}: the photo is {self.actual} px wide, so it was not enlarged "
            f"to {self.wanted} px.",
            "skipped-too-narrow": f"{self.rendition}: left out, the photo is {self.actual} px wide and "
            f"{self.wanted} px were asked.",
            "canvas-smaller": f"{self.rendition}: the canvas is {self.actual} px instead of {self.wanted} px, "
            "because the product is not enlarged.",
            "box-smaller": f"{self.rendition}: {self.actual} px on the longer side instead of {self.wanted} px, "
            "because the photo is not enlarged.",
            "first-frame-only": f"{self.rendition}: only the first of {self.actual} frames, because at most "
            f"{self.wanted} of their size can be kept.",
            "skipped-too-long": f"{self.rendition}: left out, it would be {self.actual} px high and its format ends at "
            f"{self.wanted} px.",
            "background-not-white": f"{self.rendition}: {self.actual} pixels of the background are not exactly white, "
            "because no file within max_bytes, made in the time there is, keeps them so.",
            "no-cut-out": f"{self.rendition}: the picture has no transparency, so its subject was found by its "
            "distance from the background colour.",
        }
        return sentences[self.code]


@dataclass(frozen=True, slots=True)
class Rendered:
    """One finished rendition; `data` is a window into shared memory that its `Renditions` closes."""

    name: str
    media_type: str
    width: int
    height: int
    data: memoryview


class Renditions(Sequence[Rendered]):
    """
    The renditions of one run, in the recipe's order, in one piece of memory that ends with the `with` block.

    `notes` names each shortfall: a width left out, a canvas made smaller.
    """

    def __init__(self, items: Sequence[Rendered], notes: Sequence[Note], window: mmap.mmap | None) -> None:
        self._items = tuple(items)
        self.notes = tuple(notes)
        self._window = window

    def __getitem__(self, index: int) -> Rendered:  # type: ignore[override]  # Slices of closable memory are not offered.
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Rendered]:
        return iter(self._items)

    def close(self) -> None:
        """Release the memory; every `data` is invalid afterwards. Closing twice is harmless."""
        for item in self._items:
            item.data.release()
        if self._window is not None:
            self._window.close()
            self._window = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
