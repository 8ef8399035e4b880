"""Runway, written from its SDK and its pages on inputs, outputs, errors and failures of tasks."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from tests.fakes.films import FakeFilms
from tests.fakes.server import LIMITED, Answer, Seen

FILM_RATIOS = {"1280:720", "720:1280", "1104:832", "960:960", "832:1104", "1584:672"}
PICTURE_RATIOS = {
    "1024:1024", "1080:1080", "1168:880", "1360:768", "1440:1080", "1080:1440", "1808:768", "1920:1080", "1080:1920",
    "2112:912", "1280:720", "720:1280", "720:720", "960:720", "720:960", "1680:720",
}  # fmt: skip


def _failed(code: str, credits: int | None = 0) -> dict[str, Any]:
    cost = {} if credits is None else {"cost": {"credits": credits}}
    return {"status": "FAILED", "failure": "some words about violence", "failureCode": code, **cost}


class FakeRunway(FakeFilms):
    """Runway's tasks. DELETE cancels one that runs and deletes one that has ended."""

    SUBMITS: ClassVar[dict[str, Answer]] = {
        **LIMITED,
        "400": Answer(400, {"error": "Validation of body failed", "issues": [{"path": ["ratio"]}]}),
        "400 credits": Answer(400, {"error": "You do not have enough credits to run this task."}),
        "401": Answer(401, {"error": "The API key is invalid"}),
        "404": Answer(404, {"error": "Not found"}),
        "405": Answer(405, {"error": "Method not allowed"}),
        "500": Answer(500, {"error": "oops"}),
        "502": Answer(502, b"<html>"),
        "503": Answer(503, {"error": "Service unavailable"}),
        "504": Answer(504, b"<html>"),
        "no id": Answer(200, {"estimatedCost": {"credits": 25}}),
    }
    POLLS: ClassVar[dict[str, Any]] = {
        "SAFETY.INPUT.TEXT": _failed("SAFETY.INPUT.TEXT"),
        "SAFETY.OUTPUT.VIDEO": _failed("SAFETY.OUTPUT.VIDEO", 25),
        "INPUT_PREPROCESSING.SAFETY.TEXT": _failed("INPUT_PREPROCESSING.SAFETY.TEXT"),
        "ASSET.INVALID": _failed("ASSET.INVALID"),
        "INTERNAL.BAD_OUTPUT.CODE01": _failed("INTERNAL.BAD_OUTPUT.CODE01"),
        "INTERNAL, kept the money": _failed("INTERNAL", 25),
        "INTERNAL, does not say": _failed("INTERNAL", None),
        "THIRD_PARTY.UNAVAILABLE": _failed("THIRD_PARTY.UNAVAILABLE", None),
        "CANCELLED": {"status": "CANCELLED", "cost": {"credits": 25}},
        "empty": {"status": "SUCCEEDED", "output": []},
        "DREAMING": {"status": "DREAMING"},
    }

    def route(self, seen: Seen) -> Answer:
        if seen.path.startswith("/files/"):
            self.demand("authorization" not in seen.headers, "no credential where results lie")
            return self.file()
        if not self.authorised(seen):
            return self.SUBMITS["401"]
        self.demand(seen.headers.get("x-runway-version") == "2024-11-06", "the version header is mandatory")
        if (seen.method, seen.path) == ("GET", "/v1/organization"):
            limits = {"gen4.5": {"maxConcurrentGenerations": 1, "maxDailyGenerations": 50}}
            usage = {"gen4.5": {"dailyGenerations": 3}}
            tier = {"maxMonthlyCreditSpend": 9000, "models": limits}
            return Answer(200, {"creditBalance": 500, "tier": tier, "usage": {"models": usage}})
        if seen.method == "POST":
            return self.submitted(seen)
        found = re.fullmatch(r"/v1/tasks/([\w-]+)", seen.path)
        self.demand(found, "no such path")
        assert found is not None
        task = found[1]
        if not self.exists(task):
            return self.SUBMITS["404"]
        if seen.method == "DELETE":
            (self.erased if self.tasks[task] else self.cancelled).append(task)
            return Answer(204, b"")
        about = {"id": task, "createdAt": "2026-11-23T00:00:00Z"}
        ordered = self.take()
        if ordered is not None:
            return Answer(200, about | ordered)
        if self.waits(task):
            state = {"status": "THROTTLED"} if self.tasks[task] > 1 else {"status": "RUNNING", "progress": 0.5}
            return Answer(200, about | state | {"estimatedCost": {"credits": 25}})
        return Answer(200, about | {"status": "SUCCEEDED", "cost": {"credits": 25}, "output": [self.result_of(task)]})

    def submitted(self, seen: Seen) -> Answer:
        body = seen.json
        words = body.get("promptText")
        self.demand(isinstance(words, str) and 0 < len(words) <= 1000, "promptText")
        fields = {"model", "promptText", "ratio", "seed"}
        if seen.path == "/v1/text_to_image":
            self.demand(body["model"] == "gen4_image" and body["ratio"] in PICTURE_RATIOS, "model or ratio")
            fields |= {"referenceImages"}
            for each in body.get("referenceImages", ()):
                self.demand(set(each) <= {"uri", "tag"} and _is_image(each["uri"]), "referenceImages")
        else:
            self.demand(seen.path in ("/v1/image_to_video", "/v1/text_to_video"), "no such path")
            self.demand(body["model"] == "gen4.5" and type(body["duration"]) is int, "model or duration")
            self.demand(2 <= body["duration"] <= 10, "duration")
            fields |= {"duration"}
            if seen.path == "/v1/image_to_video":
                fields |= {"promptImage"}
                self.demand(body["ratio"] in FILM_RATIOS and _is_image(body["promptImage"]), "ratio or promptImage")
            else:
                self.demand(body["ratio"] in ("1280:720", "720:1280"), "ratio")
        self.demand(set(body) <= fields, "no such field")
        task, wrong = self.begun(picture=seen.path == "/v1/text_to_image")
        return wrong or Answer(200, {"id": task, "estimatedCost": {"credits": 25}})


def _is_image(uri: str) -> bool:
    return uri.startswith(("data:image/png;base64,", "https://")) and len(uri) <= 5_000_000
