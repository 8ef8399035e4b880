"""
From an answer that is no success to the decision the caller takes.

An adapter looks at the body first, because providers say the same thing with different statuses: no money is a 402, a
429, a 403 or a 400, a refusal may be a 200. What the body does not decide, `Problem.by_status` does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from providers.errors import (
    AuthFailed,
    Charged,
    ContentRefused,
    InvalidRequest,
    ModelGone,
    OutcomeUnknown,
    OutOfCredit,
    ProviderError,
    RateLimited,
    Stage,
    TaskFailed,
    TaskNotFound,
    Transient,
)
from providers.hints import retry_after
from providers.media import Document

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,80}")
_REASONS: Final = {
    word: reason
    for reason, words in {
        "violence": ("violence", "gore", "weapon"),
        "sexual": ("sexual", "nsfw", "nudity"),
        "hate": ("hate", "harassment"),
        "self-harm": ("self-harm", "self_harm"),
        "public-figure": ("public_figure", "public figure", "celebrity"),
        "copyright": ("copyright", "trademark", "derivative"),
    }.items()
    for word in words
}


def reason_in(text: str) -> str | None:
    """Find the category of a refusal in a provider's words, as one of our own short ones."""
    lower = text.lower()
    return next((reason for word, reason in _REASONS.items() if word in lower), None)


@dataclass(frozen=True, slots=True, repr=False)
class Problem:
    """
    An answer to be explained. Its words are looked into, never passed on.

    Attributes:
        provider: Whose it is.
        status: The HTTP status.
        headers: By lowercase name.
        document: The body, as far as it was JSON.
        paid: Whether the call may have been charged.
        task: Whether the call was about a task that was made before.
    """

    provider: str
    status: int
    headers: Mapping[str, str]
    document: Document
    paid: bool = True
    task: bool = False

    @property
    def trace(self) -> str:
        """The provider's number of the request, as the end of a sentence, so that a person can ask about it."""
        for name in ("x-request-id", "x-fal-request-id", "request-id"):
            found = self.headers.get(name, "")
            if _REQUEST_ID.fullmatch(found):
                return f" (request {found})"
        return ""

    def refused(self, stage: Stage, words: str = "", charged: Charged | None = None) -> ContentRefused:
        """Say that the provider's rules on content refused the input or the output."""
        return ContentRefused(
            f"The provider {self.provider!r} refused the {stage}{self.trace}.",
            stage=stage,
            reason=reason_in(words),
            charged=charged,
        )

    def out_of_credit(self) -> OutOfCredit:
        """Say that the account has no money left."""
        return OutOfCredit(f"The account at {self.provider!r} has no credit left{self.trace}.")

    def limited(self, wait: timedelta | None = None) -> RateLimited:
        """Say that the provider wants us to come back later; *wait* is for providers that put it into the body."""
        wait = retry_after(self.headers) if wait is None else wait
        return RateLimited(f"The provider {self.provider!r} asks for a pause{self.trace}.", retry_after=wait)

    def invalid(self, field: str | None = None) -> InvalidRequest:
        """Say that the request is wrong and will stay so."""
        at = f" because of {field!r}" if field else ""
        return InvalidRequest(
            f"The provider {self.provider!r} rejects the request{at} (HTTP {self.status}){self.trace}.", field=field
        )

    def gone(self) -> ModelGone:
        """Say that the configured model is not offered."""
        return ModelGone(f"The provider {self.provider!r} does not offer the configured model{self.trace}.")

    def ended(self, decided: ProviderError | None = None, charged: Charged = Charged.MAYBE) -> ProviderError:
        """
        Say that the task has failed, for the reason that was *decided* by code or words.

        A reason to come back later is none to ask for this task again: it has ended, whatever happens to others.
        """
        if decided is not None and not decided.retryable:
            return decided
        return TaskFailed(f"The task failed at {self.provider!r}{self.trace}.", charged=charged)

    def by_status(self, *, errors_are_free: bool = False) -> ProviderError:
        """
        Decide by the status alone.

        A gateway that gives up (502, 504) says nothing about what goes on behind it, so for a paid call the outcome is
        unknown, unless the provider promises that errors cost nothing (*errors_are_free*).
        """
        status = self.status
        if status == 402:
            return self.out_of_credit()
        if status in (401, 403):
            return AuthFailed(f"The provider {self.provider!r} does not accept the credential (HTTP {status}).")
        if status == 429:
            return self.limited()
        if status == 404 and self.task:
            return TaskNotFound(f"The provider {self.provider!r} does not know the task{self.trace}.")
        if status in (502, 504) and self.paid and not errors_are_free:
            return OutcomeUnknown(
                f"A gateway of {self.provider!r} gave up waiting (HTTP {status}); the call may have been charged."
            )
        if status == 408 or status >= 500:
            return Transient(f"The provider {self.provider!r} has a fault (HTTP {status}){self.trace}.")
        return self.invalid()
