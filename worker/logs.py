"""
Log lines: ours through structlog, everybody else's through the standard library, both to standard error.

Promise P1 reaches into the log: no line, at any level, holds user data. Our own lines hold names, ids and numbers
because we write them so. A line of a library may hold anything (dramatiq prints a message's arguments, botocore prints
bodies), so of those only the fixed text is kept, without its arguments; and of an exception only its type and where it
was raised, unless it is one of ours, whose message is safe by contract.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import MutableMapping
from pathlib import PurePath
from traceback import extract_tb
from types import TracebackType
from typing import Any, Final

import structlog
from structlog.typing import EventDict, ExcInfo

from pipelines.errors import PipelineError
from providers.errors import ProviderError
from storage.errors import StorageError
from worker.errors import WorkerError
from worker.settings import LogFormat

OURS: Final = (WorkerError, StorageError, PipelineError, ProviderError)
"""Errors whose text is safe to print."""

_PLACEHOLDER: Final = re.compile(r"%%|%(\(\w+\))?[-#0 +]*[\d*]*(\.[\d*]+)?[a-zA-Z]")
_WARNING: Final = re.compile(r"^(?P<where>\S+:\d+): (?P<category>\w+):")


def configure(level: str = "info", log_format: LogFormat = LogFormat.AUTO) -> None:
    """
    Send every log line of this process to standard error in one form. May be called again to change it.

    Args:
        level: The least severe lines to write: debug, info, warning or error.
        log_format: JSON, one object a line, or coloured text for people.
    """
    if log_format is LogFormat.AUTO:
        log_format = LogFormat.CONSOLE if sys.stderr.isatty() else LogFormat.JSON
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _describe_exception,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format is LogFormat.JSON
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_keep_fixed_text)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(allow=["where", "category"]), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    logging.captureWarnings(True)
    # Whatever would print an exception's text by itself is routed here, too.
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_thread
    sys.unraisablehook = _log_unraisable


def describe(error: BaseException) -> str:
    """Say in one line what an exception is, without the text of one that is not ours."""
    if isinstance(error, OURS):
        return f"{type(error).__name__}: {error}"
    frames = extract_tb(error.__traceback__)
    where = f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"


def _keep_fixed_text(record: logging.LogRecord) -> bool:
    """Strip a foreign record of everything that is not written in its library's source."""
    if isinstance(record.msg, MutableMapping) or hasattr(record, "_from_structlog"):
        return True
    if record.name == "py.warnings":
        match = _WARNING.match(str(record.args[0]) if isinstance(record.args, tuple) and record.args else "")
        record.msg = "a library warns"
        record.where = PurePath(match["where"]).name if match else "unknown"
        record.category = match["category"] if match else "Warning"
    else:
        # Without arguments the text may have been put together beforehand, so it is not fixed.
        fixed = isinstance(record.msg, str) and bool(record.args)
        if not fixed and record.levelno < logging.WARNING and logging.getLogger().level > logging.DEBUG:
            # Nothing of it could be shown but that something was said.
            return False
        record.msg = _PLACEHOLDER.sub(_blank, record.msg) if fixed else "a library reports"
        record.where = f"{record.filename}:{record.lineno}"
    record.args = ()
    record.exc_text = None
    record.stack_info = None
    return True


def _blank(placeholder: re.Match[str]) -> str:
    return "%" if placeholder[0] == "%%" else "…"


def _describe_exception(logger: Any, method: str, event: EventDict) -> EventDict:
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error: BaseException | None = info[1] if isinstance(info, tuple) else info
    if not isinstance(error, BaseException):
        return event
    event["error"] = describe(error)
    event["frames"] = [f"{PurePath(f.filename).name}:{f.lineno} {f.name}" for f in extract_tb(error.__traceback__)]
    causes = []
    while (error := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        causes.append(describe(error))
    if causes:
        event["causes"] = causes
    return event


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _log().critical("uncaught exception", exc_info=_exc_info(error))


def _log_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        name = "" if args.thread is None else args.thread.name
        _log().error("a thread died", thread=name, exc_info=_exc_info(args.exc_value))


def _log_unraisable(args: sys.UnraisableHookArgs) -> None:
    if args.exc_value is not None:
        _log().error("an exception could not be raised", exc_info=_exc_info(args.exc_value))


def _exc_info(error: BaseException) -> ExcInfo:
    return (type(error), error, error.__traceback__)


def _log() -> Any:
    return structlog.get_logger("dayfly")
