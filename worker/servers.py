"""Connections to the servers of a deployment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import redis
from pydantic import SecretStr
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.addresses import RedisAddress, close
from worker.embedded import EmbeddedServer
from worker.errors import ServerUnavailableError
from worker.home import private_home
from worker.settings import Settings

REDIS_TIMEOUT: Final = timedelta(seconds=15)
"""Longer than a server's pause for a snapshot or a fork, shorter than a worker's lease."""


def open_redis(url: SecretStr, setting: str) -> redis.Redis:
    """
    Connect to a Redis and see that it answers.

    Raises:
        ServerUnavailableError: It does not; names the place and the setting.
    """
    address = RedisAddress.parse(url.get_secret_value())
    client = address.client(
        socket_timeout=REDIS_TIMEOUT.total_seconds(),
        socket_connect_timeout=5,
        health_check_interval=30,
        # A command repeated behind our back might be one that had been applied; who calls decides.
        retry=Retry(NoBackoff(), 0),
        decode_responses=False,
    )
    try:
        client.ping()
    except redis.RedisError as error:
        close(client)
        place = f"Redis at {address.place} ({setting})"
        raise ServerUnavailableError.from_redis(error, place) from error
    return client


@dataclass(frozen=True, slots=True)
class Clients:
    """The servers of a deployment; the same client twice if it is one server."""

    main: redis.Redis
    keys: redis.Redis


@contextmanager
def connected(settings: Settings) -> Iterator[Clients]:
    """
    Connect to the servers that are set, or to the private one, until the block ends.

    Raises:
        ServerUnavailableError: One cannot be reached, or the private server cannot be started.
    """
    with ExitStack() as stack:
        if settings.redis_url is None:
            server = stack.enter_context(EmbeddedServer.join(private_home(settings)))
            client = open_redis(SecretStr(server.url), "the private server")
        else:
            client = open_redis(settings.redis_url, "DAYFLY_REDIS_URL")
        stack.callback(close, client)
        keys = client
        if settings.keys_url is not None:
            keys = open_redis(settings.keys_url, "DAYFLY_KEYS_URL")
            stack.callback(close, keys)
        yield Clients(client, keys)


def on_this_machine(url: SecretStr | None) -> bool:
    """Say whether a server can only be on this machine; None is the private one."""
    return url is None or RedisAddress.parse(url.get_secret_value()).local
