"""The adapters to servers of one's own: the shared contract, every row of their errors, what is left on the server."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from pydantic import SecretStr

from providers import (
    Account,
    AuthFailed,
    BadResult,
    InvalidRequest,
    ModelGone,
    Operation,
    Provider,
    ProviderTools,
    Request,
    Transient,
)
from providers.automatic1111 import Automatic1111Provider
from tests.fakes.self_hosted import FakeAutomatic1111
from tests.fakes.server import PICTURE, FakeServer
from tests.providers.network import NetworkContract, Shelf, tools_for, wish
from tests.providers.tabled import HINTS, Row, TabledContract


class SelfHostedContract(NetworkContract):
    """What is different where nobody is charged: a lost answer may be asked for again, and a key is not needed."""

    def test_p7_a_call_that_hangs_after_it_was_accepted_is_of_unknown_outcome(
        self, fake: FakeServer, wish: Request
    ) -> None:
        """It is, but nothing was charged, so that it may be repeated."""
        with tools_for(fake, self.adapter.name, self.path, pace=0.002) as (tools, _):
            fake.next("hang")

            with pytest.raises(Transient) as caught:
                self.adapter(tools).submit(wish)

        assert (caught.value.retryable, caught.value.charged) == (True, "no")

    def test_p7_an_answer_that_breaks_off_has_probably_been_charged(
        self, fake: FakeServer, both: tuple[Provider, Shelf], wish: Request
    ) -> None:
        """It has not, here."""
        fake.next("cut")

        with pytest.raises(Transient, match="broke off"):
            both[0].submit(wish)

        assert both[1].kept == {}

    def test_without_a_credential_nothing_is_sent(self, fake: FakeServer, wish: Request) -> None:
        with pytest.raises(AuthFailed, match=r"set DAYFLY_PROVIDER_[A-Z0-9]+_URL"):
            self.adapter(ProviderTools(sink=Shelf())).submit(wish)

    @pytest.mark.parametrize("key", ["", "user:password-canary"])
    def test_a_key_is_shown_only_where_there_is_one(self, fake: FakeServer, wish: Request, key: str) -> None:
        with tools_for(fake, self.adapter.name, self.path, pace=1, key=key) as (tools, _):
            self.adapter(tools).submit(wish)

        assert {seen.headers.get("authorization", "") for seen in fake.seen} == {
            "Basic dXNlcjpwYXNzd29yZC1jYW5hcnk=" if key else ""
        }


class TestAutomatic1111(SelfHostedContract, TabledContract):
    adapter, fake_type = Automatic1111Provider, FakeAutomatic1111
    operation = Operation.EDIT_IMAGE
    rows: ClassVar[list[Row]] = [
        *HINTS,
        ("400", InvalidRequest, {}),
        ("401", AuthFailed, {}),
        ("403", AuthFailed, {}),
        ("404", InvalidRequest, {"field": "provider"}),
        ("404 sampler", InvalidRequest, {}),
        ("404 checkpoint", ModelGone, {}),
        ("422", InvalidRequest, {}),
        ("500", Transient, {}),
        ("500 memory", Transient, {"charged": "no"}),
        ("500 image", InvalidRequest, {"field": "input"}),
        ("502", Transient, {}),
        ("503", Transient, {}),
        ("504", Transient, {"charged": "no"}),
        ("no picture", BadResult, {}),
        ("no pictures", BadResult, {}),
        ("no image", BadResult, {}),
        ("html", BadResult, {}),
    ]

    def test_the_operators_checkpoint_and_the_size_of_the_upload_are_kept(self, fake: FakeServer) -> None:
        account = Account(key=SecretStr(""), base_url=fake.url, model="sd_xl_base_1.0.safetensors [31e35c80fc]")
        with tools_for(fake, "automatic1111", pace=1) as (tools, shelf):
            tools = ProviderTools(transport=tools.transport, sink=shelf, accounts={"automatic1111": account})
            Automatic1111Provider(tools).submit(wish(Operation.EDIT_IMAGE, options={"steps": "20", "width": "24"}))

        body = fake.seen[0].json
        assert body["override_settings"]["sd_model_checkpoint"] == account.model
        assert (body["steps"], body["width"], body["height"]) == (20, 24, 64)
        assert list(shelf.kept.values()) == [("image/png", PICTURE)], "the mask of an extension is no result"


CASES: list[Any] = [TestAutomatic1111]
"""For the test that none of them says anything it should not."""
