"""
Declare every instrument a worker or a sweeper counts with, in one place.

Names, types and label values are an interface that dashboards and alerts lean on: a snapshot test holds them.
Label values come from the enumerations here and nowhere else, so the number of series is known in advance: no
job id, object id, subject or message ever becomes a label. Every series exists from the first scrape on, at 0,
because a rate over a series that appears late is wrong, and an alert on an absent one is silent.

    from metrics import JOBS_ENDED, JobOutcome

    JOBS_ENDED.labels(outcome=JobOutcome.DONE).inc()

What only the key store knows (live objects, deadlines, pending receipts) is not counted here but read at scrape by
`metrics.exporter`, so that it is right after any restart.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from itertools import product

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics import MetricWrapperBase

# A `_created` series beside each counter and bucket set would double them, and no rule or dashboard reads them.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no annotations there

# Not the library's global registry: what other libraries put there is not ours to promise.
REGISTRY = CollectorRegistry(auto_describe=True)


class JobOutcome(StrEnum):
    """How a job ended."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Step(StrEnum):
    """One step of a job, as drawn in the design."""

    PREPARE = "prepare"
    SUBMIT = "submit"
    AWAIT = "await"
    COLLECT = "collect"
    RENDER = "render"
    SETTLE = "settle"


class ClaimResult(StrEnum):
    """What a worker found when it tried to claim a job."""

    CLAIMED = "claimed"
    TAKEN = "taken"
    WAITING = "waiting"
    ENDED = "ended"
    UNKNOWN = "unknown"


class NudgeSource(StrEnum):
    """Who sent a message for a job."""

    SUBMIT = "submit"
    WAIT = "wait"
    SWEEP = "sweep"
    WEBHOOK = "webhook"


class CallOutcome(StrEnum):
    """How a call to a provider ended; `unknown` means that it may have been charged."""

    DONE = "done"
    PENDING = "pending"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"


class WebhookOutcome(StrEnum):
    """What became of a webhook; `ignored` means that the job was not waiting or had been woken just before."""

    WOKEN = "woken"
    IGNORED = "ignored"
    FORGED = "forged"
    FAILED = "failed"


class SandboxOperation(StrEnum):
    """What a sandboxed child was asked to do."""

    PROBE = "probe"
    PREPARE = "prepare"
    CUT_OUT = "cut_out"
    RENDER = "render"
    MEASURE = "measure"


class SandboxOutcome(StrEnum):
    """How a sandboxed child ended; `lost` means that the zygote died under it."""

    OK = "ok"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    CRASHED = "crashed"
    VIOLATION = "violation"
    LOST = "lost"


class ObjectClassLabel(StrEnum):
    """The class of an object, spelled as the storage room spells it."""

    UPLOAD = "upload"
    OUTPUT = "output"


class BlobStoreWeakness(StrEnum):
    """What about a blob store's own settings may weaken a promise."""

    VERSIONS = "versions"
    UNFINISHED = "unfinished"
    EXPIRY = "expiry"
    OBJECT_LOCK = "object-lock"
    CONDITIONS = "conditions"
    TRANSPORT = "transport"
    UNSEEN = "unseen"


class RotationOutcome(StrEnum):
    """How one rotation of roots ended."""

    DONE = "done"
    FAILED = "failed"


class SweepOutcome(StrEnum):
    """How one sweep ended; `not_leader` means that another sweeper held the lease."""

    DONE = "done"
    FAILED = "failed"
    NOT_LEADER = "not_leader"


class SweepAction(StrEnum):
    """What a sweep finished that something else had left."""

    EXPIRED = "expired"
    DOOMED_DELETED = "doomed_deleted"
    ORPHANS_DELETED = "orphans_deleted"
    NUDGED = "nudged"
    ENDED = "ended"
    RECEIPTS = "receipts"
    BROKER_RESTORED = "broker_restored"


# A share of the shreds within one second is an objective that the alert rules state: 1.0 must stay a boundary.
_LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0)
_WORK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_JOB_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)


def _initialise(instrument: MetricWrapperBase, values: Iterable[Iterable[str]]) -> None:
    for combination in product(*values):
        instrument.labels(*combination)


def _counter(name: str, text: str, **labels: type[StrEnum]) -> Counter:
    counter = Counter(name, text, list(labels), registry=REGISTRY)
    if labels:
        _initialise(counter, labels.values())
    return counter


def _histogram(name: str, text: str, buckets: tuple[float, ...], **labels: type[StrEnum]) -> Histogram:
    histogram = Histogram(name, text, list(labels), registry=REGISTRY, buckets=buckets)
    if labels:
        _initialise(histogram, labels.values())
    return histogram


# Jobs -----------------------------------------------------------------------------------------------------------

