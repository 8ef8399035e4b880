"""How code in the child says no: a code and numbers. The sentence is written by the worker, in `_sentences`."""

from __future__ import annotations

from pipelines._outcomes import RefusalCode


class Refusal(Exception):  # noqa: N818  It carries an answer, not a fault.
    """Stop the run; the file is at fault. `actual` and `limit` are the numbers of the sentence."""

    def __init__(
        self, code: RefusalCode, *, actual: int | None = None, limit: int | None = None, what: str | None = None
    ) -> None:
        super().__init__(code.value)
        self.code = code
        self.actual = actual
        self.limit = limit
        self.what = what


class MissingLibrary(Exception):  # noqa: N818  It carries an answer, not a fault.
    """Stop the run; an optional library this program needs is not installed."""


# The words of libvips, libjpeg, libpng, libheif and GLib. A thread needs memory for its stack; nothing else bounds
# their number.
_NO_MEMORY = ("out of memory", "insufficient memory", "memory allocation", "error creating thread")


# What libvips' reader of GIF says beside it where a frame is at fault.
_NOT_MEMORY = "bad image dimensions"


def means_no_memory(said: str) -> bool:
    """Say whether the error of a library says that it got no memory."""
    said = said.lower()
    return any(words in said for words in _NO_MEMORY) and _NOT_MEMORY not in said
