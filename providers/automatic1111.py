"""
AUTOMATIC1111's server, or Forge, on a machine of one's own: one call that works while we wait and answers base64.

Written from the server's source (``modules/api/api.py``, ``modules/processing.py``); Forge by analogy. Start it with
``--api``, and with ``--api-auth user:password`` unless nobody else can reach it: then the key is ``user:password``.
Every call says that nothing is to be saved and that no prompt is to be written into the picture. Not verified: that an
extension installed there keeps to that. The server shows the pictures under way to whoever asks for its progress; that
cannot be switched off from here. A picture that nobody waits for any more is finished all the same.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Final

from providers.capabilities import Capabilities, EraseSupport, IdempotencySupport, Operation, Shape
from providers.errors import InvalidRequest, ProviderError, Transient
from providers.exchange import Done, Pending, Request
from providers.network import encoded, number, prompt_of
from providers.problems import Problem
from providers.self_hosted import FREE_WORK, SelfHostedProvider
from providers.transport import Call

_SIDE: Final = 8
"""Sides are multiples of this."""
_NO_MODEL: Final = re.compile(r"checkpoint|model", re.IGNORECASE)


class Automatic1111Provider(SelfHostedProvider):
    """Edits, makes and enlarges pictures on a machine of one's own."""

    name: ClassVar[str] = "automatic1111"
    option_names: ClassVar[frozenset[str]] = frozenset(
        {
            "negative_prompt", "steps", "cfg_scale", "denoising_strength", "seed", "sampler_name", "width", "height",
            "upscaler", "upscaling_resize",
        }
    )  # fmt: skip
    check_path: ClassVar[str | None] = "/sdapi/v1/sd-models"
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=frozenset({Operation.EDIT_IMAGE, Operation.GENERATE_IMAGE, Operation.UPSCALE}),
        shape=Shape.SYNC,
        network=True,
        first_party=True,
        charges=False,
        retention_note="A server of your own, told to save nothing; it holds the latest picture in memory.",
        max_input_side=4096,
        erase=EraseSupport.NOT_NEEDED,
        idempotency=IdempotencySupport.NOT_NEEDED,
        regions=("your own",),
    )

    def _submit(self, request: Request) -> Done | Pending:
        self.sink  # noqa: B018  what could not be kept is not made
        with self._reply(build(request, self._checkpoint(request.options.get("model")))) as reply:
            document = reply.document()
            single, several = document.at("image"), document.at("images")
            # What comes after the first of them are sheets and masks of extensions.
            return self._sealed([single] if single else several[:1] if isinstance(several, list) else [])

    def _failure(self, problem: Problem) -> ProviderError:
        return failure(problem)


def build(request: Request, checkpoint: str | None) -> Call:
    """Build the call for a request."""
    options = {
        name: number(value)
        for name, value in request.options.items()
        if name in Automatic1111Provider.option_names and not name.startswith("upscal")
    }
    if request.operation is Operation.UPSCALE:
        body: dict[str, Any] = {
            "image": encoded(request),
            "upscaling_resize": number(request.options.get("upscaling_resize", "2")),
            "upscaler_1": request.options.get("upscaler", "R-ESRGAN 4x+"),
        }
        return Call("POST", "/sdapi/v1/extra-single-image", FREE_WORK, json=body)
    settings: dict[str, Any] = {"enable_pnginfo": False, "save_init_img": False}
    if checkpoint is not None:
        settings["sd_model_checkpoint"] = checkpoint
    body = {
        "prompt": prompt_of(request, "automatic1111"),
        "batch_size": 1,
        "n_iter": 1,
        "send_images": True,
        "save_images": False,
        "override_settings": settings,
        "override_settings_restore_afterwards": True,
    }
    if request.input is None:
        return Call("POST", "/sdapi/v1/txt2img", FREE_WORK, json=body | options)
    # Left to itself the server makes every picture 512 pixels wide and high.
    body |= {"width": _side(request.input.width), "height": _side(request.input.height)}
    body |= {"init_images": [encoded(request)], "include_init_images": False}
    return Call("POST", "/sdapi/v1/img2img", FREE_WORK, json=body | options)


def failure(problem: Problem) -> ProviderError:
    """Explain an error."""
    error, detail = problem.document.text("error"), problem.document.text("detail")
    if "OutOfMemory" in error:
        return Transient("The server of 'automatic1111' has not enough memory at the moment.")
    if problem.status == 404 and detail == "Not Found":
        return InvalidRequest("The server of 'automatic1111' has no API; start it with --api.", field="provider")
    if "invalid encoded image" in detail.lower():
        return problem.invalid("input")
    if problem.status in (400, 404, 500) and "not found" in detail.lower() and _NO_MODEL.search(detail):
        return problem.gone()
    return problem.by_status()


def _side(pixels: int) -> int:
    return max(64, round(pixels / _SIDE) * _SIDE)
