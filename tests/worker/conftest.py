"""Fixtures for tests of the pool."""

from __future__ import annotations

import pytest
import redis

from tests.harness import pools
from tests.in_process import advance, bench
from tests.valkey import PrivateValkey
from tests.worker.visits import sandbox, visits

__all__ = ["advance", "bench", "client", "pools", "sandbox", "visits"]


@pytest.fixture
def client(valkey: PrivateValkey) -> redis.Redis:
    """A client of the shared server, emptied."""
    return valkey.client()
