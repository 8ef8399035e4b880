"""
The end of a job: keys destroyed first, then the record says so.

A job settles in one transition that fixes its outcome. What follows can be repeated by whoever claims the job after a
crash: outputs get their real deadline, and so does what the policy lets outlive the job; everything else the job
consumed is shredded in one script of the key store, the ciphertext is deleted, the record ends.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Protocol

from metrics.instruments import JOB_SECONDS, JOBS_ENDED, SHRED_LAG_SECONDS
from storage import DeadlineError, ObjectRef, ObjectShreddedError, SealedStore, ShredReason, UnknownObjectError
from storage.faults import reach
from worker.faults import WorkerFault
from worker.jobs import JobStore, Lease
from worker.records import NO_FACTS, ErrorFacts, JobRecord, JobState


class Stores(Protocol):
    """What settling needs of a deployment."""

    @property
    def store(self) -> SealedStore: ...
    @property
    def jobs(self) -> JobStore: ...


def finish_settled(lease: Lease, stores: Stores) -> None:
    """
    Carry a settled job to its end. Safe to repeat from any point.

    Raises:
        LeaseLostError: Somebody else carries on with the job.
        StorageError: A store cannot be reached; the job stays settled and is taken up again.
    """
    job = lease.job
    outputs = [output.ref for output in job.outputs]
    settled_at = job.stage_times[JobState.SETTLED]
    if job.outcome is JobState.DONE and outputs:
        # Counted from the settling, not from now: whoever repeats this after a crash asks for the same deadline. By the
        # record, not by the policy: whoever repeats it may not have that policy any more.
        try:
            stores.store.extend(outputs, settled_at + job.output_lifetime, may_shorten=True)
        except (ObjectShreddedError, UnknownObjectError, DeadlineError):
            # The outputs outlived their pending deadline while no worker was there to finish: the job cannot be "done".
            lease = stores.jobs.transition(
                lease,
                JobState.SETTLED,
                settled_fields(
                    JobState.EXPIRED,
                    ShredReason.EXPIRED,
                    "outputs-expired",
                    "The renditions expired before the job could be finished; submit it again.",
                ),
                outcome=JobState.EXPIRED,
                reason=str(ShredReason.EXPIRED),
            )
            job = lease.job
    reach(WorkerFault.OUTPUTS_EXTENDED)
    kept = _postponed(job, settled_at, stores)
    consumed = [
        *(ref for ref in job.consumed if ref not in kept),
        *([] if job.outcome is JobState.DONE else outputs),
    ]
    stores.store.shred(consumed, ShredReason(job.reason or ShredReason.FAILED))
    shredded_at = datetime.now(UTC)
    reach(WorkerFault.SHREDDED)
    stores.store.delete_ciphertext(consumed)
    reach(WorkerFault.CIPHERTEXT_DELETED)
    stores.jobs.finish(lease)
    reach(WorkerFault.FINISHED)
    outcome = job.outcome or JobState.FAILED
    JOBS_ENDED.labels(outcome=outcome).inc()
    JOB_SECONDS.labels(outcome=outcome).observe(max(0.0, (shredded_at - job.created_at).total_seconds()))
    SHRED_LAG_SECONDS.observe(max(0.0, (shredded_at - settled_at).total_seconds()))


def _postponed(job: JobRecord, settled_at: datetime, stores: Stores) -> tuple[ObjectRef, ...]:
    """Give what the policy lets outlive the job the deadline of its postponed shred, and return what that is."""
    if not job.kept:
        return ()
    try:
        stores.store.extend(job.kept, min(settled_at + job.upload_lifetime, job.deadline), may_shorten=True)
    except (ObjectShreddedError, UnknownObjectError, DeadlineError):
        # The period is over, because whoever settled the job left it so long; or the objects are gone.
        return ()
    return job.kept


def settled_fields(
    outcome: JobState,
    reason: ShredReason,
    code: str | None = None,
    message: str | None = None,
    facts: ErrorFacts = NO_FACTS,
) -> dict[str, str]:
    """Give the fields of a transition to `settled`."""
    fields = {"outcome": str(outcome), "reason": str(reason)}
    if code is not None:
        fields |= {"error_code": code, "error_message": message or ""}
    if facts:
        fields["error_facts"] = json.dumps(dict(facts), separators=(",", ":"))
    return fields


DONE_FIELDS = settled_fields(JobState.DONE, ShredReason.DONE)
"""What a job settles with when its outputs are sealed."""


def settle(
    lease: Lease,
    jobs: JobStore,
    outcome: JobState,
    reason: ShredReason,
    code: str | None = None,
    message: str | None = None,
    facts: ErrorFacts = NO_FACTS,
) -> Lease:
    """
    Fix the outcome of a job that ends without outputs.

    Args:
        code: A stable name of what went wrong, for programs.
        message: The same as a sentence, for people.
        facts: What a translation of the sentence needs besides the code.

    Raises:
        LeaseLostError: Somebody else holds the job.
    """
    settled = jobs.transition(
        lease,
        JobState.SETTLED,
        settled_fields(outcome, reason, code, message, facts),
        outcome=outcome,
        reason=str(reason),
        error_code=code,
        error_message=message,
        error_facts=facts,
    )
    reach(WorkerFault.SETTLED)
    return settled
