"""
A worker's visits to jobs in this process, without waiting between them.

    visits.account("fal", fake.url)
    job = visits.submit("fal")
    visits.until(job.id, lambda record: record.task is not None)
    ended = visits.until_ended(job.id)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from pipelines import Limits, Sandbox
from providers import Account, Transport
from tests.fakes.server import KEY
from tests.harness import FAKE_SITE, Pool
from tests.photos import jpeg
from worker.advance import Advance
from worker.bench import Bench
from worker.leases import LeaseKeeper
from worker.records import JobRecord

SMALL = jpeg(320, 240)


class Visits:
    """One worker's tools and its actor."""

    def __init__(self, pool: Pool, bench: Bench, keeper: LeaseKeeper) -> None:
        self.pool = pool
        self.bench = bench
        self._keeper = keeper
        self.draining = threading.Event()

    def account(self, name: str, url: str, **more: Any) -> None:
        """Give the worker an account at a fake."""
        account = Account(key=SecretStr(KEY), base_url=url, **more)
        self.bench = replace(self.bench, accounts={**self.bench.accounts, name: account})

    def submit(self, provider: str, **spec: Any) -> JobRecord:
        """Submit a small photo to be cut out by a provider; nothing is rendered of the result."""
        return self.pool.submit(SMALL, "ask-only", provider=provider, **spec)

    def once(self, job_id: str) -> JobRecord:
        """Visit the job now, however long it was to wait."""
        redis = self.pool.deployment.redis
        redis.hdel(f"dayfly:job:{job_id}", "wake_at", "erase_at")
        for state in redis.scan_iter("dayfly:provider:*:state"):
            redis.hdel(state, "held_until")
        Advance(self.bench, self._keeper, self.draining)(job_id)
        return self.pool.client.show(job_id)

    def until(self, job_id: str, claim: Callable[[JobRecord], Any], *, most: int = 20) -> JobRecord:
        for _ in range(most):
            record = self.once(job_id)
            if claim(record):
                return record
        raise AssertionError(f"not within {most} visits: {record}")

    def until_ended(self, job_id: str) -> JobRecord:
        return self.until(job_id, lambda record: record.state.ended)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as started:
        yield started


@pytest.fixture
def visits(pools: Callable[..., Pool], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Visits]:
    pool = pools(pending=60, recipes_dir=str(FAKE_SITE.parent / "recipes"))
    pool.ensure_roots()
    monkeypatch.setenv("DARKROOM", str(pool.folder / "darkroom"))
    deployment = pool.deployment
    lease = timedelta(seconds=30)
    with Transport(trusted=["127.0.0.1"]) as transport, LeaseKeeper(deployment.jobs, lease) as keeper:
        bench = Bench(
            settings=deployment.settings.model_copy(update={"lease_seconds": 30}),
            store=deployment.store,
            jobs=deployment.jobs,
            broker=deployment.broker,
            recipes=deployment.recipes,
            policies=deployment.policies,
            providers=deployment.registry,
            sandbox=sandbox,
            limits=Limits(),
            transport=transport,
        )
        yield Visits(pool, bench, keeper)
