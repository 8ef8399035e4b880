"""
Google's Gemini API, with an API key: pictures in the call, films by a task that is deleted when asked.

Written from the vendor's SDK google-genai 3.6.1, the discovery document of the API (``v1beta``, 2026-05-29) and the
page "Zero data retention". A film is asked for as an *interaction* in the background, which the vendor must store while
it is being made; its bytes come with the last poll, so that no second copy lies among the account's files. Not
verified: how a refusal of a film is coded (it is told from a fault by its words), whether a film is always sent inline
when that was asked for (an address is fetched with the key, and the file behind it lives for 48 hours), for how long
logs are kept, how reports are signed (they count as unsigned). The key goes into a header, never into the address.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from providers import google
from providers.capabilities import (
    FILMS,
    PICTURES,
    CancelSupport,
    Capabilities,
    EraseSupport,
    IdempotencySupport,
    Shape,
    WebhookSupport,
)
from providers.errors import BadResult, Cancelled, InvalidRequest, ProviderError, Stage
from providers.exchange import Done, Erasure, ErasureOutcome, Pending, Request, Task
from providers.media import Document
from providers.models import Model
from providers.network import NetworkProvider, encoded, prompt_of
from providers.problems import Problem
from providers.transport import ASK, FETCH, SUBMIT, Call

_VIDEO_OPTIONS: Final = ("aspect_ratio", "resolution", "duration")
_REFUSED: Final = re.compile(r"safety|prohibited|blocked|policy|violat", re.IGNORECASE)
_POLL: Final = replace(FETCH, read=60, reply_bytes=FETCH.reply_bytes // 3 * 4)
"""The last poll of a film brings the film, in base64."""


class GeminiProvider(NetworkProvider):
    """Edits and makes pictures, and makes films."""

    name: ClassVar[str] = "gemini"
    default_url: ClassVar[str] = "https://generativelanguage.googleapis.com/v1"
    credential_hosts: ClassVar[tuple[str, ...]] = ("generativelanguage.googleapis.com",)
    option_names: ClassVar[frozenset[str]] = frozenset({*google.IMAGE_OPTIONS, *_VIDEO_OPTIONS})
    check_path: ClassVar[str | None] = "/models?pageSize=1"
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=PICTURES | FILMS,
        shape=Shape.TASK,
        network=True,
        charges=True,
        retention_note=(
            "A film is stored until it is erased; logs for the detection of abuse are kept for a limited time, unless"
            " the project has zero retention."
        ),
        # The whole request may have 20 MB, and base64 takes a third more.
        max_image_bytes=14_000_000,
        max_request_bytes=20_000_000,
        cancel=CancelSupport.ANY,
        erase=EraseSupport.TASK,
        idempotency=IdempotencySupport.NONE,
        webhook=WebhookSupport.UNSIGNED,
        min_poll=timedelta(seconds=5),
    )

    def _headers(self, key: str) -> dict[str, str]:
        return {"x-goog-api-key": key}

    def _submit(self, request: Request) -> Done | Pending:
        model = self._model(request)
        if request.operation in FILMS:
            with self._reply(build_film(request, model)) as reply:
                task = self._task(reply.document().text("id"), model.id)
            return Pending(task, self.capabilities.min_poll)
        with self._reply(google.build(request, f"/models/{model.id}:generateContent", self.name)) as reply:
            return self._sealed(google.pictures(Problem(self.name, reply.status, reply.headers, reply.document())))

    def _poll(self, task: Task) -> Done | Pending:
        with self._reply(Call("GET", _path(task), _POLL), base_url=task.base_url, task=True) as reply:
            document = self._sealing(reply, "video/")
            problem = Problem(self.name, reply.status, reply.headers, document)
        match document.text("status"):
            case "queued" | "in_progress":
                return Pending(task, self.capabilities.min_poll)
            case "completed":
                return self._fetched(films(document), media="video/", show_credential=True)
            case "cancelled":
                raise Cancelled("The task was cancelled at 'gemini'.")
            case "budget_exceeded":
                raise problem.out_of_credit()
            case "failed" | "incomplete":
                raise failed(problem)
        # Among these are states in which it waits for us to go on, which nothing here does.
        raise BadResult("The provider 'gemini' reports a state that is not known.")

    def _cancel(self, task: Task) -> None:
        try:
            with self._reply(Call("POST", f"{_path(task)}/cancel", ASK), base_url=task.base_url, task=True):
                pass
        except InvalidRequest:
            # It has ended already, which is what was wanted.
            return

    def _erase(self, task: Task) -> Erasure:
        self._delete(task, _path(task))
        return Erasure(ErasureOutcome.ERASED, datetime.now(UTC))

    def _failure(self, problem: Problem) -> ProviderError:
        return google.failure(problem)


def build_film(request: Request, model: Model) -> Call:
    """Build the call that starts a film."""
    content: list[dict[str, Any]] = []
    if request.input is not None:
        content.append({"type": "image", "data": encoded(request), "mime_type": request.input.media_type})
    content.append({"type": "text", "text": prompt_of(request, "gemini")})
    film = {"type": "video", "delivery": "inline"}
    film |= {name: value for name, value in request.options.items() if name in _VIDEO_OPTIONS}
    body: dict[str, Any] = {
        "model": model.id,
        "input": [{"type": "user_input", "content": content}],
        "response_format": film,
        # What runs in the background can only be asked for while it is stored.
        "background": True,
        "store": True,
    }
    if request.webhook is not None:
        body["webhook_config"] = {"uris": [request.webhook]}
    return Call("POST", "/interactions", SUBMIT, json=body)


def films(document: Document) -> list[Any]:
    """Return the films of a finished interaction, as bytes or addresses."""
    found: list[Any] = []
    steps = document.at("steps")
    for step in steps if isinstance(steps, list) else []:
        content = Document(step).at("content")
        if Document(step).text("type") == "model_output" and isinstance(content, list):
            found += [each for each in content if isinstance(each, dict) and each.get("type") == "video"]
    taken = [as_data(film["data"]) if film.get("data") else film.get("uri") for film in found]
    return [each for each in taken if each]


def as_data(value: Any) -> Any:
    """Mark a short text as base64, which a long one is without a mark."""
    return f"data:video/mp4;base64,{value}" if isinstance(value, str) else value


def failed(problem: Problem) -> ProviderError:
    """Explain an interaction that ended without a film."""
    errors, steps = problem.document.at("errors"), problem.document.at("steps")
    told = [Document(each) for each in errors] if isinstance(errors, list) else []
    told += [Document(Document(each).at("error")) for each in steps] if isinstance(steps, list) else []
    words = " ".join(f"{each.text('code')} {each.text('message')}" for each in told)
    return problem.ended(problem.refused(Stage.OUTPUT, words) if _REFUSED.search(words) else None)


def _path(task: Task) -> str:
    return f"/interactions/{task.task_id}"
