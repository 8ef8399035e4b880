"""
Amazon Bedrock: Stability AI's models in a region of one's choice; one call that works while we wait and answers base64.

Written from the service's description in botocore 1.44.8 (``bedrock-runtime``, 2023-09-30, and ``bedrock``, 2023-04-20,
whose list of models shows the credential and needs the permission ``bedrock:ListFoundationModels``), LiteLLM's adapter
1.110.2 and AWS's pages about the models. The key is either a key of Bedrock's own, or ``ACCESS_KEY_ID:SECRET`` with a
third part for a session's token; then each call is signed (extra ``bedrock``). The address chooses the region. Ids that
begin with a region's letters (``us.``) may be served from another region of the same part of the world. Not verified:
the words of a refusal in a `ValidationException`, whether a filtered picture is charged. Films, which end
in a bucket of the account's own, are made by `bedrock-video`.
"""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar, Final
from urllib.parse import quote

from providers.capabilities import Capabilities, EraseSupport, IdempotencySupport, Operation, Shape
from providers.errors import BadResult, BrokenProviderError, ProviderError, Stage, Transient
from providers.exchange import Done, Pending, Request
from providers.models import Model
from providers.network import NetworkProvider, encoded, number, prompt_of
from providers.problems import Problem
from providers.protocol import ProviderTools
from providers.transport import ASK, WORK, Call

_ACCESS_KEY: Final = re.compile(r"(A[KS]IA[A-Z0-9]{12,28}):([A-Za-z0-9/+=]+)(?::(\S+))?")
_RUNTIME: Final = re.compile(r"https://bedrock-runtime((?:-fips)?\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?)/?")
_REGION: Final = re.compile(r"bedrock(?:-runtime)?(?:-fips)?\.([a-z0-9-]+)\.")
HOME: Final = "us-west-2"
_FILTERED: Final = re.compile(r"content filter|responsible ai|moderation", re.IGNORECASE)
_NO_MODEL: Final = re.compile(r"model identifier is invalid|end of its life", re.IGNORECASE)
_UNPROMPTED: Final = re.compile(r"remove-background|fast-upscale|erase-object")
"""Models that take no prompt."""


class BedrockProvider(NetworkProvider):
    """Cuts out, edits, makes and enlarges pictures."""

    name: ClassVar[str] = "bedrock"
    default_url: ClassVar[str] = f"https://bedrock-runtime.{HOME}.amazonaws.com"
    # Another region's host is the account's address, and allowed as such. All of amazonaws.com would be anybody's.
    credential_hosts: ClassVar[tuple[str, ...]] = (f"bedrock-runtime.{HOME}.amazonaws.com",)
    check_hosts: ClassVar[tuple[str, ...]] = (f"bedrock.{HOME}.amazonaws.com",)
    option_names: ClassVar[frozenset[str]] = frozenset(
        {"negative_prompt", "seed", "aspect_ratio", "style_preset", "search_prompt", "control_strength", "strength"}
    )
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=frozenset(
            {Operation.EDIT_IMAGE, Operation.GENERATE_IMAGE, Operation.REMOVE_BACKGROUND, Operation.UPSCALE}
        ),
        shape=Shape.SYNC,
        network=True,
        charges=True,
        retention_note="Depends on the model; an account can set its retention of data to none for each region.",
        # The body may have 25 million bytes, and base64 takes a third more.
        max_image_bytes=18_000_000,
        max_request_bytes=25_000_000,
        erase=EraseSupport.NONE,
        idempotency=IdempotencySupport.NONE,
        regions=("us-west-2", "us-east-1", "us-east-2"),
    )

    def __init__(self, tools: ProviderTools) -> None:
        super().__init__(tools)
        # Of a region that the operator names, its second host is his choice as well.
        self._operators = tuple(each for url in self._operators for each in (url, control(url)))

    def _headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"}

    def _shown(self, call: Call, key: str) -> dict[str, str]:
        found = access_key(key)
        return self._headers(key) if found is None else signature(call, *found)

    def _check_call(self) -> Call:
        return Call("GET", f"{control(self.base_url)}/foundation-models", ASK, {"accept": "application/json"})

    def _submit(self, request: Request) -> Done | Pending:
        with self._reply(build(request, self._model(request))) as reply:
            return self._sealed(pictures(Problem(self.name, reply.status, reply.headers, reply.document())))

    def _failure(self, problem: Problem) -> ProviderError:
        return failure(problem)


