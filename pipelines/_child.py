"""The life of one sandboxed child: confine, map, work, report, end. It never returns."""

from __future__ import annotations

import gc
import json
import mmap
import os
import traceback
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, NoReturn

from pipelines._confinement import INPUT, REPORT, Confinement, LayerError
from pipelines._outcomes import RefusalCode
from pipelines._programs import Program, Work
from pipelines._refusal import MissingLibrary, Refusal, means_no_memory
from pipelines._wire import EXIT_REPORTED, EXIT_SILENT, EXIT_UNCONFINED, MAX_REPORT, Order


def run_child(
    order: Order,
    descriptors: tuple[int, int, int],
    confinement: Confinement,
    programs: Mapping[str, Program],
    parent: int,
) -> NoReturn:
    """Do one order in this freshly forked process and end it."""
    code = EXIT_SILENT
    try:
        # A collection would touch, and so copy, every page inherited from the zygote.
        gc.disable()
        try:
            confinement.enter(order.bounds, descriptors, parent)
        except LayerError as error:
            _report({"kind": "unconfined", "layer": error.layer.value}, descriptors[1])
            code = EXIT_UNCONFINED
        else:
            _report(_work(order, programs), REPORT)
            code = EXIT_REPORTED
    finally:
        # Not sys.exit: nothing of the zygote's may be cleaned up, flushed or told twice.
        os._exit(code)


def _work(order: Order, programs: Mapping[str, Program]) -> dict[str, Any]:
    try:
        size = os.fstat(INPUT).st_size
        data = mmap.mmap(INPUT, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        return programs[order.program](Work(data, order.source, order.arguments, order.bounds))
    except Refusal as refusal:
        return {
            "kind": "refused",
            "code": refusal.code.value,
            "actual": refusal.actual,
            "limit": refusal.limit,
            "what": refusal.what,
        }
    except MissingLibrary:
        return {"kind": "missing-library"}
    except Exception as error:  # noqa: BLE001  Whatever it is, only its place in our own code leaves the sandbox.
        if isinstance(error, MemoryError) or means_no_memory(str(error)):
            return {"kind": "refused", "code": RefusalCode.TOO_MUCH_MEMORY.value, "limit": order.bounds.memory_bytes}
        return {"kind": "broken", "where": _place_of(error)}


def _place_of(error: BaseException) -> str:
    """Return file, line and class of an error, never its message: that may quote the image."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "pipelines" in PurePath(frame.filename).parts] or list(frames)
    return f"{PurePath(own[-1].filename).name}:{own[-1].lineno} {type(error).__name__}"


def _report(report: dict[str, Any], fd: int) -> None:
    message = json.dumps(report, separators=(",", ":")).encode()
    if len(message) <= MAX_REPORT:
        os.pwrite(fd, message, 0)
