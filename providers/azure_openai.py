"""
OpenAI's image models in a resource of one's own at Azure: the region is the resource's, the model is a deployment.

Written from the SDK openai 3.57.0 (``lib/azure.py``, whose list of models shows the credential), Azure's OpenAPI
document 2025-04-01-preview, and error bodies that others have published. Not verified: the terms on which logs for the
detection of abuse are kept, and whether a refused picture is charged. The account names the resource
(``https://<resource>.openai.azure.com``) and, as its model, the deployment; unless it says otherwise, the deployment
has the model's name. An access token of Entra may stand in the place of the key; nothing here renews it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Final

from providers import openai
from providers.capabilities import Capabilities, EraseSupport, IdempotencySupport, Operation, Shape
from providers.errors import ProviderError, Stage
from providers.exchange import Done, Pending, Request
from providers.network import NetworkProvider
from providers.problems import Problem
from providers.transport import Call

VERSION: Final = "2025-04-01-preview"
_REFUSALS: Final = frozenset({"contentfilter", "content_policy_violation", "moderation_blocked", "content_filter"})


class AzureOpenAIProvider(NetworkProvider):
    """Edits and makes pictures in one's own resource."""

    name: ClassVar[str] = "azure-openai"
    default_url: ClassVar[str] = ""
    credential_hosts: ClassVar[tuple[str, ...]] = ("openai.azure.com", "cognitiveservices.azure.com")
    option_names: ClassVar[frozenset[str]] = frozenset({"size", "quality"})
    check_path: ClassVar[str | None] = f"/openai/models?api-version={VERSION}"
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=frozenset({Operation.EDIT_IMAGE, Operation.GENERATE_IMAGE, Operation.REPLACE_BACKGROUND}),
        shape=Shape.SYNC,
        network=True,
        charges=True,
        retention_note=(
            "Logs for the detection of abuse are kept up to 30 days in the resource's region, unless modified"
            " monitoring was approved; the exact terms are not verified."
        ),
        max_image_bytes=25_000_000,
        erase=EraseSupport.NONE,
        idempotency=IdempotencySupport.NONE,
        regions=("the resource's region",),
    )

    def _headers(self, key: str) -> dict[str, str]:
        # An access token is a JSON Web Token; no key looks like one.
        return {"authorization": f"Bearer {key}"} if key.startswith("eyJ") else {"api-key": key}

    def _submit(self, request: Request) -> Done | Pending:
        with self._reply(build(request, self._model(request).id)) as reply:
            document = reply.document()
            pictures = openai.pictures(document)
            if not any(pictures) and filtered(document.value):
                # Of several pictures some may be missing; of one, this is what its refusal looks like in a success.
                raise Problem(self.name, reply.status, reply.headers, document).refused(Stage.OUTPUT)
            return self._sealed(pictures)

    def _failure(self, problem: Problem) -> ProviderError:
        return failure(problem)


def build(request: Request, deployment: str) -> Call:
    """Build the call for a request."""
    call = openai.build(request, deployment, "azure-openai")
    if request.input is not None:
        # The document lists no format for edits; the answer is a PNG unless asked for something else.
        call = replace(call, form={name: value for name, value in call.form.items() if name != "output_format"})
    return replace(call, url=f"/openai/deployments/{deployment}{call.url}?api-version={VERSION}")


def filtered(value: Any) -> bool:
    """Say whether the results of a content filter anywhere in a document contain one that fired."""
    if isinstance(value, dict):
        return value.get("filtered") is True or any(filtered(each) for each in value.values())
    return isinstance(value, list) and any(filtered(each) for each in value)


def failure(problem: Problem) -> ProviderError:
    """Explain an error: Azure's own codes first, then OpenAI's."""
    error = problem.document.at("error")
    error = error if isinstance(error, dict) else {}
    code = str(error.get("code") or "")
    inner = error.get("inner_error") or error.get("innererror")
    inner = inner if isinstance(inner, dict) else {}
    if inner.get("code") == "ResponsibleAIPolicyViolation" or code.lower() in _REFUSALS:
        found = inner.get("content_filter_results")
        words = " ".join(name for name, each in found.items() if filtered(each)) if isinstance(found, dict) else ""
        # The same code is used for the words, the picture sent and the picture made.
        return problem.refused(Stage.OUTPUT if code == "moderation_blocked" else Stage.INPUT, words)
    if code in ("DeploymentNotFound", "OperationNotSupported"):
        return problem.gone()
    return openai.failure(problem)
