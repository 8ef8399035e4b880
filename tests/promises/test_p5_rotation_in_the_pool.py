"""P5 and P6 in a running pool: a sweeper killed anywhere in a rotation is replaced; no job and no key is lost."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from storage import ObjectClass
from storage.faults import FaultPoint
from tests.harness import Pool, eventually, photo
from worker.records import JobState

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]

ROTATION = [point for point in FaultPoint if point.name.startswith("ROTATE_")]


def test_the_rotation_has_fault_points() -> None:
    assert len(ROTATION) >= 5


@pytest.mark.parametrize("fault", ROTATION, ids=str)
def test_p6_a_sweeper_killed_in_a_rotation_is_replaced(pools: Callable[..., Pool], fault: FaultPoint) -> None:
    pool = pools(rotation_uploads_seconds="1", pending=60)
    pool.ensure_roots()
    epoch = pool.deployment.keys.current_root(ObjectClass.UPLOAD).epoch
    job = pool.submit(photo(), "web-set")
    doomed = pool.start("sweeper", DAYFLY_FAULT_POINT=fault)
    eventually(lambda: doomed.poll() is not None, what="the sweeper reaches its fault point")
    assert doomed.returncode == -signal.SIGKILL
    pool.start("sweeper")
    pool.start("worker")

    assert pool.ended(job.id, within=60).state is JobState.DONE
    pool.assert_nothing_left()
    roots = pool.deployment.root_stores[ObjectClass.UPLOAD]
    eventually(
        lambda: len(roots.epochs(ObjectClass.UPLOAD)) == 1 and min(roots.epochs(ObjectClass.UPLOAD)) > epoch,
        what="one root is left, and it is a new one",
    )
    epochs = [receipt["epoch"] for receipt in pool.receipts() if receipt["type"] == "epoch"]
    assert len(epochs) == len(set(epochs)), "the end of an epoch is told once"
