"""
What can go wrong at a provider, as the decision the caller has to take.

    ProviderError
    ├── RateLimited           retry after the hint; nothing charged
    ├── OutOfCredit           stop the account
    ├── ContentRefused        never retry; the stage says whether the input or the output was refused
    ├── InvalidRequest        never retry; the request itself is wrong
    │   └── NothingToDo       the provider found nothing it could work on
    ├── ModelGone             never retry; the configuration names a retired model
    ├── AuthFailed            stop the credential
    ├── Transient             retry with backoff; certainly not charged
    ├── OutcomeUnknown        the answer was lost; it may have been charged
    ├── Timeout               our own deadline passed while waiting
    ├── Cancelled             the task was cancelled at the provider
    ├── TaskNotFound          the provider does not know the task
    ├── TaskFailed            the task has ended without a result; a new call only if it was certainly not charged
    ├── ResultExpired         the result was made and is gone; poll once for a fresh address
    ├── BadResult             the provider said success and sent no usable result; retry once
    ├── UnknownProviderError  no such name in the registry
    └── BrokenProviderError   the name is registered, its adapter cannot be loaded

Most of these are outcomes and keep the name of the outcome; only the two mistakes of configuration end in ``Error``.
A message is one sentence written by us. It never holds a prompt, a key, a signed address, or text of a provider.
"""

# ruff: noqa: N818  (the classes are outcomes and keep the outcome's name, as said above)
from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Any, ClassVar


class Charged(StrEnum):
    """Whether the provider has billed, or will bill, the call that ended in the error."""

    NO = "no"
    MAYBE = "maybe"
    YES = "yes"

    @classmethod
    def by_cost(cls, cost: Any) -> Charged:
        """Read what a provider says that a task has cost in the end. What it does not say may be anything."""
        if isinstance(cost, bool) or not isinstance(cost, int | float):
            return cls.MAYBE
        return cls.NO if cost == 0 else cls.YES


class Stage(StrEnum):
    """What a provider refused."""

    INPUT = "input"
    OUTPUT = "output"


class Phase(StrEnum):
    """What was going on when our own deadline passed."""

    SUBMIT = "submit"
    POLL = "poll"
    FETCH = "fetch"


class ProviderError(Exception):
    """
    Root of the room's errors.

    Attributes:
        message: One safe sentence, fit for a job record and a log line.
        code: A stable lowercase name of the error, fit for a job record and a metric label.
        retryable: Whether the same request may be sent again without asking anybody.
        max_retries: How often at most; None leaves it to the caller's own limit.
        charged: Whether the call has been, or may have been, billed.
    """

    code: ClassVar[str] = "provider-error"
    retryable: ClassVar[bool] = False
    max_retries: ClassVar[int | None] = None
    default_charged: ClassVar[Charged] = Charged.NO

    def __init__(self, message: str, *, charged: Charged | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.charged = self.default_charged if charged is None else charged

    def __str__(self) -> str:
        return self.message


class RateLimited(ProviderError):
    """
    The provider asks us to come back later.

    Attributes:
        retry_after: The provider's hint; None when it gave none.
    """

    code = "rate-limited"
    retryable = True

    def __init__(self, message: str, *, retry_after: timedelta | None = None, charged: Charged | None = None) -> None:
        super().__init__(message, charged=charged)
        self.retry_after = retry_after


class OutOfCredit(ProviderError):
    """The account has no money or no quota left; every further call would fail too."""

    code = "out-of-credit"


class ContentRefused(ProviderError):
    """
    The provider's rules on content refused the request or its result.

    A refused input is not charged; a refused output may have been.

    Attributes:
        stage: Whether the input or the output was refused.
        reason: The provider's category as one of our own short words, or None.
    """

    code = "content-refused"

    def __init__(
        self, message: str, *, stage: Stage, reason: str | None = None, charged: Charged | None = None
    ) -> None:
        if charged is None:
            charged = Charged.NO if stage is Stage.INPUT else Charged.MAYBE
        super().__init__(message, charged=charged)
        self.stage = stage
        self.reason = reason


class InvalidRequest(ProviderError):
    """
    The request is wrong and will stay wrong.

    Attributes:
        field: The part of the request that is at fault, or None.
    """

    code = "invalid-request"

    def __init__(self, message: str, *, field: str | None = None, charged: Charged | None = None) -> None:
        super().__init__(message, charged=charged)
        self.field = field


class NothingToDo(InvalidRequest):
    """The picture holds nothing the operation could work on, for example no product to cut out."""

    code = "nothing-to-do"


class ModelGone(ProviderError):
    """
    The configured model is not offered any more.

    Attributes:
        replaced_by: The successor's name, or None.
    """

    code = "model-gone"

    def __init__(self, message: str, *, replaced_by: str | None = None, charged: Charged | None = None) -> None:
        super().__init__(message, charged=charged)
        self.replaced_by = replaced_by


class AuthFailed(ProviderError):
    """The provider does not accept the credential."""

    code = "auth-failed"


class Transient(ProviderError):
    """A fault that certainly charged nothing and may be gone at the next attempt."""

    code = "transient"
    retryable = True


class OutcomeUnknown(ProviderError):
    """
    The request was sent and its answer was lost.

    Never sent again unless the policy accepts a double charge or the provider lets us look the task up.
    """

    code = "outcome-unknown"
    default_charged = Charged.MAYBE


class Timeout(ProviderError):
    """
    Our own deadline passed. It is the policy's choice whether to try again, because the call may have been charged.

    Attributes:
        phase: What was going on.
    """

    code = "provider-timeout"
    default_charged = Charged.MAYBE

    def __init__(self, message: str, *, phase: Phase, charged: Charged | None = None) -> None:
        super().__init__(message, charged=charged)
        self.phase = phase


class Cancelled(ProviderError):
    """The task was cancelled at the provider at our own wish."""

    code = "provider-cancelled"
    default_charged = Charged.MAYBE


class TaskNotFound(ProviderError):
    """The provider does not know the task; a task is visible only to the account and host that made it."""

    code = "task-not-found"
    default_charged = Charged.MAYBE


class TaskFailed(ProviderError):
    """
    The task has ended at the provider without a result, and no poll will change that.

    The same work may be asked for anew only where `charged` is NO. An adapter says so if the vendor does, of failures
    as such or of this one.
    """

    code = "task-failed"
    default_charged = Charged.MAYBE


class ResultExpired(ProviderError):
    """The result was made and its address has died. A poll may give a fresh address, once."""

    code = "result-expired"
    retryable = True
    max_retries = 1
    default_charged = Charged.YES


class BadResult(ProviderError):
    """The provider reported success and sent nothing usable."""

    code = "bad-result"
    retryable = True
    max_retries = 1
    default_charged = Charged.MAYBE


class UnknownProviderError(ProviderError):
    """
    No provider of that name is installed.

    Attributes:
        known: The names that are, sorted.
    """

    code = "unknown-provider"

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        choices = ", ".join(known) if known else "none is installed"
        super().__init__(f"There is no provider called {name!r}; the known ones are: {choices}.")
        self.known = known


class BrokenProviderError(ProviderError):
    """A registered adapter cannot be loaded, for example because an optional package is not installed."""

    code = "broken-provider"
