"""
The worker process: one sandbox, one consumer of nudges, some threads, and a drain that may be interrupted anywhere.

It is its own Dramatiq entry point instead of the `dramatiq` command, which forks: one process per container, no
master that dies with a child, and a second SIGTERM that ends it instead of hanging it (dramatiq 2.2 with its
AsyncIO middleware).
"""

from __future__ import annotations

import os
import random
import threading
from contextlib import ExitStack
from datetime import timedelta

import dramatiq
import structlog

from metrics.exporter import Health
from pipelines import Limits, Sandbox
from providers import Transport
from storage import RestoreHealer
from worker.accounts import hosts_of, read_accounts
from worker.advance import Advance
from worker.bench import Bench
from worker.broker import ACTOR, QUEUE
from worker.doctor import examine_machine, examine_servers
from worker.errors import ServerUnavailableError
from worker.leases import LeaseKeeper
from worker.prices import load_prices
from worker.process import Stop, heal, serving, tell_remarks
from worker.settings import Settings
from worker.wiring import Deployment, Role

POLL = timedelta(milliseconds=100)
"""The longest pause between two looks at an idle queue; dramatiq's default of 1 s makes a lone job wait 300 ms."""

log = structlog.get_logger(__name__)


def run_worker(settings: Settings, sandbox: Sandbox) -> int:
    """
    Work on jobs until told to stop, or until the process has worked enough, and return the exit code.

    What Python leaves behind in memory that it gives back to itself is wiped for certain by the end of the process, so
    its life is what bounds it.

    Args:
        sandbox: Started by the caller before any secret was read.

    Raises:
        SettingsError: A credential or an address of a provider, or the price table, is wrong.
        ServerUnavailableError: Redis cannot be reached at start.
        UnfitServerError: Redis would break a promise as it is set up.
        SettingsError: The address of the metrics cannot be listened on.
        StorageError: The key store, the blob store or a root store cannot be used.
    """
    stop = Stop()
    stop.install()
    with Deployment.open(settings, Role.WORKER) as deployment, ExitStack() as parts:
        examine_machine()
        examine_servers(settings, deployment.clients)
        tell_remarks(deployment.root_stores)
        # What was shredded and is back must not be opened by a job that is back as well.
        heal(RestoreHealer(deployment.keys, deployment.blobs))
        for rotator in deployment.rotators.values():
            rotator.ensure()
        accounts = read_accounts(deployment.registry.names(), os.environ)
        transport = parts.enter_context(Transport(trusted=hosts_of(accounts)))
        bench = Bench(
            settings=settings,
            store=deployment.store,
            jobs=deployment.jobs,
            broker=deployment.broker,
            recipes=deployment.recipes,
            policies=deployment.policies,
            providers=deployment.registry,
            sandbox=sandbox,
            limits=Limits(),
            accounts=accounts,
            transport=transport,
            prices=load_prices(settings.prices),
        )
        with LeaseKeeper(deployment.jobs, timedelta(seconds=settings.lease_seconds)) as keeper:
            return _serve(bench, keeper, stop)


def _serve(bench: Bench, keeper: LeaseKeeper, stop: Stop) -> int:
    settings = bench.settings
    broker = bench.broker
    advance = Advance(bench, keeper, stop.requested)
    dramatiq.actor(broker=broker, actor_name=ACTOR, queue_name=QUEUE)(advance)
    broker.emit_after("process_boot")
    worker = dramatiq.Worker(
        broker, worker_timeout=int(POLL.total_seconds() * 1000), worker_threads=settings.worker_threads
    )
    with serving(settings, lambda: _health(worker)):
        worker.start()
        log.info("worker started", threads=settings.worker_threads)
        if not stop.requested.wait(_life(settings)):
            log.info("worker old enough", seconds=settings.worker_max_seconds)
            stop.requested.set()
        log.info("worker draining", jobs=len(keeper.held()), seconds=settings.drain_seconds)
        drain = threading.Thread(
            target=worker.stop, kwargs={"timeout": settings.drain_seconds * 1000}, name="drain", daemon=True
        )
        drain.start()
        while drain.is_alive() and not stop.hurried.is_set():
            drain.join(0.1)
    left = keeper.held()
    for lease in left:
        # Whoever picks the job up need not wait for the lease to run out.
        try:
            bench.jobs.release(lease, wake_in=timedelta(), grace=timedelta())
        except ServerUnavailableError as error:
            log.warning("lease not given back", job=lease.job_id, problem=str(error))
    log.info("worker stopped", jobs_handed_on=len(left))
    if left:
        # Threads still hold plaintext; the process must not wait for them, and its end is what wipes it.
        os._exit(0)
    return 0


def _life(settings: Settings) -> float | None:
    """Give the seconds after which this worker makes room for another, no two at the same time; None is never."""
    return settings.worker_max_seconds * random.uniform(0.9, 1.0) if settings.worker_max_seconds else None


def _health(worker: dramatiq.Worker) -> Health:
    silent = [name for name, thread in worker.consumers.items() if not thread.is_alive()]
    if not worker.consumers:
        return Health(healthy=False, detail="starting")
    return Health(healthy=not silent, detail="consuming" if not silent else f"consumers stopped: {', '.join(silent)}")
