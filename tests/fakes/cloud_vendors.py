"""Clouds that sell the models of others and answer in the call, written from their documentation."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, ClassVar

from tests.fakes.server import B64, HANG, HTML, KEY, LIMITED, PICTURE, Answer, FakeServer, Seen


def _router(code: int, *, status: int | None = None, message: str = "some words", **metadata: Any) -> Answer:
    error = {"code": code, "message": message} | ({"metadata": metadata} if metadata else {})
    return Answer(code if status is None else status, {"error": error, "user_id": "user_1"})


class FakeOpenRouter(FakeServer):
    """OpenRouter's `/images`. Once a model has started, its errors come with status 200."""

    MODELS = frozenset({"google/gemini-3.1-flash-image", "bytedance-seed/seedream-4.5"})
    FIELDS = frozenset({"model", "prompt", "provider", "input_references", "aspect_ratio", "resolution", "size",
                        "quality", "seed", "n", "background", "output_format", "output_compression"})  # fmt: skip
    ERRORS: ClassVar[dict[str, Answer]] = {
        **LIMITED,
        "400": _router(400),
        "401": _router(401, message=f"No auth credentials found for {KEY}"),
        "402 credits": _router(402, limit_source="openrouter_credits"),
        "402 key": _router(402, limit_source="openrouter_key_limit"),
        "402 in flight": replace(
            _router(402, limit_source="openrouter_in_flight_budget"), headers={"retry-after": "7"}
        ),
        "403": _router(403),
        "403 moderation": _router(
            403, reasons=["sexual"], flagged_input="some words", provider_name="Google", model_slug="google/x"
        ),
        "404": _router(404),
        "404 policy": _router(404, message="No endpoints found matching your data policy"),
        "408": _router(408),
        "413": _router(413),
        "500": _router(500),
        "502": _router(502),
        "503": _router(503),
        "524": _router(524),
        "529": _router(529),
        "late 500": _router(500, status=200),
        "late 502": _router(502, status=200),
        "late 429": _router(429, status=200),
        "late 403": _router(403, status=200, reasons=["violence"]),
        "late words": Answer(200, {"error": {"code": "server_error", "message": "some words"}}),
        "no picture": Answer(200, {"created": 1, "data": []}),
        "no data": Answer(200, {"created": 1}),
        "svg": Answer(200, {"created": 1, "data": [{"b64_json": "PHN2Zy8+PHN2Zy8+", "media_type": "image/svg+xml"}]}),
        "html": HTML,
        "cut": Answer(200, {"created": 1, "data": [{"b64_json": B64}]}, cut=60),
        "hang": HANG,
    }  # fmt: skip
    CHARGED = frozenset({"ok", "hang", "cut"})

    def route(self, seen: Seen) -> Answer:
        if not self.authorised(seen):
            return self.ERRORS["401"]
        if (seen.method, seen.path) == ("GET", "/api/v1/key"):
            return Answer(200, {"data": {"label": "pool", "usage": 0.5, "limit": None, "is_free_tier": False}})
        self.demand((seen.method, seen.path) == ("POST", "/api/v1/images"), "no such path")
        body = seen.json
        self.demand(set(body) <= self.FIELDS, "unknown field")
        self.demand(body["prompt"], "the prompt")
        self.demand(isinstance(body.get("seed", 0), int), "seed is a number")
        for reference in body.get("input_references", []):
            self.demand(reference["type"] == "image_url", "the type of a reference")
            self.demand(
                re.match(r"data:image/(png|jpeg|webp);base64,|https://", reference["image_url"]["url"]), "a reference"
            )
        if body["model"] not in self.MODELS:
            return self.ERRORS["404"]
        scenario = self.scenario()
        if scenario in self.CHARGED:
            self.charge()
        if isinstance(scenario, Answer):
            return scenario
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "cost": 0.04}
        ok = {"created": 1700000000, "data": [{"b64_json": B64, "media_type": "image/png"}], "usage": usage}
        return Answer(200, ok) if scenario == "ok" else self.ERRORS[scenario]


def _azure(status: int, code: str, inner: dict[str, Any] | None = None, **headers: str) -> Answer:
    error: dict[str, Any] = {"code": code, "message": "some words", "type": "invalid_request_error", "param": None}
    if inner is not None:
        error["inner_error"] = {"code": "ResponsibleAIPolicyViolation", "revised_prompt": "some words"} | inner
    return Answer(status, {"error": error}, {name.replace("_", "-"): value for name, value in headers.items()})


_VIOLENT = {
    "content_filter_results": {
        "hate": {"filtered": False, "severity": "safe"},
        "violence": {"filtered": True, "severity": "medium"},
        "jailbreak": {"filtered": False, "detected": False},
    }
}


