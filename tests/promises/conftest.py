"""Fixtures for tests of the promises."""

from __future__ import annotations

from tests.harness import pools
from tests.in_process import advance, bench

__all__ = ["advance", "bench", "pools"]
