"""The tools one worker process works with: what the steps of a job are handed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pipelines import Limits, Recipe, Sandbox
from providers import Account, ProviderRegistry, Transport
from storage import RetentionPolicy, SealedStore
from worker.broker import NudgeBroker
from worker.gate import Gate
from worker.jobs import JobStore
from worker.prices import Prices
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything a job needs that outlives it. Shared by the threads of a worker."""

    settings: Settings
    store: SealedStore
    jobs: JobStore
    broker: NudgeBroker
    recipes: Mapping[str, Recipe]
    policies: Mapping[str, RetentionPolicy]
    providers: ProviderRegistry
    sandbox: Sandbox
    limits: Limits
    accounts: Mapping[str, Account] = field(default_factory=dict, repr=False)
    transport: Transport | None = None
    prices: Prices = field(default_factory=dict)

    @property
    def gate(self) -> Gate:
        """The gates before the accounts at providers, in the same Redis as the job records."""
        return self.jobs.gate

    def limits_under(self, policy: str) -> Limits:
        """Return what a photo may cost under a policy: its own bounds, and this bench's where it has none."""
        wanted = self.policies[policy].limits
        own: dict[str, Any] = {
            name: getattr(wanted, name)
            for name in ("pixels", "side", "frames", "scans", "profile_bytes", "memory_bytes")
            if getattr(wanted, name) is not None
        }
        if wanted.seconds is not None:
            own |= dict.fromkeys(("wall", "cpu"), timedelta(seconds=wanted.seconds))
        return self.limits.model_copy(update=own)
