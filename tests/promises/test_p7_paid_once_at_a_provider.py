"""
P7 at providers over the network: a real worker calls a fake provider, is killed while the call is under way, and
another worker takes the job up. The bill is the fake's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.fakes.server import KEY, FakeServer
from tests.fakes.sync_vendors import FakeRemoveBg
from tests.fakes.task_vendors import FakeFal
from tests.harness import Pool, eventually, photo
from worker.records import JobState

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def remove_bg() -> Iterator[FakeRemoveBg]:
    with FakeRemoveBg() as fake:
        yield fake


@pytest.fixture
def fal() -> Iterator[FakeFal]:
    with FakeFal() as fake:
        yield fake


def account(name: str, fake: FakeServer, path: str = "") -> dict[str, str]:
    return {f"DAYFLY_PROVIDER_{name}_KEY": KEY, f"DAYFLY_PROVIDER_{name}_URL": fake.url + path}


def test_p7_a_job_goes_through_a_provider_that_answers_at_once(
    pools: Callable[..., Pool], remove_bg: FakeRemoveBg
) -> None:
    pool = pools()
    remove_bg.picture = photo()
    pool.start("worker", **account("REMOVE_BG", remove_bg, "/v1.0"))
    pool.start("sweeper")
    job = pool.submit(photo(), "amazon-main", provider="remove-bg")

    ended = pool.ended(job.id)

    assert (ended.state, ended.error_code) == (JobState.DONE, None)
    assert remove_bg.charges == 1
    pool.assert_nothing_left()
    assert KEY not in pool.logs()


def test_p7_a_worker_killed_in_the_call_leaves_an_unknown_outcome_and_one_charge(
    pools: Callable[..., Pool], remove_bg: FakeRemoveBg
) -> None:
    pool = pools()
    remove_bg.next("hang")
    doomed = pool.start("worker", **account("REMOVE_BG", remove_bg, "/v1.0"))
    job = pool.submit(photo(), "amazon-main", provider="remove-bg")
    eventually(remove_bg.accepted.is_set, what="the provider accepts the call")
    doomed.kill()
    doomed.wait()
    pool.start("worker", **account("REMOVE_BG", remove_bg, "/v1.0"))
    pool.start("sweeper")

    ended = pool.ended(job.id)

    assert (ended.state, ended.error_code) == (JobState.FAILED, "outcome-unknown")
    assert remove_bg.charges == 1
    pool.assert_nothing_left()
    assert KEY not in pool.logs()


def test_p7_a_worker_without_the_credential_says_which_setting_is_missing(pools: Callable[..., Pool]) -> None:
    pool = pools()
    pool.start("worker")
    pool.start("sweeper")
    job = pool.submit(photo(), "amazon-main", provider="remove-bg")

    ended = pool.ended(job.id)

    assert (ended.state, ended.error_code) == (JobState.FAILED, "auth-failed")
    assert "DAYFLY_PROVIDER_REMOVE_BG_KEY" in (ended.error_message or "")
    pool.assert_nothing_left()


def test_p7_a_task_at_a_provider_is_taken_up_by_another_worker(pools: Callable[..., Pool], fal: FakeFal) -> None:
    """The worker dies while the task runs; whoever comes next finds account, address and id in the record."""
    pool = pools()
    fal.picture = photo()
    fal.pending = 10_000
    doomed = pool.start("worker", **account("FAL", fal))
    job = pool.submit(photo(), "amazon-main", provider="fal")
    eventually(lambda: pool.client.show(job.id).task is not None, what="the task is stored")
    doomed.kill()
    doomed.wait()
    fal.pending = 0
    pool.start("worker", **account("FAL", fal))
    pool.start("sweeper")

    ended = pool.ended(job.id)

    assert (ended.state, ended.error_code) == (JobState.DONE, None)
    assert fal.charges == 1
    assert fal.wrong == []
    pool.assert_nothing_left()
    assert KEY not in pool.logs()


def test_p7_a_worker_killed_while_a_task_is_made_leaves_one_charge(pools: Callable[..., Pool], fal: FakeFal) -> None:
    pool = pools()
    fal.next("hang")
    doomed = pool.start("worker", **account("FAL", fal))
    job = pool.submit(photo(), "amazon-main", provider="fal")
    eventually(fal.accepted.is_set, what="the provider accepts the call")
    doomed.kill()
    doomed.wait()
    pool.start("worker", **account("FAL", fal))
    pool.start("sweeper")

    ended = pool.ended(job.id)

    assert (ended.state, ended.error_code) == (JobState.FAILED, "outcome-unknown")
    assert fal.charges == 1
    pool.assert_nothing_left()


def test_p7_a_success_without_a_picture_is_not_bought_again(
    pools: Callable[..., Pool], remove_bg: FakeRemoveBg
) -> None:
    pool = pools()
    remove_bg.next("html")
    pool.start("worker", **account("REMOVE_BG", remove_bg, "/v1.0"))
    pool.start("sweeper")
    job = pool.submit(photo(), "amazon-main", provider="remove-bg")

    ended = pool.ended(job.id)

    assert (ended.state, ended.error_code) == (JobState.FAILED, "outcome-unknown")
    assert "no picture" in (ended.error_message or "")
    assert len(remove_bg.seen) == 1
    pool.assert_nothing_left()
