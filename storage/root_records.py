"""
Keep, beside the key rows, the record of the roots: numbers and public halves, never a secret.

A rotation walks through these in order: `draw_epoch`, `publish`, `rows` and `rewrap`, `finish`. Each is one atomic step
and safe to repeat.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from storage._redis import KeyStoreConnection, from_ms, redis_errors
from storage.names import ObjectClass, ObjectRef

_SCAN: Final = 500


@dataclass(frozen=True, slots=True)
class PublicRoot:
    """
    The public half of a root, as it was read.

    Attributes:
        retiring: The epochs before it that are not destroyed yet.
        drawn: Numbers that were drawn for a root and not published.
        age: How long ago it was made, by the key store's clock.
        unrenewed: How long ago some process last made or renewed it, by the key store's clock.
        asked: The epoch that somebody last asked to replace at once.
    """

    object_class: ObjectClass
    epoch: int
    public: bytes = field(repr=False)
    created: datetime
    retiring: tuple[int, ...] = ()
    drawn: tuple[int, ...] = ()
    age: timedelta = field(default=timedelta(), compare=False)
    unrenewed: timedelta = field(default=timedelta(), compare=False)
    asked: int | None = field(default=None, compare=False)

    @property
    def rotation_asked(self) -> bool:
        """Whether somebody asked for this root to be replaced at once."""
        return self.asked is not None and self.epoch <= self.asked

    def replaces(self, epoch: int) -> bool:
        """Say whether the root of *epoch* is destroyed, and every one before it, as far as this record knows."""
        return self.epoch > epoch and all(retiring > epoch for retiring in self.retiring)

    @property
    def fingerprint(self) -> str:
        """What tells two roots apart that have the same epoch in different key stores."""
        return fingerprint(self.public)


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """What a rotation reads of a key row."""

    ref: ObjectRef
    epoch: int
    wrapped: bytes = field(repr=False)


def _epochs(fields: Iterable[bytes], prefix: bytes) -> tuple[int, ...]:
    return tuple(sorted(int(name.removeprefix(prefix)) for name in fields if name.startswith(prefix)))


def fingerprint(public: bytes) -> str:
    """Return a short digest of a root's public half."""
    return hashlib.sha256(public).hexdigest()[:32]


class RootRecords:
    """The record of roots in one key store."""

    def __init__(self, connection: KeyStoreConnection) -> None:
        self._connection = connection

    def read(self, object_class: ObjectClass) -> PublicRoot | None:
        """Return the current root of the class, or `None` if none was ever published."""
        connection = self._connection
        with redis_errors():
            pipeline = connection.client.pipeline(transaction=False)
            pipeline.hgetall(connection.root(object_class)).get(connection.asked(object_class)).time()
            found, asked, (seconds, microseconds) = pipeline.execute()
        if b"epoch" not in found:
            return None
        now = from_ms(seconds * 1000 + microseconds // 1000)
        return PublicRoot(
            object_class,
            int(found[b"epoch"]),
            found[b"public"],
            from_ms(found[b"created"]),
            _epochs(found, b"retiring:"),
            _epochs(found, b"drawn:"),
            age=now - from_ms(found[b"created"]),
            unrenewed=now - from_ms(found.get(b"renewed", found[b"created"])),
            asked=None if asked is None else int(asked),
        )

    def ask_rotation(self, object_class: ObjectClass) -> int | None:
        """Ask whoever rotates the class to do it at once; return the epoch to be replaced, `None` if there is none."""
        connection = self._connection
        epoch = connection.run("ask_rotation", [connection.root(object_class), connection.asked(object_class)], [])
        return None if epoch is None else int(epoch)

    def draw_epoch(self, object_class: ObjectClass, floor: int) -> int:
        """Return a number above *floor* that no root of the class has had or will have."""
        return int(self._connection.run("draw_epoch", [self._connection.root(object_class)], [floor]))

    def publish(self, object_class: ObjectClass, expected: int | None, epoch: int, public: bytes) -> bool:
        """Make a root the current one if *expected* still is; say whether it is now."""
        arguments = ["" if expected is None else expected, epoch, public, fingerprint(public)]
        return bool(self._connection.run("publish", [self._connection.root(object_class)], arguments))

    def renewed(self, root: PublicRoot) -> bool:
        """Record that *root* has just been renewed in its root store; say whether it is still the current one."""
        return bool(self._connection.run("renewed", [self._connection.root(root.object_class)], [root.fingerprint]))

    def rows(self, object_class: ObjectClass, current: int) -> Iterator[list[WrappedKey]]:
        """
        Yield, in batches, every live row that is not under the *current* epoch.

        A row that lives from the first batch to the last is seen, however much is created and shredded meanwhile.
        """
        connection = self._connection
        cursor = 0
        while True:
            with redis_errors():
                cursor, entries = connection.client.zscan(connection.live(object_class), cursor, count=_SCAN)
                pipeline = connection.client.pipeline(transaction=False)
                refs = [ObjectRef.parse(name.decode()) for name, _ in entries]
                for ref in refs:
                    pipeline.hmget(connection.row(ref.oid), ("epoch", "wrapped"))
                found = pipeline.execute() if refs else []
            # A row whose epoch is no number was changed by something else: it opens nothing and dies at its deadline.
            batch = [
                WrappedKey(ref, int(epoch), wrapped or b"")
                for ref, (epoch, wrapped) in zip(refs, found, strict=True)
                if epoch is not None and epoch.isdigit() and int(epoch) != current
            ]
            if batch:
                yield batch
            if cursor == 0:
                return

    def rewrap(self, root: PublicRoot, keys: Sequence[tuple[WrappedKey, bytes]]) -> int | None:
        """
        Put newly wrapped keys in the rows that are still as they were read; return how many, keeping every deadline.

        `None` says that *root* is not current any more: another rotation has overtaken this one.
        """
        connection = self._connection
        names = [connection.row(key.ref.oid) for key, _ in keys] + [connection.root(root.object_class)]
        arguments: list[str | int | bytes] = [root.epoch, root.fingerprint]
        for key, wrapped in keys:
            arguments += (key.epoch, wrapped)
        count = int(connection.run("rewrap", names, arguments))
        return None if count < 0 else count

    def finish(self, object_class: ObjectClass, epoch: int, residue_class: str) -> bool:
        """Record the destruction of a retired root; say whether this call was the one that did."""
        connection = self._connection
        keys = [connection.root(object_class), connection.outbox, connection.counts, connection.live(object_class)]
        return bool(connection.run("finish_epoch", keys, [object_class.value, epoch, residue_class]))
