from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import pytest

from pipelines import Encoded, Limits, Refused, Sandbox, load_recipes
from tests import photos
from tests.pipelines.fuzz import KINDS, damaged, fuzz, seeds

pytestmark = pytest.mark.slow


def test_damaged_files_of_every_format_are_pictures_or_refusals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    counts, findings = fuzz(5, seed=20_261_123)

    assert findings == []
    assert counts["made"] > 0
    assert counts.total() > counts["made"]


@pytest.mark.parametrize(
    ("image", "media_format"), [((1, 900), "PNG"), ((2, 2), "PNG")]
)  # fmt: skip
def test_a_sliver_is_no_crash_in_any_recipe(image: tuple[int, int], media_format: str, sandbox: Sandbox) -> None:
    upload = photos.encode(photos.picture(900, 900).crop((0, 0, *image)), media_format)
    with Encoded.from_bytes(upload) as source:
        for recipe in load_recipes().values():
            with suppress(Refused):
                sandbox.render(source, recipe, Limits()).close()


def test_a_header_that_claims_more_pixels_than_there_are_bytes_in_the_world_is_refused(sandbox: Sandbox) -> None:
    tiff = bytearray(photos.encode(photos.picture(40, 30), "TIFF"))
    for tag in (b"\x00\x01", b"\x01\x01"):
        at = tiff.index(tag + b"\x04\x00\x01\x00\x00\x00") if tag + b"\x04\x00\x01\x00\x00\x00" in tiff else -1
        if at < 0:
            at = tiff.index(tag + b"\x03\x00\x01\x00\x00\x00")
        tiff[at + 2 : at + 12] = b"\x04\x00\x01\x00\x00\x00" + (100_000_000).to_bytes(4, "little")
    with Encoded.from_bytes(bytes(tiff)) as source, pytest.raises(Refused):
        sandbox.probe(source, Limits())


@pytest.mark.parametrize("seed", [250, 441, 611, 716])
def test_what_was_found_once_is_answered_now(seed: int, sandbox: Sandbox) -> None:
    """A sliver with no room for the search, AVIF's own kind of error twice, a size beyond what a report could carry."""
    data = damaged(random.Random(seed), seeds(KINDS[:6]))
    with Encoded.from_bytes(data) as source:
        for recipe in load_recipes().values():
            with suppress(Refused):
                sandbox.render(source, recipe, Limits(pixels=4_000_000)).close()
