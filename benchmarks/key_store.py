"""The key store under load: a rotation of many live keys while the pool serves, and a sweep beside few and many."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from datetime import UTC, datetime, timedelta
from io import BytesIO

from benchmarks.report import Figure, at_most, percentile, told
from benchmarks.site import Site, running_site
from storage import ObjectClass, ObjectRef, ObjectSweep
from storage.names import associated_data
from storage.wrapping import wrap
from worker.client import JobSpec
from worker.records import JobState

DUE = 1000
_KEY = bytearray(32)
_FILL = """
local stamp = redis.call('TIME')[1] * 1000 + 86400000
for i = 1, #ARGV do
  redis.call('HSET', KEYS[1] .. string.sub(ARGV[i], -32), 'epoch', '1', 'wrapped', 'x')
  redis.call('ZADD', KEYS[2], stamp + i, ARGV[i])
end
"""


def measure(*, quick: bool) -> list[Figure]:
    """Rotate, then sweep; the sweep's crowd of live keys is made last because nothing else can be measured in it."""
    with running_site(sweep_seconds="3600", rotation_uploads_seconds="3500") as site:
        site.ensure_roots()
        worker = site.start("worker")
        figures = _rotation(site, live=200 if quick else 10_000, rounds=1 if quick else 5)
        site.stop(worker)
        few, many = (500, 2_000) if quick else (10_000, 1_000_000)
        return figures + _sweep(site, few, many, due=50 if quick else DUE, rounds=1 if quick else 5)


def _rotation(site: Site, *, live: int, rounds: int) -> list[Figure]:
    keys = site.deployment.keys
    root = keys.current_root(ObjectClass.UPLOAD)
    deadline = datetime.now(UTC) + timedelta(hours=2)
    client = site.server.client()
    # A stream and a set grow in steps; what they take per key is an average.
    empty = client.info("memory")["used_memory"]
    for _ in range(live):
        ref = ObjectRef.new(ObjectClass.UPLOAD, deadline)
        keys.create(ref, root, wrap(_KEY, root.public, associated_data(ref)), deadline=deadline, ceiling=deadline)
    per_key = (client.info("memory")["used_memory"] - empty) / live
    rotator = site.deployment.rotators[ObjectClass.UPLOAD]
    seconds: list[float] = []
    latencies: list[float] = []
    stop = threading.Event()
    serving = threading.Thread(target=_serve, args=(site, stop, latencies), daemon=True)
    serving.start()
    try:
        for _ in range(rounds):
            report = rotator.rotate()
            if report.lost or report.rewrapped < live:
                raise AssertionError(f"the rotation did not rewrap every key: {report}")
            seconds.append(report.seconds)
    finally:
        stop.set()
        serving.join()
    return [
        told(
            f"memory of the key store per live key, its event in the outbox included, {live:,} keys",
            [per_key],
            unit="B",
        ),
        at_most(f"rotation of {live:,} live keys while the pool serves", 5, seconds, unit="s"),
        told(
            "… accepted to settled meanwhile, jobs without pixels, p99",
            [percentile(latencies, 0.99)],
            unit="ms",
            note=f"{len(latencies)} jobs",
        ),
    ]


def _serve(site: Site, stop: threading.Event, latencies: list[float]) -> None:
    # At least one job, so that there is always something to tell.
    while not latencies or not stop.wait(0.1):
        job = site.client.wait(site.client.submit(BytesIO(bytes(10_000)), JobSpec(recipe="null")).id)
        if job.state is not JobState.DONE:
            raise AssertionError(f"a job failed during a rotation: {job.error_message}")
        took = job.stage_times[JobState.SETTLED] - job.stage_times[JobState.ACCEPTED]
        latencies.append(took / timedelta(milliseconds=1))


def _sweep(site: Site, few: int, many: int, *, due: int, rounds: int) -> list[Figure]:
    keys = site.deployment.keys
    client = site.server.client()
    fill = client.register_script(_FILL)
    crowd = itertools.count()
    client.delete(keys.live(ObjectClass.UPLOAD))

    def grow(to: int) -> None:
        missing = to - client.zcard(keys.live(ObjectClass.UPLOAD))
        names = [f"upload/2099010100/{next(crowd):032x}" for _ in range(missing)]
        for start in range(0, missing, 5000):
            fill(keys=[keys.row(""), keys.live(ObjectClass.UPLOAD)], args=names[start : start + 5000])

    grow(few)
    beside_few = [_sweep_once(site, due) for _ in range(rounds + 1)][1:]
    grow(many)
    beside_many = [_sweep_once(site, due) for _ in range(rounds + 1)][1:]
    middle = statistics.median(beside_few)
    return [
        at_most(
            f"sweep with {due:,} due beside {many:,} live keys, to {few:,}", 2, [it / middle for it in beside_many]
        ),
        told(f"… beside {few:,}", [1000 * it for it in beside_few], unit="ms"),
        told(f"… beside {many:,}", [1000 * it for it in beside_many], unit="ms"),
    ]


def _sweep_once(site: Site, due: int) -> float:
    """
    The seconds to record `due` ends and delete their ciphertext.

    A key row that died at its deadline leaves its name in the index: that is made here, with a file of ciphertext.
    """
    keys, blobs = site.deployment.keys, site.folder / "blobs"
    past = datetime.now(UTC) - timedelta(seconds=1)
    refs = [ObjectRef.new(ObjectClass.UPLOAD, past + timedelta(days=1)) for _ in range(due)]
    (blobs / str(refs[0])).parent.mkdir(parents=True, exist_ok=True)
    for ref in refs:
        (blobs / str(ref)).write_bytes(bytes(100))
    keys.client.zadd(keys.live(ObjectClass.UPLOAD), {str(ref): int(past.timestamp() * 1000) for ref in refs})
    sweep = ObjectSweep(keys, site.deployment.blobs, site.deployment.root_stores)
    started = time.perf_counter()
    expired, deleted = sweep.expire_due(due), sweep.delete_doomed(due)
    seconds = time.perf_counter() - started
    if not expired == deleted == due:
        raise AssertionError(f"of {due} due, the sweep expired {expired} and deleted {deleted}")
    return seconds
