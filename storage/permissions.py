"""
Say what each kind of work on the key store does there: the scripts it runs and the commands it uses, by key.

    grants(SEAL, SHRED)         # {"key:*": {"hget", "hset", …}, …}

This is the one place from which a Redis user's rights on keys and roots are generated (`worker.acl`). Redis checks
every command inside a script as if the user had sent it, so what a script calls stands here as well. Whoever adds a
command to a script or to a method of the key store adds it here; a test compares the scripts, another runs a pool of
which every process may do no more than this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Work:
    """
    One kind of work on one server.

    Attributes:
        commands: By pattern of keys, without the namespace: what is done with them, inside and outside of scripts. A
            script may only be given keys that stand here, with or without commands.
        scripts: The scripts that it runs.
        keyless: Commands that name no key.
    """

    commands: Mapping[str, str]
    scripts: frozenset[str] = field(default_factory=frozenset)
    keyless: frozenset[str] = field(default_factory=frozenset)


_CLOCK: Final = frozenset({"time"})
_CLOCK_AND_REPLICAS: Final = frozenset({"time", "wait"})
_CLOCK_AND_DISK: Final = frozenset({"time", "wait", "waitaof"})

SEAL: Final = Work(
    {
        "key:*": "hget hset pexpireat",
        "tomb:*": "exists",
        "live:*": "zadd",
        "outbox": "xadd",
        "counts": "hincrby",
        "persisted": "incrby",
        # Reads only: whoever could change a public half would have others seal to a root of his own.
        "root:*": "hget hgetall",
        "asked:*": "get",
    },
    frozenset({"create"}),
    _CLOCK_AND_REPLICAS,
)
OPEN: Final = Work({"key:*": "hmget pexpiretime", "tomb:*": "hmget", "live:*": "zscore"}, frozenset({"load"}), _CLOCK)
EXTEND: Final = Work(
    {"key:*": "hget pexpiretime pexpireat", "live:*": "zadd", "persisted": "incrby"},
    frozenset({"extend"}),
    _CLOCK_AND_REPLICAS,
)
SHRED: Final = Work(
    {
        "key:*": "hget del",
        "tomb:*": "hmget hset pexpire",
        "live:*": "zscore zrem",
        "doomed": "zadd zmscore zrem",
        "outbox": "xadd",
        "counts": "hincrby",
        "persisted": "incrby",
    },
    frozenset({"shred"}),
    _CLOCK_AND_REPLICAS,
)
ROTATE: Final = Work(
    {
        "key:*": "hget hmget hset",
        "live:*": "zscan zcard",
        "root:*": "hget hgetall hset hdel",
        "asked:*": "get",
        "outbox": "xadd",
        "counts": "hincrby",
        "persisted": "incrby",
    },
    frozenset({"draw_epoch", "publish", "rewrap", "finish_epoch", "renewed"}),
    _CLOCK_AND_DISK,
)
SWEEP: Final = Work(
    {
        "key:*": "pexpiretime pexpireat exists",
        "tomb:*": "exists hset pexpire",
        "live:*": "zrangebyscore zadd zrem zscore",
        "doomed": "zadd zrange zrem zscore",
        "outbox": "xadd",
        "counts": "hincrby",
    },
    frozenset({"expire"}),
    _CLOCK,
)
WRITE_RECEIPTS: Final = Work(
    {"outbox-cut": "hmget hset hdel", "outbox": "xrange xdel", "persisted": "incrby"},
    frozenset({"cut", "trim"}),
    _CLOCK_AND_DISK,
)
HEAL: Final = Work(
    {
        "key:*": "hget exists del",
        "tomb:*": "exists hset pexpire",
        "live:*": "zrem",
        "doomed": "zadd",
        "outbox-cut": "hmget hset",
        "outbox": "xadd xdel",
        "counts": "hincrby",
    },
    frozenset({"reapply"}),
    _CLOCK,
)
ASK_ROTATION: Final = Work({"root:*": "hget", "asked:*": "set"}, frozenset({"ask_rotation"}))
READ_FIGURES: Final = Work(
    {
        "live:*": "zrange zcount zcard",
        "root:*": "hmget",
        "doomed": "zcard",
        "outbox": "xlen",
        "counts": "hgetall",
    },
    frozenset({"figures"}),
    _CLOCK,
)

# On the server of a root store `redis`, which runs a script of its own to forget a root.
HOLD_ROOTS: Final = Work(
    {"root-secret:*": "get set pexpire strlen setrange del"}, frozenset({"forget"}), frozenset({"scan"})
)
READ_OUTPUT_ROOTS: Final = Work({"root-secret:output:*": "get"})
TRY_ROOTS: Final = Work({"root-secret:check-*": "get set strlen setrange del"}, frozenset({"forget"}))
