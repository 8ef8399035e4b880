"""Each adapter whose provider makes a task of a call: contract, errors of submit, poll and download, what is sent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

import pytest

from providers import (
    AuthFailed,
    BadResult,
    Cancelled,
    CancelSupport,
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
    ResultExpired,
    Task,
    TaskFailed,
    TaskNotFound,
    Timeout,
    Transient,
)
from providers.bfl import BflProvider
from providers.fal import FalProvider
from providers.hints import LONGEST
from providers.replicate import ReplicateProvider
from tests.fakes.server import KEY, PICTURE, FakeServer
from tests.fakes.task_vendors import FakeBfl, FakeFal, FakeReplicate, FakeTasks
from tests.providers.network import NetworkContract, Shelf, tools_for, wish

Row = tuple[str, type[ProviderError], dict[str, Any]]
HINTS: list[Row] = [
    ("429", RateLimited, {"retry_after": None}),
    ("429 seconds", RateLimited, {"retry_after": timedelta(seconds=7)}),
    ("429 ms", RateLimited, {"retry_after": timedelta(seconds=1.5)}),
    ("429 date", RateLimited, {"retry_after": LONGEST}),
    ("429 nonsense", RateLimited, {"retry_after": None}),
]


class TaskContract(NetworkContract):
    """For adapters with tasks."""

    submits: ClassVar[list[Row]]
    polls: ClassVar[list[Row]]
    operation = Operation.EDIT_IMAGE
    kept: ClassVar[timedelta | None] = None
    result: ClassVar[tuple[str, bytes]] = ("image/png", PICTURE)

    def submitted(self, provider: Provider) -> Task:
        answer = provider.submit(wish(self.operation, options=self.options))
        assert isinstance(answer, Pending)
        # What the next process gets is what went through the record.
        return Task.model_validate_json(answer.task.model_dump_json())

    def finished(self, provider: Provider, task: Task) -> Done:
        for _ in range(5):
            answer = provider.poll(task)
            if isinstance(answer, Done):
                return answer
        raise AssertionError("the task does not end")

    def test_a_task_is_asked_for_until_it_is_done_and_its_result_sealed_at_once(
        self, fake: FakeTasks, both: tuple[Provider, Shelf]
    ) -> None:
        provider, shelf = both
        task = self.submitted(provider)

        assert isinstance(provider.poll(task), Pending)
        self.finished(provider, task)

        assert shelf.kept == {"object-0": self.result}
        assert fake.charges == 1

    def test_every_error_of_a_submit_becomes_its_decision(self, fake: FakeTasks, provider: Provider) -> None:
        assert {row[0] for row in self.submits} == set(self.fake_type.SUBMITS), "a hard case without a row"
        for scenario, kind, facts in self.submits:
            fake.next(scenario)

            with pytest.raises(ProviderError) as caught:
                provider.submit(wish(self.operation, options=self.options))

            assert type(caught.value) is kind, scenario
            assert {name: getattr(caught.value, name) for name in facts} == facts, scenario
            assert KEY not in str(caught.value)
        assert fake.charges == 0

    def test_every_end_of_a_task_becomes_its_decision(self, fake: FakeTasks, both: tuple[Provider, Shelf]) -> None:
        provider, shelf = both
        assert {row[0] for row in self.polls} == set(self.fake_type.POLLS), "a hard case without a row"
        fake.pending = 0
        task = self.submitted(provider)
        for scenario, kind, facts in self.polls:
            fake.on_poll = [scenario]

            with pytest.raises(ProviderError) as caught:
                provider.poll(task)

            assert type(caught.value) is kind, scenario
            assert {name: getattr(caught.value, name) for name in facts} == facts, scenario
            assert "words" not in str(caught.value)
        assert shelf.kept == {}
        assert fake.charges == 1

    def test_the_task_says_how_long_its_result_is_kept_where_the_vendor_does(self, provider: Provider) -> None:
        task = self.submitted(provider)

        assert task.expires_at == (None if self.kept is None else task.submitted_at + self.kept)

    @pytest.mark.parametrize(
        ("scenario", "kind"),
        [
            ("expired", ResultExpired),
            ("gone", ResultExpired),
            ("gone for good", ResultExpired),
            ("html", BadResult),
            ("cut", Transient),
        ],
    )
    def test_a_download_that_fails_is_repaired_by_another_poll(
        self, fake: FakeTasks, both: tuple[Provider, Shelf], scenario: str, kind: type[ProviderError]
    ) -> None:
        provider, shelf = both
        fake.pending = 0
        task = self.submitted(provider)
        fake.on_file = [scenario]

        with pytest.raises(kind) as caught:
            provider.poll(task)
        assert caught.value.retryable
        assert shelf.kept == {}

        self.finished(provider, task)
        assert list(shelf.kept.values()) == [self.result]
        assert fake.charges == 1

    def test_a_sink_that_fails_does_not_lose_a_paid_result(self, fake: FakeTasks, provider: Provider) -> None:
        def full(stream: Any, media_type: str) -> str:
            raise RuntimeError("no room for canary")

        fake.pending = 0
        task = self.submitted(provider)
        tools = type(provider.tools)(transport=provider.tools.transport, accounts=provider.tools.accounts, sink=full)

        with pytest.raises(Transient, match=r"could not be sealed \(RuntimeError\)"):
            self.adapter(tools).poll(task)

    def test_a_task_it_does_not_know_is_said_to_be_so(self, provider: Provider) -> None:
        task = self.submitted(provider).model_copy(update={"task_id": "other"})
        if task.poll_url is not None:
            task = task.model_copy(update={"poll_url": task.poll_url.replace("task-0", "other")})

        with pytest.raises(TaskNotFound):
            provider.poll(task)

    def test_a_task_with_an_address_elsewhere_keeps_its_credential(self, fake: FakeTasks, provider: Provider) -> None:
        with FakeBfl() as evil:
            task = self.submitted(provider)
            asked = len(fake.seen)

            with pytest.raises(BadResult, match="must not be sent"):
                provider.poll(task.model_copy(update={"base_url": evil.url, "poll_url": task.poll_url and evil.url}))

            assert (evil.seen, len(fake.seen)) == ([], asked)

    def test_a_cancel_reaches_the_provider_where_it_can(self, fake: FakeTasks, provider: Provider) -> None:
        task = self.submitted(provider)

        provider.cancel(task)

        able = provider.capabilities.cancel is not CancelSupport.NONE
        assert fake.cancelled == ([task.task_id] if able else [])


class TestReplicate(TaskContract):
    adapter, fake_type, path = ReplicateProvider, FakeReplicate, "/v1"
    kept = timedelta(hours=1)
    submits: ClassVar[list[Row]] = [
        *HINTS,
        ("throttled", RateLimited, {"retry_after": timedelta(seconds=30)}),
        ("401", AuthFailed, {}),
        ("402", OutOfCredit, {}),
        ("404", ModelGone, {}),
        ("422", InvalidRequest, {}),
        ("500", Transient, {}),
        ("502", OutcomeUnknown, {}),
        ("no id", OutcomeUnknown, {}),
    ]
    polls: ClassVar[list[Row]] = [
        ("failed", TaskFailed, {"charged": "maybe"}),
        ("nsfw", ContentRefused, {"stage": "output", "reason": "sexual"}),
        ("sensitive", ContentRefused, {}),
        ("canceled", Cancelled, {}),
        ("canceled in time", Cancelled, {}),
        ("canceled by deadline", Timeout, {"phase": "poll", "charged": "maybe"}),
        ("removed", ResultExpired, {}),
        ("empty", BadResult, {}),
        ("aborted", BadResult, {}),
    ]

    def test_its_copies_are_gone_after_an_hour(self, provider: Provider) -> None:
        task = self.submitted(provider)
        erasure = provider.erase(task)

        assert (erasure.outcome, erasure.at) == ("scheduled", task.submitted_at + timedelta(hours=1))

    def test_the_vendor_stops_by_itself(self, fake: FakeTasks, provider: Provider) -> None:
        self.submitted(provider)

        assert fake.seen[0].headers["cancel-after"] == "15m"


class TestBfl(TaskContract):
    adapter, fake_type = BflProvider, FakeBfl
    kept = timedelta(minutes=10)
    submits: ClassVar[list[Row]] = [
        *HINTS,
        ("400", InvalidRequest, {}),
        ("401", AuthFailed, {}),
        ("402", OutOfCredit, {}),
        ("403", AuthFailed, {}),
        ("404", ModelGone, {}),
        ("422", InvalidRequest, {}),
        ("500", Transient, {}),
        ("503", Transient, {}),
        ("no id", OutcomeUnknown, {}),
    ]
    polls: ClassVar[list[Row]] = [
        ("Request Moderated", ContentRefused, {"stage": "input", "charged": "no"}),
        ("Content Moderated", ContentRefused, {"stage": "output"}),
        ("Error", TaskFailed, {"charged": "maybe"}),
        ("Failed", TaskFailed, {"charged": "maybe"}),
        ("Task not found", TaskNotFound, {}),
        ("Dreaming", BadResult, {}),
        ("empty", BadResult, {}),
    ]


class TestFal(TaskContract):
    adapter, fake_type = FalProvider, FakeFal
    kept = timedelta(hours=1)
    submits: ClassVar[list[Row]] = [
        *HINTS,
        ("401", AuthFailed, {}),
        ("403", AuthFailed, {}),
        ("403 balance", OutOfCredit, {}),
        ("404", ModelGone, {}),
        ("422", InvalidRequest, {}),
        ("500", Transient, {}),
        ("502", Transient, {"charged": "no"}),
        ("start", Timeout, {"phase": "submit", "charged": "no"}),
        ("retryable", Transient, {}),
        ("no id", OutcomeUnknown, {}),
    ]
    polls: ClassVar[list[Row]] = [
        ("content_policy_violation", ContentRefused, {"charged": "maybe"}),
        ("image_too_small", InvalidRequest, {"field": "input"}),
        ("image_too_large", InvalidRequest, {"field": "input"}),
        ("file_too_large", InvalidRequest, {"field": "input"}),
        ("unsupported_image_format", InvalidRequest, {"field": "input"}),
        ("face_detection_error", InvalidRequest, {"field": "input"}),
        ("file_download_error", InvalidRequest, {"field": "input"}),
        ("no_media_generated", TaskFailed, {"charged": "maybe"}),
        ("generation_timeout", Timeout, {"phase": "poll"}),
        ("downstream_service_error", TaskFailed, {"charged": "maybe"}),
        ("downstream_service_unavailable", TaskFailed, {"charged": "no"}),
        ("runner_disconnected", TaskFailed, {"charged": "no"}),
        ("client_cancelled", Cancelled, {}),
        ("validation", InvalidRequest, {}),
        ("gateway", Transient, {}),
        ("nsfw", ContentRefused, {"stage": "output", "reason": "sexual"}),
        ("empty", BadResult, {}),
        ("retry header", TaskFailed, {"charged": "no"}),
    ]

    def test_the_vendor_is_told_to_store_nothing(self, fake: FakeTasks, provider: Provider) -> None:
        self.submitted(provider)

        assert fake.seen[0].headers["x-fal-store-io"] == "0"
        assert '"expiration_duration_seconds": 3600' in fake.seen[0].headers["x-fal-object-lifecycle-preference"]


@pytest.mark.parametrize("case", [TestReplicate, TestBfl, TestFal], ids=lambda case: case.adapter.name)
def test_every_declared_operation_satisfies_the_vendors_documentation(case: Any) -> None:
    for operation in sorted(case.adapter.capabilities.operations):
        fake: FakeServer = case.fake_type()
        with fake, tools_for(fake, case.adapter.name, case.path, pace=1) as (tools, _):
            assert isinstance(case.adapter(tools).submit(wish(operation, background="#ffffff")), Pending)
            assert fake.wrong == []
