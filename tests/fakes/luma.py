"""Luma's Dream Machine, written from its SDK and its page on errors."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from tests.fakes.films import FakeFilms
from tests.fakes.server import LIMITED, Answer, Seen

RATIOS = {"1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21"}


class FakeLuma(FakeFilms):
    """Generations. Nothing here takes a picture but by a public address."""

    SUBMITS: ClassVar[dict[str, Answer]] = {
        **LIMITED,
        "400": Answer(400, {"detail": "Invalid request"}),
        "400 moderation": Answer(400, {"detail": "Prompt not allowed because advanced moderation failed: violence"}),
        "400 credits": Answer(400, {"detail": "Insufficient credits"}),
        "401": Answer(401, {"detail": "Not authenticated"}),
        "402": Answer(402, {"detail": "some words"}),
        "402 budget_exhausted": Answer(402, {"detail": "some words", "failure_code": "budget_exhausted"}),
        "403": Answer(403, {"detail": "Forbidden"}),
        "413": Answer(413, {"detail": "too large"}),
        "422": Answer(422, {"detail": [{"loc": ["body", "model"], "msg": "wrong", "type": "enum"}]}),
        "422 content_moderated": Answer(422, {"detail": "some words", "failure_code": "content_moderated"}),
        "500": Answer(500, {"detail": "oops"}),
        "502": Answer(502, b"<html>"),
        "503": Answer(503, {"detail": "busy"}),
        "no id": Answer(201, {"state": "queued"}),
    }
    POLLS: ClassVar[dict[str, Any]] = {
        "moderation": {"state": "failed", "failure_reason": "Output moderated: nudity"},
        "content_moderated": {"state": "failed", "failure_code": "content_moderated"},
        "budget_exhausted": {"state": "failed", "failure_code": "budget_exhausted"},
        "generation_failed": {"state": "failed", "failure_code": "generation_failed"},
        "output_not_found": {"state": "failed", "failure_code": "output_not_found"},
        "image_too_large": {"state": "failed", "failure_code": "image_too_large"},
        "unsupported_format": {"state": "failed", "failure_code": "unsupported_format"},
        "corrupt_input": {"state": "failed", "failure_code": "corrupt_input"},
        "invalid_request": {"state": "failed", "failure_code": "invalid_request"},
        "failed": {"state": "failed", "failure_reason": "some words"},
        "empty": {"state": "completed", "assets": {"video": None, "image": None}},
        "preview only": {"state": "completed", "assets": {"progress_video": "https://storage.cdn-luma.com/p.mp4"}},
        "pondering": {"state": "pondering"},
    }

    def route(self, seen: Seen) -> Answer:
        if seen.path.startswith("/files/"):
            self.demand("authorization" not in seen.headers, "no credential where results lie")
            return self.file()
        if not self.authorised(seen):
            return self.SUBMITS["401"]
        if (seen.method, seen.path) == ("GET", "/credits"):
            return Answer(200, {"credit_balance": 4200.0})
        if seen.method == "POST":
            return self.submitted(seen)
        found = re.fullmatch(r"/generations/([\w-]+)", seen.path)
        self.demand(found, "no such path")
        assert found is not None
        task = found[1]
        if not self.exists(task):
            return Answer(404, {"detail": "Generation not found"})
        if seen.method == "DELETE":
            self.erased.append(task)
            return Answer(204, b"")
        about = self.generation(task, "completed")
        ordered = self.take()
        if ordered is not None:
            return Answer(200, about | ordered)
        if self.waits(task):
            return Answer(200, about | {"state": "dreaming", "assets": None})
        if task in self.pictures:
            return Answer(200, about | {"assets": {"image": self.result_of(task)}})
        thumbnail = f"{self.url}/files/thumbnail.png"
        return Answer(200, about | {"assets": {"video": self.result_of(task), "image": thumbnail}})

    def submitted(self, seen: Seen) -> Answer:
        body, picture = seen.json, seen.path == "/generations/image"
        self.demand(seen.path in ("/generations/video", "/generations/image"), "no such path")
        self.demand(body["prompt"] and body.get("aspect_ratio", "1:1") in RATIOS, "prompt or aspect_ratio")
        fields = {"model", "prompt", "aspect_ratio", "callback_url"}
        if picture:
            self.demand(body["model"] in ("photon-1", "photon-flash-1"), "model")
            self.demand(set(body) <= fields | {"format"} and body.get("format", "jpg") in ("jpg", "png"), "fields")
        else:
            self.demand(body["model"] in ("ray-2", "ray-flash-2"), "model")
            self.demand(set(body) <= fields | {"duration", "resolution", "loop"}, "fields")
        task, wrong = self.begun(picture=picture)
        return wrong or Answer(201, self.generation(task, "queued"))

    def generation(self, task: str, state: str) -> dict[str, Any]:
        return {
            "id": task, "generation_type": "image" if task in self.pictures else "video", "state": state,
            "failure_reason": None, "created_at": "2026-11-23T00:00:00Z", "assets": None, "model": "ray-2",
        }  # fmt: skip
