"""
Connections to public addresses only, each made to the very address that was examined.

A provider names the hosts its results lie on, and a name can be made to lead anywhere. So a host is resolved here, its
addresses are examined, and the connection goes to one of those, not to what a second look-up would say. Hosts the
operator himself configured are exempt: they may stand in his own network.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

import httpcore

_NAT64: Final = IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")

Resolve = Callable[[str, int], list[str]]


class ForbiddenAddressError(Exception):
    """A host leads to an address inside a network. Never leaves the room."""


def is_public(text: str) -> bool:
    """
    Say whether an address may be called on the word of a provider.

    Private, link-local, shared (carrier-grade NAT), multicast and reserved addresses may not, nor may such an IPv4
    address inside an IPv6 one.
    """
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        embedded = _embedded(address)
        if embedded is not None:
            return all(is_public(str(each)) for each in embedded)
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_link_local)


def _embedded(address: IPv6Address) -> tuple[IPv4Address, ...] | None:
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address in _NAT64:
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    return address.teredo


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of *host*, in the order in which the system would try them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Deadline:
    """The moment at which whatever a thread is doing on the network must be over."""

    def __init__(self) -> None:
        self._local = threading.local()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Let every read and write of this thread end in *seconds* from now."""
        outer: float | None = getattr(self._local, "end", None)
        end = time.monotonic() + seconds
        self._local.end = end if outer is None else min(outer, end)
        try:
            yield
        finally:
            self._local.end = outer

    def clip(self, timeout: float | None) -> float | None:
        """Shorten a time limit of one read or write to what is left of the whole."""
        end: float | None = getattr(self._local, "end", None)
        if end is None:
            return timeout
        left = max(end - time.monotonic(), 0.001)
        return left if timeout is None else min(timeout, left)


class GuardedNetwork(httpcore.NetworkBackend):
    """
    Opens connections for the pool.

    Args:
        deadline: What the streams' reads and writes are held to. A limit per read alone lets a server that sends a byte
            now and then hold a worker for ever.
        trusted: Host names that may have any address.
        resolve: How names become addresses.
    """

    def __init__(self, deadline: Deadline, trusted: Iterable[str], resolve: Resolve = resolve) -> None:
        self._deadline = deadline
        self._trusted = frozenset(trusted)
        self._resolve = resolve
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of *host* that may be called and answers."""
        try:
            addresses = self._resolve(host, port)
        except OSError:
            raise httpcore.ConnectError("the host name has no address") from None
        if host not in self._trusted:
            addresses = [address for address in addresses if is_public(address)]
            if not addresses:
                raise ForbiddenAddressError
        failure: Exception = httpcore.ConnectError("the host name has no address")
        for address in addresses:
            try:
                stream = self._sockets.connect_tcp(
                    address, port, self._deadline.clip(timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            return _TimedStream(stream, self._deadline)
        raise failure

    def sleep(self, seconds: float) -> None:
        """Wait, as the pool does between attempts."""
        self._sockets.sleep(seconds)


class _TimedStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.clip(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.clip(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._deadline.clip(timeout))
        return _TimedStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
