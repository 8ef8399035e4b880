"""
Keep the wrapped object keys in Redis, each with a deadline that Redis itself enforces.

    keys = KeyStore(redis.Redis.from_url("redis://localhost/0"))
    keys.create(ref, keys.current_root(ref.object_class), wrapped, deadline=deadline, ceiling=ceiling)
    keys.shred([ref], ShredReason.DONE)

What is written, under a namespace (`dayfly`):

    key:<object id>    hash: class, epoch, wrapped, blob, ceiling; gone by itself at the deadline
    tomb:<object id>   hash: at, reason, class, blob; that the object was shredded, for 30 days
    live:<class>       sorted set: name in the blob store by deadline (ms); the index for sweep, rotation and figures
    doomed             sorted set: name in the blob store by time of the shred; ciphertext still to be deleted
    outbox             stream: what was created and destroyed, until it stands in a receipt file
    counts             hash: totals that only grow
    root:<class>       hash: the current root's epoch and public half, and the epochs still to be destroyed
    asked:<class>      the epoch that somebody last asked to replace at once

Every change is one Lua script, and every clock in it is Redis' own. No script makes a key row except `create`, which
refuses a name that has a row or a tombstone: nothing here can bring a shredded key back.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import redis

from storage._redis import KeyStoreConnection, from_ms, redis_errors, to_ms
from storage.errors import (
    DeadlineError,
    IntegrityError,
    ObjectShreddedError,
    StaleRootError,
    StorageError,
    StoreUnavailableError,
    UnknownObjectError,
)
from storage.key_answers import (
    KeyFigures,
    KeyRow,
    Live,
    Shredded,
    ShredOutcome,
    Status,
    Unknown,
    read_class_figures,
    read_outcome,
)
from storage.names import ObjectClass, ObjectId, ObjectRef, ShredReason
from storage.root_records import PublicRoot, RootRecords

_TOMBSTONE_LIFETIME: Final = timedelta(days=30)


class KeyStore(KeyStoreConnection):
    """
    The key store. Safe to share between threads; *client* must be opened with `decode_responses=False`.

    With *replicas*, what is created, extended or shredded counts once that many replicas have it.

    Raises:
        StoreConfigError: *client* decodes its answers.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        namespace: str = "dayfly",
        tombstone_lifetime: timedelta = _TOMBSTONE_LIFETIME,
        replicas: int = 0,
    ) -> None:
        super().__init__(client, namespace, replicas)
        self.tombstone_ms = int(tombstone_lifetime / timedelta(milliseconds=1))
        self.roots = RootRecords(self)

    def current_root(self, object_class: ObjectClass) -> PublicRoot:
        """
        Return the public half of the class's current root.

        Raises:
            StoreUnavailableError: No root was made yet, or Redis cannot be reached.
        """
        root = self.roots.read(object_class)
        if root is None:
            raise StoreUnavailableError(
                f"The class {object_class.value} has no root yet; a sweeper makes the first one."
            )
        return root

    def create(
        self, ref: ObjectRef, root: PublicRoot, wrapped: bytes, *, deadline: datetime, ceiling: datetime
    ) -> None:
        """
        Make the key row of a new object. Repeating the same call is safe.

        Raises:
            StaleRootError: *root* is not the class's current root any more.
            DeadlineError: *deadline* is past or beyond *ceiling*.
            StorageError: The name has a row or a tombstone already.
        """
        if deadline > ceiling:
            raise DeadlineError("The deadline lies beyond the object's ceiling; choose an earlier one.")
        answer = self.run(
            "create",
            [
                self.row(ref.oid),
                self.tombstone(ref.oid),
                self.live(ref.object_class),
                self.outbox,
                self.counts,
                self.root(ref.object_class),
            ],
            [
                ref.object_class.value,
                ref.oid,
                str(ref),
                root.epoch,
                root.fingerprint,
                wrapped,
                to_ms(deadline),
                to_ms(ceiling),
            ],
        )
        if answer == b"stale":
            raise StaleRootError(f"The root of epoch {root.epoch} of class {ref.object_class.value} is not current.")
        if answer == b"past":
            raise DeadlineError("The deadline is already past by the key store's clock; check this machine's clock.")
        if answer == b"taken":
            raise StorageError(f"The object {ref} exists or was shredded; a name is used once.")

    def load(self, ref: ObjectRef) -> KeyRow:
        """
        Return the live key row of *ref*.

        Raises:
            ObjectShreddedError: Its key was destroyed, by a shred or by its deadline.
            UnknownObjectError: Nothing is known of it.
            IntegrityError: The row under this name belongs to another object, or was changed.
        """
        answer = self._look_up(ref.oid, ref)
        if answer[0] == b"shredded":
            raise ObjectShreddedError(str(ref), from_ms(answer[1]), ShredReason(answer[2].decode()))
        if answer[0] == b"unknown":
            raise UnknownObjectError(str(ref))
        _, object_class, epoch, wrapped, blob, ceiling, deadline = answer
        if blob != str(ref).encode() or object_class != ref.object_class.value.encode():
            raise IntegrityError(f"The key row found for {ref} belongs to another object; the key store was changed.")
        try:
            return KeyRow(ref, int(epoch), wrapped, from_ms(deadline), from_ms(ceiling))
        except (ValueError, TypeError, OverflowError, OSError):
            raise IntegrityError(f"The key row found for {ref} cannot be read; the key store was changed.") from None

    def status(self, name: ObjectRef | ObjectId) -> Status:
        """
        Say whether an object is live, shredded or unknown.

        Given only an object id, an object whose deadline has passed is unknown until a sweep has recorded its end.
        """
        ref = name if isinstance(name, ObjectRef) else None
        answer = self._look_up(ref.oid if ref else str(name), ref)
        if answer[0] == b"shredded":
            return Shredded(from_ms(answer[1]), ShredReason(answer[2].decode()))
        if answer[0] == b"unknown":
            return Unknown()
        return Live(ObjectClass(answer[1].decode()), from_ms(answer[6]), int(answer[2]))

    def _look_up(self, oid: str, ref: ObjectRef | None) -> Sequence[Any]:
        keys = [self.row(oid), self.tombstone(oid)] + ([self.live(ref.object_class)] if ref else [])
        answer: Sequence[Any] = self.run("load", keys, [str(ref) if ref else ""])
        return answer

    def extend(
        self, refs: Sequence[ObjectRef], deadline: datetime, *, may_shorten: bool = False
    ) -> dict[ObjectRef, datetime]:
        """
        Move the deadlines of live objects to *deadline*, all or none; return the deadlines they have now.

        A deadline that is later already stays, unless *may_shorten*.

        Raises:
            DeadlineError: *deadline* is past, or beyond the ceiling of one of them.
            ObjectShreddedError: One of them was shredded.
            UnknownObjectError: One of them is unknown.
        """
        if not refs:
            return {}
        keys = [key for ref in refs for key in (self.row(ref.oid), self.live(ref.object_class))]
        answer = self.run("extend", keys, [to_ms(deadline), int(may_shorten), *map(str, refs)])
        if answer[0] == b"past":
            raise DeadlineError("The deadline is already past by the key store's clock; shred the objects instead.")
        if answer[0] == b"ceiling":
            raise DeadlineError(f"The deadline lies beyond the ceiling of {refs[answer[1]]}; choose an earlier one.")
        if answer[0] == b"gone":
            self.load(refs[answer[1]])
            raise UnknownObjectError(str(refs[answer[1]]))
        return {ref: from_ms(at) for ref, at in zip(refs, answer[1:], strict=True)}

    def shred(self, refs: Sequence[ObjectRef], reason: ShredReason) -> list[ShredOutcome]:
        """
        Destroy the keys of *refs* in one atomic step with the tombstones, events and counts that say so.

        Idempotent: what was shredded before keeps its time and reason. What is unknown is answered as unknown, and
        nothing is recorded about it.
        """
        return self._shred(refs, reason, "")

    def shred_lost(self, refs: Sequence[ObjectRef], epoch: int) -> int:
        """Shred those of *refs* that are still wrapped to the lost root of *epoch*; return how many."""
        outcomes = self._shred(refs, ShredReason.ROOT_LOST, str(epoch))
        return sum(not outcome.already and not outcome.unknown for outcome in outcomes)

    def _shred(self, refs: Sequence[ObjectRef], reason: ShredReason, epoch: str) -> list[ShredOutcome]:
        if not refs:
            return []
        keys = [self.doomed, self.outbox, self.counts]
        arguments: list[str | int] = [reason.value, self.tombstone_ms, epoch]
        for ref in refs:
            keys += (self.row(ref.oid), self.tombstone(ref.oid), self.live(ref.object_class))
            arguments += (ref.oid, ref.object_class.value, str(ref))
        answers = self.run("shred", keys, arguments)
        return [read_outcome(ref, answer) for ref, answer in zip(refs, answers, strict=True)]

    def doomed_among(self, refs: Sequence[ObjectRef]) -> list[ObjectRef]:
        """Return those of *refs* that were shredded and whose ciphertext is still to be deleted."""
        if not refs:
            return []
        with redis_errors():
            scores = self.client.zmscore(self.doomed, [str(ref) for ref in refs])
        return [ref for ref, score in zip(refs, scores, strict=True) if score is not None]

    def doomed_first(self, limit: int) -> list[ObjectRef]:
        """Return up to *limit* shredded objects whose ciphertext is still to be deleted, the oldest first."""
        with redis_errors():
            return [ObjectRef.parse(name.decode()) for name in self.client.zrange(self.doomed, 0, limit - 1)]

    def forget_doomed(self, refs: Sequence[ObjectRef]) -> None:
        """Record that the ciphertext of *refs* is deleted."""
        if refs:
            with redis_errors():
                self.client.zrem(self.doomed, *map(str, refs))

    def without_row(self, refs: Sequence[ObjectRef]) -> list[ObjectRef]:
        """Return those of *refs* that have no key row: with this key store nothing will ever open them."""
        if not refs:
            return []
        with redis_errors():
            pipeline = self.client.pipeline(transaction=False)
            for ref in refs:
                pipeline.exists(self.row(ref.oid))
            return [ref for ref, found in zip(refs, pipeline.execute(), strict=True) if not found]

    def never_known(self, refs: Sequence[ObjectRef]) -> list[ObjectRef]:
        """
        Return those of *refs* of which this key store has no trace: neither a tombstone nor a place in an index.

        A key that was ever made here leaves one or the other, so these belong to another key store, or this one has
        lost what it knew.
        """
        if not refs:
            return []
        with redis_errors():
            pipeline = self.client.pipeline(transaction=False)
            for ref in refs:
                pipeline.exists(self.tombstone(ref.oid)).zscore(self.live(ref.object_class), str(ref))
                pipeline.zscore(self.doomed, str(ref))
            found = iter(pipeline.execute())
            traces = zip(found, found, found, strict=True)
            return [
                ref
                for ref, (tombstone, due, doomed) in zip(refs, traces, strict=True)
                if not tombstone and due is None and doomed is None
            ]

    def expire_due(self, object_class: ObjectClass, limit: int) -> int:
        """Record up to *limit* objects whose keys Redis let go at their deadline; return how many."""
        recorded, _ = self.run(
            "expire",
            [self.live(object_class), self.doomed, self.outbox, self.counts],
            [object_class.value, self.tombstone_ms, limit, self.row(""), self.tombstone("")],
        )
        return int(recorded)

    def figures(self) -> KeyFigures:
        """Read the figures at one moment; the cost does not grow with the number of objects."""
        keys = [self.outbox, self.doomed, self.counts]
        for object_class in ObjectClass:
            keys += (self.live(object_class), self.root(object_class))
        pending, doomed, counts, now, *classes = self.run("figures", keys, [])
        totals = {name.decode(): int(count) for name, count in zip(counts[::2], counts[1::2], strict=True)}
        return KeyFigures(
            at=from_ms(now),
            classes={name: read_class_figures(found) for name, found in zip(ObjectClass, classes, strict=True)},
            created={name: totals.get(f"created:{name.value}", 0) for name in ObjectClass},
            destroyed={
                (name, reason): totals.get(f"destroyed:{name.value}:{reason.value}", 0)
                for name in ObjectClass
                for reason in ShredReason
            },
            receipts_pending=int(pending),
            doomed=int(doomed),
        )
