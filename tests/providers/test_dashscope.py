"""DashScope: contract, errors by code, partial results, and the vendor's own SDK against the same fake."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

import pytest
from dashscope import VideoSynthesis

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
    TaskFailed,
    TaskNotFound,
    Transient,
)
from providers.dashscope import DashScopeProvider, outputs
from providers.media import Document
from providers.network import data_uri
from providers.problems import Problem
from tests.fakes.dashscope import FakeDashScope
from tests.fakes.server import KEY
from tests.providers.film_contract import FilmContract
from tests.providers.network import PROMPT, Shelf, tools_for, wish
from tests.providers.test_task_adapters import HINTS, Row


class TestDashScope(FilmContract):
    adapter, fake_type, path = DashScopeProvider, FakeDashScope, "/api/v1"
    kept = timedelta(hours=24)
    submits: ClassVar[list[Row]] = [
        *HINTS,
        ("400 Arrearage", OutOfCredit, {}),
        ("400 DataInspectionFailed", ContentRefused, {"stage": "input", "charged": "no"}),
        ("400 data_inspection_failed", ContentRefused, {"stage": "input"}),
        ("400 InvalidParameter", InvalidRequest, {}),
        ("400 InvalidURL", InvalidRequest, {"field": "input"}),
        ("401 InvalidApiKey", AuthFailed, {}),
        ("403 AccessDenied", AuthFailed, {}),
        ("404 ModelNotFound", ModelGone, {}),
        ("429 Throttling", RateLimited, {}),
        ("429 Throttling.RateQuota", RateLimited, {}),
        ("400 Throttling.AllocationQuota", RateLimited, {}),
        ("500 InternalError.Timeout", Transient, {}),
        ("502", OutcomeUnknown, {}),
        ("503 ServiceUnavailable", Transient, {}),
        ("no id", OutcomeUnknown, {}),
    ]
    polls: ClassVar[list[Row]] = [
        ("refused input", ContentRefused, {"stage": "input", "reason": "violence"}),
        ("refused output", ContentRefused, {"stage": "output"}),
        ("InvalidURL", InvalidRequest, {"field": "input"}),
        ("InternalError", TaskFailed, {"charged": "maybe"}),
        ("CANCELED", Cancelled, {}),
        ("UNKNOWN", TaskNotFound, {}),
        ("empty", BadResult, {}),
        ("nothing but errors", ContentRefused, {"stage": "output"}),
        ("DREAMING", BadResult, {}),
    ]

    def test_of_several_results_those_that_were_made_are_kept(
        self, fake: FakeDashScope, both: tuple[Provider, Shelf]
    ) -> None:
        provider, shelf = both
        task = self.submitted(provider)
        made = [{"code": "InternalError", "message": "some words"}, {"url": fake.result_of(task.task_id)}]
        fake.POLLS = fake.POLLS | {"partial": {"task_status": "SUCCEEDED", "results": made}}  # type: ignore[misc]
        fake.on_poll = ["partial"]

        provider.poll(task)

        assert list(shelf.kept.values()) == [self.result]

    def test_a_picture_that_was_not_made_costs_nothing(self, fake: FakeDashScope, provider: Provider) -> None:
        answer = provider.submit(wish(Operation.GENERATE_IMAGE))
        assert isinstance(answer, Pending)
        fake.on_poll = ["InternalError"]

        with pytest.raises(TaskFailed) as caught:
            provider.poll(answer.task)

        assert caught.value.charged == "no"

    def test_a_cancel_that_comes_too_late_is_no_error(self, fake: FakeDashScope, provider: Provider) -> None:
        task = self.submitted(provider)
        provider.poll(task)

        provider.cancel(task)

        assert fake.cancelled == []

    def test_what_it_keeps_is_gone_after_a_day(self, provider: Provider) -> None:
        task = self.submitted(provider)
        erasure = provider.erase(task)

        assert (erasure.outcome, erasure.at) == ("scheduled", task.submitted_at + timedelta(hours=24))
        assert task.expires_at == erasure.at


def test_a_result_named_without_tls_is_fetched_with_it() -> None:
    named = ["http://dashscope-result.oss-cn-beijing.aliyuncs.com/1.png?x=http://", "http://elsewhere.test/1.png"]
    document = Document({"output": {"results": [{"url": url} for url in named]}})

    found = outputs(Problem("dashscope", 200, {}, document))

    assert found == [f"https://{named[0].removeprefix('http://')}", named[1]]


def test_the_sdk_sends_what_we_send_and_understands_the_fake(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = wish(Operation.IMAGE_TO_VIDEO, options={"resolution": "720P", "duration": "5"})
    with FakeDashScope() as fake, tools_for(fake, "dashscope", "/api/v1", pace=1) as (tools, shelf):
        fake.pending = 0
        monkeypatch.setattr("dashscope.base_http_api_url", f"{fake.url}/api/v1")
        made: Any = VideoSynthesis.async_call(
            model="wan2.5-i2v-preview", prompt=PROMPT, img_url=data_uri(asked), watermark=False, resolution="720P",
            duration=5, api_key=KEY,
        )  # fmt: skip
        theirs: Any = VideoSynthesis.fetch(made.output.task_id, api_key=KEY)
        provider = DashScopeProvider(tools)
        answer = provider.submit(asked)
        assert isinstance(answer, Pending)
        provider.poll(answer.task)

    assert theirs.output.task_status == "SUCCEEDED"
    assert theirs.output.video_url.startswith(fake.url)
    sent = [seen for seen in fake.seen if not seen.path.startswith("/files/")]
    # The SDK says the default of a field that was withdrawn, and the end of the path once more.
    assert sent[0].json["input"].pop("extend_prompt") is True
    assert sent[0].json["input"].pop("function") == "video-synthesis"
    assert sent[0].json == sent[2].json
    for name in ("authorization", "x-dashscope-async"):
        assert sent[0].headers[name] == sent[2].headers[name]
    shapes = [(seen.method, seen.path.replace("task-1", "task-0")) for seen in sent]
    assert shapes[:2] == shapes[2:]
    assert fake.wrong == []
    assert len(shelf.kept) == 1
