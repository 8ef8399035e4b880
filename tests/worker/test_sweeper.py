"""The sweeper: one leads, each part is on its own, and what it finishes is finished."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from metrics.instruments import SWEEP_ACTIONS, SWEEPS, SweepAction, SweepOutcome
from storage import StoreUnavailableError
from tests.harness import Pool, photo
from worker.errors import ServerUnavailableError
from worker.settings import Settings
from worker.sweeper import Sweeper
from worker.wiring import Deployment, Role


@pytest.fixture
def pool(pools: Callable[..., Pool]) -> Pool:
    pool = pools()
    pool.ensure_roots()
    return pool


def count(outcome: SweepOutcome) -> float:
    return SWEEPS.labels(outcome=outcome)._value.get()


def acted(action: SweepAction) -> float:
    return SWEEP_ACTIONS.labels(action=action)._value.get()


def test_of_two_sweepers_one_leads_until_it_steps_down(pool: Pool) -> None:
    first, second = Sweeper.of(pool.deployment), Sweeper.of(pool.deployment)
    before = count(SweepOutcome.NOT_LEADER)

    assert first.sweep()
    assert second.sweep()
    assert count(SweepOutcome.NOT_LEADER) == before + 1
    first.step_down()
    second.sweep()
    assert count(SweepOutcome.NOT_LEADER) == before + 1


def test_one_part_that_fails_does_not_keep_the_others_from_running(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    job = pool.submit(photo(), "web-set")
    pool.client.cancel(job.id)
    sweeper = Sweeper.of(pool.deployment)

    def full(limit: int) -> int:
        raise StoreUnavailableError("the blob store is gone")

    monkeypatch.setattr(sweeper.objects, "delete_doomed", full)
    failed, receipts = count(SweepOutcome.FAILED), acted(SweepAction.RECEIPTS)

    assert sweeper.sweep() is False
    assert count(SweepOutcome.FAILED) == failed + 1
    assert acted(SweepAction.RECEIPTS) > receipts


def test_without_redis_it_still_deletes_what_cannot_be_alive(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = "output/2020010100/" + "d" * 32
    with pool.deployment.blobs.create(dead) as sink:
        sink.write(b"x")
    sweeper = Sweeper.of(pool.deployment)
    stop = threading.Event()

    def away(_: Sweeper) -> bool:
        stop.set()
        raise ServerUnavailableError("Redis cannot be reached")

    monkeypatch.setattr(Sweeper, "sweep", away)
    sweeper.run(stop, timedelta(0))

    assert dead not in pool.ciphertexts()


def test_every_event_becomes_one_receipt(pool: Pool) -> None:
    job = pool.submit(photo(), "web-set")
    pool.client.cancel(job.id)
    sweeper = Sweeper.of(pool.deployment)

    sweeper.sweep()
    sweeper.sweep()

    told = [(receipt["type"], receipt.get("oid")) for receipt in pool.receipts()]
    for ref in (job.upload, job.params):
        assert told.count(("created", ref.oid)) == 1
        assert told.count(("destroyed", ref.oid)) == 1


def test_a_job_nobody_moves_on_is_nudged(pool: Pool) -> None:
    job = pool.submit(photo(), "web-set")
    pool.deployment.redis.zadd("dayfly:jobs:open", {job.id: 0})
    pool.deployment.broker.flush("jobs")
    nudged = acted(SweepAction.NUDGED)

    Sweeper.of(pool.deployment, look_again=timedelta(seconds=30)).sweep()

    assert acted(SweepAction.NUDGED) == nudged + 1
    assert pool.deployment.broker.lengths()["jobs"] == 1


def test_a_host_with_roots_of_its_own_shreds_nothing_and_says_so(pool: Pool) -> None:
    """Two hosts, a key store for both and a keyring for each: the second must not take the first's roots for lost."""
    job = pool.submit(photo(), "web-set")
    second = {"DAYFLY_ROOTS_UPLOADS": f"{pool.environment['DAYFLY_ROOTS_UPLOADS']}-2"}
    processes = [pool.start(role, **second) for role in ("worker", "sweeper")]

    assert [process.wait(20) for process in processes] == [3, 3]
    assert pool.logs().count("point both at one shared root store") == 2
    ref = pool.client.show(job.id).upload
    assert pool.deployment.store.open_bytes(ref) == photo()


def test_a_leader_that_cannot_see_the_current_root_leaves_the_lead(pool: Pool) -> None:
    second = {**pool.environment, "DAYFLY_ROOTS_UPLOADS": f"{pool.environment['DAYFLY_ROOTS_UPLOADS']}-2"}
    given = {name.removeprefix("DAYFLY_").lower(): value for name, value in second.items() if name != "DARKROOM"}
    with Deployment.open(Settings.load(**given), Role.SWEEPER) as elsewhere:
        assert Sweeper.of(elsewhere).sweep() is False
        done = count(SweepOutcome.DONE)
        assert Sweeper.of(pool.deployment).sweep()

    assert count(SweepOutcome.DONE) == done + 1
