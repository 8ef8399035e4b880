"""ByteDance's Ark, written from its SDK and its pages on tasks, pictures and errors."""

from __future__ import annotations

import re
from typing import Any, ClassVar
from urllib.parse import parse_qs

from tests.fakes.films import FakeFilms
from tests.fakes.server import B64, LIMITED, Answer, Seen


def _coded(status: int, code: str) -> Answer:
    return Answer(status, {"error": {"code": code, "message": "some words", "param": "", "type": "some type"}})


def _ended(code: str) -> dict[str, Any]:
    return {"status": "failed", "error": {"code": code, "message": "some words about violence"}}


class FakeArk(FakeFilms):
    """Tasks for films, base64 for pictures. DELETE cancels what is queued, deletes what has ended, refuses the rest."""

    SUBMITS: ClassVar[dict[str, Answer]] = {
        **LIMITED,
        "400 MissingParameter": _coded(400, "MissingParameter"),
        "400 InvalidParameter": _coded(400, "InvalidParameter"),
        "400 InputTextRiskDetection": _coded(400, "InputTextRiskDetection"),
        "400 InputImageRiskDetection": _coded(400, "InputImageRiskDetection"),
        "400 InputTextSensitiveContentDetected": _coded(400, "InputTextSensitiveContentDetected"),
        "400 InputImageSensitiveContentDetected": _coded(400, "InputImageSensitiveContentDetected.PolicyViolation"),
        "400 InputVideoSensitiveContentDetected": _coded(400, "InputVideoSensitiveContentDetected"),
        "400 OutputImageSensitiveContentDetected": _coded(400, "OutputImageSensitiveContentDetected"),
        "401": _coded(401, "AuthenticationError"),
        "403 AccountOverdueError": _coded(403, "AccountOverdueError"),
        "403 AccessDenied": _coded(403, "AccessDenied"),
        "404 InvalidEndpointOrModel": _coded(404, "InvalidEndpointOrModel.NotFound"),
        "404 ModelNotOpen": _coded(404, "ModelNotOpen"),
        "429 RateLimitExceeded": _coded(429, "RateLimitExceeded.EndpointRPMExceeded"),
        "429 ModelAccountRpmRateLimitExceeded": _coded(429, "ModelAccountRpmRateLimitExceeded"),
        "429 QuotaExceeded": _coded(429, "QuotaExceeded"),
        "429 ServerOverloaded": _coded(429, "ServerOverloaded"),
        "500": _coded(500, "InternalServiceError"),
        "502": Answer(502, b"<html>"),
        "no id": Answer(200, {}),
    }
    POLLS: ClassVar[dict[str, Any]] = {
        "OutputVideoSensitiveContentDetected": _ended("OutputVideoSensitiveContentDetected"),
        "InputImageRiskDetection": _ended("InputImageRiskDetection"),
        "InternalServiceError": _ended("InternalServiceError"),
        "ServerOverloaded": _ended("ServerOverloaded"),
        "no error": {"status": "failed"},
        "cancelled": {"status": "cancelled"},
        "expired": {"status": "expired"},
        "empty": {"status": "succeeded", "content": {}},
        "dreaming": {"status": "dreaming"},
    }

    def __init__(self) -> None:
        super().__init__()
        self.pictures_made: list[Any] = [{"b64_json": B64, "size": "8x6"}]

    def route(self, seen: Seen) -> Answer:
        if seen.path.startswith("/files/"):
            self.demand("authorization" not in seen.headers, "no credential where results lie")
            return self.file()
        if not self.authorised(seen):
            return self.SUBMITS["401"]
        path = seen.path.removeprefix("/api/v3")
        if seen.method == "POST":
            return self.submitted(seen, path)
        if (seen.method, path) == ("GET", "/contents/generations/tasks"):
            asked = parse_qs(seen.query)
            self.demand(set(asked) <= {"page_num", "page_size", "filter.task_ids"}, "no such filter")
            wanted = asked.get("filter.task_ids", list(self.tasks))
            found_tasks = [{"id": task, "status": "succeeded"} for task in self.tasks if task in wanted]
            return Answer(200, {"items": found_tasks, "total": len(found_tasks)})
        found = re.fullmatch(r"/contents/generations/tasks/([\w-]+)", path)
        self.demand(found, "no such path")
        assert found is not None
        task = found[1]
        if not self.exists(task):
            return _coded(404, "ResourceNotFound")
        if seen.method == "DELETE":
            if 0 < self.tasks[task] <= self.pending:
                return _coded(409, "InvalidAction.RunningTaskDeletion")
            (self.erased if self.tasks[task] else self.cancelled).append(task)
            return Answer(200, {})
        about = {"id": task, "model": "seedance-1-0-pro-250528", "created_at": 1, "updated_at": 2}
        ordered = self.take()
        if ordered is not None:
            return Answer(200, about | ordered)
        if self.waits(task):
            return Answer(200, about | {"status": "running"})
        content = {"video_url": self.result_of(task)}
        return Answer(200, about | {"status": "succeeded", "content": content, "usage": {"completion_tokens": 9}})

    def submitted(self, seen: Seen, path: str) -> Answer:
        body = {name: value for name, value in seen.json.items() if value is not None}
        self.demand(body["watermark"] is False and type(body.get("seed", 1)) is int, "watermark or seed")
        if path == "/images/generations":
            self.demand(
                set(body) <= {"model", "prompt", "image", "response_format", "size", "watermark", "seed"}, "fields"
            )
            self.demand(body["response_format"] == "b64_json" and body["prompt"], "no address for a picture")
            self.demand(_is_image(body.get("image", "https://")), "image")
            task, wrong = self.begun(picture=True)
            return wrong or Answer(200, {
                "model": body["model"], "created": 1, "data": self.pictures_made, "usage": {"generated_images": 1},
            })  # fmt: skip
        self.demand(path == "/contents/generations/tasks", "no such path")
        self.demand(
            set(body) <= {"model", "content", "ratio", "resolution", "duration", "watermark", "seed", "callback_url"},
            "fields",
        )
        text, *pictures = body["content"]
        self.demand(text["type"] == "text" and text["text"], "text")
        for each in pictures:
            self.demand(set(each) == {"type", "image_url", "role"} and each["role"] == "first_frame", "image_url")
            self.demand(_is_image(each["image_url"]["url"]), "image_url")
        self.demand(type(body.get("duration", 1)) is int, "duration")
        task, wrong = self.begun(picture=False)
        return wrong or Answer(200, {"id": task})


def _is_image(url: str) -> bool:
    return url.startswith(("data:image/png;base64,", "https://"))
