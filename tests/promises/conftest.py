"""Fixtures for tests of the promises."""

from __future__ import annotations

from tests.harness import pools

__all__ = ["pools"]
