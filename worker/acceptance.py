"""What a wish and an upload must fulfil to be accepted as a job; found out before anything is stored for long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import BinaryIO, Final, TypeVar

from pipelines.recipes import Recipe
from providers import BrokenProviderError, ProviderRegistry
from storage import RetentionPolicy
from worker.errors import PolicyError, UnfitProviderError, UnknownNameError, UploadTooLargeError

AUTO: Final = "auto"
"""The name that leaves the choice of a provider to the pool."""

Named = TypeVar("Named")


class Bounded:
    """
    A reader that refuses to read more than the limit, in bytes.

    Raises:
        UploadTooLargeError: From reading, once there is more.
    """

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._left = limit

    def read(self, size: int = -1) -> bytes:
        part = self._stream.read(size)
        self._count(len(part))
        return part

    def readinto(self, buffer: bytearray | memoryview) -> int:
        readinto = getattr(self._stream, "readinto", None)
        if readinto is None:
            part = self._stream.read(len(buffer))
            buffer[: len(part)] = part
            count = len(part)
        else:
            count = readinto(buffer)
        self._count(count)
        return count

    def _count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise UploadTooLargeError(self._limit)


def provider_of(wish: str | None, recipe: Recipe, known: Iterable[str]) -> str:
    """
    Say which provider a job asks for: its own, else its recipe's.

    Raises:
        UnknownNameError: There is none of that name.
    """
    provider = wish or recipe.provider
    if provider == AUTO and recipe.operation is None:
        provider = recipe.provider
    if provider != AUTO and provider not in known:
        raise UnknownNameError("provider", provider, (*known, AUTO))
    return provider


def check_policy(policy: RetentionPolicy, provider: str, prompt: str | None) -> None:
    """
    Hold a wish to its retention policy.

    Raises:
        PolicyError: The provider may not see the data, or the prompt is longer than allowed.
    """
    if provider != AUTO and not policy.allows(provider):
        raise PolicyError(
            f"The policy {policy.name!r} does not let the provider {provider!r} see the data; it lets:"
            f" {', '.join(policy.providers or ())}."
        )
    if len(prompt or "") > policy.limits.prompt_characters:
        raise PolicyError(
            f"The prompt has {len(prompt or ''):,} characters; the policy {policy.name!r} allows"
            f" {policy.limits.prompt_characters:,}."
        )


@dataclass(frozen=True, slots=True)
class Periods:
    """How long a job's upload and parameters, and its outputs, live after its end when it is done."""

    upload: timedelta
    output: timedelta


def agreed_periods(policy: RetentionPolicy, *, upload: timedelta | None, output: timedelta | None) -> Periods:
    """
    Say how long a job's objects outlive it: what the policy says, or the shorter period that is asked for.

    Raises:
        PolicyError: More is asked for than the policy gives, or for outputs nothing.
    """
    return Periods(
        upload=_shorter(policy, "uploads", upload, longest=policy.upload.after, least=timedelta()),
        output=_shorter(policy, "outputs", output, longest=policy.output.latest, least=timedelta(seconds=1)),
    )


def _shorter(
    policy: RetentionPolicy, what: str, asked: timedelta | None, *, longest: timedelta, least: timedelta
) -> timedelta:
    if asked is None:
        return longest
    if not least <= asked <= longest:
        raise PolicyError(
            f"The policy {policy.name!r} keeps {what} for {longest.total_seconds():,.0f} s after the job, and a job may"
            f" only ask for less; {asked.total_seconds():,.0f} s was asked for."
        )
    return asked


def check_provider(registry: ProviderRegistry, provider: str, recipe: Recipe, policy: RetentionPolicy) -> None:
    """
    Refuse now what a worker would have to refuse later, with the upload sealed and the user gone.

    Raises:
        UnfitProviderError: The provider cannot do what the recipe needs, or none can that the policy allows.
        PolicyError: The policy keeps the data on machines of our own, and the provider's are none.
    """
    if recipe.operation is None:
        return
    able = tuple(_able(registry, recipe.operation))
    if provider == AUTO:
        if not any(policy.allows(name) and _stays(registry, name, policy) for name in able):
            raise UnfitProviderError(provider, recipe.operation, recipe.name, able)
        return
    try:
        registry.get(provider)
    except BrokenProviderError:
        # A web tier need not have what an adapter imports; the worker that runs it decides.
        return
    if provider not in able:
        raise UnfitProviderError(provider, recipe.operation, recipe.name, able)
    if not _stays(registry, provider, policy):
        raise PolicyError(
            f"The policy {policy.name!r} keeps the data on machines of our own, and {provider!r} is none."
        )


def _stays(registry: ProviderRegistry, provider: str, policy: RetentionPolicy) -> bool:
    return not policy.first_party_only or registry.get(provider).capabilities.stays_with_us


def _able(registry: ProviderRegistry, operation: str) -> Iterator[str]:
    for name in registry.names():
        with suppress(BrokenProviderError):
            if operation in registry.get(name).capabilities.operations:
                yield name


def named(kind: str, name: str, known: Mapping[str, Named]) -> Named:
    """
    Return the recipe or the policy of a name.

    Raises:
        UnknownNameError: There is none.
    """
    try:
        return known[name]
    except KeyError:
        raise UnknownNameError(kind, name, tuple(known)) from None
