"""The process that receives webhooks: connections to Redis, secrets, and a server around `worker.webhooks.Webhooks`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final

import structlog

from metrics.exporter import Health
from metrics.instruments import NudgeSource
from providers import ProviderRegistry, Transport, WebhookSupport
from providers.accounts import AllowedHosts
from providers.errors import BrokenProviderError, Transient
from providers.transport import ASK, Call
from providers.webhooks import fal_keys, hedra_key
from worker.accounts import read_webhook_secrets, webhook_setting
from worker.broker import NudgeBroker
from worker.errors import SettingProblem, SettingsError
from worker.jobs import JobStore
from worker.process import Stop, serving
from worker.records import JobId
from worker.servers import connected
from worker.settings import Settings
from worker.webhooks import Webhooks

if TYPE_CHECKING:
    import uvicorn

FAL_KEYS: Final = "https://rest.fal.ai/.well-known/jwks.json"
KEYS_FOR: Final = timedelta(hours=12)
"""How long fal's keys are used before they are fetched again; the vendor allows 24 hours."""

MOST_AT_ONCE: Final = 256

log = structlog.get_logger(__name__)


class FalKeys:
    """fal's published keys, fetched when they are first needed and then twice a day."""

    def __init__(self, fetch: Callable[[], Any]) -> None:
        self._fetch = fetch
        self._lock = Lock()
        self._keys: list[Any] = []
        self._until = 0.0

    def __call__(self) -> Iterable[Any]:
        """
        Give the keys.

        Raises:
            ProviderError: They cannot be fetched, and there are none from before.
        """
        with self._lock:
            if time.monotonic() >= self._until:
                keys = fal_keys(self._fetch())
                if not keys:
                    raise Transient("The provider 'fal' publishes no key.")
                self._keys, self._until = keys, time.monotonic() + KEYS_FOR.total_seconds()
            return self._keys


def waker(jobs: JobStore, broker: NudgeBroker) -> Callable[[JobId], bool]:
    """Give the function that ends a job's pause and nudges a worker."""

    def wake(job_id: JobId) -> bool:
        woken = jobs.wake(job_id)
        if woken:
            broker.nudge(job_id, NudgeSource.WEBHOOK)
        return woken

    return wake


def run_webhooks(settings: Settings, host: str, port: int, environ: Mapping[str, str] = os.environ) -> int:
    """
    Receive webhooks until told to stop, and return the exit code.

    Raises:
        SettingsError: The extra is not installed, a setting is missing, or a secret is wrong.
        ServerUnavailableError: Redis cannot be reached at start.
    """
    try:
        import uvicorn
    except ImportError:
        problem = SettingProblem(
            "dayfly webhooks", "needs a package that is not installed", "pip install 'dayfly[webhooks]'"
        )
        raise SettingsError([problem]) from None
    if settings.webhooks_key is None:
        problem = SettingProblem("DAYFLY_WEBHOOKS_KEY", "is not set", "the same secret as that of the workers")
        raise SettingsError([problem])
    stop = Stop()
    stop.install()
    registry = ProviderRegistry.from_entry_points()
    secrets = read_webhook_secrets(registry.names(), environ)
    for name in registry.names():
        how = _signs(registry, name)
        if name not in secrets and how in (WebhookSupport.STANDARD, WebhookSupport.HEDRA):
            log.warning("webhooks of a provider without a secret are refused", provider=name)
        if name in secrets and how is WebhookSupport.HEDRA:
            _check_key(name, secrets[name])
    with connected(settings) as clients, Transport() as transport:

        def fetch() -> Any:
            with transport.call(Call("GET", FAL_KEYS, ASK), AllowedHosts(("rest.fal.ai",))) as reply:
                return reply.document().at() if reply.status == 200 else None

        application = Webhooks(
            key=settings.webhooks_key.get_secret_value().encode(),
            wake=waker(JobStore(clients.main), NudgeBroker(clients.main)),
            registry=registry,
            secrets=secrets,
            keys=FalKeys(fetch),
        )

        class Server(uvicorn.Server):
            @contextmanager
            def capture_signals(self) -> Iterator[None]:
                # It would raise the signal again after an orderly end.
                yield

        server = Server(
            uvicorn.Config(
                application,
                host=host,
                port=port,
                # Addresses are secrets, so nothing logs them.
                access_log=False,
                log_config=None,
                server_header=False,
                limit_concurrency=MOST_AT_ONCE,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=5,
            )
        )
        with serving(settings, lambda: Health(server.started, "listening" if server.started else "starting")):
            log.info("webhooks started", host=host, port=port)
            Thread(target=_stop, args=(server, stop), name="stop", daemon=True).start()
            server.run()
    log.info("webhooks stopped")
    return 0 if server.started else 4


def _stop(server: uvicorn.Server, stop: Stop) -> None:
    stop.requested.wait()
    server.should_exit = True
    stop.hurried.wait()
    server.force_exit = True


def _signs(registry: ProviderRegistry, name: str) -> WebhookSupport:
    try:
        return registry.get(name).capabilities.webhook
    except BrokenProviderError:
        return WebhookSupport.NONE


def _check_key(name: str, text: str) -> None:
    try:
        hedra_key(text)
    except ValueError:
        setting = webhook_setting(name)
        problem = SettingProblem(setting, "is not a public key", "what GET /v3/webhooks/public-key shows: base64")
        raise SettingsError([problem]) from None
