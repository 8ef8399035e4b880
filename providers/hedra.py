"""
Hedra: a gateway to many makers' models, with tasks, errors that say what to do, and repetitions that are recognised.

Written from the vendor's SDK 7.0.0 (its API 3.20.0; the package ``hedra`` is somebody else's). A picture is uploaded
first: the address it gets is taken for one hour, and what lies there is deleted after about a day, which nobody can
hasten. Not verified: on which hosts results lie, when they expire, whether a repetition is still recognised when the
picture was uploaded anew (if not, it is refused, not charged), whether a key of narrow scope may ask for the balance,
by which the credential is checked. Reports are signed with Ed25519; how the signed text is laid out is known from one
other reader of the vendor's pages. Neither a task nor its results can be deleted, nor can a task be cancelled.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar, Final

from providers.capabilities import (
    FILMS,
    PICTURES,
    Capabilities,
    EraseSupport,
    IdempotencySupport,
    Shape,
    WebhookSupport,
)
from providers.errors import (
    AuthFailed,
    BadResult,
    Cancelled,
    Charged,
    ModelGone,
    OutcomeUnknown,
    Phase,
    ProviderError,
    ResultExpired,
    Stage,
    TaskNotFound,
    Timeout,
    Transient,
)
from providers.exchange import Done, Pending, Request, Task
from providers.hints import bounded
from providers.media import Document
from providers.models import Model
from providers.network import NetworkProvider, picture, prompt_of
from providers.problems import Problem
from providers.transport import SUBMIT, Call
from providers.wishes import number, numbers, report_to, shape, short, texts

_UPLOAD: Final = replace(SUBMIT, paid=False)
_LONGEST_PROMPT: Final = 2500
_SHAPES: Final = ("16:9", "9:16", "1:1")
_MODEL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_FIELDS: Final = {"prompt": "prompt", "start_image": "input", "images": "input", "image": "input"}


class HedraProvider(NetworkProvider):
    """Makes films and pictures from pictures and words, with the model that is configured."""

    name: ClassVar[str] = "hedra"
    default_url: ClassVar[str] = "https://api.hedra.com/v3"
    credential_hosts: ClassVar[tuple[str, ...]] = ("api.hedra.com",)
    result_hosts: ClassVar[tuple[str, ...]] = (
        "hedra.com",
        "amazonaws.com",
        "cloudfront.net",
        "r2.cloudflarestorage.com",
    )
    option_names: ClassVar[frozenset[str]] = frozenset({"aspect_ratio", "resolution", "duration_ms", "seed"})
    check_path: ClassVar[str | None] = "/balance"
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=PICTURES | FILMS,
        shape=Shape.TASK,
        network=True,
        charges=True,
        retention_note="An uploaded picture is deleted after about a day; results expire, when is not published.",
        max_image_bytes=10_400_000,
        erase=EraseSupport.NONE,
        idempotency=IdempotencySupport.KEY,
        webhook=WebhookSupport.HEDRA,
        min_poll=timedelta(seconds=3),
    )

    def _headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"}

    def _submit(self, request: Request) -> Done | Pending:
        model = self._model(request)
        # Refused before anything is uploaded, if it is to be refused.
        call = build(request, model, "")
        self.sink  # noqa: B018  what could not be kept is not bought
        if request.input is not None:
            call = build(request, model, self._uploaded(request))
        with self._reply(call) as reply:
            task = self._task(reply.document().text("job_id"), model.id)
        return Pending(task, self.capabilities.min_poll)

    def _uploaded(self, request: Request) -> str:
        assert request.input is not None
        file = ("file", ("image", picture(request), request.input.media_type))
        with self._reply(Call("POST", "/files", _UPLOAD, files=(file,))) as reply:
            url = reply.document().text("url")
        if not url:
            raise Transient("The provider 'hedra' took the picture without saying where it lies; nothing was charged.")
        return url

    def _poll(self, task: Task) -> Done | Pending:
        problem = self._told(task, f"/jobs/{task.task_id}")
        document = problem.document
        match document.text("status"):
            case "IN_QUEUE" | "IN_PROGRESS":
                return Pending(task, self.capabilities.min_poll)
            case "COMPLETED":
                return self._fetched(outputs(problem))
            case "FAILED":
                raise failed(problem, document.at("error"))
        raise BadResult("The provider 'hedra' reports a state that is not known.")

    def _failure(self, problem: Problem) -> ProviderError:
        return failure(problem)


def build(request: Request, model: Model, uploaded: str) -> Call:
    """Build the call that starts a task from a picture at the address *uploaded*, or from words alone."""
    given: dict[str, Any] = {"prompt": short(prompt_of(request, "hedra"), _LONGEST_PROMPT, "hedra")}
    given["aspect_ratio"] = shape(request, _SHAPES)
    if request.operation in FILMS:
        given["duration_ms"] = number(request, "duration_ms", 5000)
    else:
        given["resolution"] = "1K"
    given |= texts(request, "aspect_ratio", "resolution") | numbers(request, "seed")
    if request.input is not None:
        # Verbatim: an address that was changed is not recognised as the upload's.
        source = {"source": "url", "url": uploaded}
        given[model.image_field] = [source] if model.image_field == "images" else source
    headers = {"idempotency-key": request.idempotency_key}
    return Call("POST", f"/models/{model.id}", SUBMIT, headers, json={"input": given} | report_to(request, "webhook"))


def outputs(problem: Problem) -> list[Any]:
    """
    Return the addresses of the results. One of several may have failed; the others were paid for.

    Raises:
        ProviderError: None can be fetched.
    """
    listed = problem.document.at("outputs")
    entries = [entry for entry in (listed if isinstance(listed, list) else []) if isinstance(entry, dict)]
    urls = [entry["url"] for entry in entries if entry.get("url") and entry.get("status") in ("COMPLETED", None)]
    if not urls and entries:
        if any(entry.get("status") == "EXPIRED" for entry in entries):
            raise ResultExpired("The provider 'hedra' does not keep the result any more.")
        raise failed(problem, entries[0].get("error"))
    return urls


def by_code(problem: Problem, error: Document, *, ended: bool) -> ProviderError | None:
    """Explain an error by its code, or say None if the code decides nothing; *ended* tasks may have been charged."""
    match error.text("code"):
        case "MODERATION_FAILED":
            return problem.refused(Stage.OUTPUT if ended else Stage.INPUT)
        case "INSUFFICIENT_BALANCE":
            return problem.out_of_credit()
        case "RESOURCE_EXHAUSTED":
            wait = error.at("retry_after")
            return problem.limited(bounded(wait) if isinstance(wait, int | float) else None)
        case "INVALID_ARGUMENT" | "FAILED_PRECONDITION":
            return problem.invalid(_FIELDS.get(error.text("param").partition(".")[0]))
        case "GONE":
            successor = error.text("replaced_by")
            known = successor if _MODEL_NAME.fullmatch(successor) else None
            use = f"; use {known!r}" if known else ""
            return ModelGone(
                f"The provider 'hedra' does not offer the configured model any more{use}.", replaced_by=known
            )
        case "NOT_FOUND":
            return TaskNotFound("The provider 'hedra' does not know the task.") if problem.task else problem.gone()
        case "UNAUTHORIZED" | "PERMISSION_DENIED":
            return AuthFailed("The provider 'hedra' does not accept the credential.")
        case "ALREADY_EXISTS" | "ALREADY_IN_PROGRESS":
            return OutcomeUnknown("The provider 'hedra' has had this call before, and does not say what became of it.")
        case "CANCELLED":
            return Cancelled("The task was cancelled at 'hedra'.")
        case "DEADLINE_EXCEEDED":
            return Timeout("The model at 'hedra' took longer than it may.", phase=Phase.POLL if ended else Phase.SUBMIT)
    return None


def failed(problem: Problem, error: Any) -> ProviderError:
    """Explain a task that ended as failed, or one of its results."""
    # The answer names the net cost once there is one: nothing, where all was paid back. Of a task that the vendor does
    # not call failed, that may still be to come.
    charged = Charged.by_cost(problem.document.at("cost"))
    if charged is Charged.NO and problem.document.text("status") != "FAILED":
        charged = Charged.MAYBE
    return problem.ended(by_code(problem, Document(error), ended=True), charged)


def failure(problem: Problem) -> ProviderError:
    """Explain an error: by its code, then by the status."""
    return by_code(problem, Document(problem.document.at("error")), ended=False) or problem.by_status()
