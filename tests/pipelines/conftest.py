from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pipelines import Encoded, Limits, Prepared, Sandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """One strict sandbox for the whole run: every layer must be there, as in production."""
    with Sandbox() as running:
        yield running


@pytest.fixture
def limits() -> Limits:
    """The defaults."""
    return Limits()


@pytest.fixture
def prepared(sandbox: Sandbox, limits: Limits) -> Iterator[Callable[..., Prepared]]:
    """Prepare a file as raw pixels; what was made is closed at the end."""
    made: list[Prepared] = []

    def prepare(data: bytes, max_side: int | None = None) -> Prepared:
        with Encoded.from_bytes(data) as source:
            made.append(sandbox.prepare(source, max_side=max_side, encoding="pixels", limits=limits))
        return made[-1]

    yield prepare
    for one in made:
        one.close()
