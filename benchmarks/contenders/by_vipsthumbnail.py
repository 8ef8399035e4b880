"""Debian's `vipsthumbnail`, one start for each rendition, files in memory."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from benchmarks.contenders.race import CannotError, Task, folders, race


def work(photo: Path, outputs: list[Task]) -> list[bytes]:
    if "square" in outputs[0]:
        raise CannotError("makes no canvas")
    made = []
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        for output in outputs:
            options = f"Q={output['quality']},strip"
            options += ",effort=4" if output["format"] == "webp" else ",optimize_coding,subsample_mode=on"
            file = Path(folder) / f"out.{output['format']}"
            # The largest side a box may have in its syntax, so that the width decides.
            command = ["vipsthumbnail", str(photo), "--size", f"{output['width']}x100000>", "-o", f"{file}[{options}]"]
            done = subprocess.run(command, check=False, capture_output=True)
            if done.returncode != 0 or not file.exists():
                raise CannotError("its libvips could not read the photo")
            made.append(file.read_bytes())
    return made


if __name__ == "__main__":
    race(work, *folders())
