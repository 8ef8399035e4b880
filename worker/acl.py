"""
Generate the users of the pool's Redis servers: one for each process, each with the least it needs.

    print(acl_file(ServerKind.KEYS, passwords))

A user's rights are put together from what its process does (`storage.permissions` for keys and roots, the tables here
for jobs and messages). Each pattern of keys has its own commands, as selectors of Redis 7: a web tier may read a root's
public half and not change it, may add a job to an index and not list what lives. No user but the administrator's may
run `FLUSHALL`, `CONFIG SET`, `MONITOR`, `DEBUG`, `EVAL`, `SAVE`, `REPLICAOF` or `SHUTDOWN`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final

from storage.permissions import (
    ASK_ROTATION,
    EXTEND,
    HEAL,
    HOLD_ROOTS,
    OPEN,
    READ_FIGURES,
    READ_OUTPUT_ROOTS,
    ROTATE,
    SEAL,
    SHRED,
    SWEEP,
    TRY_ROOTS,
    WRITE_RECEIPTS,
    Work,
)

NAMESPACE: Final = "dayfly"


class ServerKind(StrEnum):
    """What a server holds."""

    ALL = "all"
    """Records, messages and keys: `DAYFLY_REDIS_URL` without `DAYFLY_KEYS_URL`."""
    RECORDS = "records"
    KEYS = "keys"
    ROOTS = "roots"
    """The server of a root store `redis`, which is never one of the others."""


class UserRole(StrEnum):
    """Who connects. The last three are no process of the pool."""

    WEB = "web"
    WORKER = "worker"
    SWEEPER = "sweeper"
    EXPORTER = "exporter"
    WEBHOOKS = "webhooks"
    DOCTOR = "doctor"
    REPLICA = "replica"
    SENTINEL = "sentinel"
    ADMIN = "admin"

    @property
    def user(self) -> str:
        """The name of its Redis user."""
        return f"{NAMESPACE}-{self.value}"


_TELL: Final = frozenset({"time", "publish", "wait"})

_ACCEPT_JOBS: Final = Work(
    {
        "job:*": "exists hset",
        "jobs:open": "zadd",
        "jobs:all": "zadd",
        "jobs:states": "hincrby",
        "jobs:written": "incrby",
        "jobs:erasures": "",
        "subject:*": "zadd pttl pexpire",
    },
    frozenset({"create"}),
    _TELL,
)
_READ_JOBS: Final = Work(
    {"job:*": "hgetall", "jobs:all": "zrevrange", "subject:*": "zrange"},
    keyless=frozenset({"subscribe", "unsubscribe"}),
)
_CANCEL_JOBS: Final = Work(
    {
        "job:*": "hget hmget hgetall hexists hincrby hset hdel pexpire",
        "jobs:open": "zadd zrem",
        "jobs:all": "",
        "jobs:states": "hincrby",
        "jobs:written": "incrby",
        "jobs:erasures": "zadd",
    },
    frozenset({"cancel", "transition", "finish"}),
    _TELL,
)
_MOVE_JOBS: Final = Work(
    _CANCEL_JOBS.commands, frozenset({"claim", "renew", "transition", "note", "release", "finish", "abandon"}), _TELL
)
_LOOK_AFTER_JOBS: Final = Work(
    {"jobs:open": "zrangebyscore zadd", "jobs:erasures": "zrangebyscore zadd"}, frozenset({"due"}), frozenset({"time"})
)
_ERASE_AT_PROVIDERS: Final = Work(
    {"job:*": "exists hget hgetall hincrby hset", "jobs:erasures": "zadd zrem zscore"},
    frozenset({"claim_erasure", "answer_erasure"}),
    frozenset({"time"}),
)
_WAKE_JOBS: Final = Work({"job:*": "hget hexists hset"}, frozenset({"wake"}), frozenset({"time"}))
_PASS_GATES: Final = Work(
    {
        "provider-accounts": "sadd",
        "provider:*:state": "hget hset hsetnx hdel hincrby",
        "provider:*:slots": "zadd zcard zrem zremrangebyscore zscore pexpire pttl",
        "provider:*:waiting": "zadd zcard zrem zremrangebyscore pexpire",
    },
    frozenset({"gate_enter", "gate_keep", "gate_report"}),
    frozenset({"time"}),
)
_WATCH_GATES: Final = Work(
    {
        "provider-accounts": "smembers",
        "provider:*:state": "hgetall",
        "provider:*:slots": "zcount",
        "provider:*:waiting": "zcount",
    }
)
_FORGET_JOBS: Final = Work({"job:*": "exists", "jobs:all": "zrangebyscore zrem"})
_COUNT_JOBS: Final = Work({"jobs:states": "hgetall"})
# The lock of redis-py, with scripts of its own.
_LEAD: Final = Work({"sweeper": "get set del pexpire"}, frozenset({"lock"}))

# Dramatiq's script is given the namespace alone and makes all other names itself.
_DISPATCH: Final = frozenset({"dispatch"})
_NUDGE: Final = Work(
    {
        "broker": "",
        "broker:__heartbeats__": "zadd",
        "broker:jobs": "rpush",
        "broker:jobs.DQ": "rpush",
        "broker:jobs.msgs": "hset",
        "broker:jobs.DQ.msgs": "hset",
    },
    _DISPATCH,
)
_CONSUME: Final = Work(
    {
        "broker": "",
        "broker:__heartbeats__": "zadd",
        "broker:__acks__.*": "sadd srem smembers",
        "broker:jobs": "lpop rpush blmove",
        "broker:jobs.DQ": "lpop rpush blmove",
        "broker:jobs.msgs": "hget hmget hexists hdel",
        "broker:jobs.DQ.msgs": "hget hmget hexists hdel",
        "broker:jobs.XQ": "zadd",
        "broker:jobs.XQ.msgs": "hset",
    },
    _DISPATCH,
)
_RESTORE_MESSAGES: Final = Work(
    {
        "broker": "",
        "broker:__heartbeats__": "zadd zrangebyscore zrem",
        "broker:__acks__.*": "smembers scard del",
        "broker:jobs": "llen rpush",
        "broker:jobs.DQ": "llen rpush",
        "broker:jobs.msgs": "hexists hlen",
        "broker:jobs.DQ.msgs": "hexists hlen",
        "broker:jobs.XQ": "zrangebyscore zrem",
        "broker:jobs.XQ.msgs": "hdel",
    },
    _DISPATCH,
    # Names only, and only while it puts messages of a dead process back.
    frozenset({"keys"}),
)
_COUNT_MESSAGES: Final = Work({f"broker:{name}.msgs": "hlen" for name in ("jobs", "jobs.DQ", "jobs.XQ")})

_LOOK_AT_SERVER: Final = Work({}, keyless=frozenset({"info"}))
# It shows the server's passwords, too, so only those have it who must.
_READ_CONFIG: Final = Work({}, keyless=frozenset({"config|get"}))

_SEALS_AND_OPENS: Final = (SEAL, OPEN, EXTEND, SHRED)

_WORKS: Final[Mapping[UserRole, Mapping[ServerKind, tuple[Work, ...]]]] = {
    UserRole.WEB: {
        ServerKind.RECORDS: (_ACCEPT_JOBS, _READ_JOBS, _CANCEL_JOBS, _NUDGE),
        ServerKind.KEYS: (*_SEALS_AND_OPENS, ASK_ROTATION),
        ServerKind.ROOTS: (READ_OUTPUT_ROOTS, _LOOK_AT_SERVER),
    },
    UserRole.WORKER: {
        ServerKind.RECORDS: (
            _MOVE_JOBS,
            _ERASE_AT_PROVIDERS,
            _WAKE_JOBS,
            _PASS_GATES,
            _NUDGE,
            _CONSUME,
            _LOOK_AT_SERVER,
        ),
        # A root that is missing when it starts is made by it, so it rotates, too.
        ServerKind.KEYS: (*_SEALS_AND_OPENS, ROTATE, HEAL, _LOOK_AT_SERVER),
        ServerKind.ROOTS: (HOLD_ROOTS, _LOOK_AT_SERVER, _READ_CONFIG),
    },
    UserRole.SWEEPER: {
        ServerKind.RECORDS: (_LOOK_AFTER_JOBS, _FORGET_JOBS, _NUDGE, _RESTORE_MESSAGES, _LEAD, _LOOK_AT_SERVER),
        ServerKind.KEYS: (SHRED, ROTATE, SWEEP, HEAL, WRITE_RECEIPTS, _LOOK_AT_SERVER),
        ServerKind.ROOTS: (HOLD_ROOTS, _LOOK_AT_SERVER, _READ_CONFIG),
    },
    UserRole.EXPORTER: {
        ServerKind.RECORDS: (_COUNT_JOBS, _COUNT_MESSAGES, _WATCH_GATES),
        ServerKind.KEYS: (READ_FIGURES,),
        ServerKind.ROOTS: (),
    },
    UserRole.WEBHOOKS: {ServerKind.RECORDS: (_WAKE_JOBS, _NUDGE), ServerKind.KEYS: (), ServerKind.ROOTS: ()},
    UserRole.DOCTOR: {
        ServerKind.RECORDS: (_WATCH_GATES, Work({}, keyless=frozenset({"time"})), _LOOK_AT_SERVER, _READ_CONFIG),
        ServerKind.KEYS: (READ_FIGURES, _LOOK_AT_SERVER, _READ_CONFIG),
        ServerKind.ROOTS: (TRY_ROOTS, _LOOK_AT_SERVER, _READ_CONFIG),
    },
}

# What every client of redis-py says by itself.
_GREETING: Final = ("ping", "select", "client|setinfo")

_OTHERS: Final = {
    UserRole.REPLICA: "+psync +replconf +ping",
    # As Sentinel's own documentation asks for.
    UserRole.SENTINEL: "&* +multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info"
    " +client|setname +client|kill +script|kill",
    UserRole.ADMIN: "~* &* +@all",
}


def users(server: ServerKind, *, replicated: bool = False) -> list[UserRole]:
    """Return who has a user on a server; with *replicated*, also its replicas and its sentinels."""
    found = [role for role in _WORKS if _works(role, server)]
    if replicated:
        found += [UserRole.REPLICA, UserRole.SENTINEL]
    return [*found, UserRole.ADMIN]


def rules(role: UserRole, server: ServerKind) -> str:
    """Return the rights of one role on one server, as Redis writes them."""
    if role in _OTHERS:
        return f"resetkeys resetchannels -@all {_OTHERS[role]}"
    works = _works(role, server)
    keyless = {*_GREETING, *(command for work in works for command in work.keyless)}
    if any(work.scripts for work in works):
        keyless.add("script|load")
    # A change of a job is told to whoever watches it.
    channels = [f"&{NAMESPACE}:job:*"] if keyless & {"publish", "subscribe"} else []
    words = ["resetkeys resetchannels -@all", *channels, *(f"+{command}" for command in sorted(keyless))]
    return " ".join([*words, *_selectors(works)])


def acl_file(server: ServerKind, passwords: Mapping[UserRole, str], *, replicated: bool = False) -> str:
    """
    Return the ACL file of a server.

    Passwords stand in it as SHA-256 digests. A digest of a long random password tells nothing; one of a short password
    can be guessed.
    """
    lines = ["user default off resetpass resetkeys resetchannels -@all"]
    for role in users(server, replicated=replicated):
        digest = hashlib.sha256(passwords[role].encode()).hexdigest()
        lines.append(f"user {role.user} on #{digest} {rules(role, server)}")
    return "\n".join(lines) + "\n"


def _works(role: UserRole, server: ServerKind) -> Sequence[Work]:
    kinds = (ServerKind.RECORDS, ServerKind.KEYS) if server is ServerKind.ALL else (server,)
    return [work for kind in kinds for work in _WORKS[role][kind]]


def _selectors(works: Sequence[Work]) -> Iterator[str]:
    """Give the commands on keys: one selector for every set of commands, with the keys that these are for."""
    by_pattern: defaultdict[str, set[str]] = defaultdict(set)
    for work in works:
        for pattern, commands in work.commands.items():
            by_pattern[pattern].update(commands.split())
    # Redis takes a script to change every key it is given. This allows none of it: inside, each command counts.
    given = {pattern for work in works if work.scripts for pattern in work.commands}
    if given:
        yield _selector(["evalsha"], given)
    by_commands: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for pattern, found in by_pattern.items():
        if found:
            by_commands[tuple(sorted(found))].append(pattern)
    for words, patterns in sorted(by_commands.items()):
        yield _selector(words, patterns)


def _selector(commands: Sequence[str], patterns: Iterable[str]) -> str:
    words = [f"+{command}" for command in commands] + [f"~{NAMESPACE}:{pattern}" for pattern in sorted(patterns)]
    return f"({' '.join(words)})"
