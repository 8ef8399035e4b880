"""
What a web tier uses: hand in a photo, watch the job, fetch the renditions, cancel.

    from worker.client import Client, JobSpec

    with Client.from_env() as client:
        job = client.submit(open("mug.jpg", "rb"), JobSpec(recipe="amazon-main", subject="u-381"))
        job = client.wait(job.id, timeout=timedelta(seconds=60))
        with client.open_output(job.id, "main") as rendition:
            shutil.copyfileobj(rendition, response)

The upload is sealed segment by segment as it is read: no byte of it reaches a disk or a server in clear. The web tier
needs no root of class `upload`, so it can seal an upload and never open one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import BinaryIO, Protocol, cast

import structlog
from pydantic import BaseModel, ConfigDict, Field

from metrics.instruments import NudgeSource
from pipelines.recipes import Recipe
from providers import ProviderRegistry
from storage import (
    KeyStore,
    ObjectClass,
    ObjectRef,
    RetentionPolicy,
    Rotator,
    SealedStore,
    ShredReason,
    StorageError,
)
from storage.faults import reach
from worker.acceptance import (
    AUTO,
    Bounded,
    agreed_periods,
    check_policy,
    check_provider,
    named,
    provider_of,
)
from worker.broker import NudgeBroker
from worker.errors import (
    JobTimeoutError,
    LeaseLostError,
    OutputNotFoundError,
    ServerUnavailableError,
)
from worker.faults import WorkerFault
from worker.jobs import JobStore
from worker.records import RECORD_VERSION, JobId, JobRecord, JobState, encode_lifetime
from worker.settling import finish_settled
from worker.subjects import Erasure, erase, export

log = structlog.get_logger(__name__)


class JobSpec(BaseModel):
    """
    What is wished for: the recipe and what it needs. The prompt and the options are sealed before they are stored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    recipe: str
    provider: str | None = None
    """None takes the recipe's own, `auto` leaves the choice to the pool."""
    policy: str | None = None
    """None takes the deployment's default."""
    prompt: str | None = Field(default=None, max_length=32_000, repr=False)
    subject: str | None = Field(default=None, min_length=1, max_length=256, repr=False)
    """The person the data is about, as the web tier's own pseudonymous id; stored only as a keyed hash."""
    options: Mapping[str, str] = Field(default_factory=dict, repr=False)
    keep_upload: timedelta | None = None
    """How long upload and parameters outlive the job when it is done; None, and at most, what the policy says."""
    keep_outputs: timedelta | None = None
    """How long outputs live after the job; None, and at most, what the policy says."""


class Parts(Protocol):
    """What a client is built from; `worker.wiring.Deployment` has it all."""

    @property
    def store(self) -> SealedStore: ...
    @property
    def keys(self) -> KeyStore: ...
    @property
    def rotators(self) -> Mapping[ObjectClass, Rotator]: ...
    @property
    def jobs(self) -> JobStore: ...
    @property
    def broker(self) -> NudgeBroker: ...
    @property
    def recipes(self) -> Mapping[str, Recipe]: ...
    @property
    def providers(self) -> tuple[str, ...]: ...
    @property
    def registry(self) -> ProviderRegistry: ...
    @property
    def policies(self) -> Mapping[str, RetentionPolicy]: ...
    @property
    def default_policy(self) -> str: ...
    @property
    def subject_key(self) -> bytes: ...
    @property
    def max_upload_bytes(self) -> int: ...
    @property
    def lease(self) -> timedelta: ...


