"""Talk to the key store's Redis: names of keys, scripts, and the boundary that its exceptions do not cross."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import redis
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TimeoutError,
)

from storage.errors import (
    NotReplicatedError,
    StorageError,
    StoreConfigError,
    StoreFullError,
    StoreUnavailableError,
)
from storage.names import ObjectClass
from storage.replication import REPLICA_TIMEOUT, run_on_replicas

_SCRIPTS: Final = Path(__file__).with_name("lua")
_PERSIST_MILLISECONDS: Final = 1500

# Lost in a failover, the first would leave ciphertext that nothing opens, the second a key that was destroyed, the
# third an object that dies too early or too late.
_REPLICATED: Final = frozenset({"create", "shred", "extend"})


def to_ms(moment: datetime) -> int:
    """
    Return *moment* in milliseconds since 1970.

    Raises:
        ValueError: It has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone")
    return int(moment.timestamp() * 1000)


def from_ms(milliseconds: bytes | int | float) -> datetime:
    """Return the moment *milliseconds* after 1970, aware, in UTC."""
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


@contextmanager
def redis_errors() -> Iterator[None]:
    """
    Turn the exceptions of Redis into this room's.

    They are not chained: redis-py writes a failed command's arguments into the message of some of them, and a wrapped
    key may be among these.
    """
    try:
        yield
    except (AuthenticationError, NoPermissionError):
        raise StoreConfigError(
            "The key store refuses these credentials or this command; check the user and its permissions."
        ) from None
    except OutOfMemoryError:
        raise StoreFullError(
            "The key store has no memory left; raise its maxmemory or wait for objects to be shredded."
        ) from None
    except ReadOnlyError:
        raise StoreUnavailableError("The key store is read-only: a replica that is not promoted yet.") from None
    except (ConnectionError, TimeoutError) as error:
        raise StoreUnavailableError(
            f"The key store cannot be reached ({type(error).__name__}); check that Redis runs and its address."
        ) from None
    except RedisError as error:
        text = str(error)
        if "MISCONF" in text:
            raise StoreFullError(
                "The key store cannot write to its disk and refuses writes; free space on its disk, see its log."
            ) from None
        raise StorageError(
            f"The key store answered with an error ({type(error).__name__}, {text.partition(' ')[0][:24]!r})."
        ) from None


@lru_cache(maxsize=1)
def _sources() -> dict[str, str]:
    return {file.stem: file.read_text(encoding="utf-8") for file in _SCRIPTS.glob("*.lua")}


class KeyStoreConnection:
    """The names, the scripts and the client shared by everything that uses one key store."""

    def __init__(self, client: redis.Redis, namespace: str, replicas: int = 0) -> None:
        if client.get_encoder().decode_responses:
            raise StoreConfigError("The key store holds binary keys; open its client with decode_responses=False.")
        # redis-py types its answers as str or bytes at every depth; with this client they are bytes.
        self.client: Any = client
        self.namespace = namespace
        self.replicas = replicas
        self._scripts = {name: client.register_script(text) for name, text in _sources().items()}
        self.outbox = self.key("outbox")
        self.doomed = self.key("doomed")
        self.counts = self.key("counts")
        self.cut = self.key("outbox-cut")

    def key(self, *parts: str) -> str:
        """Return the name of a Redis key in this namespace."""
        return ":".join((self.namespace, *parts))

    def row(self, oid: str) -> str:
        """Return the name of an object's key row."""
        return f"{self.namespace}:key:{oid}"

    def tombstone(self, oid: str) -> str:
        """Return the name of an object's tombstone."""
        return f"{self.namespace}:tomb:{oid}"

    def live(self, object_class: ObjectClass) -> str:
        """Return the name of the index of live objects of a class, by deadline."""
        return f"{self.namespace}:live:{object_class.value}"

    def root(self, object_class: ObjectClass) -> str:
        """Return the name of the record of a class's roots: public halves and numbers only."""
        return f"{self.namespace}:root:{object_class.value}"

    def asked(self, object_class: ObjectClass) -> str:
        """Return the name of the number of the root that somebody last asked to replace at once."""
        return f"{self.namespace}:asked:{object_class.value}"

    def run(self, script: str, keys: Sequence[str], arguments: Sequence[str | int | bytes]) -> Any:
        """
        Run one of the scripts in `lua/`, atomically.

        Raises:
            StoreUnavailableError: Redis cannot be reached.
            NotReplicatedError: Too few replicas have the change, which is made all the same; call again.
            StoreFullError: Redis has no room.
            StoreConfigError: Redis refuses the credentials.
        """
        if not self.replicas or script not in _REPLICATED:
            with redis_errors():
                return self._scripts[script](keys=keys, args=arguments)
        with redis_errors():
            answer, reached = run_on_replicas(
                self.client,
                self._scripts[script],
                keys,
                arguments,
                mark=self.key("persisted"),
                replicas=self.replicas,
            )
        self._check_replicas(reached)
        return answer

    def _check_replicas(self, reached: int) -> None:
        if reached < self.replicas:
            raise NotReplicatedError("key store", reached, self.replicas, REPLICA_TIMEOUT)

    def persist(self) -> bool:
        """
        Wait until everything written so far is on Redis' disk and with its replicas; say whether the former is known.

        Without an append-only file, or before Redis 7.2, nobody can know: what was written lives as long as Redis does.

        Raises:
            StoreUnavailableError: Redis cannot be reached.
            NotReplicatedError: Too few replicas have it.
        """
        with redis_errors():
            pipeline = self.client.pipeline(transaction=False)
            # WAITAOF counts only writes of its own connection; this one stands behind all earlier ones.
            pipeline.incr(self.key("persisted"))
            pipeline.execute_command("WAITAOF", 1, 0, _PERSIST_MILLISECONDS)
            if self.replicas:
                pipeline.wait(self.replicas, int(REPLICA_TIMEOUT / timedelta(milliseconds=1)))
            written, answer, *reached = pipeline.execute(raise_on_error=False)
            for found in (written, *reached):
                if isinstance(found, Exception):
                    raise found
        if reached:
            self._check_replicas(int(reached[0]))
        return isinstance(answer, list) and bool(answer[0])
