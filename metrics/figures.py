"""
Describe the pool as the stores know it, in plain numbers, and turn that into metric families.

The storage and worker rooms read these numbers; this room only names them, so that it imports nobody. Every label
value that is possible appears at 0 when the reader does not mention it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from metrics.instruments import ObjectClassLabel

_log = logging.getLogger(__name__)


class DestroyReason(StrEnum):
    """Why a key was destroyed, spelled as the storage room spells its shred reasons."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUSED = "refused"
    ERASED = "erased"
    ORPHANED = "orphaned"
    ROOT_LOST = "root-lost"
    LOST = "lost"


class OpenState(StrEnum):
    """The states of a job that has not ended, spelled as the worker room spells them."""

    ACCEPTED = "accepted"
    PREPARING = "preparing"
    SUBMITTING = "submitting"
    AWAITING = "awaiting"
    COLLECTING = "collecting"
    RENDERING = "rendering"
    SETTLED = "settled"


class StopReason(StrEnum):
    """Why nobody calls an account at a provider any more, spelled as the worker room spells it."""

    OUT_OF_CREDIT = "out-of-credit"
    AUTH_FAILED = "auth-failed"
    MODEL_GONE = "model-gone"
    FAULTS = "faults"


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """
    How a provider's accounts are.

    Args:
        stopped: Why nobody calls one of them; empty if all are called.
        in_use: Calls and tasks under way, as far as slots are counted.
        waiting: Jobs that wait for a slot.
    """

    stopped: frozenset[str] = frozenset()
    in_use: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """
    What the key store holds of one class of object.

    Args:
        live: Keys that exist.
        overdue: Objects past their deadline whose end nobody has recorded yet.
        oldest_deadline: The earliest deadline among live and overdue objects, in Unix seconds; None without objects.
        created: Keys created since the key store was new.
        destroyed: Keys destroyed since the key store was new, by reason.
        root_epoch: The epoch of the current root; None before the first root.
        root_created: When the current root was made, in Unix seconds; None before the first root.
    """

    live: int = 0
    overdue: int = 0
    oldest_deadline: float | None = None
    created: int = 0
    destroyed: Mapping[str, int] = field(default_factory=dict)
    root_epoch: int | None = None
    root_created: float | None = None


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """
    What the stores know of the pool at one moment.

    Args:
        classes: Figures by class of object (`upload`, `output`).
        receipts_pending: Events in the outbox that are not in a receipt file yet.
        ciphertext_doomed: Ciphertexts whose key is gone and that are still to be deleted.
        jobs_open: Jobs that have not ended, by state.
        messages: Messages in the broker that are not acknowledged, by queue.
        providers: How the accounts at each provider are that leaves this machine.
    """

    classes: Mapping[str, ClassFigures] = field(default_factory=dict)
    receipts_pending: int = 0
    ciphertext_doomed: int = 0
    jobs_open: Mapping[str, int] = field(default_factory=dict)
    messages: Mapping[str, int] = field(default_factory=dict)
    providers: Mapping[str, AccountFigures] = field(default_factory=dict)


ReadFigures = Callable[[], PoolFigures]


class PoolCollector(Collector):
    """
    Read the figures anew at every scrape.

    When they cannot be read, `dayfly_key_store_up` is 0 and every other family is absent: a number from before the
    outage would look like a measurement.
    """

    def __init__(self, read: ReadFigures) -> None:
        self._read = read
        # Scrapes that overlap wait for each other instead of multiplying the load on a slow store.
        self._reading = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        """Name every family without reading the store, so that registering never needs it."""
        yield from _families(PoolFigures())
        yield _up(False)

    def collect(self) -> Iterator[Metric]:
        """Yield the families of one fresh reading."""
        figures = self.read()
        yield _up(figures is not None)
        if figures is not None:
            yield from _families(figures)

    def read(self) -> PoolFigures | None:
        """Return a fresh reading, or None when the store cannot be read."""
        with self._reading:
            try:
                return self._read()
            except Exception as error:  # noqa: BLE001 - whatever the reader raises, the scrape must still say so
                # The type only: a client's message may carry the address and password of the store.
                _log.warning("the key store could not be read for a scrape: %s", type(error).__name__)
                return None


