"""
Replicate: tasks of many makers' models, results at addresses that die after an hour.

Written from the vendor's SDK 1.0.7 and 2.0.0b4 and its page "Rate limits". Not verified: how a refusal of content is
worded (only the words tell it from a fault), the text of a 402, that a task which the limit of time has cancelled ends
after its `deadline`. A task cannot be deleted; the vendor removes input, output and logs of every call after one hour.
A lost call is not looked for in the vendor's list of calls: that shows inputs, other people's words among them, but
neither the address for reports nor anything else that we could mark, and two jobs may have the same input.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from providers.capabilities import (
    PICTURES,
    CancelSupport,
    Capabilities,
    EraseSupport,
    IdempotencySupport,
    Shape,
    WebhookSupport,
)
from providers.errors import BadResult, Cancelled, Phase, ProviderError, ResultExpired, Stage, Timeout
from providers.exchange import Done, Erasure, ErasureOutcome, Pending, Request, Task
from providers.hints import bounded
from providers.media import Blob, Document
from providers.models import Model
from providers.network import NetworkProvider, data_uri, prompt_of
from providers.problems import Problem
from providers.transport import ASK, SUBMIT, Call

KEPT: Final = timedelta(hours=1)
_RESETS: Final = re.compile(r"resets in ~?(\d+(?:\.\d+)?)\s*s")
_REFUSED: Final = re.compile(r"nsfw|flagged as sensitive|\(E005\)|safety|content policy", re.IGNORECASE)


class ReplicateProvider(NetworkProvider):
    """Edits and makes pictures with the model that is configured."""

    name: ClassVar[str] = "replicate"
    default_url: ClassVar[str] = "https://api.replicate.com/v1"
    credential_hosts: ClassVar[tuple[str, ...]] = ("replicate.com", "replicate.delivery")
    option_names: ClassVar[frozenset[str]] = frozenset({"aspect_ratio", "seed"})
    check_path: ClassVar[str | None] = "/account"
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=PICTURES,
        shape=Shape.TASK,
        network=True,
        charges=True,
        retention_note="Input, output and logs are removed after one hour.",
        max_image_bytes=5_000_000,
        result_lifetime=KEPT,
        cancel=CancelSupport.ANY,
        erase=EraseSupport.NONE,
        idempotency=IdempotencySupport.NONE,
        webhook=WebhookSupport.STANDARD,
        min_poll=timedelta(seconds=2),
    )

    def _headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"}

    def _submit(self, request: Request) -> Done | Pending:
        model = self._model(request)
        with self._reply(build(request, model)) as reply:
            task = self._task(reply.document().text("id"), model.id, result_lives=KEPT)
        return Pending(task, self.capabilities.min_poll)

    def _poll(self, task: Task) -> Done | Pending:
        problem = self._told(task, f"/predictions/{task.task_id}")
        document = problem.document
        match document.text("status"):
            case "starting" | "processing":
                return Pending(task, self.capabilities.min_poll)
            case "succeeded":
                if document.at("data_removed") is True:
                    raise ResultExpired("The provider 'replicate' has removed the result.")
                return self._fetched(outputs(document), show_credential=True)
            case "failed":
                raise failed(problem)
            case "canceled" if overdue(document):
                raise Timeout("The task was not finished at 'replicate' in time.", phase=Phase.POLL)
            case "canceled":
                raise Cancelled("The task was cancelled at 'replicate'.")
        raise BadResult("The provider 'replicate' reports a state that is not known.")

    def _cancel(self, task: Task) -> None:
        with self._reply(Call("POST", f"/predictions/{task.task_id}/cancel", ASK), base_url=task.base_url, task=True):
            pass

    def _erase(self, task: Task) -> Erasure:
        return Erasure(ErasureOutcome.SCHEDULED, max(task.submitted_at + KEPT, datetime.now(UTC)))

    def _failure(self, problem: Problem) -> ProviderError:
        return failure(problem)


def build(request: Request, model: Model) -> Call:
    """Build the call that starts a task."""
    given: dict[str, Any] = {"prompt": prompt_of(request, "replicate")}
    given |= {name: value for name, value in request.options.items() if name in ReplicateProvider.option_names}
    if "seed" in given and str(given["seed"]).isdigit():
        given["seed"] = int(given["seed"])
    if request.input is not None:
        given[model.image_field] = data_uri(request)
    # Whatever becomes of us, the vendor's meter stops.
    headers = {"cancel-after": "15m"}
    body: dict[str, Any] = {"version": model.id, "input": given}
    if request.webhook is not None:
        body |= {"webhook": request.webhook, "webhook_events_filter": ["completed"]}
    return Call("POST", "/predictions", SUBMIT, headers, json=body)


def overdue(document: Document) -> bool:
    """Say whether a cancelled task was cancelled by the vendor, because of the limit of time that it was given."""
    try:
        ended, latest = (datetime.fromisoformat(document.text(name)) for name in ("completed_at", "deadline"))
        return ended >= latest
    except (ValueError, TypeError):
        return False


def outputs(document: Document) -> list[Any]:
    """Return the addresses of the results; the shape is the model's own."""
    output = document.at("output")
    found = output if isinstance(output, list) else [output]
    return [each for each in found if isinstance(each, str | Blob) and each]


def failed(problem: Problem) -> ProviderError:
    """Explain a task that ended as failed. Content can only be told by the words."""
    words = problem.document.text("error")
    # What has run is billed by the second, however it ended.
    return problem.ended(problem.refused(Stage.OUTPUT, words) if _REFUSED.search(words) else None)


def failure(problem: Problem) -> ProviderError:
    """Explain an error."""
    if problem.status == 429:
        resets = _RESETS.search(problem.document.text("detail"))
        return problem.limited(bounded(float(resets[1])) if resets else None)
    if problem.status == 404 and not problem.task:
        return problem.gone()
    return problem.by_status()
