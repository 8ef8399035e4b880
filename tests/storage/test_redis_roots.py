"""The root store `redis`, on real servers that are set up well and badly."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from storage import ObjectClass, RootLostError, StoreConfigError, StoreFullError, StoreUnavailableError, open_root_store
from storage.roots.redis import RedisRootStore
from tests.memory import occurrences
from tests.roots import FORGETFUL
from tests.storage.root_conformance import MINUTE, UPLOAD, RootStoreConformance, root
from tests.valkey import PrivateValkey

Start = Callable[..., PrivateValkey]


@pytest.fixture(scope="module")
def forgetful() -> Iterator[PrivateValkey]:
    server = PrivateValkey(None, *FORGETFUL)
    with server:
        yield server


@pytest.fixture
def server(forgetful: PrivateValkey) -> PrivateValkey:
    forgetful.client().flushall()
    return forgetful


class TestRedis(RootStoreConformance):
    @pytest.fixture
    def url(self, server: PrivateValkey) -> str:
        return server.url


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("appendonly", "yes", "CONFIG SET appendonly no"),
        ("save", "900 1", "CONFIG SET save ''"),
        ("maxmemory-policy", "allkeys-lru", "CONFIG SET maxmemory-policy noeviction"),
        ("slowlog-log-slower-than", "10000", "CONFIG SET slowlog-log-slower-than -1"),
    ],
)
def test_a_server_that_would_keep_roots_is_refused_with_the_command_that_changes_it(
    fresh_valkey: Start, name: str, value: str, advice: str
) -> None:
    server = fresh_valkey(None, *FORGETFUL)
    roots = open_root_store(server.url)
    server.client().config_set(name, value)
    with pytest.raises(StoreConfigError) as caught:
        open_root_store(server.url)

    assert advice in str(caught.value)
    # One that was open already takes no new root either.
    with pytest.raises(StoreConfigError):
        roots.put(UPLOAD, 1, root(), MINUTE)
    assert roots.epochs(UPLOAD) == []

    command = advice.replace("''", "").removeprefix("CONFIG SET ").split(" ", 1)
    server.client().config_set(command[0], command[1])
    roots.put(UPLOAD, 1, root(), MINUTE)


def test_everything_that_is_wrong_is_told_at_once(fresh_valkey: Start) -> None:
    server = fresh_valkey(None, "--save", "60 1")
    with pytest.raises(StoreConfigError) as caught:
        open_root_store(server.url)

    assert all(name in str(caught.value) for name in ("appendonly no", "save ''", "slowlog-log-slower-than"))


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: Callable[[], object]) -> None:
    give_up = time.monotonic() + 10
    while not what():
        assert time.monotonic() < give_up, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def replicated(fresh_valkey: Start) -> tuple[PrivateValkey, PrivateValkey]:
    """A primary and its replica, both over TCP, neither with persistence."""
    here, there = free_port(), free_port()
    diskless = ("--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")
    primary = fresh_valkey(None, *FORGETFUL, "--port", str(here), "--bind", "127.0.0.1", *diskless)
    replica = fresh_valkey(
        None,
        *FORGETFUL,
        *("--port", str(there), "--bind", "127.0.0.1", "--repl-diskless-load", "on-empty-db"),
        *("--replicaof", f"127.0.0.1 {here}"),
    )
    wait_for(lambda: primary.client().info("replication")["connected_slaves"] == 1)
    return primary, replica


def test_a_replica_without_a_disk_is_fine(replicated: tuple[PrivateValkey, PrivateValkey]) -> None:
    primary, _ = replicated
    roots = open_root_store(primary.url)
    roots.put(UPLOAD, 1, root(), MINUTE)

    assert roots.epochs(UPLOAD) == [1]


@pytest.mark.parametrize(
    ("name", "value"), [("appendonly", "yes"), ("save", "60 1"), ("repl-diskless-load", "disabled")]
)
def test_a_replica_that_writes_to_a_disk_is_refused(
    replicated: tuple[PrivateValkey, PrivateValkey], name: str, value: str
) -> None:
    primary, replica = replicated
    replica.client().config_set(name, value)

    with pytest.raises(StoreConfigError, match=rf"on its replica 127\.0\.0\.1:\d+: CONFIG SET {name}"):
        open_root_store(primary.url)


def test_a_primary_that_feeds_replicas_from_a_disk_is_refused(replicated: tuple[PrivateValkey, PrivateValkey]) -> None:
    primary, _ = replicated
    primary.client().config_set("repl-diskless-sync", "no")

    with pytest.raises(StoreConfigError, match="CONFIG SET repl-diskless-sync yes"):
        open_root_store(primary.url)


def test_a_replica_that_cannot_be_examined_is_refused(replicated: tuple[PrivateValkey, PrivateValkey]) -> None:
    primary, replica = replicated
    replica.client().acl_setuser("default", enabled=True, commands=["-config"], reset=False)

    with pytest.raises(StoreConfigError, match="remove the replica"):
        open_root_store(primary.url)


def test_a_replica_itself_is_refused(replicated: tuple[PrivateValkey, PrivateValkey]) -> None:
    _, replica = replicated

    with pytest.raises(StoreConfigError, match="give the address of its primary"):
        open_root_store(replica.url)


def named(server: PrivateValkey, *rules: str) -> str:
    """The address of the server for a user who may use roots, and nothing else but *rules*."""
    commands = (
        "+get",
        "+set",
        "+del",
        "+scan",
        "+pexpire",
        "+eval",
        "+evalsha",
        "+script|load",
        "+strlen",
        "+setrange",
    )
    server.client().execute_command(
        "ACL", "SETUSER", "pool", "reset", "on", ">correct-horse", "~dayfly:root-secret:*", *commands, *rules
    )
    return f"unix://pool:correct-horse@{server.socket}?db=0"


def test_the_least_that_a_user_needs_is_enough(fresh_valkey: Start) -> None:
    roots = open_root_store(named(fresh_valkey(None, *FORGETFUL), "+info", "+config|get"))
    roots.check()
    roots.put(UPLOAD, 1, root(), MINUTE)
    roots.renew(UPLOAD, 1, MINUTE)
    roots.destroy(UPLOAD, 1)

    assert roots.epochs(UPLOAD) == []
    assert roots.remarks() == []


def test_where_config_is_forbidden_the_store_says_what_it_could_not_check(fresh_valkey: Start) -> None:
    server = fresh_valkey(None, *FORGETFUL)
    (remark,) = open_root_store(named(server, "+info")).remarks()

    assert "CONFIG GET save" in remark
    assert "CONFIG GET appendonly" not in remark, "INFO tells that"
    server.client().config_set("appendonly", "yes")
    with pytest.raises(StoreConfigError, match="appendonly no"):
        open_root_store(named(server, "+info"))
    assert "INFO replication" in open_root_store(named(server)).remarks()[0]


def test_errors_are_one_sentence_without_the_password(fresh_valkey: Start, tmp_path: Path) -> None:
    server = fresh_valkey(None, *FORGETFUL)
    url = named(server, "+info", "+config|get")
    roots = open_root_store(url)
    server.client().acl_setuser("pool", enabled=True, commands=["-get"], reset=False)
    told = []
    for act, kind in (
        (lambda: roots.get(UPLOAD, 1), StoreConfigError),
        (lambda: open_root_store(url.replace("horse", "wrong-horse")), StoreConfigError),
        (lambda: open_root_store(f"unix://u:correct-horse@{tmp_path}/nobody.sock"), StoreUnavailableError),
        (lambda: open_root_store("redis://u:correct-horse@127.0.0.1:1/0"), StoreUnavailableError),
        (lambda: open_root_store("redis://u:correct-horse@127.0.0.1:99999/0"), StoreConfigError),
        (lambda: open_root_store("redis://u:correct-horse@127.0.0.1/0?shoe=9"), StoreConfigError),
        (lambda: open_root_store("redis://:correct-horse@/0"), StoreConfigError),
    ):
        with pytest.raises(kind) as caught:
            act()
        assert caught.value.__cause__ is None
        told.append(str(caught.value))

    assert all(sentence.endswith(".") and "\n" not in sentence and "horse" not in sentence for sentence in told)


def test_a_full_server_says_so(fresh_valkey: Start) -> None:
    server = fresh_valkey(None, *FORGETFUL)
    roots = open_root_store(server.url)
    server.client().config_set("maxmemory", "1")

    with pytest.raises(StoreFullError, match="raise its maxmemory"):
        roots.put(UPLOAD, 1, root(), MINUTE)


def test_nothing_survives_a_restart_and_nothing_is_on_the_disk(fresh_valkey: Start) -> None:
    server = fresh_valkey(None, *FORGETFUL)
    secret = root()
    open_root_store(server.url).put(UPLOAD, 1, secret, MINUTE)
    server.stop()
    written = b"".join(path.read_bytes() for path in server.home.rglob("*") if path.is_file())
    server.start()

    assert bytes(secret) not in written
    with pytest.raises(RootLostError):
        open_root_store(server.url).get(UPLOAD, 1)


def test_no_root_reaches_a_log_of_ours_or_the_slow_log(fresh_valkey: Start, caplog: pytest.LogCaptureFixture) -> None:
    server = fresh_valkey(None, *FORGETFUL)
    secret = root()
    with caplog.at_level(logging.DEBUG):
        roots = open_root_store(server.url)
        roots.put(UPLOAD, 1, secret, MINUTE)
        roots.get(UPLOAD, 1)

    assert secret.hex() not in caplog.text
    assert repr(bytes(secret))[2:-1] not in caplog.text
    assert server.client().slowlog_len() == 0


def test_a_destroyed_root_is_overwritten_in_the_servers_memory(server: PrivateValkey) -> None:
    roots = RedisRootStore(server.url)
    secrets = [bytes(root()) for _ in range(20)]
    for epoch, secret in enumerate(secrets):
        roots.put(UPLOAD, epoch, bytearray(secret), MINUTE)
    stored = [occurrences(server.pid, secret) > 0 for secret in secrets]
    for epoch in range(len(secrets)):
        roots.destroy(UPLOAD, epoch)
    # The buffers of this connection are used again, by commands of another size than a root's value.
    for _ in range(5):
        roots._client.echo("x" * 2000)

    assert all(stored)
    assert [occurrences(server.pid, secret) for secret in secrets] == [0] * len(secrets)


def test_a_root_dies_in_a_server_that_nobody_talks_to(server: PrivateValkey) -> None:
    roots = open_root_store(server.url)
    roots.put(ObjectClass.OUTPUT, 1, root(), timedelta(milliseconds=200))
    wait_for(lambda: server.client().dbsize() == 0)
