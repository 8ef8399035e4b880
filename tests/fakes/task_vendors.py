"""Providers that make a task of every call, written from their documentation."""

from __future__ import annotations

import re
from typing import Any, ClassVar
from urllib.parse import parse_qs

from tests.fakes.server import HANG, HTML, KEY, LIMITED, PICTURE, Answer, FakeServer, Seen


class FakeTasks(FakeServer):
    """
    What these have in common: one list of scenarios for submits, one for polls, one for downloads.

    Results lie on the same server under `/files/`.
    """

    SUBMITS: ClassVar[dict[str, Answer]] = {}
    POLLS: ClassVar[dict[str, Any]] = {}
    FILES: ClassVar[dict[str, Answer]] = {
        "expired": Answer(403, b""), "gone": Answer(404, b""), "gone for good": Answer(410, b""),
        "html": HTML, "cut": Answer(200, PICTURE, cut=40),
    }  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.tasks: dict[str, int] = {}
        self.cancelled: list[str] = []
        self.on_poll: list[str] = []
        self.on_file: list[str] = []
        self.pending = 1

    def accept(self) -> tuple[str, Answer | None]:
        """Meet the scenario of a submit: the new task, or what goes wrong."""
        scenario = self.scenario()
        assert isinstance(scenario, str)
        if scenario not in ("ok", "hang"):
            return "", self.SUBMITS[scenario]
        self.charge()
        task = f"task-{len(self.tasks)}"
        self.tasks[task] = 0
        return task, HANG if scenario == "hang" else None

    def waits(self, task: str) -> bool:
        self.tasks[task] += 1
        return self.tasks[task] <= self.pending

    def file(self) -> Answer:
        return (
            self.FILES[self.on_file.pop(0)]
            if self.on_file
            else Answer(200, self.picture, {"content-type": "image/png"})
        )

    def result(self) -> str:
        return f"{self.url}/files/1.png?signature=abc"


class FakeReplicate(FakeTasks):
    """Replicate's predictions."""

    SUBMITS: ClassVar[dict[str, Answer]] = {
        **LIMITED,
        "throttled": Answer(429, {"detail": "Request was throttled. Your rate limit resets in ~30s."}),
        "401": Answer(401, {"title": "Unauthenticated"}),
        "402": Answer(402, {"title": "Insufficient credit"}),
        "404": Answer(404, {"detail": "The requested resource could not be found."}),
        "422": Answer(422, {"title": "Input validation failed", "detail": "- input: prompt is required"}),
        "500": Answer(500, {"detail": "oops"}),
        "502": Answer(502, b"<html>"),
        "no id": Answer(201, {"status": "starting"}),
    }
    POLLS: ClassVar[dict[str, Any]] = {
        "failed": {"status": "failed", "error": "CUDA out of memory"},
        "nsfw": {"status": "failed", "error": "NSFW content detected. Try running it again"},
        "sensitive": {"status": "failed", "error": "The input or output was flagged as sensitive (E005)"},
        "canceled": {"status": "canceled"},
        "canceled in time": {
            "status": "canceled",
            "deadline": "2026-11-23T00:15:00Z",
            "completed_at": "2026-11-23T00:03:00.5Z",
        },
        "canceled by deadline": {
            "status": "canceled",
            "deadline": "2026-11-23T00:15:00Z",
            "completed_at": "2026-11-23T00:15:01.123456Z",
        },
        "removed": {"status": "succeeded", "output": None, "data_removed": True},
        "empty": {"status": "succeeded", "output": None},
        "aborted": {"status": "aborted"},
    }

    def route(self, seen: Seen) -> Answer:
        if seen.path.startswith("/files/"):
            return self.file()
        if not self.authorised(seen):
            return self.SUBMITS["401"]
        path = seen.path.removeprefix("/v1")
        if (seen.method, path) == ("GET", "/account"):
            return Answer(200, {"type": "organization", "username": "acme", "name": "Acme", "github_url": ""})
        if (seen.method, path) == ("POST", "/predictions"):
            self.demand(set(seen.json) <= {"version", "input", "webhook", "webhook_events_filter", "stream"}, "fields")
            self.demand(re.fullmatch(r"[\w.-]+/[\w.-]+(:[0-9a-f]{64})?|[0-9a-f]{64}", seen.json["version"]), "version")
            self.demand(seen.json["input"]["prompt"], "prompt")
            image = seen.json["input"].get("input_image")
            self.demand(image is None or image.startswith(("data:image/png;base64,", "https://")), "image")
            task, wrong = self.accept()
            return wrong or Answer(201, self.prediction(task, "starting"))
        found = re.fullmatch(r"/predictions/([\w-]+)(/cancel)?", path)
        self.demand(found, "no such path")
        assert found is not None
        task = found[1]
        if task not in self.tasks:
            return self.SUBMITS["404"]
        if found[2]:
            self.demand(seen.method == "POST", "POST cancels")
            self.cancelled.append(task)
            return Answer(200, self.prediction(task, "canceled"))
        if self.on_poll:
            return Answer(200, self.prediction(task, "") | self.POLLS[self.on_poll.pop(0)])
        if self.waits(task):
            return Answer(200, self.prediction(task, "processing"))
        return Answer(200, self.prediction(task, "succeeded") | {"output": self.result()})

    def prediction(self, task: str, status: str) -> dict[str, Any]:
        return {
            "id": task, "model": "black-forest-labs/flux-kontext-pro", "version": "hidden", "status": status,
            "input": {}, "output": None, "error": None, "logs": "", "data_removed": False,
            "created_at": "2026-11-23T00:00:00Z",
            "urls": {"get": f"{self.url}/v1/predictions/{task}", "cancel": f"{self.url}/v1/predictions/{task}/cancel"},
        }  # fmt: skip


