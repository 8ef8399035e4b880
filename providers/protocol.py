"""
The protocol every adapter follows.

The public methods of `Provider` are template methods: they check the request against the capabilities, count the call
and translate whatever an adapter lets slip into the room's errors. An adapter implements ``_submit`` and, where it has
tasks, ``_poll``, ``_cancel`` and ``_erase``.
"""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePath
from typing import BinaryIO, ClassVar, Protocol

from metrics.instruments import PROVIDER_CALLS, CallOutcome
from providers.accounts import Account
from providers.capabilities import Capabilities, EraseSupport, Operation
from providers.errors import (
    BadResult,
    Cancelled,
    Charged,
    ContentRefused,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    TaskNotFound,
)
from providers.exchange import (
    Done,
    Erasure,
    ErasureOutcome,
    InMemory,
    OutputPlace,
    Pending,
    PreparedImage,
    Request,
    Task,
)
from providers.transport import Transport


class CutOut(Protocol):
    """
    Cuts the product out of a plain background, in the sandbox.

    Returns RGBA pixels of the same size in a memfd the caller closes, or None if it finds no product. Raises only this
    room's errors: whoever hands the tool in translates its own.
    """

    def __call__(self, image: PreparedImage, /) -> InMemory | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderTools:
    """
    What the worker hands to an adapter, so that the room needs none of the others.

    Attributes:
        cut_out: The sandbox's knife, for providers that work on this machine.
        transport: The shared HTTP transport, for providers behind a network.
        accounts: With which credential to call, by the provider's name.
        sink: Seals a stream of result bytes of a media type and returns the reference of the object.
    """

    cut_out: CutOut | None = None
    transport: Transport | None = None
    accounts: Mapping[str, Account] = field(default_factory=dict)
    sink: Callable[[Iterator[bytes] | BinaryIO, str], str] | None = None


