"""
HeyGen, v3: films in which a picture or an avatar speaks the words of the prompt.

Written from the vendor's pages "Quick start" (which has the call that shows whose a key is), "Create Video" and "Error
Codes" and from other people's calls. The prompt is the script; the option ``voice_id`` says who speaks it,
``avatar_id`` who is seen where no picture is given. Not verified: that the picture is taken inline here as it is
elsewhere in the API (base64), the codes for refused content, what is kept of a picture, how long an address lives
(seven days in older versions), whether the idempotency key that is sent is heeded: it is not counted on. Versions 1 and
2 of the API ended on 2026-10-31. The vendor signs what it sends to an endpoint that was registered, with that
endpoint's secret; how it would sign for the address in a call is not said, so such a report counts as unsigned.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from providers.capabilities import (
    FILMS,
    Capabilities,
    EraseSupport,
    IdempotencySupport,
    Shape,
    WebhookSupport,
)
from providers.errors import BadResult, InvalidRequest, ProviderError, Stage
from providers.exchange import Done, Erasure, ErasureOutcome, Pending, Request, Task
from providers.models import Model
from providers.network import NetworkProvider, picture
from providers.problems import Problem
from providers.transport import SUBMIT, Call
from providers.wishes import report_to, texts

_REFUSED: Final = re.compile(r"moderat|blocked_words|nsfw|content_policy|policy_violation", re.IGNORECASE)
_COLOUR: Final = re.compile(r"#[0-9a-fA-F]{6}")


class HeyGenProvider(NetworkProvider):
    """Lets pictures and avatars speak."""

    name: ClassVar[str] = "heygen"
    default_url: ClassVar[str] = "https://api.heygen.com/v3"
    credential_hosts: ClassVar[tuple[str, ...]] = ("api.heygen.com",)
    result_hosts: ClassVar[tuple[str, ...]] = ("heygen.ai", "heygen.com")
    option_names: ClassVar[frozenset[str]] = frozenset({"voice_id", "avatar_id", "aspect_ratio", "resolution"})
    check_path: ClassVar[str | None] = "/users/me"
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=FILMS,
        shape=Shape.TASK,
        network=True,
        charges=True,
        retention_note="A film is kept until it is deleted, which is asked for. What becomes of pictures is not known.",
        # 32 megabytes, counted as if the base64 of the picture were meant.
        max_image_bytes=24_000_000,
        erase=EraseSupport.TASK,
        idempotency=IdempotencySupport.NONE,
        webhook=WebhookSupport.UNSIGNED,
        min_poll=timedelta(seconds=10),
    )

    def _headers(self, key: str) -> dict[str, str]:
        return {"x-api-key": key}

    def _submit(self, request: Request) -> Done | Pending:
        model = self._model(request)
        with self._reply(build(request, model)) as reply:
            task = self._task(reply.document().text("data", "video_id"), model.id)
        return Pending(task, self.capabilities.min_poll)

    def _poll(self, task: Task) -> Done | Pending:
        problem = self._told(task, f"/videos/{task.task_id}")
        document = problem.document
        match document.text("data", "status"):
            case "pending" | "waiting" | "processing" | "generating":
                return Pending(task, self.capabilities.min_poll)
            case "completed":
                film = document.at("data", "video_url")
                # An address that has died is exchanged for a fresh one by the next poll.
                return self._fetched([film] if film else [], media="video/")
            case "failed":
                raise failed(problem)
        raise BadResult("The provider 'heygen' reports a state that is not known.")

    def _erase(self, task: Task) -> Erasure:
        self._delete(task, f"/videos/{task.task_id}")
        return Erasure(ErasureOutcome.ERASED, datetime.now(UTC))

    def _failure(self, problem: Problem) -> ProviderError:
        return failure(problem)


def build(request: Request, model: Model) -> Call:
    """Build the call that starts a task."""
    if not request.prompt:
        raise InvalidRequest("The provider 'heygen' needs a prompt: the words to be spoken.", field="prompt")
    needed = ("voice_id",) if request.input is not None else ("voice_id", "avatar_id")
    for name in needed:
        if not request.options.get(name):
            raise InvalidRequest(f"The provider 'heygen' needs the option {name!r} for this operation.", field=name)
    body: dict[str, Any] = {"script": request.prompt, "engine": {"type": model.id}}
    body |= texts(request, "voice_id", "aspect_ratio", "resolution")
    body |= report_to(request, "callback_url")
    if request.input is not None:
        data = base64.b64encode(picture(request)).decode()
        body |= {"type": "image", "image": {"type": "base64", "media_type": request.input.media_type, "data": data}}
    else:
        body |= {"type": "avatar"} | texts(request, "avatar_id")
    if request.background:
        if not _COLOUR.fullmatch(request.background):
            raise InvalidRequest("The provider 'heygen' takes a colour as a background, '#rrggbb'.", field="background")
        body["background"] = {"type": "color", "value": request.background}
    return Call("POST", "/videos", SUBMIT, {"idempotency-key": request.idempotency_key}, json=body)


def failed(problem: Problem) -> ProviderError:
    """Explain a task that ended as failed, by its code."""
    code = problem.document.text("data", "failure_code")
    if _REFUSED.search(code):
        return problem.refused(Stage.OUTPUT, problem.document.text("data", "failure_message"))
    if code == "insufficient_credit":
        return problem.out_of_credit()
    if code in ("download_failed", "invalid_image"):
        return problem.invalid("input")
    return problem.ended()


def failure(problem: Problem) -> ProviderError:
    """Explain an error: by its code, then by the status."""
    code = problem.document.text("error", "code")
    if _REFUSED.search(code):
        return problem.refused(Stage.INPUT, problem.document.text("error", "message"))
    if code == "insufficient_credit":
        return problem.out_of_credit()
    if code == "download_failed":
        return problem.invalid("input")
    return problem.by_status()
