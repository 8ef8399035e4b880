"""
The contract of an adapter that answers in the call, with a table of its errors.

A test module subclasses `TabledContract` once per adapter; each row says what a scenario of the fake has to become.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

import pytest

from providers import Pending, Provider, ProviderError, RateLimited
from providers.hints import LONGEST
from tests.fakes.server import KEY, FakeServer
from tests.providers.network import Shelf, SyncContract, tools_for, wish

Row = tuple[str, type[ProviderError], dict[str, Any]]
HINTS: list[Row] = [
    ("429", RateLimited, {"retry_after": None}),
    ("429 seconds", RateLimited, {"retry_after": timedelta(seconds=7)}),
    ("429 ms", RateLimited, {"retry_after": timedelta(seconds=1.5)}),
    ("429 date", RateLimited, {"retry_after": LONGEST}),
    ("429 nonsense", RateLimited, {"retry_after": None}),
]


class TabledContract(SyncContract):
    """Give it `rows`, one for each scenario of the fake but `cut` and `hang`, which the contract itself provokes."""

    rows: ClassVar[list[Row]]

    def test_every_error_becomes_its_decision(self, fake: FakeServer, both: tuple[Provider, Shelf]) -> None:
        provider, shelf = both
        scenarios = set(self.fake_type.ERRORS)  # type: ignore[attr-defined]  # every fake of this kind has some
        assert {row[0] for row in self.rows} == scenarios - {"cut", "hang"}, "a hard case without a row"
        for scenario, kind, facts in self.rows:
            fake.next(scenario)

            with pytest.raises(ProviderError) as caught:
                provider.submit(wish(self.operation, background=self.background))

            assert type(caught.value) is kind, f"{scenario}: {caught.value}"
            assert {name: getattr(caught.value, name) for name in facts} == facts, scenario
            assert KEY not in str(caught.value)
            assert "words" not in str(caught.value), "the provider's own text is not passed on"
        assert shelf.kept == {}

    def test_every_declared_operation_satisfies_the_vendors_documentation(self, fake: FakeServer) -> None:
        able = self.adapter.capabilities
        for charges, operation in enumerate(sorted(able.operations), 1):
            with tools_for(fake, self.adapter.name, self.path, pace=1) as (tools, shelf):
                answer = self.adapter(tools).submit(wish(operation, background="#ffffff"))

            assert isinstance(answer, Pending) or [kept for _, kept in shelf.kept.values()] == [fake.picture]
            assert fake.wrong == [], operation
            assert fake.charges == charges
