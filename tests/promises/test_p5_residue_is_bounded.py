"""
The attack: every byte the key store ever wrote, copies of it made at any time, all ciphertext, all current roots.

The attacker does not parse anything: whatever lies at any offset of any copy and could be a wrapped key is tried
against every root, for every object.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage import IntegrityError, ObjectClass, ObjectRef, ShredReason
from storage._key_material import wiped
from storage.names import associated_data
from storage.sealed_format import open_segments
from storage.wrapping import UnwrappingRoot
from tests.sealed import SealedRoom, keyring_url
from tests.valkey import PrivateValkey

UPLOAD = ObjectClass.UPLOAD
WRAPPED_BYTES = 1168


class Attacker:
    def __init__(self, room: SealedRoom, loot: Path) -> None:
        self._room = room
        self._loot = loot
        self._ciphertext: dict[ObjectRef, bytes] = {}

    def copy_everything(self) -> None:
        """Take a backup of the key store's folder and of all ciphertext, as it is now."""
        client = self._room.server.client()
        self._room.keys.persist()
        client.bgsave()
        while client.info("persistence")["rdb_bgsave_in_progress"]:
            time.sleep(0.01)
        shutil.copytree(self._room.server.folder, self._loot / f"{len(list(self._loot.iterdir()))}")
        for path in self._room.files():
            ref = ObjectRef.parse(str(path.relative_to(self._room.blob_folder)))
            self._ciphertext[ref] = path.read_bytes()

    def steal_roots(self) -> list[UnwrappingRoot]:
        roots = []
        for epoch in self._room.roots.epochs(UPLOAD):
            with wiped(self._room.roots.get(UPLOAD, epoch)) as secret:
                roots.append(UnwrappingRoot(secret))
        return roots

    def wrapped_keys(self) -> Iterator[bytes]:
        """Everything in the loot that is stored as a string of a wrapped key's length."""
        seen = set()
        folders = (self._loot, self._room.server.folder)
        for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
            content = path.read_bytes()
            # The length as the append-only file writes it, and as snapshots do (14 bits, big-endian).
            for mark in re.finditer(rb"\$1168\r\n|\x44\x90", content):
                found = content[mark.end() : mark.end() + WRAPPED_BYTES]
                if len(found) == WRAPPED_BYTES and found not in seen:
                    seen.add(found)
                    yield found

    def opened(self) -> set[ObjectRef]:
        roots = self.steal_roots()
        opened: set[ObjectRef] = set()
        for wrapped in self.wrapped_keys():
            for ref in self._ciphertext.keys() - opened:
                if any(self._opens(root, wrapped, ref) for root in roots):
                    opened.add(ref)
        return opened

    def _opens(self, root: UnwrappingRoot, wrapped: bytes, ref: ObjectRef) -> bool:
        import io

        try:
            key = root.unwrap(wrapped, associated_data(ref))
            content = b"".join(
                bytes(part) for part in open_segments(io.BytesIO(self._ciphertext[ref]), key, associated_data(ref))
            )
        except IntegrityError:
            return False
        return content == ref.oid.encode()


@pytest.fixture
def attacked(fresh_valkey: Callable[..., PrivateValkey], tmp_path: Path) -> Iterator[tuple[SealedRoom, Attacker]]:
    room = SealedRoom.open(fresh_valkey(), tmp_path, keyring_url())
    (tmp_path / "loot").mkdir()
    yield room, Attacker(room, tmp_path / "loot")
    room.forget_roots()


def seal_named(room: SealedRoom, monkeypatch: pytest.MonkeyPatch) -> ObjectRef:
    """Seal an object whose content is its own id, so that the attacker's success can be checked."""
    name = ObjectRef.new
    drawn: list[ObjectRef] = []

    def remember(object_class: ObjectClass, ceiling: object) -> ObjectRef:
        drawn.append(name(object_class, ceiling))  # type: ignore[arg-type]
        return drawn[-1]

    class Late:
        given = False

        def readinto(self, buffer: memoryview) -> int:
            if self.given:
                return 0
            self.given = True
            buffer[:32] = drawn[-1].oid.encode()
            return 32

    with monkeypatch.context() as patch:
        patch.setattr(ObjectRef, "new", staticmethod(remember))
        return room.seal(Late()).ref  # type: ignore[arg-type]


def campaign(room: SealedRoom, attacker: Attacker, patch: pytest.MonkeyPatch) -> tuple[set[ObjectRef], set[ObjectRef]]:
    """Seal, let the attacker copy everything, shred most, copy again; return the shredded and the live."""
    refs = [seal_named(room, patch) for _ in range(12)]
    attacker.copy_everything()
    shredded, live = set(refs[:9]), set(refs[9:])
    room.store.shred(sorted(shredded), ShredReason.DONE)
    attacker.copy_everything()
    return shredded, live


def test_p5_after_a_rotation_no_copy_of_the_key_store_opens_a_shredded_object(
    attacked: tuple[SealedRoom, Attacker], monkeypatch: pytest.MonkeyPatch
) -> None:
    room, attacker = attacked
    shredded, live = campaign(room, attacker, monkeypatch)
    room.rotators[UPLOAD].rotate()
    attacker.copy_everything()
    opened = attacker.opened()

    assert opened & shredded == set()
    # The attack is not blind: what lives, it opens.
    assert opened == live


def test_p5_without_rotation_the_same_attack_opens_every_shredded_object(
    attacked: tuple[SealedRoom, Attacker], monkeypatch: pytest.MonkeyPatch
) -> None:
    room, attacker = attacked
    shredded, live = campaign(room, attacker, monkeypatch)

    assert attacker.opened() == shredded | live


def test_p5_an_old_snapshot_put_back_opens_nothing_and_is_cleared(
    attacked: tuple[SealedRoom, Attacker], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    room, attacker = attacked
    shredded, live = campaign(room, attacker, monkeypatch)
    room.rotators[UPLOAD].rotate()
    room.server.stop()
    shutil.rmtree(room.server.folder)
    shutil.copytree(tmp_path / "loot" / "0", room.server.folder)
    room.server.start()
    room.rotators[UPLOAD].ensure()

    for ref in shredded | live:
        with pytest.raises(Exception, match="root-lost"):
            room.store.open_bytes(ref)
    assert room.keys.figures().destroyed[UPLOAD, ShredReason.ROOT_LOST] == 12
