"""Google's SDK against our fakes, and our adapters against the same; what we send must be what the SDK sends."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google import genai
from google.genai import types
from google.genai.errors import ClientError
from google.oauth2.credentials import Credentials

from providers import Done, Operation, Pending
from providers.gemini import GeminiProvider
from providers.vertex import VertexProvider
from tests.fakes.google import FILM, FILM64, FakeGemini, FakeVertex
from tests.fakes.server import KEY, PICTURE, FakeServer
from tests.providers.network import HOOK, PROMPT, UPLOAD, tools_for, wish


def client(fake: FakeServer) -> genai.Client:
    return genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=fake.url))


def in_one_style(body: Any) -> Any:
    """The SDK writes one name in each style, and base64 in the alphabet for addresses; the API takes all of them."""

    def placed(found: dict[str, Any]) -> dict[str, Any]:
        for name in {"data", "bytesBase64Encoded"} & set(found):
            found[name] = found[name].translate(str.maketrans("-_", "+/"))
        return found

    return json.loads(json.dumps(body).replace('"mime_type"', '"mimeType"'), object_hook=placed)


class TestGemini:
    def test_an_edit(self) -> None:
        with FakeGemini() as fake, tools_for(fake, "gemini", "/v1", pace=1) as (tools, _):
            with client(fake) as sdk:
                picture = types.Part.from_bytes(data=UPLOAD, mime_type="image/png")
                answer = sdk.models.generate_content(
                    model="gemini-3.1-flash-image",
                    contents=[types.Content(role="user", parts=[picture, types.Part.from_text(text=PROMPT)])],
                    config=types.GenerateContentConfig(
                        response_modalities=["IMAGE"], image_config=types.ImageConfig(aspect_ratio="1:1")
                    ),
                )
            GeminiProvider(tools).submit(wish(Operation.EDIT_IMAGE, options={"aspect_ratio": "1:1"}))

        theirs, ours = fake.seen
        assert answer.parts is not None
        assert answer.parts[1].inline_data is not None
        assert answer.parts[1].inline_data.data == PICTURE
        assert (ours.path, ours.headers["x-goog-api-key"]) == (theirs.path, theirs.headers["x-goog-api-key"])
        assert in_one_style(ours.json) == in_one_style(theirs.json)
        assert fake.wrong == []

    def test_a_film_from_start_to_deletion(self) -> None:
        with FakeGemini() as fake, tools_for(fake, "gemini", "/v1", pace=1) as (tools, _):
            with client(fake) as sdk:
                content: Any = [
                    {"type": "image", "data": base64.b64encode(UPLOAD).decode(), "mime_type": "image/png"},
                    {"type": "text", "text": PROMPT},
                ]
                started = sdk.interactions.create(
                    model="gemini-omni-1.2-flash",
                    input=content,
                    response_format={"type": "video", "delivery": "inline"},
                    background=True,
                    store=True,
                    webhook_config={"uris": [HOOK]},
                )
                states = [sdk.interactions.get(id=started.id).status for _ in range(2)]
                film = sdk.interactions.get(id=started.id).output_video
                sdk.interactions.cancel(id=started.id)
                sdk.interactions.delete(id=started.id)
            provider = GeminiProvider(tools)
            answer = provider.submit(wish(Operation.IMAGE_TO_VIDEO, webhook=HOOK))
            assert isinstance(answer, Pending)
            provider.poll(answer.task)
            assert isinstance(provider.poll(answer.task), Done)
            provider.cancel(answer.task)
            provider.erase(answer.task)

        assert states == ["in_progress", "completed"]
        assert film is not None
        assert film.data == FILM64
        theirs, ours = (seen for seen in fake.seen if seen.path == "/v1/interactions")
        assert ours.json == theirs.json
        shapes = [(seen.method, seen.path) for seen in fake.seen]
        half = len(shapes) - 5
        assert set(shapes[:half]) == set(shapes[half:])
        assert fake.wrong == []

    def test_the_sdk_understands_the_fakes_errors(self) -> None:
        with FakeGemini() as fake, client(fake) as sdk:
            fake.next("403 billing")
            with pytest.raises(ClientError) as caught:
                sdk.models.generate_content(
                    model="gemini-3.1-flash-image",
                    contents=PROMPT,
                    config=types.GenerateContentConfig(response_modalities=["IMAGE"]),
                )

        assert (caught.value.code, caught.value.status) == (403, "PERMISSION_DENIED")


class TestVertex:
    def test_an_edit_and_a_film(self) -> None:
        with FakeVertex() as fake, tools_for(fake, "vertex", FakeVertex.PLACE, pace=1) as (tools, _):
            options = types.HttpOptions(base_url=fake.url)
            token = Credentials(KEY)
            with genai.Client(
                enterprise=True, project="p-1", location="eu", credentials=token, http_options=options
            ) as sdk:
                picture = types.Part.from_bytes(data=UPLOAD, mime_type="image/png")
                sdk.models.generate_content(
                    model="gemini-3.1-flash-image",
                    contents=[types.Content(role="user", parts=[picture, types.Part.from_text(text=PROMPT)])],
                    config=types.GenerateContentConfig(response_modalities=["IMAGE"]),
                )
                started = sdk.models.generate_videos(
                    model="veo-3.1-lite-generate-001",
                    source=types.GenerateVideosSource(
                        prompt=PROMPT, image=types.Image(image_bytes=UPLOAD, mime_type="image/png")
                    ),
                    config=types.GenerateVideosConfig(number_of_videos=1, duration_seconds=8, aspect_ratio="16:9"),
                )
                waiting = sdk.operations.get(started)
                ended = sdk.operations.get(started)
            provider = VertexProvider(tools)
            provider.submit(wish(Operation.EDIT_IMAGE))
            asked = wish(Operation.IMAGE_TO_VIDEO, options={"duration": "8", "aspect_ratio": "16:9"})
            answer = provider.submit(asked)
            assert isinstance(answer, Pending)
            provider.poll(answer.task)
            assert isinstance(provider.poll(answer.task), Done)

        assert not waiting.done
        assert ended.response is not None
        assert ended.response.generated_videos is not None
        assert ended.response.generated_videos[0].video is not None
        assert ended.response.generated_videos[0].video.video_bytes == FILM
        theirs, ours = fake.seen[:4], fake.seen[4:]
        for mine, sdks in zip(ours, theirs, strict=True):
            # The SDK takes the project from the operation's name, which holds its number.
            assert (mine.method, mine.path) == (sdks.method, sdks.path.replace("4711", "p-1"))
            assert mine.headers["authorization"] == sdks.headers["authorization"] == f"Bearer {KEY}"
        assert in_one_style(ours[0].json) == in_one_style(theirs[0].json)
        assert in_one_style(ours[1].json) == in_one_style(theirs[1].json)
        assert ours[2].json == {"operationName": str(theirs[2].json["operationName"]).replace("op-0", "op-1")}
        assert fake.wrong == []
