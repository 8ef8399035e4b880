"""
The receiver of webhooks: an ASGI application that takes a provider's report as a wake-up and believes nothing in it.

    POST /<provider>/<job id>/<mark>

The mark is a keyed hash of provider and job, so that only whom we gave the address can know it; where the provider
signs its reports, the signature is verified as well. What follows is always the same: a job that waits for a task is
asked about now instead of later. Replays, forgeries, floods and reports for unknown jobs change nothing: a job is woken
at most once in `worker.jobs.WAKE_EVERY`, and only while it waits.

It holds no root, no credential of a provider and nothing that opens an object.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from metrics.instruments import WEBHOOKS, WebhookOutcome
from providers import ProviderRegistry, WebhookSupport
from providers.errors import ProviderError
from providers.webhooks import (
    ForgedWebhookError,
    hedra_key,
    verify_fal,
    verify_hedra,
    verify_standard,
)
from worker.errors import ServerUnavailableError
from worker.records import JobId

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LARGEST_BODY: Final = 4 << 20
"""Bytes. A report may carry a small result inline; what is larger is not needed to be woken."""

_PATH: Final = re.compile(r"/(?P<provider>[a-z0-9-]{1,64})/(?P<job>[0-9a-f]{32})/(?P<mark>[A-Za-z0-9_-]{32})")

log = structlog.get_logger(__name__)


def mark_of(key: bytes, provider: str, job_id: str) -> str:
    """Give the part of an address that nobody can guess."""
    return hmac.new(key, f"webhook\n{provider}\n{job_id}".encode(), hashlib.sha256).hexdigest()[:32]


def address(base: str, key: bytes, provider: str, job_id: str) -> str:
    """Give the address at which *provider* may report the end of a job's task."""
    return f"{base.rstrip('/')}/{provider}/{job_id}/{mark_of(key, provider, job_id)}"


class Webhooks:
    """
    The ASGI application.

    Args:
        key: The secret of the addresses, the same as that of the workers.
        wake: Ends the pause of a job; says whether there was one. Called from other threads.
        registry: The installed providers, which say how they sign.
        secrets: The secret of each provider that signs with one, or its public key.
        keys: Gives fal's published keys. Called from other threads.
    """

    def __init__(
        self,
        *,
        key: bytes,
        wake: Callable[[JobId], bool],
        registry: ProviderRegistry,
        secrets: Mapping[str, str],
        keys: Callable[[], Iterable[Any]],
    ) -> None:
        self._key = key
        self._wake = wake
        self._registry = registry
        self._secrets = secrets
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or the server's own start and stop."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        try:
            status, outcome = await self._taken(scope, receive)
        except (ServerUnavailableError, ProviderError) as error:
            # The provider comes again; if it does not, the job is asked about a little later.
            log.warning("webhook not taken", problem=str(error))
            status, outcome = 503, WebhookOutcome.FAILED
        WEBHOOKS.labels(outcome=outcome).inc()
        headers = [(b"content-length", b"0"), (b"connection", b"close")] if status >= 400 else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _taken(self, scope: Scope, receive: Receive) -> tuple[int, WebhookOutcome]:
        found = _PATH.fullmatch(scope["path"].removeprefix(scope.get("root_path") or ""))
        if found is None:
            return 404, WebhookOutcome.FORGED
        if not hmac.compare_digest(found["mark"], mark_of(self._key, found["provider"], found["job"])):
            # Nothing was read, asked or looked up for it.
            return 404, WebhookOutcome.FORGED
        if scope["method"] != "POST":
            return 405, WebhookOutcome.FORGED
        body = await _body(receive)
        if body is None:
            return 413, WebhookOutcome.FORGED
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            await asyncio.to_thread(self._verify, found["provider"], headers, body)
        except ForgedWebhookError as error:
            log.warning("webhook refused", provider=found["provider"], problem=str(error))
            return 401, WebhookOutcome.FORGED
        woken = await asyncio.to_thread(self._wake, JobId(found["job"]))
        return 204, WebhookOutcome.WOKEN if woken else WebhookOutcome.IGNORED

    def _verify(self, provider: str, headers: Mapping[str, str], body: bytes) -> None:
        now = datetime.now(UTC)
        match self._registry.get(provider).capabilities.webhook:
            case WebhookSupport.STANDARD:
                verify_standard(headers, body, self._secret(provider), now=now)
            case WebhookSupport.HEDRA:
                verify_hedra(headers, body, hedra_key(self._secret(provider)), now=now)
            case WebhookSupport.FAL:
                verify_fal(headers, body, self._keys(), now=now)
            case WebhookSupport.NONE:
                raise ForgedWebhookError("The provider sends none.")
            case WebhookSupport.UNSIGNED:
                return

    def _secret(self, provider: str) -> str:
        secret = self._secrets.get(provider)
        if secret is None:
            raise ForgedWebhookError("No secret is set by which it could be verified.")
        return secret


async def _body(receive: Receive) -> bytes | None:
    """Read the body, or give None once it is too large."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > LARGEST_BODY:
            return None
        if not message.get("more_body", False):
            return bytes(body)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
