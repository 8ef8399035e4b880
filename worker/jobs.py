"""
The job store: job records in Redis and the leases by which one worker at a time moves a job on.

Every change is one Lua script (`lua/`), so a crash leaves a record before or after a step, never within it. A holder
proves itself with the fencing token of its lease; a worker that lost its lease is refused on its next write.

    jobs = JobStore(client)
    lease = jobs.claim(job_id, lease_for=timedelta(seconds=30), most_strikes=5)
    if lease.held:
        jobs.transition(lease, JobState.RENDERING)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any

import redis

from metrics.instruments import ClaimResult
from storage.replication import run_on_replicas
from worker.erasures import ErasureQueue
from worker.errors import JobDamagedError, JobNotFoundError, LeaseLostError, NotReplicatedError, translated
from worker.gate import Gate
from worker.records import JobId, JobRecord, JobState, damaged, decode_record

RECORD_LIFETIME = timedelta(days=30)
"""How long the record of an ended job outlives its objects: long enough to answer "what became of it?"."""

WAKE_EVERY = timedelta(seconds=5)
"""How often reports from outside can have one job asked about: a flood of them is one report."""


# Lost in a failover, these would forget a job that was accepted, give one job to two workers under the same fencing
# token, or forget an intent to buy or how often that was repeated.
_REPLICATED = frozenset({"create", "claim", "transition", "note", "cancel"})

_LOOK_AGAIN = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to move one job on, until `lease_for` has passed without a renewal."""

    result: ClaimResult
    job_id: JobId
    lease_for: timedelta
    record: JobRecord | None = None

    @property
    def held(self) -> bool:
        """Whether the caller may work on the job."""
        return self.result is ClaimResult.CLAIMED

    @property
    def job(self) -> JobRecord:
        """The record as of the claim or of the last transition."""
        assert self.record is not None, "only a held lease has a record"
        return self.record


