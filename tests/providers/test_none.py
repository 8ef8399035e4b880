from __future__ import annotations

import pytest

from providers import Done, Provider, ProviderTools, Request
from providers.none import NoneProvider
from tests.providers.provider_contract import ProviderContract


class TestNone(ProviderContract):
    @pytest.fixture
    def provider(self) -> Provider:
        return NoneProvider(ProviderTools())

    @pytest.fixture
    def wish(self) -> Request:
        return Request(operation=None, idempotency_key="k")

    def test_it_leaves_the_upload_as_it_is(self, provider: Provider, wish: Request) -> None:
        assert provider.submit(wish) == Done(results=())
