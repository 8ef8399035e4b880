"""
The call by which a credential is shown: where the vendor's own SDK has it, ours is the same; whose address depends on
the account is asked at the right one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import boto3
import dashscope
import httpx
import pytest
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials
from hedra import Hedra
from huggingface_hub import HfApi
from lumaai import LumaAI
from openai import AzureOpenAI, OpenAI
from pydantic import SecretStr
from runwayml import RunwayML
from volcenginesdkarkruntime import Ark

from providers import Account, AuthFailed, BadResult, ProviderRegistry, ProviderTools, Transport
from providers.accounts import AllowedHosts
from providers.azure_openai import VERSION
from providers.bedrock import BedrockProvider, signature
from providers.hugging_face import HuggingFaceProvider
from providers.network import NetworkProvider
from providers.transport import ASK, Call
from tests.fakes.ark import FakeArk
from tests.fakes.bedrock import ACCESS_KEY, SECRET, TOKEN, FakeBedrock
from tests.fakes.cloud_vendors import FakeAzureOpenAI, FakeHuggingFace
from tests.fakes.dashscope import FakeDashScope
from tests.fakes.google import FakeVertex
from tests.fakes.hedra import FakeHedra
from tests.fakes.luma import FakeLuma
from tests.fakes.runway import FakeRunway
from tests.fakes.server import KEY, FakeServer
from tests.fakes.sync_vendors import FakeOpenAI
from tests.providers.network import tools_for

NOTHING = "00000000-0000-0000-0000-000000000000"


def azure(url: str) -> Any:
    with AzureOpenAI(api_key=KEY, azure_endpoint=url, api_version=VERSION, max_retries=0) as sdk:
        return next(iter(sdk.models.list())).id


def openai(url: str) -> Any:
    with OpenAI(api_key=KEY, base_url=f"{url}/v1", max_retries=0) as sdk:
        return next(iter(sdk.models.list())).id


def luma(url: str) -> Any:
    with LumaAI(auth_token=KEY, base_url=url, max_retries=0) as sdk:
        return sdk.credits.get().credit_balance


def runway(url: str) -> Any:
    with RunwayML(api_key=KEY, base_url=url, max_retries=0) as sdk:
        return sdk.organization.retrieve().credit_balance


def hedra(url: str) -> Any:
    with httpx.Client() as client:
        sdk = Hedra(api_key=KEY, base_url=f"{url}/v3", httpx_client=client, max_retries=0)
        return sdk.billing.get_balance().balance


def ark(url: str) -> Any:
    with Ark(api_key=KEY, base_url=f"{url}/api/v3", max_retries=0) as sdk:
        listed = sdk.content_generation.tasks.list(page_num=1, page_size=1, task_ids="cgt-none")
        return (listed.total, listed.items)


def dashscope_task(url: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dashscope, "base_http_api_url", f"{url}/api/v1")
        found: Any = dashscope.VideoSynthesis.fetch(NOTHING, api_key=KEY)
    return found.output.task_status


def hugging_face(url: str) -> Any:
    return HfApi(endpoint=url, token=KEY).whoami()["name"]


def vertex(url: str) -> Any:
    token = Credentials(token=KEY)  # type: ignore[no-untyped-call]
    options = types.HttpOptions(base_url=url)
    with genai.Client(enterprise=True, project="p-1", location="eu", credentials=token, http_options=options) as sdk:
        return sdk.models.get(model="gemini-3.1-flash-image").name


SDKS: list[tuple[str, type[FakeServer], str, Callable[[str], Any], Any]] = [
    ("openai", FakeOpenAI, "/v1", openai, "gpt-image-1.5"),
    ("azure-openai", FakeAzureOpenAI, "", azure, "gpt-image-1.5"),
    ("luma", FakeLuma, "", luma, 4200.0),
    ("runway", FakeRunway, "", runway, 500),
    ("hedra", FakeHedra, "/v3", hedra, 9.5),
    ("ark", FakeArk, "/api/v3", ark, (0, [])),
    ("dashscope", FakeDashScope, "/api/v1", dashscope_task, "UNKNOWN"),
    ("hugging-face", FakeHuggingFace, "/hf-inference/models", hugging_face, "pool"),
    ("vertex", FakeVertex, FakeVertex.PLACE, vertex, "publishers/google/models/gemini-3.1-flash-image"),
]


@pytest.mark.parametrize(("name", "fake_type", "path", "ask", "answer"), SDKS, ids=[row[0] for row in SDKS])
def test_the_sdk_asks_as_we_do_and_understands_the_fake(
    name: str, fake_type: type[FakeServer], path: str, ask: Callable[[str], Any], answer: Any
) -> None:
    with fake_type() as fake, tools_for(fake, name, path, pace=1) as (tools, _):
        assert ask(fake.url) == answer
        ProviderRegistry.from_entry_points().build(name, tools).check()

    theirs, ours = fake.seen
    assert (ours.method, ours.path, ours.query) == (theirs.method, theirs.path, theirs.query)
    shown = fake.auth[0]
    assert ours.headers[shown] == theirs.headers[shown]
    assert fake.wrong == []


def test_an_access_key_signs_the_check_of_bedrock_as_the_sdk_does() -> None:
    key = f"{ACCESS_KEY}:{SECRET}:{TOKEN}"
    with FakeBedrock() as fake, tools_for(fake, "bedrock", key=key, pace=1) as (tools, _):
        sdk = boto3.client(
            "bedrock",
            region_name="us-west-2",
            endpoint_url=fake.url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET,
            aws_session_token=TOKEN,
        )
        listed = sdk.list_foundation_models()["modelSummaries"]
        sdk.close()
        BedrockProvider(tools).check()

    theirs, ours = fake.seen
    assert listed[0]["modelId"].startswith("stability.")
    assert (ours.method, ours.path, ours.query) == (theirs.method, theirs.path, theirs.query)
    with (
        FakeBedrock() as fake,
        tools_for(fake, "bedrock", key=key.replace("canary+", "other+"), pace=1) as (tools, _),
        pytest.raises(AuthFailed),
    ):
        BedrockProvider(tools).check()


ELSEWHERE = [
    ("photoroom", None, "https://image-api.photoroom.com/v2/account"),
    ("fal", None, "https://api.fal.ai/v1/models/pricing?endpoint_id=fal-ai%2Fflux-pro%2Fkontext"),
    ("hugging-face", None, "https://huggingface.co/api/whoami-v2"),
    (
        "hugging-face",
        "https://x1.us-east-1.aws.endpoints.huggingface.cloud",
        "https://huggingface.co/api/whoami-v2",
    ),
    ("bedrock", None, "https://bedrock.us-west-2.amazonaws.com/foundation-models"),
    (
        "bedrock",
        "https://bedrock-runtime.eu-central-1.amazonaws.com/",
        "https://bedrock.eu-central-1.amazonaws.com/foundation-models",
    ),
    (
        "vertex",
        "https://aiplatform.eu.rep.googleapis.com/v1beta1/projects/p/locations/eu",
        "https://aiplatform.eu.rep.googleapis.com/v1beta1/publishers/google/models/gemini-3.1-flash-image",
    ),
]


@pytest.mark.parametrize(("name", "address", "url"), ELSEWHERE)
def test_what_is_asked_elsewhere_is_asked_at_a_host_that_may_see_the_credential(
    name: str, address: str | None, url: str
) -> None:
    account = Account(key=SecretStr(KEY), base_url=address)
    provider = ProviderRegistry.from_entry_points().build(name, ProviderTools(accounts={name: account}))
    assert isinstance(provider, NetworkProvider)

    assert provider._check_call().url == url
    assert AllowedHosts((*provider.credential_hosts, *provider.check_hosts), provider._operators).allow(url)


@pytest.mark.parametrize("name", ["fal", "hugging-face", "bedrock"])
def test_a_host_of_the_check_alone_sees_the_credential_in_no_other_call(name: str) -> None:
    with Transport() as transport:
        tools = ProviderTools(transport=transport, accounts={name: Account(key=SecretStr(KEY))})
        provider = ProviderRegistry.from_entry_points().build(name, tools)
        assert isinstance(provider, NetworkProvider)

        with pytest.raises(BadResult, match="must not be sent"), provider._reply(provider._check_call()):
            pass


def test_the_region_of_a_check_is_signed() -> None:
    call = Call("GET", "https://bedrock.eu-central-1.amazonaws.com/foundation-models", ASK)

    assert "/eu-central-1/bedrock/" in signature(call, ACCESS_KEY, SECRET, None)["authorization"]


def test_every_provider_behind_a_network_can_be_checked() -> None:
    registry = ProviderRegistry.from_entry_points()
    adapters = [registry.get(name) for name in registry.names()]
    networked = [adapter for adapter in adapters if issubclass(adapter, NetworkProvider)]

    assert len(networked) > 20
    assert [adapter.name for adapter in networked if adapter.check_note is not None] == []


@pytest.mark.parametrize(
    ("provider", "address", "asked"),
    [
        (BedrockProvider, "https://bedrock-runtime.eu-west-1.amazonaws.com", "bedrock.eu-west-1.amazonaws.com"),
        (BedrockProvider, "https://bedrock-runtime.dev", "bedrock-runtime.dev"),
        (BedrockProvider, "https://bedrock-runtimegate.example", "bedrock-runtimegate.example"),
        (HuggingFaceProvider, None, "huggingface.co"),
        (HuggingFaceProvider, "https://abc.us-east-1.aws.endpoints.huggingface.cloud", "huggingface.co"),
        (HuggingFaceProvider, "https://gateway.example/hf", "gateway.example"),
        (HuggingFaceProvider, "https://huggingface.co.example/models", "huggingface.co.example"),
    ],
)
def test_a_check_shows_a_credential_to_no_host_that_its_operator_did_not_choose(
    provider: type[NetworkProvider], address: str | None, asked: str
) -> None:
    account = Account(key=SecretStr(KEY), base_url=address)

    call = provider(ProviderTools(accounts={provider.name: account}))._check_call()

    assert urlsplit(call.url).hostname == asked
