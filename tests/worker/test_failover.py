"""A primary that dies, found again through its sentinels: no job is lost and no key that was destroyed comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr

import storage._redis
import storage.replication
from storage import KeyStore, NotReplicatedError, ObjectClass, ObjectRef, Rotator, ShredReason, StorageError
from tests.harness import Pool, eventually, photo
from tests.sealed import SealedRoom, keyring_url
from tests.sentinel import Replicated
from tests.valkey import PrivateValkey
from worker.acl import UserRole
from worker.addresses import close
from worker.demo import _free_ports
from worker.errors import NotReplicatedError as JobNotReplicatedError
from worker.errors import ServerUnavailableError
from worker.jobs import JobStore
from worker.records import JobId, JobState
from worker.servers import open_redis

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]


@pytest.fixture
def replicated() -> Iterator[Replicated]:
    with Replicated() as servers:
        yield servers


def test_a_client_finds_the_new_primary_when_the_old_one_dies(replicated: Replicated) -> None:
    client = open_redis(SecretStr(replicated.url_of(UserRole.ADMIN)), "DAYFLY_REDIS_URL")
    client.set("before", 1)
    assert client.wait(2, 20_000) == 2
    replicated.primary.kill()

    def answers() -> bool:
        try:
            return bool(client.set("after", 1))
        except redis.RedisError:
            return False

    eventually(answers, within=40, what="a new primary takes writes")
    assert client.get("before") == b"1"
    assert client.connection_pool.master_address[1] in replicated.ports[1:3]
    close(client)


@pytest.mark.campaign
def test_p6_no_job_is_lost_when_the_primary_is_killed(replicated: Replicated, pools: Callable[..., Pool]) -> None:
    pool = pools(replicated.url_of(UserRole.ADMIN), replicas="1", pending=60)
    for role in (UserRole.WORKER, UserRole.SWEEPER):
        pool.start(role.value, DAYFLY_REDIS_URL=replicated.url_of(role))
    jobs = [pool.submit(photo(), "web-set") for _ in range(2)]
    eventually(lambda: pool.client.show(jobs[0].id).state is not JobState.ACCEPTED, what="the first job is begun")

    replicated.primary.kill()

    def after_the_failover() -> bool:
        try:
            jobs.append(pool.submit(photo(), "web-set"))
        except (ServerUnavailableError, StorageError):
            return False
        return True

    eventually(after_the_failover, within=30, what="a new primary takes jobs")
    for job in jobs:
        assert eventually(lambda job=job: _state(pool, job.id), within=60, what=pool.logs()[-3000:]) is JobState.DONE
    # The old primary comes back as a replica of the new one, by the sentinel's word.
    replicated.primary.start()
    pool.assert_nothing_left()
    assert [refusal for server in replicated.servers for refusal in server.refusals()] == []


def _state(pool: Pool, job_id: JobId) -> JobState | None:
    try:
        state = pool.client.show(job_id).state
    except ServerUnavailableError:
        return None
    return state if state.ended else None


@pytest.fixture
def pair(
    fresh_valkey: Callable[..., PrivateValkey], monkeypatch: pytest.MonkeyPatch
) -> tuple[PrivateValkey, PrivateValkey]:
    """A primary and a replica that follows it; what the replica does not have is known after 50 ms."""
    for module in (storage.replication, storage._redis):
        monkeypatch.setattr(module, "REPLICA_TIMEOUT", timedelta(milliseconds=50))
    (port,) = _free_ports(1)
    primary = fresh_valkey(None, "--repl-diskless-sync-delay", "0", "--port", str(port), "--bind", "127.0.0.1")
    replica = fresh_valkey(None, "--replicaof", f"127.0.0.1 {port}")
    eventually(lambda: replica.client().info("replication")["master_link_status"] == "up", what="the replica follows")
    return primary, replica


def taken(change: Callable[[], Any]) -> Any:
    """Repeat a change until the replica has it."""

    def attempt() -> Any:
        try:
            return (change(),)
        except (NotReplicatedError, JobNotReplicatedError):
            return None

    return eventually(attempt, what="the replica has the change")[0]


def test_p3_a_shred_counts_only_when_a_replica_has_it(
    pair: tuple[PrivateValkey, PrivateValkey], tmp_path: Path
) -> None:
    primary, replica = pair
    room = SealedRoom.open(primary, tmp_path, keyring_url())
    keys = KeyStore(primary.client(), replicas=1)
    end = datetime.now(UTC) + timedelta(minutes=1)
    ref = room.store.seal(b"photo", object_class=ObjectClass.UPLOAD, deadline=end, ceiling=end).ref
    taken(lambda: keys.extend([ref], end))
    assert replica.client().exists(f"dayfly:key:{ref.oid}") == 1
    replica.pause()

    for _ in range(2):
        # The second finds nothing left to write, on a connection that has written nothing: still it is not done.
        with pytest.raises(NotReplicatedError, match="0 of 1 replicas"):
            KeyStore(primary.client(), replicas=1).shred([ref], ShredReason.DONE)
    replica.resume()
    (outcome,) = taken(lambda: keys.shred([ref], ShredReason.DONE))

    assert outcome.already
    # Whoever is given the replica after a failover finds the tombstone.
    assert replica.client().exists(f"dayfly:tomb:{ref.oid}") == 1
    assert replica.client().exists(f"dayfly:key:{ref.oid}") == 0
    room.forget_roots()


def test_p5_a_rotation_keeps_the_old_root_until_a_replica_has_the_new_rows(
    pair: tuple[PrivateValkey, PrivateValkey], tmp_path: Path
) -> None:
    """Else a failover would leave rows behind that nothing opens any more."""
    primary, replica = pair
    room = SealedRoom.open(primary, tmp_path, keyring_url())
    end = datetime.now(UTC) + timedelta(minutes=1)
    ref = room.store.seal(b"photo", object_class=ObjectClass.UPLOAD, deadline=end, ceiling=end).ref
    old = room.keys.current_root(ObjectClass.UPLOAD).epoch
    rotator = Rotator(KeyStore(primary.client(), replicas=1), room.roots, ObjectClass.UPLOAD, timedelta(hours=1))
    replica.pause()

    with pytest.raises(NotReplicatedError):
        rotator.rotate()
    assert old in room.roots.epochs(ObjectClass.UPLOAD)
    replica.resume()
    taken(rotator.rotate)

    assert old not in room.roots.epochs(ObjectClass.UPLOAD)
    assert room.store.open_bytes(ref) == b"photo"
    room.forget_roots()


def test_p6_a_job_is_accepted_and_claimed_only_when_a_replica_knows(pair: tuple[PrivateValkey, PrivateValkey]) -> None:
    primary, replica = pair
    jobs = JobStore(primary.client(), replicas=1)
    fields = {"v": "1", "recipe": "web-set", "provider": "none", "policy": "quick", "upload": _ref(), "params": _ref()}
    fields["deadline"] = "4102444800000"
    # The control: without the setting nobody waits.
    replica.pause()
    JobStore(primary.client()).create(fields, JobId("a" * 32), look_after=timedelta(), longest=timedelta(hours=1))

    with pytest.raises(JobNotReplicatedError):
        jobs.create(fields, JobId("b" * 32), look_after=timedelta(), longest=timedelta(hours=1))
    with pytest.raises(JobNotReplicatedError):
        jobs.claim(JobId("a" * 32), lease_for=timedelta(seconds=30), most_strikes=1)

    # The job has done nothing, so its failed claim is no strike and holds no lease.
    record = primary.client().hgetall("dayfly:job:" + "a" * 32)
    assert record[b"strikes"] == b"0"
    assert b"lease_until" not in record
    replica.resume()
    assert taken(lambda: jobs.cancel(JobId("a" * 32), lease_for=timedelta(seconds=30))).held


def test_p7_what_is_noted_before_a_paid_call_counts_only_when_a_replica_has_it(
    pair: tuple[PrivateValkey, PrivateValkey],
) -> None:
    """Else a failover in the call would forget how often it was repeated."""
    primary, replica = pair
    fields = {"v": "1", "recipe": "web-set", "provider": "none", "policy": "quick", "upload": _ref(), "params": _ref()}
    fields["deadline"] = "4102444800000"
    lone, jobs, job = JobStore(primary.client()), JobStore(primary.client(), replicas=1), JobId("a" * 32)
    lone.create(fields, job, look_after=timedelta(), longest=timedelta(hours=1))
    lease = lone.claim(job, lease_for=timedelta(seconds=30), most_strikes=1)
    replica.pause()

    with pytest.raises(JobNotReplicatedError, match="0 of 1 replicas"):
        jobs.note(lease, {"repeats": "1"}, repeats=1)
    replica.resume()
    noted = taken(lambda: jobs.note(lease, {"repeats": "1"}, repeats=1))

    assert noted.job.repeats == 1
    assert replica.client().hget(f"dayfly:job:{job}", "repeats") == b"1"


def _ref() -> str:
    return str(ObjectRef.new(ObjectClass.UPLOAD, datetime.now(UTC)))


def test_a_client_goes_on_after_its_server_was_restarted(fresh_valkey: Callable[..., PrivateValkey]) -> None:
    """Of the connections that it had, none has to be used up by errors first."""
    server = fresh_valkey()
    client = open_redis(SecretStr(server.url), "DAYFLY_REDIS_URL")
    connections = [client.connection_pool.get_connection() for _ in range(3)]
    for connection in connections:
        client.connection_pool.release(connection)
    server.kill()
    server.start()

    assert [client.ping() for _ in range(4)] == [True] * 4
    close(client)
