"""The zygote of an installation without the extra `heic`."""

from __future__ import annotations

import sys

# None in this table is how Python marks a module that cannot be imported.
sys.modules["pillow_heif"] = None  # type: ignore[assignment]  # The table's type does not know of that mark.

from pipelines.zygote import main  # noqa: E402  The mark must be there before anything imports it.

__all__ = ["main"]
