"""Providers that do the work while the caller waits, written from their documentation."""

from __future__ import annotations

from typing import ClassVar

from tests.fakes.server import B64, HANG, HTML, KEY, LIMITED, PICTURE, Answer, FakeServer, Seen, is_number


def _openai_error(status: int, code: str | None, kind: str, message: str = "", param: str | None = None) -> Answer:
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return Answer(status, body, {"x-request-id": "req_011"})


class FakeOpenAI(FakeServer):
    """OpenAI's `/images/generations` and `/images/edits`."""

    MODELS = frozenset({"gpt-image-1.5", "gpt-image-1-mini"})
    ERRORS: ClassVar[dict[str, Answer]] = {
        **LIMITED,
        "moderation_blocked": _openai_error(
            400, "moderation_blocked", "image_generation_user_error", "rejected. safety_violations=[violence]."
        ),
        "content_policy_violation": _openai_error(400, "content_policy_violation", "invalid_request_error"),
        "insufficient_quota": _openai_error(429, "insufficient_quota", "insufficient_quota"),
        "rate_limit": _openai_error(429, "rate_limit_exceeded", "requests"),
        "model": _openai_error(404, "model_not_found", "invalid_request_error"),
        "key": _openai_error(401, "invalid_api_key", "invalid_request_error", f"Incorrect API key: {KEY}"),
        "organisation": _openai_error(403, None, "invalid_request_error"),
        "size": _openai_error(400, "invalid_value", "invalid_request_error", "no such size", "size"),
        "413": Answer(413, b"too large"),
        "415": Answer(415, {}),
        "408": Answer(408, {}),
        "409": Answer(409, {}),
        "500": Answer(500, {"error": {"message": "oops"}}),
        "500 do not retry": Answer(500, {}, {"x-should-retry": "false"}),
        "400 retry": Answer(400, {}, {"x-should-retry": "true"}),
        "502": Answer(502, b"<html>"),
        "503": Answer(503, {}),
        "504": Answer(504, b"<html>"),
        "no picture": Answer(200, {"created": 1, "data": []}),
        "no base64": Answer(200, {"created": 1, "data": [{"url": "https://example.test/x"}]}),
        "broken base64": Answer(200, {"created": 1, "data": [{"b64_json": "abc$"}]}),
        "no image": Answer(200, {"created": 1, "data": [{"b64_json": "aGVsbG8gd29ybGQ="}]}),
        "html": HTML,
        "cut": Answer(200, {"created": 1, "data": [{"b64_json": B64}]}, cut=60),
        "hang": HANG,
    }  # fmt: skip
    CHARGED = frozenset({"ok", "hang", "cut", "504", "no image"})

    def route(self, seen: Seen) -> Answer:
        if not self.authorised(seen):
            return self.ERRORS["key"]
        if (seen.method, seen.path) == ("GET", "/v1/models"):
            return Answer(200, {"object": "list", "data": [{"id": "gpt-image-1.5", "object": "model"}]})
        self.demand(seen.method == "POST", "POST only")
        if seen.path == "/v1/images/edits":
            fields = {name: part.content.decode() for name, part in seen.parts.items() if part.filename is None}
            image = seen.parts.get("image") or seen.parts.get("image[]")
            self.demand(image is not None, "an edit has an image")
            assert image is not None
            self.demand(image.content_type in ("image/png", "image/jpeg", "image/webp"), "the type of the image")
            self.demand(len(image.content) > 0, "the image is empty")
        else:
            self.demand(seen.path == "/v1/images/generations", "no such path")
            self.demand(seen.headers["content-type"] == "application/json", "JSON")
            fields = seen.json
        self.demand(0 < len(fields["prompt"]) <= 32000, "the prompt")
        self.demand(fields.get("output_format", "png") in ("png", "jpeg", "webp"), "output_format")
        self.demand(
            not set(fields) - {"model", "prompt", "n", "size", "quality", "background", "output_format",
                               "output_compression", "input_fidelity", "moderation"},
            "unknown field",
        )  # fmt: skip
        if fields["model"] not in self.MODELS:
            return self.ERRORS["model"]
        scenario = self.scenario()
        if scenario in self.CHARGED:
            self.charge()
        if isinstance(scenario, Answer):
            return scenario
        usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
        ok = {"created": 1700000000, "data": [{"b64_json": B64}], "output_format": "png", "usage": usage}
        return Answer(200, ok) if scenario == "ok" else self.ERRORS[scenario]


