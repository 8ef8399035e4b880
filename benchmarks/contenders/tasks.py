"""The tasks of the race, and the photos they start from."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from benchmarks.contenders.race import Task
from pipelines import load_recipes
from pipelines.renditions import WidthRendition
from tests import photos


def web_set() -> list[Task]:
    return [
        {"width": spec.width, "format": spec.format, "quality": spec.quality}
        for spec in load_recipes()["web-set"].renditions
        if isinstance(spec, WidthRendition)
    ]


def _to(width: int) -> list[Task]:
    return [{"width": width, "format": "jpeg", "quality": 80}]


TASKS: dict[str, Task] = {
    "jpeg-1024": {"what": "{a} MP JPEG to 1,024 px", "photo": "a.jpg", "outputs": _to(1024)},
    "jpeg-1000": {"what": "{a} MP JPEG to 1,000 px", "photo": "a.jpg", "outputs": _to(1000)},
    "progressive": {"what": "{a} MP progressive JPEG to 1,024 px", "photo": "p.jpg", "outputs": _to(1024)},
    "png-white": {
        "what": "{b} MP PNG with alpha to 2,000 px square on white",
        "photo": "b.png",
        "outputs": [{"square": 2000, "format": "jpeg", "quality": 90}],
    },
    "webp": {"what": "{b} MP WebP to 1,024 px", "photo": "b.webp", "outputs": _to(1024)},
    "avif": {"what": "{a} MP AVIF to 1,024 px", "photo": "a.avif", "outputs": _to(1024)},
    "heic": {"what": "{a} MP HEIC to 1,024 px", "photo": "a.heic", "outputs": _to(1024)},
    "three": {
        "what": "{a} MP JPEG to 3 renditions",
        "photo": "a.jpg",
        "outputs": [{"width": width, "format": "jpeg", "quality": 82} for width in (1600, 800, 400)],
    },
    "web-set": {"what": "{a} MP JPEG to the whole web-set", "photo": "a.jpg", "outputs": web_set()},
}
QUICK = ("png-white",)


def lay_out(folder: Path, *, quick: bool) -> dict[str, Task]:
    """Write the seeded photos and `tasks.json` into the folder and return the tasks to run."""
    tasks = {name: task for name, task in TASKS.items() if not quick or name in QUICK}
    small, large = ((1800, 1200), (2100, 1400)) if quick else ((4000, 3000), (6000, 4000))
    photo = photos.picture(*small, seed=7, detail=60)
    wanted = {task["photo"] for task in tasks.values()}
    for name, media_format, options in (
        ("a.jpg", "JPEG", {"quality": 90}),
        ("p.jpg", "JPEG", {"quality": 90, "progressive": True}),
        ("a.avif", "AVIF", {"quality": 70, "speed": 8}),
        ("a.heic", "HEIF", {"quality": 70}),
    ):
        if name in wanted:
            (folder / name).write_bytes(photos.encode(photo, media_format, **options))
    big = photos.picture(*large, seed=8, detail=60)
    if "b.webp" in wanted:
        (folder / "b.webp").write_bytes(photos.encode(big, "WEBP", quality=85, method=2))
    big.putalpha(Image.linear_gradient("L").resize(large))
    (folder / "b.png").write_bytes(photos.encode(big, "PNG", compress_level=1))
    sizes = {key: f"{width * height / 1e6:.0f}" for key, (width, height) in (("a", small), ("b", large))}
    tasks = {name: {**task, "what": task["what"].format(**sizes)} for name, task in tasks.items()}
    (folder / "tasks.json").write_text(json.dumps(tasks))
    return tasks
