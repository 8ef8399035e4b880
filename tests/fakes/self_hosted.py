"""Servers one runs oneself, written from their source. Neither asks for a key by itself; a proxy before it does."""

from __future__ import annotations

import base64
import re
from typing import Any, ClassVar
from urllib.parse import parse_qs

from tests.fakes.server import B64, HANG, HTML, LIMITED, Answer, FakeServer, Seen
from tests.fakes.task_vendors import FakeTasks


def _a1111(status: int, error: str, detail: str = "some words") -> Answer:
    return Answer(status, {"error": error, "detail": detail, "body": "", "errors": "some words"})


class FakeAutomatic1111(FakeServer):
    """AUTOMATIC1111 with `--api`. It saves every picture unless told not to, which the fake takes amiss."""

    PROCESSING = frozenset({
        "prompt", "negative_prompt", "steps", "cfg_scale", "width", "height", "denoising_strength", "seed",
        "sampler_name", "batch_size", "n_iter", "override_settings", "override_settings_restore_afterwards",
        "send_images", "save_images", "alwayson_scripts",
    })  # fmt: skip
    ERRORS: ClassVar[dict[str, Answer]] = {
        **LIMITED,
        "400": _a1111(400, "HTTPException"),
        "401": Answer(401, {"detail": "Incorrect username or password"}),
        "403": Answer(403, {"detail": "some words"}),
        "404": Answer(404, {"detail": "Not Found"}),
        "404 sampler": _a1111(404, "HTTPException", "Sampler not found"),
        "404 checkpoint": _a1111(404, "HTTPException", "Checkpoint not found"),
        "422": Answer(422, {"detail": [{"loc": ["body", "steps"], "msg": "some words", "type": "int_parsing"}]}),
        "500": _a1111(500, "RuntimeError"),
        "500 memory": _a1111(500, "OutOfMemoryError"),
        "500 image": _a1111(500, "HTTPException", "Invalid encoded image"),
        "502": Answer(502, b"<html>"),
        "503": Answer(503, b""),
        "504": Answer(504, b"<html>"),
        "no picture": Answer(200, {"images": [], "parameters": {}, "info": "{}"}),
        "no pictures": Answer(200, {"images": None, "parameters": {}, "info": "{}"}),
        "no image": Answer(200, {"images": ["aGVsbG8gd29ybGQ="], "parameters": {}, "info": "{}"}),
        "html": HTML,
        "cut": Answer(200, {"images": [B64]}, cut=60),
        "hang": HANG,
    }  # fmt: skip
    CHARGED = frozenset({"ok", "hang", "cut"})

    def route(self, seen: Seen) -> Answer:
        if not self.authorised(seen) and seen.headers.get("authorization", "") not in ("", self.basic):
            return self.ERRORS["401"]
        if (seen.method, seen.path) == ("GET", "/sdapi/v1/sd-models"):
            return Answer(200, [{"title": "sd_xl_base_1.0.safetensors [31e35c80fc]", "model_name": "sd_xl_base_1.0"}])
        self.demand(seen.method == "POST", "POST only")
        body = seen.json
        match seen.path:
            case "/sdapi/v1/extra-single-image":
                self.demand(set(body) <= {"image", "upscaling_resize", "upscaler_1", "upscaler_2"}, "unknown field")
                self.demand(base64.b64decode(body["image"], validate=True), "an image")
                self.demand(isinstance(body["upscaling_resize"], int | float), "a factor")
            case "/sdapi/v1/txt2img":
                self._saves_nothing(body, self.PROCESSING)
            case "/sdapi/v1/img2img":
                self._saves_nothing(body, self.PROCESSING | {"init_images", "include_init_images", "mask"})
                (image,) = body["init_images"]
                self.demand(not image.startswith("http"), "the server would fetch it")
                self.demand(base64.b64decode(image, validate=True), "an image")
                self.demand(body["width"] % 8 == body["height"] % 8 == 0, "sides are multiples of 8")
            case _:
                return self.ERRORS["404"]
        scenario = self.scenario()
        if scenario in self.CHARGED:
            self.charge()
        if isinstance(scenario, Answer):
            return scenario
        if scenario != "ok":
            return self.ERRORS[scenario]
        if seen.path.endswith("extra-single-image"):
            return Answer(200, {"html_info": "", "image": B64})
        # Behind the picture comes what an extension adds.
        return Answer(200, {"images": [B64, "bWFzaw=="], "parameters": body | {"init_images": None}, "info": "{}"})

    basic = "Basic " + base64.b64encode(b"user:password-canary").decode()

    def _saves_nothing(self, body: Any, known: frozenset[str]) -> None:
        self.demand(set(body) <= known, "unknown field")
        self.demand(body["prompt"], "the prompt")
        self.demand(body["save_images"] is False, "pictures would be saved")
        settings = body["override_settings"]
        self.demand(settings["enable_pnginfo"] is False, "the prompt would be written into the picture")
        self.demand(settings["save_init_img"] is False, "the upload would be saved")
        for name in ("steps", "width", "height", "seed", "batch_size", "n_iter"):
            self.demand(isinstance(body.get(name, 0), int), f"{name} is a number")


