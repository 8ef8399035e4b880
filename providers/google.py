"""What Google's two doors to the same models share: how a refusal looks, how an error is told, when to come back."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Final

from providers.errors import AuthFailed, BadResult, OutcomeUnknown, ProviderError, Stage, Transient
from providers.exchange import Request
from providers.hints import bounded
from providers.media import Document
from providers.network import encoded, prompt_of
from providers.problems import Problem
from providers.transport import WORK, Call

IMAGE_OPTIONS: Final = {"aspect_ratio": "aspectRatio", "image_size": "imageSize"}
"""Our names of options of a picture, and Google's."""

_REFUSED: Final = frozenset(
    {
        "SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION", "MODEL_ARMOR",
    }
)  # fmt: skip
_DELAY: Final = re.compile(r"(\d+(?:\.\d+)?)s")
_RULES: Final = re.compile(r"responsible ai|violat|safety|prohibited use", re.IGNORECASE)


def build(request: Request, path: str, provider: str) -> Call:
    """Build the call that makes or edits one picture."""
    parts: list[dict[str, Any]] = []
    if request.input is not None:
        parts.append({"inlineData": {"mimeType": request.input.media_type, "data": encoded(request)}})
    parts.append({"text": prompt_of(request, provider)})
    config: dict[str, Any] = {"responseModalities": ["IMAGE"]}
    wanted = {theirs: request.options[ours] for ours, theirs in IMAGE_OPTIONS.items() if ours in request.options}
    if wanted:
        config["imageConfig"] = wanted
    return Call("POST", path, WORK, json={"contents": [{"role": "user", "parts": parts}], "generationConfig": config})


def pictures(problem: Problem) -> list[Any]:
    """
    Return the pictures of a success.

    Raises:
        ContentRefused: It is a refusal all the same.
        BadResult: The model ended without a picture.
    """
    document = problem.document
    blocked = document.text("promptFeedback", "blockReason")
    if blocked:
        raise problem.refused(Stage.INPUT, blocked)
    parts = document.at("candidates", 0, "content", "parts")
    data = [Document(part).at("inlineData", "data") for part in parts] if isinstance(parts, list) else []
    found = [each for each in data if each]
    if found:
        return found
    ended = document.text("candidates", 0, "finishReason")
    if ended in _REFUSED:
        raise problem.refused(Stage.OUTPUT, ended)
    raise BadResult(f"The model at {problem.provider!r} ended without a picture.")


def failure(problem: Problem) -> ProviderError:
    """Explain an error. Google says in the body when to come back, and with one status both pace and money."""
    body = problem.document
    details = body.at("error", "details")
    details = [each for each in details if isinstance(each, dict)] if isinstance(details, list) else []
    reasons = {each.get("reason") for each in details}
    words = body.text("error", "message")
    if "API_KEY_INVALID" in reasons:
        return AuthFailed(f"The provider {problem.provider!r} does not accept the credential (HTTP {problem.status}).")
    if "BILLING_DISABLED" in reasons or (problem.status in (400, 403, 429) and "billing" in words.lower()):
        return problem.out_of_credit()
    if problem.status == 429:
        return problem.limited(_delay(details))
    if problem.status == 400 and _RULES.search(words):
        return problem.refused(Stage.INPUT, words)
    if problem.status == 404 and not problem.task:
        return problem.gone()
    if problem.status == 499:
        sentence = f"The provider {problem.provider!r} thinks that we hung up (HTTP 499){problem.trace}."
        return OutcomeUnknown(sentence) if problem.paid else Transient(sentence)
    return problem.by_status()


def _delay(details: list[dict[str, Any]]) -> timedelta | None:
    for each in details:
        found = _DELAY.fullmatch(str(each.get("retryDelay", "")))
        if found is not None:
            return bounded(float(found[1]))
    return None
