"""Google's two doors, written from the vendor's SDK and the discovery document."""

from __future__ import annotations

import base64
import json
import re
from typing import Any, ClassVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from tests.fakes.server import B64, HANG, HTML, KEY, Answer, FakeServer, Seen

FILM = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2mp41" + b"\x00\x00\x00\x08free" * 300
FILM64 = base64.b64encode(FILM).decode()


def error(code: int, status: str, *details: dict[str, Any], message: str = "some words", **headers: str) -> Answer:
    body = {"error": {"code": code, "message": message, "status": status, "details": list(details)}}
    return Answer(code, body, {name.replace("_", "-"): value for name, value in headers.items()})


def delay(text: str) -> dict[str, str]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": text}


def reason(text: str) -> dict[str, str]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": text, "domain": "googleapis.com"}


QUOTA = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": []}
ERRORS: dict[str, Answer] = {
    "429": error(429, "RESOURCE_EXHAUSTED"),
    "429 body": error(429, "RESOURCE_EXHAUSTED", QUOTA, delay("33s")),
    "429 fraction": error(429, "RESOURCE_EXHAUSTED", delay("0.5s")),
    "429 seconds": error(429, "RESOURCE_EXHAUSTED", retry_after="7"),
    "429 nonsense": error(429, "RESOURCE_EXHAUSTED", delay("soon")),
    "429 html": Answer(429, b"<html>"),
    "429 billing": error(429, "RESOURCE_EXHAUSTED", message="check your plan and billing details"),
    "403 billing": error(403, "PERMISSION_DENIED", reason("BILLING_DISABLED")),
    "400 billing": error(400, "FAILED_PRECONDITION", message="enable billing on the project"),
    "400": error(400, "INVALID_ARGUMENT"),
    "400 region": error(400, "FAILED_PRECONDITION", message="User location is not supported"),
    "400 rules": error(400, "INVALID_ARGUMENT", message="some words that violate Google's Responsible AI practices"),
    "400 key": error(400, "INVALID_ARGUMENT", reason("API_KEY_INVALID"), message=f"API key not valid: {KEY}"),
    "403 key": error(403, "PERMISSION_DENIED", reason("API_KEY_INVALID")),
    "401": error(401, "UNAUTHENTICATED"),
    "403": error(403, "PERMISSION_DENIED"),
    "404": error(404, "NOT_FOUND"),
    "499": error(499, "CANCELLED"),
    "500": error(500, "INTERNAL"),
    "502": Answer(502, b"<html>"),
    "503": error(503, "UNAVAILABLE"),
    "504": error(504, "DEADLINE_EXCEEDED"),
}


def candidate(finish: str, *parts: dict[str, Any]) -> Answer:
    return Answer(200, {"candidates": [{"content": {"role": "model", "parts": list(parts)}, "finishReason": finish}]})


