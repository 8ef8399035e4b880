"""
The SDKs of the clouds against our fakes, and our adapters against the same: the fakes must satisfy both, and what we
send must be what the SDK sends.
"""

from __future__ import annotations

import json

import boto3
import openrouter
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from openai import AzureOpenAI, BadRequestError
from openrouter.errors import ForbiddenResponseError

from providers import Operation
from providers.azure_openai import VERSION, AzureOpenAIProvider
from providers.bedrock import BedrockProvider
from providers.hugging_face import HuggingFaceProvider
from providers.network import data_uri
from providers.openrouter import OpenRouterProvider
from tests.fakes.bedrock import ACCESS_KEY, SECRET, TOKEN, FakeBedrock
from tests.fakes.cloud_vendors import FakeAzureOpenAI, FakeHuggingFace, FakeOpenRouter
from tests.fakes.server import B64, KEY
from tests.providers.network import PROMPT, UPLOAD, tools_for, wish
from tests.providers.test_sdks import multipart


class TestOpenRouter:
    def test_an_edit(self) -> None:
        asked = wish(Operation.EDIT_IMAGE, options={"aspect_ratio": "1:1", "seed": "7"})
        with FakeOpenRouter() as fake, tools_for(fake, "openrouter", "/api/v1", pace=1) as (tools, _):
            with openrouter.OpenRouter(api_key=KEY, server_url=f"{fake.url}/api/v1") as sdk:
                answer = sdk.images.generate(
                    model="google/gemini-3.1-flash-image",
                    prompt=PROMPT,
                    aspect_ratio="1:1",
                    seed=7,
                    input_references=[{"type": "image_url", "image_url": {"url": data_uri(asked)}}],
                    provider={"allow_fallbacks": False},
                )
            OpenRouterProvider(tools).submit(asked)

        theirs, ours = fake.seen
        assert answer.data[0].b64_json == B64
        assert (ours.path, ours.headers["authorization"]) == (theirs.path, theirs.headers["authorization"])
        # This version of the SDK has no field for the two.
        sent = dict(ours.json["provider"])
        assert (sent.pop("data_collection"), sent.pop("zdr")) == ("deny", True)
        assert ours.json | {"provider": sent} == theirs.json
        assert fake.wrong == []

    def test_the_sdk_understands_the_fakes_errors(self) -> None:
        with FakeOpenRouter() as fake, openrouter.OpenRouter(api_key=KEY, server_url=f"{fake.url}/api/v1") as sdk:
            fake.next("403 moderation")
            with pytest.raises(ForbiddenResponseError) as caught:
                sdk.images.generate(model="google/gemini-3.1-flash-image", prompt=PROMPT)

        assert caught.value.data.error.metadata is not None
        assert caught.value.data.error.metadata["reasons"] == ["sexual"]


class TestAzureOpenAI:
    def test_edits_and_generations(self) -> None:
        with FakeAzureOpenAI() as fake, tools_for(fake, "azure-openai", pace=1) as (tools, _):
            with AzureOpenAI(api_key=KEY, azure_endpoint=fake.url, api_version=VERSION, max_retries=0) as sdk:
                edited = sdk.images.edit(
                    image=("image.png", UPLOAD, "image/png"), prompt=PROMPT, model="gpt-image-1.5", size="1024x1024"
                )
                sdk.images.generate(prompt=PROMPT, model="gpt-image-1.5", output_format="png")
            provider = AzureOpenAIProvider(tools)
            provider.submit(wish(Operation.EDIT_IMAGE, options={"size": "1024x1024"}))
            provider.submit(wish(Operation.GENERATE_IMAGE))

        edit, generation, our_edit, our_generation = fake.seen
        assert edited.data is not None
        assert edited.data[0].b64_json == B64
        assert multipart(our_edit) == multipart(edit)
        assert our_generation.json == generation.json
        for ours, theirs in ((our_edit, edit), (our_generation, generation)):
            assert (ours.path, ours.query, ours.headers["api-key"]) == (
                theirs.path, theirs.query, theirs.headers["api-key"],
            )  # fmt: skip
        assert fake.wrong == []

    def test_the_sdk_understands_the_fakes_errors(self) -> None:
        with (
            FakeAzureOpenAI() as fake,
            AzureOpenAI(api_key=KEY, azure_endpoint=fake.url, api_version=VERSION, max_retries=0) as sdk,
        ):
            fake.next("contentFilter")
            with pytest.raises(BadRequestError) as caught:
                sdk.images.generate(prompt=PROMPT, model="gpt-image-1.5")

        assert caught.value.code == "contentFilter"


