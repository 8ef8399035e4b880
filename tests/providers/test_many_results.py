"""However much one answer names as results, no more become objects, or are asked for, than anybody wants."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from providers import BadResult, Done, Operation, Pending, Provider, Task
from providers.bedrock_video import BedrockVideoProvider
from providers.gemini import GeminiProvider
from providers.media import MOST_RESULTS
from providers.openai import OpenAIProvider
from providers.runway import RunwayProvider
from tests.fakes.bedrock_video import FakeBedrockVideo
from tests.fakes.films import FILM
from tests.fakes.google import FakeGemini
from tests.fakes.runway import FakeRunway
from tests.fakes.server import B64, Answer
from tests.fakes.sync_vendors import FakeOpenAI
from tests.providers.network import tools_for, wish

LONG_FILM = base64.b64encode(FILM + bytes(1500)).decode()
SHORT_FILM = base64.b64encode(FILM[:64]).decode()
TOO_MANY = f"more than {MOST_RESULTS} results"


def begun(provider: Provider) -> Task:
    answer = provider.submit(wish(Operation.IMAGE_TO_VIDEO))
    assert isinstance(answer, Pending)
    return answer.task


def interaction(*films: Any) -> Answer:
    content = [{"type": "video", "data": film} for film in films]
    return Answer(200, {"status": "completed", "steps": [{"type": "model_output", "content": content}]})


def test_a_film_that_is_named_again_and_again_is_one_result() -> None:
    with FakeGemini() as fake, tools_for(fake, "gemini", "/v1", pace=1) as (tools, shelf):
        provider = GeminiProvider(tools)
        task = begun(provider)
        # That is how the reader marks the place of what it took out.
        marks = [{"\0blob": 0}] * 60_000
        fake.route = lambda seen: interaction(LONG_FILM, *marks)  # type: ignore[method-assign]

        answer = provider.poll(task)

    assert isinstance(answer, Done)
    assert [result.ref for result in answer.results] == list(shelf.kept)  # type: ignore[union-attr]  # all are sealed
    assert len(shelf.kept) == 1


def test_films_too_short_to_be_sealed_on_the_way_are_counted_before_they_are_sealed() -> None:
    with FakeGemini() as fake, tools_for(fake, "gemini", "/v1", pace=1) as (tools, shelf):
        provider = GeminiProvider(tools)
        task = begun(provider)
        fake.route = lambda seen: interaction(*[SHORT_FILM] * 200)  # type: ignore[method-assign]

        with pytest.raises(BadResult, match=TOO_MANY):
            provider.poll(task)

    assert shelf.kept == {}


def test_long_films_and_short_ones_are_counted_together() -> None:
    with FakeGemini() as fake, tools_for(fake, "gemini", "/v1", pace=1) as (tools, shelf):
        provider = GeminiProvider(tools)
        task = begun(provider)
        films = [LONG_FILM] * (MOST_RESULTS - 1) + [SHORT_FILM]
        fake.route = lambda seen: interaction(*films)  # type: ignore[method-assign]
        answer = provider.poll(task)
        films.append(SHORT_FILM)

        with pytest.raises(BadResult, match=TOO_MANY):
            provider.poll(task)

    assert isinstance(answer, Done)
    assert len(answer.results) == MOST_RESULTS
    assert len(shelf.kept) == MOST_RESULTS + (MOST_RESULTS - 1)


def test_addresses_are_counted_before_any_is_fetched() -> None:
    with FakeRunway() as fake, tools_for(fake, "runway", pace=1) as (tools, shelf):
        provider = RunwayProvider(tools)
        task = begun(provider)
        urls = [f"{fake.url}/files/{number}.mp4" for number in range(MOST_RESULTS + 1)]
        fake.POLLS = {"many": {"status": "SUCCEEDED", "output": urls}}  # type: ignore[misc]
        fake.on_poll = ["many"] * 2

        with pytest.raises(BadResult, match=TOO_MANY):
            provider.poll(task)
        assert not any(seen.path.startswith("/files/") for seen in fake.seen)
        del urls[-1]
        answer = provider.poll(task)

    assert isinstance(answer, Done)
    assert len(shelf.kept) == MOST_RESULTS


def test_pictures_are_counted_before_any_is_sealed() -> None:
    with FakeOpenAI() as fake, tools_for(fake, "openai", "/v1", pace=1) as (tools, shelf):
        provider = OpenAIProvider(tools)
        pictures = [{"b64_json": B64}] * (MOST_RESULTS + 1)
        fake.route = lambda seen: Answer(200, {"created": 1, "data": pictures})  # type: ignore[method-assign]

        with pytest.raises(BadResult, match=TOO_MANY):
            provider.submit(wish(Operation.EDIT_IMAGE))

    assert shelf.kept == {}


def test_films_in_a_bucket_are_counted_before_any_is_fetched() -> None:
    with FakeBedrockVideo() as fake, tools_for(fake, "bedrock-video", pace=1) as (tools, shelf):
        provider = BedrockVideoProvider(tools)
        fake.pending = 0
        task = begun(provider)
        fake.objects |= {f"films/{task.task_id}/{number}.mp4": FILM for number in range(MOST_RESULTS)}

        with pytest.raises(BadResult, match=TOO_MANY):
            provider.poll(task)

    assert shelf.kept == {}
