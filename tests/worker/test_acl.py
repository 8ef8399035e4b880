"""
A user of Redis for each process: enough for a whole pool to work, and not enough for anything else.

The server's own log of refusals is the judge: a command that some part of the pool swallowed would still stand there.
"""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis
from redis.exceptions import NoPermissionError

from metrics.instruments import NudgeSource
from storage import KeyStore, ObjectClass, ShredReason, StoreConfigError, associated_data
from storage import permissions as works_of_keys
from storage._redis import KeyStoreConnection
from storage.errors import IntegrityError
from storage.permissions import Work
from storage.wrapping import UnwrappingRoot
from tests.acl import AclValkey
from tests.harness import Pool, eventually, photo
from tests.roots import FORGETFUL
from worker import acl
from worker import broker as broker_module
from worker.acl import ServerKind, UserRole, rules
from worker.broker import QUEUE, NudgeBroker
from worker.client import Client, JobSpec
from worker.demo import _free_ports
from worker.doctor import Verdict, examine
from worker.jobs import JobStore
from worker.records import JobState
from worker.settings import Settings
from worker.wiring import Deployment, Role

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]

PROCESSES = (UserRole.WEB, UserRole.WORKER, UserRole.SWEEPER, UserRole.EXPORTER, UserRole.WEBHOOKS, UserRole.DOCTOR)


@pytest.fixture(scope="module")
def running() -> Iterator[dict[ServerKind, AclValkey]]:
    """One server for records, one for keys, one for roots, as a careful operator has them."""
    with ExitStack() as stack:
        yield {
            kind: stack.enter_context(AclValkey(kind, *(FORGETFUL if kind is ServerKind.ROOTS else ())))
            for kind in (ServerKind.RECORDS, ServerKind.KEYS, ServerKind.ROOTS)
        }


@pytest.fixture
def servers(running: dict[ServerKind, AclValkey]) -> dict[ServerKind, AclValkey]:
    """The same servers, emptied, their logs of refusals, too."""
    for server in running.values():
        server.as_role(UserRole.ADMIN).flushall()
        server.as_role(UserRole.ADMIN).acl_log_reset()
    return running


@pytest.fixture(scope="module")
def together() -> Iterator[AclValkey]:
    """One server for records and keys, which lets a user debug it who may."""
    with AclValkey(ServerKind.ALL, "--enable-debug-command", "yes") as server:
        yield server


def addresses(servers: dict[ServerKind, AclValkey], role: UserRole) -> dict[str, str]:
    roots = servers[ServerKind.ROOTS].url_of(role)
    return {
        "DAYFLY_REDIS_URL": servers[ServerKind.RECORDS].url_of(role),
        "DAYFLY_KEYS_URL": servers[ServerKind.KEYS].url_of(role),
        "DAYFLY_ROOTS_UPLOADS": roots,
        "DAYFLY_ROOTS_OUTPUTS": roots,
    }


def site(servers: dict[ServerKind, AclValkey], pools: Callable[..., Pool]) -> Pool:
    """A pool whose own view, for the assertions, is the administrator's."""
    pool = pools(rotation_uploads_seconds="1", rotation_outputs_seconds="1", pending=60)
    pool.environment |= addresses(servers, UserRole.ADMIN)
    return pool


def opened(pool: Pool, servers: dict[ServerKind, AclValkey], user: UserRole, role: Role) -> Deployment:
    given = pool.environment | addresses(servers, user)
    named = {name.removeprefix("DAYFLY_").lower(): value for name, value in given.items() if name.startswith("DAYFLY_")}
    return Deployment.open(Settings.load(**named), role)