def _stability_error(status: int, name: str) -> Answer:
    return Answer(status, {"id": "a" * 32, "name": name, "errors": ["some words"]})


class FakeStability(FakeServer):
    """Stability AI v2beta: bytes at once, and `replace-background-and-relight` with a task."""

    ERRORS: ClassVar[dict[str, Answer]] = {
        "bad_request": _stability_error(400, "bad_request"),
        "unauthorized": _stability_error(401, "unauthorized"),
        "payment_required": _stability_error(402, "payment_required"),
        "content_moderation": _stability_error(403, "content_moderation"),
        "payload_too_large": _stability_error(413, "payload_too_large"),
        "invalid_language": _stability_error(422, "invalid_language"),
        "public_figure": _stability_error(422, "public_figure"),
        "rate_limit_exceeded": _stability_error(429, "rate_limit_exceeded"),
        "internal_error": _stability_error(500, "internal_error"),
        "504": Answer(504, b"<html>"),
        "filtered": Answer(200, PICTURE, {"finish-reason": "CONTENT_FILTERED", "content-type": "image/png"}),
        "unknown reason": Answer(200, PICTURE, {"finish-reason": "TIRED", "content-type": "image/png"}),
        "html": HTML,
        "empty": Answer(200, b"", {"content-type": "image/png"}),
        "cut": Answer(200, PICTURE, {"finish-reason": "SUCCESS", "content-type": "image/png"}, cut=40),
        "hang": HANG,
        "no id": Answer(200, {"status": "fine"}),
    }  # fmt: skip
    CHARGED = frozenset({"ok", "hang", "cut", "504", "filtered"})
    PATHS = frozenset({"generate/core", "edit/remove-background", "edit/search-and-replace", "control/structure",
                       "upscale/fast"})  # fmt: skip
    OK = Answer(200, PICTURE, {"finish-reason": "SUCCESS", "seed": "343940597", "content-type": "image/png"})

    def __init__(self) -> None:
        super().__init__()
        self.polls_until_done = 1
        self._polls: dict[str, int] = {}

    def route(self, seen: Seen) -> Answer:
        if not self.authorised(seen):
            return self.ERRORS["unauthorized"]
        if (seen.method, seen.path) == ("GET", "/v1/user/balance"):
            return Answer(200, {"credits": 0.6336833})
        if seen.method == "GET":
            return self._result(seen)
        self.demand(seen.headers["content-type"].startswith("multipart/form-data"), "multipart only")
        path = seen.path.removeprefix("/v2beta/stable-image/")
        self.demand(seen.headers["accept"] in ("image/*", "application/json"), "accept")
        scenario = self.scenario()
        if scenario in self.CHARGED:
            self.charge()
        if isinstance(scenario, Answer):
            return scenario
        if path == "edit/replace-background-and-relight":
            self.demand(seen.parts["subject_image"].content, "a subject")
            self.demand({"background_prompt", "background_reference"} & set(seen.parts), "a background")
            if scenario != "ok":
                return self.ERRORS[scenario]
            task = f"{len(self._polls):064x}"
            self._polls[task] = 0
            return Answer(200, {"id": task})
        self.demand(path in self.PATHS, "no such path")
        if path != "generate/core":
            self.demand(seen.parts["image"].filename and seen.parts["image"].content, "an image")
        if path.startswith(("generate", "control")):
            self.demand(seen.parts["prompt"].content, "a prompt")
        self.demand("seed" not in seen.parts or is_number(seen.parts["seed"].content.decode()), "seed")
        return self.OK if scenario == "ok" else self.ERRORS[scenario]

    def _result(self, seen: Seen) -> Answer:
        task = seen.path.removeprefix("/v2beta/results/")
        if task not in self._polls:
            return _stability_error(404, "not_found")
        scenario = self.scenario()
        if scenario != "ok":
            return scenario if isinstance(scenario, Answer) else self.ERRORS[scenario]
        self._polls[task] += 1
        if self._polls[task] <= self.polls_until_done:
            return Answer(202, {"id": task, "status": "in-progress"})
        return self.OK


def _remove_bg_error(status: int, code: str | None = None, **headers: str) -> Answer:
    error = {"title": "Something", "detail": "some words"} | ({"code": code} if code else {})
    return Answer(status, {"errors": [error]}, {name.replace("_", "-"): value for name, value in headers.items()})


