"""`python -m benchmarks [NAME ...] [--quick]`."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from benchmarks.report import RESULTS, Figure, table, write

MEASUREMENTS = {
    "sealing": "sealing and opening, to raw AES-GCM",
    "image_cpu": "one job's CPU time, to the same image work done bare",
    "imaging": "image work in the sandbox, to bare libvips, Pillow, sharp, vipsthumbnail and thumbor",
    "null_jobs": "jobs without pixels: latency, rate, end to shred; to Dramatiq's own no-op",
    "key_store": "rotation of 10,000 live keys, a sweep at 10 thousand and at a million",
    "memory": "peak memory of a 200 MP upload",
}


def main() -> int:
    names = "\n".join(f"  {name:12}{what}" for name, what in MEASUREMENTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"Measure the pool.\n\n{names}",
        epilog="The results of a whole run that is not quick are written to benchmarks/RESULTS.md.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure; all of it if none is named")
    parser.add_argument("--quick", action="store_true", help="only show that it works; the numbers mean nothing")
    parser.add_argument("--output", type=Path, help="where to write the results, whatever was measured")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(MEASUREMENTS))
    if unknown:
        parser.error(f"no measurement {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}")

    figures: list[Figure] = []
    for name in arguments.names or MEASUREMENTS:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        figures += importlib.import_module(f"benchmarks.{name}").measure(quick=arguments.quick)
    print(table(figures))
    whole = not arguments.names and not arguments.quick
    if whole or arguments.output:
        write(figures, arguments.output or RESULTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
