"""
A provider on loopback, for tests: strict about what it is sent, and able to fail in every way a provider fails.

    with FakeOpenAI() as fake:
        fake.next("moderation_blocked")      # what the next paid call meets; "ok" without it
        ...
        assert fake.charges == 1

It speaks plain HTTP. Nothing of the project is used here: what it demands stands in the vendor's documentation.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

KEY = "key-canary-4f1d22"


def png(width: int = 8, height: int = 6, text: str = "") -> bytes:
    """A real PNG, with a text chunk as some generators write it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(
        b"\0" + bytes((x * 29 + y * 7 + c) % 256 for x in range(width) for c in range(3)) for y in range(height)
    )
    note = chunk(b"tEXt", b"parameters\0" + text.encode()) if text else b""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + note + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PICTURE = png(text="a prompt the generator wrote into its result")
B64 = base64.b64encode(PICTURE).decode()


@dataclass(frozen=True)
class Part:
    """One field of a multipart body."""

    filename: str | None
    content_type: str
    content: bytes


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @cached_property
    def json(self) -> Any:
        return json.loads(self.body)

    @cached_property
    def parts(self) -> dict[str, Part]:
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        message = BytesParser(policy=HTTP).parsebytes(head + self.body)
        assert message.is_multipart(), "the vendor takes multipart only"
        found = {}
        for part in message.iter_parts():
            name = part.get_param("name", header="content-disposition")
            assert name not in found, f"the field {name} came twice"
            content = part.get_payload(decode=True)
            found[str(name)] = Part(part.get_filename(), part.get_content_type(), content)
        return found


@dataclass(frozen=True)
class Answer:
    """
    What goes back. `hang` accepts and never answers; `cut` declares the whole body and sends that much of it.

    `pieces` are sent instead of the body, as they come; the headers declare their length.
    """

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False
    cut: int | None = None
    pieces: Iterable[bytes] | None = None

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()

    @property
    def content_type(self) -> str:
        return "application/octet-stream" if isinstance(self.body, bytes) else "application/json"


HANG = Answer(hang=True)
HTML = Answer(200, b"<html>Bad gateway</html>", {"content-type": "text/html"})
LIMITED: Mapping[str, Answer] = {
    "429": Answer(429, {}),
    "429 seconds": Answer(429, {}, {"retry-after": "7"}),
    "429 ms": Answer(429, {}, {"retry-after-ms": "1500", "retry-after": "9"}),
    "429 date": Answer(429, {}, {"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}),
    "429 nonsense": Answer(429, {}, {"retry-after": "soon"}),
}


class FakeServer:
    """The part that every provider has. A subclass answers `route`."""

    auth: ClassVar[tuple[str, str]] = ("authorization", f"Bearer {KEY}")
    key: ClassVar[str] = KEY
    """The credential of its account."""
    output: str | None = None
    """The bucket of its account, where it has one."""
    shown: ClassVar[str] = KEY
    """What of the credential stands in a header."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.charges = 0
        self.picture = PICTURE
        self.wrong: list[str] = []
        self._script: deque[str | Answer] = deque()
        self._released = threading.Event()
        self._lock = threading.Lock()
        self.accepted = threading.Event()

    def route(self, seen: Seen) -> Answer:
        """Answer one request."""
        raise NotImplementedError

    def next(self, *scenarios: str | Answer) -> None:
        """Say what the next paid calls meet."""
        self._script.extend(scenarios)

    def scenario(self) -> str | Answer:
        """What this call meets."""
        return self._script.popleft() if self._script else "ok"

    def charge(self) -> None:
        """Put one generation on the bill."""
        with self._lock:
            self.charges += 1
        self.accepted.set()

    def demand(self, true: object, sentence: str) -> None:
        """Refuse what the vendor's documentation does not allow."""
        if not true:
            self.wrong.append(sentence)
            raise ValueError(sentence)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body leave in two pieces; with the algorithm the second waits 40 ms for the other side.
            disable_nagle_algorithm = True

            def answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                parts = urlsplit(self.path)
                body = self.rfile.read(length)
                if self.headers.get("transfer-encoding") == "chunked":
                    body = b"".join(_chunks(self.rfile.readline, self.rfile.read))
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen = Seen(self.command, parts.path, parts.query, headers, body)
                fake.seen.append(seen)
                try:
                    answer = fake.route(seen)
                except ValueError as error:
                    answer = Answer(400, {"fake_refuses": str(error)})
                if answer.hang:
                    fake._released.wait(60)
                    self.close_connection = True
                    return
                content = answer.content
                self.send_response(answer.status)
                for name, value in ({"content-type": answer.content_type} | dict(answer.headers)).items():
                    self.send_header(name, value)
                if "content-length" not in answer.headers:
                    self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content if answer.cut is None else content[: answer.cut])
                for piece in answer.pieces or ():
                    self.wfile.write(piece)
                if answer.cut is not None:
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815  the names that the base class looks for

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that hangs up is nothing to report."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def authorised(self, seen: Seen) -> bool:
        name, value = self.auth
        return seen.headers.get(name) == value


def _chunks(readline: Callable[[], bytes], read: Callable[[int], bytes]) -> Iterator[bytes]:
    while size := int(readline().split(b";")[0], 16):
        yield read(size)
        readline()
    readline()


def is_number(text: str) -> bool:
    return re.fullmatch(r"\d+", text) is not None
