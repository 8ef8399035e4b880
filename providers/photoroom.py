"""
Photoroom: cuts the foreground out, or sets it before another background, at once.

Written from the vendor's API reference. Its OpenAPI document (a copy) has the account by which the credential is
checked. Not verified: some fields of the route ``segment``, how long pictures are kept. Only POST is used; with GET,
addresses and prompts would stand in logs.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final
from urllib.parse import urlsplit

from providers.accounts import Account
from providers.capabilities import Capabilities, EraseSupport, IdempotencySupport, Operation, Shape
from providers.errors import ProviderError
from providers.exchange import Done, Pending, Request, SealedResult
from providers.network import NetworkProvider, picture, prompt_of
from providers.problems import Problem
from providers.replies import seal
from providers.transport import ASK, WORK, Call

_COLOUR: Final = re.compile(r"#([0-9a-fA-F]{6})")
_EDIT_HOST: Final = "https://image-api.photoroom.com"


class PhotoroomProvider(NetworkProvider):
    """Removes and replaces backgrounds. A key that starts with ``sandbox_`` gives watermarked pictures."""

    name: ClassVar[str] = "photoroom"
    default_url: ClassVar[str] = "https://sdk.photoroom.com"
    credential_hosts: ClassVar[tuple[str, ...]] = ("sdk.photoroom.com", "image-api.photoroom.com")
    option_names: ClassVar[frozenset[str]] = frozenset({"padding", "outputSize", "shadow.mode", "lighting.mode"})
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=frozenset({Operation.REMOVE_BACKGROUND, Operation.REPLACE_BACKGROUND}),
        shape=Shape.SYNC,
        network=True,
        charges=True,
        retention_note="What is kept, and for how long, is not published where it could be verified.",
        max_image_bytes=30_000_000,
        erase=EraseSupport.NONE,
        idempotency=IdempotencySupport.NONE,
    )

    def host(self, operation: Operation) -> str | None:
        default = "" if self.account.base_url or operation is Operation.REMOVE_BACKGROUND else _EDIT_HOST
        return urlsplit(default or self.base_url).hostname

    def _headers(self, key: str) -> dict[str, str]:
        return {"x-api-key": key}

    def _check_call(self) -> Call:
        return Call("GET", f"{'' if self.account.base_url else _EDIT_HOST}/v2/account", ASK)

    def _submit(self, request: Request) -> Done | Pending:
        with self._reply(build(request, self.account)) as reply:
            ref, media_type = seal(reply.stream(), self.sink, media="image/")
            return Done((SealedResult(ref, media_type),))

    def _failure(self, problem: Problem) -> ProviderError:
        return problem.by_status()


def build(request: Request, account: Account) -> Call:
    """Build the call for a request. The two operations have two hosts, unless the account names one."""
    content = ("image.png", picture(request), "image/png")
    if request.operation is Operation.REMOVE_BACKGROUND:
        return Call("POST", "/v1/segment", WORK, form={"format": "png"}, files=(("image_file", content),))
    fields = {name: value for name, value in request.options.items() if name in PhotoroomProvider.option_names}
    colour = _COLOUR.fullmatch(request.background or "")
    if colour is not None:
        fields["background.color"] = colour[1]
    else:
        fields["background.prompt"] = request.background or prompt_of(request, "photoroom")
    fields |= {"removeBackground": "true", "export.format": "png"}
    host = "" if account.base_url else _EDIT_HOST
    return Call("POST", f"{host}/v2/edit", WORK, form=fields, files=(("imageFile", content),))
