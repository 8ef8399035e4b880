"""The fuzzer's target with faults put in, which the fuzzer must find: run by `tests.pipelines.test_fuzz`."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any

from tests.pipelines import fuzz_child

RAISES, CRASHES = b"planted: raises", b"planted: crashes"


def programs() -> Mapping[str, Any]:
    from pipelines._programs import CUT_OUT, PROGRAMS, Report, Work

    def probe(work: Work) -> Report:
        data = bytes(work.data)
        if data == RAISES:
            raise ZeroDivisionError
        if data == CRASHES:
            os.kill(os.getpid(), signal.SIGSEGV)
        return PROGRAMS["probe"](work)

    return {**PROGRAMS, **CUT_OUT, "probe": probe}


if __name__ == "__main__":
    # To instrument Pillow takes most of the start, and here it is started three times.
    fuzz_child.main(programs, instrumented=["pipelines"])
