"""
The exporter process: the figures of the pool, read from Redis at every scrape.

It opens neither blobs nor roots: what it holds cannot open an object.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Sequence
from functools import partial

import structlog

from metrics.exporter import AccountFigures, ClassFigures, PoolFigures, serve
from providers import ProviderRegistry
from storage import KeyFigures, KeyStore, ObjectClass
from worker.broker import NudgeBroker
from worker.gate import AccountState, Gate
from worker.jobs import JobStore
from worker.process import listening
from worker.servers import connected
from worker.settings import Settings

log = structlog.get_logger(__name__)


def run_exporter(settings: Settings) -> int:
    """
    Serve until told to stop, and return the exit code.

    Raises:
        SettingsError: The address cannot be listened on.
        ServerUnavailableError: Redis cannot be reached at start. Later outages show in the figures.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with connected(settings) as clients:
        keys, jobs, broker = KeyStore(clients.keys), JobStore(clients.main), NudgeBroker(clients.main)
        # Only providers that are installed here: the label's values must be known in advance.
        providers = ProviderRegistry.from_entry_points().names()
        figures = partial(read_figures, keys, jobs, broker, Gate(clients.main), providers)
        with listening(settings, lambda host, port: serve(host, port, figures)) as server:
            log.info("exporter started", host=settings.metrics_host, port=server.port)
            stop.wait()
    log.info("exporter stopped")
    return 0


def read_figures(
    key_store: KeyStore, jobs: JobStore, broker: NudgeBroker, gate: Gate, providers: Iterable[str]
) -> PoolFigures:
    """
    Read what the stores know of the pool now.

    Raises:
        StorageError: The key store cannot be read.
        ServerUnavailableError: The job store cannot be read.
    """
    keys = key_store.figures()
    return PoolFigures(
        classes={name.value: _class_figures(keys, name) for name in ObjectClass},
        receipts_pending=keys.receipts_pending,
        ciphertext_doomed=keys.doomed,
        jobs_open={state.value: count for state, count in jobs.figures().items() if not state.ended},
        messages=broker.lengths(),
        providers=_account_figures(gate.states(), providers),
    )


def _account_figures(states: Sequence[AccountState], providers: Iterable[str]) -> dict[str, AccountFigures]:
    found = {}
    for name in providers:
        own = [state for state in states if state.key.provider == name]
        found[name] = AccountFigures(
            stopped=frozenset(str(state.reason) for state in own if state.reason is not None),
            in_use=sum(state.in_use for state in own),
            waiting=sum(state.waiting for state in own),
        )
    return found


def _class_figures(keys: KeyFigures, name: ObjectClass) -> ClassFigures:
    found = keys.classes[name]
    return ClassFigures(
        live=found.live,
        overdue=found.overdue,
        oldest_deadline=None if found.oldest_deadline is None else found.oldest_deadline.timestamp(),
        created=keys.created[name],
        destroyed={reason.value: count for (of, reason), count in keys.destroyed.items() if of is name},
        root_epoch=found.epoch,
        root_created=None if found.root_created is None else found.root_created.timestamp(),
    )
