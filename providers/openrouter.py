"""
OpenRouter: one call that works while we wait and answers base64; the picture is made by another company behind it.

Written from the vendor's SDK 1.3.84 and its pages "Image Generation" and "Errors and Debugging". Not verified: the
names in the metadata of a 403, the wording when no company meets the demands, whether an error after the start is
charged. SDK 1.3.84 has no field for ``data_collection`` and ``zdr``, which the vendor's reference of the same call
lists: they go with every call, so that no company behind it may train on a picture or keep it. The route for chats is
not used.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Final

from providers.capabilities import Capabilities, EraseSupport, IdempotencySupport, Operation, Shape
from providers.errors import Charged, OutcomeUnknown, ProviderError, Stage, Transient
from providers.exchange import Done, Pending, Request
from providers.media import Document
from providers.network import NetworkProvider, data_uri, prompt_of
from providers.problems import Problem
from providers.transport import WORK, Call

_REFUSAL_NAMES: Final = ("reasons", "flagged_input")
ROUTING: Final = {"allow_fallbacks": False, "data_collection": "deny", "zdr": True}
"""Only companies that keep nothing, and of those the first alone: otherwise each call may go to another."""


class OpenRouterProvider(NetworkProvider):
    """Edits and makes pictures with models of many makers."""

    name: ClassVar[str] = "openrouter"
    default_url: ClassVar[str] = "https://openrouter.ai/api/v1"
    credential_hosts: ClassVar[tuple[str, ...]] = ("openrouter.ai",)
    option_names: ClassVar[frozenset[str]] = frozenset({"aspect_ratio", "resolution", "size", "quality", "seed"})
    check_path: ClassVar[str | None] = "/key"
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=frozenset({Operation.EDIT_IMAGE, Operation.GENERATE_IMAGE, Operation.REPLACE_BACKGROUND}),
        shape=Shape.SYNC,
        network=True,
        charges=True,
        retention_note="Told to use only companies that keep nothing and train on nothing; which one is its choice.",
        max_image_bytes=15_000_000,
        erase=EraseSupport.NONE,
        idempotency=IdempotencySupport.NONE,
    )

    def _headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"}

    def _submit(self, request: Request) -> Done | Pending:
        with self._reply(build(request, self._model(request).id)) as reply:
            document = reply.document()
            if isinstance(document.at("error"), dict):
                raise late(Problem(self.name, reply.status, reply.headers, document))
            return self._sealed(pictures(document))

    def _failure(self, problem: Problem) -> ProviderError:
        return failure(problem)


def build(request: Request, model: str) -> Call:
    """Build the call for a request."""
    body: dict[str, Any] = {"model": model, "prompt": prompt_of(request, "openrouter"), "provider": ROUTING}
    for name, value in request.options.items():
        if name in OpenRouterProvider.option_names:
            body[name] = int(value) if name == "seed" and value.isdigit() else value
    if request.input is not None:
        body["input_references"] = [{"type": "image_url", "image_url": {"url": data_uri(request)}}]
    return Call("POST", "/images", WORK, json=body)


def pictures(document: Document) -> list[object]:
    """Return the pictures of a success."""
    data = document.at("data")
    return [entry.get("b64_json") if isinstance(entry, dict) else None for entry in data] if data else []


def late(problem: Problem) -> ProviderError:
    """Explain an error inside a success: once the model has started, the status is 200 whatever comes."""
    code = problem.document.at("error", "code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 502
    decided = failure(replace(problem, status=status))
    if isinstance(decided, Transient):
        # The model ran, so that nobody can say that nothing was charged.
        return OutcomeUnknown(f"The model at 'openrouter' broke off{problem.trace}.", charged=Charged.MAYBE)
    return decided


def failure(problem: Problem) -> ProviderError:
    """Explain an error."""
    metadata = problem.document.at("error", "metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    if any(name in metadata for name in _REFUSAL_NAMES):
        reasons = metadata.get("reasons")
        words = " ".join(str(each) for each in reasons) if isinstance(reasons, list) else ""
        return problem.refused(Stage.INPUT, words)
    if problem.status == 402 and metadata.get("limit_source") == "openrouter_in_flight_budget":
        # Money is set aside for calls under way, and comes back when they end.
        return problem.limited()
    if problem.status == 404:
        if "data policy" in problem.document.text("error", "message").lower():
            return problem.invalid("model")
        return problem.gone()
    if problem.status == 524:
        return OutcomeUnknown("A gateway of 'openrouter' gave up waiting (HTTP 524); the call may have been charged.")
    return problem.by_status()
