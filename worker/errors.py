"""
What can go wrong in the worker's own part of the pool.

    WorkerError
    ├── SettingsError            one or more settings are wrong; each is named
    ├── ServerUnavailableError   Redis cannot be reached or refuses to work; retry later
    │   ├── NotReplicatedError   a record was written, and too few replicas have it
    │   └── EmbeddedServerError  the private server of this machine cannot be started
    ├── UnfitServerError         Redis is set up so that a promise would not hold
    ├── UnknownNameError         no such recipe, provider or policy
    ├── UnfitProviderError       the provider cannot do what the recipe needs
    ├── UploadTooLargeError      more bytes than the limit
    ├── PolicyError              the job asks for what its retention policy does not allow
    ├── JobNotFoundError         no such job
    ├── JobDamagedError          the job's record was changed and cannot be read
    ├── JobTimeoutError          the job had not ended in the time given; it goes on
    ├── OutputNotFoundError      the job has no such rendition, or not yet
    ├── DemoError                the demonstration cannot be set up on this machine
    └── LeaseLostError           internal: somebody else holds the job now

A message is one sentence: what is wrong, where, and what to do. It never holds a prompt, a key, a password or a byte of
an upload, so it may be shown and logged.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, ClassVar, Self

import redis.exceptions as redis_errors

if TYPE_CHECKING:
    from storage import ObjectRef
    from worker.records import JobRecord


class WorkerError(Exception):
    """
    Root of the room's errors.

    Attributes:
        retryable: Whether the same call may succeed later without anybody changing anything.
    """

    retryable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """
    One wrong setting.

    Attributes:
        setting: Its name as the operator writes it, for example ``DAYFLY_REDIS_URL``.
        problem: What is wrong with the value, without quoting a secret.
        allowed: What is allowed instead.
    """

    setting: str
    problem: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.setting} {self.problem}; allowed: {self.allowed}."


class SettingsError(WorkerError):
    """
    One or more settings are wrong.

    Attributes:
        problems: All of them, in the order of the settings.
    """

    def __init__(self, problems: Sequence[SettingProblem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


class ServerUnavailableError(WorkerError):
    """Redis cannot be reached or does not serve. What was being written may or may not have been."""

    retryable: ClassVar[bool] = True

    @classmethod
    def from_redis(cls, error: Exception, where: str = "Redis") -> Self:
        """
        Say in one sentence what redis-py reported, without its text, which may quote commands.

        Args:
            error: What redis-py raised.
            where: The server, as the operator knows it; never a URL with a password.
        """
        for kind, sentence in _TLS_SENTENCES:
            if any(isinstance(cause, kind) for cause in _causes(error)):
                return cls(sentence.format(where=where))
        for kind, sentence in _REDIS_SENTENCES:
            if isinstance(error, kind):
                return cls(sentence.format(where=where))
        return cls(f"{where} answered with an error ({type(error).__name__}); its own log says why.")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


# The first match wins, so subclasses stand before their bases.
_TLS_SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (
        ssl.SSLCertVerificationError,
        "{where} shows no certificate that is trusted here for this name; check ssl_ca_certs and the host of its URL.",
    ),
    (
        ssl.SSLError,
        "{where} does not agree on TLS; check that its port speaks it, and the client certificate (ssl_certfile).",
    ),
)
_REDIS_SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (redis_errors.AuthenticationError, "{where} does not accept the user and password of its URL; correct them."),
    (redis_errors.AuthorizationError, "{where} does not let this user connect; correct the user's rules there."),
    (redis_errors.NoPermissionError, "{where} does not let this user run a command it needs; extend its rules there."),
    (redis_errors.BusyLoadingError, "{where} is still loading its data; try again in a moment."),
    (redis_errors.MaxConnectionsError, "No connection to {where} is free; fewer threads or more connections help."),
    (redis_errors.TimeoutError, "{where} does not answer in time; check that it runs and is not overloaded."),
    (redis_errors.ConnectionError, "{where} cannot be reached; check that it runs and that its URL is right."),
    (redis_errors.OutOfMemoryError, "{where} is out of memory and takes no writes; give it more memory."),
    (redis_errors.ReadOnlyError, "{where} is a read-only replica; point the setting at the primary."),
)


@contextmanager
def translated() -> Iterator[None]:
    """Turn what redis-py raises into this room's errors, so that callers know one family."""
    try:
        yield
    except redis_errors.RedisError as error:
        raise ServerUnavailableError.from_redis(error) from error