class Client:
    """
    Submit jobs and read what became of them. Safe to share between threads.

    Raises:
        ServerUnavailableError: From every method, when Redis cannot be reached.
        StorageError: From `submit`, `cancel` and `open_output`, when the blob store cannot be used.
    """

    def __init__(self, parts: Parts, *, close: Callable[[], None] | None = None) -> None:
        self._parts = parts
        self._close = close

    @classmethod
    def from_env(cls) -> Client:
        """
        Connect as the settings in the environment say (`DAYFLY_*`).

        Raises:
            SettingsError: A setting is wrong; the message names each.
        """
        from worker.wiring import Deployment, Role  # the wiring imports this module

        deployment = Deployment.open(role=Role.WEB)
        return cls(deployment, close=deployment.close)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections this client opened for itself."""
        if self._close is not None:
            self._close()

    def submit(self, upload: BinaryIO, spec: JobSpec) -> JobRecord:
        """
        Seal an upload and its parameters and accept a job for them.

        The order of writes is such that a crash between any two leaves nothing for long: keys exist first and die at
        the policy's short pending deadline unless the job record follows; a record whose nudge is missing is nudged by
        the sweeper. When this returns, the job will end; the record is the job as it was accepted, told from this side,
        so that an answer lost after that cannot make a caller submit, and pay for, the same wish again.

        Raises:
            UnknownNameError: No such recipe, provider or policy.
            UnfitProviderError: The provider cannot do what the recipe needs.
            PolicyError: The policy does not let the provider see the data, the prompt is longer than it allows, or an
                object is to be kept for longer.
            UploadTooLargeError: More bytes than the limit; what was sealed is shredded.
        """
        recipe = named("recipe", spec.recipe, self._parts.recipes)
        policy = named("policy", spec.policy or self._parts.default_policy, self._parts.policies)
        provider = provider_of(spec.provider, recipe, self._parts.providers)
        check_policy(policy, provider, spec.prompt)
        check_provider(self._parts.registry, provider, recipe, policy)
        periods = agreed_periods(policy, upload=spec.keep_upload, output=spec.keep_outputs)

        subject_hash = None if spec.subject is None else self._subject_hash(spec.subject)

        now = datetime.now(UTC)
        deadline = now + policy.upload.latest
        sealed: list[ObjectRef] = []
        try:
            most = min(self._parts.max_upload_bytes, policy.limits.upload_bytes)
            bounded = cast(BinaryIO, Bounded(upload, most))
            for source in (bounded, _parameters(spec)):
                sealed.append(
                    self._parts.store.seal(
                        source, object_class=ObjectClass.UPLOAD, deadline=now + policy.pending, ceiling=deadline
                    ).ref
                )
            reach(WorkerFault.CLIENT_SEALED)
            job_id = JobId(secrets.token_hex(16))
            self._parts.jobs.create(
                {
                    "v": str(RECORD_VERSION),
                    "recipe": spec.recipe,
                    "provider": provider,
                    "policy": policy.name,
                    "upload": str(sealed[0]),
                    "params": str(sealed[1]),
                    "deadline": str(int(deadline.timestamp() * 1000)),
                    "upload_ms": encode_lifetime(periods.upload),
                    "output_ms": encode_lifetime(periods.output),
                    **({"auto": "1"} if provider == AUTO else {}),
                    **({} if subject_hash is None else {"subject": subject_hash}),
                },
                job_id,
                look_after=self._parts.lease,
                longest=policy.upload.latest + max(periods.upload, periods.output),
            )
        except Exception:
            self._discard(sealed)
            raise
        reach(WorkerFault.CLIENT_ACCEPTED)
        # From here on the job exists and will end; what is left to do here the worker and the sweeper do as well.
        try:
            self._parts.store.extend(sealed, deadline)
            self._parts.broker.nudge(job_id, NudgeSource.SUBMIT)
        except (StorageError, ServerUnavailableError) as error:
            log.warning("job accepted without a nudge", job=job_id, problem=type(error).__name__)
        reach(WorkerFault.CLIENT_NUDGED)
        return JobRecord(
            id=job_id,
            state=JobState.ACCEPTED,
            recipe=spec.recipe,
            provider=provider,
            policy=policy.name,
            upload=sealed[0],
            params=sealed[1],
            created_at=now,
            deadline=deadline,
            upload_lifetime=periods.upload,
            output_lifetime=periods.output,
            subject_hash=subject_hash,
            stage_times={JobState.ACCEPTED: now},
        )

    def show(self, job_id: str) -> JobRecord:
        """
        Read a job's record.

        Raises:
            JobNotFoundError: No such job.
        """
        return self._parts.jobs.show(JobId(job_id))

    def list(self, limit: int = 50) -> Iterator[JobRecord]:
        """Give the newest jobs first."""
        return self._parts.jobs.list(limit)

    def watch(self, job_id: str) -> Iterator[JobRecord]:
        """Give the record now and after each change until the job has ended."""
        return self._parts.jobs.watch(JobId(job_id))

    def wait(self, job_id: str, timeout: timedelta | None = None) -> JobRecord:
        """
        Give the record once the job has ended.

        Raises:
            JobTimeoutError: It had not ended after `timeout`; the job goes on.
        """
        end = None if timeout is None else datetime.now(UTC) + timeout
        for record in self._parts.jobs.watch(JobId(job_id), end=end):
            if record.state.ended:
                return record
        raise JobTimeoutError(job_id, timeout)

    def cancel(self, job_id: str) -> JobRecord:
        """
        Shred the job's keys at once, then end it as cancelled. A job that has ended stays as it is.

        Whoever works on it finds the key gone, or its lease void, and stops.
        """
        record = self.show(job_id)
        if record.state.ended:
            return record
        outputs = [output.ref for output in record.outputs]
        self._parts.store.shred([*record.consumed, *outputs], ShredReason.CANCELLED)
        reach(WorkerFault.CANCEL_SHREDDED)
        lease = self._parts.jobs.cancel(record.id, lease_for=self._parts.lease)
        reach(WorkerFault.CANCEL_CLAIMED)
        if lease.held:
            # Another who cancels, or a worker after a long stall, may have taken the job on: then it ends there.
            with suppress(LeaseLostError):
                finish_settled(lease, self._parts)
        return self.show(job_id)

    def extend(self, job_id: str, until: datetime) -> datetime:
        """
        Postpone the shred of what a job that is done has kept of its upload, and return the moment it has now.

        An earlier moment than the one it has changes nothing; to shred at once there is `shred`.

        Raises:
            DeadlineError: *until* is past, or beyond what the policy gave the upload at most.
            ObjectShreddedError: The upload is shredded already, as always under a policy that keeps none.
            JobNotFoundError: No such job.
        """
        record = self.show(job_id)
        return min(self._parts.store.extend((record.upload, record.params), until).values())

    def shred(self, job_id: str) -> JobRecord:
        """
        Shred at once whatever of a job still lives, its outputs included; one that has not ended is cancelled.

        Raises:
            JobNotFoundError: No such job.
        """
        record = self.cancel(job_id)
        self._parts.store.shred(record.objects, ShredReason.ERASED)
        self._parts.store.delete_ciphertext(record.objects)
        return record

    def erase(self, *, subject: str, patience: timedelta = timedelta(seconds=60)) -> Erasure:
        """
        Erase everything of a subject: jobs end, keys are shredded, ciphertext is deleted, roots are rotated at once.

        Safe to repeat. See `Erasure.complete` for whether the rotation was over within *patience*.
        """
        return erase(self._parts, self._subject_hash(subject), patience=patience)

    def export(self, *, subject: str) -> Iterator[bytes]:
        """
        Give a zip file, piece by piece, of a subject's outputs that can still be read, and a record of everything.

        Raises:
            StorageError: While it is read: a store cannot be reached, or an output was changed.
        """
        return export(self._parts, self._subject_hash(subject))

    def open_output(self, job_id: str, name: str) -> BinaryIO:
        """
        Open one rendition of a finished job for reading; verified segment by segment.

        Raises:
            OutputNotFoundError: The job has no rendition of that name.
            ObjectShreddedError: Its key is gone; the error says since when.
        """
        record = self.show(job_id)
        for output in record.outputs:
            if output.name == name and record.state is JobState.DONE:
                return self._parts.store.open_stream(output.ref)
        raise OutputNotFoundError(name, record)

    def _subject_hash(self, subject: str) -> str:
        return hmac.new(self._parts.subject_key, subject.encode(), hashlib.sha256).hexdigest()

    def _discard(self, refs: Sequence[ObjectRef]) -> None:
        """Shred what a failed submission sealed; if even that fails, the pending deadline does it."""
        try:
            self._parts.store.shred(refs, ShredReason.ORPHANED)
            self._parts.store.delete_ciphertext(refs)
        except Exception as error:  # noqa: BLE001  the error that led here is the one to report
            log.warning("objects of a failed submission left to their pending deadline", problem=type(error).__name__)


def _parameters(spec: JobSpec) -> bytes:
    return json.dumps({"prompt": spec.prompt, "options": dict(spec.options)}).encode()
