"""This project: the sandbox, strict, with its recipes."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from benchmarks.contenders.race import Task, folders, race
from pipelines import Encoded, Limits, Recipe, Sandbox
from pipelines.sources import new_memfd, seal_memfd

# The machine may be busy; what is measured is the work, not the patience.
LIMITS = Limits(wall=timedelta(minutes=5), cpu=timedelta(minutes=2))


def recipe_of(outputs: list[Task]) -> Recipe:
    specs = []
    for index, output in enumerate(outputs):
        common = {"name": f"r{index}", "format": output["format"], "quality": output["quality"]}
        if "square" in output:
            side = output["square"]
            box = {"fit": "box", "mode": "pad", "focus": "centre", "width": side, "height": side, "chroma": "4:4:4"}
            specs.append({**common, **box, "quality_min": output["quality"]})
        else:
            specs.append({**common, "fit": "width", "width": output["width"]})
    return Recipe.model_validate({"name": "race", "title": "Race", "renditions": specs})


def opened(photo: Path) -> Encoded:
    """Return the photo as the store opens an upload: written straight into a sealed memory file."""
    size = photo.stat().st_size
    descriptor = new_memfd("photo")
    with photo.open("rb") as file:
        while os.fstat(descriptor).st_size < size:
            os.sendfile(descriptor, file.fileno(), None, size)
    seal_memfd(descriptor)
    return Encoded(descriptor)


def main() -> None:
    with Sandbox(concurrency=1) as sandbox:

        def work(photo: Path, outputs: list[Task]) -> list[bytes]:
            with (
                opened(photo) as source,
                sandbox.render(source, recipe_of(outputs), LIMITS) as renditions,
            ):
                return [bytes(one.data) for one in renditions]

        race(work, *folders())


if __name__ == "__main__":
    main()
