"""The decision each error carries, as the providers' own behaviour demands it."""

from __future__ import annotations

import inspect
from datetime import timedelta

import pytest

from providers import (
    AuthFailed,
    BadResult,
    BrokenProviderError,
    Cancelled,
    Charged,
    ContentRefused,
    InvalidRequest,
    ModelGone,
    NothingToDo,
    OutcomeUnknown,
    OutOfCredit,
    Phase,
    ProviderError,
    RateLimited,
    ResultExpired,
    Stage,
    TaskFailed,
    TaskNotFound,
    Timeout,
    Transient,
    UnknownProviderError,
    errors,
)

TABLE = [
    (RateLimited("m", retry_after=timedelta(seconds=3)), True, None, "no"),
    (OutOfCredit("m"), False, None, "no"),
    (ContentRefused("m", stage=Stage.INPUT), False, None, "no"),
    (ContentRefused("m", stage=Stage.OUTPUT), False, None, "maybe"),
    (InvalidRequest("m", field="f"), False, None, "no"),
    (NothingToDo("m"), False, None, "no"),
    (ModelGone("m", replaced_by="n"), False, None, "no"),
    (AuthFailed("m"), False, None, "no"),
    (Transient("m"), True, None, "no"),
    (OutcomeUnknown("m"), False, None, "maybe"),
    (Timeout("m", phase=Phase.POLL), False, None, "maybe"),
    (Cancelled("m"), False, None, "maybe"),
    (TaskNotFound("m"), False, None, "maybe"),
    (TaskFailed("m"), False, None, "maybe"),
    (ResultExpired("m"), True, 1, "yes"),
    (BadResult("m"), True, 1, "maybe"),
    (UnknownProviderError("x", ("a",)), False, None, "no"),
    (BrokenProviderError("m"), False, None, "no"),
]


@pytest.mark.parametrize(
    ("error", "retryable", "max_retries", "charged"), TABLE, ids=lambda value: type(value).__name__
)
def test_each_error_carries_its_decision(
    error: ProviderError, retryable: bool, max_retries: int | None, charged: str
) -> None:
    assert (error.retryable, error.max_retries, error.charged) == (retryable, max_retries, charged)


def test_the_table_is_complete_and_codes_are_distinct() -> None:
    kinds = {kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, ProviderError)}

    assert {type(error) for error, *_ in TABLE} == kinds - {ProviderError}
    assert len({kind.code for kind in kinds}) == len(kinds)


def test_an_adapter_that_knows_better_says_whether_it_was_charged() -> None:
    assert Transient("m", charged=Charged.MAYBE).charged is Charged.MAYBE
    assert ContentRefused("m", stage=Stage.INPUT, charged=Charged.YES).charged is Charged.YES


@pytest.mark.parametrize(
    ("cost", "charged"),
    [(0, "no"), (0.0, "no"), (3, "yes"), (0.5, "yes"), (-1, "yes"), (None, "maybe"), ("0", "maybe"), (False, "maybe")],
)
def test_only_a_cost_of_nothing_is_none(cost: object, charged: str) -> None:
    assert Charged.by_cost(cost) == charged


def test_the_tree_in_the_docstring_names_every_class() -> None:
    for error, *_ in TABLE:
        assert type(error).__name__ in (errors.__doc__ or "")
