"""Exit codes, and the sentence that each error is shown as."""

from __future__ import annotations

import errno
import os
from enum import IntEnum
from pathlib import PurePath
from traceback import extract_tb

import typer

from pipelines import PipelineError, RecipeError, SandboxUnavailableError
from providers import BrokenProviderError, ProviderError, UnknownProviderError
from storage import (
    CiphertextMissingError,
    ObjectShreddedError,
    RootLostError,
    StorageError,
    StoreConfigError,
    StoreFullError,
    StoreUnavailableError,
    UnknownObjectError,
)
from worker.errors import (
    JobNotFoundError,
    OutputNotFoundError,
    PolicyError,
    ServerUnavailableError,
    SettingsError,
    UnfitProviderError,
    UnfitServerError,
    UnknownNameError,
    UploadTooLargeError,
    WorkerError,
)


class ExitCode(IntEnum):
    """What a command tells its caller. The numbers are an interface."""

    OK = 0
    FAILED = 1
    USAGE = 2
    SETTINGS = 3
    UNAVAILABLE = 4
    NOT_FOUND = 5
    BROKEN_PROMISE = 6
    INTERRUPTED = 130


class UsageError(Exception):
    """The command line asks for something that cannot be; the message says what to change."""


# The first match wins, so subclasses stand before their bases.
_CODES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], ExitCode], ...] = (
    (
        (UsageError, UnknownNameError, UnknownProviderError, UnfitProviderError, UploadTooLargeError, PolicyError),
        ExitCode.USAGE,
    ),
    (
        (
            SettingsError,
            UnfitServerError,
            StoreConfigError,
            RecipeError,
            SandboxUnavailableError,
            BrokenProviderError,
        ),
        ExitCode.SETTINGS,
    ),
    ((ServerUnavailableError, StoreUnavailableError, StoreFullError), ExitCode.UNAVAILABLE),
    (
        (
            JobNotFoundError,
            OutputNotFoundError,
            ObjectShreddedError,
            UnknownObjectError,
            RootLostError,
            CiphertextMissingError,
        ),
        ExitCode.NOT_FOUND,
    ),
    ((WorkerError, StorageError, PipelineError, ProviderError), ExitCode.FAILED),
)


def explain(error: Exception) -> tuple[ExitCode, str]:
    """
    Say what a command's error means: its exit code and what to print.

    The text of an error that is not ours may quote anything, so of such only the place is told.
    """
    if isinstance(error, typer.TyperException):
        return ExitCode(error.exit_code), f"{error.format_message().rstrip('.')}. See 'dayfly --help'."
    for kinds, code in _CODES:
        if isinstance(error, kinds):
            return code, str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
        where = f" {error.filename}" if error.filename else ""
        return ExitCode.UNAVAILABLE, f"The disk cannot take{where}: {os.strerror(error.errno)}."
    frames = extract_tb(error.__traceback__)
    where = f" at {PurePath(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    sentence = f"Internal error: {type(error).__name__}{where}. This is a mistake in dayfly; please report it."
    if os.environ.get("DAYFLY_DEBUG"):
        sentence += "".join(f"\n  {PurePath(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames)
    return ExitCode.FAILED, sentence