class FakeBfl(FakeTasks):
    """Black Forest Labs. Tasks live on a cluster of their own, so the address given is the only one that works."""

    auth = ("x-key", KEY)
    SUBMITS: ClassVar[dict[str, Answer]] = {
        **LIMITED,
        "400": Answer(400, {"detail": "bad"}),
        "401": Answer(401, {"detail": "Unauthorized"}),
        "402": Answer(402, {"detail": "Insufficient credits"}),
        "403": Answer(403, {"detail": "Not authenticated"}),
        "404": Answer(404, {"detail": "Not Found"}),
        "422": Answer(422, {"detail": [{"loc": ["body", "prompt"], "msg": "required", "type": "missing"}]}),
        "500": Answer(500, {}),
        "503": Answer(503, {}),
        "no id": Answer(200, {"cost": 4}),
    }
    POLLS: ClassVar[dict[str, Any]] = {
        "Request Moderated": {"status": "Request Moderated", "result": None},
        "Content Moderated": {"status": "Content Moderated", "result": None},
        "Error": {"status": "Error", "result": None},
        "Failed": {"status": "Failed", "result": None},
        "Task not found": {"status": "Task not found", "result": None},
        "Dreaming": {"status": "Dreaming"},
        "empty": {"status": "Ready", "result": {}},
    }

    def route(self, seen: Seen) -> Answer:
        if seen.path.startswith("/files/"):
            self.demand("x-key" not in seen.headers, "no credential where results lie")
            return self.file()
        if not self.authorised(seen):
            return self.SUBMITS["403"]
        if (seen.method, seen.path) == ("GET", "/v1/credits"):
            return Answer(200, {"credits": 42.5})
        if seen.method == "POST":
            self.demand(seen.path in ("/v1/flux-kontext-pro", "/v1/flux-pro-1.1"), "no such model")
            self.demand(seen.json["prompt"], "prompt")
            image = seen.json.get("input_image")
            self.demand(image is None or not image.startswith("data:"), "base64 without a prefix")
            task, wrong = self.accept()
            return wrong or Answer(200, {"id": task, "polling_url": f"{self.url}/cluster7/v1/get_result?id={task}"})
        self.demand(seen.path == "/cluster7/v1/get_result", "the address that came with the task")
        task = seen.query.removeprefix("id=")
        if task not in self.tasks:
            return Answer(200, {"id": task, **self.POLLS["Task not found"]})
        if self.on_poll:
            return Answer(200, {"id": task, **self.POLLS[self.on_poll.pop(0)]})
        if self.waits(task):
            return Answer(200, {"id": task, "status": "Pending", "result": None, "progress": 0.1})
        return Answer(200, {"id": task, "status": "Ready", "result": {"sample": self.result(), "seed": 4}})


def _fal(status: int, kind: str, **headers: str) -> Answer:
    detail = [{"loc": ["body"], "msg": "some words", "type": kind, "input": "what was sent"}]
    return Answer(status, {"detail": detail}, {name.replace("_", "-"): value for name, value in headers.items()})


