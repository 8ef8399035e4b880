"""
A proxy before an S3 service that misbehaves on request.

    with FaultProxy(server.endpoint) as proxy:
        proxy.on(Fault.BUSY, "PUT", "partNumber=", times=2)
"""

from __future__ import annotations

import http.client
import threading
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

ALWAYS = 1_000_000


class Fault(Enum):
    BUSY = auto()  # 503 SlowDown, and the request does nothing
    FULL = auto()  # 507
    DENIED = auto()  # 403
    ERROR_AS_SUCCESS = auto()  # 200 with an error for a body, and the request does nothing
    LOST_ANSWER = auto()  # the request is carried out, then the connection breaks
    CUT_REQUEST = auto()  # the connection breaks in the middle of the request's body
    CUT_ANSWER = auto()  # the connection breaks in the middle of the answer's body
    SILENCE = auto()  # no answer until the proxy is closed


_REFUSALS = {
    Fault.BUSY: (503, "SlowDown"),
    Fault.FULL: (507, "InsufficientStorage"),
    Fault.DENIED: (403, "AccessDenied"),
}


@dataclass
class _Order:
    fault: Fault
    method: str
    part: str
    left: int


@dataclass
class FaultProxy:
    upstream: str
    seen: list[str] = field(default_factory=list)
    done: int = 0
    _orders: list[_Order] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closing: threading.Event = field(default_factory=threading.Event)

    def on(self, fault: Fault, method: str, part: str = "", *, times: int = ALWAYS) -> None:
        """Misbehave on the next requests of *method* with *part* in their path or query."""
        self._orders.append(_Order(fault, method, part, times))

    def well(self) -> None:
        """Misbehave no more."""
        self._orders.clear()

    def take(self, method: str, path: str) -> Fault | None:
        with self._lock:
            self.seen.append(f"{method} {path}")
            for order in self._orders:
                if order.left and order.method == method and order.part in path:
                    order.left -= 1
                    self.done += 1
                    return order.fault
        return None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FaultProxy:
        proxy = self

        class Handler(_Handler):
            pass

        Handler.proxy = proxy
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Connections that stay open without a request would be waited for.
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: broken connections are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultProxy

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65_537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        fault = self.proxy.take(self.command, self.path)
        length = int(self.headers.get("Content-Length", 0))
        if fault is Fault.CUT_REQUEST:
            self.rfile.read(length // 2)
            self.close_connection = True
            return
        body = self.rfile.read(length)
        if fault is Fault.SILENCE:
            self.proxy._closing.wait(30)
            self.close_connection = True
        elif fault in _REFUSALS:
            status, code = _REFUSALS[fault]
            self._answer(status, {"Content-Type": "application/xml"}, _error(code))
        elif fault is Fault.ERROR_AS_SUCCESS:
            self._answer(200, {"Content-Type": "application/xml"}, _error("InternalError"))
        else:
            self._forward(body, fault)

    def _forward(self, body: bytes, fault: Fault | None) -> None:
        address = urlsplit(self.proxy.upstream)
        upstream = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("expect", "connection"):
                    upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            content = answer.read()
            headers = dict(answer.getheaders())
        finally:
            upstream.close()
        if fault is Fault.LOST_ANSWER:
            self.close_connection = True
        elif fault is Fault.CUT_ANSWER:
            self._answer(answer.status, headers, content[: len(content) // 2], length=len(content))
            self.close_connection = True
        else:
            length = headers.get("Content-Length") if self.command == "HEAD" else None
            self._answer(answer.status, headers, content, length=int(length) if length else None)

    def _answer(self, status: int, headers: dict[str, str], body: bytes, *, length: int | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _error(code: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>no</Message></Error>'.encode()
