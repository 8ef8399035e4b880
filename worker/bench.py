"""The tools one worker process works with: what the steps of a job are handed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
