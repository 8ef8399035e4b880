"""
The addresses of Redis servers, as settings write them, and the clients they stand for.

    redis://[user:password@]host[:port][/db]
    rediss://…?ssl_ca_certs=/etc/dayfly/ca.pem&ssl_certfile=…&ssl_keyfile=…      TLS, by the options of redis-py
    unix:///path/to.sock
    redis+sentinel://[user:password@]host[:port],host[:port]/service[/db]        the primary that sentinels know of
    rediss+sentinel://…?sentinel_username=…&sentinel_password=…                  the same with TLS to everybody

A client of the sentinels asks them at every new connection, so it follows a failover by itself.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import redis
from redis.connection import SSLConnection, parse_url
from redis.sentinel import Sentinel, SentinelConnectionPool

ALLOWED: Final = (
    "redis://[user:password@]host[:port][/db], rediss://… with ssl_ca_certs, ssl_certfile and ssl_keyfile, "
    "unix:///path/to.sock or redis+sentinel://[user:password@]host[:port],…/service[/db]"
)

_SENTINEL: Final = "+sentinel"
_SENTINEL_PORT: Final = 26379
_OF_SENTINELS: Final = {"sentinel_username": "username", "sentinel_password": "password"}
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_ca_path")


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """
    Where a Redis is and how to talk to it. Its text form holds no password.

    Attributes:
        place: The server, or the sentinels and the service, without user and password.
        secured: Whether the connection is encrypted.
        local: Whether it can only be on this machine.
    """

    place: str
    secured: bool
    local: bool
    options: Mapping[str, Any] = field(repr=False)
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""
    sentinel_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """
        Read an address.

        Raises:
            ValueError: It is wrong; the message continues a sentence about the setting and quotes no secret.
        """
        scheme, _, rest = url.partition("://")
        if scheme.endswith(_SENTINEL) and scheme.removesuffix(_SENTINEL) in ("redis", "rediss"):
            return cls._of_sentinels(scheme.removesuffix(_SENTINEL), rest)
        if scheme not in ("redis", "rediss", "unix"):
            raise ValueError("has no scheme that Redis understands")
        parts = urlsplit(url)
        if scheme == "unix":
            if not parts.path.startswith("/"):
                raise ValueError("names no socket")
            return cls(unquote(parts.path), True, True, _options(url))
        host, port = _host_and_port(parts.netloc.rpartition("@")[2], 6379)
        return cls(f"{host}:{port}", scheme == "rediss", _is_here(host), _options(url))

    @classmethod
    def _of_sentinels(cls, scheme: str, rest: str) -> Self:
        rest, _, query = rest.partition("?")
        netloc, _, path = rest.partition("/")
        service, _, database = path.partition("/")
        if not service:
            raise ValueError("names no service; the sentinels know the primary by one")
        login, at, hosts = netloc.rpartition("@")
        sentinels = tuple(_host_and_port(part, _SENTINEL_PORT) for part in hosts.split(","))
        given = dict(parse_qsl(query))
        theirs = {_OF_SENTINELS[name]: given.pop(name) for name in _OF_SENTINELS.keys() & given.keys()}
        # What the sentinels will say in the end is read as if it stood here.
        options = _options(f"{scheme}://{login}{at}primary/{database}?{urlencode(given)}")
        options.pop("host")
        secured = scheme == "rediss"
        options.pop("connection_class", None)
        shared = {name: value for name, value in options.items() if name.startswith("ssl_")}
        if secured:
            options["ssl"] = shared["ssl"] = True
        place = f"{','.join(f'{host}:{port}' for host, port in sentinels)}/{unquote(service)}"
        local = all(_is_here(host) for host, _ in sentinels)
        return cls(place, secured, local, options, sentinels, unquote(service), shared | theirs)

    def client(self, **options: Any) -> redis.Redis:
        """Open a client; *options* of redis-py yield to those of the address. Nothing is connected yet."""
        if not self.sentinels:
            return redis.Redis(connection_pool=redis.ConnectionPool(**{**options, **self.options}))
        timeouts = {name: value for name, value in options.items() if name.startswith("socket_") or name == "retry"}
        sentinel = Sentinel(self.sentinels, sentinel_kwargs={**timeouts, **self.sentinel_options})
        client: redis.Redis = sentinel.master_for(self.service, **{**options, **self.options})
        return client


def close(client: redis.Redis) -> None:
    """Close a client's connections, those to its sentinels included."""
    pool = client.connection_pool
    client.close()
    pool.disconnect()
    if isinstance(pool, SentinelConnectionPool):
        pool.sentinel_manager.close()


def _options(url: str) -> dict[str, Any]:
    try:
        options: dict[str, Any] = parse_url(url)
    except ValueError:
        raise ValueError("has an option with a value that redis-py does not take") from None
    for name in _FILES:
        if name in options and not os.access(options[name], os.R_OK):
            raise ValueError(f"names a file that cannot be read in {name}")
    kind = options.get("connection_class", redis.Connection)
    given = {name: value for name, value in options.items() if name not in ("connection_class", "max_connections")}
    try:
        # An option that it does not know would otherwise be told by the first command.
        connection = kind(**given)
    except (TypeError, ValueError, redis.RedisError):
        raise ValueError("has an option that redis-py does not know for this scheme") from None
    if isinstance(connection, SSLConnection) and connection.cert_reqs is not ssl.CERT_REQUIRED:
        # Whoever stands in between would be given the password.
        raise ValueError("turns off the check of the server's certificate (ssl_cert_reqs)")
    return options


def _host_and_port(text: str, default: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("names no host")
    try:
        return parts.hostname, parts.port or default
    except ValueError:
        raise ValueError("has a port that is not a number from 0 to 65535") from None


def _is_here(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
