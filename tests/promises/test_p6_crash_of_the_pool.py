"""
P6: nothing lost, nothing left, at any crash of a web tier, a worker or a sweeper.

Each test kills a real process with SIGKILL at one enumerated instant (`worker.faults`), starts another, and then
reads every store: the job has ended, its renditions exist once, every key and every ciphertext is accounted for,
every receipt is there once.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.harness import REPO, Pool, eventually, photo
from worker.faults import WorkerFault
from worker.records import JobState

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]

IN_EVERY_JOB = [
    WorkerFault.CLAIMED,
    WorkerFault.RENDERED,
    WorkerFault.OUTPUT_SEALED,
    WorkerFault.SETTLED,
    WorkerFault.OUTPUTS_EXTENDED,
    WorkerFault.SHREDDED,
    WorkerFault.CIPHERTEXT_DELETED,
    WorkerFault.FINISHED,
]
WITH_A_PROVIDER = [WorkerFault.PREPARED, WorkerFault.INTENT_STORED, WorkerFault.SUBMITTED]
WITH_A_TASK = [WorkerFault.TASK_STORED, WorkerFault.POLLED, WorkerFault.RESULTS_STORED, WorkerFault.ERASED]
IN_THE_WEB_TIER = [WorkerFault.CLIENT_SEALED, WorkerFault.CLIENT_ACCEPTED, WorkerFault.CLIENT_NUDGED]
IN_A_CANCEL = [WorkerFault.CANCEL_SHREDDED, WorkerFault.CANCEL_CLAIMED]
IN_AN_ERASURE = [WorkerFault.ERASE_SHREDDED, WorkerFault.ERASE_DELETED]
AT_A_PROVIDERS_COPY = [WorkerFault.ERASED_LATER]
IN_THE_SWEEPER = [WorkerFault.SWEEP_NUDGED]


def test_every_enumerated_fault_point_is_rehearsed() -> None:
    """A fault point added to the code without a test here fails this one."""
    rehearsed = [
        *IN_EVERY_JOB, *WITH_A_PROVIDER, *WITH_A_TASK, *IN_THE_WEB_TIER, *IN_A_CANCEL, *IN_AN_ERASURE,
        *AT_A_PROVIDERS_COPY, *IN_THE_SWEEPER,
    ]  # fmt: skip

    assert sorted(rehearsed) == sorted(WorkerFault)


def killed_at(pool: Pool, role: str, fault: WorkerFault) -> subprocess.Popen[bytes]:
    return pool.start(role, DAYFLY_FAULT_POINT=fault)


def assert_killed(process: subprocess.Popen[bytes]) -> None:
    eventually(lambda: process.poll() is not None, what="the process reaches its fault point")
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("fault", IN_EVERY_JOB, ids=str)
def test_p6_a_job_survives_the_kill_of_its_worker(pools: Callable[..., Pool], fault: WorkerFault) -> None:
    pool = pools()
    doomed = killed_at(pool, "worker", fault)
    job = pool.submit(photo(), "web-set")
    assert_killed(doomed)
    pool.start("worker")
    pool.start("sweeper")

    ended = pool.ended(job.id)

    assert ended.state is JobState.DONE
    names = [output.name for output in ended.outputs]
    assert names
    assert len(names) == len(set(names))
    for name in names:
        with pool.client.open_output(job.id, name) as rendition:
            assert rendition.read()
    pool.assert_nothing_left()


@pytest.mark.parametrize("fault", WITH_A_PROVIDER, ids=str)
def test_p6_a_free_provider_is_simply_asked_again(pools: Callable[..., Pool], fault: WorkerFault) -> None:
    pool = pools()
    doomed = killed_at(pool, "worker", fault)
    job = pool.submit(photo(), "amazon-main", provider="local")
    assert_killed(doomed)
    pool.start("worker")
    pool.start("sweeper")

    assert pool.ended(job.id).state is JobState.DONE
    pool.assert_nothing_left()


@pytest.mark.parametrize("fault", WITH_A_TASK, ids=str)
def test_p7_a_task_is_taken_up_by_another_worker_and_paid_once(pools: Callable[..., Pool], fault: WorkerFault) -> None:
    pool = pools()
    doomed = killed_at(pool, "worker", fault)
    job = pool.submit(photo(), "amazon-main", provider="darkroom")
    assert_killed(doomed)
    pool.start("worker")
    pool.start("sweeper")

    assert pool.ended(job.id).state is JobState.DONE
    assert len(pool.charges()) == 1
    pool.assert_nothing_left()


@pytest.mark.parametrize("fault", WITH_A_PROVIDER, ids=str)
def test_p7_a_paid_call_whose_answer_was_lost_is_not_repeated(pools: Callable[..., Pool], fault: WorkerFault) -> None:
    """
    Before the intent is stored the call was not made, so it is made; after that nobody can know, and the job says so.
    """
    pool = pools()
    doomed = killed_at(pool, "worker", fault)
    job = pool.submit(photo(), "amazon-main", provider="darkroom")
    assert_killed(doomed)
    charged_before = len(pool.charges())
    pool.start("worker")
    pool.start("sweeper")

    ended = pool.ended(job.id)

    assert len(pool.charges()) <= 1
    if fault is WorkerFault.PREPARED:
        assert ended.state is JobState.DONE
    else:
        assert (ended.state, ended.error_code) == (JobState.FAILED, "outcome-unknown")
        assert len(pool.charges()) == charged_before
    pool.assert_nothing_left()


SUBMIT = """
import os, sys
from io import BytesIO
from worker.client import Client, JobSpec
with Client.from_env() as client:
    job = client.submit(BytesIO(sys.stdin.buffer.read()), JobSpec(recipe="web-set", subject="u-381"))
    if "cancel" in sys.argv:
        client.cancel(job.id)
    if "erase" in sys.argv:
        client.erase(subject="u-381")
