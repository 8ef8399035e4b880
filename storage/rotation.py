"""
Rotate roots: make a new one, wrap the live keys again, destroy the old one.

    rotator = Rotator(keys, open_root_store("keyring:shop"), ObjectClass.UPLOAD, root_lifetime=timedelta(hours=1))
    rotator.ensure()
    rotator.rotate()

After a rotation no copy of the key store made before it, however old, opens anything: every key in it is wrapped to a
root that is gone. Every step can be repeated, by this process or another, after a crash between any two; several
rotators may run at once, and the slower ones lose without harm. Nothing here can bring a shredded key back, because
a key is only put into a row that still exists under the epoch it was read with.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from metrics.instruments import REWRAPPED, ROTATION_SECONDS, ROTATIONS, RotationOutcome
from storage._key_material import wipe, wiped
from storage.errors import IntegrityError, RootElsewhereError, RootLostError, StaleRootError
from storage.faults import FaultPoint, reach
from storage.keystore import KeyStore
from storage.names import ObjectClass, ObjectRef, associated_data
from storage.root_records import PublicRoot, WrappedKey
from storage.roots.protocol import RootStore
from storage.wrapping import UnwrappingRoot, new_root, wrap

# One script holds Redis for its whole run: this many rows keep that well under ten milliseconds.
_BATCH: Final = 200
_RENEWED_WINDOW: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class RotationReport:
    """
    What a rotation did.

    `rewrapped` keys have a new wrapping; `skipped` were shredded or already rewrapped meanwhile; `lost` could not be
    unwrapped any more and were shredded with the reason root-lost.
    """

    epoch: int
    rewrapped: int
    skipped: int
    lost: int
    seconds: float


class Rotator:
    """
    The rotation of one class's roots.

    A root lives *root_lifetime* from its making or its last `renew`, then dies in its store by itself. It must be
    well above the interval at which the caller rotates or renews.

    Every process that shares a key store must share its root stores, too. To one that has another root store, the
    current root seems lost, and what is under a lost root is shredded. So a root that any process has renewed within
    *renewed_window* is not taken for lost: it is elsewhere, which is an error. The window must be longer than a few of
    the intervals at which the caller renews.
    """

    def __init__(
        self,
        keys: KeyStore,
        root_store: RootStore,
        object_class: ObjectClass,
        root_lifetime: timedelta,
        *,
        renewed_window: timedelta = _RENEWED_WINDOW,
    ) -> None:
        self._keys = keys
        self._roots = root_store
        self._class = object_class
        self._lifetime = root_lifetime
        # Past its lifetime, a root that nobody renewed is dead in whatever store it was.
        self._window = min(renewed_window, root_lifetime)

    @property
    def object_class(self) -> ObjectClass:
        """The class whose roots this rotates."""
        return self._class

    def ensure(self) -> PublicRoot:
        """
        Return the current root; make the first one, or replace one that is lost.

        What was wrapped to a lost root is shredded with the reason root-lost. What an interrupted rotation left is
        finished.

        Raises:
            RootElsewhereError: It is not here, and another process has renewed it just now.
            StoreUnavailableError: The key store or the root store cannot be reached.
        """
        current, here = self._current()
        if current is None:
            # Of two processes with a root store each, the slower one finds the other's root here.
            self._make_root(None)
            current, here = self._current()
        if current is None or not here:
            with suppress(StaleRootError):
                self.rotate()
            return self._keys.current_root(self._class)
        if current.retiring:
            self._retire(current)
        return current

    def rotate(self) -> RotationReport:
        """
        Make a new root, wrap every live key to it and destroy every older root of this key store.

        Raises:
            StaleRootError: Another rotation overtook this one; nothing is left to do.
            RootElsewhereError: The current root is not here, and another process has renewed it just now.
            StoreUnavailableError: The key store or the root store cannot be reached; call again.
        """
        started = time.monotonic()
        try:
            current, _ = self._current()
            root = self._make_root(current)
            rewrapped, skipped, lost = self._retire(root)
        except Exception:
            ROTATIONS.labels(object_class=self._class.value, outcome=RotationOutcome.FAILED).inc()
            raise
        seconds = time.monotonic() - started
        ROTATIONS.labels(object_class=self._class.value, outcome=RotationOutcome.DONE).inc()
        ROTATION_SECONDS.labels(object_class=self._class.value).observe(seconds)
        REWRAPPED.labels(object_class=self._class.value).inc(rewrapped)
        return RotationReport(root.epoch, rewrapped, skipped, lost, seconds)

    def renew(self) -> None:
        """
        Let the current root live on for its lifetime, without a rotation.

        Raises:
            RootLostError: It is gone; `ensure` replaces it.
        """
        current = self._keys.current_root(self._class)
        self._roots.renew(self._class, current.epoch, self._lifetime)
        self._keys.roots.renewed(current)

    def due(self, every: timedelta) -> bool:
        """Say whether to rotate now: the root is as old as *every*, or somebody asked for a rotation at once."""
        current = self._keys.roots.read(self._class)
        return current is None or current.age >= every or current.rotation_asked

    def _current(self) -> tuple[PublicRoot | None, bool]:
        """
        Return the current root, if there is one, and whether its secret half is here; if not, it is lost.

        Raises:
            RootElsewhereError: It is not here, and another process has renewed it just now.
        """
        current = self._keys.roots.read(self._class)
        while current is not None and not self._holds(current.epoch):
            # A rotation may have passed between the two reads.
            before, current = current, self._keys.roots.read(self._class)
            if current is not None and current.epoch == before.epoch:
                if current.unrenewed < self._window:
                    raise RootElsewhereError(
                        f"The current root of class {self._class.value} is not in this process's root store "
                        f"({self._roots.name}), but was renewed {current.unrenewed.total_seconds():.0f} s ago: another "
                        "host keeps roots of its own behind the same key store; point both at one shared root store, "
                        f"or wait {self._window.total_seconds():.0f} s if the store here has lost its root."
                    )
                return current, False
        return current, True

    def _holds(self, epoch: int) -> bool:
        try:
            wipe(self._roots.get(self._class, epoch))
        except RootLostError:
            return False
        return True

    def _make_root(self, current: PublicRoot | None) -> PublicRoot:
        # Above every epoch in the root store too: a key store restored from a backup counts from an old number.
        floor = max(self._roots.epochs(self._class), default=0)
        epoch = self._keys.roots.draw_epoch(self._class, floor)
        reach(FaultPoint.ROTATE_EPOCH_DRAWN)
        secret, public = new_root()
        with wiped(secret):
            self._roots.put(self._class, epoch, secret, self._lifetime)
        reach(FaultPoint.ROTATE_ROOT_STORED)
        if not self._keys.roots.publish(self._class, current.epoch if current else None, epoch, public):
            self._roots.destroy(self._class, epoch)
            if current is None:
                return self._keys.current_root(self._class)
            raise StaleRootError(f"Another rotation of class {self._class.value} overtook this one.")
        reach(FaultPoint.ROTATE_PUBLISHED)
        return self._keys.current_root(self._class)

    def _retire(self, root: PublicRoot) -> tuple[int, int, int]:
        """Empty every epoch but *root*'s of live rows, then destroy their roots and say so."""
        totals = self._rewrap_all(root)
        reach(FaultPoint.ROTATE_REWRAPPED)
        # A power cut must not take rewrapped rows and leave the old root destroyed: those keys would be lost.
        if totals[0] or self._keys.replicas:
            self._keys.persist()
        # Nor may a failover in between have brought rows back that were wrapped again: until none is found, once more.
        while self._keys.replicas and any(again := self._rewrap_all(root)):
            totals = (totals[0] + again[0], totals[1] + again[1], totals[2] + again[2])
            self._keys.persist()
        # One that was drawn below the current epoch cannot be published any more, so no row is under it. Whatever else
        # the root store holds may be alive in another key store, and dies with its lifetime if it is not.
        retired = {epoch for epoch in root.drawn if epoch < root.epoch} | set(root.retiring)
        for epoch in sorted(retired):
            self._roots.destroy(self._class, epoch)
            reach(FaultPoint.ROTATE_ROOT_DESTROYED)
            self._keys.roots.finish(self._class, epoch, self._roots.residue_class)
        reach(FaultPoint.ROTATE_FINISHED)
        return totals

    def _rewrap_all(self, root: PublicRoot) -> tuple[int, int, int]:
        rewrapped = skipped = lost = 0
        old_roots: dict[int, UnwrappingRoot | None] = {}
        for rows in self._keys.roots.rows(self._class, root.epoch):
            for start in range(0, len(rows), _BATCH):
                batch = rows[start : start + _BATCH]
                fresh, gone = self._wrap_again(root, batch, old_roots)
                done = self._keys.roots.rewrap(root, fresh) if fresh else 0
                if done is None:
                    raise StaleRootError(f"Another rotation of class {self._class.value} overtook this one.")
                reach(FaultPoint.ROTATE_REWRAPPING)
                shredded = sum(self._keys.shred_lost(refs, epoch) for epoch, refs in gone.items())
                rewrapped, lost = rewrapped + done, lost + shredded
                skipped += len(batch) - done - shredded
        return rewrapped, skipped, lost

    def _wrap_again(
        self, root: PublicRoot, rows: Sequence[WrappedKey], old_roots: dict[int, UnwrappingRoot | None]
    ) -> tuple[list[tuple[WrappedKey, bytes]], dict[int, list[ObjectRef]]]:
        fresh: list[tuple[WrappedKey, bytes]] = []
        gone: dict[int, list[ObjectRef]] = {}
        for row in rows:
            if row.epoch not in old_roots:
                old_roots[row.epoch] = self._old_root(row.epoch)
            old_root = old_roots[row.epoch]
            info = associated_data(row.ref)
            try:
                if old_root is None:
                    raise RootLostError
                with wiped(old_root.unwrap(row.wrapped, info)) as key:
                    fresh.append((row, wrap(key, root.public, info)))
            except (RootLostError, IntegrityError):
                # A row that was tampered with opens nothing, now or later; it goes the same way.
                gone.setdefault(row.epoch, []).append(row.ref)
        return fresh, gone

    def _old_root(self, epoch: int) -> UnwrappingRoot | None:
        try:
            with wiped(self._roots.get(self._class, epoch)) as secret:
                return UnwrappingRoot(secret)
        except RootLostError:
            return None
