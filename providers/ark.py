"""
ByteDance's Ark (BytePlus ModelArk outside China): Seedance's films as tasks, Seedream's pictures in the call itself.

Written from the vendor's SDK 5.0.54 for Python and its pages on errors. Not verified: names of the codes on content and
on limits in detail, ids of models, how large a picture may be, what a refused deletion is answered, whether a failed
task is charged, whether a key for one model may list tasks, by which it is checked. Callbacks carry no signature that
was found. The account's address chooses the place: https://ark.cn-beijing.volces.com/api/v3 is China; a host in Europe
was not found. Pictures are asked for as base64, so that none lies at an address. A deletion removes the record of a
task; that its film goes earlier than the day its address lives is nowhere said, so that is what is reported. A lost
call is not looked for in the list of tasks: the one field of ours that it shows is ``safety_identifier``, of which is
not known which models take it, and a call that is refused for it costs more than one that is sometimes lost.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

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
from providers.exchange import Done, Erasure, ErasureOutcome, Pending, Request, Task
from providers.media import Document
from providers.models import Model
from providers.network import NetworkProvider, data_uri, prompt_of
from providers.problems import Problem
from providers.transport import SUBMIT, WORK, Call
from providers.wishes import numbers, report_to, texts

KEPT: Final = timedelta(hours=24)
_TASKS: Final = "/contents/generations/tasks"
_NO_TASK: Final = "cgt-none"
"""Tasks of this name are listed to show the credential; there are none, so nothing of a user comes back."""


class ArkProvider(NetworkProvider):
    """Makes films from pictures and words, edits and makes pictures."""

    name: ClassVar[str] = "ark"
    default_url: ClassVar[str] = "https://ark.ap-southeast.bytepluses.com/api/v3"
    credential_hosts: ClassVar[tuple[str, ...]] = ("ark.ap-southeast.bytepluses.com", "ark.cn-beijing.volces.com")
    result_hosts: ClassVar[tuple[str, ...]] = ("volces.com", "bytepluses.com")
    option_names: ClassVar[frozenset[str]] = frozenset({"ratio", "resolution", "duration", "seed", "size"})
    check_path: ClassVar[str | None] = f"{_TASKS}?page_num=1&page_size=1&filter.task_ids={_NO_TASK}"
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=PICTURES | FILMS,
        shape=Shape.TASK,
        network=True,
        charges=True,
        retention_note="A film stays at its address for 24 hours; its record for 7 days, or until it is deleted.",
        max_image_bytes=7_500_000,
        result_lifetime=KEPT,
        cancel=CancelSupport.QUEUED,
        erase=EraseSupport.TASK,
        idempotency=IdempotencySupport.NONE,
        webhook=WebhookSupport.UNSIGNED,
        min_poll=timedelta(seconds=5),
    )

    def _headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"}

    def _submit(self, request: Request) -> Done | Pending:
        model = self._model(request)
        call = build(request, model)
        with self._reply(call) as reply:
            problem = Problem(self.name, reply.status, reply.headers, reply.document())
        if call.limits is WORK:
            return self._sealed(pictures(problem))
        task = self._task(problem.document.text("id"), model.id, result_lives=KEPT)
        return Pending(task, self.capabilities.min_poll)

    def _poll(self, task: Task) -> Done | Pending:
        problem = self._told(task, f"{_TASKS}/{task.task_id}")
        document = problem.document
        match document.text("status"):
            case "queued" | "running":
                return Pending(task, self.capabilities.min_poll)
            case "succeeded":
                film = document.at("content", "video_url")
                return self._fetched([film] if film else [], media="video/")
            case "failed":
                raise problem.ended(by_error(problem, document.at("error")))
            case "cancelled":
                raise Cancelled("The task was cancelled at 'ark'.", charged=Charged.NO)
            case "expired":
                raise Timeout("The task was not finished at 'ark' in time.", phase=Phase.POLL)
        raise BadResult("The provider 'ark' reports a state that is not known.")

    def _cancel(self, task: Task) -> None:
        try:
            self._erase(task)
        except InvalidRequest:
            # It is running, and cannot be stopped.
            return

    def _erase(self, task: Task) -> Erasure:
        self._delete(task, f"{_TASKS}/{task.task_id}")
        return Erasure(ErasureOutcome.SCHEDULED, max(task.submitted_at + KEPT, datetime.now(UTC)))

    def _failure(self, problem: Problem) -> ProviderError:
        return failure(problem)


def build(request: Request, model: Model) -> Call:
    """Build the call: one that starts a task for a film, one that waits for a picture."""
    words = prompt_of(request, "ark")
    # The vendor's own default writes its name into every result.
    body: dict[str, Any] = {"model": model.id, "watermark": False} | numbers(request, "seed")
    if request.operation in FILMS:
        content: list[dict[str, Any]] = [{"type": "text", "text": words}]
        if request.input is not None:
            content.append({"type": "image_url", "image_url": {"url": data_uri(request)}, "role": "first_frame"})
        body |= {"content": content} | texts(request, "ratio", "resolution") | numbers(request, "duration")
        body |= report_to(request, "callback_url")
        return Call("POST", _TASKS, SUBMIT, json=body)
    body |= {"prompt": words, "response_format": "b64_json"} | texts(request, "size")
    if request.input is not None:
        body["image"] = data_uri(request)
    return Call("POST", "/images/generations", WORK, json=body)


def pictures(problem: Problem) -> list[Any]:
    """
    Return the pictures of an answer. One of several may be an error in its place; the others were paid for.

    Raises:
        ProviderError: All of them are errors.
    """
    listed = problem.document.at("data")
    entries = [entry for entry in (listed if isinstance(listed, list) else []) if isinstance(entry, dict)]
    found = [entry["b64_json"] for entry in entries if entry.get("b64_json")]
    if not found:
        errors = [problem.document.at("error"), *(entry.get("error") for entry in entries)]
        decided = by_error(problem, next((error for error in errors if error), None))
        raise decided or BadResult("The model at 'ark' made no picture.", charged=Charged.MAYBE)
    return found


def by_code(problem: Problem, code: str, words: str) -> ProviderError | None:
    """Explain a failure by its code, or say None if the code decides nothing."""
    if "SensitiveContentDetected" in code or "RiskDetection" in code:
        return problem.refused(Stage.OUTPUT if code.startswith("Output") else Stage.INPUT, words)
    family = code.partition(".")[0]
    if family == "AccountOverdueError":
        return problem.out_of_credit()
    if family in ("ModelNotOpen", "InvalidEndpointOrModel"):
        return problem.gone()
    if family in ("QuotaExceeded", "ServerOverloaded") or "RateLimitExceeded" in code:
        return problem.limited()
    if family in ("MissingParameter", "InvalidParameter"):
        return problem.invalid()
    return None


def by_error(problem: Problem, error: Any) -> ProviderError | None:
    """Explain a task that ended as failed, or a picture that was not made, or say None if its code decides nothing."""
    document = Document(error)
    return by_code(problem, document.text("code"), document.text("message"))


def failure(problem: Problem) -> ProviderError:
    """Explain an error: by its code, then by the status."""
    code = problem.document.text("error", "code")
    decided = by_code(problem, code, problem.document.text("error", "message"))
    if decided is not None:
        return decided
    if code == "InternalServiceError":
        return Transient(f"The provider 'ark' has a fault (HTTP {problem.status}){problem.trace}.")
    return problem.by_status()
