"""
Google's models in a project of one's own (Vertex AI, now "Gemini Enterprise Agent Platform"): pictures in the call,
films by Veo as tasks whose bytes come with the last poll.

Written from the vendor's SDK google-genai 3.6.1 and what others learned of the operations. The account's address names
project and place; ``https://aiplatform.eu.rep.googleapis.com/v1beta1/projects/P/locations/eu`` keeps the data in
Europe. The key is a service account's file in base64 (extra ``vertex``; a token is signed here for an hour at a time,
and nothing is asked of anybody for it), an API key, or an access token, which nothing here renews. Imagen was shut down
in 2026: its models are known only to name their successors. Not verified: how long the answer of an operation is kept,
which codes an operation that failed may carry, and until when each version of Veo is offered.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from providers import google
from providers.capabilities import FILMS, PICTURES, Capabilities, EraseSupport, IdempotencySupport, Operation, Shape
from providers.errors import AuthFailed, BadResult, BrokenProviderError, ProviderError, Stage
from providers.exchange import Done, Pending, Request, Task
from providers.media import Document
from providers.models import Model, choose
from providers.network import NetworkProvider, encoded, number, prompt_of
from providers.problems import Problem
from providers.protocol import ProviderTools
from providers.transport import ASK, FETCH, SUBMIT, Call

_FILM_OPTIONS: Final = {
    "aspect_ratio": "aspectRatio",
    "duration": "durationSeconds",
    "resolution": "resolution",
    "seed": "seed",
}
_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_NAME: Final = re.compile(
    r"projects/[\w-]+/locations/[\w-]+/publishers/google/models/[\w.-]+/operations/([A-Za-z0-9-]+)"
)
_RULES: Final = re.compile(r"guidelines|violat|safety|responsible ai", re.IGNORECASE)
_POLL: Final = replace(FETCH, read=60, reply_bytes=FETCH.reply_bytes // 3 * 4)
"""The last poll of a film brings the film, in base64."""


class VertexProvider(NetworkProvider):
    """Edits and makes pictures, and makes films."""

    name: ClassVar[str] = "vertex"
    default_url: ClassVar[str] = ""
    credential_hosts: ClassVar[tuple[str, ...]] = (
        "aiplatform.googleapis.com",
        "aiplatform.eu.rep.googleapis.com",
        "aiplatform.us.rep.googleapis.com",
    )
    option_names: ClassVar[frozenset[str]] = frozenset({*google.IMAGE_OPTIONS, *_FILM_OPTIONS})
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=PICTURES | FILMS,
        shape=Shape.TASK,
        network=True,
        charges=True,
        retention_note="Under the project's contract; how long the answer with a film is kept could not be verified.",
        max_image_bytes=14_000_000,
        erase=EraseSupport.NONE,
        idempotency=IdempotencySupport.NONE,
        min_poll=timedelta(seconds=5),
        regions=("eu", "us", "global", "the location's name"),
    )

    def __init__(self, tools: ProviderTools) -> None:
        super().__init__(tools)
        self._lock = threading.Lock()
        self._signer: Any = None

    def _headers(self, key: str) -> dict[str, str]:
        if key.startswith("AIza"):
            return {"x-goog-api-key": key}
        account = service_account(key)
        return {"authorization": f"Bearer {key if account is None else self._token(account)}"}

    def _token(self, account: dict[str, Any]) -> str:
        with self._lock:
            if self._signer is None:
                self._signer = signer(account)
            if not self._signer.valid:
                self._signer.refresh(None)
            token = self._signer.token
        return token.decode() if isinstance(token, bytes) else str(token)

    def _check_call(self) -> Call:
        # A publisher's model is described outside of any project.
        root = self.base_url.partition("/projects/")[0]
        return Call("GET", root + _path(choose(self.name, Operation.GENERATE_IMAGE, self.account.model).id), ASK)

    def _submit(self, request: Request) -> Done | Pending:
        model = self._model(request)
        if request.operation in FILMS:
            with self._reply(build_film(request, model)) as reply:
                name = reply.document().text("name")
            found = _NAME.fullmatch(name)
            return Pending(self._task(found[1] if found else "", model.id, name), self.capabilities.min_poll)
        path = f"{_path(model.id)}:generateContent"
        with self._reply(google.build(request, path, self.name)) as reply:
            return self._sealed(google.pictures(Problem(self.name, reply.status, reply.headers, reply.document())))

    def _poll(self, task: Task) -> Done | Pending:
        # An operation is asked for through its model; at its own address it is unknown.
        call = Call(
            "POST", f"{_path(task.model)}:fetchPredictOperation", _POLL, json={"operationName": operation(task)}
        )
        with self._reply(call, base_url=task.base_url, task=True) as reply:
            document = self._sealing(reply, "video/")
            problem = Problem(self.name, reply.status, reply.headers, document, task=True)
        if document.at("done") is not True:
            if not document.text("name"):
                raise BadResult("The provider 'vertex' reports a state that is not known.")
            return Pending(task, self.capabilities.min_poll)
        return self._fetched(films(problem), media="video/")

    def _failure(self, problem: Problem) -> ProviderError:
        return google.failure(problem)


def service_account(key: str) -> dict[str, Any] | None:
    """Return the file of a service account whose base64 *key* is, or None."""
    try:
        found = json.loads(base64.b64decode(key, validate=True))
    except (binascii.Error, ValueError):
        return None
    return found if isinstance(found, dict) and "private_key" in found else None


def signer(account: dict[str, Any]) -> Any:
    """
    Return what signs tokens for a service account, without a network.

    Raises:
        AuthFailed: The file is not one of a service account.
        BrokenProviderError: The extra ``vertex`` is not installed.
    """
    try:
        from google.auth import jwt
    except ImportError:
        raise BrokenProviderError(
            "The provider 'vertex' signs for a service account only if the extra 'vertex' is installed."
        ) from None
    try:
        return jwt.Credentials.from_service_account_info(account, audience=None, additional_claims={"scope": _SCOPE})
    except Exception:  # noqa: BLE001  what it raises quotes the file
        raise AuthFailed("The key of 'vertex' is not the file of a service account.") from None


def build_film(request: Request, model: Model) -> Call:
    """Build the call that starts a film."""
    instance: dict[str, Any] = {"prompt": prompt_of(request, "vertex")}
    if request.input is not None:
        instance["image"] = {"bytesBase64Encoded": encoded(request), "mimeType": request.input.media_type}
    parameters: dict[str, Any] = {"sampleCount": 1}
    for ours, theirs in _FILM_OPTIONS.items():
        if ours in request.options:
            value = request.options[ours]
            parameters[theirs] = number(value) if ours in ("duration", "seed") else value
    # Without a bucket in the parameters the film comes in the answer, and lies nowhere else.
    body = {"instances": [instance], "parameters": parameters}
    return Call("POST", f"{_path(model.id)}:predictLongRunning", SUBMIT, json=body)


def films(problem: Problem) -> list[Any]:
    """
    Return the films of an operation that has ended.

    Raises:
        ContentRefused: Every film was filtered out, or the wish was refused.
        TaskFailed: The model failed, or there was no room for it.
    """
    document = problem.document
    if document.at("error") is not None:
        words = document.text("error", "message")
        if _RULES.search(words):
            raise problem.refused(Stage.INPUT, words)
        raise problem.ended()
    videos = document.at("response", "videos")
    found = [Document(each).at("bytesBase64Encoded") for each in (videos if isinstance(videos, list) else [])]
    kept = [f"data:video/mp4;base64,{each}" if isinstance(each, str) else each for each in found if each]
    if not kept and document.at("response", "raiMediaFilteredCount"):
        reasons = document.at("response", "raiMediaFilteredReasons")
        raise problem.refused(Stage.OUTPUT, " ".join(map(str, reasons)) if isinstance(reasons, list) else "")
    return kept


def operation(task: Task) -> str:
    """Return the full name of a task's operation: as it was given, or put together from the address."""
    if task.poll_url is not None and _NAME.fullmatch(task.poll_url):
        return task.poll_url
    place = urlsplit(task.base_url).path.partition("projects/")[2]
    return f"projects/{place}{_path(task.model)}/operations/{task.task_id}"


def _path(model: str) -> str:
    return f"/publishers/google/models/{model}"
