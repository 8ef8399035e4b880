from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from tests.s3 import CREDENTIALS, MotoServer, RcloneServer
from tests.sealed import SealedRoom, keyring_url
from tests.valkey import PrivateValkey
from worker.logs import _keep_fixed_text

# How long one example takes is decided by what else the machine does.
settings.register_profile("dayfly", deadline=None)
settings.load_profile("dayfly")


@pytest.fixture(autouse=True)
def logs_of_the_tests_own() -> Iterator[None]:
    """Take away what a command that ran in this process has set up for logs: it would blank what later tests see."""
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield
    root = logging.getLogger()
    ours = [handler for handler in root.handlers if _keep_fixed_text in handler.filters]
    if ours:
        for handler in ours:
            root.removeHandler(handler)
        root.setLevel(logging.WARNING)
        logging.captureWarnings(False)
        structlog.reset_defaults()
        sys.excepthook, threading.excepthook, sys.unraisablehook = hooks


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[PrivateValkey]:
    """One server for the whole run. Tests take `valkey`, which is the same one, emptied."""
    with PrivateValkey() as server:
        yield server


@pytest.fixture
def valkey(valkey_server: PrivateValkey) -> PrivateValkey:
    """A running, empty server with an append-only file. Not to be stopped or paused: see `fresh_valkey`."""
    valkey_server.client().flushall()
    return valkey_server


@pytest.fixture
def fresh_valkey() -> Iterator[Callable[..., PrivateValkey]]:
    """Start servers of the test's own, which it may pause, kill, stop and start again."""
    servers: list[PrivateValkey] = []

    def start(folder: Path | None = None, *options: str) -> PrivateValkey:
        server = PrivateValkey(folder, *options)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def room(valkey: PrivateValkey, tmp_path: Path) -> Iterator[SealedRoom]:
    """A storage room on the shared server, with roots in the kernel keyring."""
    opened = SealedRoom.open(valkey, tmp_path, keyring_url())
    yield opened
    opened.forget_roots()


@pytest.fixture(scope="session")
def moto_server() -> Iterator[MotoServer]:
    with MotoServer() as server:
        yield server


@pytest.fixture(scope="session")
def rclone_server() -> Iterator[RcloneServer]:
    with RcloneServer() as server:
        yield server


@pytest.fixture
def moto(moto_server: MotoServer, aws: None) -> MotoServer:
    """The one moto server of the run; a test makes buckets of its own."""
    return moto_server


@pytest.fixture
def rclone(rclone_server: RcloneServer, aws: None) -> RcloneServer:
    """The one rclone server of the run; a test makes buckets of its own."""
    return rclone_server


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials for both servers, and nothing of this machine's own."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
