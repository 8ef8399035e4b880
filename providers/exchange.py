"""What goes to a provider and what comes back: requests, results, tasks and answers about erasure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from providers.capabilities import Operation

PIXELS: Final = "pixels"
"""The media type of raw 8-bit sRGB samples, interleaved, RGB or RGBA."""


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """
    A clean picture: oriented, sRGB, one frame, no metadata.

    Attributes:
        fd: A sealed memfd that holds it. Whoever made the object closes it; readers use positions of their own.
        media_type: ``pixels`` or an encoded type such as ``image/png``.
        width: In pixels.
        height: In pixels.
        bands: 3 for RGB, 4 for RGBA.
    """

    fd: int
    media_type: str
    width: int
    height: int
    bands: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """
    One wish. Prompt and options are the user's own words and never appear in its ``repr``.

    Attributes:
        operation: What to do; None asks for nothing, which is what `none` does.
        idempotency_key: The same for every attempt at the same step of the same job.
        input: The picture, where the operation starts from one.
        prompt: The user's words, where the operation takes some.
        background: What to put behind the product: ``#rrggbb`` or a description the provider understands.
        options: Further wishes by name, as the adapter documents them.
        webhook: Where a provider that reports the end of a task is to do so. Whoever knows it can have the task asked
            for, and nothing else.
    """

    operation: Operation | None
    idempotency_key: str
    input: PreparedImage | None = None
    prompt: str | None = field(default=None, repr=False)
    background: str | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    webhook: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class InMemory:
    """
    A result that stayed on this machine, in a memfd the receiver closes.

    Attributes:
        fd: The memfd.
        media_type: ``pixels`` or an encoded type.
        width: In pixels.
        height: In pixels.
        bands: 3 for RGB, 4 for RGBA.
    """

    fd: int
    media_type: str
    width: int
    height: int
    bands: int


@dataclass(frozen=True, slots=True)
class SealedResult:
    """
    A result that went through the sink and is an object already.

    Attributes:
        ref: What the sink returned for it.
        media_type: Of the sealed bytes.
    """

    ref: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Done:
    """The work is finished. No results means: go on with the upload as it is."""

    results: tuple[InMemory | SealedResult, ...]


class Task(BaseModel):
    """
    A provider's own id for its work, with everything another process needs to ask for it.

    A task is visible only to the account, the region and the host that made it, so all three belong to it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: str
    credential: str = Field(description="The name of the credential it was made with, never the credential itself.")
    base_url: str
    model: str
    task_id: str
    poll_url: str | None = Field(default=None, repr=False, description="Given by the provider; may be signed.")
    submitted_at: AwareDatetime
    expires_at: AwareDatetime | None = Field(
        default=None,
        description="When its result is no longer kept, if it is made at once; later by as long as that takes.",
    )


@dataclass(frozen=True, slots=True)
class Pending:
    """The provider works on it. Ask again after *next_poll*."""

    task: Task
    next_poll: timedelta


class ErasureOutcome(StrEnum):
    """What became of the provider's copy."""

    NOTHING_KEPT = "nothing-kept"
    ERASED = "erased"
    SCHEDULED = "scheduled"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class OutputPlace:
    """
    What a bucket of the account's own, where results land, does with what is deleted.

    Attributes:
        versions: ``Enabled``, ``Suspended``, or empty if none were ever kept; None if that cannot be told.
        lock: ``Enabled`` or empty; None if that cannot be told.
    """

    versions: str | None
    lock: str | None


@dataclass(frozen=True, slots=True)
class Erasure:
    """
    The answer to a request to delete the provider's copy.

    Attributes:
        outcome: What became of it.
        at: When it is or will be gone, if the provider says so.
    """

    outcome: ErasureOutcome
    at: datetime | None = None
