"""
Which signal of which provider becomes which decision: the whole table, held against the tables of the adapters.

Each adapter's own table says what it makes of every hard case of its fake. This one is read the other way round, by
decision, so that a row that somebody drops from a fake and its adapter's table together is missed here. What a task
that ended as failed becomes stands with the adapters alone.
"""

from __future__ import annotations

from typing import Any

import pytest

from providers import (
    AuthFailed,
    BadResult,
    Cancelled,
    ContentRefused,
    InvalidRequest,
    ModelGone,
    NothingToDo,
    OutcomeUnknown,
    OutOfCredit,
    ProviderError,
    ProviderRegistry,
    RateLimited,
    ResultExpired,
    TaskNotFound,
    Timeout,
    Transient,
)
from tests.providers import test_sync_adapters as sync
from tests.providers.test_silence import CASES

REFUSED_BY_GOOGLE = """
    prompt SAFETY | prompt OTHER | prompt BLOCKLIST | prompt PROHIBITED_CONTENT | prompt IMAGE_SAFETY | SAFETY
    | PROHIBITED_CONTENT | BLOCKLIST | SPII | RECITATION | IMAGE_SAFETY | IMAGE_PROHIBITED_CONTENT | IMAGE_RECITATION
"""
SIGNALS: dict[type[ProviderError], dict[str, str]] = {
    RateLimited: {
        "openai": "429 ms | 429 seconds | 429 date | rate_limit",
        "azure-openai": "429 ms | 429 seconds | 429 code",
        "gemini": "429 body | 429 fraction | 429 seconds",
        "vertex": "429 body | 429 fraction | 429 seconds",
        "replicate": "throttled",
        "stability": "rate_limit_exceeded",
        "luma": "429 seconds",
        "hedra": "429 RESOURCE_EXHAUSTED",
        "heygen": "429 rate_limit_exceeded",
        "bedrock": "throttled | quota | only a type",
        "bedrock-video": "throttled | quota",
        "dashscope": "429 Throttling | 429 Throttling.RateQuota | 400 Throttling.AllocationQuota",
        "ark": "429 RateLimitExceeded | 429 ModelAccountRpmRateLimitExceeded | 429 QuotaExceeded"
        " | 429 ServerOverloaded",
        "kling": "429 1302 | 429 1303",
        "openrouter": "429 | 402 in flight",
        "remove-bg": "limit",
        "hugging-face": "503 loading",
    },
    OutOfCredit: {
        "bfl": "402",
        "openrouter": "402 credits | 402 key",
        "stability": "payment_required",
        "remove-bg": "402",
        "photoroom": "402",
        "luma": "402 | 400 credits | 402 budget_exhausted | budget_exhausted",
        "hedra": "402 INSUFFICIENT_BALANCE",
        "heygen": "402 | 400 insufficient_credit",
        "replicate": "402",
        "runway": "400 credits",
        "openai": "insufficient_quota",
        "azure-openai": "quota",
        "kling": "429 1100 | 429 1101 | 429 1102",
        "ark": "403 AccountOverdueError",
        "dashscope": "400 Arrearage",
        "fal": "403 balance",
        "gemini": "429 billing | 403 billing | 400 billing",
        "vertex": "429 billing | 403 billing | 400 billing",
        "hugging-face": "402",
    },
    ContentRefused: {
        "openai": "moderation_blocked | content_policy_violation",
        "azure-openai": "contentFilter | content_policy_violation | moderation_blocked | only inside | filtered",
        "openrouter": "403 moderation | late 403",
        "stability": "content_moderation | public_figure | filtered",
        "runway": "SAFETY.INPUT.TEXT | SAFETY.OUTPUT.VIDEO | INPUT_PREPROCESSING.SAFETY.TEXT",
        "gemini": REFUSED_BY_GOOGLE,
        "vertex": REFUSED_BY_GOOGLE,
        "bfl": "Request Moderated | Content Moderated",
        "fal": "content_policy_violation | nsfw",
        "bedrock-video": "filters | refused",
        "bedrock": "prompt | input image | output image | output image sent | error | filters",
        "dashscope": "400 DataInspectionFailed | 400 data_inspection_failed | refused input | refused output"
        " | nothing but errors",
        "ark": "400 InputTextRiskDetection | 400 InputImageRiskDetection | 400 InputTextSensitiveContentDetected"
        " | 400 InputImageSensitiveContentDetected | 400 InputVideoSensitiveContentDetected"
        " | 400 OutputImageSensitiveContentDetected | OutputVideoSensitiveContentDetected",
        "kling": "400 1301 | 200 1301 | risk",
        "luma": "422 content_moderated | content_moderated | moderation | 400 moderation",
        "hedra": "400 MODERATION_FAILED | MODERATION_FAILED",
        "heygen": "400 content_moderation | moderation_failed",
        "replicate": "nsfw | sensitive",
    },
    InvalidRequest: {
        "openai": "size | 413 | 415",
        "runway": "400 | 405 | ASSET.INVALID",
        "remove-bg": "400 | file_too_large | resolution_too_high | invalid_file_type",
        "comfyui": "image | sampler | no outputs | 413",
        "hedra": "400 INVALID_ARGUMENT | INVALID_ARGUMENT",
        "fal": "422 | image_too_small | image_too_large | file_too_large | unsupported_image_format"
        " | face_detection_error | file_download_error",
        "stability": "bad_request | payload_too_large | invalid_language",
        "luma": "413 | 422 | image_too_large | unsupported_format | corrupt_input | invalid_request",
        "kling": "400 1200 | 400 1201 | 400 1202 | 400 1300",
        "dashscope": "400 InvalidParameter | 400 InvalidURL",
        "ark": "400 MissingParameter | 400 InvalidParameter",
        "bedrock": "validation",
        "bedrock-video": "validation",
        "bfl": "400 | 422",
        "replicate": "422",
    },
    NothingToDo: {"remove-bg": "unknown_foreground"},
    ModelGone: {
        "openai": "model",
        "azure-openai": "deployment",
        "hedra": "410 GONE",
        "ark": "404 ModelNotOpen | 404 InvalidEndpointOrModel",
        "bedrock": "model | model id",
        "bedrock-video": "model | model id",
        "dashscope": "404 ModelNotFound",
        "replicate": "404",
        "bfl": "404",
        "fal": "404",
        "gemini": "404",
        "vertex": "404",
    },
    AuthFailed: {
        "openai": "key | organisation",
        "azure-openai": "401 | 403",
        "openrouter": "401 | 403",
        "stability": "unauthorized",
        "runway": "401",
        "replicate": "401",
        "gemini": "400 key | 403 key | 401 | 403",
        "vertex": "400 key | 403 key | 401 | 403",
        "bfl": "401 | 403",
        "fal": "401 | 403",
        "bedrock": "signature | denied | unknown",
        "bedrock-video": "signature | denied",
        "dashscope": "401 InvalidApiKey | 403 AccessDenied",
        "ark": "401 | 403 AccessDenied",
        "kling": "401 1000 | 401 1001 | 401 1002 | 401 1003 | 401 1004 | 403 1103 | 429 1304",
        "luma": "401 | 403",
        "hedra": "401 UNAUTHORIZED | 403 PERMISSION_DENIED",
        "heygen": "401 | 403 forbidden",
        "remove-bg": "403",
        "photoroom": "403",
        "hugging-face": "401 | 403",
        "automatic1111": "401 | 403",
        "comfyui": "401 | 403",
    },
    Transient: {
        "openai": "408 | 409 | 500 | 503 | 400 retry",
        "bedrock": "not ready | model error | timeout | 500 | 503",
        "bedrock-video": "500 | 503",
        "fal": "retryable | 500",
        "kling": "500 5000 | 503 5001",
        "dashscope": "500 InternalError.Timeout | 503 ServiceUnavailable",
        "ark": "500",
        "hedra": "500 INTERNAL | 500 UNKNOWN | 503 UNAVAILABLE",
        "runway": "500 | 503",
        "openrouter": "408 | 500 | 503",
    },
    Timeout: {
        "fal": "start | generation_timeout",
        "hedra": "504 DEADLINE_EXCEEDED | DEADLINE_EXCEEDED",
        "replicate": "canceled by deadline",
        "ark": "expired",
    },
    Cancelled: {
        "runway": "CANCELLED",
        "replicate": "canceled | canceled in time",
        "ark": "cancelled",
        "dashscope": "CANCELED",
        "comfyui": "interrupted",
        "hedra": "CANCELLED",
    },
    TaskNotFound: {"bfl": "Task not found", "dashscope": "UNKNOWN"},
    ResultExpired: {"replicate": "removed", "hedra": "EXPIRED"},
}
MADE_BY_ALL = {RateLimited, AuthFailed, InvalidRequest, Transient, BadResult}
NO_RULES_ON_CONTENT = {"remove-bg", "photoroom", "hugging-face", "automatic1111", "comfyui"}
"""Those whose documentation names no refusal of content."""
NO_EMPTY_ACCOUNT = {"bedrock", "bedrock-video", "automatic1111", "comfyui"}
"""Those that send a bill, or cost nothing."""


