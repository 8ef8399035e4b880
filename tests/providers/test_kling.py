"""Kling: contract, errors by its own codes, tokens, and tasks found again by the name we gave them."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

import pytest

from providers import (
    AuthFailed,
    BadResult,
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
    Transient,
)
from providers.kling import KlingProvider, token
from tests.fakes.kling import FakeKling
from tests.fakes.server import KEY
from tests.providers.film_contract import FilmContract
from tests.providers.network import tools_for, wish
from tests.providers.test_task_adapters import HINTS, Row


class TestKling(FilmContract):
    adapter, fake_type = KlingProvider, FakeKling
    kept = timedelta(days=30)
    wrong_key = "access-canary-11:wrong-canary"
    submits: ClassVar[list[Row]] = [
        *HINTS,
        *[(f"401 {code}", AuthFailed, {}) for code in (1000, 1001, 1002, 1003, 1004)],
        *[(f"429 {code}", OutOfCredit, {}) for code in (1100, 1101, 1102)],
        *[(f"429 {code}", RateLimited, {"retry_after": None}) for code in (1302, 1303)],
        ("429 1304", AuthFailed, {}),
        ("403 1103", AuthFailed, {}),
        *[(f"400 {code}", InvalidRequest, {}) for code in (1200, 1201, 1202, 1300)],
        ("404 1203", ModelGone, {}),
        ("400 1301", ContentRefused, {"stage": "input", "reason": "sexual"}),
        ("200 1301", ContentRefused, {"stage": "input", "charged": "no"}),
        ("200 unknown code", OutcomeUnknown, {}),
        ("500 5000", Transient, {}),
        ("503 5001", Transient, {}),
        ("504 5002", OutcomeUnknown, {}),
        ("502", OutcomeUnknown, {}),
        ("no id", OutcomeUnknown, {}),
    ]
    polls: ClassVar[list[Row]] = [
        ("risk", ContentRefused, {"stage": "output"}),
        ("failed", TaskFailed, {"charged": "maybe"}),
        ("empty", BadResult, {}),
        ("partial", BadResult, {}),
        ("succeeded", BadResult, {}),
    ]

    def test_p7_a_call_whose_answer_was_lost_is_found_by_the_name_we_gave_it(self, fake: FakeKling) -> None:
        asked = wish(self.operation)
        with tools_for(fake, "kling", pace=0.002) as (tools, _):
            fake.next("hang")
            with pytest.raises(OutcomeUnknown):
                KlingProvider(tools).submit(asked)
        with tools_for(fake, "kling", pace=1) as (tools, shelf):
            provider = KlingProvider(tools)

            found = provider._look_up(self.operation, asked.idempotency_key)

            assert isinstance(found, Pending)
            self.finished(provider, found.task)
        assert list(shelf.kept.values()) == [self.result]
        assert fake.charges == 1

    def test_p7_a_name_that_was_never_given_is_not_found(self, provider: Provider) -> None:
        assert isinstance(provider, KlingProvider)

        assert provider._look_up(Operation.IMAGE_TO_VIDEO, "never") is None

    def test_a_clock_that_is_off_is_named_as_the_first_suspect(self, fake: FakeKling, provider: Provider) -> None:
        fake.skew = -3600

        with pytest.raises(AuthFailed, match="clock"):
            provider.submit(wish(self.operation))

    def test_what_it_keeps_is_gone_after_thirty_days(self, provider: Provider) -> None:
        task = self.submitted(provider)

        erasure = provider.erase(task)

        assert erasure.at is not None
        assert (erasure.outcome, (erasure.at - task.submitted_at).days) == ("scheduled", 30)


@pytest.mark.parametrize("key", ["canary", ":canary", "canary:"])
def test_a_credential_that_is_not_two_keys_is_refused_without_being_repeated(key: str) -> None:
    with pytest.raises(AuthFailed, match="<access key>:<secret key>") as caught:
        token(key, 0)

    assert "canary" not in str(caught.value)


def test_a_token_holds_the_first_key_and_only_a_signature_of_the_second() -> None:
    made = token(f"access:{KEY}", 1_700_000_000)

    # Signed with `openssl dgst -sha256 -hmac`, not by us.
    head, claims, mac = made.split(".")
    assert (head, claims) == (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
        "eyJpc3MiOiJhY2Nlc3MiLCJleHAiOjE3MDAwMDE4MDAsIm5iZiI6MTY5OTk5OTk5NX0",
    )
    assert mac == "z1xZREp63-6A6eRM-WE06dV0BBs0_8xEZEQ-Gas26eA"
