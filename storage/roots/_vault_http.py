"""
Talk to Vault or OpenBao: its address and token, the token's renewal, and the boundary its errors do not cross.

The environment variables are those that every tool of Vault reads: VAULT_ADDR, VAULT_TOKEN, VAULT_NAMESPACE,
VAULT_CACERT. Without VAULT_TOKEN the token is read from the file VAULT_TOKEN_FILE (the sink of Vault's agent) or
~/.vault-token, and read again when Vault refuses it, so that an agent may replace it.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx

from storage.errors import StorageError, StoreConfigError, StoreUnavailableError

_TIMEOUT: Final = httpx.Timeout(10.0, connect=3.0)
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_TRY_AGAIN_SECONDS: Final = 15.0
_RENEW_WITH: Final = {"increment": 0}


class VaultRefusalError(StorageError):
    """Vault understood a request and refused it. Internal to the room; holds Vault's own words."""

    def __init__(self, errors: list[str]) -> None:
        self.errors = errors
        super().__init__("Vault refused a request.")

    def says(self, words: str) -> bool:
        """Tell whether *words* are part of what Vault said."""
        return any(words in error for error in self.errors)


@dataclass(frozen=True, slots=True)
class VaultAccess:
    """Where Vault is and how to be let in."""

    address: str
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    namespace: str = ""
    authority: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """
        Read Vault's own variables.

        Raises:
            StoreConfigError: The address is missing or would send the token in clear over a network.
        """
        address = environment.get("VAULT_ADDR", "").rstrip("/")
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise StoreConfigError(
                "The root store vault: needs VAULT_ADDR in the environment, such as https://vault.example:8200."
            )
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise StoreConfigError(
                f"VAULT_ADDR would send the token and every root to {parts.hostname} unencrypted; use https://."
            )
        authority = environment.get("VAULT_CACERT")
        return cls(
            address,
            token=environment.get("VAULT_TOKEN", "").strip(),
            token_file=Path(environment.get("VAULT_TOKEN_FILE") or "~/.vault-token").expanduser(),
            namespace=environment.get("VAULT_NAMESPACE", "").strip("/"),
            authority=Path(authority) if authority else None,
        )