def test_a_pool_of_which_every_process_is_its_own_user_works_and_nothing_is_refused(
    servers: dict[ServerKind, AclValkey], pools: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = site(servers, pools)
    _bury_a_message(servers[ServerKind.RECORDS], monkeypatch)
    # A message that a dead process had fetched, so that there is something to put back.
    records = servers[ServerKind.RECORDS].as_role(UserRole.ADMIN)
    records.zadd("dayfly:broker:__heartbeats__", {"dead": 1})
    records.sadd("dayfly:broker:__acks__.dead.jobs", "lost")
    records.hset("dayfly:broker:jobs.msgs", "lost", b"\xff not a message")
    (port,) = _free_ports(1)
    pool.start("worker", **addresses(servers, UserRole.WORKER))
    pool.start("exporter", **addresses(servers, UserRole.EXPORTER), DAYFLY_METRICS_PORT=str(port))

    with opened(pool, servers, UserRole.WEB, Role.WEB) as web:
        client = Client(web)
        expiring = datetime.now(UTC) + timedelta(seconds=1)
        web.store.seal(b"soon gone", object_class=ObjectClass.UPLOAD, deadline=expiring, ceiling=expiring)
        done = client.submit(BytesIO(photo()), JobSpec(recipe="amazon-main", provider="darkroom"))
        assert client.wait(done.id, timedelta(seconds=60)).state is JobState.DONE
        pool.start("sweeper", **addresses(servers, UserRole.SWEEPER))
        epochs = {name: pool.deployment.keys.current_root(name).epoch for name in ObjectClass}
        eventually(
            lambda: all(pool.deployment.keys.current_root(name).epoch > epochs[name] + 1 for name in ObjectClass),
            what="two rotations of each class",
        )
        for output in client.show(done.id).outputs:
            assert client.open_output(done.id, output.name).read()
        pool.start("worker", **addresses(servers, UserRole.WORKER), DARKROOM_POLLS="1000000")
        pool.processes[0].terminate()
        pool.processes[0].wait(20)
        waiting = client.submit(BytesIO(photo()), JobSpec(recipe="amazon-main", provider="darkroom", subject="u-1"))
        eventually(lambda: client.show(waiting.id).state is JobState.AWAITING, what="a job that waits")
        receiver = servers[ServerKind.RECORDS].as_role(UserRole.WEBHOOKS)
        eventually(partial(JobStore(receiver).wake, waiting.id), what="a webhook finds the job at rest")
        NudgeBroker(receiver).nudge(waiting.id, NudgeSource.WEBHOOK)
        assert client.cancel(waiting.id).state is JobState.CANCELLED
        assert [job.id for job in client.list()] == [waiting.id, done.id]
        assert b"records.json" in b"".join(client.export(subject="u-1"))
        assert client.erase(subject="u-1", patience=timedelta(seconds=30)).complete
    figures = _scrape(port)
    assert "dayfly_key_store_up 1.0" in figures
    assert 'dayfly_jobs_open{state="awaiting"} 0.0' in figures
    pool.assert_nothing_left()
    assert not records.exists("dayfly:broker:__acks__.dead.jobs")

    refusals = [refusal for server in servers.values() for refusal in server.refusals()]
    # Who may read the settings of the roots' server may read its passwords: a web tier trusts the others' examination.
    assert set(refusals) <= {"dayfly-web: command config|get (toplevel)"}


def test_the_doctor_sees_what_it_must_with_a_user_that_changes_nothing(
    servers: dict[ServerKind, AclValkey], pools: Callable[..., Pool]
) -> None:
    pool = site(servers, pools)
    pool.ensure_roots()
    given = pool.environment | addresses(servers, UserRole.DOCTOR)
    named = {name.removeprefix("DAYFLY_").lower(): value for name, value in given.items() if name.startswith("DAYFLY_")}

    findings = examine(Settings.load(**named))

    assert [finding for finding in findings if finding.verdict is Verdict.BROKEN] == []
    assert {kind: server.refusals() for kind, server in servers.items()} == {kind: [] for kind in servers}


FORBIDDEN = (
    "FLUSHALL", "FLUSHDB", "CONFIG SET maxmemory-policy allkeys-lru", "CONFIG REWRITE", "MONITOR", "DEBUG SLEEP 0",
    "DEBUG RELOAD", "SAVE", "BGSAVE", "BGREWRITEAOF", "SHUTDOWN NOSAVE", "REPLICAOF NO ONE", "SLAVEOF NO ONE",
    "FAILOVER", "PSYNC ? -1", "SYNC", "ACL LIST", "ACL WHOAMI", "ACL SETUSER dayfly-web +@all", "SCAN 0",
    "RANDOMKEY", "DBSIZE", "CLIENT LIST", "CLIENT KILL ID 1", "SLOWLOG GET", "LATENCY LATEST", "MODULE LIST",
    "FUNCTION LIST", "SCRIPT FLUSH", "SCRIPT KILL", "EVAL return{} 0", "FCALL f 0", "SWAPDB 0 1",
    "MIGRATE h 1 k 0 1", "DUMP dayfly:key:a", "RESTORE dayfly:key:b 0 x", "COPY dayfly:key:a dayfly:key:b",
    "RENAME dayfly:key:a dayfly:key:b", "PERSIST dayfly:key:a", "OBJECT ENCODING dayfly:key:a",
    "MEMORY USAGE dayfly:key:a", "SORT dayfly:live:upload", "GET somebody-elses", "SET somebody-elses x",
    "PUBLISH other x",
)  # fmt: skip
LIST_NAMES = "KEYS *"
"""A sweeper may, to put messages of a dead process back."""
READ_CONFIG = "CONFIG GET requirepass"
"""The doctor may."""


@pytest.mark.parametrize("role", PROCESSES)
def test_no_process_may_do_what_only_an_administrator_does(role: UserRole, together: AclValkey) -> None:
    client = together.as_role(role)
    allowed_to_one = {LIST_NAMES: UserRole.SWEEPER, READ_CONFIG: UserRole.DOCTOR}
    commands = [*FORBIDDEN, *(command for command, one in allowed_to_one.items() if one is not role)]

    allowed = [command for command in commands if not _refused(client, command)]

    assert allowed == []
    assert _refused(client, "EVALSHA " + _loaded(together, "return redis.call('FLUSHALL')") + " 0")


def _refused(client: redis.Redis, command: str) -> bool:
    try:
        client.execute_command(*command.split())
    except NoPermissionError:
        return True
    except redis.ResponseError as error:
        # From inside a script.
        return "NOPERM" in str(error) or "ACL failure" in str(error)
    return False


def _loaded(server: AclValkey, script: str) -> str:
    return str(server.as_role(UserRole.ADMIN).script_load(script))


def test_the_administrators_commands_are_commands(together: AclValkey) -> None:
    """The control: a misspelt command would be refused to everybody."""
    known: Any = together.as_role(UserRole.ADMIN).command()

    assert {command.split()[0].lower() for command in (*FORBIDDEN, LIST_NAMES, READ_CONFIG)} <= set(known)


def test_p2_a_web_tiers_credentials_open_no_upload(
    servers: dict[ServerKind, AclValkey], pools: Callable[..., Pool]
) -> None:
    pool = site(servers, pools)
    pool.ensure_roots()
    web_on_keys = servers[ServerKind.KEYS].as_role(UserRole.WEB)
    web_on_roots = servers[ServerKind.ROOTS].as_role(UserRole.WEB)
    with opened(pool, servers, UserRole.WEB, Role.WEB) as web:
        end = datetime.now(UTC) + timedelta(minutes=1)
        sealed = web.store.seal(b"photo", object_class=ObjectClass.UPLOAD, deadline=end, ceiling=end).ref
        with pytest.raises(StoreConfigError):
            web.store.open_bytes(sealed)
        # It may read the row that it has made: a key wrapped to a root that it cannot read.
        wrapped = web_on_keys.hget(f"dayfly:key:{sealed.oid}", "wrapped")
        row = web.keys.load(sealed)
        secret = web.root_stores[ObjectClass.OUTPUT].get(ObjectClass.OUTPUT, _epoch(pool, ObjectClass.OUTPUT))

    assert wrapped == row.wrapped
    with pytest.raises(IntegrityError):
        UnwrappingRoot(secret).unwrap(row.wrapped, associated_data(sealed))
    upload_root = f"dayfly:root-secret:upload:{row.epoch}"
    for command in (f"GET {upload_root}", f"DEL {upload_root}", f"SET dayfly:root-secret:output:{row.epoch} x"):
        assert _refused(web_on_roots, command), command
    # It cannot have others seal to a root of its own, and cannot list what there is.
    for command in (
        "HSET dayfly:root:upload public mine", "SET dayfly:root:upload mine",
        "DEL dayfly:root:upload", "ZRANGE dayfly:live:upload 0 -1",
        "ZRANGE dayfly:doomed 0 -1", "XRANGE dayfly:outbox - +", "XDEL dayfly:outbox 1-1", "DEL dayfly:counts",
        "HGETALL dayfly:counts", "DEL dayfly:tomb:a",
    ):  # fmt: skip
        assert _refused(web_on_keys, command), command
    assert pool.deployment.store.open_bytes(sealed) == b"photo"
    pool.deployment.store.shred([sealed], ShredReason.CANCELLED)


def test_an_exporter_reads_figures_and_changes_nothing(together: AclValkey) -> None:
    client = together.as_role(UserRole.EXPORTER)
    change = _loaded(together, "return redis.call('HSET', KEYS[1], 'a', 'b')")

    for command in (
        "HGETALL dayfly:job:a", "HGET dayfly:key:a wrapped", "HGETALL dayfly:root:upload", "HSET dayfly:counts a 1",
        "HGETALL dayfly:broker:jobs.msgs", f"EVALSHA {change} 1 dayfly:counts",
        f"EVALSHA {change} 1 dayfly:root:upload",
    ):  # fmt: skip
        assert _refused(client, command), command


def test_a_write_that_is_refused_is_not_taken_for_one_on_the_disk(together: AclValkey) -> None:
    with pytest.raises(StoreConfigError):
        KeyStore(together.as_role(UserRole.EXPORTER)).persist()


def _calls(folder: Path) -> dict[str, set[str]]:
    """The commands of each script; those of the shared part count for the scripts that have it in front."""
    found = {
        file.stem: {name.lower() for name in re.findall(r"redis\.p?call\('(\w+)'", file.read_text())}
        for file in folder.glob("*.lua")
    }
    shared = found.pop("common", set())
    return {name: calls | (shared if name in _WITH_COMMON_PART else set()) for name, calls in found.items()}


@pytest.mark.parametrize("room", [works_of_keys, acl])
def test_every_command_of_a_script_is_granted_to_whoever_runs_it(room: ModuleType) -> None:
    works = [value for value in vars(room).values() if isinstance(value, Work)]
    if room is acl:
        # The others' scripts are not ours, and their names may be.
        works = [work for work in works if any(name in work.commands for name in _OF_JOBS)]
    scripts = _calls(Path(str(room.__file__)).parent / "lua")

    for work in works:
        granted = {word for words in work.commands.values() for word in words.split()} | work.keyless
        # What the shared part could do for others is not needed by all.
        needed = {name: calls - _OF_OTHERS.get(name, set()) for name, calls in scripts.items()}
        for script in work.scripts & scripts.keys():
            assert needed[script] <= granted, f"{script}: {needed[script] - granted}"
    assert scripts.keys() <= {script for work in works for script in work.scripts}


_OF_JOBS = ("jobs:open", "jobs:erasures", "job:*", "provider-accounts")
_WITH_COMMON_PART = {"claim", "renew", "transition", "note", "release", "finish", "abandon", "cancel"}
# `create` has no lease to prove and no record to look at.
_OF_OTHERS = {"create": {"hget", "hmget", "hgetall", "hexists"}}


def test_the_patterns_are_those_of_the_key_store_and_the_job_store() -> None:
    names = KeyStoreConnection(redis.Redis(), acl.NAMESPACE)
    known = {names.row("*"), names.tombstone("*"), names.outbox, names.cut, names.doomed, names.counts}
    known |= {names.key(family, "*") for family in ("live", "root", "asked")} | {names.key("persisted")}
    patterns = set(re.findall(r"~(\S+?)\)?(?= |$)", rules(UserRole.SWEEPER, ServerKind.KEYS)))

    assert patterns == known


def test_one_server_for_both_grants_what_the_two_grant_together() -> None:
    def words(role: UserRole, *kinds: ServerKind) -> set[tuple[str, str]]:
        return {
            (command, key)
            for kind in kinds
            for selector in re.findall(r"\((.*?)\)", rules(role, kind))
            for command in re.findall(r"\+(\S+)", selector)
            for key in re.findall(r"~(\S+)", selector)
        }

    for role in PROCESSES:
        assert words(role, ServerKind.ALL) == words(role, ServerKind.RECORDS, ServerKind.KEYS)


def _bury_a_message(server: AclValkey, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker does with a message nobody can read, which takes it a minute: here at once."""
    monkeypatch.setattr(broker_module, "RECONCILE_EVERY", timedelta(0))
    monkeypatch.setattr(broker_module, "IDLE_WAIT", timedelta(milliseconds=1))
    broker = NudgeBroker(server.as_role(UserRole.WORKER))
    broker.declare_queue(QUEUE)
    broker.do_enqueue(QUEUE, "bad", b"\xff not a message")
    consumer = broker.consume(QUEUE, prefetch=5, timeout=1)
    buried = partial(server.as_role(UserRole.ADMIN).hexists, "dayfly:broker:jobs.XQ.msgs", "bad")
    eventually(lambda: next(consumer) or buried(), what="the message is buried")


def _epoch(pool: Pool, object_class: ObjectClass) -> int:
    return pool.deployment.keys.current_root(object_class).epoch


def _scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        return str(answer.read(), "utf-8")
