"""Hedra: contract, errors by code, repetitions, uploads, and the vendor's own SDK against the same fake."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

import httpx
import pytest
from hedra import Hedra, InputKling25Turbo
from hedra.types import InputKling25TurboStartImage_Url

from providers import (
    AuthFailed,
    BadResult,
    Cancelled,
    ContentRefused,
    InvalidRequest,
    ModelGone,
    Operation,
    OutcomeUnknown,
    OutOfCredit,
    Pending,
    Provider,
    RateLimited,
    ResultExpired,
    TaskFailed,
    Timeout,
    Transient,
)
from providers.hedra import HedraProvider
from tests.fakes.films import FILM
from tests.fakes.hedra import FakeHedra
from tests.fakes.server import KEY
from tests.providers.film_contract import FilmContract
from tests.providers.network import HOOK, PROMPT, UPLOAD, Shelf, tools_for, wish
from tests.providers.test_task_adapters import HINTS, Row


class TestHedra(FilmContract):
    adapter, fake_type, path = HedraProvider, FakeHedra, "/v3"
    operation = Operation.TEXT_TO_VIDEO
    submits: ClassVar[list[Row]] = [
        *HINTS,
        ("400 INVALID_ARGUMENT", InvalidRequest, {"field": "input"}),
        ("400 FAILED_PRECONDITION", InvalidRequest, {"field": None}),
        ("400 MODERATION_FAILED", ContentRefused, {"stage": "input", "charged": "no"}),
        ("401 UNAUTHORIZED", AuthFailed, {}),
        ("402 INSUFFICIENT_BALANCE", OutOfCredit, {}),
        ("403 PERMISSION_DENIED", AuthFailed, {}),
        ("404 NOT_FOUND", ModelGone, {"replaced_by": None}),
        ("409 ALREADY_EXISTS", OutcomeUnknown, {}),
        ("409 ALREADY_IN_PROGRESS", OutcomeUnknown, {}),
        ("410 GONE", ModelGone, {"replaced_by": "kling-v3"}),
        ("410 GONE, strange", ModelGone, {"replaced_by": None}),
        ("429 RESOURCE_EXHAUSTED", RateLimited, {"retry_after": timedelta(seconds=5)}),
        ("499 CANCELLED", Cancelled, {}),
        ("500 INTERNAL", Transient, {}),
        ("500 UNKNOWN", Transient, {}),
        ("502", OutcomeUnknown, {}),
        ("503 UNAVAILABLE", Transient, {}),
        ("504 DEADLINE_EXCEEDED", Timeout, {"phase": "submit", "charged": "maybe"}),
        ("no id", OutcomeUnknown, {}),
    ]
    polls: ClassVar[list[Row]] = [
        ("MODERATION_FAILED", ContentRefused, {"stage": "output", "charged": "maybe"}),
        ("INVALID_ARGUMENT", InvalidRequest, {"field": "prompt"}),
        ("DEADLINE_EXCEEDED", Timeout, {"phase": "poll"}),
        ("CANCELLED", Cancelled, {}),
        ("INTERNAL", TaskFailed, {"charged": "maybe"}),
        ("INTERNAL, paid back", TaskFailed, {"charged": "no"}),
        ("INTERNAL, kept the money", TaskFailed, {"charged": "yes"}),
        ("RESOURCE_EXHAUSTED", TaskFailed, {"charged": "maybe"}),
        ("no error", TaskFailed, {}),
        ("EXPIRED", ResultExpired, {}),
        ("failed output", ContentRefused, {"stage": "output"}),
        ("failed output, no cost", TaskFailed, {"charged": "maybe"}),
        ("strange output, no cost", TaskFailed, {"charged": "maybe"}),
        ("strange output, paid", TaskFailed, {"charged": "yes"}),
        ("empty", BadResult, {}),
        ("DREAMING", BadResult, {}),
    ]

    def test_p7_a_repetition_is_recognised_and_charged_once(self, fake: FakeHedra) -> None:
        with tools_for(fake, "hedra", "/v3", pace=0.002) as (tools, _):
            fake.next("hang")
            with pytest.raises(OutcomeUnknown):
                HedraProvider(tools).submit(wish(self.operation))
        with tools_for(fake, "hedra", "/v3", pace=1) as (tools, shelf):
            provider = HedraProvider(tools)
            task = self.submitted(provider)
            self.finished(provider, task)

        assert fake.charges == 1
        assert list(shelf.kept.values()) == [self.result]

    def test_an_upload_that_is_lost_costs_nothing(self, fake: FakeHedra, monkeypatch: pytest.MonkeyPatch) -> None:
        with tools_for(fake, "hedra", "/v3", pace=1) as (tools, _):
            monkeypatch.setattr(HedraProvider, "credential_hosts", ())
            provider = HedraProvider(tools)
            fake.auth = ("authorization", "Bearer another")  # type: ignore[misc]

            with pytest.raises(AuthFailed):
                provider.submit(wish(Operation.IMAGE_TO_VIDEO))

        assert [seen.path for seen in fake.seen] == ["/v3/files"]
        assert fake.charges == 0

    def test_nothing_is_uploaded_for_a_request_that_will_be_refused(self, fake: FakeHedra, provider: Provider) -> None:
        with pytest.raises(InvalidRequest, match="'duration_ms' is not a whole number"):
            provider.submit(wish(Operation.IMAGE_TO_VIDEO, options={"duration_ms": "long"}))

        assert fake.seen == []

    def test_of_several_results_those_that_were_made_are_kept(
        self, fake: FakeHedra, both: tuple[Provider, Shelf]
    ) -> None:
        provider, shelf = both
        task = self.submitted(provider)
        failed = fake.POLLS["failed output"]["outputs"][0]
        made = {"status": "COMPLETED", "url": fake.result_of(task.task_id)}
        fake.POLLS = fake.POLLS | {"partial": {"status": "COMPLETED", "outputs": [failed, made]}}  # type: ignore[misc]
        fake.on_poll = ["partial"]

        provider.poll(task)

        assert list(shelf.kept.values()) == [("video/mp4", FILM)]


def test_the_sdk_sends_what_we_send_and_understands_the_fake() -> None:
    asked = wish(Operation.IMAGE_TO_VIDEO, webhook=HOOK)
    with FakeHedra() as fake, tools_for(fake, "hedra", "/v3", pace=1) as (tools, shelf):
        fake.pending = 0
        with httpx.Client() as client:
            sdk = Hedra(api_key=KEY, base_url=f"{fake.url}/v3", httpx_client=client, max_retries=0)
            file = sdk.files.upload(file=("image", UPLOAD, "image/png"))
            made = sdk.jobs.submit_kling25turbo(
                input=InputKling25Turbo(
                    prompt=PROMPT,
                    aspect_ratio="1:1",
                    duration_ms=5000,
                    start_image=InputKling25TurboStartImage_Url(url=file.url),
                ),
                webhook=HOOK,
                idempotency_key="another",
            )
            theirs = sdk.jobs.get(made.job_id)
        provider = HedraProvider(tools)
        answer = provider.submit(asked)
        assert isinstance(answer, Pending)
        provider.poll(answer.task)

    assert theirs.status == "COMPLETED"
    assert theirs.outputs is not None
    assert str(theirs.outputs[0].url).startswith(fake.url)
    sent = [seen for seen in fake.seen if not seen.path.startswith("/files/")]
    assert {name: (part.content_type, part.content) for name, part in sent[0].parts.items()} == {
        name: (part.content_type, part.content) for name, part in sent[3].parts.items()
    }
    ours, said = sent[4].json, sent[1].json
    assert (ours["input"].pop("start_image"), said["input"].pop("start_image")) == (
        {"source": "url", "url": fake.uploads[1]},
        {"source": "url", "url": fake.uploads[0]},
    )
    assert ours == said
    for theirs_sent, our_own in zip(sent[:3], sent[3:], strict=True):
        assert (our_own.method, our_own.path.replace("task-1", "task-0")) == (theirs_sent.method, theirs_sent.path)
        assert our_own.headers["authorization"] == theirs_sent.headers["authorization"]
    assert (sent[1].headers["idempotency-key"], sent[4].headers["idempotency-key"]) == ("another", "k")
    assert fake.wrong == []
    assert len(shelf.kept) == 1
