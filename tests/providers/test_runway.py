"""Runway: contract, errors, what is sent, and the vendor's own SDK against the same fake."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from runwayml import RunwayML

from providers import (
    AuthFailed,
    BadResult,
    Cancelled,
    ContentRefused,
    InvalidRequest,
    Operation,
    OutcomeUnknown,
    OutOfCredit,
    Pending,
    Provider,
    TaskFailed,
    Transient,
)
from providers.network import data_uri
from providers.runway import RunwayProvider
from tests.fakes.runway import FakeRunway
from tests.fakes.server import KEY
from tests.providers.film_contract import FilmContract
from tests.providers.network import PROMPT, tools_for, wish
from tests.providers.test_task_adapters import HINTS, Row


class TestRunway(FilmContract):
    adapter, fake_type = RunwayProvider, FakeRunway
    submits: ClassVar[list[Row]] = [
        *HINTS,
        ("400", InvalidRequest, {"charged": "no"}),
        ("400 credits", OutOfCredit, {}),
        ("401", AuthFailed, {}),
        ("404", InvalidRequest, {}),
        ("405", InvalidRequest, {}),
        ("500", Transient, {}),
        ("502", OutcomeUnknown, {}),
        ("503", Transient, {}),
        ("504", OutcomeUnknown, {}),
        ("no id", OutcomeUnknown, {}),
    ]
    polls: ClassVar[list[Row]] = [
        ("SAFETY.INPUT.TEXT", ContentRefused, {"stage": "input", "charged": "no", "reason": "violence"}),
        ("SAFETY.OUTPUT.VIDEO", ContentRefused, {"stage": "output", "charged": "yes"}),
        ("INPUT_PREPROCESSING.SAFETY.TEXT", ContentRefused, {"stage": "input"}),
        ("ASSET.INVALID", InvalidRequest, {"field": "input"}),
        ("INTERNAL.BAD_OUTPUT.CODE01", TaskFailed, {"charged": "no"}),
        ("INTERNAL, kept the money", TaskFailed, {"charged": "yes"}),
        ("INTERNAL, does not say", TaskFailed, {"charged": "maybe"}),
        ("THIRD_PARTY.UNAVAILABLE", TaskFailed, {"charged": "maybe"}),
        ("CANCELLED", Cancelled, {"charged": "yes"}),
        ("empty", BadResult, {}),
        ("DREAMING", BadResult, {}),
    ]

    def test_a_prompt_that_is_too_long_is_not_sent(self, fake: FakeRunway, provider: Provider) -> None:
        asked = wish(Operation.TEXT_TO_VIDEO)
        # One of these counts twice.
        long = type(asked)(operation=asked.operation, idempotency_key="k", prompt="\N{CACTUS}" * 501)

        with pytest.raises(InvalidRequest, match="prompts up to 1000 characters") as caught:
            provider.submit(long)

        assert (caught.value.field, fake.seen) == ("prompt", [])

    def test_an_option_that_is_no_number_is_refused(self, fake: FakeRunway, provider: Provider) -> None:
        with pytest.raises(InvalidRequest, match="'duration' is not a whole number"):
            provider.submit(wish(self.operation, options={"duration": "canary"}))

        assert fake.seen == []


def test_the_sdk_sends_what_we_send_and_understands_the_fake() -> None:
    asked = wish(Operation.IMAGE_TO_VIDEO, options={"seed": "7"})
    with FakeRunway() as fake, tools_for(fake, "runway", pace=1) as (tools, shelf):
        fake.pending = 0
        with RunwayML(api_key=KEY, base_url=fake.url, max_retries=0) as sdk:
            made: Any = sdk.image_to_video.create(
                model="gen4.5", prompt_text=PROMPT, prompt_image=data_uri(asked), ratio="960:960", duration=5, seed=7
            )
            theirs: Any = sdk.tasks.retrieve(made.id)
            sdk.tasks.delete(made.id)
        provider = RunwayProvider(tools)
        answer = provider.submit(asked)
        assert isinstance(answer, Pending)
        provider.poll(answer.task)
        provider.erase(answer.task)

    assert theirs.status == "SUCCEEDED"
    assert theirs.output[0].startswith(fake.url)
    sent = [seen for seen in fake.seen if not seen.path.startswith("/files/")]
    assert sent[0].json == sent[3].json
    for name in ("authorization", "x-runway-version", "content-type"):
        assert sent[0].headers[name] == sent[3].headers[name]
    shapes = [(seen.method, seen.path.replace("task-1", "task-0")) for seen in sent]
    assert shapes[:3] == shapes[3:]
    assert fake.erased == ["task-0", "task-1"]
    assert fake.wrong == []
    assert len(shelf.kept) == 1
