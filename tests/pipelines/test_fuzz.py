from __future__ import annotations

import itertools
import random
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from pipelines import Encoded, Limits, Refused, Sandbox, load_recipes
from tests import photos
from tests.pipelines import planted_faults
from tests.pipelines.fuzz import FINDINGS, fuzz
from tests.pipelines.fuzz_orders import ORDERS, case_of
from tests.pipelines.fuzz_seeds import KINDS, damaged, mended, seeds

pytestmark = pytest.mark.slow


def turns() -> list[bytes]:
    """Return a case for each seed, under the orders by turns; in a campaign each has all of them."""
    return [case_of(order, file) for order, file in zip(itertools.cycle(ORDERS), seeds(), strict=False)]


@pytest.mark.timeout(300)
def test_what_libfuzzer_makes_of_every_format_is_answered_by_the_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    # The counts end it, whatever the time.
    campaign = fuzz(600, seed=20_261_123, cases=turns(), counts=(250, 60))

    assert campaign.findings == []
    assert campaign.executions >= 250
    assert campaign.coverage[1] > campaign.coverage[0] > 0
    assert campaign.replayed == campaign.cases > len(turns())
    assert campaign.answers.total() == campaign.replayed + 60
    assert 0 < campaign.answers["made"] < campaign.answers.total()


@pytest.mark.timeout(300)
def test_the_fuzzer_finds_what_raises_and_what_crashes_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each ends the process under libFuzzer; the runs asked for are had all the same."""
    monkeypatch.chdir(tmp_path)
    cases = [case_of("probe", fault) for fault in (planted_faults.RAISES, planted_faults.CRASHES)]

    campaign = fuzz(600, seed=1, cases=[*turns()[:3], *cases], counts=(30, 0), target=planted_faults.__name__)

    found = "\n".join(campaign.findings)
    assert campaign.deaths["crash"] >= 2
    assert campaign.executions >= 30
    assert "planted_faults.py" in found
    assert "ZeroDivisionError" in found
    assert "the process under libFuzzer died" in found
    assert {file.read_bytes() for file in FINDINGS.iterdir()} >= set(cases)
    assert f"fuzz again {FINDINGS}/" in found


def test_a_target_that_cannot_run_is_no_success() -> None:
    with pytest.raises(RuntimeError, match="No module named tests\\.pipelines\\.no_such_target"):
        fuzz(5, seed=1, cases=turns()[:1], target="tests.pipelines.no_such_target")


def test_what_is_mended_is_read_past_its_checksums() -> None:
    png, webp = photos.encode(photos.picture(8, 8), "PNG"), photos.encode(photos.picture(8, 8), "WEBP")
    narrower = png[:19] + b"\x07" + png[20:]

    assert mended(png) == png
    assert mended(webp) == webp
    assert mended(narrower) != narrower
    assert Image.open(photos.io.BytesIO(mended(narrower))).width == 7
    assert mended(webp + b"more").startswith(b"RIFF" + (len(webp) - 4).to_bytes(4, "little"))


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
