"""
Move the events of the key store into receipt files, each exactly once.

    OutboxDrain(keys, blobs).drain()

Every creation and destruction of a key, and of a root, writes one event to the outbox stream in the same script. A
drain first fixes in Redis which events the next file holds, then writes the file under a name made of the first and
the last of them, then lets them go. A crash anywhere repeats the same file with the same bytes.

A receipt file is JSON lines: `receipts/YYYY/MM/DD/<first>-<last>.jsonl`. No line holds personal data: an object id is
random, and whose the object was is not in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from storage._redis import from_ms, redis_errors
from storage.blobs.protocol import BlobStore
from storage.errors import CiphertextMissingError
from storage.faults import FaultPoint, reach
from storage.keystore import KeyStore
from storage.names import ObjectId

_FOLDER: Final = "receipts"
_FILE: Final = re.compile(rf"{_FOLDER}/\d{{4}}/\d\d/\d\d/(\d+-\d+)-(\d+-\d+)\.jsonl")
_EVENTS_PER_FILE: Final = 1000
_NUMBERS: Final = frozenset({"v", "at", "deadline", "ceiling", "epoch", "live", "retired"})

Receipt = dict[str, str | int]


class OutboxDrain:
    """The drain of one key store's outbox into one blob store. Any number may run at once."""

    def __init__(self, keys: KeyStore, blobs: BlobStore) -> None:
        self._keys = keys
        self._blobs = blobs

    def drain(self, *, limit: int = _EVENTS_PER_FILE) -> int:
        """
        Write the oldest events, up to *limit*, into one receipt file, and return how many; 0 means that none wait.

        Raises:
            StoreUnavailableError: A store cannot be reached; call again.
            StoreFullError: The blob store has no room; the events wait.
        """
        keys = self._keys
        cut = keys.run("cut", [keys.cut, keys.outbox], [limit])
        if not cut:
            return 0
        # The name of the file hangs on the cut: after a power cut it must still be the same.
        keys.persist()
        reach(FaultPoint.DRAIN_CUT)
        first, last = cut[0].decode(), cut[1].decode()
        with redis_errors():
            events = keys.client.xrange(keys.outbox, first, last)
        if events:
            with self._blobs.create(ReceiptFile(first, last).name) as sink:
                for event_id, fields in events:
                    sink.write(_line(event_id, fields))
            reach(FaultPoint.DRAIN_WRITTEN)
        keys.run("trim", [keys.cut, keys.outbox], [first, last])
        reach(FaultPoint.DRAIN_TRIMMED)
        return len(events)

    def find_receipts(self, oid: ObjectId) -> list[Receipt]:
        """
        Return every receipt of an object, the oldest first, also those that still wait in the outbox.

        Reads all receipt files: meant for people and audits, not for a hot path.
        """
        with redis_errors():
            waiting = self._keys.client.xrange(self._keys.outbox)
        found = {str(receipt["id"]): receipt for receipt in self.receipts() if receipt.get("oid") == oid}
        for event_id, fields in waiting:
            receipt = _receipt(event_id, fields)
            if receipt.get("oid") == oid:
                found.setdefault(str(receipt["id"]), receipt)
        return sorted(found.values(), key=lambda receipt: _order(str(receipt["id"])))

    def receipts(self) -> Iterator[Receipt]:
        """Yield every receipt in the files, in the order of the files."""
        for file in receipt_files(self._blobs):
            yield from read_receipts(self._blobs, file)


@dataclass(frozen=True, slots=True)
class ReceiptFile:
    """One receipt file, known by the ids of its first and its last event."""

    first: str
    last: str

    @property
    def name(self) -> str:
        """Its name in the blob store."""
        day: datetime = from_ms(self.first.partition("-")[0].encode())
        return f"{_FOLDER}/{day:%Y/%m/%d}/{self.first}-{self.last}.jsonl"

    def newer_than(self, other: ReceiptFile) -> bool:
        """Say whether its events come after those of *other*."""
        return _order(self.last) > _order(other.last)


def receipt_files(blobs: BlobStore, *, after: ReceiptFile | None = None) -> Iterator[ReceiptFile]:
    """
    Yield the receipt files by name, beginning behind the name of *after*.

    Raises:
        StoreUnavailableError: The blob store cannot be reached.
    """
    for blob in blobs.list(f"{_FOLDER}/", after="" if after is None else after.name):
        match = _FILE.fullmatch(blob.name)
        if match is not None:
            yield ReceiptFile(match[1], match[2])


def read_receipts(blobs: BlobStore, file: ReceiptFile) -> Iterator[Receipt]:
    """
    Yield the receipts of one file in their order; none if the file is gone.

    Raises:
        StoreUnavailableError: The blob store cannot be reached.
    """
    try:
        opened = blobs.open(file.name)
    except CiphertextMissingError:
        return
    with opened:
        for line in opened.read().splitlines():
            yield json.loads(line)


def _receipt(event_id: bytes, fields: dict[bytes, bytes]) -> Receipt:
    receipt: Receipt = {"id": event_id.decode()}
    for name, value in fields.items():
        text = value.decode()
        receipt[name.decode()] = int(text) if name.decode() in _NUMBERS and text else text
    return receipt


def _line(event_id: bytes, fields: dict[Any, Any]) -> bytes:
    # Canonical: the same event always gives the same bytes.
    return json.dumps(_receipt(event_id, fields), sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _order(event_id: str) -> tuple[int, int]:
    moment, _, number = event_id.partition("-")
    return int(moment), int(number)
