"""
Kling: films and pictures as tasks that we may name ourselves, so that a lost answer can be looked up.

Written from a community's OpenAPI document (2026-05-01) and the vendor's pages "General Information" and "API
Specification", and "Account usage" (a copy), by which the credential is checked; the list of codes was cut off: codes
from 1103 on are not verified, nor are the ids of models, how a failed task words a refusal, or what becomes of a second
task of the same name. Names of models and the smallest picture (300 pixels a side, it is said) change often. The
credential is ``<access key>:<secret key>``; each call carries a token signed with the second, so a clock that is off is
refused (codes 1003 and 1004). What was made is cleared after 30 days; nothing can be deleted or cancelled. Callbacks
carry no signature that was found.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from providers.capabilities import (
    FILMS,
    Capabilities,
    EraseSupport,
    IdempotencySupport,
    Operation,
    Shape,
    WebhookSupport,
)
from providers.errors import (
    AuthFailed,
    BadResult,
    OutcomeUnknown,
    ProviderError,
    Stage,
    TaskNotFound,
    Transient,
)
from providers.exchange import Done, Erasure, ErasureOutcome, Pending, Request, Task
from providers.media import Document
from providers.models import Model, choose
from providers.network import NetworkProvider, picture, prompt_of
from providers.problems import Problem
from providers.transport import ASK, SUBMIT, Call
from providers.wishes import report_to, short, texts

KEPT: Final = timedelta(days=30)
_TOKEN_LIVES: Final = timedelta(minutes=30)
_LONGEST_PROMPT: Final = 2500
_REFUSED: Final = re.compile(r"risk control|sensitive|content (safety|security|policy)|violat|nsfw", re.IGNORECASE)
_PATHS: Final = {
    Operation.IMAGE_TO_VIDEO: "/v1/videos/image2video",
    Operation.TEXT_TO_VIDEO: "/v1/videos/text2video",
    Operation.EDIT_IMAGE: "/v1/images/generations",
    Operation.GENERATE_IMAGE: "/v1/images/generations",
}


class KlingProvider(NetworkProvider):
    """Makes films and pictures from pictures and words."""

    name: ClassVar[str] = "kling"
    default_url: ClassVar[str] = "https://api-singapore.klingai.com"
    credential_hosts: ClassVar[tuple[str, ...]] = ("api-singapore.klingai.com", "api.klingai.com")
    result_hosts: ClassVar[tuple[str, ...]] = ("klingai.com", "kwimgs.com")
    option_names: ClassVar[frozenset[str]] = frozenset({"negative_prompt", "mode", "duration", "aspect_ratio"})
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=frozenset(_PATHS),
        shape=Shape.TASK,
        network=True,
        charges=True,
        retention_note="What was made is cleared after 30 days; how long inputs are kept is not published.",
        # Ten megabytes, it is said; counted here as if the base64 of the picture were meant.
        max_image_bytes=7_500_000,
        result_lifetime=KEPT,
        erase=EraseSupport.NONE,
        idempotency=IdempotencySupport.CLIENT_ID,
        webhook=WebhookSupport.UNSIGNED,
        min_poll=timedelta(seconds=5),
    )

    def _headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {token(key, time.time())}"}

    def _ping(self) -> None:
        # What was bought in the last hour; any span will do. The vendor allows one such question a second.
        until = int(time.time() * 1000)
        self._asked(f"/account/costs?start_time={until - 3_600_000}&end_time={until}", self.base_url)

    def _submit(self, request: Request) -> Done | Pending:
        model = self._model(request)
        call = build(request, model)
        with self._reply(call) as reply:
            problem = Problem(self.name, reply.status, reply.headers, reply.document())
        if problem.document.at("code") != 0:
            raise failure(problem)
        return self._pending(problem.document, call.url, model.id)

    def _pending(self, document: Document, path: str, model: str) -> Pending:
        task = self._task(document.text("data", "task_id"), model, result_lives=KEPT)
        # Only the path says what was asked for, and it is asked for at the same place.
        return Pending(task.model_copy(update={"poll_url": f"{path}/{task.task_id}"}), self.capabilities.min_poll)

    def _look_up(self, operation: Operation, idempotency_key: str) -> Done | Pending | None:
        """Ask for the task that we named *idempotency_key*; None if there is none."""
        path = _PATHS[operation]
        try:
            document = self._asked(f"{path}/{idempotency_key}", self.base_url).document
        except TaskNotFound:
            return None
        return self._pending(document, path, choose(self.name, operation, self.account.model).id)

    def _asked(self, url: str, base_url: str) -> Problem:
        with self._reply(Call("GET", url, ASK), base_url=base_url, task=True) as reply:
            problem = Problem(self.name, reply.status, reply.headers, reply.document(), paid=False, task=True)
        if problem.document.at("code") != 0:
            raise failure(problem)
        return problem

    def _poll(self, task: Task) -> Done | Pending:
        if task.poll_url is None:
            raise TaskNotFound("The task of 'kling' does not say where to ask for it.")
        problem = self._asked(task.poll_url, task.base_url)
        match problem.document.text("data", "task_status"):
            case "submitted" | "processing":
                return Pending(task, self.capabilities.min_poll)
            case "succeed":
                return self._fetched(outputs(problem.document))
            case "failed":
                raise failed(problem)
        raise BadResult("The provider 'kling' reports a state that is not known.")

    def _erase(self, task: Task) -> Erasure:
        return Erasure(ErasureOutcome.SCHEDULED, max(task.submitted_at + KEPT, datetime.now(UTC)))

    def _failure(self, problem: Problem) -> ProviderError:
        return failure(problem)


def token(key: str, now: float) -> str:
    """
    Sign a token that says who calls, good for half an hour.

    Raises:
        AuthFailed: The credential is not made of two keys.
    """
    access, _, secret = key.partition(":")
    if not access or not secret:
        raise AuthFailed(
            "The credential of 'kling' must be '<access key>:<secret key>'; set DAYFLY_PROVIDER_KLING_KEY."
        )
    claims = {"iss": access, "exp": int(now + _TOKEN_LIVES.total_seconds()), "nbf": int(now) - 5}
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
    mac = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def _part(claims: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims, separators=(",", ":")).encode()).rstrip(b"=").decode()


def build(request: Request, model: Model) -> Call:
    """Build the call that starts a task under the name by which it can be looked up."""
    assert request.operation is not None
    body: dict[str, Any] = {
        "model_name": model.id,
        "prompt": short(prompt_of(request, "kling"), _LONGEST_PROMPT, "kling"),
        "external_task_id": request.idempotency_key,
    }
    if request.input is not None:
        # Without the prefix of a data URI, as the vendor wants it.
        body["image"] = base64.b64encode(picture(request)).decode()
    body |= texts(request, "negative_prompt") | report_to(request, "callback_url")
    if request.operation in FILMS:
        # The number is a string.
        body |= {"mode": "std", "duration": "5"} | texts(request, "mode", "duration")
    if request.operation is not Operation.IMAGE_TO_VIDEO:
        body |= texts(request, "aspect_ratio")
    return Call("POST", _PATHS[request.operation], SUBMIT, json=body)


def outputs(document: Document) -> list[Any]:
    """Return the addresses of the results."""
    found = [document.at("data", "task_result", kind) for kind in ("videos", "images")]
    entries = [entry for each in found if isinstance(each, list) for entry in each]
    return [entry.get("url") if isinstance(entry, dict) else None for entry in entries]


def failed(problem: Problem) -> ProviderError:
    """Explain a task that ended as failed. Content can only be told by the words."""
    words = problem.document.text("data", "task_status_msg")
    return problem.ended(problem.refused(Stage.OUTPUT, words) if _REFUSED.search(words) else None)


def failure(problem: Problem) -> ProviderError:
    """Explain an error by the service's own code: one and the same status may mean no money or a pause."""
    code = problem.document.at("code")
    match code:
        case 1000 | 1001 | 1002 | 1003 | 1004 | 1103 | 1304:
            clock = " Look at this machine's clock first." if code in (1003, 1004) else ""
            return AuthFailed(f"The provider 'kling' does not accept the credential (code {code}).{clock}")
        case 1100 | 1101 | 1102:
            return problem.out_of_credit()
        case 1203:
            return TaskNotFound("The provider 'kling' does not know the task.") if problem.task else problem.gone()
        case 1301:
            return problem.refused(Stage.INPUT, problem.document.text("message"))
        case 1302 | 1303:
            return problem.limited()
        case 1200 | 1201 | 1202 | 1300:
            return problem.invalid()
        case 5000 | 5001:
            return Transient(f"The provider 'kling' has a fault (code {code}).")
        case 5002 if problem.paid:
            return OutcomeUnknown("The provider 'kling' gave up waiting for itself; the call may have been charged.")
    if problem.status < 400:
        sentence = "The provider 'kling' answered with a success that is none."
        return OutcomeUnknown(sentence) if problem.paid else BadResult(sentence)
    return problem.by_status()
