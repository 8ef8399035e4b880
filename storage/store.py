"""
Seal, open and shred objects: the key store, the blob store and the root stores together.

    store = SealedStore(keys, blobs, {ObjectClass.UPLOAD: open_root_store("keyring:shop")})
    sealed = store.seal(photo, object_class=ObjectClass.UPLOAD, deadline=soon, ceiling=tomorrow)
    descriptor = store.open_memfd(sealed.ref)
    store.shred([sealed.ref], ShredReason.DONE)

A process that holds no root store for a class can seal objects of it and never open them.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final, cast

from metrics.instruments import INTEGRITY_ERRORS, OPENED_BYTES, SEALED_BYTES
from storage._key_material import random_key, wipe, wiped
from storage._open_stream import OpenStream
from storage.blobs.protocol import BlobStore
from storage.errors import IntegrityError, RootLostError, StaleRootError, StorageError, StoreConfigError
from storage.faults import FaultPoint, reach
from storage.key_answers import ShredOutcome, Status
from storage.keystore import KeyStore
from storage.names import ObjectClass, ObjectId, ObjectRef, ShredReason, associated_data
from storage.root_records import PublicRoot
from storage.roots.protocol import RootStore
from storage.sealed_format import Source, open_into, plain_size, seal_stream
from storage.wrapping import UnwrappingRoot, wrap

_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed object: its name, and the size of its plaintext in bytes."""

    ref: ObjectRef
    size: int


