"""The zygote for cut-outs of an installation without the extra `local`."""

from __future__ import annotations

import sys

# None in this table is how Python marks a module that cannot be imported.
sys.modules["cv2"] = None  # type: ignore[assignment]  # The table's type does not know of that mark.

from pipelines.zygote import cut_outs  # noqa: E402  The mark must be there before anything imports it.

__all__ = ["cut_outs"]
