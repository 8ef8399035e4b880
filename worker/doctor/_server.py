"""Redis: whether it keeps what it is given, for as long as it should, and agrees about the time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import redis

from worker.doctor._findings import Finding, broken, ok, warning
from worker.embedded import find_server
from worker.errors import ServerUnavailableError
from worker.settings import Settings

OLDEST_VERSION: Final = (6, 2)
GOOD_VERSION: Final = (7, 2)

CLOCK_WARNING_SECONDS: Final = 2.0
CLOCK_BROKEN_SECONDS: Final = 60.0
"""Deadlines are set by the clocks of web tier and workers and enforced by that of Redis."""


def server(name: str, client: redis.Redis, settings: Settings) -> list[Finding]:
    """Look at one server."""
    try:
        info: Mapping[str, Any] = client.info()
        return [*_checks(name, client, info, settings)]
    except redis.RedisError as error:
        sentence = str(ServerUnavailableError.from_redis(error, name))
        return [broken(f"{name} answers", "cannot be examined", sentence, "P4")]


def _checks(name: str, client: redis.Redis, info: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    yield _version(name, info)
    if settings.embedded:
        yield ok(f"{name} program", str(find_server()))
    yield _role(name, info)
    yield persistence(name, info, _fsync(client))
    yield eviction(name, info)
    yield memory(name, info)
    yield _clock(name, client)


def _version(name: str, info: Mapping[str, Any]) -> Finding:
    check = f"{name} version"
    # Valkey reports an old Redis version beside its own for the sake of clients.
    product = "Valkey" if "valkey_version" in info else "Redis"
    text = str(info.get("valkey_version") or info.get("redis_version") or "0")
    number = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
    if number < OLDEST_VERSION:
        return broken(check, f"{product} {text}", "use Valkey or Redis 7.2 or newer", "P3")
    if number < GOOD_VERSION:
        return warning(check, f"{product} {text}", "Valkey or Redis 7.2 can confirm that a write is on disk", "P6")
    return ok(check, f"{product} {text}")


def _role(name: str, info: Mapping[str, Any]) -> Finding:
    role = str(info.get("role", "unknown"))
    if role != "master":
        return broken(f"{name} role", role, "point the setting at the primary", "P3")
    return ok(f"{name} role", "primary")


def _fsync(client: redis.Redis) -> str | None:
    try:
        found: Any = client.config_get("appendfsync")
    except redis.RedisError:
        # Hosted servers often forbid CONFIG.
        return None
    return next((_text(value) for value in found.values()), None)


def persistence(name: str, info: Mapping[str, Any], fsync: str | None) -> Finding:
    """Judge whether jobs and tombstones survive a restart of the server."""
    check = f"{name} persistence"
    if not int(info.get("aof_enabled", 0)):
        saves = int(info.get("rdb_last_save_time", 0)) and int(info.get("rdb_saves", 0))
        found = "snapshots only" if saves else "no append-only file"
        return broken(check, found, "set 'appendonly yes': without it a restart loses accepted jobs", "P6")
    if _text(info.get("aof_last_write_status", "ok")) != "ok":
        return broken(check, "the append-only file cannot be written", "free or repair the server's disk", "P6")
    if fsync == "no":
        return warning(check, "append-only, never synced", "set 'appendfsync everysec'", "P6")
    return ok(check, f"append-only, synced {fsync or 'as the host decides'}", "P6")


def eviction(name: str, info: Mapping[str, Any]) -> Finding:
    """Judge whether the server may drop keys to make room."""
    check = f"{name} eviction"
    policy = _text(info.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        return ok(check, policy, "P6")
    advice = "set 'maxmemory-policy noeviction': a full server must refuse writes instead of dropping jobs and keys"
    if int(info.get("maxmemory", 0)) == 0:
        return warning(check, f"{policy}, without a memory limit", advice, "P6")
    return broken(check, policy, advice, "P6")


def memory(name: str, info: Mapping[str, Any]) -> Finding:
    """Judge how much room the server has left."""
    check = f"{name} memory"
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not limit:
        return ok(check, f"{used >> 20} MiB used, no limit")
    found = f"{used >> 20} of {limit >> 20} MiB used"
    return warning(check, found, "raise maxmemory", "P6") if used > 0.8 * limit else ok(check, found)


def _clock(name: str, client: redis.Redis) -> Finding:
    before = time.time()
    answer: Any = client.time()
    after = time.time()
    return clock(name, answer[0] + answer[1] / 1e6 - (before + after) / 2)


def clock(name: str, difference: float) -> Finding:
    """Judge how far the server's clock is from this machine's, in seconds."""
    check = f"{name} clock"
    found = f"{difference:+.3f} s from this machine's"
    advice = "run a time service (chrony, systemd-timesyncd) on both machines"
    if abs(difference) >= CLOCK_BROKEN_SECONDS:
        return broken(check, found, advice, "P4")
    return warning(check, found, advice, "P4") if abs(difference) >= CLOCK_WARNING_SECONDS else ok(check, found, "P4")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
