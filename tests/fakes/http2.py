"""A provider that speaks HTTP/2 over TLS, as all of them do: it answers every question with the same few words."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded
from h2.exceptions import ProtocolError

from tests.fakes.server import KEY
from tests.tls import server_context


class FakeHttp2:
    """
    One listener on loopback.

    Attributes:
        ca: The certificate by which its own can be checked.
        shown: What stood in the header for the credential, call by call.
    """

    key = KEY
    output = None

    def __init__(self, folder: Path) -> None:
        self._context, self.ca = server_context(folder)
        self._context.set_alpn_protocols(["h2"])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.shown: list[str] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            with suppress(OSError, ProtocolError), self._context.wrap_socket(plain, server_side=True) as secured:
                self._serve(secured)

    def _serve(self, secured: socket.socket) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        secured.sendall(connection.data_to_send())
        while content := secured.recv(65_536):
            for event in connection.receive_data(content):
                if isinstance(event, RequestReceived):
                    self.shown.append(dict(event.headers)["authorization"])
                elif isinstance(event, StreamEnded):
                    head = [(":status", "200"), ("content-type", "application/json")]
                    connection.send_headers(event.stream_id, head)
                    connection.send_data(event.stream_id, b'{"status": "processing"}', end_stream=True)
            secured.sendall(connection.data_to_send())
