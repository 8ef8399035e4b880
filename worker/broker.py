"""
The Dramatiq broker of the pool, hardened where a message could be stranded inside a live worker.

A message is only a nudge (see `worker.records`), so losing one delays a job until the sweeper looks; still, a stranded
message keeps the queue's length above zero for ever and misleads whoever scales on it. Three ways lead there in
dramatiq 2.2: a fetch whose answer is lost to a socket timeout, an undecodable payload, and a process that dies.
`NudgeConsumer` deals with the first two and `restore_abandoned` with the third.

Where dramatiq looks at an idle queue in growing pauses, `NudgeConsumer` lets Redis wake it: a lone job is begun at
once, and an idle worker asks twice a second instead of fifteen times.
Behaviour of dramatiq 2.2.1 read in `dramatiq/brokers/redis.py` and `brokers/redis/dispatch.lua`; upstream #894, #895.
"""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import timedelta
from typing import Any

import dramatiq
import redis
import structlog
from dramatiq.brokers.redis import MAINTENANCE_SCALE, RedisBroker, _RedisConsumer
from dramatiq.common import dq_name
from dramatiq.errors import ConnectionClosed, DecodeError
from dramatiq.message import Message

from metrics.instruments import NUDGES, UNDECODABLE_MESSAGES, NudgeSource
from worker.errors import translated
from worker.records import JobId

QUEUE = "jobs"
ACTOR = "advance"

RECONCILE_EVERY = timedelta(seconds=30)
DEAD_MESSAGE_LIFETIME = timedelta(hours=1)
HEARTBEAT_TIMEOUT = timedelta(seconds=60)
IDLE_WAIT = timedelta(milliseconds=500)
"""How long an idle consumer lets Redis hold its question; bounds how much later a stopping worker is gone."""

log = structlog.get_logger(__name__)


class NudgeBroker(RedisBroker):
    """A Redis broker without middleware: the job record does what retries, age and time limits would do."""

    def __init__(self, client: redis.Redis, *, namespace: str = "dayfly") -> None:
        super().__init__(
            client=client,
            middleware=[],
            namespace=f"{namespace}:broker",
            # Only `restore_abandoned` does it: the script lists every key of the database, which no other role may.
            maintenance_chance=0,
            heartbeat_timeout=int(HEARTBEAT_TIMEOUT.total_seconds() * 1000),
            dead_message_ttl=int(DEAD_MESSAGE_LIFETIME.total_seconds() * 1000),
        )
        # Redis ids handed to this process and not yet acknowledged, by queue. Shared by successive consumers of a
        # queue, because a consumer is replaced after each connection error while its messages are still worked on.
        self.handed: dict[str, set[str]] = defaultdict(set)

    @property
    def consumer_class(self) -> type[NudgeConsumer]:
        return NudgeConsumer

    def nudge(self, job_id: JobId, source: NudgeSource, *, delay: timedelta = timedelta()) -> None:
        """
        Ask some worker to move a job on, after `delay`.

        Raises:
            ServerUnavailableError: Redis cannot be reached. The sweeper nudges the job later.
        """
        message: Message[Any] = Message(queue_name=QUEUE, actor_name=ACTOR, args=(job_id,), kwargs={}, options={})
        with translated():
            self.enqueue(message, delay=int(delay.total_seconds() * 1000) or None)
        NUDGES.labels(source=source).inc()

    def restore_abandoned(self) -> int:
        """
        Put messages of dead processes back on their queues and drop old dead letters; dramatiq itself does so by a
        lottery.

        Returns:
            How many messages came back.

        Raises:
            ServerUnavailableError: Redis cannot be reached.
        """
        restored = 0
        chance, self.maintenance_chance = self.maintenance_chance, MAINTENANCE_SCALE
        try:
            with translated():
                for queue in (QUEUE, dq_name(QUEUE)):
                    before: Any = self.client.llen(f"{self.namespace}:{queue}")
                    self.do_qsize(queue)
                    after: Any = self.client.llen(f"{self.namespace}:{queue}")
                    restored += max(0, after - before)
        finally:
            self.maintenance_chance = chance
        return restored

    def lengths(self) -> dict[str, int]:
        """
        Count messages: waiting and in work (`jobs`), delayed (`jobs.DQ`), dead (`jobs.XQ`).

        Raises:
            ServerUnavailableError: Redis cannot be reached.
        """
        names = (QUEUE, dq_name(QUEUE), f"{QUEUE}.XQ")
        with translated():
            return {name: int(self.client.hlen(f"{self.namespace}:{name}.msgs")) for name in names}