def _comfy(kind: str, **nodes: Any) -> Answer:
    error = {"type": kind, "message": "some words", "details": "some words", "extra_info": {}}
    return Answer(400, {"error": error, "node_errors": nodes})


def _node(field: str) -> dict[str, Any]:
    error = {"type": "value_not_in_list", "message": "some words", "extra_info": {"input_name": field}}
    return {"errors": [error], "dependent_outputs": ["9"], "class_type": "some words"}


def _ended(status: str, *messages: list[Any], outputs: Any = None) -> dict[str, Any]:
    told = [["execution_start", {"prompt_id": "x"}], *messages]
    return {"outputs": outputs or {}, "status": {"status_str": status, "completed": status == "success",
            "messages": told}, "meta": {}}  # fmt: skip


def _error(kind: str) -> list[Any]:
    return ["execution_error", {"exception_type": kind, "exception_message": "some words", "node_id": "6"}]


class FakeComfyUI(FakeTasks):
    """ComfyUI, with its files. `takes_ids` is false for the versions that give every task an id of their own."""

    SUBMITS: ClassVar[dict[str, Answer]] = {
        **LIMITED,
        "401": Answer(401, {"error": "some words"}),
        "403": Answer(403, b""),
        "413": Answer(413, b"too large"),
        "checkpoint": _comfy("prompt_outputs_failed_validation", **{"2": _node("ckpt_name")}),
        "image": _comfy("prompt_outputs_failed_validation", **{"1": _node("image")}),
        "sampler": _comfy("prompt_outputs_failed_validation", **{"6": _node("sampler_name")}),
        "no outputs": _comfy("prompt_no_outputs"),
        "500": Answer(500, b"some words"),
        "502": Answer(502, b"<html>"),
    }
    POLLS: ClassVar[dict[str, Any]] = {
        "error": _ended("error", _error("RuntimeError")),
        "memory": _ended("error", _error("torch.OutOfMemoryError")),
        "interrupted": _ended("error", ["execution_interrupted", {"node_id": "6"}]),
        "dreaming": _ended("dreaming"),
        "empty": _ended("success"),
        "text": _ended("success", outputs={"9": {"text": ["some words"]}}),
    }
    NODES = frozenset({"LoadImage", "CheckpointLoaderSimple", "CLIPTextEncode", "EmptyLatentImage", "VAEEncode",
                       "KSampler", "VAEDecode", "PreviewImage"})  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.takes_ids = True
        self.has_jobs = True
        self.checkpoints = ["sd_xl_base_1.0.safetensors", "other.safetensors"]
        self.files: dict[tuple[str, str], bytes] = {}
        self.graphs: dict[str, Any] = {}

    def route(self, seen: Seen) -> Answer:
        if not self.authorised(seen) and seen.headers.get("authorization", "") not in ("", FakeAutomatic1111.basic):
            return self.SUBMITS["401"]
        match seen.path.split("/")[1:]:
            case ["system_stats"]:
                return Answer(200, {"system": {"os": "linux", "comfyui_version": "0.9"}, "devices": []})
            case ["models", "checkpoints"]:
                return Answer(200, self.checkpoints)
            case ["upload", "image"]:
                return self._upload(seen)
            case ["prompt"]:
                return self._prompt(seen)
            case ["view"]:
                return self._view(seen)
            case ["queue"]:
                return self._queue(seen)
            case ["history", *rest]:
                return self._history(seen, rest)
            case ["api", "jobs", task, *rest] if self.has_jobs:
                return self._job(seen, task, rest)
        return Answer(404, b"404: Not Found")

    def _upload(self, seen: Seen) -> Answer:
        image = seen.parts["image"]
        kind, name = seen.parts["type"].content.decode(), str(image.filename)
        self.demand(kind in ("input", "temp", "output") and "/" not in name and ".." not in name, "a place")
        if "overwrite" not in seen.parts:
            while (kind, name) in self.files:
                name = name.replace(".png", " (1).png")
        self.files[kind, name] = image.content
        return Answer(200, {"name": name, "subfolder": "", "type": kind})

    def _prompt(self, seen: Seen) -> Answer:
        graph = seen.json["prompt"]
        self.demand({node["class_type"] for node in graph.values()} <= self.NODES, "no such node")
        for node in graph.values():
            for value in node["inputs"].values():
                self.demand(not isinstance(value, list) or value[0] in graph, "a link to a node that is not there")
        for field, kind in (("seed", int), ("steps", int), ("cfg", int | float), ("denoise", int | float)):
            self.demand(isinstance(graph["6"]["inputs"][field], kind), f"{field} is a number")
        if "1" in graph:
            name = graph["1"]["inputs"]["image"]
            self.demand(name.endswith(" [temp]"), "in the temporary directory")
            self.demand(self.files.get(("temp", name.removesuffix(" [temp]"))), "the upload is not there")
        scenario = str(self.scenario())
        if scenario not in ("ok", "lost"):
            return self.SUBMITS[scenario]
        task = seen.json["prompt_id"] if self.takes_ids else f"00000000-0000-4000-8000-{len(self.graphs):012}"
        self.demand(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", task), "a canonical UUID")
        self.demand(task not in self.graphs, "the same task was started twice")
        self.charge()
        self.tasks[task] = 0
        self.graphs[task] = graph
        answer = {"prompt_id": task, "number": 1, "node_errors": {}}
        return Answer(200, answer, cut=5 if scenario == "lost" else None)

    def _view(self, seen: Seen) -> Answer:
        query = {name: value[0] for name, value in parse_qs(seen.query).items()}
        content = self.files.get((query["type"], query["filename"]))
        if content is None:
            return Answer(404, b"")
        return self.file() if self.on_file else Answer(200, content, {"content-type": "image/png"})

    def _queue(self, seen: Seen) -> Answer:
        if seen.method == "POST":
            self.cancelled += seen.json["delete"]
            return Answer(200, b"")
        waiting = [[1, task, {}, {}, ["9"]] for task, polls in self.tasks.items() if polls <= self.pending]
        return Answer(200, {"queue_running": waiting[:1], "queue_pending": waiting[1:]})

    def _history(self, seen: Seen, rest: list[str]) -> Answer:
        if seen.method == "POST":
            for task in seen.json["delete"]:
                self.tasks.pop(task, None)
            return Answer(200, b"")
        (task,) = rest
        if task not in self.tasks or (not self.on_poll and self.waits(task)):
            return Answer(200, {})
        record = {"prompt": [1, task, self.graphs[task], {}, ["9"]]}
        if self.on_poll:
            return Answer(200, {task: record | self.POLLS[self.on_poll.pop(0)]})
        name = f"ComfyUI_temp_{task[:5]}_00001_.png"
        self.files.setdefault(("temp", name), self.picture)
        images = [{"filename": name, "subfolder": "", "type": "temp"}]
        return Answer(200, {task: record | _ended("success", outputs={"9": {"images": images}})})

    def _job(self, seen: Seen, task: str, rest: list[str]) -> Answer:
        if rest == ["cancel"]:
            self.demand(seen.method == "POST", "POST cancels")
            self.cancelled.append(task)
            return Answer(200, {"cancelled": task in self.tasks})
        known = task in self.tasks
        return Answer(200, {"id": task, "status": "pending"}) if known else Answer(404, {"error": "Job not found"})
