"""Kling, written from its pages on tokens, codes and tasks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from typing import Any, ClassVar
from urllib.parse import parse_qs

from tests.fakes.films import FakeFilms
from tests.fakes.server import KEY, LIMITED, Answer, Seen

ACCESS = "access-canary-11"


def _coded(status: int, code: int, words: str = "some words") -> Answer:
    return Answer(status, {"code": code, "message": words, "request_id": "r-1"})


def _decoded(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


class FakeKling(FakeFilms):
    """Kling's tasks. Takes a second task of the same name, and charges it: nobody documents that it would not."""

    key = f"{ACCESS}:{KEY}"
    # The secret itself is never sent; what is sent starts like this.
    shown = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
    SUBMITS: ClassVar[dict[str, Answer]] = {
        **LIMITED,
        **{f"401 {code}": _coded(401, code) for code in (1000, 1001, 1002, 1003, 1004)},
        **{f"429 {code}": _coded(429, code) for code in (1100, 1101, 1102, 1302, 1303, 1304)},
        "403 1103": _coded(403, 1103),
        **{f"400 {code}": _coded(400, code) for code in (1200, 1201, 1202, 1300)},
        "404 1203": _coded(404, 1203),
        "400 1301": _coded(400, 1301, "some words about nudity"),
        "200 1301": _coded(200, 1301),
        "200 unknown code": _coded(200, 7777),
        "500 5000": _coded(500, 5000),
        "503 5001": _coded(503, 5001),
        "504 5002": _coded(504, 5002),
        "502": Answer(502, b"<html>"),
        "no id": Answer(200, {"code": 0, "data": {}}),
    }
    POLLS: ClassVar[dict[str, Any]] = {
        "risk": {"task_status": "failed", "task_status_msg": "Failure to pass the risk control system"},
        "failed": {"task_status": "failed", "task_status_msg": "some words"},
        "empty": {"task_status": "succeed", "task_result": {"videos": []}},
        "partial": {"task_status": "succeed", "task_result": {"videos": [{"id": "v-1"}]}},
        "succeeded": {"task_status": "succeeded"},
    }

    def __init__(self) -> None:
        super().__init__()
        self.named: dict[str, str] = {}
        self.skew = 0.0

    def authorised(self, seen: Seen) -> bool:
        kind, _, token = seen.headers.get("authorization", "").partition(" ")
        head, claims, mac = token.split(".")
        wanted = hmac.new(KEY.encode(), f"{head}.{claims}".encode(), hashlib.sha256).digest()
        self.demand(kind == "Bearer" and _decoded(head) == {"alg": "HS256", "typ": "JWT"}, "the head of the token")
        said, now = _decoded(claims), time.time() + self.skew
        self.demand(said["exp"] - said["nbf"] <= 1805 + 1, "a token lives half an hour")
        good = hmac.compare_digest(base64.urlsafe_b64decode(mac + "=" * (-len(mac) % 4)), wanted)
        return bool(said["iss"] == ACCESS and good and said["nbf"] <= now < said["exp"])

    def route(self, seen: Seen) -> Answer:
        if seen.path.startswith("/files/"):
            self.demand("authorization" not in seen.headers, "no credential where results lie")
            return self.file()
        if not self.authorised(seen):
            return self.SUBMITS["401 1003" if self.skew else "401 1000"]
        if (seen.method, seen.path) == ("GET", "/account/costs"):
            span = {name: int(values[0]) for name, values in parse_qs(seen.query).items()}
            self.demand(set(span) == {"start_time", "end_time"} and span["start_time"] < span["end_time"], "a span")
            self.demand(abs(span["end_time"] / 1000 - time.time()) < 3600, "milliseconds")
            return Answer(200, {"code": 0, "message": "SUCCEED", "request_id": "r-1", "data": {
                "code": 0, "msg": "success", "resource_pack_subscribe_infos": [],
            }})  # fmt: skip
        found = re.fullmatch(r"/v1/(videos/image2video|videos/text2video|images/generations)(?:/([\w-]+))?", seen.path)
        self.demand(found, "no such path")
        assert found is not None
        if seen.method == "POST":
            return self.submitted(seen, found[1])
        task = self.named.get(found[2], found[2])
        if task not in self.tasks or (task in self.pictures) is not (found[1] == "images/generations"):
            return _coded(404, 1203)
        ordered = self.take()
        if ordered is not None:
            return self.told(task, ordered)
        if self.waits(task):
            return self.told(task, {"task_status": "processing"})
        entry = {"index": 0, "url": self.result_of(task)}
        if task not in self.pictures:
            entry = {"id": "v-1", "url": self.result_of(task), "duration": "5"}
        kind = "images" if task in self.pictures else "videos"
        return self.told(task, {"task_status": "succeed", "task_result": {kind: [entry]}})

    def submitted(self, seen: Seen, path: str) -> Answer:
        body, picture = seen.json, path == "images/generations"
        self.demand(0 < len(body["prompt"]) <= 2500 and body["model_name"].startswith("kling-"), "prompt or model_name")
        fields = {"model_name", "prompt", "negative_prompt", "external_task_id", "callback_url"}
        if path != "videos/image2video":
            fields |= {"aspect_ratio"}
        if path != "videos/text2video":
            fields |= {"image"}
            self.demand(not body.get("image", "").startswith("data:"), "base64 without a prefix")
        if path == "videos/image2video":
            self.demand(base64.b64decode(body["image"], validate=True), "image")
        if not picture:
            fields |= {"mode", "duration"}
            self.demand(body["mode"] in ("std", "pro") and body["duration"] in ("5", "10"), "mode or duration")
        self.demand(set(body) <= fields, "no such field")
        task, wrong = self.begun(picture=picture)
        if task:
            self.named[body["external_task_id"]] = task
        return wrong or self.told(task, {"task_status": "submitted"})

    def told(self, task: str, data: dict[str, Any]) -> Answer:
        about = {"task_id": task, "created_at": 1722769557708, "updated_at": 1722769557708}
        return Answer(200, {"code": 0, "message": "SUCCEED", "request_id": "r-1", "data": about | data})
