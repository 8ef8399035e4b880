"""
The one way out: every call of every adapter goes through here.

    with Transport() as transport:
        call = Call("GET", url, headers={"authorization": ...}, limits=ASK)
        with transport.call(call, AllowedHosts(("provider.example",))) as reply:
            document = reply.document()

What it guarantees, so that no adapter has to: a credential is sent to allowed hosts only and follows no redirect; a
result is fetched from public addresses of allowed hosts, within limits of size and time, and its first bytes show a
picture or a film; an error says whether the request can have been charged; nothing that was sent or received, and no
address, stands in a log or an exception.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import TracebackType
from typing import Any, Final, Self

import httpcore
import httpx

from providers.accounts import AllowedHosts
from providers.addresses import Deadline, ForbiddenAddressError, GuardedNetwork, Resolve, resolve
from providers.errors import BadResult, Charged, OutcomeUnknown, ProviderError, ResultExpired, Transient
from providers.replies import Reply, seal

MiB: Final = 1 << 20

# These print addresses at level info and headers, credentials among them, at level debug. The last one prints what it
# signs, in which a session's token stands.
_TALKATIVE: Final = ("httpx", "httpcore", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy",
    "hpack", "hpack.hpack", "hpack.table", "botocore.auth")  # fmt: skip


@dataclass(frozen=True, slots=True)
class CallLimits:
    """
    How long a class of calls may take, in seconds, and how much may come back.

    Attributes:
        connect: To reach the host and agree on a key.
        read: Between two pieces of the answer; for a provider that works while we wait, the whole work.
        total: The whole call.
        reply_bytes: The largest answer.
        paid: Whether a lost answer may have cost money.
    """

    connect: float
    read: float
    total: float
    reply_bytes: int
    paid: bool


WORK: Final = CallLimits(connect=5, read=300, total=600, reply_bytes=128 * MiB, paid=True)
"""A call that does the work while we wait. Giving up earlier does not stop the provider's meter."""
SUBMIT: Final = CallLimits(connect=5, read=60, total=180, reply_bytes=32 * MiB, paid=True)
"""A call that starts a task."""
ASK: Final = CallLimits(connect=5, read=20, total=30, reply_bytes=64 * MiB, paid=False)
"""A call that may be repeated: a poll, a cancel, an erasure."""
ERROR_BYTES: Final = 16 * MiB
"""The largest answer that is read where the status says that the call failed."""

FETCH: Final = CallLimits(connect=5, read=30, total=900, reply_bytes=1024 * MiB, paid=False)
"""The download of a result."""


@dataclass(frozen=True, slots=True, repr=False)
class Call:
    """
    One request. Never prints: address, headers and body may each hold a secret.

    Attributes:
        method: In capitals.
        url: Absolute.
        limits: The class of the call.
        headers: What the adapter sends, the credential among it.
        json: A body as JSON, or
        form: the text fields, and
        files: the files of a multipart body: (field, (file name, content, media type)), or
        content: the body as it is, for calls whose very bytes are signed.
    """

    method: str
    url: str
    limits: CallLimits = ASK
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    form: Mapping[str, str] = field(default_factory=dict)
    files: tuple[tuple[str, tuple[str, bytes, str]], ...] = ()
    content: bytes | None = None


@cache
def _tls(http2: bool) -> ssl.SSLContext:
    # Reading the certificates takes as long as a call, so contexts are shared. Not by both kinds of pools: the pool
    # writes into the context which version of HTTP it offers.
    return httpx.create_ssl_context(trust_env=False)


class _GuardedTransport(httpx.HTTPTransport):
    def __init__(self, network: GuardedNetwork, *, http2: bool, keepalive: float) -> None:
        # Neither proxies nor certificates nor passwords from the environment: what leaves goes where it is meant to.
        super().__init__(verify=_tls(http2), trust_env=False)
        # httpx has no public way to give its pool a network; the pool's own interface is public.
        self._pool = httpcore.ConnectionPool(
            ssl_context=_tls(http2),
            max_connections=256,
            max_keepalive_connections=32,
            keepalive_expiry=keepalive,
            http1=True,
            http2=http2,
            network_backend=network,
        )


