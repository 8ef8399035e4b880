"""
What can go wrong in `pipelines`.

    PipelineError
    ├── Refused                      the file is at fault; the answer is final and can be shown to the site's user
    ├── SandboxError                 the sandbox is at fault; `.outcome` says how, `.retryable` whether to try again
    │   └── SandboxUnavailableError  a layer of protection or a library is missing on this machine
    └── RecipeError                  a recipe file is wrong

No message contains anything read from an image except numbers.
"""

from __future__ import annotations

from pipelines._outcomes import Outcome, RefusalCode


class PipelineError(Exception):
    """The root of every error that leaves `pipelines`."""


class Refused(PipelineError):  # noqa: N818  A refusal is an outcome of the work, not a fault in it.
    """
    The file cannot be used, and trying again will not help.

    `code` is stable and can be translated, with the numbers `actual` and `limit` of its sentence where they are known
    and `what`, the kind of file; `str(error)` is the sentence in English, which a site can show to its user.
    """

    def __init__(
        self,
        code: RefusalCode,
        message: str,
        *,
        actual: int | None = None,
        limit: int | None = None,
        what: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.actual = actual
        self.limit = limit
        self.what = what

    @property
    def facts(self) -> dict[str, int | str]:
        """`actual`, `limit` and `what`, as far as they are known: all that a translation needs besides the code."""
        known = {"actual": self.actual, "limit": self.limit, "what": self.what}
        return {name: value for name, value in known.items() if value is not None}


class SandboxError(PipelineError):
    """The sandboxed work ended without an answer. Nothing is known about the file."""

    def __init__(self, message: str, *, outcome: Outcome, retryable: bool = False) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.retryable = retryable


class SandboxUnavailableError(SandboxError):
    """A layer of the sandbox, or a library inside it, is missing; `layer` names it."""

    def __init__(self, layer: str, message: str) -> None:
        super().__init__(message, outcome=Outcome.LOST, retryable=False)
        self.layer = layer


class RecipeError(PipelineError):
    """A recipe file cannot be used: the message names the file, the field and what is allowed."""