class Provider(ABC):
    """
    One provider, as seen by a worker. Safe to use from several threads at once.

    Subclasses set `name` and `capabilities` and implement ``_submit``; those with tasks also ``_poll`` and, if the
    provider can, ``_cancel`` and ``_erase``. They raise this room's errors. Anything else that escapes them is
    translated here, without its text, which might quote the request.
    """

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    check_note: ClassVar[str | None] = "it works on this machine and has no credential."
    """Why `check` cannot be asked for; None if it can."""

    def __init__(self, tools: ProviderTools) -> None:
        self.tools = tools

    def host(self, operation: Operation) -> str | None:
        """
        Name the host that gets the picture for *operation*; None where it stays on this machine.

        Raises:
            AuthFailed: No account is configured, so nothing would be sent anywhere.
        """
        return None

    def submit(self, request: Request) -> Done | Pending:
        """
        Start the work, or do it.

        Raises:
            InvalidRequest: The provider cannot do what is asked. Nothing was sent.
            OutcomeUnknown: The answer was lost. Never call again on your own.
            ProviderError: As documented at each class.
        """
        with self._counted() as answered:
            self._check(request)
            with self._translated("submit", lost=OutcomeUnknown):
                return answered(self._submit(request))

    def look_up(self, operation: Operation, idempotency_key: str) -> Done | Pending | None:
        """
        Find what a submit with *idempotency_key* made, whose answer was lost. Never charged, safe to repeat.

        None means that the provider knows of nothing now; a call that is still under way may yet arrive.

        Raises:
            InvalidRequest: The provider has no such look-up.
            ProviderError: As documented at each class.
        """
        with self._translated("look_up"):
            return self._look_up(operation, idempotency_key)

    def poll(self, task: Task) -> Done | Pending:
        """
        Ask how the work is going. Never charged, safe to repeat.

        Raises:
            TaskNotFound: The provider does not know the task, or it is not one of this provider's.
            TaskFailed: It has ended without a result. A poll that merely failed raises something retryable instead.
            ProviderError: As documented at each class.
        """
        with self._counted() as answered:
            self._own(task)
            with self._translated("poll"):
                return answered(self._poll(task))

    def cancel(self, task: Task) -> None:
        """
        Ask the provider to stop. Returns whether or not it still could.

        Raises:
            ProviderError: As documented at each class.
        """
        self._own(task)
        with self._translated("cancel"):
            self._cancel(task)

    def erase(self, task: Task) -> Erasure:
        """
        Ask the provider to delete its copies of input and result. Idempotent.

        Raises:
            ProviderError: As documented at each class.
        """
        self._own(task)
        with self._translated("erase"):
            return self._erase(task)

    def check(self) -> None:
        """
        Show the credential to the provider with a call that is never charged and carries nothing of a user.

        Raises:
            InvalidRequest: There is no such call; `check_note` says why.
            AuthFailed: It is not accepted, or there is none.
            ProviderError: As documented at each class.
        """
        with self._translated("check"):
            self._ping()

    def output_place(self) -> OutputPlace | None:
        """
        Ask the bucket of the account's own where results land how it treats what is deleted; None if they land nowhere
        but at the provider.

        Raises:
            AuthFailed: The account names no bucket, or its credential opens it not.
            InvalidRequest: There is no such bucket.
            ProviderError: As documented at each class.
        """
        with self._translated("output_place"):
            return self._output_place()

    def _output_place(self) -> OutputPlace | None:
        return None

    def _ping(self) -> None:
        raise InvalidRequest(f"The credential of {self.name!r} cannot be checked: {self.check_note}")

    @abstractmethod
    def _submit(self, request: Request) -> Done | Pending:
        """Do what `submit` promises. The request has been checked against the capabilities."""

    def _look_up(self, operation: Operation, idempotency_key: str) -> Done | Pending | None:
        """Do what `look_up` promises. Whoever declares `IdempotencySupport.CLIENT_ID` implements it."""
        raise InvalidRequest(f"The provider {self.name!r} cannot look up a call by its key.", field="idempotency_key")

    def _poll(self, task: Task) -> Done | Pending:
        raise TaskNotFound(f"The provider {self.name!r} has no tasks.")

    def _cancel(self, task: Task) -> None:  # noqa: B027  doing nothing is right for whoever cannot cancel
        """Do nothing: the provider cannot cancel."""

    def _erase(self, task: Task) -> Erasure:
        if self.capabilities.erase is EraseSupport.NOT_NEEDED:
            return Erasure(ErasureOutcome.NOTHING_KEPT, datetime.now(UTC))
        return Erasure(ErasureOutcome.UNSUPPORTED)

    def _check(self, request: Request) -> None:
        operation = request.operation
        if operation is None or operation not in self.capabilities.operations:
            if operation is None and not self.capabilities.operations:
                return
            can = ", ".join(sorted(self.capabilities.operations)) or "nothing"
            asked = "be called without an operation" if operation is None else f"do {operation.value!r}"
            raise InvalidRequest(f"The provider {self.name!r} cannot {asked}; it can do: {can}.", field="operation")
        if operation.needs_input and request.input is None:
            raise InvalidRequest(f"The operation {operation.value!r} needs a picture.", field="input")
        side = self.capabilities.max_input_side
        if request.input is not None and side is not None and max(request.input.width, request.input.height) > side:
            raise InvalidRequest(
                f"The provider {self.name!r} takes pictures up to {side} pixels a side.", field="input"
            )

    def _own(self, task: Task) -> None:
        if task.provider != self.name:
            raise TaskNotFound(f"A task of the provider {task.provider!r} was given to {self.name!r}.")

    @contextmanager
    def _counted(self) -> Iterator[Callable[[Done | Pending], Done | Pending]]:
        outcome = CallOutcome.FAILED

        def answered(answer: Done | Pending) -> Done | Pending:
            nonlocal outcome
            outcome = CallOutcome.DONE if isinstance(answer, Done) else CallOutcome.PENDING
            return answer

        try:
            yield answered
        except (ContentRefused, InvalidRequest, Cancelled):
            outcome = CallOutcome.REFUSED
            raise
        except OutcomeUnknown:
            outcome = CallOutcome.UNKNOWN
            raise
        finally:
            PROVIDER_CALLS.labels(provider=self.name, outcome=outcome).inc()

    @contextmanager
    def _translated(self, call: str, *, lost: type[ProviderError] = BadResult) -> Iterator[None]:
        try:
            yield
        except ProviderError:
            raise
        except Exception as error:  # noqa: BLE001  whatever an adapter lets slip must not cross the boundary
            frame = traceback.extract_tb(error.__traceback__)[-1]
            sentence = (
                f"The adapter {self.name!r} broke in {call} with {type(error).__name__}"
                f" ({PurePath(frame.filename).name}, line {frame.lineno})."
            )
            # The text of a foreign exception may quote the request, so neither it nor the chain goes on.
            if self.capabilities.charges:
                raise lost(sentence) from None
            raise BadResult(sentence, charged=Charged.NO) from None
