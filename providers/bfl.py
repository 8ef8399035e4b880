"""
Black Forest Labs: FLUX models as tasks, results at signed addresses that live ten minutes.

Written from the vendor's SDK 0.1.3, its pages "Errors" and "API Endpoints Overview", and two other adapters. Not
verified: the ten minutes, what is kept, whether a task that failed is charged; the call for the credits, by which the
credential is checked, is known from other people's calls. A call may bring a secret by which its report is signed, but
the vendor's own description of the signature was not found, and a wrong guess would refuse every report: none is sent.
The account's address chooses the region: https://api.eu.bfl.ai keeps the data in Europe.
"""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any, ClassVar, Final

from providers.capabilities import PICTURES, Capabilities, EraseSupport, IdempotencySupport, Shape, WebhookSupport
from providers.errors import BadResult, ProviderError, Stage, TaskNotFound
from providers.exchange import Done, Pending, Request, Task
from providers.models import Model
from providers.network import NetworkProvider, picture, prompt_of
from providers.problems import Problem
from providers.transport import SUBMIT, Call
from providers.wishes import report_to

KEPT: Final = timedelta(minutes=10)


class BflProvider(NetworkProvider):
    """Edits and makes pictures."""

    name: ClassVar[str] = "bfl"
    default_url: ClassVar[str] = "https://api.bfl.ai"
    credential_hosts: ClassVar[tuple[str, ...]] = ("bfl.ai",)
    option_names: ClassVar[frozenset[str]] = frozenset({"aspect_ratio", "seed", "safety_tolerance"})
    check_path: ClassVar[str | None] = "/v1/credits"
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=PICTURES,
        shape=Shape.TASK,
        network=True,
        charges=True,
        retention_note="A result can be fetched for ten minutes; what else is kept could not be verified.",
        max_image_bytes=15_000_000,
        result_lifetime=KEPT,
        erase=EraseSupport.NONE,
        idempotency=IdempotencySupport.NONE,
        webhook=WebhookSupport.UNSIGNED,
        min_poll=timedelta(seconds=1),
        regions=("global", "eu", "us"),
    )

    def _headers(self, key: str) -> dict[str, str]:
        return {"x-key": key}

    def _submit(self, request: Request) -> Done | Pending:
        model = self._model(request)
        with self._reply(build(request, model)) as reply:
            document = reply.document()
        url = document.text("polling_url") or None
        task = self._task(document.text("id"), model.id, url, result_lives=KEPT)
        return Pending(task, self.capabilities.min_poll)

    def _poll(self, task: Task) -> Done | Pending:
        # A task lives on one cluster, and only the address that came with it says on which.
        url = task.poll_url or f"/v1/get_result?id={task.task_id}"
        if task.poll_url is not None and "id=" not in task.poll_url:
            url += f"{'&' if '?' in url else '?'}id={task.task_id}"
        problem = self._told(task, url)
        document = problem.document
        match document.text("status"):
            case "Pending" | "Queued" | "Processing":
                return Pending(task, self.capabilities.min_poll)
            case "Ready":
                return self._fetched([document.at("result", "sample")], media="image/")
            case "Request Moderated":
                raise problem.refused(Stage.INPUT)
            case "Content Moderated":
                raise problem.refused(Stage.OUTPUT)
            case "Task not found":
                raise TaskNotFound("The provider 'bfl' does not know the task.")
            case "Error" | "Failed":
                raise problem.ended()
        raise BadResult("The provider 'bfl' reports a state that is not known.")

    def _failure(self, problem: Problem) -> ProviderError:
        if problem.status == 404 and not problem.task:
            return problem.gone()
        return problem.by_status()


def build(request: Request, model: Model) -> Call:
    """Build the call that starts a task."""
    body: dict[str, Any] = {"prompt": prompt_of(request, "bfl"), "output_format": "png"}
    for name, value in request.options.items():
        if name in BflProvider.option_names:
            body[name] = int(value) if value.isdigit() else value
    if request.input is not None:
        body[model.image_field] = base64.b64encode(picture(request)).decode()
    body |= report_to(request, "webhook_url")
    return Call("POST", f"/v1/{model.id}", SUBMIT, json=body)
