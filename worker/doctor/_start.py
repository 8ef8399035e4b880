"""What worker and sweeper look at before they work with a server."""

from __future__ import annotations

import redis
import structlog
from redis.exceptions import NoPermissionError

from worker.doctor._findings import Verdict
from worker.doctor._machine import swap
from worker.doctor._server import breaks_at_once, told_by_info
from worker.errors import ServerUnavailableError, UnfitServerError
from worker.servers import Clients
from worker.settings import Settings

log = structlog.get_logger(__name__)


def examine_machine() -> None:
    """Log loudly what may carry opened photos and keys out of this process's memory."""
    found = swap()
    if found.verdict is not Verdict.OK:
        log.warning("memory may be written to a disk", check=found.check, found=found.found, advice=found.advice)


def examine_servers(settings: Settings, clients: Clients) -> None:
    """
    Look at the servers before working with them, and log what weakens a promise.

    Raises:
        UnfitServerError: One is a replica, may evict keys, or is too old.
        ServerUnavailableError: One has gone away.
    """
    for name, client in {"key store": clients.keys, "Redis": clients.main}.items():
        if name == "key store" and clients.keys is clients.main:
            continue
        try:
            info = client.info()
        except NoPermissionError:
            log.warning("server not examined", server=name, advice="let this user run INFO, see 'dayfly acl'")
            continue
        except redis.RedisError as error:
            raise ServerUnavailableError.from_redis(error, name) from error
        findings = [*told_by_info(name, info, settings)]
        refused = [f"{each.check} ({each.found}): {each.advice}" for each in findings if breaks_at_once(each, name)]
        if refused:
            raise UnfitServerError("Redis" if name == "Redis" else "The key store", refused)
        for each in findings:
            if each.verdict is not Verdict.OK:
                log.warning("server weakens a promise", check=each.check, found=each.found, advice=each.advice)
