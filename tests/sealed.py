"""A whole storage room for a test: key store, blob folder, roots of both classes, store."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from storage import (
    BlobStore,
    KeyStore,
    ObjectClass,
    ObjectRef,
    ObjectSweep,
    OutboxDrain,
    RootStore,
    Rotator,
    Sealed,
    SealedStore,
    open_blob_store,
    open_root_store,
)
from tests.valkey import PrivateValkey


@dataclass
class SealedRoom:
    server: PrivateValkey
    keys: KeyStore
    blobs: BlobStore
    blob_folder: Path
    roots: RootStore
    roots_url: str
    store: SealedStore
    rotators: dict[ObjectClass, Rotator]

    @classmethod
    def open(cls, server: PrivateValkey, folder: Path, roots_url: str) -> SealedRoom:
        keys = KeyStore(server.client())
        blob_folder = folder / "blobs"
        blobs = open_blob_store(f"file://{blob_folder}")
        roots = open_root_store(roots_url)
        # A root that a test has taken away is lost at once, not after half a minute.
        rotators = {
            name: Rotator(keys, roots, name, timedelta(minutes=10), renewed_window=timedelta()) for name in ObjectClass
        }
        for rotator in rotators.values():
            rotator.ensure()
        store = SealedStore(keys, blobs, dict.fromkeys(ObjectClass, roots))
        return cls(server, keys, blobs, blob_folder, roots, roots_url, store, rotators)

    @property
    def sweep(self) -> ObjectSweep:
        return ObjectSweep(self.keys, self.blobs, dict.fromkeys(ObjectClass, self.roots))

    @property
    def drain(self) -> OutboxDrain:
        return OutboxDrain(self.keys, self.blobs)

    def seal(
        self,
        content: bytes = b"a photo",
        *,
        lifetime: timedelta = timedelta(minutes=5),
        object_class: ObjectClass = ObjectClass.UPLOAD,
    ) -> Sealed:
        now = datetime.now(UTC)
        return self.store.seal(
            content, object_class=object_class, deadline=now + lifetime, ceiling=now + max(lifetime, timedelta(days=1))
        )

    def blob_path(self, ref: ObjectRef) -> Path:
        return self.blob_folder / str(ref)

    def files(self) -> list[Path]:
        """Every file of ciphertext, whole or unfinished."""
        return [path for path in self.blob_folder.rglob("*") if path.is_file() and "receipts" not in path.parts]

    def forget_roots(self) -> None:
        for name in ObjectClass:
            for epoch in self.roots.epochs(name):
                self.roots.destroy(name, epoch)


def keyring_url() -> str:
    """The address of a keyring namespace that no other test uses."""
    return f"keyring:test-{secrets.token_hex(6)}"