class JobStore:
    """
    Job records, their transitions and their leases.

    Args:
        replicas: How many replicas must have what accepts, claims, moves or cancels a job, or is noted about it, before
            it counts.

    Raises:
        ServerUnavailableError: From every method, when Redis cannot be reached or does not answer in time. A write
            may have happened; every write is safe to repeat.
    """

    def __init__(self, client: redis.Redis, *, namespace: str = "dayfly", replicas: int = 0) -> None:
        self._client = client
        self._namespace = namespace
        self._replicas = replicas
        self._open = f"{namespace}:jobs:open"
        self._all = f"{namespace}:jobs:all"
        self._counts = f"{namespace}:jobs:states"
        folder = resources.files("worker") / "lua"
        common = (folder / "common.lua").read_text("utf-8")
        self._scripts = {
            name: client.register_script(
                (common if name != "due" else "") + (folder / f"{name}.lua").read_text("utf-8")
            )
            for name in (
                "create",
                "claim",
                "renew",
                "transition",
                "note",
                "release",
                "finish",
                "abandon",
                "cancel",
                "due",
            )
        }
        self._wake = client.register_script((folder / "wake.lua").read_text("utf-8"))
        self.erasures = ErasureQueue(client, namespace)
        self.gate = Gate(client, namespace=namespace)

    def create(
        self, record_fields: Mapping[str, str], job_id: JobId, *, look_after: timedelta, longest: timedelta
    ) -> None:
        """
        Accept a job.

        Args:
            look_after: When the sweeper should nudge the job if no worker has claimed it by then.
            longest: How long the job and its objects can live at most; its subject is known that long, too.
        """
        flat = [part for pair in record_fields.items() for part in pair]
        subject = record_fields.get("subject")
        more = () if subject is None else (self._subject_key(subject),)
        self._run("create", job_id, _ms(look_after), _ms(longest + RECORD_LIFETIME), *flat, more=more)

    def claim(self, job_id: JobId, *, lease_for: timedelta, most_strikes: int) -> Lease:
        """Take the lease of a job that is open, due and held by nobody; an accepted one starts preparing."""
        return self._lease(job_id, lease_for, self._run("claim", job_id, _ms(lease_for), most_strikes))

    def cancel(self, job_id: JobId, *, lease_for: timedelta) -> Lease:
        """
        Take the job from whoever holds it and settle it as cancelled; the caller must then finish it.

        Shred the job's keys before this: the promise is the shred, the state only says so.
        """
        return self._lease(job_id, lease_for, self._run("cancel", job_id, _ms(lease_for)))

    def renew(self, leases: Iterable[Lease]) -> list[Lease]:
        """Keep these leases for another term and return those that are lost."""
        lost = []
        for lease in leases:
            if not self._run("renew", lease.job_id, lease.job.fence, _ms(lease.lease_for)):
                lost.append(lease)
        return lost

    def transition(self, lease: Lease, to: JobState, fields: Mapping[str, str] | None = None, **changes: Any) -> Lease:
        """
        Move the job on and store `fields` with it in one step; `changes` is the same news for the record at hand.

        Raises:
            LeaseLostError: Somebody else holds the job now, or it was cancelled.
        """
        flat = [part for pair in (fields or {}).items() for part in pair]
        moved = self._run("transition", lease.job_id, lease.job.fence, lease.job.state, to, _ms(lease.lease_for), *flat)
        if not moved:
            raise LeaseLostError(lease.job_id)
        # Redis has its own clock's time of this; the lag from here to the shred is measured on one clock, this one.
        times = {**lease.job.stage_times, to: datetime.now(UTC)}
        return replace(lease, record=replace(lease.job, state=to, stage_times=times, **changes))

    def note(self, lease: Lease, fields: Mapping[str, str], **changes: Any) -> Lease:
        """
        Store `fields` without moving the job on; `changes` is the same news for the record at hand.

        Raises:
            LeaseLostError: Somebody else holds the job now, or it was cancelled.
        """
        if not self._run("note", lease.job_id, lease.job.fence, *[part for pair in fields.items() for part in pair]):
            raise LeaseLostError(lease.job_id)
        return replace(lease, record=replace(lease.job, **changes))

    def release(
        self,
        lease: Lease,
        *,
        wake_in: timedelta,
        grace: timedelta,
        strikes: int = 0,
        most_strikes: int = 0,
        give_up: Mapping[str, str] | None = None,
    ) -> bool:
        """
        Give the lease back, to go on in `wake_in`; the sweeper steps in `grace` after that.

        Returns:
            Whether the strikes are used up, so that the job has settled with the fields of `give_up`.
        """
        flat = [part for pair in (give_up or {}).items() for part in pair]
        answer = self._run(
            "release", lease.job_id, lease.job.fence, _ms(wake_in), _ms(grace), strikes, most_strikes, *flat
        )
        return bool(answer == 2)

    def finish(self, lease: Lease) -> None:
        """
        End a settled job under its outcome.

        Raises:
            LeaseLostError: Somebody else holds the job now.
        """
        # Without its record, an output that still lives could be neither fetched nor erased.
        kept = RECORD_LIFETIME + max(lease.job.upload_lifetime, lease.job.output_lifetime)
        if not self._run("finish", lease.job_id, lease.job.fence, _ms(kept)):
            raise LeaseLostError(lease.job_id)

    def abandon(self, job_id: JobId, problem: JobDamagedError) -> None:
        """End a job whose record cannot be read as failed; shred first what it still names."""
        self._run("abandon", job_id, _ms(RECORD_LIFETIME), problem.CODE, str(problem))

    def wake(self, job_id: JobId) -> bool:
        """End the pause of a job that waits for a task, and say whether it had one; at most once in `WAKE_EVERY`."""
        with translated():
            return bool(self._wake(keys=[self._job_key(job_id)], args=[_ms(WAKE_EVERY)]))

    def due(self, *, limit: int, look_again: timedelta) -> list[JobId]:
        """
        List open jobs that nobody has moved on in time, and ended ones of which a provider still keeps a copy, and put
        their next look off by `look_again`.
        """
        with translated():
            ids = self._scripts["due"](keys=[self._open], args=[limit, _ms(look_again)])
        return [JobId(value.decode()) for value in ids] + self.erasures.due(limit, look_again)

    def show(self, job_id: JobId) -> JobRecord:
        """
        Read one record.

        Raises:
            JobNotFoundError: No job of that id, or its record was dropped 30 days after its last object.
            JobDamagedError: Its record cannot be read.
        """
        with translated():
            fields: Any = self._client.hgetall(self._job_key(job_id))
        if not fields:
            raise JobNotFoundError(job_id)
        return decode_record(job_id, fields)

    def list(self, limit: int = 50) -> Iterator[JobRecord]:
        """Give the newest jobs first."""
        with translated():
            ids: Any = self._client.zrevrange(self._all, 0, limit - 1)
        for value in ids:
            try:
                yield self.show(JobId(value.decode()))
            except (JobNotFoundError, JobDamagedError):
                continue

    def of_subject(self, subject_hash: str) -> Iterator[JobRecord]:
        """Give the jobs of one subject whose records are kept, the oldest first, also those accepted meanwhile."""
        seen: set[bytes] = set()
        while True:
            with translated():
                ids: Any = self._client.zrange(self._subject_key(subject_hash), 0, -1)
            fresh = [value for value in ids if value not in seen]
            if not fresh:
                return
            for value in fresh:
                seen.add(value)
                with suppress(JobNotFoundError, JobDamagedError):
                    yield self.show(JobId(value.decode()))

    def watch(self, job_id: JobId, *, end: datetime | None = None) -> Iterator[JobRecord]:
        """
        Give the record now and after each change, until the job has ended or the time is `end`.

        Changes arrive by publish/subscribe; a lost publication is made up for by a look each second.
        """
        with translated(), self._client.pubsub(ignore_subscribe_messages=True) as subscription:
            subscription.subscribe(self._job_key(job_id))
            seen: JobState | None = None
            while True:
                record = self.show(job_id)
                if record.state is not seen:
                    seen = record.state
                    yield record
                left = 1.0 if end is None else min(1.0, (end - datetime.now(UTC)).total_seconds())
                if record.state.ended or left <= 0:
                    return
                subscription.get_message(timeout=left)

    def figures(self) -> dict[JobState, int]:
        """Count jobs by state; ended states count every job that ever ended so."""
        with translated():
            counts: Any = self._client.hgetall(self._counts)
        return {state: int(counts.get(state.encode(), 0)) for state in JobState}

    def forget_ended(self, *, before: datetime, limit: int = 1000) -> int:
        """Drop listed ids created before a time whose records are gone, and return how many."""
        with translated():
            ids: Any = self._client.zrangebyscore(self._all, "-inf", before.timestamp() * 1000, start=0, num=limit)
            gone = [value for value in ids if not self._client.exists(self._job_key(JobId(value.decode())))]
            if gone:
                self._client.zrem(self._all, *gone)
        return len(gone)

    def _job_key(self, job_id: JobId) -> str:
        return f"{self._namespace}:job:{job_id}"

    def _subject_key(self, subject_hash: str) -> str:
        return f"{self._namespace}:subject:{subject_hash}"

    def _keys(self, job_id: JobId) -> tuple[str, ...]:
        return self._job_key(job_id), self._open, self._all, self._counts, self.erasures.key

    def _run(self, name: str, job_id: JobId, *args: str | int, more: tuple[str, ...] = ()) -> Any:
        keys = (*self._keys(job_id), *more)
        if not self._replicas or name not in _REPLICATED:
            with translated():
                return self._scripts[name](keys=keys, args=[job_id, *args])
        with translated():
            answer, reached = run_on_replicas(
                self._client,
                self._scripts[name],
                keys,
                [job_id, *args],
                mark=f"{self._namespace}:jobs:written",
                replicas=self._replicas,
            )
            if reached < self._replicas and name == "claim" and answer[0] == b"claimed":
                # A lease that ran out would count against the job, which has done nothing.
                fence = dict(zip(answer[2::2], answer[3::2], strict=True))[b"fence"]
                self._scripts["release"](keys=keys, args=[job_id, fence, _ms(_LOOK_AGAIN), 0, 0, 0])
        if reached < self._replicas:
            raise NotReplicatedError(reached, self._replicas)
        return answer

    def _lease(self, job_id: JobId, lease_for: timedelta, answer: Sequence[Any]) -> Lease:
        if answer[0] == b"damaged":
            raise damaged(job_id, dict(zip(answer[1::2], answer[2::2], strict=True)))
        result = ClaimResult(answer[0].decode())
        if result is not ClaimResult.CLAIMED:
            return Lease(result, job_id, lease_for)
        fields = dict(zip(answer[2::2], answer[3::2], strict=True))
        return Lease(result, job_id, lease_for, decode_record(job_id, fields))


def _ms(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)
