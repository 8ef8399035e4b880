"""
Alibaba's Model Studio (DashScope): films and pictures as tasks, results in the vendor's bucket for a day.

Written from the vendor's SDK 2.0.2 and its pages "Asynchronous task management API" and "FAQ" about pictures, which
says that only those that were made are billed (both 2026-03-15). Not verified: names of codes beside those of content,
debt and throttling, ids of models, how large a picture may be, that a film that failed costs nothing. The account's
address chooses the region, and a key belongs to one: https://dashscope.aliyuncs.com/api/v1 is in Beijing,
``https://<workspace>.eu-central-1.maas.aliyuncs.com/api/v1`` in Frankfurt. Models that answer in the call itself
(qwen-image) stand at another path and are not offered. An unknown task is a success with the state UNKNOWN, which is
asked for to show the credential. A lost call is not looked for in the list of tasks, which is asked by time, model and
state, and by nothing that we set.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from providers.capabilities import (
    CancelSupport,
    Capabilities,
    EraseSupport,
    IdempotencySupport,
    Operation,
    Shape,
)
from providers.errors import (
    AuthFailed,
    BadResult,
    Cancelled,
    Charged,
    InvalidRequest,
    ProviderError,
    Stage,
    TaskNotFound,
    Transient,
)
from providers.exchange import Done, Erasure, ErasureOutcome, Pending, Request, Task
from providers.media import Document
from providers.models import Model
from providers.network import NetworkProvider, data_uri, prompt_of
from providers.problems import Problem
from providers.transport import ASK, SUBMIT, Call
from providers.wishes import numbers, texts

KEPT: Final = timedelta(hours=24)
_RESULT_HOSTS: Final = ("aliyuncs.com",)
_MAKES_PICTURES: Final = re.compile(r"t2i|i2i|imageedit")
_PATHS: Final = {
    Operation.IMAGE_TO_VIDEO: "/services/aigc/video-generation/video-synthesis",
    Operation.TEXT_TO_VIDEO: "/services/aigc/video-generation/video-synthesis",
    Operation.EDIT_IMAGE: "/services/aigc/image2image/image-synthesis",
    Operation.REPLACE_BACKGROUND: "/services/aigc/image2image/image-synthesis",
    Operation.GENERATE_IMAGE: "/services/aigc/text2image/image-synthesis",
}


class DashScopeProvider(NetworkProvider):
    """Makes films from pictures and words, edits and makes pictures."""

    name: ClassVar[str] = "dashscope"
    default_url: ClassVar[str] = "https://dashscope-intl.aliyuncs.com/api/v1"
    credential_hosts: ClassVar[tuple[str, ...]] = (
        "dashscope-intl.aliyuncs.com",
        "dashscope.aliyuncs.com",
        "maas.aliyuncs.com",
    )
    result_hosts: ClassVar[tuple[str, ...]] = _RESULT_HOSTS
    option_names: ClassVar[frozenset[str]] = frozenset({"negative_prompt", "size", "resolution", "duration", "seed"})
    check_path: ClassVar[str | None] = "/tasks/00000000-0000-0000-0000-000000000000"
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=frozenset(_PATHS),
        shape=Shape.TASK,
        network=True,
        charges=True,
        retention_note="Tasks and results are removed after 24 hours.",
        max_image_bytes=7_500_000,
        result_lifetime=KEPT,
        cancel=CancelSupport.QUEUED,
        erase=EraseSupport.NONE,
        idempotency=IdempotencySupport.NONE,
        min_poll=timedelta(seconds=5),
        regions=("ap-southeast-1", "cn-beijing", "cn-hongkong", "ap-northeast-1", "us-east-1", "eu-central-1"),
    )

    def _headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"}

    def _submit(self, request: Request) -> Done | Pending:
        model = self._model(request)
        with self._reply(build(request, model)) as reply:
            task = self._task(reply.document().text("output", "task_id"), model.id, result_lives=KEPT)
        return Pending(task, self.capabilities.min_poll)

    def _poll(self, task: Task) -> Done | Pending:
        problem = self._told(task, f"/tasks/{task.task_id}")
        document = problem.document
        match document.text("output", "task_status"):
            case "PENDING" | "RUNNING" | "SUSPENDED":
                return Pending(task, self.capabilities.min_poll)
            case "SUCCEEDED":
                return self._fetched(outputs(problem))
            case "FAILED":
                raise failed(problem, "output", charged=charged(task))
            case "CANCELED":
                raise Cancelled("The task was cancelled at 'dashscope'.")
            case "UNKNOWN":
                # Never made, older than a day, or another account's; asking again would go on for ever.
                raise TaskNotFound("The provider 'dashscope' does not know the task.")
        raise BadResult("The provider 'dashscope' reports a state that is not known.")

    def _cancel(self, task: Task) -> None:
        try:
            call = Call("POST", f"/tasks/{task.task_id}/cancel", ASK)
            with self._reply(call, base_url=task.base_url, task=True):
                pass
        except InvalidRequest:
            # It has begun or ended already, and goes on.
            return

    def _erase(self, task: Task) -> Erasure:
        return Erasure(ErasureOutcome.SCHEDULED, max(task.submitted_at + KEPT, datetime.now(UTC)))

    def _failure(self, problem: Problem) -> ProviderError:
        return failure(problem)


def build(request: Request, model: Model) -> Call:
    """Build the call that starts a task."""
    assert request.operation is not None
    given: dict[str, Any] = {"prompt": prompt_of(request, "dashscope")} | texts(request, "negative_prompt")
    if request.input is not None:
        uri = data_uri(request)
        given[model.image_field] = [uri] if model.image_field == "images" else uri
    wishes: dict[str, Any] = {"watermark": False}
    wishes |= texts(request, "size", "resolution") | numbers(request, "duration", "seed")
    if request.operation not in (Operation.IMAGE_TO_VIDEO, Operation.TEXT_TO_VIDEO):
        wishes["n"] = 1
    body = {"model": model.id, "input": given, "parameters": wishes}
    return Call("POST", _PATHS[request.operation], SUBMIT, {"x-dashscope-async": "enable"}, json=body)


def outputs(problem: Problem) -> list[Any]:
    """
    Return the addresses of the results. One of several may hold an error in its place; the others were paid for.

    Raises:
        ProviderError: All of them hold errors.
    """
    document = problem.document
    film, listed = document.at("output", "video_url"), document.at("output", "results")
    entries = listed if isinstance(listed, list) else []
    found = [film, *(entry.get("url") for entry in entries if isinstance(entry, dict))]
    urls = [_over_tls(url) for url in found if url]
    if not urls and entries:
        raise failed(problem, "output", "results", 0)
    return urls


def _over_tls(url: Any) -> Any:
    """Ask the vendor's bucket over TLS, also where it is named without."""
    if isinstance(url, str) and url.startswith("http://"):
        host = urlsplit(url).hostname or ""
        if any(host.endswith(f".{suffix}") for suffix in _RESULT_HOSTS):
            return f"https://{url.removeprefix('http://')}"
    return url


