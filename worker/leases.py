"""
Keeps the leases that this process holds, for as long as it works on the jobs.

One thread renews them all; it is the job's heartbeat. A process that dies stops renewing, and whoever claims next
after the lease has run out goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog

from metrics.instruments import LEASES_LOST
from worker.errors import ServerUnavailableError
from worker.jobs import JobStore, Lease
from worker.records import JobId

log = structlog.get_logger(__name__)


class LeaseKeeper:
    """Renews held leases every third of their term; use as a context manager."""

    def __init__(self, jobs: JobStore, lease_for: timedelta) -> None:
        self._jobs = jobs
        self._every = lease_for / 3
        self._held: dict[JobId, Lease] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)

    def __enter__(self) -> LeaseKeeper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @contextmanager
    def keeping(self, lease: Lease) -> Iterator[None]:
        """Renew `lease` until the block ends."""
        with self._lock:
            self._held[lease.job_id] = lease
        try:
            yield
        finally:
            with self._lock:
                # Another thread may have claimed the job meanwhile, after this one gave it back.
                if self._held.get(lease.job_id) is lease:
                    del self._held[lease.job_id]

    def held(self) -> list[Lease]:
        """List the leases being kept right now."""
        with self._lock:
            return list(self._held.values())

    def _run(self) -> None:
        while not self._stop.wait(self._every.total_seconds()):
            try:
                for lease in self._jobs.renew(self.held()):
                    with self._lock:
                        still_held = self._held.get(lease.job_id) is lease
                    if still_held:
                        LEASES_LOST.inc()
                        log.warning("lease lost", job=lease.job_id)
            except ServerUnavailableError as error:
                log.warning("leases not renewed", problem=str(error))
