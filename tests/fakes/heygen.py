"""HeyGen, v3, written from its pages on creating films and on errors."""

from __future__ import annotations

import base64
import re
from typing import Any, ClassVar

from tests.fakes.films import FakeFilms
from tests.fakes.server import KEY, LIMITED, Answer, Seen


def _coded(status: int, code: str, **headers: str) -> Answer:
    about = {"code": code, "message": "some words about violence", "doc_url": "https://developers.heygen.com/docs"}
    return Answer(status, {"error": about}, {name.replace("_", "-"): value for name, value in headers.items()})


def _ended(code: str | None) -> dict[str, Any]:
    return {"status": "failed", "failure_code": code, "failure_message": "some words about violence"}


class FakeHeyGen(FakeFilms):
    """Films of speaking pictures and avatars."""

    auth = ("x-api-key", KEY)
    SUBMITS: ClassVar[dict[str, Answer]] = {
        **LIMITED,
        "400 invalid_parameter": _coded(400, "invalid_parameter"),
        "400 download_failed": _coded(400, "download_failed"),
        "400 content_moderation": _coded(400, "content_moderation"),
        "400 blocked_words_detected": _coded(400, "blocked_words_detected"),
        "401": _coded(401, "unauthorized"),
        "402": _coded(402, "insufficient_credit"),
        "400 insufficient_credit": _coded(400, "insufficient_credit"),
        "403 forbidden": _coded(403, "forbidden"),
        "403 resource_access_denied": _coded(403, "resource_access_denied"),
        "404 avatar_not_found": _coded(404, "avatar_not_found"),
        "429 rate_limit_exceeded": _coded(429, "rate_limit_exceeded", retry_after="11"),
        "500": _coded(500, "internal_error"),
        "502": Answer(502, b"<html>"),
        "no id": Answer(200, {"data": {"status": "pending"}}),
    }
    POLLS: ClassVar[dict[str, Any]] = {
        "moderation_failed": _ended("moderation_failed"),
        "insufficient_credit": _ended("insufficient_credit"),
        "download_failed": _ended("download_failed"),
        "render_failed": _ended("render_failed"),
        "no code": _ended(None),
        "empty": {"status": "completed", "video_url": None},
        "dreaming": {"status": "dreaming"},
    }

    def route(self, seen: Seen) -> Answer:
        if seen.path.startswith("/files/"):
            self.demand("x-api-key" not in seen.headers, "no credential where results lie")
            return self.file()
        if not self.authorised(seen):
            return self.SUBMITS["401"]
        if (seen.method, seen.path) == ("GET", "/v3/users/me"):
            wallet = {"currency": "usd", "remaining_balance": 12.5}
            return Answer(200, {"data": {"billing_type": "wallet", "email": "pool@example.test", "wallet": wallet}})
        if (seen.method, seen.path) == ("POST", "/v3/videos"):
            return self.submitted(seen)
        found = re.fullmatch(r"/v3/videos/([\w-]+)", seen.path)
        self.demand(found and seen.method in ("GET", "DELETE"), "no such path")
        assert found is not None
        task = found[1]
        if not self.exists(task):
            return _coded(404, "video_not_found")
        if seen.method == "DELETE":
            self.erased.append(task)
            return Answer(200, {"data": {"id": task}})
        ordered = self.take()
        if ordered is not None:
            return Answer(200, {"data": {"id": task} | ordered})
        if self.waits(task):
            return Answer(200, {"data": {"id": task, "status": "processing"}})
        return Answer(200, {"data": {"id": task, "status": "completed", "video_url": self.result_of(task)}})

    def submitted(self, seen: Seen) -> Answer:
        body = seen.json
        fields = {"type", "script", "voice_id", "aspect_ratio", "resolution", "background", "engine", "callback_url"}
        self.demand(body["script"] and body["voice_id"], "a script wants a voice")
        self.demand(body["engine"] in ({"type": "avatar_iv"}, {"type": "avatar_v"}), "engine")
        self.demand(body.get("aspect_ratio", "16:9") in ("16:9", "9:16", "auto"), "aspect_ratio")
        if body["type"] == "image":
            fields |= {"image"}
            image = body["image"]
            self.demand(image["type"] == "base64" and image["media_type"] == "image/png", "image")
            self.demand(base64.b64decode(image["data"], validate=True).startswith(b"\x89PNG"), "image")
        else:
            fields |= {"avatar_id"}
            self.demand(body["type"] == "avatar" and body["avatar_id"], "avatar_id")
        # The vendor answers "Extra inputs are not permitted".
        self.demand(set(body) <= fields, "no such field")
        task, wrong = self.begun(picture=False)
        return wrong or Answer(200, {"data": {"video_id": task, "status": "pending"}})
