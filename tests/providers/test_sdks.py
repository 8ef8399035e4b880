"""
The vendors' own SDKs against our fakes, and our adapters against the same: the fakes must satisfy both, and what we
send must be what the SDK sends.
"""

from __future__ import annotations

import fal_client
import pytest
import replicate
from openai import OpenAI, RateLimitError

from providers import Operation, Pending
from providers.fal import FalProvider
from providers.network import data_uri
from providers.openai import OpenAIProvider
from providers.replicate import ReplicateProvider
from tests.fakes.server import B64, KEY, Seen
from tests.fakes.sync_vendors import FakeOpenAI
from tests.fakes.task_vendors import FakeFal, FakeReplicate
from tests.providers.network import HOOK, PROMPT, UPLOAD, tools_for, wish


def multipart(seen: Seen) -> dict[str, tuple[bool, str, bytes]]:
    """What of a form matters: field, whether it is a file, type and content."""
    return {
        name: (part.filename is not None, part.content_type if part.filename else "", part.content)
        for name, part in seen.parts.items()
    }


class TestOpenAI:
    def test_edits(self) -> None:
        with FakeOpenAI() as fake, tools_for(fake, "openai", "/v1", pace=1) as (tools, _):
            sdk = OpenAI(api_key=KEY, base_url=f"{fake.url}/v1", max_retries=0)
            answer = sdk.images.edit(
                image=("image.png", UPLOAD, "image/png"),
                prompt=PROMPT,
                model="gpt-image-1.5",
                output_format="png",
                size="1024x1024",
            )
            OpenAIProvider(tools).submit(wish(Operation.EDIT_IMAGE, options={"size": "1024x1024"}))

        theirs, ours = fake.seen
        assert answer.data is not None
        assert answer.data[0].b64_json == B64
        assert (ours.method, ours.path, ours.headers["authorization"]) == (
            theirs.method,
            theirs.path,
            theirs.headers["authorization"],
        )
        assert multipart(ours) == multipart(theirs)
        assert fake.wrong == []

    def test_generations(self) -> None:
        with FakeOpenAI() as fake, tools_for(fake, "openai", "/v1", pace=1) as (tools, _):
            sdk = OpenAI(api_key=KEY, base_url=f"{fake.url}/v1", max_retries=0)
            sdk.images.generate(prompt=PROMPT, model="gpt-image-1.5", output_format="png")
            OpenAIProvider(tools).submit(wish(Operation.GENERATE_IMAGE))

        theirs, ours = fake.seen
        assert (ours.path, ours.json) == (theirs.path, theirs.json)
        assert fake.wrong == []

    def test_the_sdk_understands_the_fakes_errors(self) -> None:
        with FakeOpenAI() as fake:
            fake.next("insufficient_quota")
            sdk = OpenAI(api_key=KEY, base_url=f"{fake.url}/v1", max_retries=0)
            with pytest.raises(RateLimitError) as caught:
                sdk.images.generate(prompt=PROMPT, model="gpt-image-1.5")

        error = caught.value
        assert (error.status_code, error.code, error.request_id) == (429, "insufficient_quota", "req_011")


class TestReplicate:
    def test_a_prediction_from_submit_to_cancel(self) -> None:
        asked = wish(Operation.EDIT_IMAGE, webhook=HOOK)
        with FakeReplicate() as fake, tools_for(fake, "replicate", "/v1", pace=1) as (tools, _):
            sdk = replicate.Client(api_token=KEY, base_url=fake.url)
            theirs = sdk.predictions.create(
                version="black-forest-labs/flux-kontext-pro",
                input={"prompt": PROMPT, "input_image": data_uri(asked)},
                webhook=HOOK,
                webhook_events_filter=["completed"],
            )
            theirs.reload()
            theirs.reload()
            theirs.cancel()
            sdk._client.close()  # it has no public way
            provider = ReplicateProvider(tools)
            answer = provider.submit(asked)
            assert isinstance(answer, Pending)
            provider.poll(answer.task)
            provider.cancel(answer.task)

        assert theirs.status == "canceled"
        sent = [seen for seen in fake.seen if seen.method == "POST" and seen.path == "/v1/predictions"]
        assert sent[0].json == sent[1].json
        assert sent[0].headers["authorization"] == sent[1].headers["authorization"]
        shapes = [(seen.method, seen.path.replace("task-1", "task-0")) for seen in fake.seen]
        assert set(shapes[:4]) == set(shapes[4:])
        assert fake.wrong == []


class TestFal:
    def test_a_request_from_submit_to_result(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = wish(Operation.EDIT_IMAGE, webhook=HOOK)
        with FakeFal() as fake, tools_for(fake, "fal", pace=1) as (tools, shelf):
            # The SDK writes https into the address; nothing else of it is touched.
            monkeypatch.setattr("fal_client.client.QUEUE_URL_FORMAT", f"{fake.url}/")
            sdk = fal_client.SyncClient(key=KEY)
            handle = sdk.submit(
                "fal-ai/flux-pro/kontext", {"prompt": PROMPT, "image_url": data_uri(asked)}, webhook_url=HOOK
            )
            states = [type(handle.status()).__name__ for _ in range(2)]
            result = handle.get()
            sdk._client.close()  # it has no public way
            provider = FalProvider(tools)
            answer = provider.submit(asked)
            assert isinstance(answer, Pending)
            provider.poll(answer.task)
            provider.poll(answer.task)

        assert states == ["InProgress", "Completed"]
        assert result["images"][0]["content_type"] == "image/png"
        assert len(shelf.kept) == 1
        theirs, ours = (seen for seen in fake.seen if seen.method == "POST")
        assert (ours.path, ours.query, ours.json, ours.headers["authorization"]) == (
            theirs.path,
            theirs.query,
            theirs.json,
            theirs.headers["authorization"],
        )
        assert {seen.path.replace("task-1", "task-0") for seen in fake.seen if "task-1" in seen.path} == {
            seen.path for seen in fake.seen if "task-0" in seen.path
        }
        assert fake.wrong == []