class NotReplicatedError(ServerUnavailableError):
    """A record was written, but a failover could take it back: too few replicas have it. Repeating it is safe."""

    def __init__(self, reached: int, wanted: int) -> None:
        super().__init__(
            f"Only {reached} of {wanted} replicas of Redis have a change of a job; see that they run and follow, or "
            "lower DAYFLY_REPLICAS."
        )


class EmbeddedServerError(ServerUnavailableError):
    """The private server of this machine cannot be started or has died."""


class UnfitServerError(WorkerError):
    """Redis is set up so that a promise would not hold; only a person can change it."""

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        super().__init__(f"{where} must not be used as it is: {'; '.join(problems)}.")


class UnknownNameError(WorkerError):
    """
    No recipe, provider or policy of that name.

    Attributes:
        kind: ``recipe``, ``provider`` or ``policy``.
        known: The names there are, sorted.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind = kind
        self.known = tuple(sorted(known))
        close = get_close_matches(name, self.known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        choices = ", ".join(self.known) or "none"
        super().__init__(f"There is no {kind} called {name!r}; known: {choices}.{hint}")


class UnfitProviderError(WorkerError):
    """The provider that was asked for cannot do what the recipe needs."""

    def __init__(self, provider: str, operation: str, recipe: str, able: Iterable[str]) -> None:
        others = ", ".join(sorted(able)) or "none"
        super().__init__(
            f"The provider {provider!r} cannot do {operation!r}, which the recipe {recipe!r} needs; those that can:"
            f" {others}."
        )


class UploadTooLargeError(WorkerError):
    """The upload has more bytes than the limit. What was sealed of it is shredded."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The photo is larger than {limit / (1 << 20):.0f} MiB, which is the limit; send a smaller one."
        )
        self.limit = limit


class PolicyError(WorkerError):
    """The job asks for something that its retention policy does not allow."""


class JobNotFoundError(WorkerError):
    """No job of that id."""

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"There is no job {job_id!r}; the record of an ended job is kept for 30 days; see 'dayfly job list'."
        )


class JobDamagedError(WorkerError):
    """
    The record of a job cannot be read: something other than Dayfly has written to Redis.

    Attributes:
        refs: The objects that it still names.
    """

    CODE: ClassVar[str] = "record-damaged"

    def __init__(self, job_id: str, refs: Sequence[ObjectRef] = ()) -> None:
        self.refs = tuple(refs)
        super().__init__(
            f"The record of job {job_id} was changed by something else and cannot be read; what it still names is"
            " shredded when a worker finds it, and every other object of the job dies at its deadline."
        )


class JobTimeoutError(WorkerError):
    """The job had not ended in the time given. It goes on."""

    retryable: ClassVar[bool] = True

    def __init__(self, job_id: str, timeout: timedelta | None) -> None:
        waited = "" if timeout is None else f" within {timeout.total_seconds():g} s"
        super().__init__(
            f"The job {job_id} has not ended{waited}; it goes on, and 'dayfly job show {job_id}' says where it is."
        )


class OutputNotFoundError(WorkerError):
    """The job has no such rendition, or none yet."""

    def __init__(self, name: str, record: JobRecord) -> None:
        names = ", ".join(output.name for output in record.outputs)
        if not record.state.ended:
            sentence = f"The job {record.id} is still {record.state}; wait for its end."
        elif not names:
            sentence = f"The job {record.id} ended as {record.state} and has no renditions."
        else:
            sentence = f"The job {record.id} has no rendition called {name!r}; it has: {names}."
        super().__init__(sentence)


class DemoError(WorkerError):
    """The demonstration cannot be set up on this machine."""


class LeaseLostError(WorkerError):
    """Somebody else holds the job now, or it has been cancelled. Whoever gets this stops and changes nothing more."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"The lease of the job {job_id} is held by somebody else now.")
