"""With what a provider is called: a credential, and where it may be shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

MAIN: Final = "main"
"""The name of a provider's only credential."""

KEYLESS: Final = frozenset({"automatic1111", "comfyui"})
"""Providers that are servers of one's own and ask for no key; an address is enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """
    An account at a provider, as the operator configured it.

    Attributes:
        credential: The name under which tasks remember it.
        key: The secret itself; it prints as asterisks. Empty for a server of one's own that asks for none.
        base_url: Where to call instead of the adapter's default: a region, a proxy, a server of one's own. What the
            operator names here is trusted; what a provider's answer names is not.
        model: Which model to ask for instead of the adapter's default.
        output: Where a provider puts results that it keeps nowhere itself: a bucket of the operator's own.
        region: Where the operator says that data sent to this account is processed, for example ``eu``.
        at_once: The most calls and tasks that may be under way; None for any number.
        a_minute: The most calls that may be begun in a minute; None for any number.
    """

    credential: str = MAIN
    key: SecretStr
    base_url: str | None = None
    model: str | None = None
    output: str | None = None
    region: str | None = None
    at_once: int | None = None
    a_minute: int | None = None


def origin(url: str) -> tuple[str, str, int | None]:
    """
    Return scheme, host and port of *url*.

    Raises:
        ValueError: The address is malformed.
    """
    parts = urlsplit(url)
    port = parts.port if parts.port is not None else {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """
    Which addresses may be called.

    Attributes:
        suffixes: Host names; a name allows itself and everything below it, over https and the usual port.
        origins: Addresses of which any scheme, host and port is allowed exactly as it stands, set by the operator.
    """

    suffixes: tuple[str, ...]
    origins: tuple[str, ...] = ()

    def allow(self, url: str) -> bool:
        """Say whether *url* may be called."""
        try:
            scheme, host, port = origin(url)
            with_user = "@" in urlsplit(url).netloc
        except ValueError:
            return False
        if with_user or not host:
            return False
        if any((scheme, host, port) == origin(each) for each in self.origins):
            return True
        return scheme == "https" and port == 443 and _below(host, self.suffixes)


def _below(host: str, suffixes: Iterable[str]) -> bool:
    return any(host == suffix or host.endswith(f".{suffix}") for suffix in suffixes)
