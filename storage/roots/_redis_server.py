"""
Look at a Redis that is to hold roots: whether it forgets them, and whether nobody drops them too soon.

Each thing that is wrong is answered with the exact command that puts it right. What the user may not read is named,
because a promise nobody checked must be known to be one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import redis
from redis.exceptions import ConnectionError, NoPermissionError, RedisError, ResponseError, TimeoutError

_WANTED: Final = {
    "appendonly": frozenset({"no"}),
    "save": frozenset({""}),
    "maxmemory-policy": frozenset({"noeviction"}),
    # A slow command stands in the slow log with its arguments, a root among them, until others push it out.
    "slowlog-log-slower-than": frozenset({"-1"}),
}
_OF_A_PRIMARY: Final = {"repl-diskless-sync": frozenset({"yes"})}
_OF_A_REPLICA: Final = {
    "appendonly": frozenset({"no"}),
    "save": frozenset({""}),
    "repl-diskless-load": frozenset({"on-empty-db", "swapdb", "flush-before-load"}),
}
_CLEARER: Final = {"save": "CONFIG SET save ''", "repl-diskless-load": "CONFIG SET repl-diskless-load on-empty-db"}
_TIMEOUT: Final = 5


@dataclass(slots=True)
class ServerReport:
    """
    What was found.

    Attributes:
        changes: What must be changed before the server may hold a root.
        unchecked: What this user may not read.
    """

    changes: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)


def examine(client: redis.Redis) -> ServerReport:
    """
    Examine the server behind *client* and its replicas.

    Raises:
        RedisError: It cannot be reached, or refuses the credentials.
    """
    report = ServerReport()
    replication = _info(client, "replication")
    if replication is None:
        report.unchecked.append("INFO replication (whether it has replicas that write to a disk)")
        replication = {}
    elif replication.get("role") != "master":
        report.changes.append("it is a replica: give the address of its primary")
    fallbacks = _fallbacks(client)
    replicas = [value for name, value in replication.items() if name.startswith("slave") and isinstance(value, dict)]
    for name, allowed in (_WANTED | (_OF_A_PRIMARY if replicas else {})).items():
        found = _setting(client, name)
        if found is None:
            found = fallbacks.get(name)
        if found is None:
            report.unchecked.append(f"CONFIG GET {name}")
        elif found not in allowed:
            report.changes.append(_change(name, allowed))
    for replica in replicas:
        report.changes += _replica_changes(client, str(replica["ip"]), int(replica["port"]))
    return report


def _replica_changes(client: redis.Redis, host: str, port: int) -> Iterator[str]:
    place = f"its replica {host}:{port}"
    known = client.connection_pool.connection_kwargs
    secured = issubclass(client.connection_pool.connection_class, redis.SSLConnection)
    options = {name: value for name, value in known.items() if name.startswith("ssl_")} if secured else {}
    options |= {name: known.get(name) for name in ("username", "password")}
    replica = redis.Redis(
        host=host, port=port, ssl=secured, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, **options
    )
    try:
        for name, allowed in _OF_A_REPLICA.items():
            found = _setting(replica, name)
            if found is None:
                yield f"let this user run CONFIG GET on {place}, or remove the replica"
                return
            if found not in allowed:
                yield f"on {place}: {_change(name, allowed)}"
    except RedisError:
        # It may write to a disk, and nobody here can know.
        yield f"remove {place}, which cannot be examined from here"
    finally:
        replica.close()


def _change(name: str, allowed: frozenset[str]) -> str:
    return _CLEARER.get(name) or f"CONFIG SET {name} {next(iter(allowed))}"


def _info(client: redis.Redis, section: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = client.info(section)
    except (NoPermissionError, ResponseError) as error:
        _raise_if_away(error)
        return None
    return found


def _fallbacks(client: redis.Redis) -> dict[str, str]:
    """What INFO says of the settings, where CONFIG is forbidden, as with many hosted servers."""
    persistence, memory = _info(client, "persistence") or {}, _info(client, "memory") or {}
    found = {}
    if "aof_enabled" in persistence:
        found["appendonly"] = "yes" if persistence["aof_enabled"] else "no"
    if "maxmemory_policy" in memory:
        found["maxmemory-policy"] = str(memory["maxmemory_policy"])
    return found


def _setting(client: redis.Redis, name: str) -> str | None:
    try:
        found: dict[Any, Any] = client.config_get(name)
    except (NoPermissionError, ResponseError) as error:
        _raise_if_away(error)
        return None
    return next((value.decode() if isinstance(value, bytes) else str(value) for value in found.values()), None)


def _raise_if_away(error: RedisError) -> None:
    """Take a refusal of one command for what it is; an unreachable server is something else."""
    if isinstance(error, (ConnectionError, TimeoutError)):
        raise error
