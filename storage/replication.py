"""
Make a change that counts only once enough replicas have it, so that a failover cannot take it back.

The change, a mark and `WAIT` travel in one pipeline on one connection: whoever is asked for replicas is the server that
made the change. The mark is there because `WAIT` looks back only to the last write of its connection, and a repeated
change may write nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from redis.commands.core import Script
from redis.exceptions import NoScriptError

REPLICA_TIMEOUT: Final = timedelta(seconds=2)
"""How long a change waits for its replicas: longer than a replica's hiccup, shorter than a caller's patience."""


def run_on_replicas(
    client: Any, script: Script, keys: Sequence[str], arguments: Sequence[Any], *, mark: str, replicas: int
) -> tuple[Any, int]:
    """
    Run a script and wait until *replicas* have what it wrote; return its answer and how many have.

    Args:
        mark: The name of a key that counts such changes.

    Raises:
        redis.RedisError: As the script would.
    """
    for _ in range(2):
        pipeline = client.pipeline(transaction=False)
        pipeline.evalsha(script.sha, len(keys), *keys, *arguments)
        pipeline.incr(mark)
        pipeline.wait(replicas, int(REPLICA_TIMEOUT / timedelta(milliseconds=1)))
        answer, marked, reached = pipeline.execute(raise_on_error=False)
        if not isinstance(answer, NoScriptError):
            break
        client.script_load(script.script)
    for found in (answer, marked, reached):
        if isinstance(found, Exception):
            raise found
    return answer, int(reached)
