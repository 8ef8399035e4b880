"""Amazon Bedrock's asynchronous calls and the bucket they end in, written from botocore's description of both."""

from __future__ import annotations

import re
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote

from tests.fakes.bedrock import ACCESS_KEY, SECRET, TOKEN, FakeBedrock, signed
from tests.fakes.films import FILM, FakeFilms
from tests.fakes.server import Answer, Seen

ERRORS = FakeBedrock.ERRORS
BUCKET = "films-of-ours"
_ARN = "arn:aws:bedrock:us-west-2:123456789012:async-invoke/"


class FakeBedrockVideo(FakeFilms):
    """`StartAsyncInvoke`, `GetAsyncInvoke` and what of S3 is needed; the bucket is addressed by path."""

    key = f"{ACCESS_KEY}:{SECRET}:{TOKEN}"
    shown = ACCESS_KEY
    SUBMITS: ClassVar[dict[str, Answer]] = {
        name: ERRORS[name]
        for name in ("throttled", "quota", "denied", "signature", "model", "model id", "validation", "filters", "500",
                     "502", "503", "504")
    } | {
        "conflict": Answer(400, {"message": "some words"}, {"x-amzn-errortype": "ConflictException:http://x"}),
        "no id": Answer(200, {}),
        "strange id": Answer(200, {"invocationArn": "arn:aws:bedrock:x:y/../z"}),
    }  # fmt: skip
    POLLS: ClassVar[dict[str, Any]] = {
        "failed": {"status": "Failed", "failureMessage": "some words"},
        "refused": {"status": "Failed", "failureMessage": "some words blocked by our content filters: violence"},
        "empty": {"status": "Completed"},
        "dreaming": {"status": "Dreaming"},
    }

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, bytes] = {"films/other/output.mp4": FILM, f"films/{'0' * 12}1/kept.txt": b"x"}
        self.tokens: dict[str, tuple[bytes, str]] = {}
        self.remembers = True
        # What the bucket says of itself; as S3 says that nothing was ever set.
        self.settings = {
            "versioning=": Answer(200, b"<VersioningConfiguration/>"),
            "object-lock=": Answer(404, b"<Error><Code>ObjectLockConfigurationNotFoundError</Code></Error>"),
        }

    @property
    def output(self) -> str:  # type: ignore[override]  # of this account there always is one
        return f"{self.url}/{BUCKET}/films"

    def route(self, seen: Seen) -> Answer:
        of_bucket = seen.path.startswith(f"/{BUCKET}/")
        shown = seen.headers.get("authorization", "")
        if not signed(seen, shown, "s3" if of_bucket else "bedrock"):
            return Answer(403, b"<Error/>") if of_bucket else ERRORS["signature"]
        if of_bucket:
            return self.stored(seen)
        if seen.method == "POST":
            self.demand(seen.path == "/async-invoke", "no such path")
            return self.started(seen)
        if seen.path == "/async-invoke":
            self.demand(seen.query == "maxResults=1", "a short list")
            return Answer(200, {"asyncInvokeSummaries": []})
        arn = unquote(seen.path.removeprefix("/async-invoke/"))
        task = arn.removeprefix(_ARN)
        if task not in self.tasks:
            return ERRORS["model"]
        about = {"invocationArn": arn, "modelArn": "arn:aws:bedrock:us-west-2::foundation-model/luma.ray-v2:0",
                 "submitTime": "2026-11-23T00:00:00Z"}  # fmt: skip
        place = {"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/films/{task}"}}}
        ordered = self.take()
        if ordered is not None:
            if ordered["status"] == "Completed":
                self.objects.pop(f"films/{task}/output.mp4", None)
            return Answer(200, about | place | ordered)
        if self.waits(task):
            return Answer(200, about | place | {"status": "InProgress"})
        if task not in self.erased:
            self.objects |= {f"films/{task}/output.mp4": FILM, f"films/{task}/status & more.json": b"{}"}
        return Answer(200, about | place | {"status": "Completed", "endTime": "2026-11-23T00:01:00Z"})

    def started(self, seen: Seen) -> Answer:
        body = seen.json
        self.demand(set(body) == {"clientRequestToken", "modelId", "modelInput", "outputDataConfig"}, "the fields")
        self.demand(re.fullmatch(r"[!-~]{1,256}", body["clientRequestToken"]), "the token")
        self.demand(body["outputDataConfig"] == {"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/films"}}, "the bucket")
        given = body["modelInput"]
        self.demand(body["modelId"] == "luma.ray-v2:0" and given["prompt"], "model and prompt")
        self.demand(set(given) <= {"prompt", "aspect_ratio", "loop", "duration", "resolution", "keyframes"}, "no field")
        for frame in given.get("keyframes", {}).values():
            self.demand(
                frame["type"] == "image" and frame["source"].keys() == {"type", "media_type", "data"}, "a frame"
            )
        known = self.tokens.get(body["clientRequestToken"]) if self.remembers else None
        if known is not None:
            # A repetition is recognised by its token, and must be one.
            return Answer(200, {"invocationArn": known[1]}) if known[0] == seen.body else self.SUBMITS["conflict"]
        name, wrong = self.accept()
        if not name:
            assert wrong is not None
            return wrong
        task = f"{name.removeprefix('task-'):0>12}"
        self.tasks[task] = self.tasks.pop(name)
        self.tokens[body["clientRequestToken"]] = (seen.body, _ARN + task)
        return wrong or Answer(200, {"invocationArn": _ARN + task})

    def stored(self, seen: Seen) -> Answer:
        name = unquote(seen.path.removeprefix(f"/{BUCKET}/"))
        if not name and seen.query in self.settings:
            return self.settings[seen.query]
        if not name:
            asked = parse_qs(seen.query)
            self.demand(seen.method == "GET" and asked["list-type"] == ["2"], "the list of a folder")
            prefix = asked.get("prefix", [""])[0]
            if not prefix.startswith("films/"):
                # The account's policy has a condition on s3:prefix.
                return Answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            keys = [key for key in sorted(self.objects) if key.startswith(prefix)]
            listed = "".join(f"<Contents><Key>{key.replace('&', '&amp;')}</Key></Contents>" for key in keys)
            return Answer(200, f"<ListBucketResult>{listed}</ListBucketResult>".encode(), {"content-type": "text/xml"})
        if seen.method == "DELETE":
            if self.objects.pop(name, None) is not None and name.endswith("output.mp4"):
                self.erased.append(name.split("/")[1])
            return Answer(204, b"")
        if self.on_file:
            return self.file()
        found = self.objects.get(name)
        return Answer(404, b"<Error/>") if found is None else Answer(200, found, {"content-type": "video/mp4"})
