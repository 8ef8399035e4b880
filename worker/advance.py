"""
The one actor: `advance` moves a job on until it must wait or has ended.

It claims the job's lease, runs the step of the state the record is in, and persists before and after everything
that cannot be undone. Any number of copies of a message may arrive: one holds the lease, the others leave. Nothing
is kept in memory between two messages, so any worker can go on with any job.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from traceback import extract_tb

import structlog

from metrics.instruments import JOBS_CLAIMED, STEP_SECONDS, ClaimResult, NudgeSource, Step
from pipelines import Refused, SandboxError
from providers import ProviderError, RateLimited
from storage import (
    CiphertextMissingError,
    DeadlineError,
    IntegrityError,
    ObjectShreddedError,
    RootLostError,
    ShredReason,
    StorageError,
    UnknownObjectError,
)
from storage.faults import reach
from worker.bench import Bench
from worker.erasing import erase_owed
from worker.errors import JobDamagedError, LeaseLostError, ServerUnavailableError, WorkerError
from worker.faults import WorkerFault
from worker.jobs import Lease
from worker.leases import LeaseKeeper
from worker.records import NO_FACTS, ErrorFacts, JobId, JobState
from worker.run import Run
from worker.settling import finish_settled, settle, settled_fields
from worker.steps import STEPS, Wait

FIRST_BACKOFF = timedelta(seconds=2)
LONGEST_BACKOFF = timedelta(minutes=2)

log = structlog.get_logger(__name__)


class Advance:
    """
    The actor's body, bound to one process's tools. Called by Dramatiq with a job id; never raises.

    Args:
        draining: Set when the process is stopping: a job is then handed on between two steps. It is set here once the
            process has worked on as many jobs as it should.
    """

    def __init__(self, bench: Bench, keeper: LeaseKeeper, draining: threading.Event) -> None:
        self._bench = bench
        self._keeper = keeper
        self._draining = draining
        self._visits = itertools.count(1)

    def __call__(self, job_id: str) -> None:
        """Move one job on as far as it will go now."""
        settings = self._bench.settings
        try:
            lease = self._bench.jobs.claim(
                JobId(job_id),
                lease_for=timedelta(seconds=settings.lease_seconds),
                most_strikes=settings.max_starts,
            )
        except ServerUnavailableError as error:
            log.warning("job not claimed", job=job_id, problem=str(error))
            return
        except JobDamagedError as error:
            self._abandon(JobId(job_id), error)
            return
        JOBS_CLAIMED.labels(result=lease.result).inc()
        if lease.result is ClaimResult.UNKNOWN:
            log.warning("nudge for an unknown job", job=job_id)
        elif lease.result is ClaimResult.ENDED:
            erase_owed(self._bench, JobId(job_id))
        if not lease.held:
            return
        reach(WorkerFault.CLAIMED)
        with self._keeper.keeping(lease), Run(self._bench, lease) as run:
            try:
                self._steps(run)
            except LeaseLostError:
                log.info("job taken over or cancelled", job=job_id)
            except ServerUnavailableError as error:
                # The lease runs out by itself, and the sweeper nudges whoever is next.
                log.warning("job left to its lease", job=job_id, problem=str(error))
        # At the end of a visit, so that every process moves something on, however few it is allowed.
        if next(self._visits) == settings.worker_max_jobs:
            log.info("worked on enough jobs", jobs=settings.worker_max_jobs)
            self._draining.set()

    def _abandon(self, job_id: JobId, problem: JobDamagedError) -> None:
        log.error("job abandoned", job=job_id, problem=str(problem))
        try:
            self._bench.store.shred(problem.refs, ShredReason.FAILED)
            self._bench.store.delete_ciphertext(problem.refs)
            self._bench.jobs.abandon(job_id, problem)
        except (StorageError, ServerUnavailableError) as error:
            # Its lease runs out by itself, and the sweeper nudges whoever is next.
            log.warning("job not abandoned yet", job=job_id, problem=str(error))

    def _steps(self, run: Run) -> None:
        while True:
            state = run.job.state
            if state is JobState.SETTLED:
                with STEP_SECONDS.labels(step=Step.SETTLE).time():
                    wait = self._guarded(run, self._finish)
                if wait is not None:
                    self._hand_on(run.lease, wait.delay, strikes=-1 if wait.idle else int(wait.strike))
                return
            if self._draining.is_set():
                run.withdraw()
                self._hand_on(run.lease, timedelta())
                return
            name, step = STEPS[state]
            with STEP_SECONDS.labels(step=name).time():
                wait = self._guarded(run, step)
            if wait is not None:
                self._hand_on(run.lease, wait.delay, strikes=-1 if wait.idle else int(wait.strike))
                return

    def _finish(self, run: Run) -> None:
        finish_settled(run.lease, self._bench)
        log.info("job ended", job=run.job.id, outcome=run.job.outcome, code=run.job.error_code)
        if run.job.owed or run.job.left:
            erase_owed(self._bench, run.job.id)

    def _guarded(self, run: Run, step: Callable[[Run], Wait | None]) -> Wait | None:
        """Run a step and turn what it raises into the job's end or into a wait."""
        try:
            return step(run)
        except (LeaseLostError, ServerUnavailableError):
            raise
        except Refused as error:
            self._end(run, JobState.FAILED, ShredReason.REFUSED, str(error.code), str(error), error.facts)
        except ObjectShreddedError as error:
            if error.reason in (ShredReason.CANCELLED, ShredReason.ERASED):
                self._end(run, JobState.CANCELLED, ShredReason.CANCELLED)
            elif error.reason == ShredReason.ROOT_LOST:
                self._end_root_lost(run)
            else:
                self._end_expired(run)
        except (UnknownObjectError, DeadlineError):
            self._end_expired(run)
        except RootLostError:
            self._end_root_lost(run)
        except (IntegrityError, CiphertextMissingError) as error:
            self._end(
                run, JobState.FAILED, ShredReason.FAILED, "unreadable", f"A stored object cannot be opened: {error}"
            )
        except ProviderError as error:
            # Strikes for anything else are no attempts at this.
            tried = run.job.strikes if run.job.put_off_by == error.code else 0
            if not error.retryable or (error.max_retries is not None and tried >= error.max_retries):
                self._end(run, JobState.FAILED, ShredReason.FAILED, error.code, error.message)
                return None
            if error.max_retries is not None:
                run.note({"put_off_by": error.code}, put_off_by=error.code)
            hint = error.retry_after if isinstance(error, RateLimited) else None
            return self._again(run, error.message, hint)
        except SandboxError as error:
            if not error.retryable:
                self._end(run, JobState.FAILED, ShredReason.FAILED, f"sandbox-{error.outcome}", str(error))
                return None
            return self._again(run, str(error))
        except (StorageError, WorkerError) as error:
            return self._again(run, str(error))
        except Exception as error:  # noqa: BLE001  a job must end whatever goes wrong in it
            # A mistake of ours. Its text may quote anything, so only where it happened is logged.
            last = extract_tb(error.__traceback__)[-1]
            log.error(
                "step failed",
                job=run.job.id,
                error=type(error).__name__,
                where=f"{Path(last.filename).name}:{last.lineno}",
            )
            return self._again(run, f"Internal error ({type(error).__name__}).")
        return None

    def _again(self, run: Run, problem: str, hint: timedelta | None = None) -> Wait:
        backoff = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** min(run.job.strikes, 10))
        log.warning("step put off", job=run.job.id, state=run.job.state, problem=problem)
        return Wait(max(backoff, hint or backoff), strike=hint is None)

    def _end(
        self,
        run: Run,
        outcome: JobState,
        reason: ShredReason,
        code: str | None = None,
        message: str | None = None,
        facts: ErrorFacts = NO_FACTS,
    ) -> None:
        if run.job.state is JobState.SETTLED:
            # Settling asks for nothing that can be refused; if it is, the sweeper has it tried again.
            log.error("a settled job could not be finished", job=run.job.id, code=code)
            return
        run.lease = settle(run.lease, self._bench.jobs, outcome, reason, code, message, facts)

    def _end_expired(self, run: Run) -> None:
        self._end(
            run,
            JobState.EXPIRED,
            ShredReason.EXPIRED,
            "expired",
            "The upload reached its deadline before the job was done; upload it again.",
        )

    def _end_root_lost(self, run: Run) -> None:
        self._end(
            run,
            JobState.FAILED,
            ShredReason.ROOT_LOST,
            "root-lost",
            "The key of the upload died with its root store (a restart of the host does that); upload it again.",
        )

    def _hand_on(self, lease: Lease, delay: timedelta, *, strikes: int = 0) -> None:
        settings = self._bench.settings
        gave_up = self._bench.jobs.release(
            lease,
            wake_in=delay,
            grace=timedelta(seconds=settings.lease_seconds),
            strikes=strikes,
            most_strikes=settings.max_starts,
            give_up=settled_fields(
                JobState.FAILED,
                ShredReason.FAILED,
                "gave-up",
                f"The job was given up after {settings.max_starts} attempts that could not be completed.",
            ),
        )
        self._bench.broker.nudge(lease.job_id, NudgeSource.WAIT, delay=timedelta() if gave_up else delay)
