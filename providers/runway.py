"""
Runway: films and pictures as tasks, results at signed addresses, and a call that deletes a task with its results.

Written from the vendor's SDK 5.24.0 and its pages "HTTP Errors", "Handle Task Failures", "API Input Parameters" and
"API Output Formats". Not verified: how an empty account is worded (only words tell it from a wrong request), some
failure codes, a region. Results lie on the vendor's distribution of a public network, whose host it does not promise.
The vendor's own client repeats the submit; this one does not, because there is nothing to recognise a repetition by.
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
    Operation,
    Shape,
)
from providers.errors import BadResult, Cancelled, Charged, ProviderError, Stage
from providers.exchange import Done, Erasure, ErasureOutcome, Pending, Request, Task
from providers.models import Model
from providers.network import NetworkProvider, data_uri, prompt_of
from providers.problems import Problem
from providers.transport import SUBMIT, Call
from providers.wishes import number, numbers, shape, short, texts

KEPT: Final = timedelta(hours=24)
_VERSION: Final = "2024-11-06"
_LONGEST_PROMPT: Final = 1000
_FILM_SHAPES: Final = ("1280:720", "720:1280", "1104:832", "960:960", "832:1104", "1584:672")
_PICTURE_SHAPES: Final = (
    "1024:1024", "1168:880", "1360:768", "1440:1080", "1080:1440", "1808:768", "1920:1080", "1080:1920", "2112:912",
)  # fmt: skip


class RunwayProvider(NetworkProvider):
    """Makes films from pictures and words, and pictures from both."""

    name: ClassVar[str] = "runway"
    default_url: ClassVar[str] = "https://api.dev.runwayml.com"
    credential_hosts: ClassVar[tuple[str, ...]] = ("api.dev.runwayml.com",)
    result_hosts: ClassVar[tuple[str, ...]] = ("cloudfront.net", "runwayml.com")
    option_names: ClassVar[frozenset[str]] = frozenset({"ratio", "duration", "seed"})
    check_path: ClassVar[str | None] = "/v1/organization"
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=PICTURES | FILMS,
        shape=Shape.TASK,
        network=True,
        charges=True,
        retention_note="A task and its results are kept until they are deleted, which is asked for after collecting.",
        # Five megabytes as a data URI, which is a third longer than what it holds.
        max_image_bytes=3_700_000,
        result_lifetime=KEPT,
        cancel=CancelSupport.ANY,
        erase=EraseSupport.TASK,
        idempotency=IdempotencySupport.NONE,
        min_poll=timedelta(seconds=5),
    )

    def _headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}", "x-runway-version": _VERSION}

    def _submit(self, request: Request) -> Done | Pending:
        model = self._model(request)
        with self._reply(build(request, model)) as reply:
            task = self._task(reply.document().text("id"), model.id)
        return Pending(task, self.capabilities.min_poll)

    def _poll(self, task: Task) -> Done | Pending:
        problem = self._told(task, f"/v1/tasks/{task.task_id}")
        document = problem.document
        match document.text("status"):
            case "PENDING" | "THROTTLED" | "RUNNING":
                return Pending(task, self.capabilities.min_poll)
            case "SUCCEEDED":
                found = document.at("output")
                # An address that has died is exchanged for a fresh one by the next poll.
                return self._fetched(found if isinstance(found, list) else [])
            case "FAILED":
                raise failed(problem)
            case "CANCELLED":
                raise Cancelled("The task was cancelled at 'runway'.", charged=charged(problem))
        raise BadResult("The provider 'runway' reports a state that is not known.")

    def _cancel(self, task: Task) -> None:
        self._erase(task)

    def _erase(self, task: Task) -> Erasure:
        self._delete(task, f"/v1/tasks/{task.task_id}")
        return Erasure(ErasureOutcome.ERASED, datetime.now(UTC))

    def _failure(self, problem: Problem) -> ProviderError:
        return failure(problem)


def build(request: Request, model: Model) -> Call:
    """Build the call that starts a task."""
    body: dict[str, Any] = {
        "model": model.id,
        "promptText": short(prompt_of(request, "runway"), _LONGEST_PROMPT, "runway"),
    }
    match request.operation:
        case Operation.IMAGE_TO_VIDEO:
            path = "image_to_video"
            body |= {
                "ratio": shape(request, _FILM_SHAPES),
                "duration": number(request, "duration", 5),
                "promptImage": data_uri(request),
            }
        case Operation.TEXT_TO_VIDEO:
            path = "text_to_video"
            body |= {"ratio": _FILM_SHAPES[0], "duration": number(request, "duration", 5)}
        case _:
            path = "text_to_image"
            body["ratio"] = shape(request, _PICTURE_SHAPES)
            if request.input is not None:
                body["referenceImages"] = [{"uri": data_uri(request)}]
    body |= texts(request, "ratio") | numbers(request, "seed")
    return Call("POST", f"/v1/{path}", SUBMIT, json=body)


def charged(problem: Problem) -> Charged:
    """Read what an ended task has cost: what was paid back in full costs nothing."""
    return Charged.by_cost(problem.document.at("cost", "credits"))


def failed(problem: Problem) -> ProviderError:
    """Explain a task that ended as failed, by its code."""
    code, cost = problem.document.text("failureCode"), charged(problem)
    if "SAFETY" in code.split("."):
        stage = Stage.OUTPUT if ".OUTPUT" in code else Stage.INPUT
        return problem.refused(stage, problem.document.text("failure"), cost)
    if code.startswith("ASSET."):
        return problem.invalid("input")
    return problem.ended(charged=cost)


def failure(problem: Problem) -> ProviderError:
    """Explain an error."""
    if problem.status == 400 and "enough credits" in problem.document.text("error").lower():
        return problem.out_of_credit()
    return problem.by_status()
