"""Ark: contract, errors by code, partial results, and the vendor's own SDK against the same fake."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

import pytest
from volcenginesdkarkruntime import Ark

from providers import (
    AuthFailed,
    BadResult,
    Cancelled,
    ContentRefused,
    Done,
    InvalidRequest,
    ModelGone,
    Operation,
    OutcomeUnknown,
    OutOfCredit,
    Pending,
    Provider,
    ProviderError,
    RateLimited,
    TaskFailed,
    Timeout,
    Transient,
)
from providers.ark import ArkProvider
from providers.network import data_uri
from tests.fakes.ark import FakeArk
from tests.fakes.server import B64, KEY, PICTURE, Answer
from tests.providers.film_contract import FilmContract
from tests.providers.network import HOOK, PROMPT, Shelf, tools_for, wish
from tests.providers.test_task_adapters import HINTS, Row


class TestArk(FilmContract):
    adapter, fake_type, path = ArkProvider, FakeArk, "/api/v3"
    kept = timedelta(hours=24)
    submits: ClassVar[list[Row]] = [
        *HINTS,
        ("400 MissingParameter", InvalidRequest, {}),
        ("400 InvalidParameter", InvalidRequest, {}),
        ("400 InputTextRiskDetection", ContentRefused, {"stage": "input", "charged": "no"}),
        ("400 InputImageRiskDetection", ContentRefused, {"stage": "input"}),
        ("400 InputTextSensitiveContentDetected", ContentRefused, {"stage": "input"}),
        ("400 InputImageSensitiveContentDetected", ContentRefused, {"stage": "input"}),
        ("400 InputVideoSensitiveContentDetected", ContentRefused, {"stage": "input"}),
        ("400 OutputImageSensitiveContentDetected", ContentRefused, {"stage": "output", "charged": "maybe"}),
        ("401", AuthFailed, {}),
        ("403 AccountOverdueError", OutOfCredit, {}),
        ("403 AccessDenied", AuthFailed, {}),
        ("404 InvalidEndpointOrModel", ModelGone, {}),
        ("404 ModelNotOpen", ModelGone, {}),
        ("429 RateLimitExceeded", RateLimited, {}),
        ("429 ModelAccountRpmRateLimitExceeded", RateLimited, {}),
        ("429 QuotaExceeded", RateLimited, {}),
        ("429 ServerOverloaded", RateLimited, {}),
        ("500", Transient, {}),
        ("502", OutcomeUnknown, {}),
        ("no id", OutcomeUnknown, {}),
    ]
    polls: ClassVar[list[Row]] = [
        ("OutputVideoSensitiveContentDetected", ContentRefused, {"stage": "output", "reason": "violence"}),
        ("InputImageRiskDetection", ContentRefused, {"stage": "input"}),
        ("InternalServiceError", TaskFailed, {"charged": "maybe"}),
        ("ServerOverloaded", TaskFailed, {"charged": "maybe", "retryable": False}),
        ("no error", TaskFailed, {}),
        ("cancelled", Cancelled, {"charged": "no"}),
        ("expired", Timeout, {"phase": "poll"}),
        ("empty", BadResult, {}),
        ("dreaming", BadResult, {}),
    ]

    def test_what_runs_cannot_be_cancelled_and_that_is_no_error(self, fake: FakeArk, provider: Provider) -> None:
        task = self.submitted(provider)
        provider.poll(task)

        provider.cancel(task)

        assert (fake.cancelled, fake.erased) == ([], [])

    def test_a_deleted_record_is_not_said_to_be_a_deleted_film(self, provider: Provider) -> None:
        task = self.submitted(provider)

        assert provider.erase(task).at == task.submitted_at + timedelta(hours=24)

    def test_of_several_pictures_those_that_were_made_are_kept(
        self, fake: FakeArk, both: tuple[Provider, Shelf]
    ) -> None:
        provider, shelf = both
        fake.pictures_made = [{"error": {"code": "InternalServiceError", "message": "some words"}}, {"b64_json": B64}]

        assert isinstance(provider.submit(wish(Operation.EDIT_IMAGE)), Done)

        assert list(shelf.kept.values()) == [("image/png", PICTURE)]

    @pytest.mark.parametrize(
        ("made", "kind"),
        [
            ([{"error": {"code": "OutputImageSensitiveContentDetected", "message": "some words"}}], ContentRefused),
            ([{"error": {"code": "InternalServiceError", "message": "some words"}}], BadResult),
            ([{"b64_json": "@@"}], BadResult),
            ([], BadResult),
        ],
    )
    def test_a_success_without_a_picture_is_none(
        self, fake: FakeArk, both: tuple[Provider, Shelf], made: list[Any], kind: type[ProviderError]
    ) -> None:
        provider, shelf = both
        fake.pictures_made = made

        with pytest.raises(kind):
            provider.submit(wish(Operation.GENERATE_IMAGE))

        assert shelf.kept == {}

    def test_p7_a_picture_that_breaks_off_has_probably_been_charged(self, fake: FakeArk, provider: Provider) -> None:
        fake.SUBMITS = fake.SUBMITS | {"cut": Answer(200, {"data": [{"b64_json": B64}]}, cut=40)}  # type: ignore[misc]
        fake.next("cut")

        with pytest.raises(OutcomeUnknown, match="broke off"):
            provider.submit(wish(Operation.GENERATE_IMAGE))


def test_the_sdk_sends_what_we_send_and_understands_the_fake() -> None:
    film, edit = wish(Operation.IMAGE_TO_VIDEO, options={"duration": "5"}, webhook=HOOK), wish(Operation.EDIT_IMAGE)
    with FakeArk() as fake, tools_for(fake, "ark", "/api/v3", pace=1) as (tools, shelf):
        fake.pending = 0
        with Ark(api_key=KEY, base_url=f"{fake.url}/api/v3", max_retries=0) as sdk:
            made = sdk.content_generation.tasks.create(
                model="seedance-1-0-pro-250528",
                content=[
                    {"type": "text", "text": PROMPT},
                    {"type": "image_url", "image_url": {"url": data_uri(film)}, "role": "first_frame"},
                ],
                watermark=False,
                duration=5,
                callback_url=HOOK,
            )
            theirs = sdk.content_generation.tasks.get(task_id=made.id)
            sdk.content_generation.tasks.delete(task_id=made.id)
            picture: Any = sdk.images.generate(
                model="seedream-4-0-250828",
                prompt=PROMPT,
                image=data_uri(edit),
                response_format="b64_json",
                watermark=False,
            )
        provider = ArkProvider(tools)
        answer = provider.submit(film)
        assert isinstance(answer, Pending)
        provider.poll(answer.task)
        provider.erase(answer.task)
        provider.submit(edit)

    assert theirs.status == "succeeded"
    assert theirs.content.video_url.startswith(fake.url)
    assert picture.data[0].b64_json == B64
    sent = [seen for seen in fake.seen if not seen.path.startswith("/files/")]
    for theirs_sent, ours in zip(sent[:4], sent[4:], strict=True):
        assert (ours.method, ours.path.replace("task-2", "task-0")) == (theirs_sent.method, theirs_sent.path)
        assert ours.headers["authorization"] == theirs_sent.headers["authorization"]
        if ours.body:
            # The SDK writes down what it was not told, as null.
            assert ours.json == {name: value for name, value in theirs_sent.json.items() if value is not None}
    assert fake.erased == ["task-0", "task-2"]
    assert fake.wrong == []
    assert len(shelf.kept) == 2
