"""
What the fuzzer asks of a child, and how: in the real sandbox, or in this process where its coverage can be seen.

A case is one byte that chooses the order and then the file, so that whoever mutates a case mutates the order as well.
Both ways go through `Sandbox`, whose checks of the answer are therefore part of what is tried.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Self

from pipelines import Encoded, Limits, Pixels, Recipe, Sandbox, _child, _reports, load_recipes
from pipelines._confinement import INPUT, PAYLOAD, REPORT
from pipelines._programs import CUT_OUT, PROGRAMS, Program
from pipelines._wire import EXIT_REPORTED, Ending, Order
from pipelines.provenance import DigitalSource

# Small, so that a run takes milliseconds; every bound is met by some file all the same.
LIMITS = Limits(pixels=1_000_000, frames=60, scans=20, profile_bytes=100_000, output_bytes=8 << 20)

Act = Callable[[Sandbox, bytes], None]


def _recipe(name: str, *renditions: dict[str, Any], **fields: Any) -> Recipe:
    named = [{"name": f"r{number}", **rendition} for number, rendition in enumerate(renditions)]
    return Recipe.model_validate({"name": name, "title": name, "renditions": named, **fields})


_RECIPES = {
    **{name: load_recipes()[name] for name in ("original-clean", "avatar", "web-set", "web-set-avif")},
    "canvases": _recipe(
        "canvases",
        {"fit": "canvas", "canvas": 64, "canvas_min": 16, "fill": 0.8, "format": "jpeg"},
        {"fit": "canvas", "canvas": [48, 64], "canvas_min": 16, "fill": 0.9, "format": "webp"},
        {"fit": "canvas", "canvas": 64, "canvas_min": 16, "fill": 0.8, "format": "avif", "max_bytes": 3000},
        {"fit": "canvas", "canvas": 64, "canvas_min": 16, "fill": 0.7, "format": "png", "background_to": [9, 9, 9],
         "shadow": 0.5},
    ),
    "boxes": _recipe(
        "boxes",
        {"fit": "box", "width": 40, "height": 30, "mode": "fill", "focus": "entropy", "format": "webp"},
        {"fit": "box", "width": 50, "height": 20, "mode": "pad", "blurred_background": True, "format": "jpeg"},
        {"fit": "box", "width": 30, "height": 60, "mode": "inside", "sharpen": True, "format": "png"},
        {"fit": "placeholder"},
    ),
    "trimmed": _recipe(
        "trimmed",
        {"fit": "box", "width": 40, "height": 40, "mode": "pad", "trim": True, "format": "jpeg",
         "background_to": [1, 2, 3]},
        {"fit": "placeholder"},
    ),
    "moving": _recipe(
        "moving",
        {"fit": "width", "width": 32, "format": "webp", "animated": True},
        {"fit": "width", "width": 24, "format": "jpeg", "sharpen": True},
        keep_copyright=True,
    ),
    "read once": _recipe("read-once", {"fit": "width", "width": 40, "format": "jpeg", "sharpen": True}),
    "squeezed": _recipe(
        "squeezed",
        {"fit": "box", "width": 64, "height": 64, "mode": "pad", "format": "jpeg", "max_bytes": 700},
        {"fit": "box", "width": 64, "height": 64, "mode": "fill", "format": "avif", "max_bytes": 900},
    ),
}  # fmt: skip


def _render(recipe: Recipe, source: DigitalSource | None = None) -> Act:
    def act(sandbox: Sandbox, file: bytes) -> None:
        with Encoded.from_bytes(file) as upload:
            sandbox.render(upload, recipe, LIMITS, digital_source=source).close()

    return act


def _prepare(encoding: Any, max_side: int | None) -> Act:
    def act(sandbox: Sandbox, file: bytes) -> None:
        with Encoded.from_bytes(file) as upload:
            sandbox.prepare(upload, max_side=max_side, encoding=encoding, limits=LIMITS).close()

    return act


def _probe(sandbox: Sandbox, file: bytes) -> None:
    with Encoded.from_bytes(file) as upload:
        sandbox.probe(upload, LIMITS)


def _measure(sandbox: Sandbox, file: bytes) -> None:
    with Encoded.from_bytes(file) as upload:
        sandbox.measure(upload, LIMITS)


def _pixels(file: bytes) -> Pixels:
    """Return the bytes as a small picture, whose shape the first two of them say."""
    width, height, bands = file[0] % 64 + 1, file[1] % 64 + 1, 3 + (file[1] >> 7)
    size = width * height * bands
    rest = file[2:] or b"\x00"
    return Pixels.from_bytes((rest * (size // len(rest) + 1))[:size], width, height, bands)


def _cut_out(sandbox: Sandbox, file: bytes) -> None:
    with _pixels(file) as source:
        sandbox.cut_out(source, LIMITS).close()


def _render_pixels(recipe: Recipe) -> Act:
    def act(sandbox: Sandbox, file: bytes) -> None:
        with _pixels(file) as source:
            sandbox.render(source, recipe, LIMITS).close()

    return act


ORDERS: dict[str, Act] = {
    "probe": _probe,
    "measure": _measure,
    "prepare as pixels": _prepare("pixels", None),
    "prepare as PNG": _prepare("png", 40),
    "prepare as JPEG": _prepare("jpeg", 50),
    **{f"render {name}": _render(recipe) for name, recipe in _RECIPES.items()},
    "render original-clean, generated": _render(_RECIPES["original-clean"], DigitalSource.COMPOSITE),
    "cut out": _cut_out,
    "render canvases from pixels": _render_pixels(_RECIPES["canvases"]),
    "render boxes from pixels": _render_pixels(_RECIPES["boxes"]),
}
# One for the order, and for raw pixels two for their shape.
_LEAST_BYTES = 4


def order_of(case: bytes) -> str:
    """Return the name of the order that a case asks for."""
    return list(ORDERS)[case[0] % len(ORDERS)] if case else "nothing"


def case_of(order: str, file: bytes) -> bytes:
    """Return the case that asks for an order on a file."""
    return bytes((list(ORDERS).index(order),)) + file


def answer(sandbox: Sandbox, case: bytes) -> None:
    """
    Have a case answered; one of fewer than four bytes asks for nothing.

    Raises:
        Refused: That is an answer.
        SandboxError: That is none: a finding.
    """
    if len(case) >= _LEAST_BYTES:
        ORDERS[order_of(case)](sandbox, case[1:])


class Unconfined(Sandbox):
    """
    The code of the child in this process: nothing is forked, limited or confined, and whatever crashes crashes here.

    It takes descriptors 3, 4 and 5 of the process for itself.
    """

    def __init__(self, programs: Mapping[str, Program] = PROGRAMS | CUT_OUT) -> None:
        super().__init__(concurrency=1)
        self._programs = programs

    def start(self) -> Self:
        _reports.build()
        return self

    def close(self) -> None:
        """Leave it all to the end of the process."""

    def _ask(self, order: Order, source: int, report: int, payload: int) -> Ending:
        for fd, target in ((source, INPUT), (report, REPORT), (payload, PAYLOAD)):
            os.dup2(fd, target, inheritable=False)
        # Through the message, which is what a child gets: tuples are lists there.
        _child._report(_child._work(Order.from_bytes(order.to_bytes()), self._programs), REPORT)
        return Ending(exit_code=EXIT_REPORTED, out_of_time=False, cpu_seconds=0, wall_seconds=0, peak_bytes=0)