class FakeFal(FakeTasks):
    """fal's queue. COMPLETED is said of every end; the answer itself tells which."""

    auth = ("authorization", f"Key {KEY}")
    SUBMITS: ClassVar[dict[str, Answer]] = {
        **LIMITED,
        "401": Answer(401, {"detail": "Cannot access application"}),
        "403": Answer(403, {"detail": "Forbidden"}),
        "403 balance": Answer(403, {"detail": "User is locked. Reason: Exhausted balance."}),
        "404": Answer(404, {"detail": "Application not found"}),
        "422": _fal(422, "value_error"),
        "500": Answer(500, {"detail": "oops"}),
        "502": Answer(502, b"<html>"),
        "start": Answer(504, {}, {"x-fal-request-timeout-type": "user"}),
        "retryable": Answer(400, {}, {"x-fal-retryable": "true"}),
        "no id": Answer(200, {"status": "IN_QUEUE"}),
    }
    POLLS: ClassVar[dict[str, Any]] = {
        "content_policy_violation": _fal(422, "content_policy_violation"),
        "image_too_small": _fal(422, "image_too_small"),
        **{
            kind: _fal(422, kind)
            for kind in ("image_too_large", "file_too_large", "unsupported_image_format", "face_detection_error")
        },
        "file_download_error": _fal(422, "file_download_error"),
        "no_media_generated": _fal(422, "no_media_generated"),
        "generation_timeout": _fal(504, "generation_timeout"),
        "downstream_service_error": _fal(400, "downstream_service_error"),
        "downstream_service_unavailable": _fal(503, "downstream_service_unavailable"),
        # The platform's own errors are flat, and their type stands in a header, too.
        "runner_disconnected": Answer(503, {"detail": "some words", "error_type": "runner_disconnected"}),
        "client_cancelled": Answer(499, {"detail": "some words"}, {"x-fal-error-type": "client_cancelled"}),
        "validation": _fal(422, "greater_than"),
        "gateway": Answer(502, b"<html>"),
        "nsfw": Answer(200, {"images": [{"url": "https://v3.fal.media/black.png"}], "has_nsfw_concepts": [True]}),
        "empty": Answer(200, {"images": []}),
        "retry header": Answer(500, {}, {"x-fal-retryable": "true"}),
    }

    def route(self, seen: Seen) -> Answer:
        if seen.path.startswith("/files/"):
            self.demand("authorization" not in seen.headers, "no credential where results lie")
            return self.file()
        if not self.authorised(seen):
            return self.SUBMITS["401"]
        if (seen.method, seen.path) == ("GET", "/v1/models/pricing"):
            named = parse_qs(seen.query)["endpoint_id"]
            prices = [{"endpoint_id": each, "unit_price": 0.04, "unit": "image", "currency": "USD"} for each in named]
            return Answer(200, {"prices": prices, "next_cursor": None, "has_more": False})
        found = re.fullmatch(r"/([\w-]+/[\w.-]+)/requests/([\w-]+)(/status|/cancel)?", seen.path)
        if found is None:
            self.demand(seen.method == "POST" and seen.path.startswith("/fal-ai/"), "no such path")
            image = seen.json.get("image_url")
            self.demand(image is None or image.startswith(("data:image/png;base64,", "https://")), "image")
            task, wrong = self.accept()
            base = f"{self.url}{'/'.join(seen.path.split('/')[:3])}/requests/{task}"
            return wrong or Answer(200, {
                "request_id": task, "gateway_request_id": task, "status": "IN_QUEUE", "queue_position": 0,
                "status_url": f"{base}/status", "response_url": base, "cancel_url": f"{base}/cancel",
            })  # fmt: skip
        task = found[2]
        if task not in self.tasks:
            return self.SUBMITS["404"]
        if found[3] == "/cancel":
            self.demand(seen.method == "PUT", "PUT cancels")
            self.cancelled.append(task)
            return Answer(202, {"status": "CANCELLATION_REQUESTED"})
        if found[3] == "/status":
            if self.waits(task):
                return Answer(202, {"status": "IN_PROGRESS", "request_id": task, "logs": None})
            return Answer(200, {"status": "COMPLETED", "request_id": task, "logs": None, "metrics": {}})
        if self.on_poll:
            answer: Answer = self.POLLS[self.on_poll.pop(0)]
            return answer
        entry = {"url": self.result(), "content_type": "image/png", "width": 8, "height": 6}
        return Answer(200, {"images": [entry], "seed": 1, "has_nsfw_concepts": [False]})
