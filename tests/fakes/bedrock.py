"""Amazon Bedrock's runtime, written from botocore's description of it. Signatures are checked without botocore."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Any, ClassVar
from urllib.parse import quote, unquote

from tests.fakes.server import B64, HANG, HTML, KEY, LIMITED, Answer, FakeServer, Seen

ACCESS_KEY, SECRET, TOKEN = "AKIACANARY0000000001", "secret/canary+41c7", "token-canary-77"


def _error(status: int, kind: str, message: str = "some words") -> Answer:
    where = "http://internal.amazon.com/coral/com.amazon.bedrock/"
    return Answer(status, {"message": message}, {"x-amzn-errortype": f"{kind}:{where}", "x-amzn-requestid": "r-1"})


def _ended(*reasons: str | None, images: int = 0) -> Answer:
    return Answer(200, {"seeds": [1], "finish_reasons": list(reasons), "images": [B64] * images})


class FakeBedrock(FakeServer):
    """`InvokeModel` for Stability AI's models."""

    MODELS: ClassVar[dict[str, frozenset[str]]] = {
        "stability.stable-image-core-v1:1": frozenset({"prompt"}),
        "stability.sd3-5-large-v1:0": frozenset({"prompt"}),
        "us.stability.stable-image-control-structure-v1:0": frozenset({"prompt", "image"}),
        "us.stability.stable-image-search-replace-v1:0": frozenset({"prompt", "image", "search_prompt"}),
        "us.stability.stable-image-remove-background-v1:0": frozenset({"image"}),
        "us.stability.stable-fast-upscale-v1:0": frozenset({"image"}),
    }
    ERRORS: ClassVar[dict[str, Answer]] = {
        **LIMITED,
        "throttled": _error(429, "ThrottlingException"),
        "quota": _error(400, "ServiceQuotaExceededException"),
        "not ready": _error(429, "ModelNotReadyException"),
        "model error": _error(424, "ModelErrorException"),
        "timeout": _error(408, "ModelTimeoutException"),
        "denied": _error(403, "AccessDeniedException"),
        "signature": _error(403, "InvalidSignatureException"),
        "unknown": _error(403, "UnrecognizedClientException", f"{KEY} is not valid"),
        "model": _error(404, "ResourceNotFoundException"),
        "model id": _error(400, "ValidationException", "The provided model identifier is invalid."),
        "validation": _error(400, "ValidationException"),
        "filters": _error(400, "ValidationException", "some words have been blocked by our content filters"),
        "only a type": Answer(400, {"__type": "com.amazon#ThrottlingException", "message": "some words"}),
        "500": _error(500, "InternalServerException"),
        "502": Answer(502, b"<html>"),
        "503": _error(503, "ServiceUnavailableException"),
        "504": Answer(504, b"<html>"),
        "prompt": _ended("Filter reason: prompt"),
        "input image": _ended("Filter reason: input image"),
        "output image": _ended("Filter reason: output image"),
        "output image sent": _ended("Filter reason: output image", images=1),
        "inference": _ended("Inference error"),
        "error": Answer(200, {"images": [], "error": "some words of a refusal"}),
        "no picture": _ended(None),
        "html": HTML,
        "cut": Answer(200, {"images": [B64]}, cut=40),
        "hang": HANG,
    }  # fmt: skip
    CHARGED = frozenset({"ok", "hang", "cut", "504"})

    def route(self, seen: Seen) -> Answer:
        shown = seen.headers.get("authorization", "")
        if shown.startswith("AWS4-HMAC-SHA256"):
            if not signed(seen, shown):
                return self.ERRORS["signature"]
        elif not self.authorised(seen):
            return self.ERRORS["unknown"]
        if (seen.method, seen.path) == ("GET", "/foundation-models"):
            # On a host of its own at the vendor, with the same signature.
            model = {
                "modelId": "stability.sd3-5-large-v1:0",
                "modelArn": "arn:aws:bedrock:us-west-2::foundation-model/x",
            }
            return Answer(200, {"modelSummaries": [model]})
        found = re.fullmatch(r"/model/([^/]+)/invoke", seen.path)
        self.demand(seen.method == "POST" and found, "no such path")
        assert found is not None
        model = unquote(found[1])
        if model not in self.MODELS:
            return self.ERRORS["model"]
        self.demand(seen.headers["content-type"] == seen.headers["accept"] == "application/json", "JSON both ways")
        body = seen.json
        self.demand(self.MODELS[model] <= set(body), "a field is missing")
        self.demand(set(body) <= {"prompt", "image", "mode", "strength", "negative_prompt", "seed", "aspect_ratio",
                                  "style_preset", "search_prompt", "control_strength", "output_format"},
                    "unknown field")  # fmt: skip
        self.demand("image" not in body or base64.b64decode(body["image"], validate=True), "an image")
        self.demand("image" not in body or "sd3" not in model or body["mode"] == "image-to-image", "the mode")
        self.demand(isinstance(body.get("seed", 0), int), "seed is a number")
        scenario = self.scenario()
        if scenario in self.CHARGED:
            self.charge()
        if isinstance(scenario, Answer):
            return scenario
        if scenario == "partial":
            return Answer(200, {"finish_reasons": ["Filter reason: output image", None], "images": ["", B64]})
        return _ended(None, images=1) if scenario == "ok" else self.ERRORS[scenario]


def signed(seen: Seen, shown: str, service: str = "bedrock") -> bool:
    """Check a signature of version 4; the very bytes that came must be under it."""
    found: Any = re.fullmatch(
        rf"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{{8}})/([a-z0-9-]+)/{service}/aws4_request, SignedHeaders=([^,]+), "
        r"Signature=([0-9a-f]{64})",
        shown,
    )
    if found is None or found[1] != ACCESS_KEY:
        return False
    names = found[4].split(";")
    if "host" not in names or "x-amz-date" not in names or seen.headers.get("x-amz-security-token") != TOKEN:
        return False
    lines = [f"{name}:{seen.headers[name].strip()}\n" for name in names]
    digest = hashlib.sha256(seen.body).hexdigest()
    if service == "s3" and ("x-amz-content-sha256" not in names or seen.headers["x-amz-content-sha256"] != digest):
        return False
    # Outside S3 a path is encoded once more.
    path = seen.path if service == "s3" else quote(seen.path, safe="/~")
    # The question is signed in the order of its parts, however it is sent.
    query = "&".join(sorted(seen.query.split("&")))
    asked = [seen.method, path, query, "".join(lines), found[4], digest]
    hashed = hashlib.sha256("\n".join(asked).encode()).hexdigest()
    scope = f"{found[2]}/{found[3]}/{service}/aws4_request"
    key = f"AWS4{SECRET}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = "\n".join(["AWS4-HMAC-SHA256", seen.headers["x-amz-date"], scope, hashed])
    return hmac.compare_digest(hmac.new(key, text.encode(), "sha256").hexdigest(), found[5])
