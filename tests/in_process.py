"""The actor's body in a test's own process, on the stores of its pool, without a worker process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from pipelines import Limits, Sandbox
from tests.harness import Pool
from worker.advance import Advance
from worker.bench import Bench
from worker.leases import LeaseKeeper


@pytest.fixture
def bench(pool: Pool) -> Iterator[Bench]:
    deployment = pool.deployment
    with Sandbox() as sandbox:
        yield Bench(
            settings=deployment.settings,
            store=deployment.store,
            jobs=deployment.jobs,
            broker=deployment.broker,
            recipes=deployment.recipes,
            policies=deployment.policies,
            providers=deployment.registry,
            sandbox=sandbox,
            limits=Limits(),
        )


@pytest.fixture
def advance(bench: Bench) -> Iterator[Advance]:
    with LeaseKeeper(bench.jobs, timedelta(seconds=bench.settings.lease_seconds)) as keeper:
        yield Advance(bench, keeper, threading.Event())