class VaultClient:
    """
    One connection to Vault with a token that is kept alive. Safe to share between threads.

    Raises:
        StoreConfigError: The certificate authority or the token cannot be read.
    """

    def __init__(self, access: VaultAccess) -> None:
        self._access = access
        self.place = urlsplit(access.address).netloc
        headers = {"X-Vault-Request": "true"}
        if access.namespace:
            headers["X-Vault-Namespace"] = access.namespace
        try:
            trust = ssl.create_default_context(cafile=access.authority)
        except OSError as error:
            raise StoreConfigError(f"VAULT_CACERT cannot be read ({error.strerror}).") from error
        # No proxy and no .netrc from the environment: a token goes to the address that was given and nowhere else.
        self._http = httpx.Client(
            base_url=f"{access.address}/v1/", headers=headers, timeout=_TIMEOUT, verify=trust, trust_env=False
        )
        # A root store lives as long as its process or its test; nobody closes it.
        weakref.finalize(self, self._http.close)
        self._token = self._read_token()
        self._lock = threading.Lock()
        self._renew_at = 0.0
        self._dies_unrenewed: float | None = None

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """
        Make one request; return the whole answer, or `None` where Vault has nothing under *path*.

        Raises:
            VaultRefusalError: Vault refused it (400).
            StoreConfigError: The token, the policy or the path is wrong.
            StoreUnavailableError: Vault cannot be reached, is sealed or overloaded.
        """
        self._keep_token()
        answer = self._send(method, path, body)
        if answer.status_code == 403 and self._reread_token():
            answer = self._send(method, path, body)
        return self._read(answer, path)

    def remarks(self) -> list[str]:
        """Say what is known of the token's end."""
        if self._dies_unrenewed is None:
            return []
        left = max(0, round(self._dies_unrenewed - time.monotonic()))
        remark = (
            f"The token for Vault at {self.place} cannot be renewed and ends in {left} s; give a periodic token, or "
            "let Vault's agent write a new one to VAULT_TOKEN_FILE in time."
        )
        return [remark]

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        try:
            return self._http.request(method, path, json=body, headers={"X-Vault-Token": self._token})
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # Not chained: the request, which such an error carries, holds the token and may hold a root.
            kind = type(error).__name__
            raise StoreUnavailableError(
                f"Vault at {self.place} cannot be reached ({kind}); check VAULT_ADDR, its certificate and the network."
            ) from None

    def _read(self, answer: httpx.Response, path: str) -> dict[str, Any] | None:
        content = _json(answer)
        errors = [str(error) for error in content.get("errors") or ()]
        match answer.status_code:
            case 200 | 204:
                return content
            case 404 if not errors and not content.get("data"):
                if any("versioned" in str(warning) for warning in content.get("warnings") or ()):
                    raise StoreConfigError(
                        f"The mount of {_mount(path)} in Vault at {self.place} is version 2 of the key-value engine; "
                        "the root store needs version 1, which keeps no old versions."
                    )
                return None
            case 404:
                raise StoreConfigError(
                    f"Vault at {self.place} has no engine mounted at {_mount(path)} (or not in this namespace); "
                    "enable it, or name another in the address of the root store."
                )
            case 400:
                raise VaultRefusalError(errors)
            case 403:
                raise StoreConfigError(
                    f"Vault at {self.place} refuses {_mount(path)}: the token has ended, or its policy does not allow "
                    "this; see the policy in docs/operations.md."
                )
            case 503:
                raise StoreUnavailableError(f"Vault at {self.place} is sealed or is not active; unseal it.")
            case status:
                raise StoreUnavailableError(f"Vault at {self.place} does not serve requests now (HTTP {status}).")

    def _keep_token(self) -> None:
        if time.monotonic() < self._renew_at or not self._lock.acquire(blocking=False):
            return
        try:
            # Whatever goes wrong here: the token may still be good, and the request itself will tell.
            self._renew_at = time.monotonic() + _TRY_AGAIN_SECONDS
            self._renew_at = time.monotonic() + self._renew_token()
        except StorageError:
            return
        finally:
            self._lock.release()

    def _renew_token(self) -> float:
        """Renew the token if it can be; return in how many seconds to do so again."""
        found = self._read(self._send("GET", "auth/token/lookup-self", None), "auth/token") or {}
        data = found.get("data") or {}
        left = float(data.get("ttl") or 0)
        self._dies_unrenewed = None
        if not left:
            return float("inf")
        if not data.get("renewable"):
            self._dies_unrenewed = time.monotonic() + left
            return _TRY_AGAIN_SECONDS
        renewed = self._read(self._send("POST", "auth/token/renew-self", _RENEW_WITH), "auth/token") or {}
        lease = float((renewed.get("auth") or {}).get("lease_duration") or left)
        return max(1.0, lease / 2)

    def _read_token(self) -> str:
        if self._access.token:
            return self._access.token
        file = self._access.token_file
        try:
            token = file.read_text(encoding="ascii").strip() if file else ""
        except (OSError, ValueError):
            token = ""
        if not token:
            raise StoreConfigError(
                "The root store vault: needs a token; set VAULT_TOKEN_FILE to the sink of Vault's agent, or set "
                "VAULT_TOKEN."
            )
        return token

    def _reread_token(self) -> bool:
        """Take over a token that was replaced in its file; say whether there is another one now."""
        before, self._token = self._token, self._read_token()
        if before == self._token:
            return False
        self._renew_at = 0.0
        return True


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _mount(path: str) -> str:
    return path.partition("/")[0] if not path.startswith("auth/") else "auth/token"
