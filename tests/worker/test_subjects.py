"""Requests of a person: erased is everything of that subject and nothing of another, exported is what can be read."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from storage import Live, ObjectClass, Shredded, ShredReason
from tests.harness import Pool, eventually
from worker.client import Client
from worker.records import JobRecord, JobState
from worker.sweeper import Sweeper
from worker.wiring import Deployment, Role


@pytest.fixture
def pool(pools: Callable[..., Pool]) -> Pool:
    """A pool in which nobody works; the tests bring jobs to their ends."""
    pool = pools(pending=60)
    pool.ensure_roots()
    return pool


@pytest.fixture
def web(pool: Pool) -> Iterator[Client]:
    """A web tier as it is in production: it holds no root of uploads and rotates nothing."""
    with Deployment.open(pool.deployment.settings, Role.WEB) as deployment:
        yield Client(deployment)


def statuses(pool: Pool, job: JobRecord) -> set[type]:
    return {type(pool.deployment.store.status(ref)) for ref in job.objects}


def test_an_erasure_ends_jobs_shreds_keys_deletes_ciphertext_and_rotates(pool: Pool) -> None:
    done = pool.done(pool.submit(b"one", "null", subject="u-381"))
    waiting = pool.submit(b"two", "null", subject="u-381")
    other = pool.done(pool.submit(b"three", "null", subject="u-382"))
    epochs = {name: pool.deployment.keys.current_root(name).epoch for name in ObjectClass}

    erasure = pool.client.erase(subject="u-381")

    assert erasure.complete
    assert erasure.cancelled == (waiting.id,)
    assert {item.ref for item in erasure.objects} == {*done.objects, *waiting.objects}
    assert statuses(pool, done) == statuses(pool, waiting) == {Shredded}
    assert pool.client.show(waiting.id).state is JobState.CANCELLED
    assert pool.ciphertexts() == {str(other.outputs[0].ref)}
    assert Live in statuses(pool, other)
    for name, store in pool.deployment.root_stores.items():
        assert epochs[name] not in store.epochs(name)


def test_an_erasure_can_be_repeated_and_answers_with_the_first_times(pool: Pool) -> None:
    job = pool.done(pool.submit(b"one", "null", subject="u-381"))
    first = pool.client.erase(subject="u-381")

    second = pool.client.erase(subject="u-381")

    assert all(item.already for item in second.objects)
    assert {i.ref: i.shredded_at for i in second.objects} == {i.ref: i.shredded_at for i in first.objects}
    assert second.cancelled == ()
    assert second.ciphertext_deleted == 0
    assert pool.client.show(job.id).state is JobState.DONE


def test_an_unknown_subject_has_nothing_to_erase(pool: Pool) -> None:
    erasure = pool.client.erase(subject="nobody")

    assert erasure.objects == ()
    assert erasure.complete


def test_a_web_tier_has_the_sweeper_rotate(pool: Pool, web: Client) -> None:
    pool.submit(b"one", "null", subject="u-381")
    asked = web.erase(subject="u-381", patience=timedelta())

    assert not asked.complete
    assert {item.reason for item in asked.objects} == {ShredReason.ERASED}
    Sweeper.of(pool.deployment).sweep()
    assert all(
        pool.deployment.keys.current_root(name).epoch > 1 and not pool.deployment.keys.current_root(name).retiring
        for name in ObjectClass
    )


def test_a_running_sweeper_completes_a_web_tiers_erasure(pool: Pool, web: Client) -> None:
    pool.start("sweeper")
    pool.done(pool.submit(b"one", "null", subject="u-381"))

    assert web.erase(subject="u-381", patience=timedelta(seconds=30)).complete
    eventually(lambda: pool.ciphertexts() == set())


def test_the_jobs_of_a_subject_are_known_as_long_as_their_records(pool: Pool) -> None:
    job = pool.submit(b"one", "null", subject="u-381")
    redis = pool.deployment.redis

    (name,) = redis.keys("dayfly:subject:*")
    assert b"u-381" not in name
    longest = timedelta(seconds=600 + 86_400, days=30)
    assert abs(redis.pttl(name) - longest / timedelta(milliseconds=1)) < 60_000
    pool.done(job)
    assert abs(redis.pttl(f"dayfly:job:{job.id}") - timedelta(days=31) / timedelta(milliseconds=1)) < 60_000


def unzip(parts: Iterator[bytes]) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(b"".join(parts)))


def test_an_export_holds_what_can_be_read_and_a_record_of_everything(pool: Pool, web: Client) -> None:
    readable = pool.done(pool.submit(b"one", "null", subject="u-381"), b"r" * 3_000_000)
    gone = pool.done(pool.submit(b"two", "null", subject="u-381"))
    pool.client.shred(gone.id)
    pool.done(pool.submit(b"three", "null", subject="u-382"))

    with unzip(web.export(subject="u-381")) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {"README.txt", "records.json", f"{readable.id}/main.jpeg"}
        assert archive.read(f"{readable.id}/main.jpeg") == b"r" * 3_000_000
        records = {record["id"]: record for record in json.loads(archive.read("records.json"))}
    assert set(records) == {readable.id, gone.id}
    assert {item["status"] for item in records[gone.id]["objects"]} == {"shredded"}
    kept = [item for item in records[readable.id]["objects"] if "file" in item]
    assert [(item["status"], item["file"]) for item in kept] == [("live", f"{readable.id}/main.jpeg")]
    assert "u-381" not in json.dumps(records)


def test_an_export_is_made_piece_by_piece(pool: Pool) -> None:
    pool.done(pool.submit(b"one", "null", subject="u-381"), b"r" * (8 << 20))

    longest = max(len(piece) for piece in pool.client.export(subject="u-381"))

    assert longest <= 1 << 20
