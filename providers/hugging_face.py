"""
Hugging Face: its own serverless inference, or an endpoint of one's own; bytes at once.

Written from the vendor's SDK huggingface_hub 2.4.0 (``inference/_providers/hf_inference.py``) and its page "Security &
Compliance". An account's address that ends in ``/models`` is a router, to which the model's name is appended; any other
is an endpoint, which has one model and, where it was made, one region. Not verified: which models of pictures the
serverless side offers at a given time, how a model that is being loaded says for how long, the wording of an empty
account, whether the router still knows the header against its cache, which is sent all the same.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from providers.capabilities import Capabilities, EraseSupport, IdempotencySupport, Operation, Shape
from providers.errors import ProviderError
from providers.exchange import Done, Pending, Request, SealedResult
from providers.hints import bounded
from providers.models import Model
from providers.network import NetworkProvider, encoded, number, prompt_of
from providers.problems import Problem
from providers.replies import seal
from providers.transport import ASK, WORK, Call

_HUB: Final = "https://huggingface.co"
_HEADERS: Final = {"accept": "image/png", "x-use-cache": "false"}
"""Equal requests are otherwise answered from a cache of results."""


class HuggingFaceProvider(NetworkProvider):
    """Edits and makes pictures with the model that is configured."""

    name: ClassVar[str] = "hugging-face"
    default_url: ClassVar[str] = "https://router.huggingface.co/hf-inference/models"
    credential_hosts: ClassVar[tuple[str, ...]] = ("router.huggingface.co", "endpoints.huggingface.cloud")
    check_hosts: ClassVar[tuple[str, ...]] = ("huggingface.co",)
    option_names: ClassVar[frozenset[str]] = frozenset(
        {"negative_prompt", "num_inference_steps", "guidance_scale", "width", "height", "seed"}
    )
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=frozenset({Operation.EDIT_IMAGE, Operation.GENERATE_IMAGE, Operation.REPLACE_BACKGROUND}),
        shape=Shape.SYNC,
        network=True,
        charges=True,
        retention_note="Requests and answers are not stored; logs without their content are kept up to 30 days.",
        max_image_bytes=10_000_000,
        erase=EraseSupport.NONE,
        idempotency=IdempotencySupport.NONE,
        regions=("global", "the endpoint's region"),
    )

    def _headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"}

    def _check_call(self) -> Call:
        # The token of a rented endpoint is the Hub's. Any other address may have a key of its own, which it alone sees.
        base = urlsplit(self.account.base_url or _HUB)
        host = base.hostname or ""
        rented = any(f".{host}".endswith(f".{of}") for of in ("huggingface.co", "endpoints.huggingface.cloud"))
        hub = _HUB if rented else f"{base.scheme}://{base.netloc}"
        return Call("GET", f"{hub}/api/whoami-v2", ASK)

    @staticmethod
    def _routed(url: str) -> bool:
        return url.rstrip("/").endswith("/models")

    def _submit(self, request: Request) -> Done | Pending:
        model = self._model(request)
        path = f"/{model.id}" if self._routed(self.base_url) else ""
        with self._reply(build(request, model, path)) as reply:
            ref, media_type = seal(reply.stream(), self.sink, media="image/")
            return Done((SealedResult(ref, media_type),))

    def _failure(self, problem: Problem) -> ProviderError:
        return failure(problem)


def build(request: Request, model: Model, path: str) -> Call:
    """Build the call for a request."""
    parameters: dict[str, Any] = {
        name: number(value) for name, value in request.options.items() if name in HuggingFaceProvider.option_names
    }
    words = prompt_of(request, "hugging-face")
    body: dict[str, Any] = {"inputs": words, "parameters": parameters}
    if request.input is not None:
        # Without parameters the bytes alone would do, but a picture is never changed without words.
        body = {"inputs": encoded(request), "parameters": {"prompt": words} | parameters}
    return Call("POST", path, WORK, _HEADERS, json=body)


def failure(problem: Problem) -> ProviderError:
    """Explain an error."""
    words = problem.document.text("error").lower()
    if problem.status in (404, 410) or "not supported by provider" in words:
        return problem.gone()
    estimated = problem.document.at("estimated_time")
    if problem.status == 503 and isinstance(estimated, int | float):
        # The model is being loaded; nothing ran.
        return problem.limited(bounded(float(estimated)))
    return problem.by_status()
