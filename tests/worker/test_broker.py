"""Nudges that would be stranded inside a live worker come back or are buried; no job is stranded by one."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import dramatiq
import pytest
import redis
from dramatiq.errors import ConnectionClosed

from metrics.instruments import NudgeSource
from tests.harness import eventually
from worker import broker as broker_module
from worker.broker import QUEUE, NudgeBroker
from worker.records import JobId

JOB = JobId("d" * 32)


@pytest.fixture
def broker(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> NudgeBroker:
    monkeypatch.setattr(broker_module, "RECONCILE_EVERY", timedelta(0))
    monkeypatch.setattr(broker_module, "IDLE_WAIT", timedelta(milliseconds=1))
    broker = NudgeBroker(client)
    broker.declare_queue(QUEUE)
    return broker


def take(broker: NudgeBroker, rounds: int = 8) -> list[dramatiq.MessageProxy]:
    consumer = broker.consume(QUEUE, prefetch=20, timeout=1)
    return [message for message in (next(consumer) for _ in range(rounds)) if message is not None]


def acks(broker: NudgeBroker) -> int:
    return int(broker.client.scard(f"{broker.namespace}:__acks__.{broker.broker_id}.{QUEUE}"))


def test_a_message_carries_the_job_id_and_nothing_else(broker: NudgeBroker) -> None:
    broker.nudge(JOB, NudgeSource.SUBMIT)

    (message,) = take(broker)

    assert message.args == (JOB,)
    assert message.kwargs == {}
    assert set(message.options) == {"redis_message_id"}


def test_good_messages_beside_an_undecodable_one_are_all_delivered_and_it_is_buried(broker: NudgeBroker) -> None:
    broker.do_enqueue(QUEUE, "bad-id", b"\xff this is not a message")
    for _ in range(5):
        broker.nudge(JOB, NudgeSource.SUBMIT)

    messages = take(broker, rounds=12)

    assert len(messages) == 5
    assert broker.lengths() == {QUEUE: 5, f"{QUEUE}.DQ": 0, f"{QUEUE}.XQ": 1}
    assert acks(broker) == 5


def test_messages_whose_answer_was_lost_come_back(broker: NudgeBroker) -> None:
    """The server handed them out, the answer never arrived: that is what a socket timeout during a fetch leaves."""
    for _ in range(3):
        broker.nudge(JOB, NudgeSource.SUBMIT)
    broker.do_fetch(QUEUE, 3)
    assert acks(broker) == 3

    assert len(take(broker)) == 3


@pytest.mark.parametrize("answer", [redis.ReadOnlyError, redis.OutOfMemoryError, redis.TimeoutError])
def test_a_message_is_acknowledged_though_the_server_refuses_at_first(
    answer: type[redis.RedisError], broker: NudgeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover, or a full server, passes; dramatiq tries again after a lost connection and gives up on all else."""
    broker.nudge(JOB, NudgeSource.SUBMIT)
    consumer = broker.consume(QUEUE, prefetch=20, timeout=1)
    message = eventually(lambda: next(consumer))
    with monkeypatch.context() as failover:

        def refuse(*_: object) -> None:
            raise answer("not now")

        failover.setattr(broker, "do_ack", refuse)
        with pytest.raises(ConnectionClosed):
            consumer.ack(message)
    consumer.ack(message)

    assert acks(broker) == 0
    assert broker.handed[QUEUE] == set()


def test_messages_being_worked_on_are_not_given_back(broker: NudgeBroker) -> None:
    broker.nudge(JOB, NudgeSource.SUBMIT)
    (message,) = take(broker)

    assert take(broker) == []
    broker.consume(QUEUE, prefetch=1, timeout=1).ack(message)
    assert broker.lengths()[QUEUE] == 0


def test_an_idle_consumer_is_woken_by_a_nudge(
    broker: NudgeBroker, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_module, "IDLE_WAIT", timedelta(seconds=10))
    consumer = broker.consume(QUEUE, prefetch=1, timeout=1)
    assert next(consumer) is None
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(next, consumer)
        eventually(lambda: client.info("clients")["blocked_clients"] == 1, what="the consumer waits in Redis")
        broker.nudge(JOB, NudgeSource.SUBMIT)

        assert taken.result(5).args == (JOB,)


def test_waiting_for_nudges_leaves_their_order_as_it_is(broker: NudgeBroker) -> None:
    jobs = [JobId(f"{number:032x}") for number in range(3)]
    waiting = broker.consume(QUEUE, prefetch=1, timeout=1)
    for job in jobs:
        broker.nudge(job, NudgeSource.SUBMIT)
    waiting._wait_for_nudge()

    assert [message.args[0] for message in take(broker)] == jobs


def test_messages_of_a_dead_process_are_restored(broker: NudgeBroker, client: redis.Redis) -> None:
    broker.nudge(JOB, NudgeSource.SUBMIT)
    take(broker)
    sweepers = NudgeBroker(client)
    assert sweepers.restore_abandoned() == 0, "it is alive"
    client.zadd(f"{broker.namespace}:__heartbeats__", {broker.broker_id: (time.time() - 120) * 1000})

    assert sweepers.restore_abandoned() == 1
    assert len(take(NudgeBroker(client))) == 1