JOBS_ENDED = _counter("dayfly_jobs_ended_total", "Jobs that reached an end, by how they ended.", outcome=JobOutcome)
JOB_SECONDS = _histogram(
    "dayfly_job_seconds", "Time from accepting a job to its end, by how it ended.", _JOB_BUCKETS, outcome=JobOutcome
)
STEP_SECONDS = _histogram("dayfly_step_seconds", "Time a worker spent in one step of a job.", _WORK_BUCKETS, step=Step)
SHRED_LAG_SECONDS = _histogram(
    "dayfly_shred_lag_seconds",
    "Time from the end of a job to the destruction of the keys of its uploads and parameters.",
    _LAG_BUCKETS,
)
JOBS_CLAIMED = _counter(
    "dayfly_jobs_claimed_total", "Attempts to claim a job's lease, by what was found.", result=ClaimResult
)
LEASES_LOST = _counter("dayfly_leases_lost_total", "Leases that ran out or were taken while a worker held them.")
NUDGES = _counter("dayfly_nudges_total", "Messages sent to move a job on, by who sent them.", source=NudgeSource)
UNDECODABLE_MESSAGES = _counter(
    "dayfly_undecodable_messages_total", "Messages that could not be decoded and were set aside."
)

# Providers ------------------------------------------------------------------------------------------------------

PROVIDER_CALLS = Counter(
    "dayfly_provider_calls_total",
    "Calls to providers, by how they ended; unknown means that it may have been charged.",
    ["provider", "outcome"],
    registry=REGISTRY,
)


WEBHOOKS = _counter("dayfly_webhooks_total", "Webhooks received, by what became of them.", outcome=WebhookOutcome)


def register_providers(names: Iterable[str]) -> None:
    """
    Make the series of *names* exist at 0.

    Called once at start with the names of the registered providers, which bound the label; never with a name that
    came in with a job.
    """
    _initialise(PROVIDER_CALLS, (list(names), CallOutcome))


# The sandbox ----------------------------------------------------------------------------------------------------

SANDBOX_RUNS = _counter(
    "dayfly_sandbox_runs_total",
    "Sandboxed children, by what they were asked and how they ended.",
    operation=SandboxOperation,
    outcome=SandboxOutcome,
)
SANDBOX_SECONDS = _histogram(
    "dayfly_sandbox_seconds", "Wall time of one sandboxed child.", _WORK_BUCKETS, operation=SandboxOperation
)
ZYGOTE_RESTARTS = _counter("dayfly_zygote_restarts_total", "Times the sandbox's zygote died and was started again.")

# Sealed objects -------------------------------------------------------------------------------------------------

SEALED_BYTES = _counter(
    "dayfly_sealed_bytes_total", "Bytes of plaintext sealed by this process.", object_class=ObjectClassLabel
)
OPENED_BYTES = _counter(
    "dayfly_opened_bytes_total", "Bytes of plaintext opened by this process.", object_class=ObjectClassLabel
)
INTEGRITY_ERRORS = _counter(
    "dayfly_integrity_errors_total", "Objects that did not open because they were changed, swapped or cut short."
)

KEY_STORE_RESTORES = _counter(
    "dayfly_key_store_restores_total",
    "Times the key store was found taken back to an older state and was healed from the receipts.",
)

# Roots ----------------------------------------------------------------------------------------------------------

ROTATIONS = _counter(
    "dayfly_rotations_total",
    "Rotations of roots, by how they ended.",
    object_class=ObjectClassLabel,
    outcome=RotationOutcome,
)
ROTATION_SECONDS = _histogram(
    "dayfly_rotation_seconds",
    "Time of one rotation: new root, rewrapping, destruction of the old root.",
    _WORK_BUCKETS,
    object_class=ObjectClassLabel,
)
REWRAPPED = _counter(
    "dayfly_keys_rewrapped_total", "Object keys wrapped again under a new root.", object_class=ObjectClassLabel
)

# The blob store -------------------------------------------------------------------------------------------------

BLOB_STORE_WEAKNESS = Gauge(
    "dayfly_blob_store_weakness",
    "1 if the blob store's own settings weakened a promise when this process started, by what it is; else 0.",
    ["weakness"],
    registry=REGISTRY,
)
for _weakness in BlobStoreWeakness:
    BLOB_STORE_WEAKNESS.labels(weakness=_weakness)

# The sweeper ----------------------------------------------------------------------------------------------------

SWEEPS = _counter("dayfly_sweeps_total", "Sweeps, by how they ended.", outcome=SweepOutcome)
SWEEP_SECONDS = _histogram("dayfly_sweep_seconds", "Time of one sweep.", _WORK_BUCKETS)
SWEEP_ACTIONS = _counter(
    "dayfly_sweep_actions_total", "What sweeps finished that something else had left.", action=SweepAction
)
SWEEP_LAST_SUCCESS = Gauge(
    "dayfly_sweep_last_success_timestamp_seconds",
    "When this process last finished a sweep as the leader; 0 if it never has.",
    registry=REGISTRY,
)

ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
