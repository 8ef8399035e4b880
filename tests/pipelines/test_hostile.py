"""The hostile set through the whole child: an answer within the limits, and never a picture of what is none."""

from __future__ import annotations

import time

import pytest

from pipelines import Encoded, Limits, Refused, Sandbox, load_recipes
from tests.pipelines.hostile import FILES

pytestmark = pytest.mark.slow

RECIPES = load_recipes()


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_answered_within_the_limits_and_costs_nobody_else(
    name: str, sandbox: Sandbox, limits: Limits
) -> None:
    hostile, zygote = FILES[name], sandbox.zygote_pid
    started = time.monotonic()

    with Encoded.from_bytes(hostile.make()) as source:
        if hostile.good:
            for recipe in ("web-set", "original-clean"):
                sandbox.render(source, RECIPES[recipe], limits).close()
        else:
            with pytest.raises(Refused) as refused:
                sandbox.render(source, RECIPES["web-set"], limits)
            assert str(refused.value).endswith(".") or str(refused.value).endswith(")")

    assert time.monotonic() - started < 2 * limits.wall.total_seconds() + 10
    assert sandbox.zygote_pid == zygote
