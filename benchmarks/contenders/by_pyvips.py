"""Bare libvips: what its documentation advises, in one process, without a sandbox."""

from __future__ import annotations

from pathlib import Path

import pyvips

from benchmarks.contenders.race import CannotError, Task, folders, race

ANY = 10_000_000

pyvips.cache_set_max(0)


def work(photo: Path, outputs: list[Task]) -> list[bytes]:
    data = photo.read_bytes()
    if photo.suffix == ".heic":
        raise CannotError("the wheel has no HEVC decoder")
    if "square" in outputs[0]:
        side = outputs[0]["square"]
        image = pyvips.Image.thumbnail_buffer(data, side, height=side, size="down").flatten(background=[255] * 3)
        left, top = (side - image.width) // 2, (side - image.height) // 2
        page = image.embed(left, top, side, side, extend="background", background=[255] * 3)
        return [page.jpegsave_buffer(Q=outputs[0]["quality"], subsample_mode="off", optimize_coding=True, keep="none")]
    reduced: dict[int, pyvips.Image] = {}
    for width in sorted({output["width"] for output in outputs}, reverse=True):
        image = (
            pyvips.Image.thumbnail_buffer(data, width, height=ANY, size="down")
            if not reduced
            else min(reduced.items())[1].thumbnail_image(width, height=ANY, size="down")
        )
        reduced[width] = image.copy_memory() if len(outputs) > 1 else image
    made = []
    for output in outputs:
        image, quality = reduced[output["width"]], output["quality"]
        if output["format"] == "webp":
            made.append(image.webpsave_buffer(Q=quality, effort=4, keep="none"))
        else:
            made.append(image.jpegsave_buffer(Q=quality, subsample_mode="on", optimize_coding=True, keep="none"))
    return made


if __name__ == "__main__":
    race(work, *folders())
