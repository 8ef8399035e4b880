"""Redis: whether it keeps what it is given, for as long as it should, and agrees about the time."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import redis
from pydantic import SecretStr

from worker.addresses import RedisAddress
from worker.doctor._findings import Finding, Verdict, broken, ok, warning
from worker.embedded import find_server
from worker.errors import ServerUnavailableError
from worker.settings import Settings

OLDEST_VERSION: Final = (7, 0)
"""The first that tells a script when a key expires (`PEXPIRETIME`), and has ACL selectors."""
GOOD_VERSION: Final = (7, 2)

CLOCK_WARNING_SECONDS: Final = 2.0
CLOCK_BROKEN_SECONDS: Final = 60.0
"""Deadlines are set by the clocks of web tier and workers and enforced by that of Redis."""

LAG_SECONDS: Final = 5
LAG_BYTES: Final = 16 << 20

FULL: Final = 0.8


def transport(name: str, url: SecretStr | None) -> Finding:
    """Judge whether somebody between this machine and the server can listen."""
    check = f"{name} transport"
    if url is None:
        return ok(check, "unix socket", "P1")
    address = RedisAddress.parse(url.get_secret_value())
    if address.secured:
        return ok(check, "TLS" if not address.place.startswith("/") else "unix socket", "P1")
    if address.local:
        return ok(check, "this machine", "P1")
    return warning(check, "in clear", "use rediss://: passwords, wrapped keys and records can be read on the way", "P1")


def server(name: str, client: redis.Redis, settings: Settings) -> list[Finding]:
    """Look at one server."""
    try:
        info: Mapping[str, Any] = client.info()
        return [*_checks(name, client, info, settings)]
    except redis.RedisError as error:
        sentence = str(ServerUnavailableError.from_redis(error, name))
        return [broken(f"{name} answers", "cannot be examined", sentence, "P4")]


def _checks(name: str, client: redis.Redis, info: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    if settings.embedded:
        yield ok(f"{name} program", str(find_server()))
    yield from told_by_info(name, info, settings, _fsync(client))
    yield _clock(name, client)


def told_by_info(name: str, info: Mapping[str, Any], settings: Settings, fsync: str | None = None) -> Iterator[Finding]:
    """Judge what the server says of itself, which needs no right but `INFO`."""
    yield _version(name, info)
    yield _role(name, info)
    yield persistence(name, info, fsync)
    yield eviction(name, info)
    yield memory(name, info)
    yield replicas(name, info, settings.replicas)


def breaks_at_once(finding: Finding, name: str) -> bool:
    """Say whether a process must not even start on a server of which this was found."""
    at_once = {f"{name} {what}" for what in ("version", "role", "eviction")}
    return finding.verdict is Verdict.BROKEN and finding.check in at_once


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
        return warning(check, "append-only, never synced", "set 'appendfsync always', or at least 'everysec'", "P6")
    if fsync == "everysec":
        # While a sync is running it puts even the write off, so a mere kill can lose as much as a power failure.
        lost = "a killed server may lose 2 s of what it has acknowledged; 'appendfsync always' loses nothing"
        return ok(check, f"append-only, synced every second: {lost}", "P6")
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
    if limit:
        found, most, advice = f"{used >> 20} of {limit >> 20} MiB used", limit, "raise maxmemory"
    else:
        most = int(info.get("total_system_memory", 0))
        found, advice = f"{used >> 20} MiB used, no limit", "give the machine more memory, or the server a maxmemory"
    return warning(check, found, advice, "P6") if most and used > FULL * most else ok(check, found)


def replicas(name: str, info: Mapping[str, Any], wanted: int) -> Finding:
    """Judge whether there are as many replicas as must confirm a change, and whether they keep up."""
    check = f"{name} replicas"
    found = [value for key, value in info.items() if re.fullmatch(r"slave\d+", key) and isinstance(value, Mapping)]
    online = [replica for replica in found if replica.get("state") == "online"]
    if len(online) < wanted:
        advice = f"start replicas or lower DAYFLY_REPLICAS: until {wanted} confirm them, jobs and keys are refused"
        return warning(check, f"{len(online)} of {wanted} that must confirm", advice, "P6")
    at = int(info.get("master_repl_offset", 0))
    late = [replica for replica in online if _behind(replica, at)]
    if late or len(online) < len(found):
        text = f"{len(found)}, of which {len(found) - len(online)} not in step and {len(late)} behind"
        return warning(check, text, "see their logs; what they lack is lost if they are promoted", "P6")
    return ok(check, f"{len(online)} in step" if online else "none", "P6")


def _behind(replica: Mapping[str, Any], at: int) -> bool:
    return int(replica.get("lag", 0)) > LAG_SECONDS or at - int(replica.get("offset", at)) > LAG_BYTES


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
