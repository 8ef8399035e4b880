"""
The sweeper: the periodic reconciliation that finishes what a crash left.

Any number may run; one at a time leads, by a lease in Redis. Each sweep

    destroys again what a restored key store had forgotten to be destroyed,
    records keys that reached their deadline,
    deletes ciphertext whose key is gone, and ciphertext without an owner,
    nudges jobs that nobody moved on in time,
    gives messages of dead workers back to the broker,
    writes receipts out of the outbox,
    rotates roots that are old enough and renews the others.

Every part can be repeated and bounds its own work, so a sweep that dies halfway costs nothing but time. One part's
failure does not keep the others from running.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import redis
import structlog
from redis.exceptions import LockError
from redis.lock import Lock

from metrics.exporter import Health
from metrics.instruments import (
    SWEEP_ACTIONS,
    SWEEP_LAST_SUCCESS,
    SWEEP_SECONDS,
    SWEEPS,
    NudgeSource,
    SweepAction,
    SweepOutcome,
)
from storage import (
    ObjectClass,
    ObjectSweep,
    OutboxDrain,
    RestoreHealer,
    RootElsewhereError,
    Rotator,
    StaleRootError,
    StorageError,
)
from storage.faults import reach
from worker.broker import NudgeBroker
from worker.doctor import examine_machine, examine_servers
from worker.errors import ServerUnavailableError
from worker.faults import WorkerFault
from worker.jobs import RECORD_LIFETIME, JobStore
from worker.process import Stop, heal, serving, tell_remarks
from worker.settings import Settings
from worker.wiring import Deployment, Role

BATCH = 1000
"""How much one part of one sweep does at most; what is left comes next time, at once if a batch was full."""

WALK_EVERY = timedelta(minutes=1)
"""How often the whole blob store is walked for ciphertext without an owner: the one part whose cost grows with it."""

log = structlog.get_logger(__name__)


def run_sweeper(settings: Settings) -> int:
    """
    Sweep until told to stop, and return the exit code.

    Raises:
        ServerUnavailableError: Redis cannot be reached at start.
        UnfitServerError: Redis would break a promise as it is set up.
        StorageError: The key store, the blob store or a root store cannot be used.
    """
    stop = Stop()
    stop.install()
    with Deployment.open(settings, Role.SWEEPER) as deployment:
        examine_machine()
        examine_servers(settings, deployment.clients)
        tell_remarks(deployment.root_stores)
        heal(RestoreHealer(deployment.keys, deployment.blobs))
        # Before this process stands by: one that cannot see the current root must not lead later.
        for rotator in deployment.rotators.values():
            rotator.ensure()
        every = timedelta(seconds=settings.sweep_seconds)
        sweeper = Sweeper.of(deployment)
        with serving(settings, lambda: sweeper.health(every)):
            log.info("sweeper started")
            sweeper.run(stop.requested, every)
    log.info("sweeper stopped")
    return 0


@dataclass(slots=True)
class Sweeper:
    """
    One sweeper process's work.

    Args:
        rotate_every: The rotation interval by class; a class that is missing is not rotated.
        lead_for: How long this process leads without renewing; after that another steps in.
        look_again: How long a nudged job is left alone before it is nudged again.
    """

    client: redis.Redis
    objects: ObjectSweep
    receipts: OutboxDrain
    healer: RestoreHealer
    rotators: Mapping[ObjectClass, Rotator]
    rotate_every: Mapping[ObjectClass, timedelta]
    jobs: JobStore
    broker: NudgeBroker
    lead_for: timedelta
    look_again: timedelta
    namespace: str = "dayfly"
    _lock: Lock = field(init=False)
    _walk_at: float = field(init=False, default=0.0)
    _alive_at: float = field(init=False, default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._lock = Lock(
            self.client, f"{self.namespace}:sweeper", timeout=self.lead_for.total_seconds(), thread_local=False
        )

    @classmethod
    def of(cls, deployment: Deployment, *, look_again: timedelta | None = None) -> Sweeper:
        """Build a sweeper of a deployment's parts and settings."""
        settings = deployment.settings
        return cls(
            client=deployment.redis,
            objects=ObjectSweep(deployment.keys, deployment.blobs, deployment.root_stores),
            receipts=OutboxDrain(deployment.keys, deployment.blobs),
            healer=RestoreHealer(deployment.keys, deployment.blobs),
            rotators=deployment.rotators,
            rotate_every={
                ObjectClass.UPLOAD: timedelta(seconds=settings.rotation_uploads_seconds),
                ObjectClass.OUTPUT: timedelta(seconds=settings.rotation_outputs_seconds),
            },
            jobs=deployment.jobs,
            broker=deployment.broker,
            lead_for=timedelta(seconds=settings.lease_seconds),
            look_again=look_again or timedelta(seconds=settings.lease_seconds),
        )

    def sweep(self) -> bool:
        """
        Do one sweep if this process leads, and return whether everything in it succeeded.

        Raises:
            ServerUnavailableError: Redis cannot be reached, so nobody leads.
        """
        if not self._lead():
            SWEEPS.labels(outcome=SweepOutcome.NOT_LEADER).inc()
            return True
        started = time.monotonic()
        failures = 0
        for name, action, part in self._parts():
            try:
                while True:
                    count = part()
                    if action is not None:
                        SWEEP_ACTIONS.labels(action=action).inc(count)
                    if not self._lead():
                        return True
                    if count < BATCH or action is None:
                        break
            except (StorageError, ServerUnavailableError) as error:
                failures += 1
                log.error("part of the sweep failed", part=name, problem=str(error))
                if isinstance(error, RootElsewhereError):
                    # Whoever has the root must lead and renew it: while this process leads, nobody would.
                    self.step_down()
                    break
            except Exception as error:  # noqa: BLE001  the other parts must run whatever this one does
                failures += 1
                log.error("part of the sweep failed", part=name, error=type(error).__name__)
        SWEEP_SECONDS.observe(time.monotonic() - started)
        if failures:
            SWEEPS.labels(outcome=SweepOutcome.FAILED).inc()
        else:
            SWEEPS.labels(outcome=SweepOutcome.DONE).inc()
            SWEEP_LAST_SUCCESS.set(time.time())
        return failures == 0

    def run(self, stop: threading.Event, every: timedelta) -> None:
        """Sweep until `stop` is set, then step down so that another may lead at once."""
        while not stop.is_set():
            self._alive_at = time.monotonic()
            try:
                self.sweep()
            except ServerUnavailableError as error:
                SWEEPS.labels(outcome=SweepOutcome.FAILED).inc()
                log.error("no sweep", problem=str(error))
                self._sweep_by_name()
            stop.wait(every.total_seconds())
        self.step_down()

    def health(self, every: timedelta) -> Health:
        """Say whether this process still sweeps, leading or standing by."""
        age = time.monotonic() - self._alive_at
        return Health(age < 60 + 3 * every.total_seconds(), f"last sweep {age:.0f} s ago")

    def step_down(self) -> None:
        """Stop leading, if this process does."""
        try:
            self._lock.release()
        except (LockError, redis.RedisError):
            log.debug("was not leading")

    def _sweep_by_name(self) -> None:
        # Without the key store nobody leads and nothing is known, but the names of ciphertext say when it is over.
        try:
            SWEEP_ACTIONS.labels(action=SweepAction.ORPHANS_DELETED).inc(self.objects.delete_past_ceiling(BATCH))
        except StorageError as error:
            log.error("no sweep by name", problem=str(error))

    def _parts(self) -> Iterator[tuple[str, SweepAction | None, Callable[[], int]]]:
        # Before the rotation, which would wrap again what was shredded and is back.
        yield "heal", None, self._heal
        for object_class in self.rotators:
            yield f"rotate {object_class}", None, partial(self._rotate, object_class)
        yield "expire", SweepAction.EXPIRED, partial(self.objects.expire_due, BATCH)
        yield "delete ciphertext", SweepAction.DOOMED_DELETED, partial(self.objects.delete_doomed, BATCH)
        yield "nudge", SweepAction.NUDGED, self._nudge
        yield "restore messages", SweepAction.BROKER_RESTORED, self.broker.restore_abandoned
        yield "write receipts", SweepAction.RECEIPTS, self.receipts.drain
        if time.monotonic() >= self._walk_at:
            self._walk_at = time.monotonic() + WALK_EVERY.total_seconds()
            yield "collect orphans", SweepAction.ORPHANS_DELETED, partial(self.objects.collect_orphans, BATCH)
            yield "forget jobs", None, self._forget

    def _lead(self) -> bool:
        try:
            if self._lock.owned():
                return bool(self._lock.reacquire())
            return bool(self._lock.acquire(blocking=False))
        except LockError:
            return False
        except redis.RedisError as error:
            raise ServerUnavailableError.from_redis(error) from error

    def _nudge(self) -> int:
        due = self.jobs.due(limit=BATCH, look_again=self.look_again)
        for job_id in due:
            self.broker.nudge(job_id, NudgeSource.SWEEP)
        reach(WorkerFault.SWEEP_NUDGED)
        return len(due)

    def _heal(self) -> int:
        heal(self.healer)
        return 0

    def _rotate(self, object_class: ObjectClass) -> int:
        rotator = self.rotators[object_class]
        rotator.ensure()
        if rotator.due(self.rotate_every[object_class]):
            # Overtaken means rotated by another: a former leader that was slow, or an erasure.
            with suppress(StaleRootError):
                rotator.rotate()
        else:
            rotator.renew()
        return 0

    def _forget(self) -> int:
        return self.jobs.forget_ended(before=datetime.now(UTC) - RECORD_LIFETIME, limit=BATCH)
