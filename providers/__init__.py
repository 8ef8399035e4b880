"""
Adapters to image and video generators, one file each, behind one protocol.

An adapter is a subclass of `Provider` named by an entry point of the group ``dayfly.providers``. It knows neither
the pipelines nor the storage: what it needs of them is handed to it as `ProviderTools`.

    registry = ProviderRegistry.from_entry_points()
    provider = registry.build("local", ProviderTools(cut_out=sandbox_cut_out))
    answer = provider.submit(Request(operation=Operation.REMOVE_BACKGROUND, input=image, idempotency_key=key))
    if isinstance(answer, Done):
        use(answer.results)
"""

from __future__ import annotations

from providers.accounts import MAIN, Account
from providers.capabilities import (
    CancelSupport,
    Capabilities,
    EraseSupport,
    IdempotencySupport,
    InputEncoding,
    Operation,
    Shape,
    WebhookSupport,
)
from providers.errors import (
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
)
from providers.exchange import (
    PIXELS,
    Done,
    Erasure,
    ErasureOutcome,
    InMemory,
    OutputPlace,
    Pending,
    PreparedImage,
    Request,
    SealedResult,
    Task,
)
from providers.protocol import CutOut, Provider, ProviderTools
from providers.registry import ENTRY_POINT_GROUP, ProviderRegistry
from providers.transport import Transport

__all__ = [
    "ENTRY_POINT_GROUP",
    "MAIN",
    "PIXELS",
    "Account",
    "AuthFailed",
    "BadResult",
    "BrokenProviderError",
    "CancelSupport",
    "Cancelled",
    "Capabilities",
    "Charged",
    "ContentRefused",
    "CutOut",
    "Done",
    "EraseSupport",
    "Erasure",
    "ErasureOutcome",
    "IdempotencySupport",
    "InMemory",
    "InputEncoding",
    "InvalidRequest",
    "ModelGone",
    "NothingToDo",
    "Operation",
    "OutOfCredit",
    "OutcomeUnknown",
    "OutputPlace",
    "Pending",
    "Phase",
    "PreparedImage",
    "Provider",
    "ProviderError",
    "ProviderRegistry",
    "ProviderTools",
    "RateLimited",
    "Request",
    "ResultExpired",
    "SealedResult",
    "Shape",
    "Stage",
    "Task",
    "TaskFailed",
    "TaskNotFound",
    "Timeout",
    "Transient",
    "Transport",
    "UnknownProviderError",
    "WebhookSupport",
]
