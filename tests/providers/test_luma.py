"""Luma: contract, errors, what is sent, and the vendor's own SDK against the same fake."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from lumaai import LumaAI

from providers import (
    AuthFailed,
    BadResult,
    ContentRefused,
    InvalidRequest,
    Operation,
    OutcomeUnknown,
    OutOfCredit,
    Pending,
    TaskFailed,
    Transient,
)
from providers.luma import LumaProvider
from tests.fakes.luma import FakeLuma
from tests.fakes.server import KEY
from tests.providers.film_contract import FilmContract
from tests.providers.network import HOOK, PROMPT, tools_for, wish
from tests.providers.test_task_adapters import HINTS, Row


class TestLuma(FilmContract):
    adapter, fake_type = LumaProvider, FakeLuma
    operation = Operation.TEXT_TO_VIDEO
    submits: ClassVar[list[Row]] = [
        *HINTS,
        ("400", InvalidRequest, {}),
        ("400 moderation", ContentRefused, {"stage": "input", "charged": "no", "reason": "violence"}),
        ("400 credits", OutOfCredit, {}),
        ("401", AuthFailed, {}),
        ("402", OutOfCredit, {}),
        ("402 budget_exhausted", OutOfCredit, {}),
        ("403", AuthFailed, {}),
        ("413", InvalidRequest, {}),
        ("422", InvalidRequest, {}),
        ("422 content_moderated", ContentRefused, {"stage": "input"}),
        ("500", Transient, {}),
        ("502", OutcomeUnknown, {}),
        ("503", Transient, {}),
        ("no id", OutcomeUnknown, {}),
    ]
    polls: ClassVar[list[Row]] = [
        ("moderation", ContentRefused, {"stage": "output", "reason": "sexual"}),
        ("content_moderated", ContentRefused, {"stage": "output"}),
        ("budget_exhausted", OutOfCredit, {}),
        ("generation_failed", TaskFailed, {"charged": "no"}),
        ("output_not_found", TaskFailed, {"charged": "no"}),
        ("image_too_large", InvalidRequest, {"field": "input"}),
        ("unsupported_format", InvalidRequest, {"field": "input"}),
        ("corrupt_input", InvalidRequest, {"field": "input"}),
        ("invalid_request", InvalidRequest, {"field": None}),
        ("failed", TaskFailed, {"charged": "no"}),
        ("empty", BadResult, {}),
        ("preview only", BadResult, {}),
        ("pondering", BadResult, {}),
    ]

    def test_no_upload_is_put_at_a_public_address(self) -> None:
        assert not any(operation.needs_input for operation in LumaProvider.capabilities.operations)


def test_the_sdk_sends_what_we_send_and_understands_the_fake() -> None:
    with FakeLuma() as fake, tools_for(fake, "luma", pace=1) as (tools, shelf):
        fake.pending = 0
        with LumaAI(auth_token=KEY, base_url=fake.url, max_retries=0) as sdk:
            made = sdk.generations.video.create(
                model="ray-2", prompt=PROMPT, duration="5s", aspect_ratio="9:16", callback_url=HOOK
            )
            assert made.id is not None
            theirs = sdk.generations.get(made.id)
            sdk.generations.delete(made.id)
            picture = sdk.generations.image.create(model="photon-1", prompt=PROMPT, format="png")
        provider = LumaProvider(tools)
        answer = provider.submit(
            wish(Operation.TEXT_TO_VIDEO, options={"duration": "5s", "aspect_ratio": "9:16"}, webhook=HOOK)
        )
        assert isinstance(answer, Pending)
        assert answer.next_poll >= timedelta(seconds=3)
        provider.poll(answer.task)
        provider.erase(answer.task)
        provider.submit(wish(Operation.GENERATE_IMAGE))

    assert theirs.assets is not None
    assert theirs.state == "completed"
    assert str(theirs.assets.video).startswith(fake.url)
    assert picture.state == "queued"
    sent = [seen for seen in fake.seen if not seen.path.startswith("/files/")]
    for theirs_sent, ours in zip(sent[:4], sent[4:], strict=True):
        assert (ours.method, ours.path.replace("task-2", "task-0")) == (theirs_sent.method, theirs_sent.path)
        assert ours.headers["authorization"] == theirs_sent.headers["authorization"]
        if ours.body:
            assert ours.json == theirs_sent.json
    assert fake.erased == ["task-0", "task-2"]
    assert fake.wrong == []
    assert len(shelf.kept) == 1