class NudgeConsumer(_RedisConsumer):
    """A consumer that survives undecodable payloads and lost answers, and gives back what it was never handed."""

    def __init__(self, broker: NudgeBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        super().__init__(broker, queue_name, prefetch, timeout)
        self._handed = broker.handed[queue_name]
        if queue_name.endswith(".DQ"):
            # Delayed messages live in the consumer thread, which drops them with its old consumer.
            self._handed.clear()
        self._suspects: set[str] = set()
        self._reconcile_at = time.monotonic()
        self._found_nothing = False

    def __next__(self) -> Any:
        try:
            if time.monotonic() >= self._reconcile_at:
                self._reconcile()
            if self._found_nothing and not self.message_cache and self.outstanding_message_count < self.prefetch:
                self._wait_for_nudge()
            proxy = super().__next__()
        except DecodeError:
            # The id of the payload is not known here; `_reconcile` finds and buries it.
            UNDECODABLE_MESSAGES.inc()
            log.warning("undecodable message", queue=self.queue_name)
            return None
        except (redis.ConnectionError, redis.TimeoutError) as error:
            # The server may have handed messages out: they come back through `_reconcile`.
            raise ConnectionClosed(error) from None
        # Delayed messages are never urgent, and the thread that looks for them must also look at those it has.
        self._found_nothing = proxy is None and not self.queue_name.endswith(".DQ")
        if proxy is not None:
            self._handed.add(proxy.options["redis_message_id"])
        return proxy

    def _wait_for_nudge(self) -> None:
        """Wait until the queue is not empty, or for `IDLE_WAIT`. Nothing is taken: the first id is put where it was."""
        queue = f"{self.broker.namespace}:{self.queue_name}"
        self.broker.client.blmove(queue, queue, IDLE_WAIT.total_seconds(), "LEFT", "LEFT")
        # The shortest of dramatiq's pauses follows when another worker was faster.
        self.misses = 0

    def ack(self, message: dramatiq.MessageProxy) -> None:
        self._settle(super().ack, message)

    def nack(self, message: dramatiq.MessageProxy) -> None:
        self._settle(super().nack, message)

    def requeue(self, messages: Any) -> None:
        messages = list(messages)
        super().requeue(messages)
        self._handed.difference_update(message.options["redis_message_id"] for message in messages)

    def _settle(self, settle: Any, message: dramatiq.MessageProxy) -> None:
        try:
            settle(message)
        except redis.RedisError as error:
            # Dramatiq tries again after this and after nothing else: a message it gives up on stays in the queue's
            # length for as long as this process lives.
            raise ConnectionClosed(error) from None
        self._handed.discard(message.options["redis_message_id"])

    def _reconcile(self) -> None:
        """Give back ids in this process's ack set that it does not hold; bury those whose payload cannot be read."""
        self._reconcile_at = time.monotonic() + RECONCILE_EVERY.total_seconds()
        acks = f"{self.broker.namespace}:__acks__.{self.broker.broker_id}.{self.queue_name}"
        fetched = {value.decode() for value in self.broker.client.smembers(acks)}
        cached = {_redis_id(payload) for payload in self.message_cache}
        strangers = fetched - self._handed - cached
        # An id may be between the server's answer and `_handed`; only one that is strange twice in a row is.
        confirmed, self._suspects = strangers & self._suspects, strangers
        for redis_id in confirmed:
            payload = self.broker.client.hget(f"{self.broker.namespace}:{self.queue_name}.msgs", redis_id)
            if payload is not None and _redis_id(payload) is None:
                self.broker.do_nack(self.queue_name, redis_id)
            else:
                self.broker.do_requeue(self.queue_name, redis_id)


def _redis_id(payload: bytes | None) -> str | None:
    if payload is None:
        return None
    try:
        redis_id: str = Message.decode(payload).options["redis_message_id"]
    except (DecodeError, KeyError):
        return None
    return redis_id