class TestHuggingFace:
    def test_a_picture_and_an_edit(self) -> None:
        with FakeHuggingFace() as fake, tools_for(fake, "hugging-face", "/hf-inference/models", pace=1) as (tools, _):
            base = f"{fake.url}/hf-inference/models/black-forest-labs"
            with InferenceClient(provider="hf-inference", api_key=KEY) as sdk:
                made = sdk.text_to_image(PROMPT, model=f"{base}/FLUX.1-schnell", num_inference_steps=4)
                sdk.image_to_image(UPLOAD, prompt=PROMPT, model=f"{base}/FLUX.1-Kontext-dev", guidance_scale=2.5)
            provider = HuggingFaceProvider(tools)
            provider.submit(wish(Operation.GENERATE_IMAGE, options={"num_inference_steps": "4"}))
            provider.submit(wish(Operation.EDIT_IMAGE, options={"guidance_scale": "2.5"}))

        picture, edit, our_picture, our_edit = fake.seen
        assert made.size == (8, 6)
        for ours, theirs in ((our_picture, picture), (our_edit, edit)):
            assert (ours.path, ours.json) == (theirs.path, theirs.json)
            assert [ours.headers[name] for name in ("authorization", "accept", "content-type")] == [
                theirs.headers[name] for name in ("authorization", "accept", "content-type")
            ]
        assert fake.wrong == []

    def test_the_sdk_understands_the_fakes_errors(self) -> None:
        with FakeHuggingFace() as fake, InferenceClient(provider="hf-inference", api_key=KEY) as sdk:
            fake.next("402")
            with pytest.raises(HfHubHTTPError) as caught:
                sdk.text_to_image(PROMPT, model=f"{fake.url}/hf-inference/models/black-forest-labs/FLUX.1-schnell")

        assert caught.value.response.status_code == 402


class TestBedrock:
    def test_a_signed_call(self) -> None:
        with (
            FakeBedrock() as fake,
            tools_for(fake, "bedrock", pace=1, key=f"{ACCESS_KEY}:{SECRET}:{TOKEN}") as (tools, _),
        ):
            sdk = boto3.client(
                "bedrock-runtime",
                region_name="us-west-2",
                endpoint_url=fake.url,
                aws_access_key_id=ACCESS_KEY,
                aws_secret_access_key=SECRET,
                aws_session_token=TOKEN,
            )
            answer = sdk.invoke_model(
                modelId="stability.stable-image-core-v1:1",
                contentType="application/json",
                accept="application/json",
                body=json.dumps({"output_format": "png", "seed": 7, "prompt": PROMPT}),
            )
            made = json.loads(answer["body"].read())
            sdk.close()
            BedrockProvider(tools).submit(wish(Operation.GENERATE_IMAGE, options={"seed": "7"}))

        theirs, ours = fake.seen
        assert made["images"] == [B64]
        assert (ours.path, ours.body) == (theirs.path, theirs.body)
        for name in ("content-type", "accept", "x-amz-security-token"):
            assert ours.headers[name] == theirs.headers[name]
        # The same account, region and service, and the same headers under the signature.
        assert (
            ours.headers["authorization"].partition("Signature")[0]
            == theirs.headers["authorization"].partition("Signature")[0]
        )
        assert fake.wrong == []

    def test_the_sdk_understands_the_fakes_errors(self) -> None:
        with FakeBedrock() as fake:
            sdk = boto3.client(
                "bedrock-runtime",
                region_name="us-west-2",
                endpoint_url=fake.url,
                aws_access_key_id=ACCESS_KEY,
                aws_secret_access_key=SECRET,
                aws_session_token=TOKEN,
            )
            fake.next("model error")
            with pytest.raises(sdk.exceptions.ModelErrorException):
                sdk.invoke_model(
                    modelId="stability.stable-image-core-v1:1",
                    contentType="application/json",
                    accept="application/json",
                    body=json.dumps({"prompt": PROMPT}),
                )
            sdk.close()
