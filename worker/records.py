"""
What a job is: its states, its record and how the record is written to Redis.

The record is the truth about a job; a broker message is only a nudge. It holds no byte of the upload and none of the
parameters (prompt, options, callback): those are sealed objects, named here by their `ObjectRef`. What stands in
clear is what operators route and count by: the names of the recipe, the provider and the policy, states and times,
a keyed hash of the subject, and what was sent to whom (`worker.transfers`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import NewType

from pipelines.sources import Note
from storage import ObjectRef
from worker.errors import JobDamagedError
from worker.transfers import LeftTasks, Transfers, decode_left, decode_transfers

JobId = NewType("JobId", str)

ErrorFacts = Mapping[str, int | str]
"""What the sentence of an error was made from besides its code: for a refusal `actual`, `limit` and `what`."""

NO_FACTS: ErrorFacts = MappingProxyType({})

RECORD_VERSION = 1


class JobState(StrEnum):
    """Where a job is. The last four are ends; every other state has somebody responsible for moving it on."""

    ACCEPTED = "accepted"
    PREPARING = "preparing"
    SUBMITTING = "submitting"
    AWAITING = "awaiting"
    COLLECTING = "collecting"
    RENDERING = "rendering"
    SETTLED = "settled"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def ended(self) -> bool:
        """Whether nothing will ever happen to the job again, its upload's key included."""
        return self in ENDED_STATES


ENDED_STATES = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """One rendition as the record names it; its bytes are a sealed object of class `output`."""

    name: str
    media_type: str
    width: int
    height: int
    size: int  # bytes of the file, before sealing
    ref: ObjectRef

    def to_json(self) -> dict[str, object]:
        """Give the plain values that JSON can hold."""
        return {**asdict(self), "ref": str(self.ref)}

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> OutputRecord:
        """Read what `to_json` wrote; fields of a newer version are ignored."""
        return cls(
            name=str(value["name"]),
            media_type=str(value["media_type"]),
            width=int(str(value["width"])),
            height=int(str(value["height"])),
            size=int(str(value["size"])),
            ref=ObjectRef.parse(str(value["ref"])),
        )


@dataclass(frozen=True, slots=True)
class ResultRecord:
    """One sealed provider result, kept from `collecting` until the job settles."""

    media_type: str
    ref: ObjectRef


@dataclass(frozen=True, slots=True)
class JobRecord:
    """
    One job as Redis has it.

    Times are aware UTC datetimes on the Redis server's clock. `fence` counts the leases ever given; a write with an
    older one is refused. `strikes` counts, since the last orderly step, leases that ran out and steps that could
    not reach a server.
    """

    id: JobId
    state: JobState
    recipe: str
    provider: str
    policy: str
    upload: ObjectRef
    params: ObjectRef
    created_at: datetime
    deadline: datetime
    fence: int = 0
    strikes: int = 0
    put_off_by: str | None = None
    """The last error of a provider that may put the job off a limited number of times, and has."""
    outcome: JobState | None = None
    reason: str | None = None
    outputs: tuple[OutputRecord, ...] = ()
    upload_lifetime: timedelta = timedelta()
    """How long the upload and the parameters outlive a job that is done; fixed when it is accepted, as the next."""
    output_lifetime: timedelta = timedelta()
    """How long the outputs live from the settling on."""
    notes: tuple[Note, ...] = ()
    results: tuple[ResultRecord, ...] = ()
    intent: str | None = None
    repeats: int = 0
    """How often a paid call was made again because the answer to it was lost."""
    task: Mapping[str, object] | None = None
    auto: bool = False
    """Whether the pool chooses the provider; `provider` is then the one it chose last."""
    tried: tuple[str, ...] = ()
    """Providers that certainly did not charge and are not asked again."""
    transfers: Transfers = ()
    owed: bool = False
    """Whether the provider of `task` still keeps a copy that it has not been asked to erase."""
    left: LeftTasks = ()
    """Failed tasks before it that could not be erased yet."""
    erase_tries: int = 0
    error_code: str | None = None
    error_message: str | None = None
    error_facts: ErrorFacts = field(default_factory=dict)
    ended_at: datetime | None = None
    subject_hash: str | None = None
    stage_times: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def consumed(self) -> tuple[ObjectRef, ...]:
        """Every object that dies with the job: its upload, its parameters and sealed provider results."""
        return (self.upload, self.params, *(result.ref for result in self.results))

    @property
    def kept(self) -> tuple[ObjectRef, ...]:
        """Those that a policy lets outlive a job that is done."""
        return (self.upload, self.params) if self.outcome is JobState.DONE and self.upload_lifetime else ()

    @property
    def objects(self) -> tuple[ObjectRef, ...]:
        """Everything that was ever sealed for the job and is named in its record."""
        return (*self.consumed, *(output.ref for output in self.outputs))

    def to_json(self) -> dict[str, object]:
        """Give the record as plain values for `--json` and for the web tier."""
        return {
            "id": self.id,
            "state": str(self.state),
            "recipe": self.recipe,
            "provider": self.provider,
            "auto": self.auto,
            "policy": self.policy,
            "created_at": _iso(self.created_at),
            "ended_at": _iso(self.ended_at),
            "deadline": _iso(self.deadline),
            "stage_times": {state: _iso(at) for state, at in self.stage_times.items()},
            "error": None
            if self.error_code is None
            else {"code": self.error_code, "message": self.error_message, **self.error_facts},
            "outputs": [output.to_json() for output in self.outputs],
            "transfers": [transfer.to_json() for transfer in self.transfers],
            "notes": [{**asdict(note), "message": str(note)} for note in self.notes],
            "upload": str(self.upload),
            "parameters": str(self.params),
            "strikes": self.strikes,
        }


