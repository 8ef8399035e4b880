"""
Keep roots in a Redis of their own that writes nothing to a disk: the store that several hosts share.

    roots = open_root_store("rediss://dayfly:password@roots.internal:6379/0?ssl_ca_certs=/etc/dayfly/ca.pem")

The server itself lets a root go at its deadline. It is examined when the store is opened and again before every new
root: persistence, an evicting memory policy, a slow log, or a replica with a disk is refused with the command that
changes it. Two pools on one server take two database numbers.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TimeoutError,
)
from redis.retry import Retry

from storage._key_material import wiped
from storage.errors import RootLostError, StorageError, StoreConfigError, StoreFullError, StoreUnavailableError
from storage.names import ObjectClass
from storage.roots._redis_server import examine

_TIMEOUT: Final = 5
_CONNECT_TIMEOUT: Final = 3
# In place and in one step, so that what the allocator gets back no longer holds the root.
# The root stands padded in its value: the server packs short strings with their key, and copies those to change them.
_VALUE_BYTES: Final = 1024
_LENGTH_BYTES: Final = 2
_FORGET: Final = """
local size = redis.call('STRLEN', KEYS[1])
if size > 0 then redis.call('SETRANGE', KEYS[1], 0, string.rep('\\0', size)) end
return redis.call('DEL', KEYS[1])
"""


class RedisRootStore:
    """
    A root store in a dedicated Redis or Valkey. Opening it connects to the server and examines it.

    Raises:
        StoreConfigError: The address is wrong, the credentials are refused, or the server would keep roots.
        StoreUnavailableError: The server cannot be reached.
    """

    name: Final = "redis"
    residue_class: Final = "volatile-server"
    bound: Final = (
        "The Redis server refuses a root from the millisecond of its deadline, with no process of ours alive. A "
        "destroyed root is overwritten and deleted at once; copies in the server's network buffers last until these "
        "are used again. Nothing survives a restart of the server. Who may run MONITOR, SAVE, CONFIG or REPLICAOF "
        "there can copy roots, and so can swap, core files and snapshots of its memory."
    )

    def __init__(self, url: str) -> None:
        self._place = _place(url)
        try:
            # Unlike the key store's client, this one reads only bytes and never repeats a command behind our back.
            self._client: Any = redis.Redis.from_url(
                url,
                socket_timeout=_TIMEOUT,
                socket_connect_timeout=_CONNECT_TIMEOUT,
                retry=Retry(NoBackoff(), 0),
                decode_responses=False,
            )
            pool = self._client.connection_pool
            # An option it does not know would otherwise be told by the first command.
            pool.connection_class(**pool.connection_kwargs)
        except (ValueError, TypeError):
            raise StoreConfigError(
                f"The address of the root store {self._place} has a part that Redis does not understand."
            ) from None
        self._forget = self._client.register_script(_FORGET)
        self._unchecked: list[str] = []
        self._examine()

    def put(self, object_class: ObjectClass, epoch: int, secret: bytearray, lifetime: timedelta) -> None:
        # Somebody may have turned persistence on since the start: no new root goes to such a server.
        self._examine()
        self._set(_key(object_class.value, epoch), secret, lifetime)

    def get(self, object_class: ObjectClass, epoch: int) -> bytearray:
        with self._translated():
            found: bytes | None = self._client.get(_key(object_class.value, epoch))
        if found is None:
            raise self._lost(object_class, epoch)
        return _unpadded(found)

    def renew(self, object_class: ObjectClass, epoch: int, lifetime: timedelta) -> None:
        with self._translated():
            alive = self._client.pexpire(_key(object_class.value, epoch), _milliseconds(lifetime))
        if not alive:
            raise self._lost(object_class, epoch)

    def destroy(self, object_class: ObjectClass, epoch: int) -> None:
        with self._translated():
            self._forget(keys=[_key(object_class.value, epoch)])

    def epochs(self, object_class: ObjectClass) -> list[int]:
        prefix = _key(object_class.value, "").encode()
        with self._translated():
            names = set(self._client.scan_iter(match=prefix + b"*", count=1000))
        return sorted(int(name[len(prefix) :]) for name in names if name[len(prefix) :].isdigit())

    def expire(self) -> int:
        return 0

    def check(self) -> None:
        self._examine()
        probe = _key(f"check-{secrets.token_hex(4)}", 0)
        with wiped(bytearray(secrets.token_bytes(96))) as secret:
            self._set(probe, secret, timedelta(seconds=30))
            with self._translated():
                found = self._client.get(probe)
                self._forget(keys=[probe])
            if found is None or _unpadded(found) != secret:
                raise StoreConfigError(f"The root store {self._place} does not give back what is put in it.")

    def remarks(self) -> list[str]:
        if not self._unchecked:
            return []
        remark = (
            f"The user of the root store {self._place} may not run {', '.join(self._unchecked)}, so nobody here knows "
            "whether that server writes roots to a disk or keeps them in its slow log; allow +config|get and +info."
        )
        return [remark]

    def _examine(self) -> None:
        with self._translated():
            report = examine(self._client)
        self._unchecked = report.unchecked
        if report.changes:
            raise StoreConfigError(
                f"The Redis at {self._place} must not hold roots as it is: {'; '.join(report.changes)} "
                "(and the same in its configuration file, for after a restart)."
            )

    def _set(self, key: str, secret: bytearray, lifetime: timedelta) -> None:
        with self._translated(), wiped(bytearray(_VALUE_BYTES)) as value:
            value[:_LENGTH_BYTES] = len(secret).to_bytes(_LENGTH_BYTES, "big")
            value[_LENGTH_BYTES : _LENGTH_BYTES + len(secret)] = secret
            self._client.set(key, value, px=_milliseconds(lifetime))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        # Not chained: a message of redis-py may quote a command's arguments, and a root may be among these.
        try:
            yield
        except (AuthenticationError, NoPermissionError):
            raise StoreConfigError(
                f"The root store {self._place} refuses these credentials or a command of this user."
            ) from None
        except OutOfMemoryError:
            raise StoreFullError(f"The root store {self._place} has no memory left; raise its maxmemory.") from None
        except ReadOnlyError:
            raise StoreUnavailableError(
                f"The root store {self._place} is a replica that is not promoted yet."
            ) from None
        except (ConnectionError, TimeoutError) as error:
            raise StoreUnavailableError(
                f"The root store {self._place} cannot be reached ({type(error).__name__}); check that it runs."
            ) from None
        except RedisError as error:
            raise StorageError(f"The root store {self._place} answered with {type(error).__name__}.") from None

    def _lost(self, object_class: ObjectClass, epoch: int) -> RootLostError:
        return RootLostError(
            f"The root of epoch {epoch} of class {object_class.value} is not in the root store {self._place}: it was "
            "destroyed, ran out, or went with a restart of that server."
        )


def _key(object_class: str, epoch: int | str) -> str:
    return f"dayfly:root-secret:{object_class}:{epoch}"


def _unpadded(value: bytes) -> bytearray:
    length = int.from_bytes(value[:_LENGTH_BYTES], "big")
    return bytearray(memoryview(value)[_LENGTH_BYTES : _LENGTH_BYTES + length])


def _milliseconds(lifetime: timedelta) -> int:
    return max(1, int(lifetime / timedelta(milliseconds=1)))


def _place(url: str) -> str:
    """Say where the server is, without its user, password and options."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return unquote(parts.path)
    try:
        port = parts.port or 6379
    except ValueError:
        raise StoreConfigError("The port of the root store's address is not a number from 0 to 65535.") from None
    return f"{parts.hostname}:{port}"
