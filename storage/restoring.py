"""
Notice that the key store was taken back to an older state, and destroy again what it had forgotten to be destroyed.

    report = RestoreHealer(keys, blobs).heal()
    if report is not None: ...

Somebody restores a snapshot by mistake, or a replica that was behind becomes the primary: rows of shredded objects are
back, and until the next rotation their root may still be there. The receipt files are in the blob store and were not
taken back. The key store remembers which file was the last; newer ones tell what it has forgotten.

Every file is applied in one atomic step that also moves that memory on, so a crash costs nothing. What was told in the
last seconds before the restore and stood in no file yet cannot be known here: such an object's job, if its record
was taken back as well, shreds it again, and its deadline does in any case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from metrics.instruments import KEY_STORE_RESTORES
from storage._redis import from_ms, redis_errors
from storage.blobs.protocol import BlobStore
from storage.faults import FaultPoint, reach
from storage.keystore import KeyStore
from storage.names import ObjectClass, ceiling_hour
from storage.receipts import Receipt, ReceiptFile, read_receipts, receipt_files


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """
    What was found and healed.

    Attributes:
        files: How many receipt files the key store had forgotten.
        shredded: Keys that were back and are destroyed again, under the time and reason of the first time.
        lost: Objects whose keys were made after the backup and are gone; each has a receipt that says so now.
    """

    files: int
    shredded: int
    lost: int


class RestoreHealer:
    """Compares one key store with the receipts in one blob store. Any number may run at once."""

    def __init__(self, keys: KeyStore, blobs: BlobStore) -> None:
        self._keys = keys
        self._blobs = blobs

    def heal(self) -> RestoreReport | None:
        """
        Apply what the key store has forgotten; `None` if it has forgotten nothing.

        Call it before anything is opened or rotated. Costs one listing when there is nothing to heal. A key store that
        has never filed anything is new, or was emptied: nothing is in it that could be opened.

        Raises:
            StoreUnavailableError: A store cannot be reached; call again.
        """
        forgotten = list(self._forgotten())
        if not forgotten:
            return None
        KEY_STORE_RESTORES.inc()
        files = [(file, list(read_receipts(self._blobs, file))) for file in forgotten]
        receipts = [receipt for _, inside in files for receipt in inside]
        names = {str(r["oid"]): _blob_name(r) for r in receipts if r["type"] == "created"}
        ended = {str(receipt["oid"]) for receipt in receipts if receipt["type"] == "destroyed"}
        shredded = lost = 0
        for file, inside in files:
            again, gone = self._apply(file, inside, names, ended)
            shredded, lost = shredded + again, lost + gone
            reach(FaultPoint.RESTORE_APPLIED)
        return RestoreReport(len(files), shredded, lost)

    def _forgotten(self) -> Iterator[ReceiptFile]:
        keys = self._keys
        with redis_errors():
            first, last, filed_first, filed_last = keys.client.hmget(
                keys.cut, ("first", "last", "filed-first", "filed-last")
            )
        if filed_last is None:
            return
        filed = ReceiptFile(filed_first.decode(), filed_last.decode())
        # Written, and its drain died before it could say so.
        pending = None if first is None else ReceiptFile(first.decode(), last.decode())
        for file in receipt_files(self._blobs, after=filed):
            if file.newer_than(filed) and file != pending:
                yield file

    def _apply(
        self, file: ReceiptFile, receipts: Sequence[Receipt], names: dict[str, str], ended: set[str]
    ) -> tuple[int, int]:
        keys = self._keys
        names_of_keys = [keys.cut, keys.outbox, keys.doomed, keys.counts]
        arguments: list[str | int] = [file.first, file.last, keys.tombstone_ms]
        for receipt in receipts:
            if receipt["type"] not in ("created", "destroyed"):
                continue
            oid, object_class = str(receipt["oid"]), ObjectClass(str(receipt["class"]))
            names_of_keys += (keys.row(oid), keys.tombstone(oid), keys.live(object_class))
            arguments += (str(receipt["id"]), str(receipt["type"]), object_class.value, oid, names.get(oid, ""))
            arguments += (str(receipt.get("reason", "")), int(receipt["at"]), int(oid in ended))
        shredded, lost = keys.run("reapply", names_of_keys, arguments)
        return int(shredded), int(lost)


def _blob_name(created: Receipt) -> str:
    hour = ceiling_hour(from_ms(int(created["ceiling"])))
    return f"{created['class']}/{hour}/{created['oid']}"