"""


def run_web_tier(pool: Pool, fault: WorkerFault, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SUBMIT, *arguments],
        input=photo(),
        env={**pool.environment, "PYTHONPATH": str(REPO), "DAYFLY_FAULT_POINT": fault, "DAYFLY_SUBJECT_KEY": "s" * 16},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.parametrize("fault", IN_THE_WEB_TIER, ids=str)
def test_p6_a_web_tier_killed_while_submitting_leaves_a_job_or_nothing(
    pools: Callable[..., Pool], fault: WorkerFault
) -> None:
    # Long enough for the sweeper's nudge, short enough to see what has no job die by itself.
    pool = pools(pending=5 if fault is WorkerFault.CLIENT_SEALED else 60)
    pool.start("worker")
    run_web_tier(pool, fault)
    pool.start("sweeper")

    jobs = list(pool.client.list())

    assert len(jobs) == (0 if fault is WorkerFault.CLIENT_SEALED else 1)
    for job in jobs:
        assert pool.ended(job.id, within=40).state is JobState.DONE
    pool.assert_nothing_left()


@pytest.mark.parametrize("fault", IN_A_CANCEL, ids=str)
def test_p6_a_cancel_that_dies_halfway_still_cancels(pools: Callable[..., Pool], fault: WorkerFault) -> None:
    pool = pools()
    pool.ensure_roots()
    run_web_tier(pool, fault, "cancel")
    (job,) = pool.client.list()
    pool.start("worker")
    pool.start("sweeper")

    ended = pool.ended(job.id, within=40)

    assert ended.state is JobState.CANCELLED
    assert ended.outputs == ()
    pool.assert_nothing_left()


@pytest.mark.parametrize("fault", IN_AN_ERASURE, ids=str)
def test_p6_an_erasure_that_dies_halfway_leaves_nothing_and_can_be_repeated(
    pools: Callable[..., Pool], fault: WorkerFault
) -> None:
    pool = pools(subject_key="s" * 16)
    pool.ensure_roots()
    run_web_tier(pool, fault, "erase")
    (job,) = pool.client.list()
    pool.start("worker")
    pool.start("sweeper")

    erasure = pool.client.erase(subject="u-381")

    assert erasure.complete
    assert {item.ref for item in erasure.objects} >= {job.upload, job.params}
    assert pool.ended(job.id).outputs == ()
    pool.assert_nothing_left()


def test_p6_a_worker_killed_while_a_provider_erases_is_followed_by_another(pools: Callable[..., Pool]) -> None:
    pool = pools()
    first = pool.start("worker", DARKROOM_POLLS="100000")
    job = pool.submit(photo(), "amazon-main", provider="darkroom")
    eventually(lambda: pool.client.show(job.id).task is not None, what="the task is stored")
    first.terminate()
    first.wait()
    pool.client.cancel(job.id)
    pool.start("sweeper")
    assert_killed(killed_at(pool, "worker", WorkerFault.ERASED_LATER))
    pool.start("worker")

    eventually(lambda: not pool.client.show(job.id).owed, what="the erasure is recorded")

    (transfer,) = pool.client.show(job.id).transfers
    assert (transfer.erasure, transfer.cancelled) == ("erased", "accepted")
    pool.assert_nothing_left()


def test_p6_a_sweeper_killed_while_it_nudges_is_replaced(pools: Callable[..., Pool]) -> None:
    pool = pools()
    lost = killed_at(pool, "worker", WorkerFault.CLAIMED)
    job = pool.submit(photo(), "web-set")
    assert_killed(lost)
    assert_killed(killed_at(pool, "sweeper", WorkerFault.SWEEP_NUDGED))
    pool.start("worker")
    pool.start("sweeper")

    assert pool.ended(job.id, within=90).state is JobState.DONE
    pool.assert_nothing_left()
