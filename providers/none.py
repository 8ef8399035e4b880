"""The provider of recipes that need none: the upload itself is rendered."""

from __future__ import annotations

from typing import ClassVar

from providers.capabilities import Capabilities, EraseSupport, IdempotencySupport, InputEncoding, Shape
from providers.exchange import Done, Pending, Request
from providers.protocol import Provider


class NoneProvider(Provider):
    """Does nothing, at once, for nothing. Refuses every operation."""

    name: ClassVar[str] = "none"
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=frozenset(),
        shape=Shape.SYNC,
        network=False,
        charges=False,
        retention_note="Nothing leaves this machine.",
        input_encoding=InputEncoding.PIXELS,
        erase=EraseSupport.NOT_NEEDED,
        idempotency=IdempotencySupport.NOT_NEEDED,
    )

    def _submit(self, request: Request) -> Done | Pending:
        return Done(results=())