class FakeRemoveBg(FakeServer):
    """remove.bg's `/removebg`. Errors are never charged."""

    auth = ("x-api-key", KEY)
    ERRORS: ClassVar[dict[str, Answer]] = {
        **LIMITED,
        "unknown_foreground": _remove_bg_error(400, "unknown_foreground"),
        "file_too_large": _remove_bg_error(400, "file_too_large"),
        "resolution_too_high": _remove_bg_error(400, "resolution_too_high"),
        "invalid_file_type": _remove_bg_error(400, "invalid_file_type"),
        "400": _remove_bg_error(400),
        "402": _remove_bg_error(402, "insufficient_credits"),
        "403": _remove_bg_error(403, "auth_failed"),
        "limit": _remove_bg_error(429, "rate_limit_exceeded", retry_after="11"),
        "500": _remove_bg_error(500),
        "504": Answer(504, b"<html>"),
        "html": HTML,
        "cut": Answer(200, PICTURE, {"content-type": "image/png"}, cut=40),
        "hang": HANG,
    }  # fmt: skip
    CHARGED = frozenset({"ok", "hang", "cut"})

    def route(self, seen: Seen) -> Answer:
        if not self.authorised(seen):
            return self.ERRORS["403"]
        if (seen.method, seen.path) == ("GET", "/v1.0/account"):
            credits = {"total": 200, "subscription": 150, "payg": 50, "enterprise": 0}
            return Answer(
                200, {"data": {"attributes": {"credits": credits, "api": {"free_calls": 50, "sizes": "all"}}}}
            )
        self.demand((seen.method, seen.path) == ("POST", "/v1.0/removebg"), "no such path")
        self.demand(len({"image_file", "image_file_b64", "image_url"} & set(seen.parts)) == 1, "exactly one image")
        self.demand(seen.parts["format"].content in (b"auto", b"png", b"jpg", b"zip", b"webp"), "format")
        self.demand(not set(seen.parts) - {"image_file", "size", "format", "type", "crop", "semitransparency",
                                           "add_shadow", "bg_color"}, "unknown field")  # fmt: skip
        scenario = self.scenario()
        if scenario in self.CHARGED:
            self.charge()
        if isinstance(scenario, Answer):
            return scenario
        ok = Answer(200, self.picture, {"content-type": "image/png", "x-credits-charged": "1", "x-type": "product"})
        return ok if scenario == "ok" else self.ERRORS[scenario]


class FakePhotoroom(FakeServer):
    """Photoroom's `/v1/segment` and `/v2/edit`."""

    auth = ("x-api-key", KEY)
    ERRORS: ClassVar[dict[str, Answer]] = {
        **LIMITED,
        "400": Answer(400, {"error": {"message": "some words"}}),
        "402": Answer(402, {"error": {"detail": "API credits exhausted for this month"}}),
        "403": Answer(403, {"message": "Forbidden"}),
        "500": Answer(500, {"error": {"message": "oops"}}),
        "504": Answer(504, b"<html>"),
        "html": HTML,
        "cut": Answer(200, PICTURE, {"content-type": "image/png"}, cut=40),
        "hang": HANG,
    }  # fmt: skip
    CHARGED = frozenset({"ok", "hang", "cut", "504"})

    def route(self, seen: Seen) -> Answer:
        if not self.authorised(seen):
            return self.ERRORS["403"]
        if (seen.method, seen.path) == ("GET", "/v2/account"):
            return Answer(200, {"images": {"available": 100, "subscription": 100}, "plan": "basic"})
        self.demand(seen.method == "POST", "GET would put addresses into logs")
        if seen.path == "/v1/segment":
            self.demand(seen.parts["image_file"].content, "an image")
        else:
            self.demand(seen.path == "/v2/edit", "no such path")
            self.demand(seen.parts["imageFile"].content, "an image")
            self.demand({"background.color", "background.prompt"} & set(seen.parts), "a background")
        scenario = self.scenario()
        if scenario in self.CHARGED:
            self.charge()
        if isinstance(scenario, Answer):
            return scenario
        ok = Answer(200, PICTURE, {"content-type": "image/png", "x-uncertainty-score": "0.1"})
        return ok if scenario == "ok" else self.ERRORS[scenario]