class SealedStore:
    """Sealed objects. Safe to share between threads."""

    def __init__(self, keys: KeyStore, blobs: BlobStore, root_stores: Mapping[ObjectClass, RootStore]) -> None:
        self.keys = keys
        self.blobs = blobs
        self._root_stores = dict(root_stores)
        # Public halves only; a stale one is refused by the key store and read again.
        self._current: dict[ObjectClass, PublicRoot] = {}

    def seal(
        self,
        source: BinaryIO | bytes | bytearray | memoryview,
        *,
        object_class: ObjectClass,
        deadline: datetime,
        ceiling: datetime,
    ) -> Sealed:
        """
        Seal all of *source* as a new object that lives until *deadline*, which may be extended up to *ceiling*.

        The key row is made first, then the ciphertext; if that fails, the key is shredded. When this returns, the
        ciphertext is durable. A stream must offer `readinto`.

        Raises:
            DeadlineError: *deadline* is past or beyond *ceiling*.
            CiphertextMissingError: The object was shredded, or its deadline came, while the ciphertext was written.
            StoreUnavailableError: A store cannot be reached, or the class has no root yet.
            StoreFullError: A store has no room.
        """
        ref = ObjectRef.new(object_class, ceiling)
        with wiped(random_key()) as key:
            self._create_row(ref, key, deadline, ceiling)
            reach(FaultPoint.SEAL_ROW_CREATED)
            try:
                with self.blobs.create(str(ref)) as sink:
                    size, _ = seal_stream(cast("Source | bytes", source), sink, key, associated_data(ref))
                    reach(FaultPoint.SEAL_WRITTEN)
            except BaseException:
                # If the key store is away too, the row dies at its deadline and the sweep deletes what was written.
                with suppress(StorageError):
                    self.shred([ref], ShredReason.FAILED)
                    self.delete_ciphertext([ref])
                raise
        reach(FaultPoint.SEAL_COMMITTED)
        SEALED_BYTES.labels(object_class=object_class.value).inc(size)
        return Sealed(ref, size)

    def open_memfd(self, ref: ObjectRef) -> int:
        """
        Open the whole object into a memory file and return its descriptor, which the caller closes.

        The file is sealed against writing and resizing and closed on exec. It is verified whole: on any error nothing
        is returned.

        Raises:
            ObjectShreddedError: The object was shredded.
            UnknownObjectError: Nothing is known of it.
            IntegrityError: Ciphertext, row or name do not belong together, or were changed.
            RootLostError: Its root is gone.
            CiphertextMissingError: Its ciphertext is gone.
            StoreConfigError: This process holds no roots for its class.
        """
        descriptor = os.memfd_create("dayfly-object", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with self._opening(ref) as (source, size, key):
                os.ftruncate(descriptor, size)
                # An empty file cannot be mapped; it is verified all the same.
                mapping = closing(mmap.mmap(descriptor, size)) if size else nullcontext(bytearray())
                with mapping as place, memoryview(place) as target:
                    open_into(cast("Source", source), target, key, associated_data(ref))
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        except BaseException:
            os.close(descriptor)
            raise
        self._count(ref, size)
        return descriptor

    def open_bytes(self, ref: ObjectRef) -> bytes:
        """
        Open a small object whole. What is returned cannot be overwritten: prefer `open_memfd` for pictures.

        Raises:
            StorageError: As `open_memfd`.
        """
        with self._opening(ref) as (source, size, key), wiped(bytearray(size)) as plain:
            open_into(cast("Source", source), memoryview(plain), key, associated_data(ref))
            self._count(ref, size)
            return bytes(plain)

    def open_stream(self, ref: ObjectRef) -> BinaryIO:
        """
        Open an object for reading from its start, segment by segment; the caller closes it.

        Every byte read is verified, but that the object is whole is known only at its end: a reader that must have all
        or nothing reads to the end before it acts. The key is held until then or until it is closed.

        Raises:
            StorageError: As `open_memfd`; `IntegrityError` also while reading.
        """
        key = self._unwrap(ref)
        try:
            source = self.blobs.open(str(ref))
        except BaseException:
            wipe(key)
            raise
        return cast(BinaryIO, OpenStream(source, key, ref))

    def extend(
        self, refs: Sequence[ObjectRef], deadline: datetime, *, may_shorten: bool = False
    ) -> dict[ObjectRef, datetime]:
        """
        Move the deadlines of live objects, all or none; see `KeyStore.extend`.

        Raises:
            DeadlineError: *deadline* is past or beyond a ceiling.
            ObjectShreddedError: One of the objects was shredded.
        """
        deadlines = self.keys.extend(refs, deadline, may_shorten=may_shorten)
        reach(FaultPoint.EXTEND_DONE)
        return deadlines

    def shred(self, refs: Sequence[ObjectRef], reason: ShredReason) -> list[ShredOutcome]:
        """
        Destroy the keys of *refs* in one atomic step; nothing opens them from here on.

        Raises:
            StoreUnavailableError: The key store cannot be reached; call again.
        """
        outcomes = self.keys.shred(refs, reason)
        reach(FaultPoint.SHRED_DONE)
        return outcomes

    def delete_ciphertext(self, refs: Sequence[ObjectRef]) -> int:
        """
        Delete the ciphertext of shredded objects and return how many had any. Live objects among *refs* are left alone.

        Raises:
            StoreUnavailableError: A store cannot be reached; the sweep will do it.
        """
        doomed = self.keys.doomed_among(refs)
        deleted = sum(self.blobs.delete(str(ref)) for ref in doomed)
        reach(FaultPoint.CIPHERTEXT_DELETED)
        self.keys.forget_doomed(doomed)
        return deleted

    def status(self, name: ObjectRef | ObjectId) -> Status:
        """Say whether an object is live, shredded or unknown; see `KeyStore.status`."""
        return self.keys.status(name)

    def _create_row(self, ref: ObjectRef, key: bytearray, deadline: datetime, ceiling: datetime) -> None:
        for attempt in range(_ATTEMPTS):
            root = self._current.get(ref.object_class)
            if root is None:
                root = self._current[ref.object_class] = self.keys.current_root(ref.object_class)
            wrapped = wrap(key, root.public, associated_data(ref))
            try:
                self.keys.create(ref, root, wrapped, deadline=deadline, ceiling=ceiling)
            except StaleRootError:
                self._current.pop(ref.object_class, None)
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    def _unwrap(self, ref: ObjectRef) -> bytearray:
        root_store = self._root_stores.get(ref.object_class)
        if root_store is None:
            raise StoreConfigError(
                f"This process holds no roots for objects of class {ref.object_class.value} and cannot open them."
            )
        row = self.keys.load(ref)
        while True:
            try:
                with wiped(root_store.get(ref.object_class, row.epoch)) as secret:
                    key = UnwrappingRoot(secret).unwrap(row.wrapped, associated_data(ref))
                break
            except RootLostError:
                # A rotation may have passed between the two reads; only a row that stayed is lost with its root.
                before, row = row, self.keys.load(ref)
                if row.epoch == before.epoch:
                    raise
            except IntegrityError:
                INTEGRITY_ERRORS.inc()
                raise
        reach(FaultPoint.OPEN_KEY_UNWRAPPED)
        return key

    @contextmanager
    def _opening(self, ref: ObjectRef) -> Iterator[tuple[BinaryIO, int, bytearray]]:
        with wiped(self._unwrap(ref)) as key, self.blobs.open(str(ref)) as source:
            try:
                yield source, plain_size(self.blobs.size(str(ref))), key
            except IntegrityError:
                INTEGRITY_ERRORS.inc()
                raise

    def _count(self, ref: ObjectRef, size: int) -> None:
        reach(FaultPoint.OPEN_DECRYPTED)
        OPENED_BYTES.labels(object_class=ref.object_class.value).inc(size)
