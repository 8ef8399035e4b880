"""Adapters to clouds that sell the models of others: the shared contract, every row of their errors, what is sent."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from providers import (
    Account,
    AuthFailed,
    BadResult,
    ContentRefused,
    Done,
    InvalidRequest,
    ModelGone,
    Operation,
    OutcomeUnknown,
    OutOfCredit,
    Provider,
    ProviderTools,
    RateLimited,
    Transient,
)
from providers.azure_openai import AzureOpenAIProvider
from providers.bedrock import BedrockProvider, signature
from providers.hugging_face import HuggingFaceProvider
from providers.openrouter import OpenRouterProvider
from providers.transport import WORK, Call
from tests.fakes.bedrock import ACCESS_KEY, SECRET, TOKEN, FakeBedrock
from tests.fakes.cloud_vendors import FakeAzureOpenAI, FakeHuggingFace, FakeOpenRouter
from tests.fakes.server import PICTURE, FakeServer
from tests.providers.network import Shelf, tools_for, wish
from tests.providers.tabled import HINTS, Row, TabledContract


class TestOpenRouter(TabledContract):
    adapter, fake_type, path = OpenRouterProvider, FakeOpenRouter, "/api/v1"
    operation = Operation.EDIT_IMAGE
    rows: ClassVar[list[Row]] = [
        *HINTS,
        ("400", InvalidRequest, {}),
        ("401", AuthFailed, {}),
        ("402 credits", OutOfCredit, {}),
        ("402 key", OutOfCredit, {}),
        ("402 in flight", RateLimited, {"retry_after": timedelta(seconds=7)}),
        ("403", AuthFailed, {}),
        ("403 moderation", ContentRefused, {"stage": "input", "reason": "sexual", "charged": "no"}),
        ("404", ModelGone, {}),
        ("404 policy", InvalidRequest, {"field": "model"}),
        ("408", Transient, {"charged": "no"}),
        ("413", InvalidRequest, {}),
        ("500", Transient, {}),
        ("502", OutcomeUnknown, {}),
        ("503", Transient, {}),
        ("524", OutcomeUnknown, {"charged": "maybe"}),
        ("529", Transient, {}),
        ("late 500", OutcomeUnknown, {"charged": "maybe"}),
        ("late 502", OutcomeUnknown, {}),
        ("late 429", RateLimited, {}),
        ("late 403", ContentRefused, {"reason": "violence"}),
        ("late words", OutcomeUnknown, {}),
        ("no picture", BadResult, {}),
        ("no data", BadResult, {}),
        ("svg", BadResult, {}),
        ("html", BadResult, {}),
    ]

    def test_p1_only_companies_that_keep_nothing_may_see_the_picture(
        self, fake: FakeServer, provider: Provider
    ) -> None:
        for operation in self.adapter.capabilities.operations:
            provider.submit(wish(operation, background="a beach"))

        assert {str(seen.json["provider"]) for seen in fake.seen} == {
            str({"allow_fallbacks": False, "data_collection": "deny", "zdr": True})
        }


class TestAzureOpenAI(TabledContract):
    adapter, fake_type = AzureOpenAIProvider, FakeAzureOpenAI
    operation = Operation.EDIT_IMAGE
    rows: ClassVar[list[Row]] = [
        *HINTS,
        ("contentFilter", ContentRefused, {"stage": "input", "reason": "violence", "charged": "no"}),
        ("content_policy_violation", ContentRefused, {"stage": "input"}),
        ("moderation_blocked", ContentRefused, {"stage": "output", "charged": "maybe"}),
        ("only inside", ContentRefused, {"reason": "violence"}),
        ("filtered", ContentRefused, {"stage": "output"}),
        ("400", InvalidRequest, {}),
        ("401", AuthFailed, {}),
        ("403", AuthFailed, {}),
        ("deployment", ModelGone, {}),
        ("operation", ModelGone, {}),
        ("429 code", RateLimited, {"retry_after": timedelta(seconds=7)}),
        ("quota", OutOfCredit, {}),
        ("408", Transient, {}),
        ("500", Transient, {}),
        ("502", OutcomeUnknown, {}),
        ("503", Transient, {}),
        ("504", OutcomeUnknown, {"charged": "maybe"}),
        ("no picture", BadResult, {}),
        ("html", BadResult, {}),
    ]

    def test_it_has_no_address_of_its_own(self) -> None:
        account = Account(key="k")  # type: ignore[arg-type]  # never looked at
        tools = ProviderTools(accounts={"azure-openai": account}, sink=Shelf())

        with pytest.raises(AuthFailed, match="set DAYFLY_PROVIDER_AZURE_OPENAI_URL"):
            AzureOpenAIProvider(tools).submit(wish(Operation.GENERATE_IMAGE))

    def test_the_model_is_the_deployment(self, fake: FakeServer, provider: Provider) -> None:
        provider.submit(wish(Operation.GENERATE_IMAGE, options={"model": "our-deployment"}))
        with pytest.raises(ModelGone):
            provider.submit(wish(Operation.GENERATE_IMAGE, options={"model": "not-ours"}))

        assert fake.seen[0].path == "/openai/deployments/our-deployment/images/generations"

    def test_an_access_token_is_shown_as_one(self, fake: FakeServer) -> None:
        with tools_for(fake, "azure-openai", key="eyJ.token.canary", pace=1) as (tools, _):
            answer: Any = AzureOpenAIProvider(tools).submit(wish(Operation.GENERATE_IMAGE))

        assert isinstance(answer, Done)
        assert "api-key" not in fake.seen[0].headers


class TestHuggingFace(TabledContract):
    adapter, fake_type, path = HuggingFaceProvider, FakeHuggingFace, "/hf-inference/models"
    operation = Operation.EDIT_IMAGE
    rows: ClassVar[list[Row]] = [
        *HINTS,
        ("400", InvalidRequest, {}),
        ("400 model", ModelGone, {}),
        ("401", AuthFailed, {}),
        ("402", OutOfCredit, {}),
        ("403", AuthFailed, {}),
        ("404", ModelGone, {}),
        ("410", ModelGone, {}),
        ("413", InvalidRequest, {}),
        ("422", InvalidRequest, {}),
        ("500", Transient, {}),
        ("502", OutcomeUnknown, {}),
        ("503", Transient, {"charged": "no"}),
        ("503 loading", RateLimited, {"retry_after": timedelta(seconds=20.5), "charged": "no"}),
        ("504", OutcomeUnknown, {"charged": "maybe"}),
        ("words", BadResult, {}),
        ("empty", BadResult, {}),
        ("html", BadResult, {}),
    ]

    def test_an_endpoint_of_ones_own_is_called_at_its_own_address(self, fake: FakeServer) -> None:
        with tools_for(fake, "hugging-face", "/endpoint", pace=1) as (tools, shelf):
            HuggingFaceProvider(tools).submit(wish(Operation.EDIT_IMAGE, options={"seed": "7"}))

        assert [seen.path for seen in fake.seen] == ["/endpoint"]
        assert len(shelf.kept) == 1

    def test_p1_no_result_comes_from_a_cache(self, fake: FakeServer, provider: Provider) -> None:
        provider.submit(wish(Operation.GENERATE_IMAGE))

        assert fake.seen[0].headers["x-use-cache"] == "false"


class TestBedrock(TabledContract):
    adapter, fake_type = BedrockProvider, FakeBedrock
    operation = Operation.EDIT_IMAGE
    rows: ClassVar[list[Row]] = [
        *HINTS,
        ("throttled", RateLimited, {}),
        ("quota", RateLimited, {}),
        ("not ready", Transient, {"charged": "no"}),
        ("model error", Transient, {}),
        ("timeout", Transient, {}),
        ("denied", AuthFailed, {}),
        ("signature", AuthFailed, {}),
        ("unknown", AuthFailed, {}),
        ("model", ModelGone, {}),
        ("model id", ModelGone, {}),
        ("validation", InvalidRequest, {}),
        ("filters", ContentRefused, {"stage": "input", "charged": "no"}),
        ("only a type", RateLimited, {}),
        ("500", Transient, {}),
        ("502", OutcomeUnknown, {}),
        ("503", Transient, {}),
        ("504", OutcomeUnknown, {"charged": "maybe"}),
        ("prompt", ContentRefused, {"stage": "input", "charged": "no"}),
        ("input image", ContentRefused, {"stage": "input"}),
        ("output image", ContentRefused, {"stage": "output", "charged": "maybe"}),
        ("output image sent", ContentRefused, {"stage": "output"}),
        ("inference", BadResult, {"max_retries": 1}),
        ("error", ContentRefused, {"stage": "output"}),
        ("no picture", BadResult, {}),
        ("html", BadResult, {}),
    ]
    signing = f"{ACCESS_KEY}:{SECRET}:{TOKEN}"

    def test_an_access_key_signs_the_very_bytes_that_are_sent(self, fake: FakeServer) -> None:
        with tools_for(fake, "bedrock", key=self.signing, pace=1) as (tools, shelf):
            BedrockProvider(tools).submit(wish(Operation.EDIT_IMAGE))

        assert len(shelf.kept) == 1, "the fake has checked the signature"
        assert SECRET not in str(fake.seen[0].headers)

    def test_p1_signing_says_nothing(self, fake: FakeServer, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        with tools_for(fake, "bedrock", key=self.signing, pace=1) as (tools, _):
            BedrockProvider(tools).submit(wish(Operation.EDIT_IMAGE))

        assert TOKEN not in caplog.text
        assert SECRET not in caplog.text

    def test_a_wrong_secret_is_refused(self, fake: FakeServer) -> None:
        with (
            tools_for(fake, "bedrock", key=self.signing.replace("canary+", "other+"), pace=1) as (tools, _),
            pytest.raises(AuthFailed) as caught,
        ):
            BedrockProvider(tools).submit(wish(Operation.EDIT_IMAGE))

        assert "canary" not in str(caught.value)

    def test_the_region_is_the_addresss(self) -> None:
        call = Call("POST", "https://bedrock-runtime.eu-central-1.amazonaws.com/model/m/invoke", WORK, content=b"{}")

        assert "/eu-central-1/bedrock/" in signature(call, ACCESS_KEY, SECRET, None)["authorization"]

    def test_of_several_pictures_those_that_were_made_are_kept(
        self, fake: FakeServer, both: tuple[Provider, Shelf]
    ) -> None:
        fake.next("partial")

        both[0].submit(wish(Operation.EDIT_IMAGE))

        assert list(both[1].kept.values()) == [("image/png", PICTURE)]

    def test_each_model_gets_the_fields_it_knows(self, fake: FakeServer, provider: Provider) -> None:
        for model, options in [
            ("us.stability.stable-image-search-replace-v1:0", {"search_prompt": "the table", "seed": "7"}),
            ("stability.sd3-5-large-v1:0", {"strength": "0.8"}),
        ]:
            provider.submit(wish(Operation.EDIT_IMAGE, options={"model": model, **options}))

        assert [seen.json.get("strength") for seen in fake.seen] == [None, 0.8]


CASES = [TestOpenRouter, TestAzureOpenAI, TestHuggingFace, TestBedrock]
"""For the test that none of them says anything it should not."""
