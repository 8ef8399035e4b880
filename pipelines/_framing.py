"""How a rendition in a box is put together from the steps. Runs in the child."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

import pyvips

from pipelines._inspect import inspect
from pipelines._outcomes import RefusalCode
from pipelines._refusal import Refusal
from pipelines._wire import Bounds
from pipelines.renditions import BoxRendition
from pipelines.steps import background, decode
from pipelines.steps.colour import flatten
from pipelines.steps.crop import BoxPlan, corner, crop, plan_box, trim
from pipelines.steps.finish import sharpen_for_size, watermark


class Framed(NamedTuple):
    """The finished picture, in memory because encoding may be tried more than once, and how it was planned."""

    image: pyvips.Image
    plan: BoxPlan


def frame(image: pyvips.Image, spec: BoxRendition, source_size: tuple[int, int]) -> Framed:
    """
    Return the picture in its box, trimmed, sharpened and on its background as the rendition asks.

    `image` may have been reduced from `source_size` while it was decoded, but not where it is to be trimmed.
    """
    if spec.trim:
        image = trim(image)
        source_size = image.width, image.height
    plan = plan_box(*source_size, (spec.width, spec.height), spec.mode)
    if (image.width, image.height) != (plan.picture_width, plan.picture_height):
        image = image.thumbnail_image(plan.picture_width, height=plan.picture_height, size="force", no_rotate=True)
        # In memory: smart cropping and blurring each read the whole picture again.
        image = image.copy_memory()
    if spec.sharpen:
        image = sharpen_for_size(image, plan.scale)
    if spec.mode == "fill":
        image = crop(image, plan.width, plan.height, spec.focus)
    if spec.mode == "pad":
        # A subject that is looked for is kept whole by padding, so it goes to the middle.
        gravity = "centre" if spec.focus in ("attention", "entropy") else spec.focus
        left, top = corner(gravity, plan.width - image.width, plan.height - image.height)
        if spec.background_to is None and not spec.blurred_background:
            # One colour all around: laying it under the alpha first costs a fraction of compositing on a whole page.
            flat, colour = flatten(image, spec.background), list(spec.background)
            image = flat.embed(left, top, plan.width, plan.height, extend="background", background=colour)
        else:
            image = background.over(_under(image, plan, spec), image, left, top)
    elif spec.format == "jpeg":
        image = flatten(image, spec.background)
    return Framed(image.copy_memory(), plan)


def _under(image: pyvips.Image, plan: BoxPlan, spec: BoxRendition) -> pyvips.Image:
    if spec.blurred_background:
        return background.blurred(flatten(image, spec.background), plan.width, plan.height)
    return background.gradient(plan.width, plan.height, spec.background, spec.background_to or spec.background)


class Mark:
    """The recipe's watermark, decoded once in this child: a recipe may be wrong, and its picture is nobody's friend."""

    def __init__(self, fields: Mapping[str, Any] | None, bounds: Bounds) -> None:
        self._fields = fields
        self._bounds = bounds
        self._image: pyvips.Image | None = None

    def on(self, image: pyvips.Image) -> pyvips.Image:
        """
        Return the picture with the mark on it.

        Raises:
            Refusal: The mark is no PNG; so says the recipe's check before, unless the file was changed since.
        """
        if self._fields is None:
            return image
        if self._image is None:
            data = base64.b64decode(self._fields["png"])
            facts = inspect(data, self._bounds)
            if facts.format != "png":
                raise Refusal(RefusalCode.FORMAT_NOT_SUPPORTED)
            self._image = decode.load(data, "png", 1)
        marked = watermark(
            image,
            self._image,
            opacity=self._fields["opacity"],
            width=self._fields["width"],
            gravity=self._fields["gravity"],
            tile=self._fields["tile"],
        )
        return marked.copy_memory()
