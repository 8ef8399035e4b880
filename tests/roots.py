"""
Every kind of root store for a test, with the server it needs.

    with root_store("vault", tmp_path, monkeypatch) as (url, server): ...
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage import ObjectClass, open_root_store
from tests.fakes.kms import FakeKms
from tests.fakes.vault import FakeVault
from tests.sealed import keyring_url
from tests.valkey import PrivateValkey

KINDS = ("keyring", "volatile", "file", "redis", "vault", "kms")
SHARED_KINDS = ("redis", "vault", "kms")
"""Those that several hosts can share."""

# What docs/operations.md asks of a Redis for roots.
FORGETFUL = ("--appendonly", "no", "--save", "", "--maxmemory-policy", "noeviction", "--slowlog-log-slower-than", "-1")

Server = PrivateValkey | FakeVault | FakeKms | None


@contextmanager
def root_store(kind: str, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[tuple[str, Server]]:
    """Set up an empty root store; give its address, and its server if it has one of the test's own."""
    if kind == "redis":
        with PrivateValkey(None, *FORGETFUL) as server:
            yield server.url, server
    elif kind == "vault":
        with FakeVault() as vault:
            patch.setenv("VAULT_ADDR", vault.url)
            patch.setenv("VAULT_TOKEN", vault.token)
            yield "vault:shop", vault
    elif kind == "kms":
        with FakeKms() as kms:
            for name, value in kms.environment.items():
                patch.setenv(name, value)
            yield "kms:shop", kms
    elif kind == "file":
        yield (folder / "roots").as_uri(), None
    elif kind == "volatile":
        place = Path("/dev/shm") / f"dayfly-test-{secrets.token_hex(6)}"
        yield f"volatile:{place}", None
        shutil.rmtree(place, ignore_errors=True)
    else:
        url = keyring_url()
        yield url, None
        roots = open_root_store(url)
        for name in ObjectClass:
            for epoch in roots.epochs(name):
                roots.destroy(name, epoch)