def control(url: str) -> str:
    """Return the host that lists models, of the region whose host runs them; any other address answers for both."""
    found = _RUNTIME.fullmatch(url)
    return url.rstrip("/") if found is None else f"https://bedrock{found[1]}"


def build(request: Request, model: Model) -> Call:
    """Build the call for a request."""
    body: dict[str, Any] = {"output_format": "png"}
    for name, value in request.options.items():
        if name in BedrockProvider.option_names:
            body[name] = number(value) if name in ("seed", "control_strength", "strength") else value
    if _UNPROMPTED.search(model.id) is None:
        body["prompt"] = prompt_of(request, "bedrock")
    if request.input is not None:
        body[model.image_field] = encoded(request)
        if "sd3" in model.id:
            # This one model makes and edits, and edits only if it is told to.
            body = {"strength": 0.6} | body | {"mode": "image-to-image"}
    headers = {"content-type": "application/json", "accept": "application/json"}
    path = f"/model/{quote(model.id, safe='')}/invoke"
    return Call("POST", path, WORK, headers, content=json.dumps(body).encode())


def access_key(key: str) -> tuple[str, str, str | None] | None:
    """Take a credential apart into the id of an access key, its secret and a session's token; None if it is none."""
    found = _ACCESS_KEY.fullmatch(key)
    return None if found is None else (found[1], found[2], found[3])


def region_in(url: str) -> str:
    """Return the region that an address of Bedrock's names."""
    found = _REGION.search(url)
    return found[1] if found else HOME


def signature(
    call: Call, key_id: str, secret: str, token: str | None, *, region: str | None = None, service: str = "bedrock"
) -> dict[str, str]:
    """
    Sign a call for a service in a region, which is the address's unless given (version 4 of AWS's signatures).

    Raises:
        BrokenProviderError: The extra ``bedrock`` is not installed.
    """
    try:
        from botocore.auth import S3SigV4Auth, SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
    except ImportError:
        raise BrokenProviderError(
            "The provider 'bedrock' signs with an access key only if the extra 'bedrock' is installed."
        ) from None
    asked = AWSRequest(call.method, call.url, headers=dict(call.headers), data=call.content or b"")
    # The store of objects encodes a path once, everything else twice.
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    signer(Credentials(key_id, secret, token), service, region or region_in(call.url)).add_auth(asked)
    return {name.lower(): value for name, value in asked.headers.items()}


def pictures(problem: Problem) -> list[Any]:
    """
    Return the pictures of a success.

    Raises:
        ContentRefused: It is a refusal all the same; of several pictures, the ones that were made are returned.
        Transient: The model itself failed.
    """
    document = problem.document
    images, reasons = document.at("images"), document.at("finish_reasons")
    images = images if isinstance(images, list) else []
    reasons = reasons if isinstance(reasons, list) else []
    kept = [image for at, image in enumerate(images) if image and not (at < len(reasons) and reasons[at])]
    told = [str(reason).lower() for reason in reasons if reason] + [document.text("error").lower()]
    ended = next((reason for reason in told if reason), "")
    if kept or not ended:
        return kept
    if "inference error" in ended:
        raise BadResult("The model at 'bedrock' failed.")
    raise problem.refused(Stage.INPUT if "prompt" in ended or "input image" in ended else Stage.OUTPUT, ended)


def failure(problem: Problem) -> ProviderError:
    """Explain an error by its type, which stands in a header."""
    kind = problem.headers.get("x-amzn-errortype", "").partition(":")[0] or problem.document.text("__type")
    words = problem.document.text("message")
    match kind.rpartition("#")[2]:
        case "ThrottlingException" | "ServiceQuotaExceededException":
            return problem.limited()
        case "ModelNotReadyException" | "ModelErrorException":
            return Transient(f"The model at 'bedrock' has a fault (HTTP {problem.status}){problem.trace}.")
        case "ResourceNotFoundException":
            return problem.gone()
        case "ValidationException" if _FILTERED.search(words):
            return problem.refused(Stage.INPUT, words)
        case "ValidationException" if _NO_MODEL.search(words):
            return problem.gone()
    return problem.by_status()