def _up(up: bool) -> GaugeMetricFamily:
    return GaugeMetricFamily("dayfly_key_store_up", "1 if the key store answered this scrape.", value=float(up))


def _by_class(name: str, text: str, figures: PoolFigures, value: Callable[[ClassFigures], float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=["object_class"])
    for object_class in ObjectClassLabel:
        family.add_metric([object_class], value(figures.classes.get(object_class, ClassFigures())))
    return family


def _counted(name: str, text: str, label: str, known: Iterable[str], counts: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, count in (dict.fromkeys(known, 0) | dict(counts)).items():
        family.add_metric([value], count)
    return family


def _families(figures: PoolFigures) -> Iterator[Metric]:
    yield _by_class("dayfly_objects_live", "Objects whose key exists.", figures, lambda f: f.live)
    yield _by_class(
        "dayfly_objects_overdue",
        "Objects past their deadline whose end nobody has recorded yet.",
        figures,
        lambda f: f.overdue,
    )
    yield _by_class(
        "dayfly_oldest_deadline_timestamp_seconds",
        "The earliest deadline of an object that is live or overdue; 0 without objects.",
        figures,
        lambda f: f.oldest_deadline or 0.0,
    )
    yield _by_class(
        "dayfly_root_epoch", "The epoch of the current root; 0 before the first.", figures, lambda f: f.root_epoch or 0
    )
    yield _by_class(
        "dayfly_root_created_timestamp_seconds",
        "When the current root was made; 0 before the first.",
        figures,
        lambda f: f.root_created or 0.0,
    )

    created = CounterMetricFamily("dayfly_objects_created", "Keys created.", labels=["object_class"])
    destroyed = CounterMetricFamily(
        "dayfly_objects_destroyed", "Keys destroyed, by reason.", labels=["object_class", "reason"]
    )
    for object_class in ObjectClassLabel:
        of_class = figures.classes.get(object_class, ClassFigures())
        created.add_metric([object_class], of_class.created)
        for reason, count in (dict.fromkeys(DestroyReason, 0) | dict(of_class.destroyed)).items():
            destroyed.add_metric([object_class, reason], count)
    yield created
    yield destroyed

    yield GaugeMetricFamily(
        "dayfly_receipts_pending", "Events that are not in a receipt file yet.", value=figures.receipts_pending
    )
    yield GaugeMetricFamily(
        "dayfly_ciphertext_doomed",
        "Ciphertexts whose key is gone and that are still to be deleted.",
        value=figures.ciphertext_doomed,
    )
    yield _counted("dayfly_jobs_open", "Jobs that have not ended, by state.", "state", OpenState, figures.jobs_open)
    yield _counted("dayfly_messages", "Messages that are not acknowledged, by queue.", "queue", (), figures.messages)
    yield from _of_providers(figures.providers)


def _of_providers(providers: Mapping[str, AccountFigures]) -> Iterator[Metric]:
    stopped = GaugeMetricFamily(
        "dayfly_provider_stopped",
        "1 if an account at the provider is not called because of what it answered, by reason; else 0.",
        labels=["provider", "reason"],
    )
    in_use = GaugeMetricFamily("dayfly_provider_slots", "Calls and tasks under way at a provider.", labels=["provider"])
    waiting = GaugeMetricFamily(
        "dayfly_provider_waiting", "Jobs that wait for a slot at a provider.", labels=["provider"]
    )
    for provider, account in providers.items():
        for reason in StopReason:
            stopped.add_metric([provider, reason], float(reason in account.stopped))
        in_use.add_metric([provider], account.in_use)
        waiting.add_metric([provider], account.waiting)
    yield stopped
    yield in_use
    yield waiting