def rows_of(case: Any) -> dict[str, type[ProviderError]]:
    """What an adapter's own table says, submits and polls together; no name may mean two things."""
    tables = [sync.TABLE.get(case, ()), *(getattr(case, name, ()) for name in ("rows", "submits", "polls"))]
    rows = [(scenario, kind) for table in tables for scenario, kind, _ in table]
    found = dict(rows)
    assert set(rows) == set(found.items())
    return found


TABLES = {case.adapter.name: rows_of(case) for case in CASES}


@pytest.mark.parametrize("kind", SIGNALS, ids=lambda kind: kind.__name__)
def test_every_signal_is_in_the_table_of_its_adapter_with_its_decision(kind: type[ProviderError]) -> None:
    wanted = {name: set(map(str.strip, told.split("|"))) for name, told in SIGNALS[kind].items()}

    found = {
        name: {signal for signal in signals if TABLES[name].get(signal) is kind} for name, signals in wanted.items()
    }

    assert found == wanted


@pytest.mark.parametrize("name", sorted(TABLES))
def test_no_adapter_lacks_a_decision_that_every_provider_forces(name: str) -> None:
    forced = set(MADE_BY_ALL)
    if name not in NO_RULES_ON_CONTENT:
        forced |= {ContentRefused}
    if name not in NO_EMPTY_ACCOUNT:
        forced |= {OutOfCredit}
    if ProviderRegistry.from_entry_points().get(name).capabilities.charges and name != "remove-bg":
        # That one answers in the call, and promises that what failed costs nothing.
        forced |= {OutcomeUnknown}

    assert forced - set(TABLES[name].values()) == set()


def test_every_provider_behind_a_network_has_a_table() -> None:
    registry = ProviderRegistry.from_entry_points()

    ours = {name for name in registry.names() if registry.get(name).__module__.startswith("providers.")}
    assert set(TABLES) == {name for name in ours if registry.get(name).capabilities.network}
