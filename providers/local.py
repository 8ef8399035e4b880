"""
The first-party provider: works on this machine, in the sandbox, without a network.

Both its operations cut the product out of a plain background. The answer is the product on transparent pixels; the
colour behind it is put there when the renditions are made, so that soft edges are blended once.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

from providers.capabilities import Capabilities, EraseSupport, IdempotencySupport, InputEncoding, Operation, Shape
from providers.errors import InvalidRequest, NothingToDo
from providers.exchange import PIXELS, Done, Pending, Request
from providers.protocol import Provider

_COLOUR: Final = re.compile(r"#[0-9a-fA-F]{6}")


class LocalProvider(Provider):
    """Removes or replaces a plain background. Needs the tool `ProviderTools.cut_out`."""

    name: ClassVar[str] = "local"
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=frozenset({Operation.REMOVE_BACKGROUND, Operation.REPLACE_BACKGROUND}),
        shape=Shape.SYNC,
        network=False,
        charges=False,
        retention_note="Nothing leaves this machine and nothing is kept.",
        input_encoding=InputEncoding.PIXELS,
        erase=EraseSupport.NOT_NEEDED,
        idempotency=IdempotencySupport.NOT_NEEDED,
        regions=("this machine",),
    )

    def _submit(self, request: Request) -> Done | Pending:
        image = request.input
        if image is None or image.media_type != PIXELS:
            raise InvalidRequest("The provider 'local' works on raw pixels.", field="input")
        if request.background is not None and not _COLOUR.fullmatch(request.background):
            raise InvalidRequest(
                "The provider 'local' puts a plain colour behind the product; write it as #rrggbb.", field="background"
            )
        if self.tools.cut_out is None:
            raise InvalidRequest("The provider 'local' was started without the sandbox it works in.", field="tools")
        cut = self.tools.cut_out(image)
        if cut is None:
            raise NothingToDo(
                "No product was found in the photo; it should stand out from a plain, even background.", field="input"
            )
        return Done(results=(cut,))
