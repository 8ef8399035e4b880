"""
Dramatiq's own no-op actor in one process: the yardstick for the pool's rate and latency.

Started as `python -m benchmarks.noop URL THREADS`; says `started`, then, for each line `COUNT` on its input, waits
until that many messages have been worked on and answers with the seconds from the first to the last.
"""

from __future__ import annotations

import queue
import sys
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker

NAMESPACE = "noop"


def broker_with_noop(url: str, ended: queue.SimpleQueue[float]) -> tuple[RedisBroker, dramatiq.Actor[[], None]]:
    """Make a broker with Dramatiq's default middleware and the actor that does nothing but note the time."""
    broker = RedisBroker(url=url, namespace=NAMESPACE)

    def noop() -> None:
        ended.put(time.monotonic())

    return broker, dramatiq.actor(broker=broker, actor_name="noop", queue_name="noop")(noop)


def main() -> None:
    ended: queue.SimpleQueue[float] = queue.SimpleQueue()
    broker, _ = broker_with_noop(sys.argv[1], ended)
    worker: dramatiq.Worker | None = None
    print("started", flush=True)
    for line in sys.stdin:
        # Messages were enqueued before this, and nothing has worked on them.
        if worker is None:
            worker = dramatiq.Worker(broker, worker_threads=int(sys.argv[2]))
            worker.start()
        moments = [ended.get() for _ in range(int(line))]
        print(max(moments) - min(moments), flush=True)
    if worker is not None:
        worker.stop()
    broker.close()


if __name__ == "__main__":
    main()
