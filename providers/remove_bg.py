"""
remove.bg: cuts the foreground out, at once.

Written from the vendor's OpenAPI document. Not verified: the limit of 22 MB in newer pages (12 MB is used), the names
of the headers beside ``Retry-After``, how long pictures are kept. The route ``/improve`` gives a picture away and is
never called.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

from providers.capabilities import Capabilities, EraseSupport, IdempotencySupport, Operation, Shape
from providers.errors import InvalidRequest, NothingToDo, ProviderError
from providers.exchange import Done, Pending, Request, SealedResult
from providers.network import NetworkProvider, picture
from providers.problems import Problem
from providers.replies import seal
from providers.transport import WORK, Call

_INPUT_CODES: Final = frozenset(
    {"file_too_large", "resolution_too_high", "invalid_file_type", "invalid_image_url", "image_too_small"}
)
_COLOUR: Final = re.compile(r"#([0-9a-fA-F]{6})")


class RemoveBgProvider(NetworkProvider):
    """Removes a background, or puts a plain colour in its place."""

    name: ClassVar[str] = "remove-bg"
    default_url: ClassVar[str] = "https://api.remove.bg/v1.0"
    credential_hosts: ClassVar[tuple[str, ...]] = ("api.remove.bg",)
    option_names: ClassVar[frozenset[str]] = frozenset({"type", "crop", "semitransparency", "add_shadow", "size"})
    errors_are_free: ClassVar[bool] = True
    check_path: ClassVar[str | None] = "/account"
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=frozenset({Operation.REMOVE_BACKGROUND, Operation.REPLACE_BACKGROUND}),
        shape=Shape.SYNC,
        network=True,
        charges=True,
        retention_note="The vendor says that pictures are deleted after about an hour; this is not verified.",
        max_image_bytes=12_000_000,
        erase=EraseSupport.NONE,
        idempotency=IdempotencySupport.NONE,
    )

    def _headers(self, key: str) -> dict[str, str]:
        return {"x-api-key": key}

    def _submit(self, request: Request) -> Done | Pending:
        with self._reply(build(request)) as reply:
            ref, media_type = seal(reply.stream(), self.sink, media="image/")
            return Done((SealedResult(ref, media_type),))

    def _failure(self, problem: Problem) -> ProviderError:
        return failure(problem)


def build(request: Request) -> Call:
    """
    Build the call for a request.

    Raises:
        InvalidRequest: The background is no plain colour.
    """
    fields = {"size": "auto", "format": "png"} | {
        name: value for name, value in request.options.items() if name in RemoveBgProvider.option_names
    }
    if request.operation is Operation.REPLACE_BACKGROUND:
        colour = _COLOUR.fullmatch(request.background or "")
        if colour is None:
            raise InvalidRequest(
                "The provider 'remove-bg' puts a plain colour behind the product; write it as #rrggbb.",
                field="background",
            )
        fields["bg_color"] = colour[1]
    image = ("image_file", ("image.png", picture(request), "image/png"))
    return Call("POST", "/removebg", WORK, {"accept": "image/*"}, form=fields, files=(image,))


def failure(problem: Problem) -> ProviderError:
    """Explain an error."""
    code = problem.document.text("errors", 0, "code")
    if code == "unknown_foreground":
        return NothingToDo("The provider 'remove-bg' found nothing in the photo to cut out.", field="input")
    if code in _INPUT_CODES:
        return problem.invalid("input")
    return problem.by_status(errors_are_free=RemoveBgProvider.errors_are_free)
