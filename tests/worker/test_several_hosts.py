"""Two hosts, a home for each, and one root store for both: what one begins, the other ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from storage import ObjectClass
from tests.harness import Pool, eventually, photo
from tests.roots import FORGETFUL
from tests.valkey import PrivateValkey
from worker.records import JobState

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]


@pytest.fixture
def forgetful() -> Iterator[PrivateValkey]:
    with PrivateValkey(None, *FORGETFUL) as server:
        yield server


def test_hosts_that_share_a_root_store_share_the_work(forgetful: PrivateValkey, pools: Callable[..., Pool]) -> None:
    roots = {"roots_uploads": forgetful.url, "roots_outputs": forgetful.url}
    pool = pools(**roots, rotation_uploads_seconds="1", pending=60)
    elsewhere = {"DAYFLY_HOME": str(pool.folder / "other-home")}
    pool.start("sweeper")
    first = pool.start("worker")
    before = pool.submit(photo(), "web-set")
    assert pool.ended(before.id, within=60).state is JobState.DONE
    first.terminate()
    first.wait(20)
    pool.start("worker", **elsewhere)
    pool.start("sweeper", **elsewhere)
    after = pool.submit(photo(), "web-set")

    assert pool.ended(after.id, within=60).state is JobState.DONE
    pool.assert_nothing_left()
    for job in (before, after):
        for output in pool.client.show(job.id).outputs:
            assert pool.client.open_output(job.id, output.name).read()
    epoch = pool.deployment.keys.current_root(ObjectClass.UPLOAD).epoch
    eventually(lambda: pool.deployment.keys.current_root(ObjectClass.UPLOAD).epoch > epoch, what="a rotation")
