"""
Name everything that can go wrong in the storage room.

    StorageError
    ├── IntegrityError           the object, its row or its place was changed, swapped or cut short
    ├── ObjectShreddedError      its key was destroyed; says when and why
    ├── UnknownObjectError       the key store has never heard of it, or has forgotten its tombstone
    ├── RootLostError            its row lives, the root that wraps its key does not
    ├── CiphertextMissingError   its row lives, its ciphertext is not in the blob store
    ├── BlobExistsError          a blob that must not replace another would have
    ├── StaleRootError           a row was wrapped to a root that is not the current one
    ├── DeadlineError            a deadline in the past, or later than the object's ceiling
    ├── StoreUnavailableError    a store cannot be reached; trying again later may help
    │   └── NotReplicatedError   a change was made, and too few replicas have it
    ├── StoreFullError           a store has no room left; trying again later may help
    └── StoreConfigError         an address, a permission or a setting is wrong; only a person can help
        └── RootElsewhereError   the current root is not in this process's root store, and lives in another's

The exceptions of Redis and of the operating system never leave the room. No message holds a key, wrapped or not,
or a byte of an object's content.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.names import ShredReason


class StorageError(Exception):
    """The root of the room's errors. `retryable` says whether the same call may succeed later by itself."""

    retryable = False


class IntegrityError(StorageError):
    """The object did not open under its key: it was changed, swapped with another, cut short or extended."""


class ObjectShreddedError(StorageError):
    """The object's key was destroyed at `shredded_at` (aware, UTC), for `reason`."""

    def __init__(self, name: str, shredded_at: datetime, reason: ShredReason) -> None:
        self.shredded_at = shredded_at
        self.reason = reason
        stamp = shredded_at.isoformat(timespec="milliseconds")
        super().__init__(f"The object {name} was shredded at {stamp} ({reason}); nothing can open it any more.")


class UnknownObjectError(StorageError):
    """The key store holds neither a key row nor a tombstone of this object."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The key store knows no object {name}; check its name, and that this is the right key store.")


class RootLostError(StorageError):
    """A root is gone for good: destroyed, run out, or lost with the memory it lived in."""


class CiphertextMissingError(StorageError):
    """The object's key lives, but its ciphertext is not in the blob store."""


class BlobExistsError(StorageError):
    """There is a blob of this name already, and the write was not to replace one."""


class StaleRootError(StorageError):
    """A key row was made under a root that is not current; wrap the key to the current root and try again."""

    retryable = True


class DeadlineError(StorageError):
    """A deadline lies in the past or beyond the object's ceiling."""


class StoreUnavailableError(StorageError):
    """A store cannot be reached or does not answer."""

    retryable = True


class NotReplicatedError(StoreUnavailableError):
    """A change was made, but a failover could take it back: too few replicas have it yet. Repeating it is safe."""

    def __init__(self, what: str, reached: int, wanted: int, waited: timedelta) -> None:
        super().__init__(
            f"Only {reached} of {wanted} replicas of the {what} had a change after {waited.total_seconds():g} s; "
            "see that they run and follow, or lower DAYFLY_REPLICAS."
        )


class StoreFullError(StorageError):
    """A store has no room left."""

    retryable = True


class StoreConfigError(StorageError):
    """A store's address, permissions or settings are wrong."""


class RootElsewhereError(StoreConfigError):
    """The current root is missing here although another process has just renewed it: two root stores, one key store."""
