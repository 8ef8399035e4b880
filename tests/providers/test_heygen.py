"""HeyGen: contract, errors by code, and what a speaking picture needs. The vendor publishes no SDK for Python."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import ClassVar

import pytest

from providers import (
    AuthFailed,
    BadResult,
    ContentRefused,
    InvalidRequest,
    Operation,
    OutcomeUnknown,
    OutOfCredit,
    Provider,
    RateLimited,
    TaskFailed,
    Transient,
)
from providers.heygen import HeyGenProvider
from tests.fakes.heygen import FakeHeyGen
from tests.providers.film_contract import FilmContract
from tests.providers.network import PROMPT, wish
from tests.providers.test_task_adapters import HINTS, Row


class TestHeyGen(FilmContract):
    adapter, fake_type, path = HeyGenProvider, FakeHeyGen, "/v3"
    options: ClassVar[dict[str, str]] = {"voice_id": "voice-1", "avatar_id": "avatar-1"}
    submits: ClassVar[list[Row]] = [
        *HINTS,
        ("400 invalid_parameter", InvalidRequest, {"field": None}),
        ("400 download_failed", InvalidRequest, {"field": "input"}),
        ("400 content_moderation", ContentRefused, {"stage": "input", "charged": "no", "reason": "violence"}),
        ("400 blocked_words_detected", ContentRefused, {"stage": "input"}),
        ("401", AuthFailed, {}),
        ("402", OutOfCredit, {}),
        ("400 insufficient_credit", OutOfCredit, {}),
        ("403 forbidden", AuthFailed, {}),
        ("403 resource_access_denied", AuthFailed, {}),
        ("404 avatar_not_found", InvalidRequest, {}),
        ("429 rate_limit_exceeded", RateLimited, {"retry_after": timedelta(seconds=11)}),
        ("500", Transient, {}),
        ("502", OutcomeUnknown, {}),
        ("no id", OutcomeUnknown, {}),
    ]
    polls: ClassVar[list[Row]] = [
        ("moderation_failed", ContentRefused, {"stage": "output", "charged": "maybe"}),
        ("insufficient_credit", OutOfCredit, {}),
        ("download_failed", InvalidRequest, {"field": "input"}),
        ("render_failed", TaskFailed, {"charged": "maybe"}),
        ("no code", TaskFailed, {}),
        ("empty", BadResult, {}),
        ("dreaming", BadResult, {}),
    ]

    def test_the_words_are_spoken_as_they_are(self, fake: FakeHeyGen, provider: Provider) -> None:
        provider.submit(wish(Operation.IMAGE_TO_VIDEO, background="#ffffff", options=self.options))

        assert fake.seen[0].json["script"] == PROMPT
        assert fake.seen[0].json["background"] == {"type": "color", "value": "#ffffff"}

    @pytest.mark.parametrize(
        ("operation", "changes", "field"),
        [
            (Operation.IMAGE_TO_VIDEO, {"options": {}}, "voice_id"),
            (Operation.TEXT_TO_VIDEO, {"options": {"voice_id": "voice-1"}}, "avatar_id"),
            (Operation.IMAGE_TO_VIDEO, {"prompt": None}, "prompt"),
            (Operation.IMAGE_TO_VIDEO, {"background": "a meadow"}, "background"),
        ],
    )
    def test_what_it_needs_is_asked_for_before_anything_is_sent(
        self, fake: FakeHeyGen, provider: Provider, operation: Operation, changes: dict[str, object], field: str
    ) -> None:
        with pytest.raises(InvalidRequest) as caught:
            provider.submit(replace(wish(operation, options=self.options), **changes))  # type: ignore[arg-type]

        assert (caught.value.field, fake.seen) == (field, [])