class Transport:
    """
    Pooled connections to every provider, shared by the threads of a worker. Use as a context manager, or `close`.

    Calls that may be repeated share HTTP/2 connections. Paid calls and downloads have HTTP/1.1 connections of their
    own: where several share one, its end would leave the outcome of all of them unknown.

    Args:
        trusted: Host names the operator configured, which may have private addresses.
        pace: A factor on every time limit, for slow networks and fast tests.
        connect_attempts: How often a connection is tried. Nothing was sent while there is none, so this is safe.
        resolve: How names become addresses.
    """

    def __init__(
        self,
        *,
        trusted: Iterable[str] = (),
        pace: float = 1.0,
        connect_attempts: int = 2,
        resolve: Resolve = resolve,
    ) -> None:
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        self._deadline = Deadline()
        self._pace = pace
        self._attempts = connect_attempts
        network = GuardedNetwork(self._deadline, trusted, resolve)
        self._asking, self._paying, self._fetching = (
            httpx.Client(
                transport=_GuardedTransport(network, http2=http2, keepalive=keepalive),
                follow_redirects=False,
                trust_env=False,
                headers={"user-agent": "dayfly", "accept-encoding": "identity"},
            )
            # A kept connection may be closed by the other side just as it is used again; then nobody knows whether a
            # paid call arrived. Servers keep theirs for five seconds at least.
            for http2, keepalive in ((True, 30.0), (False, 4.0), (False, 4.0))
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        for client in (self._asking, self._paying, self._fetching):
            client.close()

    @contextmanager
    def call(self, call: Call, hosts: AllowedHosts) -> Iterator[Reply]:
        """
        Send *call* with its credential and give the answer, whatever its status.

        Raises:
            BadResult: The address is not one of *hosts*. Nothing was sent.
            Transient: Nothing was charged: no connection, or the call was one that may be repeated.
            OutcomeUnknown: A paid call was sent and its answer was lost.
        """
        if not hosts.allow(call.url):
            raise BadResult("The provider named an address that the credential must not be sent to.", charged=None)
        client = self._paying if call.limits.paid else self._asking
        with self._deadline.within(call.limits.total * self._pace), self._sent(client, call) as reply:
            yield reply

    def fetch(
        self,
        url: str,
        hosts: AllowedHosts,
        sink: Callable[[Any, str], str],
        *,
        headers: Mapping[str, str] | None = None,
        credential_hosts: AllowedHosts | None = None,
    ) -> tuple[str, str]:
        """
        Download a result straight into *sink*, and return what the sink says and the media type.

        Without a credential, up to three redirects are followed, each examined like the first address.

        Args:
            url: As the provider gave it.
            hosts: Where results of this provider lie.
            sink: Takes a stream and a media type.
            headers: The credential, for providers that want it on downloads.
            credential_hosts: The addresses *headers* may be sent to.

        Raises:
            BadResult: The address is not allowed, or what lies there is no picture or film, too large or cut off.
            ResultExpired: The address has died.
            Transient: The host could not be reached, or failed.
        """
        for _ in range(4):
            if not hosts.allow(url):
                raise BadResult("The provider's result lies at an address that is not allowed.", charged=Charged.YES)
            shown = headers if headers and credential_hosts is not None and credential_hosts.allow(url) else {}
            call = Call("GET", url, FETCH, shown or {})
            with self._deadline.within(FETCH.total * self._pace), self._sent(self._fetching, call) as reply:
                if reply.status in (301, 302, 303, 307, 308) and not shown:
                    url = str(httpx.URL(url).join(reply.headers.get("location", "")))
                    continue
                if reply.status in (401, 403, 404, 410):
                    raise ResultExpired("The provider's result has expired or been removed.")
                if reply.status != 200:
                    fault = Transient if reply.status in (408, 429) or reply.status >= 500 else BadResult
                    raise fault(f"The provider's result could not be fetched (HTTP {reply.status}).")
                return seal(reply.stream(), sink)
        raise BadResult("The provider's result is behind too many redirects.", charged=Charged.YES)

    @contextmanager
    def _sent(self, client: httpx.Client, call: Call) -> Iterator[Reply]:
        limits = call.limits
        timeout = httpx.Timeout(
            limits.read * self._pace, connect=limits.connect * self._pace, pool=limits.connect * self._pace
        )
        sent = False

        def trace(event: str, info: Mapping[str, Any]) -> None:
            nonlocal sent
            sent = sent or event.endswith("send_request_headers.started")

        try:
            request = client.build_request(
                call.method,
                call.url,
                headers=dict(call.headers),
                json=call.json,
                data=dict(call.form) if call.form else None,
                files=list(call.files) if call.files else None,
                content=call.content,
                timeout=timeout,
                extensions={"trace": trace},
            )
            response = self._connected(client, request, lambda: sent)
        except ForbiddenAddressError:
            raise BadResult("The provider's address leads into a private network.", charged=Charged.NO) from None
        except httpx.InvalidURL:
            raise BadResult("The provider named an address that is none.") from None
        except (httpx.TransportError, OSError) as error:
            raise lost(error, sent=sent, paid=limits.paid) from None
        try:
            # What explains an error is read whole; it must not be as large as a film.
            most = limits.reply_bytes if response.is_success else min(limits.reply_bytes, ERROR_BYTES)
            yield Reply(response, most, paid=limits.paid)
        finally:
            response.close()

    def _connected(self, client: httpx.Client, request: httpx.Request, sent: Callable[[], bool]) -> httpx.Response:
        for attempt in range(1, self._attempts + 1):
            try:
                return client.send(request, stream=True)
            except httpx.TransportError:
                if sent() or attempt == self._attempts:
                    raise
        raise AssertionError("a call is tried at least once")


def lost(error: Exception, *, sent: bool, paid: bool) -> ProviderError:
    """Say what a fault of the network means for the money."""
    kind = type(error).__name__
    if not sent:
        return Transient(f"The provider could not be reached ({kind}); nothing was sent.")
    if paid:
        return OutcomeUnknown(f"The call was sent and its answer was lost ({kind}); it may have been charged.")
    if isinstance(error, httpx.TimeoutException):
        return Transient(f"The provider did not answer in time ({kind}).")
    return Transient(f"The connection to the provider broke ({kind}).")
