"""What an adapter can do and what its provider keeps, as static data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final


class Operation(StrEnum):
    """What a provider can be asked to do."""

    EDIT_IMAGE = "edit-image"
    GENERATE_IMAGE = "generate-image"
    REMOVE_BACKGROUND = "remove-background"
    REPLACE_BACKGROUND = "replace-background"
    UPSCALE = "upscale"
    IMAGE_TO_VIDEO = "image-to-video"
    TEXT_TO_VIDEO = "text-to-video"

    @property
    def needs_input(self) -> bool:
        """Whether the operation starts from a picture."""
        return self not in (Operation.GENERATE_IMAGE, Operation.TEXT_TO_VIDEO)


PICTURES: Final = frozenset({Operation.EDIT_IMAGE, Operation.GENERATE_IMAGE, Operation.REPLACE_BACKGROUND})
"""What a model can be asked for that follows words."""

FILMS: Final = frozenset({Operation.IMAGE_TO_VIDEO, Operation.TEXT_TO_VIDEO})


class Shape(StrEnum):
    """How a provider answers: in the call itself, or through a task that is asked for later."""

    SYNC = "sync"
    TASK = "task"


class InputEncoding(StrEnum):
    """In which form a provider wants the prepared picture."""

    PIXELS = "pixels"
    PNG = "png"
    JPEG = "jpeg"


class CancelSupport(StrEnum):
    """Up to when a task can be cancelled at the provider."""

    NONE = "none"
    QUEUED = "queued"
    ANY = "any"


class EraseSupport(StrEnum):
    """What a provider deletes when asked."""

    NOT_NEEDED = "not-needed"
    NONE = "none"
    TASK = "task"
    OUTPUT_ONLY = "output-only"
    FILES = "files"


class IdempotencySupport(StrEnum):
    """
    What a provider offers against charging a repeated request twice.

    `KEY`: it recognises a repetition by a key that comes with it. `CLIENT_ID`: it lets us name the task, so that a lost
    call can be looked up (`Provider.look_up`) before it is made again.
    """

    NOT_NEEDED = "not-needed"
    NONE = "none"
    KEY = "key"
    CLIENT_ID = "client-id"


class WebhookSupport(StrEnum):
    """
    Whether a provider reports the end of a task by itself, and how its reports are signed.

    `STANDARD`: as in Standard Webhooks, with a secret. `FAL`: by fal's published keys. `HEDRA`: by Hedra's public key.
    `UNSIGNED`: not, or not in a way that could be verified; only the address that we gave it tells such a report from a
    forged one.
    """

    NONE = "none"
    UNSIGNED = "unsigned"
    STANDARD = "standard"
    FAL = "fal"
    HEDRA = "hedra"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """
    What an adapter can do and what its provider keeps. Static: known without a credential and without a call.

    Attributes:
        operations: What may be asked; empty for the provider `none`.
        shape: Whether the answer comes in the call or through a task.
        network: Whether the picture leaves this machine.
        first_party: Whether the server is the operator's own, although there is a network in between.
        charges: Whether a call may be billed. A provider that charges must seal its results through the sink.
        retention_note: One sentence: what the provider keeps, and for how long.
        input_encoding: The form in which it wants the picture.
        max_input_side: The longest side it takes, in pixels; None if it does not matter.
        max_image_bytes: The largest encoded picture it takes; None if it does not matter.
        max_request_bytes: The largest request it takes; None if it does not matter.
        result_lifetime: How long a result can be fetched after success; None if it comes in the call.
        cancel: Up to when a task can be cancelled.
        erase: What it deletes when asked.
        idempotency: What it offers against a double charge.
        webhook: Whether it reports the end of a task to the address in `Request.webhook`.
        min_poll: The shortest wait between two polls of one task.
        regions: Where the data may be processed, in the provider's own names; empty if it does not say.
    """

    operations: frozenset[Operation]
    shape: Shape
    network: bool
    charges: bool
    retention_note: str
    first_party: bool = False
    input_encoding: InputEncoding = InputEncoding.PNG
    max_input_side: int | None = None
    max_image_bytes: int | None = None
    max_request_bytes: int | None = None
    result_lifetime: timedelta | None = None
    cancel: CancelSupport = CancelSupport.NONE
    erase: EraseSupport = EraseSupport.NONE
    idempotency: IdempotencySupport = IdempotencySupport.NONE
    webhook: WebhookSupport = WebhookSupport.NONE
    min_poll: timedelta = timedelta(seconds=2)
    regions: tuple[str, ...] = ()

    @property
    def stays_with_us(self) -> bool:
        """Whether the picture is seen by nobody but the operator."""
        return self.first_party or not self.network
