"""
fal's queue: tasks of many makers' models (Pika's among them), results at public addresses.

Written from the vendor's SDK 1.0.3 and its pages on retention, payloads, errors and prices. Not verified: the names of
some errors, the wording of an empty account, the ids of Pika's models, and the list of prices by which the credential
is checked, which is known from other people's calls (the page "Account Billing" wants an administrator's key). The
vendor's own client repeats the submit; this one does not, because there is nothing to recognise a repetition by.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

from providers.capabilities import (
    CancelSupport,
    Capabilities,
    EraseSupport,
    IdempotencySupport,
    Operation,
    Shape,
    WebhookSupport,
)
from providers.errors import (
    BadResult,
    Cancelled,
    Charged,
    InvalidRequest,
    Phase,
    ProviderError,
    Stage,
    Timeout,
    Transient,
)
from providers.exchange import Done, Pending, Request, Task
from providers.media import Blob, Document
from providers.models import Model, choose
from providers.network import NetworkProvider, data_uri, prompt_of
from providers.problems import Problem
from providers.transport import ASK, SUBMIT, Call

_INPUT_TYPES: Final = frozenset(
    {
        "image_too_small", "image_too_large", "file_download_error", "file_too_large", "unsupported_image_format",
        "face_detection_error", "image_load_error",
    }
)  # fmt: skip
_FAULT_TYPES: Final = frozenset(
    {"downstream_service_error", "downstream_service_unavailable", "internal_server_error", "no_media_generated"}
)
KEPT: Final = timedelta(hours=1)
_PLATFORM: Final = "https://api.fal.ai"


class FalProvider(NetworkProvider):
    """Edits, cuts out and makes pictures, and makes films from them."""

    name: ClassVar[str] = "fal"
    default_url: ClassVar[str] = "https://queue.fal.run"
    credential_hosts: ClassVar[tuple[str, ...]] = ("queue.fal.run",)
    check_hosts: ClassVar[tuple[str, ...]] = ("api.fal.ai",)
    result_hosts: ClassVar[tuple[str, ...]] = ("fal.media",)
    option_names: ClassVar[frozenset[str]] = frozenset({"seed", "aspect_ratio", "image_size", "duration", "resolution"})
    errors_are_free: ClassVar[bool] = True
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=frozenset(
            {
                Operation.EDIT_IMAGE,
                Operation.GENERATE_IMAGE,
                Operation.REMOVE_BACKGROUND,
                Operation.REPLACE_BACKGROUND,
                Operation.IMAGE_TO_VIDEO,
            }
        ),
        shape=Shape.TASK,
        network=True,
        charges=True,
        retention_note="Told not to store inputs and answers; a result stays at a public address for one hour.",
        max_image_bytes=10_000_000,
        result_lifetime=KEPT,
        cancel=CancelSupport.QUEUED,
        erase=EraseSupport.NONE,
        idempotency=IdempotencySupport.NONE,
        webhook=WebhookSupport.FAL,
        min_poll=timedelta(seconds=1),
    )

    def _headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Key {key}"}

    def _check_call(self) -> Call:
        model = choose(self.name, Operation.EDIT_IMAGE, self.account.model).id
        platform = "" if self.account.base_url else _PLATFORM
        return Call("GET", f"{platform}/v1/models/pricing?{urlencode({'endpoint_id': model})}", ASK)

    def _submit(self, request: Request) -> Done | Pending:
        model = self._model(request)
        with self._reply(build(request, model)) as reply:
            document = reply.document()
        # For as long as it was told to in the same call.
        task = self._task(document.text("request_id"), model.id, result_lives=KEPT)
        return Pending(task, self.capabilities.min_poll)

    def _poll(self, task: Task) -> Done | Pending:
        with self._reply(Call("GET", f"{_path(task)}/status?logs=0", ASK), base_url=task.base_url, task=True) as reply:
            status = reply.document().text("status")
        match status:
            case "IN_QUEUE" | "IN_PROGRESS":
                return Pending(task, self.capabilities.min_poll)
            case "COMPLETED":
                # It has ended; only the answer says how, and its status whether that was charged.
                pass
            case _:
                raise BadResult("The provider 'fal' reports a state that is not known.")
        with self._reply(Call("GET", _path(task), ASK), base_url=task.base_url, task=True, failure=ended) as reply:
            answer = reply.document()
            if True in (answer.at("has_nsfw_concepts") or ()):
                # The picture that comes with this is black.
                raise Problem(self.name, reply.status, reply.headers, answer).refused(Stage.OUTPUT, "nsfw")
        return self._fetched(outputs(answer))

    def _cancel(self, task: Task) -> None:
        try:
            with self._reply(Call("PUT", f"{_path(task)}/cancel", ASK), base_url=task.base_url, task=True):
                pass
        except InvalidRequest:
            # It has ended already, which is what was wanted.
            return

    def _failure(self, problem: Problem) -> ProviderError:
        return failure(problem)


def build(request: Request, model: Model) -> Call:
    """Build the call that starts a task."""
    body: dict[str, Any] = {}
    if request.operation is not Operation.REMOVE_BACKGROUND:
        body["prompt"] = prompt_of(request, "fal")
    for name, value in request.options.items():
        if name in FalProvider.option_names:
            body[name] = int(value) if name == "seed" and value.isdigit() else value
    if request.input is not None:
        body[model.image_field] = data_uri(request)
    headers = {
        "x-fal-store-io": "0",
        "x-fal-object-lifecycle-preference": json.dumps({"expiration_duration_seconds": int(KEPT.total_seconds())}),
    }
    reported_to = "" if request.webhook is None else f"?{urlencode({'fal_webhook': request.webhook})}"
    return Call("POST", f"/{model.id}{reported_to}", SUBMIT, headers, json=body)


def outputs(document: Document) -> list[Any]:
    """Return the addresses of the results."""
    images = document.at("images")
    found = [*(images if isinstance(images, list) else ()), document.at("image"), document.at("video")]
    urls = [entry.get("url") for entry in found if isinstance(entry, dict)]
    return [url for url in urls if isinstance(url, Blob) or (isinstance(url, str) and bool(url))]


def by_type(problem: Problem, kind: str) -> ProviderError | None:
    """Explain an error by its type, or say None if the type decides nothing."""
    if kind == "content_policy_violation":
        return problem.refused(Stage.OUTPUT, charged=Charged.MAYBE)
    if kind in _INPUT_TYPES:
        return problem.invalid("input")
    if kind == "client_cancelled":
        return Cancelled("The task was cancelled at 'fal'.")
    if kind == "generation_timeout":
        return Timeout("The model at 'fal' took longer than it may.", phase=Phase.POLL)
    return None


def ended(problem: Problem) -> ProviderError:
    """
    Explain the answer of a task that has ended: if the model or what it runs on failed, that is said by a type or by a
    hint about another attempt. Without either it is the call for the answer that failed.
    """
    kind = kind_of(problem)
    decided = by_type(problem, kind)
    server = problem.status >= 500
    if decided is None and (kind in _FAULT_TYPES or (server and kind) or retry_hint(problem)):
        # "Server errors (HTTP 500+) are never charged", says the vendor, and of others that they may be.
        return problem.ended(charged=Charged.NO if server else Charged.MAYBE)
    return decided or failure(problem)


def kind_of(problem: Problem) -> str:
    """Return the type of an error: of the model's in the body, of the platform's in body or header."""
    body = problem.document
    return body.text("detail", 0, "type") or body.text("error_type") or problem.headers.get("x-fal-error-type", "")


def retry_hint(problem: Problem) -> bool:
    """Whether the headers say that another attempt may help, which a pause that is asked for says by itself."""
    hint = problem.headers.get("x-fal-retryable", problem.headers.get("x-fal-needs-retry", "")).lower()
    return hint in ("true", "1") and problem.status != 429


def failure(problem: Problem) -> ProviderError:
    """Explain an error: by the type in body or header, then by what the headers say of a retry, then by status."""
    body = problem.document
    decided = by_type(problem, kind_of(problem))
    if decided is not None:
        return decided
    if problem.status == 403 and "balance" in body.text("detail").lower():
        return problem.out_of_credit()
    if problem.status == 504 and problem.headers.get("x-fal-request-timeout-type") == "user":
        return Timeout("The task did not start at 'fal' in time.", phase=Phase.SUBMIT, charged=Charged.NO)
    if retry_hint(problem):
        return Transient(f"The provider 'fal' has a fault (HTTP {problem.status}){problem.trace}.")
    if problem.status == 404 and not problem.task:
        return problem.gone()
    return problem.by_status(errors_are_free=FalProvider.errors_are_free)


def _path(task: Task) -> str:
    """Return the path of a task: of the model's name only owner and application count."""
    owner, _, rest = task.model.partition("/")
    return f"/{owner}/{rest.partition('/')[0]}/requests/{task.task_id}"
