"""
Finish what a crash or a deadline left: expired keys, doomed ciphertext, ciphertext without an owner.

    sweep = ObjectSweep(keys, blobs, root_stores)
    while sweep.expire_due() or sweep.delete_doomed() or sweep.collect_orphans(): ...

Every call is bounded, safe to repeat and safe beside other sweeps; its cost hangs on what is due, not on what lives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Final

from storage.blobs.protocol import BlobInfo, BlobStore
from storage.errors import StorageError
from storage.faults import FaultPoint, reach
from storage.keystore import KeyStore
from storage.names import ObjectClass, ObjectRef
from storage.roots.protocol import RootStore

# A receipt file is written in one go; a draft of this age belongs to nobody.
_FOREIGN_DRAFT_AGE: Final = timedelta(hours=1)

_CLOCK_MARGIN: Final = timedelta(hours=1)

_DELETIONS_AT_ONCE: Final = 8


class ObjectSweep:
    """The sweep of one key store and one blob store. One instance remembers how far it has looked for orphans."""

    def __init__(self, keys: KeyStore, blobs: BlobStore, root_stores: Mapping[ObjectClass, RootStore]) -> None:
        self._keys = keys
        self._blobs = blobs
        self._root_stores = dict(root_stores)
        self._looked_at = dict.fromkeys(ObjectClass, "")
        self._unknown = 0

    def expire_due(self, limit: int = 1000) -> int:
        """
        Record the objects whose keys Redis let go at their deadline, each with that time; return how many.

        Also destroys roots that have run out in stores that do not do it by themselves.

        Raises:
            StoreUnavailableError: A store cannot be reached; call again.
        """
        for root_store in {id(store): store for store in self._root_stores.values()}.values():
            root_store.expire()
        recorded = 0
        for object_class in ObjectClass:
            recorded += self._keys.expire_due(object_class, limit - recorded)
        reach(FaultPoint.SWEEP_EXPIRED)
        return recorded

    def delete_doomed(self, limit: int = 1000) -> int:
        """
        Delete ciphertext of shredded objects, the oldest first; return how many are done with.

        Raises:
            StorageError: Some could not be deleted, after all others were; they wait for the next call.
        """
        return self._delete(self._keys.doomed_first(limit), FaultPoint.SWEEP_CIPHERTEXT_DELETED)

    def collect_orphans(self, limit: int = 1000) -> int:
        """
        Delete ciphertext, whole or unfinished, that has no key row; return how many. Looks at up to *limit* per class.

        A key row is always made before the first byte of its ciphertext, so what has none will never open. What this
        key store never knew is left until the hour in its name: it may be alive in another key store, whose address
        this sweep should have had. Begins where the call before stopped.

        Raises:
            StorageError: Some could not be deleted, after all others were; or some are unknown to this key store.
        """
        self._unknown = 0
        deleted = self._collect(self._drafts(limit))
        for object_class in ObjectClass:
            found = list(islice(self._blobs.list(f"{object_class.value}/", after=self._looked_at[object_class]), limit))
            self._looked_at[object_class] = found[-1].name if len(found) == limit else ""
            deleted += self._collect(found)
        if self._unknown:
            raise StorageError(
                f"The blob store holds ciphertext of {self._unknown} objects that this key store never knew: either "
                "this is not the key store they were made with, or it has lost data. Check DAYFLY_KEYS_URL and "
                "DAYFLY_REDIS_URL; what nobody claims is deleted after its last possible deadline."
            )
        return deleted

    def delete_past_ceiling(self, limit: int = 1000) -> int:
        """
        Delete ciphertext, whole or unfinished, whose own name says that it cannot be alive; return how many.

        Asks the blob store only: for the time when the key store cannot be reached or is lost. By this machine's clock,
        with an hour to spare for one that is wrong. Looks at up to *limit* per class, the oldest first.

        Raises:
            StorageError: The blob store cannot be reached.
        """
        latest = (datetime.now(UTC) - _CLOCK_MARGIN).strftime("%Y%m%d%H")
        found = list(islice(self._blobs.unfinished(), limit))
        for object_class in ObjectClass:
            # Names begin with class and hour, so the first one that may live ends the search.
            blobs = takewhile(
                lambda blob: (ref := _ref(blob)) is None or ref.ceiling_hour <= latest,
                self._blobs.list(f"{object_class.value}/"),
            )
            found += islice(blobs, limit)
        dead = {blob.name for blob in found if (ref := _ref(blob)) is not None and ref.ceiling_hour <= latest}
        return sum(self._blobs.delete(name) for name in sorted(dead))

    def _drafts(self, limit: int) -> list[BlobInfo]:
        found = list(islice(self._blobs.unfinished(), limit))
        for draft in found:
            if _ref(draft) is None and draft.modified < datetime.now(UTC) - _FOREIGN_DRAFT_AGE:
                self._blobs.delete(draft.name)
        return found

    def _collect(self, found: Iterable[BlobInfo]) -> int:
        refs = {ref for blob in found if (ref := _ref(blob)) is not None}
        orphans = self._keys.without_row(sorted(refs))
        hour = datetime.now(UTC).strftime("%Y%m%d%H")
        kept = set(self._keys.never_known([ref for ref in orphans if ref.ceiling_hour > hour]))
        self._unknown += len(kept)
        return self._delete([ref for ref in orphans if ref not in kept], FaultPoint.SWEEP_ORPHAN_DELETED)

    def _delete(self, refs: list[ObjectRef], point: FaultPoint) -> int:
        gone: list[ObjectRef] = []
        failure: StorageError | None = None
        # A bucket takes three requests for one object, and rotation waits until the sweep is through.
        with ThreadPoolExecutor(_DELETIONS_AT_ONCE, "dayfly-delete") as threads:
            for ref, deletion in [(ref, threads.submit(self._blobs.delete, str(ref))) for ref in refs]:
                try:
                    deletion.result()
                except StorageError as error:
                    failure = error
                else:
                    gone.append(ref)
                    reach(point)
        self._keys.forget_doomed(gone)
        if failure is not None:
            raise failure
        return len(gone)


def _ref(blob: BlobInfo) -> ObjectRef | None:
    try:
        return ObjectRef.parse(blob.name)
    except ValueError:
        return None
