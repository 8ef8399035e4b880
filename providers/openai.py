"""
OpenAI's image models: one call that works while we wait and answers base64.

Written from the vendor's SDK 3.54.0, its OpenAPI document 2.3.0 and its guide "Your data". Not verified: the host names
of regional projects. There is no idempotency header: a lost answer is never asked for again.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

from providers.capabilities import Capabilities, EraseSupport, IdempotencySupport, Operation, Shape
from providers.errors import Charged, OutcomeUnknown, ProviderError, Stage, Transient
from providers.exchange import Done, Pending, Request
from providers.media import Document
from providers.network import NetworkProvider, picture, prompt_of
from providers.problems import Problem
from providers.transport import WORK, Call

_FIELDS: Final = frozenset({"image", "mask", "prompt", "size", "quality", "background", "output_format", "n"})
_REFUSALS: Final = frozenset({"moderation_blocked", "content_policy_violation"})


class OpenAIProvider(NetworkProvider):
    """Edits and makes pictures."""

    name: ClassVar[str] = "openai"
    default_url: ClassVar[str] = "https://api.openai.com/v1"
    credential_hosts: ClassVar[tuple[str, ...]] = ("api.openai.com",)
    option_names: ClassVar[frozenset[str]] = frozenset({"size", "quality", "input_fidelity"})
    check_path: ClassVar[str | None] = "/models"
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=frozenset({Operation.EDIT_IMAGE, Operation.GENERATE_IMAGE, Operation.REPLACE_BACKGROUND}),
        shape=Shape.SYNC,
        network=True,
        charges=True,
        retention_note="Logs for the detection of abuse are kept up to 30 days, unless the account has zero retention.",
        max_image_bytes=50_000_000,
        erase=EraseSupport.NONE,
        idempotency=IdempotencySupport.NONE,
    )

    def _headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"}

    def _submit(self, request: Request) -> Done | Pending:
        with self._reply(build(request, self._model(request).id)) as reply:
            return self._sealed(pictures(reply.document()))

    def _failure(self, problem: Problem) -> ProviderError:
        return failure(problem)


def build(request: Request, model: str, provider: str = "openai") -> Call:
    """Build the call for a request, to OpenAI or to another *provider* of the same models."""
    fields = {"model": model, "prompt": prompt_of(request, provider), "output_format": "png"}
    fields |= {name: value for name, value in request.options.items() if name in OpenAIProvider.option_names}
    if request.input is None:
        fields.pop("input_fidelity", None)
        return Call("POST", "/images/generations", WORK, json=fields)
    image = ("image", ("image.png", picture(request), request.input.media_type))
    return Call("POST", "/images/edits", WORK, form=fields, files=(image,))


def pictures(document: Document) -> list[object]:
    """Return the pictures of a success."""
    data = document.at("data")
    return [entry.get("b64_json") if isinstance(entry, dict) else None for entry in data] if data else []


def failure(problem: Problem) -> ProviderError:
    """Explain an error."""
    body = problem.document
    code, kind, words = body.text("error", "code"), body.text("error", "type"), body.text("error", "message")
    if code in _REFUSALS or (kind == "image_generation_user_error" and problem.status == 400):
        # The newer code is also used when the finished picture is refused, after the cost of the run.
        stage = Stage.INPUT if code == "content_policy_violation" else Stage.OUTPUT
        found = re.search(r"safety_violations=\[([a-z_, -]*)\]", words)
        return problem.refused(stage, found[1] if found else "")
    if "insufficient_quota" in (code, kind) or code == "billing_hard_limit_reached":
        return problem.out_of_credit()
    if code == "model_not_found":
        return problem.gone()
    should_retry = problem.headers.get("x-should-retry")
    if should_retry == "true" and problem.status != 429:
        return Transient(f"The provider {problem.provider!r} has a fault (HTTP {problem.status}){problem.trace}.")
    if should_retry == "false" and problem.status >= 500:
        return OutcomeUnknown(
            f"The provider {problem.provider!r} has a fault that it says not to retry (HTTP {problem.status})"
            f"{problem.trace}.",
            charged=Charged.MAYBE,
        )
    if problem.status == 409:
        return Transient(f"The provider {problem.provider!r} is busy with the same thing{problem.trace}.")
    decided = problem.by_status()
    param = body.text("error", "param").partition("[")[0]
    return problem.invalid(param) if decided.code == "invalid-request" and param in _FIELDS else decided
