"""
Stability AI, v2beta: bytes at once, and one operation with a task whose result the same API gives.

Written from the vendor's OpenAPI document (v2beta). Not verified: the name of the error for an empty account, what is
kept of inputs and outputs, a host in Europe; the balance by which the credential is checked is of the API's version 1,
and known from other people's calls.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, Final

from providers.capabilities import Capabilities, EraseSupport, IdempotencySupport, Operation, Shape
from providers.errors import BadResult, ProviderError, Stage, TaskNotFound
from providers.exchange import Done, Pending, Request, SealedResult, Task
from providers.media import Document
from providers.network import NetworkProvider, picture, prompt_of
from providers.problems import Problem
from providers.replies import Reply, seal
from providers.transport import ASK, SUBMIT, WORK, Call

KEPT: Final = timedelta(hours=24)
_PAUSE: Final = timedelta(seconds=60)
"""More than 150 requests in ten seconds shut an account out for this long; no header says so."""

_REFUSED_NAMES: Final = frozenset({"content_moderation", "public_figure"})
_IMAGES: Final = "/v2beta/stable-image"
_RELIGHT: Final = f"{_IMAGES}/edit/replace-background-and-relight"


class StabilityProvider(NetworkProvider):
    """Cuts out, replaces backgrounds, makes and enlarges pictures."""

    name: ClassVar[str] = "stability"
    default_url: ClassVar[str] = "https://api.stability.ai"
    credential_hosts: ClassVar[tuple[str, ...]] = ("api.stability.ai",)
    option_names: ClassVar[frozenset[str]] = frozenset(
        {"negative_prompt", "seed", "aspect_ratio", "style_preset", "search_prompt"}
    )
    check_path: ClassVar[str | None] = "/v1/user/balance"
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=frozenset(
            {
                Operation.EDIT_IMAGE,
                Operation.GENERATE_IMAGE,
                Operation.REMOVE_BACKGROUND,
                Operation.REPLACE_BACKGROUND,
                Operation.UPSCALE,
            }
        ),
        shape=Shape.TASK,
        network=True,
        charges=True,
        retention_note="Results of tasks are kept for 24 hours; what is kept of the rest is not published.",
        # The whole request may have 10 MiB.
        max_image_bytes=10_000_000,
        max_request_bytes=10 << 20,
        result_lifetime=KEPT,
        erase=EraseSupport.NONE,
        idempotency=IdempotencySupport.NONE,
        min_poll=timedelta(seconds=10),
    )

    def _headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"}

    def _submit(self, request: Request) -> Done | Pending:
        call = build(request)
        with self._reply(call) as reply:
            if call.limits is SUBMIT:
                task = self._task(reply.document().text("id"), "replace-background-and-relight", result_lives=KEPT)
                return Pending(task, self.capabilities.min_poll)
            return self._picture(reply)

    def _poll(self, task: Task) -> Done | Pending:
        call = Call("GET", f"/v2beta/results/{task.task_id}", ASK, {"accept": "image/*"})
        with self._reply(call, base_url=task.base_url, task=True) as reply, self._kept():
            if reply.status == 202:
                return Pending(task, self.capabilities.min_poll)
            return self._picture(reply)

    def _picture(self, reply: Reply) -> Done:
        # A refused result comes as a success, blurred; only this header tells.
        reason = reply.headers.get("finish-reason", "").upper()
        if reason == "CONTENT_FILTERED":
            raise Problem(self.name, reply.status, reply.headers, Document(None)).refused(Stage.OUTPUT)
        if reason not in ("", "SUCCESS"):
            raise BadResult("The provider 'stability' ended for a reason that is not known.")
        ref, media_type = seal(reply.stream(), self.sink, media="image/")
        return Done((SealedResult(ref, media_type),))

    def _failure(self, problem: Problem) -> ProviderError:
        return failure(problem)


def build(request: Request) -> Call:
    """Build the call for a request. The API takes multipart bodies only, also where there is no file."""
    fields = {name: value for name, value in request.options.items() if name in StabilityProvider.option_names}
    fields["output_format"] = "png"
    content = ("image.png", b"" if request.input is None else picture(request), "image/png")
    image = (("image", content),)
    match request.operation:
        case Operation.REMOVE_BACKGROUND:
            path = f"{_IMAGES}/edit/remove-background"
        case Operation.UPSCALE:
            path = f"{_IMAGES}/upscale/fast"
        case Operation.REPLACE_BACKGROUND:
            fields["background_prompt"] = request.background or prompt_of(request, "stability")
            image = (("subject_image", content),)
            return Call("POST", _RELIGHT, SUBMIT, {"accept": "application/json"}, form=fields, files=image)
        case Operation.EDIT_IMAGE:
            fields["prompt"] = prompt_of(request, "stability")
            # With a search prompt one thing is exchanged, without one the whole picture follows the words.
            path = f"{_IMAGES}/{'edit/search-and-replace' if 'search_prompt' in fields else 'control/structure'}"
        case _:
            fields["prompt"] = prompt_of(request, "stability")
            path = f"{_IMAGES}/generate/core"
            image = (("none", ("", b"", "application/octet-stream")),)
    return Call("POST", path, WORK, {"accept": "image/*"}, form=fields, files=image)


def failure(problem: Problem) -> ProviderError:
    """Explain an error."""
    name = problem.document.text("name")
    if name in _REFUSED_NAMES or (problem.status == 403 and not name):
        return problem.refused(Stage.INPUT, name)
    if name == "payment_required":
        return problem.out_of_credit()
    if problem.status == 429:
        return problem.limited(_PAUSE)
    if problem.status == 404 and problem.task:
        return TaskNotFound("The provider 'stability' does not know the task: it expired, or another key made it.")
    if name == "invalid_language":
        return problem.invalid("prompt")
    if problem.status == 413:
        return problem.invalid("input")
    return problem.by_status()
