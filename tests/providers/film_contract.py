"""What holds for every maker of films, beside what holds for all that work on tasks."""

from __future__ import annotations

from typing import ClassVar

import pytest

from providers import Done, EraseSupport, ErasureOutcome, Operation, Provider, TaskNotFound
from tests.fakes.films import FILM, FakeFilms
from tests.fakes.server import PICTURE
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
