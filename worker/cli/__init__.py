"""
The command `dayfly`.

Every error is one clear sentence on standard error, and the exit code says what kind it was:

    0  done
    1  the job did not end as done (with --wait), or an internal error
    2  the command line is wrong, or names something that does not exist
    3  a setting, a policy or a recipe is wrong, the sandbox lacks a layer, or Redis breaks a promise as it is set up
    4  a server or a disk cannot be reached or is full
    5  not found, or shredded
    6  `dayfly doctor` found a promise that this machine cannot keep
  130  interrupted: by Ctrl-C, by a supervisor or by a terminal that went away

Tables are for people; ``--json`` gives the same as data, and without a terminal a table is plain text.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from worker.cli._app import app
from worker.cli._errors import ExitCode, explain
from worker.hygiene import harden

__all__ = ["ExitCode", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    harden()
    try:
        with _interruptible():
            result = app(args=None if arguments is None else list(arguments), prog_name="dayfly", standalone_mode=False)
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has left. What Python still holds must not make it fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001  whatever it is, a person reads a sentence and no traceback
        code, sentence = explain(error)
        print(sentence, file=sys.stderr)
        return code
    return ExitCode(result) if isinstance(result, int) else ExitCode.OK


@contextmanager
def _interruptible() -> Iterator[None]:
    """Treat a request to stop like Ctrl-C, so that whoever is stopped leaves the private server in order."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
