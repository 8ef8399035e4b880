"""
Luma's Dream Machine: films and pictures from words, as tasks, results at addresses of a public network.

Written from the vendor's SDK 1.21.0 and its pages "Error handling", "Callbacks & Credits Balance" and "FAQ", which says
that a generation that fails is paid back. What starts from a picture is left out on purpose: the API takes pictures by
address only, so an upload would have to lie, in clear, at an address that anybody can read. Not verified: how a refusal
is worded where no code comes with it, how long an address lives, what is kept of a generation until it is deleted.
Callbacks are not signed.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from providers.capabilities import Capabilities, EraseSupport, IdempotencySupport, Operation, Shape, WebhookSupport
from providers.errors import BadResult, Charged, ProviderError, Stage
from providers.exchange import Done, Erasure, ErasureOutcome, Pending, Request, Task
from providers.models import Model
from providers.network import NetworkProvider, prompt_of
from providers.problems import Problem
from providers.transport import SUBMIT, Call
from providers.wishes import report_to, texts

_REFUSED: Final = re.compile(r"moderat|content policy|nsfw|blacklisted", re.IGNORECASE)


class LumaProvider(NetworkProvider):
    """Makes films and pictures from words."""

    name: ClassVar[str] = "luma"
    default_url: ClassVar[str] = "https://api.lumalabs.ai/dream-machine/v1"
    credential_hosts: ClassVar[tuple[str, ...]] = ("api.lumalabs.ai",)
    result_hosts: ClassVar[tuple[str, ...]] = ("cdn-luma.com",)
    option_names: ClassVar[frozenset[str]] = frozenset({"aspect_ratio", "duration", "resolution"})
    check_path: ClassVar[str | None] = "/credits"
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=frozenset({Operation.GENERATE_IMAGE, Operation.TEXT_TO_VIDEO}),
        shape=Shape.TASK,
        network=True,
        charges=True,
        retention_note="A generation is kept until it is deleted, which is asked for after collecting.",
        erase=EraseSupport.TASK,
        idempotency=IdempotencySupport.NONE,
        webhook=WebhookSupport.UNSIGNED,
        min_poll=timedelta(seconds=3),
    )

    def _headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"}

    def _submit(self, request: Request) -> Done | Pending:
        model = self._model(request)
        with self._reply(build(request, model)) as reply:
            task = self._task(reply.document().text("id"), model.id)
        return Pending(task, self.capabilities.min_poll)

    def _poll(self, task: Task) -> Done | Pending:
        problem = self._told(task, f"/generations/{task.task_id}")
        document = problem.document
        match document.text("state"):
            case "queued" | "dreaming":
                return Pending(task, self.capabilities.min_poll)
            case "completed":
                # A film comes with a picture of its beginning, which nobody asked for.
                made = document.at("assets", "video") or document.at("assets", "image")
                return self._fetched([made] if made else [])
            case "failed":
                raise failed(problem)
        raise BadResult("The provider 'luma' reports a state that is not known.")

    def _erase(self, task: Task) -> Erasure:
        self._delete(task, f"/generations/{task.task_id}")
        return Erasure(ErasureOutcome.ERASED, datetime.now(UTC))

    def _failure(self, problem: Problem) -> ProviderError:
        return failure(problem)


def build(request: Request, model: Model) -> Call:
    """Build the call that starts a task."""
    body: dict[str, Any] = {"model": model.id, "prompt": prompt_of(request, "luma")}
    body |= texts(request, "aspect_ratio") | report_to(request, "callback_url")
    if request.operation is Operation.GENERATE_IMAGE:
        return Call("POST", "/generations/image", SUBMIT, json=body | {"format": "png"})
    return Call("POST", "/generations/video", SUBMIT, json=body | texts(request, "duration", "resolution"))


def by_code(problem: Problem, code: str, stage: Stage) -> ProviderError | None:
    """Explain a failure by its code, or say None if the code decides nothing."""
    match code:
        case "content_moderated":
            return problem.refused(stage)
        case "budget_exhausted":
            return problem.out_of_credit()
        case "image_too_large" | "unsupported_format" | "corrupt_input":
            return problem.invalid("input")
        case "invalid_request":
            return problem.invalid()
    return None


def failed(problem: Problem) -> ProviderError:
    """Explain a task that ended as failed: by its code, where one came, else by the words."""
    words = problem.document.text("failure_reason")
    decided = by_code(problem, problem.document.text("failure_code"), Stage.OUTPUT)
    if decided is None and _REFUSED.search(words):
        decided = problem.refused(Stage.OUTPUT, words)
    # What was charged in advance is paid back in full, whatever the reason.
    return problem.ended(decided, Charged.NO)


def failure(problem: Problem) -> ProviderError:
    """Explain an error: by its code, where one came, then by the words, then by the status."""
    body = problem.document
    decided = by_code(problem, body.text("failure_code"), Stage.INPUT)
    if decided is not None:
        return decided
    words = body.text("detail") or body.text("detail", 0, "msg")
    if problem.status in (400, 403, 422) and _REFUSED.search(words):
        return problem.refused(Stage.INPUT, words)
    if problem.status == 400 and "insufficient credits" in words.lower():
        return problem.out_of_credit()
    return problem.by_status()
