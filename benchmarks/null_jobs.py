"""
Jobs without pixels: what the pool itself costs.

A job is a 10 KB upload under the recipe `null`: sealed, accepted, nudged, claimed, opened, settled, shredded, deleted.
Dramatiq's yardstick is an actor that does nothing, on the same Valkey, with the same number of threads.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from io import BytesIO
from queue import SimpleQueue

from benchmarks.noop import broker_with_noop
from benchmarks.report import Figure, at_least, at_most, percentile, told
from benchmarks.site import THREADS, Site, running_site
from storage.keystore import Shredded
from tests.harness import REPO, eventually
from worker.client import JobSpec
from worker.records import JobId, JobRecord, JobState

UPLOAD_BYTES = 10_000
JOBS_PER_SECOND = 10
NULL = JobSpec(recipe="null")


def measure(*, quick: bool) -> list[Figure]:
    """First latency at a low rate, then the rate with jobs queued beforehand, by turns with Dramatiq's."""
    with running_site() as site:
        site.ensure_roots()
        worker = site.start("worker")
        figures = _latency(site, rounds=1 if quick else 5, jobs=5 if quick else 100)
        site.stop(worker)
        return figures + _rate(site, rounds=1 if quick else 5, jobs=20 if quick else 1000)


def _latency(site: Site, *, rounds: int, jobs: int) -> list[Figure]:
    random_gaps = random.Random(7)
    settled_p50, settled_p99, ended_p50, lag_p99 = [], [], [], []
    for turn in range(rounds + 1):
        ids = []
        next_at = time.monotonic()
        for _ in range(jobs if turn else 3):
            # Arrivals at random: at an even pace they would fall in step with the consumer's polling.
            next_at += random_gaps.expovariate(JOBS_PER_SECOND)
            time.sleep(max(0.0, next_at - time.monotonic()))
            ids.append(_submit(site))
        records = _ended(site, ids)
        if not turn:  # the first is a rehearsal
            continue
        settled = [_milliseconds(record, JobState.ACCEPTED, JobState.SETTLED) for record in records]
        settled_p50.append(percentile(settled, 0.5))
        settled_p99.append(percentile(settled, 0.99))
        ended_p50.append(
            percentile([_milliseconds(record, JobState.ACCEPTED, JobState.DONE) for record in records], 0.5)
        )
        lag_p99.append(percentile(_shred_lags(site, records), 0.99))
    what = f"job without pixels, {JOBS_PER_SECOND}/s"
    return [
        at_most(f"{what}: accepted to settled, p50", 30, settled_p50, unit="ms"),
        told(f"{what}: accepted to settled, p99", settled_p99, unit="ms"),
        told(f"{what}: accepted to done, p50", ended_p50, unit="ms"),
        at_most(f"{what}: job end to upload key destroyed, p99", 50, lag_p99, unit="ms"),
    ]


def _rate(site: Site, *, rounds: int, jobs: int) -> list[Figure]:
    ours, theirs, lag_p99 = [], [], []
    for _ in range(rounds):
        theirs.append(_noop_rate(site, jobs * 3))
        ids = [_submit(site) for _ in range(jobs)]
        worker = site.start("worker")
        records = _ended(site, ids)
        site.stop(worker)
        first = min(record.stage_times[JobState.PREPARING] for record in records)
        last = max(_end(record) for record in records)
        ours.append(jobs / (last - first).total_seconds())
        lag_p99.append(percentile(_shred_lags(site, records), 0.99))
    ratios = [mine / noop for mine, noop in zip(ours, theirs, strict=True)]
    return [
        at_least("jobs without pixels, queued beforehand: rate, to Dramatiq's no-op", 0.25, ratios),
        told("… jobs", ours, unit="/s"),
        told("… Dramatiq's no-op", theirs, unit="/s"),
        at_most("… job end to upload key destroyed, p99", 50, lag_p99, unit="ms"),
    ]


def _submit(site: Site) -> JobId:
    return site.client.submit(BytesIO(os.urandom(UPLOAD_BYTES)), NULL).id


def _ended(site: Site, ids: list[JobId]) -> list[JobRecord]:
    """Wait for the last jobs first, looking seldom, so that the waiting costs the pool little."""
    records = []
    for job_id in reversed(ids):
        records.append(site.client.wait(job_id, timedelta(seconds=60)))
        if records[-1].state is not JobState.DONE:
            raise AssertionError(f"a job failed: {records[-1].error_message}")
    return records


def _shred_lags(site: Site, records: list[JobRecord]) -> list[float]:
    lags = []
    for record in records:
        status = site.deployment.keys.status(record.upload)
        if not isinstance(status, Shredded):
            raise AssertionError(f"the upload of an ended job is {status}")
        lags.append((status.at - record.stage_times[JobState.SETTLED]) / timedelta(milliseconds=1))
    return lags


def _milliseconds(record: JobRecord, start: JobState, end: JobState) -> float:
    return (record.stage_times[end] - record.stage_times[start]) / timedelta(milliseconds=1)


def _end(record: JobRecord) -> datetime:
    if record.ended_at is None:
        raise AssertionError("an ended job has no end")
    return record.ended_at


def _noop_rate(site: Site, count: int) -> float:
    broker, noop = broker_with_noop(site.server.url, SimpleQueue())
    for _ in range(count):
        noop.send()
    broker.close()
    with _noop_worker(site.server.url) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"%d\n" % count)
        process.stdin.flush()
        return count / float(process.stdout.readline())


@contextmanager
def _noop_worker(url: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.noop", url, str(THREADS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPO)},
    )
    try:
        assert process.stdout is not None
        eventually(lambda: process.stdout.readline() == b"started\n", what="Dramatiq's worker")
        yield process
    finally:
        process.communicate()
