"""
The residue attack, with every root store: beside all copies of the key store, the attacker keeps whatever the root
store ever stored outside memory and, at the end, has every right to its server.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import boto3
import hvac
import pytest
from botocore.exceptions import ClientError

from storage import ObjectClass
from storage.wrapping import SECRET_BYTES, UnwrappingRoot
from tests.fakes.kms import FakeKms
from tests.fakes.vault import FakeVault
from tests.promises.test_p5_residue_is_bounded import Attacker, campaign
from tests.roots import KINDS, Server, root_store
from tests.sealed import SealedRoom
from tests.valkey import PrivateValkey

pytestmark = pytest.mark.slow

UPLOAD = ObjectClass.UPLOAD
EPOCHS = range(1, 6)


class Burglar(Attacker):
    """Also takes what the root store keeps, every time, and tries it at the end with the store's own server."""

    def __init__(self, room: SealedRoom, loot: Path, server: Server) -> None:
        super().__init__(room, loot)
        self._server = server
        self.sealed_roots: set[str] = set()
        self.files = b""

    def copy_everything(self) -> None:
        super().copy_everything()
        if isinstance(self._server, FakeVault):
            self.sealed_roots |= {entry["sealed"] for entry in self._server.entries.values()}
        elif isinstance(self._server, FakeKms):
            found = (re.search(r"[A-Za-z0-9+/=]{100,}", key.description) for key in self._server.keys.values())
            self.sealed_roots |= {match[0] for match in found if match}
        elif isinstance(self._server, PrivateValkey):
            self.files += b"".join(path.read_bytes() for path in self._server.home.rglob("*") if path.is_file())

    def steal_roots(self) -> list[UnwrappingRoot]:
        roots = super().steal_roots()
        for secret in self._opened_with_the_server():
            with suppress(ValueError):
                roots.append(UnwrappingRoot(bytearray(secret)))
        return roots

    def _opened_with_the_server(self) -> Iterator[bytes]:
        if isinstance(self._server, FakeVault):
            yield from self._with_vault(self._server)
        elif isinstance(self._server, FakeKms):
            yield from self._with_kms()
        # The length of a root, as the store writes it before one.
        for mark in re.finditer(SECRET_BYTES.to_bytes(2, "big"), self.files):
            yield self.files[mark.end() : mark.end() + SECRET_BYTES]

    def _with_vault(self, vault: FakeVault) -> Iterator[bytes]:
        client = hvac.Client(url=vault.url, token=vault.token)
        for sealed in self.sealed_roots:
            for epoch in EPOCHS:
                bound = base64.b64encode(f"dayfly-root/1|shop|upload-{epoch}".encode()).decode()
                with suppress(hvac.exceptions.VaultError):
                    answer = client.secrets.transit.decrypt_data(f"shop-upload-{epoch}", sealed, associated_data=bound)
                    yield base64.b64decode(answer["data"]["plaintext"])
        client.adapter.close()

    def _with_kms(self) -> Iterator[bytes]:
        client = boto3.session.Session().client("kms")
        for sealed in self.sealed_roots:
            for epoch in EPOCHS:
                context = {"dayfly": "shop", "class": "upload", "epoch": str(epoch)}
                with suppress(ClientError):
                    blob = base64.b64decode(sealed)
                    yield client.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"]
        client.close()


@pytest.fixture(params=KINDS)
def burgled(
    request: pytest.FixtureRequest,
    fresh_valkey: Callable[..., PrivateValkey],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[SealedRoom, Burglar]]:
    with root_store(request.param, tmp_path, monkeypatch) as (url, server):
        room = SealedRoom.open(fresh_valkey(), tmp_path, url)
        (tmp_path / "loot").mkdir()
        yield room, Burglar(room, tmp_path / "loot", server)


def test_p5_after_a_rotation_nothing_shredded_opens_whatever_the_root_store(
    burgled: tuple[SealedRoom, Burglar], monkeypatch: pytest.MonkeyPatch
) -> None:
    room, burglar = burgled
    shredded, live = campaign(room, burglar, monkeypatch)
    room.rotators[UPLOAD].rotate()
    burglar.copy_everything()
    opened = burglar.opened()

    assert opened & shredded == set()
    assert opened == live
    assert (
        room.keys.client.xrevrange(room.keys.outbox, count=1)[0][1][b"root_class"] == room.roots.residue_class.encode()
    )


def test_p5_without_rotation_the_same_attack_opens_everything_whatever_the_root_store(
    burgled: tuple[SealedRoom, Burglar], monkeypatch: pytest.MonkeyPatch
) -> None:
    room, burglar = burgled
    shredded, live = campaign(room, burglar, monkeypatch)

    assert burglar.opened() == shredded | live


def test_p5_the_burglar_opens_sealed_roots_whose_key_was_not_destroyed(
    burgled: tuple[SealedRoom, Burglar], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A root store that forgets nothing is found out: the attack on it is not blind either."""
    room, burglar = burgled
    monkeypatch.setattr(room.roots, "destroy", lambda *_: None)
    shredded, live = campaign(room, burglar, monkeypatch)
    room.rotators[UPLOAD].rotate()
    burglar.copy_everything()

    assert burglar.opened() == shredded | live
