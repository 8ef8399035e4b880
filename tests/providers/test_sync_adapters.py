"""Each adapter that answers in the call: the shared contract, every row of its errors, what is sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from providers import (
    AuthFailed,
    BadResult,
    ContentRefused,
    Done,
    InvalidRequest,
    ModelGone,
    NothingToDo,
    Operation,
    OutcomeUnknown,
    OutOfCredit,
    Pending,
    Provider,
    ProviderError,
    RateLimited,
    Task,
    TaskNotFound,
    Transient,
)
from providers.hints import LONGEST
from providers.openai import OpenAIProvider
from providers.photoroom import PhotoroomProvider
from providers.remove_bg import RemoveBgProvider
from providers.stability import StabilityProvider
from tests.fakes.server import KEY, PICTURE, FakeServer
from tests.fakes.sync_vendors import FakeOpenAI, FakePhotoroom, FakeRemoveBg, FakeStability
from tests.providers.network import PROMPT, Shelf, SyncContract, tools_for, wish


class TestOpenAI(SyncContract):
    adapter, fake_type, path = OpenAIProvider, FakeOpenAI, "/v1"
    operation = Operation.EDIT_IMAGE


class TestStability(SyncContract):
    adapter, fake_type = StabilityProvider, FakeStability
    operation = Operation.REMOVE_BACKGROUND


class TestRemoveBg(SyncContract):
    adapter, fake_type, path = RemoveBgProvider, FakeRemoveBg, "/v1.0"
    operation, background = Operation.REPLACE_BACKGROUND, "#12aBcd"


class TestPhotoroom(SyncContract):
    adapter, fake_type = PhotoroomProvider, FakePhotoroom
    operation, background = Operation.REPLACE_BACKGROUND, "#12aBcd"


@contextmanager
def opened(case: Any) -> Iterator[tuple[Any, Provider, Shelf]]:
    with case.fake_type() as fake, tools_for(fake, case.adapter.name, case.path, pace=1) as (tools, shelf):
        yield fake, case.adapter(tools), shelf


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


HINTS: list[tuple[str, type[ProviderError], dict[str, Any]]] = [
    ("429", RateLimited, {"retry_after": None}),
    ("429 seconds", RateLimited, {"retry_after": seconds(7)}),
    ("429 ms", RateLimited, {"retry_after": seconds(1.5)}),
    ("429 date", RateLimited, {"retry_after": LONGEST}),
    ("429 nonsense", RateLimited, {"retry_after": None}),
]
TABLE: dict[Any, list[tuple[str, type[ProviderError], dict[str, Any]]]] = {
    TestOpenAI: [
        *HINTS,
        ("rate_limit", RateLimited, {"retry_after": None}),
        ("insufficient_quota", OutOfCredit, {}),
        ("moderation_blocked", ContentRefused, {"stage": "output", "reason": "violence", "charged": "maybe"}),
        ("content_policy_violation", ContentRefused, {"stage": "input", "charged": "no"}),
        ("model", ModelGone, {}),
        ("key", AuthFailed, {}),
        ("organisation", AuthFailed, {}),
        ("size", InvalidRequest, {"field": "size"}),
        ("413", InvalidRequest, {}),
        ("415", InvalidRequest, {}),
        ("408", Transient, {"charged": "no"}),
        ("409", Transient, {}),
        ("500", Transient, {}),
        ("503", Transient, {}),
        ("400 retry", Transient, {}),
        ("500 do not retry", OutcomeUnknown, {}),
        ("502", OutcomeUnknown, {}),
        ("504", OutcomeUnknown, {"charged": "maybe"}),
        ("no picture", BadResult, {}),
        ("no base64", BadResult, {}),
        ("broken base64", BadResult, {}),
        ("no image", BadResult, {}),
        ("html", BadResult, {}),
    ],
    TestStability: [
        ("bad_request", InvalidRequest, {}),
        ("unauthorized", AuthFailed, {}),
        ("payment_required", OutOfCredit, {}),
        ("content_moderation", ContentRefused, {"stage": "input"}),
        ("payload_too_large", InvalidRequest, {"field": "input"}),
        ("invalid_language", InvalidRequest, {"field": "prompt"}),
        ("public_figure", ContentRefused, {"stage": "input", "reason": "public-figure"}),
        ("rate_limit_exceeded", RateLimited, {"retry_after": seconds(60)}),
        ("internal_error", Transient, {}),
        ("504", OutcomeUnknown, {}),
        ("filtered", ContentRefused, {"stage": "output"}),
        ("unknown reason", BadResult, {}),
        ("html", BadResult, {}),
        ("empty", BadResult, {}),
    ],
    TestRemoveBg: [
        *HINTS,
        ("limit", RateLimited, {"retry_after": seconds(11)}),
        ("unknown_foreground", NothingToDo, {"field": "input"}),
        ("file_too_large", InvalidRequest, {"field": "input"}),
        ("resolution_too_high", InvalidRequest, {"field": "input"}),
        ("invalid_file_type", InvalidRequest, {"field": "input"}),
        ("400", InvalidRequest, {"field": None}),
        ("402", OutOfCredit, {}),
        ("403", AuthFailed, {}),
        ("500", Transient, {}),
        ("504", Transient, {"charged": "no"}),
        ("html", BadResult, {}),
    ],
    TestPhotoroom: [
        *HINTS,
        ("400", InvalidRequest, {}),
        ("402", OutOfCredit, {}),
        ("403", AuthFailed, {}),
        ("500", Transient, {}),
        ("504", OutcomeUnknown, {}),
        ("html", BadResult, {}),
    ],
}


@pytest.mark.parametrize(
    ("case", "scenario", "kind", "facts"),
    [pytest.param(case, *row, id=f"{case.adapter.name} {row[0]}") for case, rows in TABLE.items() for row in rows],
)
def test_each_error_becomes_its_decision(
    case: Any, scenario: str, kind: type[ProviderError], facts: dict[str, Any]
) -> None:
    with opened(case) as (fake, provider, shelf):
        fake.next(scenario)

        with pytest.raises(ProviderError) as caught:
            provider.submit(wish(case.operation, background=case.background))

    assert type(caught.value) is kind
    assert {name: getattr(caught.value, name) for name in facts} == facts
    assert shelf.kept == {}
    assert KEY not in str(caught.value)
    assert "words" not in str(caught.value), "the provider's own text is not passed on"
    assert fake.wrong == []


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.adapter.name)
def test_every_hard_case_of_the_fake_is_in_the_table(case: Any) -> None:
    """`cut` and `hang` are in the shared contract, `no id` below."""
    assert set(case.fake_type.ERRORS) - {"cut", "hang", "no id"} == {row[0] for row in TABLE[case]}


@pytest.mark.parametrize(
    ("case", "operation"),
    [(case, operation) for case in TABLE for operation in sorted(case.adapter.capabilities.operations)],
    ids=lambda value: value if isinstance(value, str) else value.adapter.name,
)
def test_every_declared_operation_satisfies_the_vendors_documentation(case: Any, operation: Operation) -> None:
    with opened(case) as (fake, provider, shelf):
        answer = provider.submit(wish(operation, background="#ffffff"))

        assert isinstance(answer, Pending) or [kept for _, kept in shelf.kept.values()] == [PICTURE]
        assert fake.wrong == []
        assert fake.charges == 1


def test_a_retired_model_fails_before_anything_is_sent_and_names_its_successor() -> None:
    with opened(TestOpenAI) as (fake, provider, _), pytest.raises(ModelGone, match=r"use 'gpt-image-1\.5'") as caught:
        provider.submit(wish(Operation.EDIT_IMAGE, options={"model": "gpt-image-1"}))

    assert caught.value.replaced_by == "gpt-image-1.5"
    assert fake.seen == []


def test_a_model_must_look_like_one() -> None:
    for name in ("../../admin", "a b", "https://example.test/", "a//b", "x?y"):
        with opened(TestOpenAI) as (_, provider, _), pytest.raises(InvalidRequest, match="not the name of a model"):
            provider.submit(wish(Operation.EDIT_IMAGE, options={"model": name}))


class TestStabilityTasks:
    @pytest.fixture
    def fake(self) -> Iterator[FakeStability]:
        with FakeStability() as fake:
            yield fake

    @pytest.fixture
    def both(self, fake: FakeServer) -> Iterator[tuple[Provider, Shelf]]:
        with tools_for(fake, "stability", pace=1) as (tools, shelf):
            yield StabilityProvider(tools), shelf

    def submitted(self, provider: Provider) -> Task:
        answer = provider.submit(wish(Operation.REPLACE_BACKGROUND, background="on oak"))
        assert isinstance(answer, Pending)
        return answer.task

    def test_it_is_asked_until_the_result_is_there(self, both: tuple[Provider, Shelf]) -> None:
        provider, shelf = both
        task = self.submitted(provider)

        assert isinstance(provider.poll(task), Pending)
        assert isinstance(provider.poll(task), Done)
        assert shelf.kept == {"object-0": ("image/png", PICTURE)}
        assert task.expires_at == task.submitted_at + timedelta(hours=24)

    @pytest.mark.parametrize(
        ("scenario", "kind"),
        [
            ("filtered", ContentRefused),
            ("rate_limit_exceeded", RateLimited),
            ("internal_error", Transient),
            ("504", Transient),
            ("cut", Transient),
        ],
    )
    def test_a_failed_poll_is_not_a_failed_job(
        self, fake: FakeStability, both: tuple[Provider, Shelf], scenario: str, kind: type[ProviderError]
    ) -> None:
        provider, shelf = both
        task = self.submitted(provider)
        fake.next(scenario)

        with pytest.raises(kind):
            provider.poll(task)
        assert shelf.kept == {}

    def test_a_task_it_does_not_know_is_said_to_be_so(self, both: tuple[Provider, Shelf]) -> None:
        provider, _ = both
        task = self.submitted(provider)

        with pytest.raises(TaskNotFound):
            provider.poll(task.model_copy(update={"task_id": "0" * 63 + "9"}))

    def test_p7_a_success_without_a_task_is_of_unknown_outcome(
        self, fake: FakeStability, both: tuple[Provider, Shelf]
    ) -> None:
        fake.next("no id")

        with pytest.raises(OutcomeUnknown, match="without naming a task"):
            self.submitted(both[0])

    def test_a_task_of_another_credential_is_not_asked_for(self, both: tuple[Provider, Shelf]) -> None:
        task = self.submitted(both[0]).model_copy(update={"credential": "other"})

        with pytest.raises(TaskNotFound, match="credential"):
            both[0].poll(task)


def test_the_prompt_goes_where_the_vendor_wants_it() -> None:
    with opened(TestOpenAI) as (fake, provider, _):
        provider.submit(wish(Operation.REPLACE_BACKGROUND, background="a beach"))

    sent = fake.seen[0].parts["prompt"].content.decode()
    assert "a beach" in sent
    assert PROMPT in sent
