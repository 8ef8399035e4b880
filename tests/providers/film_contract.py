"""What holds for every maker of films, beside what holds for all that work on tasks."""

from __future__ import annotations

from typing import ClassVar

import pytest

from providers import (
    BadResult,
    Done,
    EraseSupport,
    ErasureOutcome,
    Operation,
    OutcomeUnknown,
    Provider,
    ProviderError,
    RateLimited,
    TaskNotFound,
    Transient,
)
from tests.fakes.films import FILM, FakeFilms
from tests.fakes.server import HTML, PICTURE, Answer
from tests.providers.network import Shelf, tools_for, wish
from tests.providers.test_task_adapters import TaskContract

FILMS = {Operation.IMAGE_TO_VIDEO, Operation.TEXT_TO_VIDEO}


class FilmContract(TaskContract):
    operation = Operation.IMAGE_TO_VIDEO
    result: ClassVar[tuple[str, bytes]] = ("video/mp4", FILM)

    def test_what_it_erases_is_gone_at_the_provider(self, fake: FakeFilms, both: tuple[Provider, Shelf]) -> None:
        provider, _ = both
        task = self.submitted(provider)
        self.finished(provider, task)

        first, second = provider.erase(task), provider.erase(task)

        if provider.capabilities.erase is EraseSupport.NONE:
            assert first.outcome in (ErasureOutcome.UNSUPPORTED, ErasureOutcome.SCHEDULED)
            assert fake.erased == []
            return
        assert first.outcome is second.outcome
        assert first.outcome in (ErasureOutcome.ERASED, ErasureOutcome.SCHEDULED)
        assert fake.erased == [task.task_id]
        with pytest.raises(TaskNotFound):
            provider.poll(task)

    def test_p7_an_acceptance_that_breaks_off_is_of_unknown_outcome(self, fake: FakeFilms, provider: Provider) -> None:
        fake.SUBMITS = fake.SUBMITS | {"cut": Answer(200, {"id": "task-0"}, cut=8)}  # type: ignore[misc]
        fake.next("cut")

        with pytest.raises(OutcomeUnknown, match="broke off"):
            provider.submit(wish(self.operation, options=self.options))

    @pytest.mark.parametrize(
        ("blip", "kind"),
        [
            (Answer(200, {"status": "failed"}, cut=8), Transient),
            (Answer(502, b"<html>"), Transient),
            (HTML, BadResult),
            (Answer(429, {}, {"retry-after": "7"}), RateLimited),
        ],
        ids=["cut", "gateway", "html", "429"],
    )
    def test_a_poll_that_fails_is_not_a_task_that_failed(
        self, fake: FakeFilms, both: tuple[Provider, Shelf], blip: Answer, kind: type[ProviderError]
    ) -> None:
        provider, shelf = both
        fake.pending = 0
        task = self.submitted(provider)
        usual, fake.route = fake.route, lambda seen: blip  # type: ignore[method-assign]

        with pytest.raises(kind) as caught:
            provider.poll(task)
        assert caught.value.retryable

        fake.route = usual  # type: ignore[method-assign]
        self.finished(provider, task)
        assert list(shelf.kept.values()) == [self.result]
        assert fake.charges == 1

    def test_every_declared_operation_satisfies_the_vendors_documentation(self) -> None:
        for operation in sorted(self.adapter.capabilities.operations):
            fake = self.fake_type()
            assert isinstance(fake, FakeFilms)
            fake.pending = 0
            with fake, tools_for(fake, self.adapter.name, self.path, pace=1) as (tools, shelf):
                provider = self.adapter(tools)
                answer = provider.submit(wish(operation, background=self.background, options=self.options))
                if not isinstance(answer, Done):
                    self.finished(provider, answer.task)

                assert fake.wrong == []
                expected = ("video/mp4", FILM) if operation in FILMS else ("image/png", PICTURE)
                assert list(shelf.kept.values()) == [expected], operation