def encode_outputs(outputs: tuple[OutputRecord, ...]) -> str:
    """Write outputs as the record's `outputs` field."""
    return json.dumps([output.to_json() for output in outputs], separators=(",", ":"))


def encode_lifetime(lifetime: timedelta) -> str:
    """Write how long objects live as the record's `upload_ms` or `output_ms` field."""
    return str(lifetime // timedelta(milliseconds=1))


def encode_notes(notes: tuple[Note, ...]) -> str:
    """Write shortfalls as the record's `notes` field."""
    return json.dumps([asdict(note) for note in notes], separators=(",", ":"))


def encode_results(results: tuple[ResultRecord, ...]) -> str:
    """Write sealed provider results as the record's `results` field."""
    return json.dumps([[result.media_type, str(result.ref)] for result in results], separators=(",", ":"))


def decode_record(job_id: JobId, fields: Mapping[bytes, bytes]) -> JobRecord:
    """
    Read one job hash.

    Fields this version does not know are ignored, so that a newer release may run beside this one.

    Raises:
        JobDamagedError: A field that it needs is missing or cannot be read.
    """
    try:
        return _decoded(job_id, fields)
    except (KeyError, ValueError, TypeError, OverflowError, OSError):
        # What was in it may be anything, so nothing of it is told.
        raise damaged(job_id, fields) from None


def damaged(job_id: JobId, fields: Mapping[bytes, bytes]) -> JobDamagedError:
    """Give the error for a record that cannot be read, with the objects that it still names."""
    return JobDamagedError(job_id, list(_legible(fields)))


def _legible(fields: Mapping[bytes, bytes]) -> Iterator[ObjectRef]:
    for name in (b"upload", b"params"):
        with suppress(KeyError, ValueError):
            yield ObjectRef.parse(fields[name].decode())


def _decoded(job_id: JobId, fields: Mapping[bytes, bytes]) -> JobRecord:
    text = {name.decode(): value.decode() for name, value in fields.items()}
    times = {name[3:]: _from_ms(value) for name, value in text.items() if name.startswith("at:")}
    return JobRecord(
        id=job_id,
        state=JobState(text["state"]),
        recipe=text["recipe"],
        provider=text["provider"],
        policy=text["policy"],
        upload=ObjectRef.parse(text["upload"]),
        params=ObjectRef.parse(text["params"]),
        created_at=_from_ms(text["created_at"]),
        deadline=_from_ms(text["deadline"]),
        fence=int(text["fence"]),
        strikes=int(text["strikes"]),
        put_off_by=text.get("put_off_by"),
        outcome=JobState(text["outcome"]) if "outcome" in text else None,
        reason=text.get("reason"),
        outputs=tuple(map(OutputRecord.from_json, json.loads(text.get("outputs", "[]")))),
        upload_lifetime=timedelta(milliseconds=int(text.get("upload_ms", "0"))),
        output_lifetime=timedelta(milliseconds=int(text.get("output_ms", "0"))),
        notes=tuple(
            Note(note["rendition"], note["code"], note["actual"], note["wanted"])
            for note in json.loads(text.get("notes", "[]"))
        ),
        results=tuple(
            ResultRecord(media_type, ObjectRef.parse(ref)) for media_type, ref in json.loads(text.get("results", "[]"))
        ),
        intent=text.get("intent"),
        repeats=int(text.get("repeats", "0")),
        task=json.loads(text["task"]) if "task" in text else None,
        auto=text.get("auto") == "1",
        tried=tuple(json.loads(text.get("tried", "[]"))),
        transfers=decode_transfers(text.get("transfers", "[]")),
        owed=text.get("owed") == "1",
        left=decode_left(text.get("left", "[]")),
        erase_tries=int(text.get("erase_tries", "0")),
        error_code=text.get("error_code"),
        error_message=text.get("error_message"),
        error_facts=dict(json.loads(text.get("error_facts", "{}"))),
        ended_at=_from_ms(text["ended_at"]) if "ended_at" in text else None,
        subject_hash=text.get("subject"),
        stage_times=dict(sorted(times.items(), key=lambda item: item[1])),
    )


def _from_ms(value: str) -> datetime:
    return datetime.fromtimestamp(int(value) / 1000, UTC)


def _iso(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat(timespec="milliseconds")
