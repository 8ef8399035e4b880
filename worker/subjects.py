"""
Answer a person's requests: erase what was sealed for a subject, or hand it out.

    erasure = client.erase(subject="u-381")
    for part in client.export(subject="u-381"):
        response.write(part)

A subject is known by a keyed hash only. Both walk through the jobs that were submitted with it, which are known as long
as their records are kept: 30 days longer than the last of their objects can live.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from storage import (
    CiphertextMissingError,
    KeyStore,
    Live,
    ObjectClass,
    ObjectRef,
    ObjectShreddedError,
    RootLostError,
    Rotator,
    SealedStore,
    Shredded,
    ShredReason,
    StaleRootError,
    Status,
    UnknownObjectError,
)
from storage.faults import reach
from worker.errors import LeaseLostError
from worker.faults import WorkerFault
from worker.jobs import JobStore
from worker.records import JobRecord
from worker.settling import finish_settled

_PIECE: Final = 1 << 20
_LOOK_EVERY: Final = 0.1

_NOTE: Final = """\
What is known of the jobs of one subject: their records (records.json), and every rendition that could still be read.

Uploads and prompts are not in here: only a worker can open them, and they are shredded when their job ends. For each
object, records.json says whether its key lives, or when it was destroyed.
"""


class Parts(Protocol):
    """What an erasure and an export need of a deployment."""

    @property
    def store(self) -> SealedStore: ...
    @property
    def keys(self) -> KeyStore: ...
    @property
    def jobs(self) -> JobStore: ...
    @property
    def lease(self) -> timedelta: ...
    @property
    def rotators(self) -> Mapping[ObjectClass, Rotator]: ...


@dataclass(frozen=True, slots=True)
class ErasedObject:
    """One object of the subject: when its key was destroyed, and why; neither if the key store has forgotten it."""

    job: str
    ref: ObjectRef
    shredded_at: datetime | None
    reason: ShredReason | None
    already: bool


@dataclass(frozen=True, slots=True)
class Erasure:
    """
    What an erasure did.

    Attributes:
        objects: Every object of every job of the subject; nothing opens any of them now.
        cancelled: The jobs that had not ended.
        ciphertext_deleted: How many objects still had ciphertext; a deletion that failed is repeated by the sweep.
        rotated_at: By class, when the root was replaced under which the keys may stand in copies of the key store; a
            class is missing while that is still to come, at the latest after the rotation interval.
    """

    objects: tuple[ErasedObject, ...]
    cancelled: tuple[str, ...]
    ciphertext_deleted: int
    rotated_at: Mapping[ObjectClass, datetime]

    @property
    def complete(self) -> bool:
        """Whether no copy of the key store brings a key of the subject back, however old it is."""
        return self.rotated_at.keys() == set(ObjectClass)

    def to_json(self) -> dict[str, Any]:
        """Give the erasure as plain values, without the subject."""
        return {
            "complete": self.complete,
            "cancelled": list(self.cancelled),
            "ciphertext_deleted": self.ciphertext_deleted,
            "rotated_at": {name.value: _iso(at) for name, at in self.rotated_at.items()},
            "objects": [
                {
                    "job": item.job,
                    "object": str(item.ref),
                    "shredded_at": None if item.shredded_at is None else _iso(item.shredded_at),
                    "reason": None if item.reason is None else item.reason.value,
                    "already": item.already,
                }
                for item in self.objects
            ],
        }


def erase(parts: Parts, subject_hash: str, *, patience: timedelta) -> Erasure:
    """
    Shred everything of a subject, end its jobs, delete the ciphertext and have the roots rotated.

    Idempotent: what was shredded before is answered with the time of that. A process without roots asks the sweeper to
    rotate and waits for it up to *patience*.

    Raises:
        ServerUnavailableError: Redis cannot be reached; call again.
        StorageError: A store cannot be reached; call again.
    """
    objects: list[ErasedObject] = []
    cancelled: list[str] = []
    for job in parts.jobs.of_subject(subject_hash):
        outcomes = parts.store.shred(job.objects, ShredReason.ERASED)
        reach(WorkerFault.ERASE_SHREDDED)
        objects += (ErasedObject(job.id, o.ref, o.shredded_at, o.reason, o.already) for o in outcomes)
        if not job.state.ended:
            cancelled.append(job.id)
            objects += _end(parts, job)
    deleted = parts.store.delete_ciphertext([item.ref for item in objects])
    reach(WorkerFault.ERASE_DELETED)
    return Erasure(tuple(objects), tuple(cancelled), deleted, _rotate(parts, patience))


def _end(parts: Parts, job: JobRecord) -> Iterator[ErasedObject]:
    """Take a job from whoever works on it and end it; give what it had sealed and recorded meanwhile."""
    lease = parts.jobs.cancel(job.id, lease_for=parts.lease)
    if not lease.held:
        return
    late = [ref for ref in lease.job.objects if ref not in job.objects]
    for outcome in parts.store.shred(late, ShredReason.ERASED):
        yield ErasedObject(job.id, outcome.ref, outcome.shredded_at, outcome.reason, outcome.already)
    with suppress(LeaseLostError):
        finish_settled(lease, parts)


def _rotate(parts: Parts, patience: timedelta) -> dict[ObjectClass, datetime]:
    asked = {name: parts.keys.roots.ask_rotation(name) for name in ObjectClass}
    for rotator in parts.rotators.values():
        # Overtaken is as good: whoever did it began after the keys were destroyed.
        with suppress(StaleRootError):
            rotator.rotate()
    done: dict[ObjectClass, datetime] = {}
    end = time.monotonic() + patience.total_seconds()
    while True:
        for name in ObjectClass:
            epoch, root = asked[name], parts.keys.roots.read(name)
            # A class that had no root had nothing sealed.
            if epoch is None:
                done[name] = datetime.now(UTC)
            elif root is not None and root.replaces(epoch):
                done[name] = root.created
        if len(done) == len(ObjectClass) or time.monotonic() >= end:
            return done
        time.sleep(_LOOK_EVERY)


def export(parts: Parts, subject_hash: str) -> Iterator[bytes]:
    """
    Give a zip file, piece by piece: every output of the subject that can still be read, and a record of everything.

    Nothing is written to a disk, and no more than a piece of an output is held in memory. What expires while the file
    is being made is missing in it; `records.json`, which comes last, tells what is inside.

    Raises:
        ServerUnavailableError: Redis cannot be reached. A file that was begun is not complete.
        StorageError: A store cannot be reached, or an output was changed. A file that was begun is not complete.
    """
    sink = _Sink()
    records: list[dict[str, Any]] = []
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("README.txt", _NOTE)
        for job in parts.jobs.of_subject(subject_hash):
            inside: dict[str, str] = {}
            for output in job.outputs:
                path = f"{job.id}/{output.name}.{output.media_type.rpartition('/')[2]}"
                try:
                    rendition = parts.store.open_stream(output.ref)
                except (ObjectShreddedError, UnknownObjectError, CiphertextMissingError, RootLostError):
                    continue
                with rendition, archive.open(path, "w", force_zip64=True) as entry:
                    while piece := rendition.read(_PIECE):
                        entry.write(piece)
                        yield from sink.take()
                inside[str(output.ref)] = path
            records.append(_record(parts, job, inside))
            yield from sink.take()
        archive.writestr("records.json", json.dumps(records, indent=2, ensure_ascii=False))
    yield from sink.take()


def _record(parts: Parts, job: JobRecord, inside: Mapping[str, str]) -> dict[str, Any]:
    objects = [{"object": str(ref), **status_as_data(parts.store.status(ref))} for ref in job.objects]
    for item in objects:
        if item["object"] in inside:
            item["file"] = inside[item["object"]]
    return {**job.to_json(), "objects": objects}


def status_as_data(status: Status) -> dict[str, str]:
    """Give what is known of an object as plain values."""
    match status:
        case Live(deadline=deadline):
            return {"status": "live", "deadline": deadline.isoformat()}
        case Shredded(at=at, reason=reason):
            return {"status": "shredded", "at": at.isoformat(), "reason": reason.value}
        case _:
            return {"status": "unknown"}


class _Sink(io.RawIOBase):
    """What a zip file is written to: it cannot seek, and keeps what was written until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        return len(piece)

    def take(self) -> Sequence[bytes]:
        pieces, self._pieces = self._pieces, []
        return pieces


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
