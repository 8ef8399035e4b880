"""This project: the sandbox, strict, with its recipes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from benchmarks.contenders.race import Task, folders, race
from pipelines import Encoded, Limits, Recipe, Sandbox

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


def main() -> None:
    with Sandbox(concurrency=1) as sandbox:

        def work(photo: Path, outputs: list[Task]) -> list[bytes]:
            with (
                Encoded.from_bytes(photo.read_bytes()) as source,
                sandbox.render(source, recipe_of(outputs), LIMITS) as renditions,
            ):
                return [bytes(one.data) for one in renditions]

        race(work, *folders())


if __name__ == "__main__":
    main()
