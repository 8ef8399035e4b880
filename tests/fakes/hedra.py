"""Hedra, written from its SDK: uploads, tasks, its envelope of errors, and repetitions that it recognises."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from tests.fakes.films import FakeFilms
from tests.fakes.server import LIMITED, Answer, Seen


def _error(code: str, **more: Any) -> dict[str, Any]:
    return {"code": code, "message": "some words", "retryable": False, **more}


def _coded(status: int, code: str, **more: Any) -> Answer:
    return Answer(status, {"error": _error(code, **more), "trace_id": "0" * 32})


def _output(status: str, **more: Any) -> dict[str, Any]:
    return {"status": status, "asset_id": None, "url": None, "content_type": None, "error": None, **more}


class FakeHedra(FakeFilms):
    """A job per idempotency key; pictures are uploaded, and only the very address given back is taken."""

    SUBMITS: ClassVar[dict[str, Answer]] = {
        **LIMITED,
        "400 INVALID_ARGUMENT": _coded(400, "INVALID_ARGUMENT", param="start_image.url"),
        "400 FAILED_PRECONDITION": _coded(400, "FAILED_PRECONDITION"),
        "400 MODERATION_FAILED": _coded(400, "MODERATION_FAILED"),
        "401 UNAUTHORIZED": _coded(401, "UNAUTHORIZED"),
        "402 INSUFFICIENT_BALANCE": _coded(402, "INSUFFICIENT_BALANCE", billing={"balance": 0}),
        "403 PERMISSION_DENIED": _coded(403, "PERMISSION_DENIED"),
        "404 NOT_FOUND": _coded(404, "NOT_FOUND"),
        "409 ALREADY_EXISTS": _coded(409, "ALREADY_EXISTS"),
        "409 ALREADY_IN_PROGRESS": _coded(409, "ALREADY_IN_PROGRESS"),
        "410 GONE": _coded(410, "GONE", replaced_by="kling-v3"),
        "410 GONE, strange": _coded(410, "GONE", replaced_by="words and <b>more</b>"),
        "429 RESOURCE_EXHAUSTED": _coded(429, "RESOURCE_EXHAUSTED", retryable=True, retry_after=5),
        "499 CANCELLED": _coded(499, "CANCELLED"),
        "500 INTERNAL": _coded(500, "INTERNAL"),
        "500 UNKNOWN": _coded(500, "UNKNOWN"),
        "502": Answer(502, b"<html>"),
        "503 UNAVAILABLE": _coded(503, "UNAVAILABLE", retryable=True),
        "504 DEADLINE_EXCEEDED": _coded(504, "DEADLINE_EXCEEDED"),
        "no id": Answer(202, {"status": "IN_QUEUE"}),
    }
    POLLS: ClassVar[dict[str, Any]] = {
        "MODERATION_FAILED": {"status": "FAILED", "error": _error("MODERATION_FAILED")},
        "INVALID_ARGUMENT": {"status": "FAILED", "error": _error("INVALID_ARGUMENT", param="prompt")},
        "DEADLINE_EXCEEDED": {"status": "FAILED", "error": _error("DEADLINE_EXCEEDED")},
        "CANCELLED": {"status": "FAILED", "error": _error("CANCELLED")},
        "INTERNAL": {"status": "FAILED", "error": _error("INTERNAL")},
        "INTERNAL, paid back": {"status": "FAILED", "error": _error("INTERNAL"), "cost": 0.0, "currency": "USD"},
        "INTERNAL, kept the money": {"status": "FAILED", "error": _error("INTERNAL"), "cost": 0.25, "currency": "USD"},
        "RESOURCE_EXHAUSTED": {"status": "FAILED", "error": _error("RESOURCE_EXHAUSTED")},
        "no error": {"status": "FAILED", "error": None},
        "EXPIRED": {"status": "COMPLETED", "outputs": [_output("EXPIRED")]},
        "failed output": {"status": "COMPLETED", "outputs": [_output("FAILED", error=_error("MODERATION_FAILED"))]},
        "failed output, no cost": {
            "status": "COMPLETED",
            "outputs": [_output("FAILED", error=_error("INTERNAL"))],
            "cost": 0.0,
        },
        "strange output, no cost": {"status": "COMPLETED", "outputs": [_output("MOVED")], "cost": 0},
        "strange output, paid": {"status": "COMPLETED", "outputs": [_output("MOVED")], "cost": 0.25},
        "empty": {"status": "COMPLETED", "outputs": []},
        "DREAMING": {"status": "DREAMING"},
    }

    def __init__(self) -> None:
        super().__init__()
        self.uploads: list[str] = []
        self.keys: dict[str, str] = {}

    def route(self, seen: Seen) -> Answer:
        if seen.path.startswith("/files/"):
            self.demand("authorization" not in seen.headers, "no credential where results lie")
            return self.file()
        if not self.authorised(seen):
            return self.SUBMITS["401 UNAUTHORIZED"]
        path = seen.path.removeprefix("/v3")
        if (seen.method, path) == ("POST", "/files"):
            part = seen.parts["file"]
            self.demand(part.content.startswith(b"\x89PNG"), "a picture")
            self.uploads.append(f"{self.url}/uploads/{len(self.uploads)}.png?signature=abc")
            about = {"content_type": "image/png", "expires_at": "2026-11-23T01:00:00Z"}
            return Answer(200, about | {"url": self.uploads[-1]})
        if (seen.method, path) == ("GET", "/balance"):
            return Answer(200, {"balance": 9.5, "spent": None, "currency": "USD"})
        found = re.fullmatch(r"/(models|jobs)/([\w-]+)", path)
        self.demand(found, "no such path")
        assert found is not None
        if found[1] == "models":
            return self.submitted(seen, found[2])
        task = found[2]
        if not self.exists(task):
            return self.SUBMITS["404 NOT_FOUND"]
        about = {"job_id": task, "model": "m", "outputs": [], "error": None}
        ordered = self.take()
        if ordered is not None:
            return Answer(200, about | ordered)
        if self.waits(task):
            return Answer(200, about | {"status": "IN_PROGRESS"})
        return Answer(200, about | {"status": "COMPLETED", "outputs": [_output("COMPLETED", url=self.result_of(task))]})

    def submitted(self, seen: Seen, model: str) -> Answer:
        self.demand(seen.method == "POST" and set(seen.json) <= {"input", "webhook"}, "fields")
        given, key = seen.json["input"], seen.headers.get("idempotency-key", "")
        self.demand(key, "the SDK always sends a key")
        self.demand(given["aspect_ratio"] in ("16:9", "9:16", "1:1") and given["prompt"], "aspect_ratio or prompt")
        match model:
            case "kling-25-turbo":
                self.demand(type(given["duration_ms"]) is int, "duration_ms")
                self.demand(
                    set(given) <= {"prompt", "aspect_ratio", "resolution", "duration_ms", "start_image"}, "fields"
                )
                sources = [given["start_image"]] if "start_image" in given else []
            case "nano-banana":
                self.demand(given["resolution"] in ("1K", "2K", "4K"), "resolution")
                self.demand(set(given) <= {"prompt", "aspect_ratio", "resolution", "images", "seed"}, "fields")
                sources = given.get("images", [])
            case _:
                self.demand(False, "no such model")
        for source in sources:
            self.demand(source["source"] == "url" and source["url"] in self.uploads, "an upload's address, verbatim")
        if key in self.keys:
            return self.told(self.keys[key], model)
        task, wrong = self.begun(picture=model == "nano-banana")
        if task:
            self.keys[key] = task
        return wrong or self.told(task, model)

    def told(self, task: str, model: str) -> Answer:
        urls = {"status_url": f"/v3/jobs/{task}/status", "result_url": f"/v3/jobs/{task}"}
        return Answer(202, {"job_id": task, "model": model, "status": "IN_QUEUE", **urls})
