from __future__ import annotations

from tests.providers.provider_contract import pixels

__all__ = ["pixels"]