PICTURE_PART = {"inlineData": {"mimeType": "image/png", "data": B64}}
CONTENTS: dict[str, Answer] = {
    **ERRORS,
    "prompt SAFETY": Answer(200, {"promptFeedback": {"blockReason": "SAFETY"}}),
    "prompt BLOCKLIST": Answer(200, {"promptFeedback": {"blockReason": "BLOCKLIST"}}),
    "prompt PROHIBITED_CONTENT": Answer(200, {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
    "prompt IMAGE_SAFETY": Answer(200, {"promptFeedback": {"blockReason": "IMAGE_SAFETY"}}),
    "prompt OTHER": Answer(200, {"promptFeedback": {"blockReason": "OTHER"}}),
    "prompt new": Answer(200, {"promptFeedback": {"blockReason": "A_REASON_OF_TOMORROW"}}),
    **{
        name: candidate(name)
        for name in ("SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION", "IMAGE_SAFETY",
                     "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION")
    },
    **{name: candidate(name) for name in ("NO_IMAGE", "IMAGE_OTHER", "MALFORMED_RESPONSE", "OTHER", "TOMORROW")},
    "words only": candidate("STOP", {"text": "some words instead of a picture"}),
    "no candidates": Answer(200, {"candidates": []}),
    "no image": candidate("STOP", {"inlineData": {"mimeType": "image/png", "data": "aGVsbG8gd29ybGQ="}}),
    "html": HTML,
    "cut": Answer(200, candidate("STOP", PICTURE_PART).body, cut=60),
    "hang": HANG,
}  # fmt: skip
CHARGED = frozenset({"ok", "hang", "cut", "504"})


def demand_content(fake: FakeServer, body: Any) -> None:
    """What both doors want of a request for a picture."""
    fake.demand(set(body) <= {"contents", "generationConfig", "safetySettings", "systemInstruction"}, "unknown field")
    (content,) = body["contents"]
    fake.demand(content["role"] == "user", "the user speaks")
    for part in content["parts"]:
        inline = part.get("inlineData")
        fake.demand(part.get("text") or inline["data"], "an empty part")
        # The SDK writes one name in each style; the API takes both.
        fake.demand(inline is None or (inline.get("mimeType") or inline.get("mime_type")) == "image/png", "the type")
    config = body["generationConfig"]
    fake.demand("IMAGE" in config["responseModalities"], "a picture is wanted")
    fake.demand(set(config.get("imageConfig", {})) <= {"aspectRatio", "imageSize"}, "unknown field")


class FakeGemini(FakeServer):
    """The Gemini API: `generateContent`, and interactions in the background for films."""

    auth = ("x-goog-api-key", KEY)
    MODELS = frozenset({"gemini-3.1-flash-image", "gemini-3-pro-image"})
    ERRORS = CONTENTS
    POLLS: ClassVar[dict[str, Any]] = {
        "failed": {"status": "failed", "errors": [{"code": "https://errors.test/internal", "message": "some words"}]},
        "safety": {"status": "failed", "errors": [{"code": "https://errors.test/safety", "message": "some words"}]},
        "step": {"status": "incomplete", "steps": [{"type": "model_output", "error": {"code": 3, "message":
                 "some words were blocked: violence"}}]},
        "cancelled": {"status": "cancelled"},
        "budget": {"status": "budget_exceeded"},
        "requires_action": {"status": "requires_action"},
        "requires_continuation": {"status": "requires_continuation"},
        "dreaming": {"status": "dreaming"},
        "empty": {"status": "completed", "steps": []},
        "no film": {"status": "completed", "steps": [{"type": "model_output", "content": [
                    {"type": "video", "data": B64, "mime_type": "video/mp4"}]}]},
        "elsewhere": {"status": "completed", "steps": [{"type": "model_output", "content": [
                      {"type": "video", "uri": "https://example.test/x", "mime_type": "video/mp4"}]}]},
    }  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.interactions: dict[str, int] = {}
        self.deleted: list[str] = []
        self.cancelled: list[str] = []
        self.on_poll: list[str] = []
        self.pending = 1
        self.by_address = False

    def route(self, seen: Seen) -> Answer:
        if not self.authorised(seen):
            return CONTENTS["400 key"]
        self.demand("key=" not in seen.query, "the key lands in logs")
        path = seen.path.removeprefix("/v1")
        if (seen.method, path) == ("GET", "/models"):
            return Answer(200, {"models": [{"name": "models/gemini-3.1-flash-image"}], "nextPageToken": "x"})
        found = re.fullmatch(r"/models/([\w.-]+):generateContent", path)
        if found is not None:
            return self._content(seen, found[1])
        if path.startswith("/files/"):
            return Answer(200, FILM, {"content-type": "video/mp4"})
        if (seen.method, path) == ("POST", "/interactions"):
            return self._started(seen)
        found = re.fullmatch(r"/interactions/([\w-]+)(/cancel)?", path)
        self.demand(found, "no such path")
        assert found is not None
        return self._asked(seen, found[1], found[2])

    def _content(self, seen: Seen, model: str) -> Answer:
        demand_content(self, seen.json)
        if model not in self.MODELS:
            return ERRORS["404"]
        scenario = self.scenario()
        if scenario in CHARGED:
            self.charge()
        if isinstance(scenario, Answer):
            return scenario
        return candidate("STOP", {"text": "Here it is"}, PICTURE_PART) if scenario == "ok" else CONTENTS[scenario]

    def _started(self, seen: Seen) -> Answer:
        body = seen.json
        self.demand(set(body) <= {"model", "input", "response_format", "background", "store", "webhook_config"},
                    "unknown field")  # fmt: skip
        self.demand(set(body.get("webhook_config", {})) <= {"uris", "user_metadata"}, "unknown field")
        self.demand(body["model"].startswith("gemini-omni-"), "a model that makes films")
        self.demand(body["background"] is True and body["store"] is True, "only what is stored can be asked for")
        (turn,) = body["input"]
        self.demand(turn["type"] == "user_input" and turn["content"], "the input")
        self.demand(body["response_format"]["type"] == "video", "a film is wanted")
        self.demand(set(body["response_format"]) <= {"type", "delivery", "resolution", "aspect_ratio", "duration"},
                    "unknown field")  # fmt: skip
        scenario = self.scenario()
        if scenario in CHARGED:
            self.charge()
        if scenario != "ok":
            return {"no id": Answer(200, {"status": "queued"})}.get(str(scenario)) or CONTENTS[str(scenario)]
        name = f"v1_{len(self.interactions)}"
        self.interactions[name] = 0
        return Answer(200, self._interaction(name, "queued"))

    def _asked(self, seen: Seen, name: str, cancel: str | None) -> Answer:
        if name not in self.interactions:
            return ERRORS["404"]
        if cancel:
            self.demand(seen.method == "POST", "POST cancels")
            self.cancelled.append(name)
            return Answer(200, self._interaction(name, "cancelled"))
        if seen.method == "DELETE":
            del self.interactions[name]
            self.deleted.append(name)
            return Answer(200, {})
        if self.on_poll:
            scenario = self.on_poll.pop(0)
            wrong = ERRORS.get(scenario)
            return wrong or Answer(200, self._interaction(name, "") | self.POLLS[scenario])
        self.interactions[name] += 1
        if self.interactions[name] <= self.pending:
            return Answer(200, self._interaction(name, "in_progress"))
        film: dict[str, Any] = {"type": "video", "mime_type": "video/mp4"}
        film |= {"uri": f"{self.url}/v1/files/f1:download?alt=media"} if self.by_address else {"data": FILM64}
        steps = [{"type": "thought"}, {"type": "model_output", "content": [film]}]
        return Answer(200, self._interaction(name, "completed") | {"steps": steps})

    def _interaction(self, name: str, status: str) -> dict[str, Any]:
        when = "2026-11-24T00:00:00Z"
        return {"id": name, "object": "interaction", "status": status, "created": when, "updated": when, "steps": []}


class FakeVertex(FakeServer):
    """A project at Vertex: `generateContent`, and Veo's long-running predictions."""

    PLACE = "/v1beta1/projects/p-1/locations/eu"
    MODELS = FakeGemini.MODELS
    ERRORS = CONTENTS
    POLLS: ClassVar[dict[str, Any]] = {
        "filtered": {"done": True, "response": {"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": [
                     "some words: violence"]}},
        "refused": {"done": True, "error": {"code": 3, "message": "some words violate the usage guidelines"}},
        "internal": {"done": True, "error": {"code": 13, "message": "some words"}},
        "crowded": {"done": True, "error": {"code": 8, "message": "some words"}},
        "bucket": {"done": True, "response": {"videos": [{"gcsUri": "gs://somebody/elses", "mimeType": "video/mp4"}]}},
        "empty": {"done": True, "response": {}},
        "no film": {"done": True, "response": {"videos": [{"bytesBase64Encoded": B64, "mimeType": "video/mp4"}]}},
        "nameless": {"name": None, "done": "perhaps"},
    }  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.public_key: Any = None
        self.operations: dict[str, int] = {}
        self.on_poll: list[str] = []
        self.pending = 1

    def route(self, seen: Seen) -> Answer:
        if not self._known(seen):
            return ERRORS["401"]
        described = re.fullmatch(r"/v1beta1/publishers/google/models/([\w.-]+)", seen.path)
        if seen.method == "GET" and described is not None:
            if described[1] not in self.MODELS:
                return ERRORS["404"]
            return Answer(200, {"name": f"publishers/google/models/{described[1]}", "versionId": "default"})
        found = re.fullmatch(
            rf"{self.PLACE}/publishers/google/models/([\w.-]+):(\w+)", seen.path.replace("4711", "p-1")
        )
        self.demand(seen.method == "POST" and found, "no such path")
        assert found is not None
        model, verb = found.groups()
        if verb == "fetchPredictOperation":
            return self._asked(seen.json["operationName"], model)
        scenario = str(self.scenario())
        if verb == "generateContent":
            demand_content(self, seen.json)
            if model not in self.MODELS:
                return ERRORS["404"]
            if scenario in CHARGED:
                self.charge()
            return candidate("STOP", PICTURE_PART) if scenario == "ok" else CONTENTS[scenario]
        self.demand(verb == "predictLongRunning" and model.startswith("veo-"), "a model that makes films")
        (instance,) = seen.json["instances"]
        self.demand(instance["prompt"], "the prompt")
        parameters = seen.json["parameters"]
        self.demand(parameters["sampleCount"] == 1 and "storageUri" not in parameters, "one film, into no bucket")
        self.demand(isinstance(parameters.get("durationSeconds", 8), int), "a duration is a number")
        if scenario in CHARGED:
            self.charge()
        if scenario != "ok":
            return Answer(200, {"name": "x"}) if scenario == "no name" else CONTENTS[scenario]
        # The project is named by its number, whatever it was called by.
        name = f"projects/4711/locations/eu/publishers/google/models/{model}/operations/op-{len(self.operations)}"
        self.operations[name] = 0
        return Answer(200, {"name": name})

    def _asked(self, name: str, model: str) -> Answer:
        if name not in self.operations:
            return ERRORS["404"]
        self.demand(f"/{model}/" in name, "an operation of that model")
        if self.on_poll:
            scenario = self.on_poll.pop(0)
            return ERRORS.get(scenario) or Answer(200, {"name": name} | self.POLLS[scenario])
        self.operations[name] += 1
        if self.operations[name] <= self.pending:
            return Answer(200, {"name": name})
        videos = [{"bytesBase64Encoded": FILM64, "mimeType": "video/mp4"}]
        return Answer(200, {"name": name, "done": True, "response": {"raiMediaFilteredCount": 0, "videos": videos}})

    def _known(self, seen: Seen) -> bool:
        if self.authorised(seen) or seen.headers.get("x-goog-api-key") == "AIza-canary":
            return True
        scheme, _, token = seen.headers.get("authorization", "").partition(" ")
        if self.public_key is None or scheme != "Bearer" or token.count(".") != 2:
            return False
        signed, _, signature = token.rpartition(".")
        try:
            self.public_key.verify(_unpadded(signature), signed.encode(), PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        claims = json.loads(_unpadded(signed.partition(".")[2]))
        return "cloud-platform" in claims["scope"] and 0 < claims["exp"] - claims["iat"] <= 3600


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
