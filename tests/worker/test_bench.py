from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipelines import Limits
from storage import StoreConfigError, load_policies
from worker.bench import Bench

POLICY = """
name = "small"
title = "Small photos, quickly"
[upload]
latest_seconds = 60
[output]
latest_seconds = 60
[limits]
"""


def bench(folder: Path, limits: str) -> Bench:
    (folder / "small.toml").write_text(POLICY + limits)
    rest: Any = SimpleNamespace()
    return Bench(
        settings=rest, store=rest, jobs=rest, broker=rest, recipes={}, policies=load_policies(folder),
        providers=rest, sandbox=rest, limits=Limits(),
    )  # fmt: skip


def test_a_policy_bounds_what_a_photo_may_cost_and_leaves_the_rest_as_it_is(tmp_path: Path) -> None:
    own = bench(
        tmp_path,
        "pixels = 1_000_000\nside = 2000\nframes = 5\nscans = 20\nprofile_bytes = 9999\nseconds = 3\n"
        "memory_bytes = 99_999_999",
    )

    assert own.limits_under("small") == Limits(
        pixels=1_000_000, side=2000, frames=5, scans=20, profile_bytes=9999, memory_bytes=99_999_999,
        wall=timedelta(seconds=3), cpu=timedelta(seconds=3),
    )  # fmt: skip
    assert own.limits_under("process-and-forget") == Limits()


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ("pixels = 400_000_001", "limits.pixels"),
        ("side = 20_001", "limits.side"),
        ("seconds = 0", "limits.seconds"),
        ("memory_bytes = 1", "limits.memory_bytes"),
        ("megapixels = 3", "limits.megapixels"),
    ],
)  # fmt: skip
def test_a_policy_cannot_ask_for_more_than_the_sandbox_can_hold_to(tmp_path: Path, limits: str, field: str) -> None:
    with pytest.raises(StoreConfigError, match=field):
        bench(tmp_path, limits)


@pytest.mark.parametrize("name", ["pixels", "side", "frames", "scans", "profile_bytes", "memory_bytes"])
def test_whatever_a_policy_allows_the_limits_allow_too(tmp_path: Path, name: str) -> None:
    """The two rooms do not know each other, so their bounds could drift apart."""
    most = {"pixels": 400_000_000, "side": 20_000, "frames": 100_000, "scans": 100_000,
            "profile_bytes": 1 << 30, "memory_bytes": 1 << 40}[name]  # fmt: skip
    found = bench(tmp_path, f"{name} = {most}").limits_under("small")

    assert Limits.model_validate(cast("dict[str, Any]", found.model_dump())) == found
