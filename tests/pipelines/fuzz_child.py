"""
The whole child as a target of libFuzzer: what `tests.pipelines.fuzz` starts, again and again.

Inspection, decoding, every step and every encoder run in this one process under atheris, which counts the branches
taken in the Python code of `pipelines` and of Pillow. libvips, libaom and the other native code of the wheels are not
instrumented: a file is kept for what it does in Python, and a crash in native code is seen because it ends the
process, not because coverage led there. What is kept here is therefore tried again in the real sandbox.

    python -m tests.pipelines.fuzz_child CORPUS [-option=value …]
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import atheris

# Input, report and payload of a child, which go by their numbers. Taken before anything is imported that opens files.
_CHILDS_DESCRIPTORS = (3, 4, 5)
_HEADER = 256
_NAME = re.compile(rb"[A-Za-z]{4}")
_TELLING = (0, 1, 2, 3, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)


def main(
    programs: Callable[[], Mapping[str, Any]] | None = None, instrumented: Sequence[str] = ("pipelines", "PIL")
) -> None:
    """
    Fuzz until libFuzzer's options say stop.

    An answer that is none is raised, which ends the process with the case kept in a file; so does any native crash.
    """
    _reserve_descriptors()
    with atheris.instrument_imports(include=instrumented):
        from pipelines import _child, zygote
        from pipelines.errors import Refused, SandboxError

        zygote._load_libraries()
        zygote._load_decoders()
        zygote._load_opencv()
        from tests.pipelines import fuzz_orders
        from tests.pipelines.fuzz import KNOWN, PLAIN
        from tests.pipelines.fuzz_seeds import mended, seeds, wounded

    files = seeds()
    if PLAIN in os.environ:
        _child._place_of = _shown(_child._place_of)
    known = frozenset(json.loads(os.environ.get(KNOWN, "[]")))
    child = fuzz_orders.Unconfined(programs()) if programs else fuzz_orders.Unconfined()

    def try_one(case: bytes) -> None:
        try:
            fuzz_orders.answer(child, case)
        except Refused:
            pass
        except SandboxError as error:
            if str(error) not in known:
                raise

    def mutate(case: bytes, most_bytes: int, seed: int) -> bytes:
        source = random.Random(seed)
        order, file = case[:1], case[1:]
        if source.random() < 0.05 or not order:
            order = bytes((source.randrange(256),))
        way = source.random()
        if way < 0.4:
            file = wounded(source, file, files)
        elif way < 0.6 and len(file) > 4:
            file = _with_a_telling_number(source, file)
        else:
            file = atheris.Mutate(file or b"\x00", most_bytes - 1)
        if source.random() < 0.7:
            # Or the checksum is all that is ever looked at.
            file = mended(file)
        return (order + file)[:most_bytes]

    with child:
        atheris.Setup(sys.argv, try_one, custom_mutator=mutate)
        atheris.Fuzz()


def _reserve_descriptors() -> None:
    for wanted in _CHILDS_DESCRIPTORS:
        with suppress(OSError):
            os.fstat(wanted)
            raise SystemExit(f"descriptor {wanted} is in use; start the fuzzer by tests.pipelines.fuzz")
        nothing = os.open(os.devnull, os.O_RDWR)
        if nothing != wanted:
            os.dup2(nothing, wanted, inheritable=False)
            os.close(nothing)


def _shown(place_of: Callable[[BaseException], str]) -> Callable[[BaseException], str]:
    """Return what names the place of an error, and prints the error first: here nobody's secrets are in it."""

    def show(error: BaseException) -> str:
        traceback.print_exception(error)
        return place_of(error)

    return show


def _with_a_telling_number(source: random.Random, file: bytes) -> bytes:
    """Return the file with a number of its header, or of a named part, set to one that arithmetic stumbles over."""
    size = source.choice((1, 2, 4))
    at = source.randrange(min(len(file), _HEADER) - size)
    names = [found.end() for found in _NAME.finditer(file)] if source.random() < 0.5 else []
    if names:
        # PNG's chunks, RIFF's, and the boxes of AVIF and HEIC all have one of four letters.
        at = max(0, min(len(file) - size, source.choice(names) + source.randrange(-8, 32)))
    number = source.choice(_TELLING) & (1 << 8 * size) - 1
    return file[:at] + number.to_bytes(size, source.choice(("big", "little"))) + file[at + size :]


if __name__ == "__main__":
    main()
