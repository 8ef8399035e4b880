"""The worker process as an operator meets it: drains, stalls, duplicates, cancels, and ends of every kind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from metrics.instruments import NudgeSource
from storage import ObjectShreddedError, Shredded, ShredReason
from tests.harness import Pool, eventually, photo
from worker.broker import QUEUE
from worker.records import JobState

pytestmark = pytest.mark.timeout(120)


def test_p3_every_end_destroys_the_keys_of_upload_and_parameters(pools: Callable[..., Pool]) -> None:
    pool = pools()
    pool.start("worker", DARKROOM_POLLS="1000000")
    pool.start("sweeper")
    done = pool.submit(photo(), "web-set")
    refused = pool.submit(b"this is no picture", "web-set")
    cancelled = pool.submit(photo(), "amazon-main", provider="darkroom")
    eventually(lambda: pool.client.show(cancelled.id).state is JobState.AWAITING)
    pool.client.cancel(cancelled.id)

    ends = {job.id: pool.ended(job.id) for job in (done, refused, cancelled)}

    assert [ends[job.id].state for job in (done, refused, cancelled)] == ["done", "failed", "cancelled"]
    for job in (done, refused, cancelled):
        for ref in (job.upload, job.params):
            assert isinstance(pool.deployment.store.status(ref.oid), Shredded)
            with pytest.raises(ObjectShreddedError, match="shredded"):
                pool.deployment.store.open_bytes(ref)
    pool.assert_nothing_left()
    reasons = {receipt["oid"]: receipt["reason"] for receipt in pool.receipts() if receipt["type"] == "destroyed"}
    assert [reasons[job.upload.oid] for job in (done, refused, cancelled)] == ["done", "refused", "cancelled"]


def test_p4_a_job_whose_keys_died_on_time_ends_as_expired(pools: Callable[..., Pool]) -> None:
    """
    No worker is there before the deadline; Redis drops the rows by itself and the job still gets its end and
    receipts.
    """
    pool = pools(pending=1, latest=2)
    pool.ensure_roots()
    job = pool.submit(photo(), "web-set")
    client = pool.deployment.redis
    eventually(lambda: not client.exists(f"dayfly:key:{job.upload.oid}"), within=5)

    pool.start("worker")
    pool.start("sweeper")

    assert pool.ended(job.id).state is JobState.EXPIRED
    pool.assert_nothing_left()


def test_p6_a_job_whose_provider_never_answers_ends_at_its_deadline(pools: Callable[..., Pool]) -> None:
    pool = pools(pending=4, latest=5)
    pool.start("worker", DARKROOM_POLLS="1000000")
    pool.start("sweeper")
    job = pool.submit(photo(), "amazon-main", provider="darkroom")
    eventually(lambda: pool.client.show(job.id).state is JobState.AWAITING)

    assert pool.ended(job.id, within=20).state is JobState.EXPIRED
    pool.assert_nothing_left()


def test_p6_a_cancellation_that_died_after_the_shred_is_noticed_while_the_provider_works(
    pools: Callable[..., Pool],
) -> None:
    pool = pools()
    pool.start("worker", DARKROOM_POLLS="1000000")
    pool.start("sweeper")
    job = pool.submit(photo(), "amazon-main", provider="darkroom")
    eventually(lambda: pool.client.show(job.id).state is JobState.AWAITING)
    pool.deployment.store.shred(job.consumed, ShredReason.CANCELLED)

    assert pool.ended(job.id, within=20).state is JobState.CANCELLED
    pool.assert_nothing_left()


def test_sigterm_lets_the_job_at_hand_finish(pools: Callable[..., Pool]) -> None:
    pool = pools()
    worker = pool.start("worker")
    job = pool.submit(photo(), "amazon-main")
    eventually(lambda: pool.client.show(job.id).state is not JobState.ACCEPTED)

    worker.send_signal(signal.SIGTERM)

    assert worker.wait(30) == 0
    assert "job ended" in pool.logs() or pool.client.show(job.id).state is not JobState.PREPARING


def test_sigterm_twice_at_once_is_one_stop(pools: Callable[..., Pool]) -> None:
    """
    A supervisor that signals the whole group delivers SIGTERM twice; that must not cut the drain short, nor hang it.
    """
    pool = pools()
    worker = pool.start("worker")

    worker.send_signal(signal.SIGTERM)
    worker.send_signal(signal.SIGTERM)

    assert worker.wait(20) == 0


def test_a_second_sigterm_later_stops_at_once_and_the_job_goes_on_elsewhere(pools: Callable[..., Pool]) -> None:
    pool = pools(lease_seconds="20")
    worker = pool.start("worker", DARKROOM_HANG="1")
    job = pool.submit(photo(), "amazon-main", provider="darkroom")
    eventually(pool.charges)
    worker.send_signal(signal.SIGTERM)
    time.sleep(1.5)  # what tells a second request from the first one heard twice
    assert worker.poll() is None, "it waits for the call it is in"
    worker.send_signal(signal.SIGTERM)

    assert worker.wait(5) == 0
    pool.start("worker")
    pool.start("sweeper")
    ended = pool.ended(job.id, within=15)
    assert (ended.state, ended.error_code) == (JobState.FAILED, "outcome-unknown")
    assert len(pool.charges()) == 1
    pool.assert_nothing_left()


def test_a_stalled_redis_strands_no_job(pools: Callable[..., Pool], fresh_valkey: Callable[[], object]) -> None:
    server = fresh_valkey()
    # The stall may come when outputs are sealed and not yet named: their pending deadline must be longer than it.
    pool = pools(redis_url=server.url, pending=60)  # type: ignore[attr-defined]
    pool.start("worker")
    pool.start("sweeper")
    jobs = [pool.submit(photo(), "web-set") for _ in range(3)]
    os.kill(server.pid, signal.SIGSTOP)  # type: ignore[attr-defined]
    try:
        time.sleep(8)
    finally:
        os.kill(server.pid, signal.SIGCONT)  # type: ignore[attr-defined]
    jobs += [pool.submit(photo(), "web-set") for _ in range(3)]

    assert {pool.ended(job.id, within=60).state for job in jobs} == {JobState.DONE}
    pool.assert_nothing_left()


def test_an_undecodable_message_and_a_duplicate_strand_no_job(pools: Callable[..., Pool]) -> None:
    pool = pools()
    pool.ensure_roots()
    broker = pool.deployment.broker
    broker.do_enqueue(QUEUE, "bad", b"\xff not a message")
    jobs = [pool.submit(photo(), "web-set") for _ in range(3)]
    for job in jobs:
        broker.nudge(job.id, NudgeSource.SUBMIT, delay=timedelta())
    pool.start("worker")
    pool.start("sweeper")

    ended = [pool.ended(job.id) for job in jobs]

    assert {job.state for job in ended} == {JobState.DONE}
    assert {len(job.outputs) for job in ended} == {len(ended[0].outputs)}
    pool.assert_nothing_left()


def test_a_job_that_kills_its_workers_is_given_up(pools: Callable[..., Pool]) -> None:
    pool = pools(max_starts="2")
    pool.start("sweeper")
    pool.ensure_roots()
    job = pool.submit(photo(), "web-set")
    for _ in range(2):
        assert pool.start("worker", DAYFLY_FAULT_POINT="rendered").wait(30) == -signal.SIGKILL
    pool.start("worker")

    ended = pool.ended(job.id)

    assert (ended.state, ended.error_code) == (JobState.FAILED, "gave-up")
    pool.assert_nothing_left()
