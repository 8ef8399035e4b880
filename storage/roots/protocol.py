"""Say what a root store does, and open one by its address."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from storage.errors import StoreConfigError
from storage.names import ObjectClass

ALLOWED_ADDRESSES: Final = (
    "keyring:, keyring:<namespace>, volatile:/dev/shm/<folder>, file:///<folder>, "
    "redis://[user:password@]host[:port][/db], rediss://…, unix:///path/to.sock, vault:<namespace> or "
    "kms:<namespace>"
)
"""The addresses of root stores, for people."""

_ALIAS_PART = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RootStore(Protocol):
    """
    Where the secret halves of roots live, by class and epoch.

    Every method may raise `StoreUnavailableError`, `StoreFullError` or `StoreConfigError`; `RootLostError` is only
    raised when the root is gone for good.
    """

    @property
    def name(self) -> str:
        """The scheme of its address."""
        ...

    @property
    def residue_class(self) -> str:
        """How sure it is that a destroyed root is gone, in one word for receipts."""
        ...

    @property
    def bound(self) -> str:
        """The same for people: who enforces the deadline, and what may stay behind for how long."""
        ...

    def put(self, object_class: ObjectClass, epoch: int, secret: bytearray, lifetime: timedelta) -> None:
        """Keep a root for *lifetime*. The caller overwrites *secret*."""
        ...

    def get(self, object_class: ObjectClass, epoch: int) -> bytearray:
        """
        Return a root's secret half; the caller overwrites it.

        Raises:
            RootLostError: It was destroyed, it ran out, or it was never here.
        """
        ...

    def renew(self, object_class: ObjectClass, epoch: int, lifetime: timedelta) -> None:
        """
        Let a root live *lifetime* from now.

        Raises:
            RootLostError: It is gone.
        """
        ...

    def destroy(self, object_class: ObjectClass, epoch: int) -> None:
        """Forget a root for good; one that is gone already is no error."""
        ...

    def epochs(self, object_class: ObjectClass) -> list[int]:
        """Return the epochs of the roots that are here and have not run out, ascending."""
        ...

    def expire(self) -> int:
        """Destroy the roots that have run out, where nothing else does it by itself; return how many."""
        ...

    def check(self) -> None:
        """
        Try it out with a root of its own.

        Raises:
            StoreConfigError: It does not work here; one sentence says why.
        """
        ...

    def remarks(self) -> list[str]:
        """Say, in a sentence each, what weakens the bound here or could not be looked at."""
        ...


def open_root_store(url: str, home: Path | None = None) -> RootStore:
    """
    Open the root store at *url*; `ALLOWED_ADDRESSES` says what there is.

    `keyring:` without a namespace takes one from *home*, so that several homes of one user stay apart.

    Raises:
        StoreConfigError: The address is wrong, or the store does not work here.
        StoreUnavailableError: The server that keeps the roots cannot be reached.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _not_understood() from None
    if (parts.scheme in ("redis", "rediss") and parts.hostname) or (parts.scheme == "unix" and parts.path[:1] == "/"):
        from storage.roots.redis import RedisRootStore

        return RedisRootStore(url)
    if parts.scheme == "vault" and not parts.netloc:
        return _open_vault(unquote(parts.path), parts.query)
    if parts.scheme == "kms" and not (parts.netloc or parts.query):
        return _open_kms(unquote(parts.path))
    if parts.netloc or parts.query or parts.fragment:
        raise StoreConfigError(
            f"The root store address {parts.scheme}: holds a host, a query or a fragment; it has none."
        )
    path = unquote(parts.path)
    if parts.scheme == "keyring":
        from storage.roots.keyring import KeyringRootStore

        return KeyringRootStore(_checked(path or _namespace_of(home)))
    if parts.scheme in ("volatile", "file") and path.startswith("/"):
        from storage.roots.file import FileRootStore
        from storage.roots.volatile import VolatileRootStore

        return VolatileRootStore(Path(path)) if parts.scheme == "volatile" else FileRootStore(Path(path))
    raise _not_understood()


def _not_understood() -> StoreConfigError:
    # The address itself is not repeated: it may hold a password.
    return StoreConfigError(f"The root store address is not understood; allowed: {ALLOWED_ADDRESSES}.")


def _open_vault(path: str, query: str) -> RootStore:
    from storage.roots._vault_http import VaultAccess
    from storage.roots.vault import VaultRootStore

    mounts = dict(parse_qsl(query))
    if not mounts.keys() <= {"transit", "kv"}:
        raise StoreConfigError("A vault: address names no other things than the mounts transit and kv.")
    return VaultRootStore(_checked(path), VaultAccess.from_environment(), **mounts)


def _open_kms(path: str) -> RootStore:
    try:
        from storage.roots.kms import KmsRootStore
    except ImportError:
        raise StoreConfigError("The root store kms: needs the extra 'kms'; run pip install 'dayfly[kms]'.") from None
    if _ALIAS_PART.fullmatch(path) is None:
        raise StoreConfigError("The namespace in a kms: address must be 1 to 64 letters, digits, '_' and '-'.")
    return KmsRootStore(path)


def _checked(namespace: str) -> str:
    if _NAMESPACE.fullmatch(namespace) is None:
        raise StoreConfigError(
            "The namespace in the root store's address must be 1 to 64 letters, digits, '.', '_', '-'."
        )
    return namespace


def _namespace_of(home: Path | None) -> str:
    if home is None:
        return "default"
    return hashlib.sha256(str(home.expanduser().resolve()).encode()).hexdigest()[:16]
