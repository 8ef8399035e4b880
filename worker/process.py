"""What the long-running processes of the pool share: how they are told to stop, and how they show that they live."""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType

import structlog

from metrics.exporter import Health, MetricsServer, serve_process_metrics
from storage import ObjectClass, RestoreHealer, RootStore
from worker.errors import SettingProblem, SettingsError
from worker.settings import Settings

SAME_SIGNAL = timedelta(seconds=1)
"""A second SIGTERM within this is the same stop told twice, as by a supervisor that signals the whole process group."""


log = structlog.get_logger(__name__)


class Stop:
    """
    Counts requests to stop: the first drains, a later one hurries.

    `requested` is set by the first, `hurried` by one that comes more than `SAME_SIGNAL` after it.
    """

    def __init__(self) -> None:
        self.requested = threading.Event()
        self.hurried = threading.Event()
        self._first: float | None = None

    def install(self) -> None:
        """Take over SIGTERM and SIGINT of this process."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
            self.requested.set()
        elif now - self._first > SAME_SIGNAL.total_seconds():
            self.hurried.set()


def tell_remarks(root_stores: Mapping[ObjectClass, RootStore]) -> None:
    """Log what weakens the root stores of this process, or could not be looked at."""
    for object_class, store in root_stores.items():
        for remark in store.remarks():
            log.warning("root store not wholly examined", object_class=object_class.value, problem=remark)


def heal(healer: RestoreHealer) -> None:
    """
    Destroy again what a restored key store had forgotten to be destroyed, and say so as loudly as a log can.

    Raises:
        StorageError: A store cannot be reached.
    """
    report = healer.heal()
    if report is not None:
        log.error(
            "the key store was taken back to an older state and is healed",
            receipt_files=report.files,
            shredded_again=report.shredded,
            lost=report.lost,
        )


@contextmanager
def serving(settings: Settings, health: Callable[[], Health]) -> Iterator[None]:
    """
    Serve this process's `/metrics` and `/healthz` until the block ends, where a port is set.

    Raises:
        SettingsError: The address cannot be listened on.
    """
    if settings.metrics_port == 0:
        yield
        return
    with listening(settings, lambda host, port: serve_process_metrics(host, port, health)):
        yield


def listening(settings: Settings, serve: Callable[[str, int], MetricsServer]) -> MetricsServer:
    """
    Start a server at the address of the settings.

    Raises:
        SettingsError: It cannot be listened on; names the setting to change.
    """
    host, port = settings.metrics_host, settings.metrics_port
    try:
        return serve(host, port)
    except OSError as error:
        why = "its name is not known" if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            problem = SettingProblem(
                "DAYFLY_METRICS_HOST", f"{host} cannot be used ({why})", "an address or host name of this machine"
            )
        else:
            problem = SettingProblem("DAYFLY_METRICS_PORT", f"{host}:{port} cannot be used ({why})", "a free port")
        raise SettingsError([problem]) from error