def by_code(problem: Problem, code: str, words: str) -> ProviderError | None:
    """Explain a failure by its code, or say None if the code decides nothing."""
    family = code.partition(".")[0]
    if family.lower().replace("_", "") == "datainspectionfailed":
        return problem.refused(Stage.OUTPUT if "output" in words.lower() else Stage.INPUT, words)
    match family:
        case "Arrearage":
            return problem.out_of_credit()
        case "Throttling":
            return problem.limited()
        case "ModelNotFound" | "Model":
            return problem.gone()
        case "InvalidApiKey":
            return AuthFailed("The provider 'dashscope' does not accept the credential; keys belong to one region.")
        case "InvalidURL":
            return problem.invalid("input")
        case "InvalidParameter":
            return problem.invalid()
    return None


def charged(task: Task) -> Charged:
    """Say what a task has cost that ended as failed: what the vendor promises of pictures, it does not of films."""
    return Charged.NO if _MAKES_PICTURES.search(task.model) else Charged.MAYBE


def failed(problem: Problem, *path: str | int, charged: Charged = Charged.MAYBE) -> ProviderError:
    """Explain a task that ended as failed, or one of its results."""
    document = Document(problem.document.at(*path))
    return problem.ended(by_code(problem, document.text("code"), document.text("message")), charged)


def failure(problem: Problem) -> ProviderError:
    """Explain an error: by its code, then by the status."""
    code = problem.document.text("code")
    decided = by_code(problem, code, problem.document.text("message"))
    if decided is not None:
        return decided
    if code.startswith(("InternalError", "ServiceUnavailable")):
        return Transient(f"The provider 'dashscope' has a fault (HTTP {problem.status}){problem.trace}.")
    return problem.by_status()
