"""
What every adapter keeps to. A test module of an adapter subclasses `ProviderContract` and gives it two fixtures.

    class TestLocal(ProviderContract):
        @pytest.fixture
        def provider(self) -> Provider: ...

        @pytest.fixture
        def wish(self) -> Request: ...    # one it can fulfil
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from metrics.instruments import PROVIDER_CALLS, CallOutcome
from providers import (
    PIXELS,
    Charged,
    Done,
    EraseSupport,
    ErasureOutcome,
    IdempotencySupport,
    InMemory,
    InvalidRequest,
    Operation,
    OutcomeUnknown,
    Pending,
    PreparedImage,
    Provider,
    ProviderError,
    ProviderRegistry,
    ProviderTools,
    Request,
    SealedResult,
    Task,
    TaskNotFound,
)

SECRET = "words of a user, never to be repeated"


def memfd(content: bytes) -> int:
    fd = os.memfd_create("test")
    os.write(fd, content)
    return fd


@pytest.fixture
def pixels() -> Iterator[PreparedImage]:
    """A picture of 4 × 3 white pixels."""
    fd = memfd(b"\xff" * 36)
    yield PreparedImage(fd, PIXELS, 4, 3, 3)
    os.close(fd)


def task_of(provider: str) -> Task:
    return Task(
        provider=provider,
        credential="main",
        base_url="https://example.test",
        model="m",
        task_id="t",
        poll_url=f"https://example.test/t?signature={SECRET}",
        submitted_at=datetime.now(UTC),
    )


def calls(provider: str, outcome: CallOutcome) -> float:
    return PROVIDER_CALLS.labels(provider=provider, outcome=outcome)._value.get()


class ProviderContract:
    @pytest.fixture
    def provider(self) -> Provider:
        raise NotImplementedError

    @pytest.fixture
    def wish(self) -> Request:
        raise NotImplementedError

    def test_whoever_lets_us_name_a_task_can_look_it_up(self, provider: Provider) -> None:
        named = provider.capabilities.idempotency is IdempotencySupport.CLIENT_ID

        assert (type(provider)._look_up is not Provider._look_up) is named

    def test_it_is_registered_under_its_own_name(self, provider: Provider) -> None:
        assert ProviderRegistry.from_entry_points().get(provider.name) is type(provider)

    def test_its_capabilities_agree_with_each_other(self, provider: Provider) -> None:
        able = provider.capabilities

        assert able.retention_note.endswith(".")
        if not able.network:
            assert able.erase is EraseSupport.NOT_NEEDED
        if not able.charges:
            assert able.idempotency is IdempotencySupport.NOT_NEEDED

    def test_it_fulfils_a_wish_it_can_and_counts_it(self, provider: Provider, wish: Request) -> None:
        before = calls(provider.name, CallOutcome.DONE) + calls(provider.name, CallOutcome.PENDING)

        answer = provider.submit(wish)

        after = calls(provider.name, CallOutcome.DONE) + calls(provider.name, CallOutcome.PENDING)
        assert after == before + 1
        if isinstance(answer, Pending):
            assert Task.model_validate_json(answer.task.model_dump_json()) == answer.task
            assert answer.next_poll >= provider.capabilities.min_poll
            return
        for result in answer.results:
            # A result that was paid for, or came from elsewhere, must not die with the process that holds it.
            able = provider.capabilities
            assert isinstance(result, SealedResult if able.charges or able.network else InMemory)
            if isinstance(result, InMemory):
                os.close(result.fd)

    def test_it_refuses_what_it_does_not_declare(self, provider: Provider, wish: Request) -> None:
        before = calls(provider.name, CallOutcome.REFUSED)
        unable = set(Operation) - provider.capabilities.operations

        for operation in unable:
            with pytest.raises(InvalidRequest, match=r"cannot do .* it can do") as caught:
                provider.submit(replace(wish, operation=operation))
            assert (caught.value.field, caught.value.retryable) == ("operation", False)

        assert calls(provider.name, CallOutcome.REFUSED) == before + len(unable)

    def test_it_refuses_to_start_from_a_picture_that_is_not_there(self, provider: Provider, wish: Request) -> None:
        for operation in filter(lambda each: each.needs_input, provider.capabilities.operations):
            with pytest.raises(InvalidRequest, match="needs a picture"):
                provider.submit(replace(wish, operation=operation, input=None))

    def test_a_task_of_somebody_else_is_unknown_to_it(self, provider: Provider) -> None:
        for ask in (provider.poll, provider.cancel, provider.erase):
            with pytest.raises(TaskNotFound, match="was given to"):
                ask(task_of("somebody-else"))

    def test_it_answers_about_its_copies_as_it_declares(self, provider: Provider) -> None:
        if provider.capabilities.erase is EraseSupport.NOT_NEEDED:
            assert provider.erase(task_of(provider.name)).outcome is ErasureOutcome.NOTHING_KEPT

    def test_p1_what_an_adapter_lets_slip_crosses_without_its_text(self, provider: Provider, wish: Request) -> None:
        class Broken(type(provider)):  # type: ignore[misc]  # the class under test, with a fault in it
            def _submit(self, request: Request) -> Done | Pending:
                raise KeyError(request.prompt)

        with pytest.raises(
            ProviderError, match=r"broke in submit with KeyError \(provider_contract.py, line \d+\)"
        ) as caught:
            Broken(ProviderTools()).submit(replace(wish, prompt=SECRET))

        if provider.capabilities.charges:
            assert isinstance(caught.value, OutcomeUnknown)
        else:
            assert caught.value.charged is Charged.NO
        assert SECRET not in str(caught.value)
        assert caught.value.__suppress_context__
        assert caught.value.__cause__ is None

    def test_p1_a_request_and_a_task_print_without_the_users_words(self, provider: Provider, wish: Request) -> None:
        request = replace(wish, prompt=SECRET, background=SECRET, options={"o": SECRET})

        assert SECRET not in repr(request) + repr(task_of(provider.name))
