"""
Many tasks waiting at a slow provider: one worker holds them in little memory, asks for them at a bounded rate, dies
halfway, and another finishes them all without a second charge. Sixty in the suite, five thousand in the campaign.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.server import KEY, Answer, Seen
from tests.fakes.task_vendors import FakeFal
from tests.harness import FAKE_SITE, Pool, eventually
from tests.photos import jpeg
from worker.polling import POLLS_A_SECOND
from worker.records import JobState

pytestmark = pytest.mark.slow

MOST_RESIDENT = 300 << 20


class SlowFal(FakeFal):
    """fal on a slow day: no task ends until it is let go. It keeps times instead of requests."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = deque(maxlen=10)  # type: ignore[assignment]
        self.let_go = threading.Event()
        self.polls: Counter[int] = Counter()

    def waits(self, task: str) -> bool:
        return not self.let_go.is_set()

    def route(self, seen: Seen) -> Answer:
        if seen.path.endswith("/status"):
            self.polls[int(time.monotonic())] += 1
        return super().route(seen)


@pytest.fixture
def fal() -> Iterator[SlowFal]:
    with SlowFal() as fake:
        yield fake


def resident(pid: int) -> int:
    """Give the resident memory of a process in bytes."""
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) << 10


def wait_then_finish(pools: Callable[..., Pool], fal: SlowFal, count: int, *, watch: int, patience: float) -> None:
    pool = pools(
        pending=600, latest=7200, recipes_dir=str(FAKE_SITE.parent / "recipes"), lease_seconds="5",
        sweep_seconds="1", rotation_uploads_seconds="900", log_level="warning",
    )  # fmt: skip
    account = {"DAYFLY_PROVIDER_FAL_KEY": KEY, "DAYFLY_PROVIDER_FAL_URL": fal.url, "DAYFLY_LOG_LEVEL": "info"}
    first = pool.start("worker", **account)
    pool.start("sweeper", DAYFLY_LOG_LEVEL="info")
    photo = jpeg(64, 64)
    for _ in range(count):
        pool.submit(photo, "ask-only", provider="fal")
    jobs = pool.deployment.jobs
    eventually(
        lambda: jobs.figures()[JobState.AWAITING] == count,
        within=patience,
        what=f"{count} tasks wait: {jobs.figures()}",
    )

    begun = int(time.monotonic()) + 1
    time.sleep(watch + 1)
    polled = [fal.polls[second] for second in range(begun, begun + watch)]
    memory = resident(first.pid)
    first.kill()
    first.wait()
    pool.start("worker", **account)
    fal.let_go.set()
    eventually(
        lambda: jobs.figures()[JobState.DONE] == count, within=patience, what=f"{count} jobs end: {jobs.figures()}"
    )

    told = f"{memory / 2**20:.0f} MiB resident, {sum(polled) / watch:.1f} polls a second, most {max(polled)}"
    print(f"{count} tasks: {told}")
    assert memory <= MOST_RESIDENT
    assert fal.polls.total() > 0
    assert sum(polled) / watch <= 2 * POLLS_A_SECOND
    assert fal.charges == count
    assert fal.wrong == []
    assert KEY not in pool.logs()


@pytest.mark.timeout(120)
def test_p7_waiting_tasks_outlive_their_worker_and_are_paid_once(pools: Callable[..., Pool], fal: SlowFal) -> None:
    wait_then_finish(pools, fal, 60, watch=2, patience=60)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_p7_campaign_of_five_thousand_waiting_tasks(pools: Callable[..., Pool], fal: SlowFal) -> None:
    wait_then_finish(pools, fal, 5000, watch=30, patience=1500)