class FakeAzureOpenAI(FakeServer):
    """A resource at Azure with one deployment of an image model."""

    auth = ("api-key", KEY)
    DEPLOYMENTS = frozenset({"gpt-image-1.5", "our-deployment"})
    ERRORS: ClassVar[dict[str, Answer]] = {
        **LIMITED,
        "contentFilter": _azure(400, "contentFilter", _VIOLENT),
        "content_policy_violation": _azure(400, "content_policy_violation"),
        "moderation_blocked": _azure(400, "moderation_blocked"),
        "only inside": _azure(400, "BadRequest", _VIOLENT),
        "filtered": Answer(200, {"created": 1, "data": [_VIOLENT | {"prompt_filter_results": {}}]}),
        "400": _azure(400, "BadRequest"),
        "401": _azure(401, "401"),
        "403": _azure(403, "Forbidden"),
        "deployment": _azure(404, "DeploymentNotFound"),
        "operation": _azure(400, "OperationNotSupported"),
        "429 code": _azure(429, "429", retry_after="7"),
        "quota": _azure(429, "insufficient_quota"),
        "408": _azure(408, "Timeout"),
        "500": _azure(500, "InternalServerError"),
        "502": Answer(502, b"<html>"),
        "503": _azure(503, "ServiceUnavailable"),
        "504": Answer(504, b"<html>"),
        "no picture": Answer(200, {"created": 1, "data": []}),
        "html": HTML,
        "cut": Answer(200, {"created": 1, "data": [{"b64_json": B64}]}, cut=60),
        "hang": HANG,
    }  # fmt: skip
    CHARGED = frozenset({"ok", "hang", "cut", "504"})

    def route(self, seen: Seen) -> Answer:
        if not self.authorised(seen) and seen.headers.get("authorization") != "Bearer eyJ.token.canary":
            return self.ERRORS["401"]
        if (seen.method, seen.path) == ("GET", "/openai/models"):
            self.demand(seen.query == "api-version=2025-04-01-preview", "a version of the API")
            about = {"id": "gpt-image-1.5", "object": "model", "status": "succeeded", "created_at": 1700000000}
            return Answer(200, {"object": "list", "data": [about]})
        found = re.fullmatch(r"/openai/deployments/([\w.-]+)/images/(edits|generations)", seen.path)
        self.demand(seen.method == "POST" and found, "no such path")
        assert found is not None
        self.demand(seen.query == "api-version=2025-04-01-preview", "a version of the API that knows edits")
        if found[1] not in self.DEPLOYMENTS:
            return self.ERRORS["deployment"]
        if found[2] == "edits":
            fields = {name: part.content.decode() for name, part in seen.parts.items() if part.filename is None}
            image = seen.parts.get("image") or seen.parts.get("image[]")
            self.demand(image is not None, "an edit has an image")
            assert image is not None
            self.demand(image.content_type in ("image/png", "image/jpeg"), "the type of the image")
            known = {"prompt", "n", "quality", "response_format", "size", "user"}
        else:
            fields = seen.json
            known = {"prompt", "background", "n", "output_compression", "output_format", "quality", "response_format",
                     "size", "style", "user"}  # fmt: skip
        # The document lists no model, because the address names the deployment; the SDK sends it all the same.
        self.demand(set(fields) <= known | {"model"}, "unknown field")
        self.demand(fields["prompt"], "the prompt")
        scenario = self.scenario()
        if scenario in self.CHARGED:
            self.charge()
        if isinstance(scenario, Answer):
            return scenario
        safe = {"violence": {"filtered": False, "severity": "safe"}}
        data = [{"b64_json": B64, "content_filter_results": safe, "prompt_filter_results": safe}]
        return Answer(200, {"created": 1700000000, "data": data}) if scenario == "ok" else self.ERRORS[scenario]


class FakeHuggingFace(FakeServer):
    """Hugging Face's router, and at `/endpoint` an endpoint of one's own."""

    MODELS = frozenset({"black-forest-labs/FLUX.1-schnell", "black-forest-labs/FLUX.1-Kontext-dev"})
    ERRORS: ClassVar[dict[str, Answer]] = {
        **LIMITED,
        "400": Answer(400, {"error": "some words"}),
        "400 model": Answer(400, {"error": "Model x/y is not supported by provider hf-inference"}),
        "401": Answer(401, {"error": f"Invalid credentials: {KEY}"}),
        "402": Answer(402, {"error": "You have exceeded your monthly included credits; some words"}),
        "403": Answer(403, {"error": "some words"}),
        "404": Answer(404, {"error": "some words"}),
        "410": Answer(410, {"error": "some words"}),
        "413": Answer(413, b"too large"),
        "422": Answer(422, {"error": ["some words"]}),
        "500": Answer(500, {"error": "CUDA out of memory"}),
        "502": Answer(502, b"<html>"),
        "503": Answer(503, {"error": "some words"}),
        "503 loading": Answer(503, {"error": "Model is currently loading", "estimated_time": 20.5}),
        "504": Answer(504, b"<html>"),
        "words": Answer(200, {"error": "some words"}),
        "empty": Answer(200, b"", {"content-type": "image/png"}),
        "html": HTML,
        "cut": Answer(200, PICTURE, {"content-type": "image/png"}, cut=40),
        "hang": HANG,
    }  # fmt: skip
    CHARGED = frozenset({"ok", "hang", "cut", "504"})

    def route(self, seen: Seen) -> Answer:
        if not self.authorised(seen):
            return self.ERRORS["401"]
        if (seen.method, seen.path) == ("GET", "/api/whoami-v2"):
            token = {"accessToken": {"displayName": "pool", "role": "fineGrained"}}
            return Answer(200, {"type": "user", "id": "u-1", "name": "pool", "auth": {"type": "access_token"} | token})
        found = re.fullmatch(r"/endpoint|/hf-inference/models/(.+)", seen.path)
        self.demand(seen.method == "POST" and found, "no such path")
        assert found is not None
        if found[1] is not None and found[1] not in self.MODELS:
            return self.ERRORS["404"]
        self.demand(seen.headers["accept"] == "image/png", "accept")
        body = seen.json
        self.demand(set(body) == {"inputs", "parameters"} and body["inputs"], "inputs and parameters")
        self.demand("prompt" not in body["parameters"] or body["parameters"]["prompt"], "an empty prompt")
        for name in ("num_inference_steps", "seed", "width", "height"):
            self.demand(isinstance(body["parameters"].get(name, 0), int), f"{name} is a number")
        scenario = self.scenario()
        if scenario in self.CHARGED:
            self.charge()
        if isinstance(scenario, Answer):
            return scenario
        return Answer(200, PICTURE, {"content-type": "image/png"}) if scenario == "ok" else self.ERRORS[scenario]
