"""Alibaba's Model Studio (DashScope), written from its SDK and its page on asynchronous tasks."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from tests.fakes.films import FakeFilms
from tests.fakes.server import LIMITED, Answer, Seen

SERVICES = "/services/aigc"


def _coded(status: int, code: str, words: str = "some words") -> Answer:
    return Answer(status, {"request_id": "r-1", "code": code, "message": words})


def _ended(code: str, words: str = "some words") -> dict[str, Any]:
    return {"task_status": "FAILED", "code": code, "message": words}


class FakeDashScope(FakeFilms):
    """Tasks in the vendor's shape. One that does not exist is a success with the state UNKNOWN."""

    SUBMITS: ClassVar[dict[str, Answer]] = {
        **LIMITED,
        "400 Arrearage": _coded(400, "Arrearage"),
        "400 DataInspectionFailed": _coded(
            400, "DataInspectionFailed", "Input data may contain inappropriate content."
        ),
        "400 data_inspection_failed": _coded(400, "data_inspection_failed"),
        "400 InvalidParameter": _coded(400, "InvalidParameter.ImageSize"),
        "400 InvalidURL": _coded(400, "InvalidURL"),
        "401 InvalidApiKey": _coded(401, "InvalidApiKey"),
        "403 AccessDenied": _coded(403, "AccessDenied"),
        "404 ModelNotFound": _coded(404, "ModelNotFound"),
        "429 Throttling": _coded(429, "Throttling"),
        "429 Throttling.RateQuota": _coded(429, "Throttling.RateQuota"),
        "400 Throttling.AllocationQuota": _coded(400, "Throttling.AllocationQuota"),
        "500 InternalError.Timeout": _coded(500, "InternalError.Timeout"),
        "502": Answer(502, b"<html>"),
        "503 ServiceUnavailable": _coded(503, "ServiceUnavailable"),
        "no id": Answer(200, {"request_id": "r-1", "output": {"task_status": "PENDING"}}),
    }
    POLLS: ClassVar[dict[str, Any]] = {
        "refused input": _ended("DataInspectionFailed", "Input data may contain inappropriate content, violence."),
        "refused output": _ended("DataInspectionFailed", "Output data may contain inappropriate content."),
        "InvalidURL": _ended("InvalidURL"),
        "InternalError": _ended("InternalError.Algo"),
        "CANCELED": {"task_status": "CANCELED"},
        "UNKNOWN": {"task_status": "UNKNOWN"},
        "empty": {"task_status": "SUCCEEDED", "results": []},
        "nothing but errors": {
            "task_status": "SUCCEEDED",
            "results": [{"code": "DataInspectionFailed", "message": "Output data may contain inappropriate content."}],
        },
        "DREAMING": {"task_status": "DREAMING"},
    }

    def route(self, seen: Seen) -> Answer:
        if seen.path.startswith("/files/"):
            self.demand("authorization" not in seen.headers, "no credential where results lie")
            return self.file()
        if not self.authorised(seen):
            return self.SUBMITS["401 InvalidApiKey"]
        path = seen.path.removeprefix("/api/v1")
        found = re.fullmatch(r"/tasks/([\w-]+)(/cancel)?", path)
        if found is None:
            return self.submitted(seen, path)
        task = found[1]
        if found[2]:
            self.demand(seen.method == "POST", "POST cancels")
            if self.tasks.get(task):
                return _coded(400, "UnsupportedOperation", "Only a pending task can be cancelled.")
            self.cancelled.append(task)
            return Answer(200, {"request_id": "r-1"})
        return Answer(200, {"request_id": "r-1", "output": {"task_id": task} | self.state(task)})

    def state(self, task: str) -> dict[str, Any]:
        if not self.exists(task):
            return {"task_status": "UNKNOWN"}
        ordered = self.take()
        if ordered is not None:
            return dict(ordered)
        if self.waits(task):
            return {"task_status": "RUNNING"}
        if task in self.pictures:
            return {"task_status": "SUCCEEDED", "results": [{"url": self.result_of(task)}]}
        return {"task_status": "SUCCEEDED", "video_url": self.result_of(task)}

    def submitted(self, seen: Seen, path: str) -> Answer:
        self.demand(seen.method == "POST" and seen.headers.get("x-dashscope-async") == "enable", "tasks only")
        body = seen.json
        given, film = body["input"], "video" in path
        self.demand(set(body) <= {"model", "input", "parameters"} and given["prompt"], "fields or prompt")
        match path.removeprefix(SERVICES):
            case "/video-generation/video-synthesis":
                pictures = [given["img_url"]] if "i2v" in body["model"] else []
            case "/image2image/image-synthesis":
                self.demand("i2i" in body["model"], "model")
                pictures = given["images"]
            case "/text2image/image-synthesis":
                self.demand("t2i" in body["model"], "model")
                pictures = []
            case _:
                self.demand(False, "no such path")
        for each in pictures:
            self.demand(each.startswith(("data:image/png;base64,", "https://")), "picture")
        for name in ("duration", "seed", "n"):
            self.demand(type(body["parameters"].get(name, 1)) is int, f"{name} is a number")
        task, wrong = self.begun(picture=not film)
        return wrong or Answer(200, {"request_id": "r-1", "output": {"task_id": task, "task_status": "PENDING"}})
