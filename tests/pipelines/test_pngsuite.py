from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines import Encoded, Limits, RefusalCode, Refused, Sandbox
from tests.pipelines import pngsuite
from tests.pipelines.pictures import decoded, flat, prepared_array

GOOD = {name: (data, shown) for name, data, shown in pngsuite.good()}
BROKEN = dict(pngsuite.broken())


@pytest.mark.parametrize("name", GOOD)
def test_each_kind_of_png_shows_what_the_formula_says(name: str, sandbox: Sandbox, limits: Limits) -> None:
    data, shown = GOOD[name]

    found = flat(prepared_array(sandbox, data, limits))

    assert found.shape == shown.shape
    assert np.abs(found - shown).max() <= 1.5


@pytest.mark.parametrize("name", ["basn2c08", "basi3p04", "f04n2c08", "basn0g08"])
def test_the_formula_is_what_the_other_engine_shows(name: str) -> None:
    """Guards the test above: writer and formula must agree with a decoder that is not under test."""
    data, shown = GOOD[name]

    theirs: NDArray[np.uint8] = np.asarray(decoded(data).convert("RGB"))

    assert np.abs(theirs - shown).max() <= 1.5


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_png_is_refused(name: str, sandbox: Sandbox, limits: Limits) -> None:
    with Encoded.from_bytes(BROKEN[name]) as source, pytest.raises(Refused) as refused:
        sandbox.prepare(source, max_side=None, encoding="png", limits=limits).close()

    assert refused.value.code in {
        RefusalCode.DAMAGED,
        RefusalCode.TRUNCATED,
        RefusalCode.NOT_AN_IMAGE,
        RefusalCode.TOO_MANY_PIXELS,
    }
