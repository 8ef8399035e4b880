"""
Serve `/metrics` and `/healthz` over plain HTTP.

Two kinds of process use it. The exporter reads the stores at every scrape; workers and sweepers show what they
counted themselves.

    from metrics.exporter import PoolFigures, serve

    with serve("127.0.0.1", 0, lambda: PoolFigures(receipts_pending=3)) as server:
        print(f"http://127.0.0.1:{server.port}/metrics")

There is no authentication: bind to loopback or let the network policy decide who may connect. Nothing that is
served here names a job, an object or a person.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from metrics.figures import (
    AccountFigures,
    ClassFigures,
    DestroyReason,
    OpenState,
    PoolCollector,
    PoolFigures,
    ReadFigures,
)
from metrics.instruments import REGISTRY

__all__ = [
    "AccountFigures",
    "ClassFigures",
    "DestroyReason",
    "Health",
    "MetricsServer",
    "OpenState",
    "PoolFigures",
    "ReadFigures",
    "serve",
    "serve_process_metrics",
]

_log = logging.getLogger(__name__)

# A client that connects and says nothing gives its thread back after this long.
_CLIENT_SECONDS = 10.0

# How long `close` may have to wait for the accepting thread to notice.
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Health:
    """
    Whether a process does its work, and a few words that say why.

    Args:
        healthy: False makes `/healthz` answer 503.
        detail: Shown beside it; names no job, object or person.
    """

    healthy: bool
    detail: str = ""


class MetricsServer:
    """
    One HTTP server on its own thread, from construction until `close`.

    Raises:
        OSError: The address is taken or may not be bound.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry, healthy: Callable[[], Health]) -> None:
        class Handler(_Handler):
            pass

        Handler.registry = registry
        Handler.healthy = staticmethod(healthy)
        self._server = _Server((host, port), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="metrics", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that is bound, also when 0 was asked for."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop accepting, finish the request being answered and free the port. Safe to repeat."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def serve(host: str, port: int, read: ReadFigures) -> MetricsServer:
    """
    Serve the figures of the pool; the exporter process is this and a signal handler.

    *read* is called once for each scrape and each health check, never from two threads at once. What it raises is
    shown as `dayfly_key_store_up 0` and as 503, never as a failed scrape.

    Raises:
        OSError: The address is taken or may not be bound.
    """
    registry = CollectorRegistry(auto_describe=True)
    collector = PoolCollector(read)
    registry.register(collector)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)

    def healthy() -> Health:
        up = collector.read() is not None
        return Health(up, "the key store answers" if up else "the key store does not answer")

    return MetricsServer(host, port, registry, healthy)


def serve_process_metrics(host: str, port: int, healthy: Callable[[], Health]) -> MetricsServer:
    """
    Serve what this process counted itself; for workers and sweepers.

    *healthy* answers from memory: a probe that asks a server would restart the whole fleet when that server is away.

    Raises:
        OSError: The address is taken or may not be bound.
    """
    return MetricsServer(host, port, REGISTRY, healthy)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A client that hangs must not hold up the end of the process.
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Log one line instead of the traceback that the base class prints to stderr."""
        error = sys.exception()
        # A client that went away before its answer is not worth a line.
        if not isinstance(error, ConnectionError | TimeoutError):
            _log.warning("a request for metrics failed: %s", type(error).__name__)


class _Handler(BaseHTTPRequestHandler):
    registry: CollectorRegistry
    healthy: Callable[[], Health]
    timeout = _CLIENT_SECONDS
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, content_type, encode(self.registry))
        elif path == "/healthz":
            health = type(self).healthy()
            status = HTTPStatus.OK if health.healthy else HTTPStatus.SERVICE_UNAVAILABLE
            body = json.dumps({"status": "ok" if health.healthy else "failing", "detail": health.detail})
            self._answer(status, "application/json", body.encode() + b"\n")
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"There is /metrics and /healthz.\n")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "dayfly"

    def log_message(self, format: str, *args: object) -> None:
        # A line for each scrape would be most of the log.
        return
