"""Servers one runs oneself, written from their source. Neither asks for a key by itself; a proxy before it does."""

from __future__ import annotations

import base64
from typing import Any, ClassVar

from tests.fakes.server import B64, HANG, HTML, LIMITED, Answer, FakeServer, Seen


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
