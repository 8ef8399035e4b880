"""The stores: where roots and ciphertext live, what is overdue, and whether the catalogue holds together."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import redis

from pipelines import PipelineError, load_recipes
from providers import ProviderError, ProviderRegistry
from storage import (
    BlobStore,
    HasLifecycle,
    KeyStore,
    ObjectClass,
    StorageError,
    load_policies,
    longest_lives,
    open_blob_store,
)
from worker.doctor._findings import Finding, broken, ok, warning
from worker.errors import WorkerError
from worker.home import blobs_url, open_roots
from worker.settings import Settings

LEAST_FREE_BYTES: Final = 1 << 30

_REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "glusterfs"})
_PASSING: Final = frozenset({"tmpfs", "ramfs", "overlay"})
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


def roots(settings: Settings) -> Iterator[Finding]:
    """Judge the root store of each class."""
    for object_class in ObjectClass:
        check = f"roots of class {object_class.value}"
        try:
            store = open_roots(settings, object_class)
            store.check()
        except (StorageError, WorkerError) as error:
            yield broken(check, "cannot be used", str(error), "P5")
            continue
        for remark in store.remarks():
            yield warning(check, f"{store.name}, not wholly examined", remark, "P5")
        if store.name == "file" and object_class is ObjectClass.UPLOAD:
            advice = "keyring:, volatile:/dev/shm/<folder> or a server; a disk may keep what a file overwrote"
            yield warning(check, f"{store.name} ({store.residue_class})", advice, "P5")
        else:
            yield ok(check, f"{store.name} ({store.residue_class})", "P5")


def blobs(settings: Settings) -> Iterator[Finding]:
    """Judge the blob store and, if it is a folder, its file system and who may look into it."""
    try:
        url = blobs_url(settings)
        store = open_blob_store(url)
        store.check()
    except (StorageError, WorkerError) as error:
        yield broken("blob store", "cannot be used", str(error), "P6")
        return
    parts = urlsplit(url)
    if parts.scheme != "file":
        yield ok("blob store", f"{parts.scheme}://{parts.netloc}{parts.path}", "P1")
        yield from own_settings(store, settings)
        return
    folder = Path(unquote(parts.path))
    if _open_to_others(folder):
        yield warning("blob store", f"{folder} is open to others", f"chmod 700 {folder}", "P1")
    else:
        yield ok("blob store", f"{folder}, for this user only", "P1")
    yield file_system(folder, Path("/proc/self/mountinfo").read_text())
    yield _room(folder)


def own_settings(store: BlobStore, settings: Settings) -> Iterator[Finding]:
    """Judge what the blob store's own settings do to what is deleted from it."""
    check = "blob store's settings"
    try:
        found = store.probe(longest_lives(load_policies(settings.policies_dir).values()))
    except StorageError as error:
        yield broken(check, "break a promise", str(error), "P3")
        return
    if not found:
        yield ok(check, "nothing keeps, copies or shows what is deleted", "P3")
    for weakness in found:
        yield warning(f"{check}: {weakness.kind.value}", weakness.found, weakness.advice, "P6")


def lifecycle(settings: Settings, *, apply: bool = False) -> dict[str, Any] | None:
    """
    Give the lifecycle rules that fit the blob store and the policies, if the store has such rules; set them if asked.

    Raises:
        StorageError: The blob store cannot be used, a policy is wrong, or the rules cannot be set.
        SettingsError: The home folder cannot be made.
    """
    store = open_blob_store(blobs_url(settings))
    if not isinstance(store, HasLifecycle):
        return None
    longest = longest_lives(load_policies(settings.policies_dir).values())
    if apply:
        store.apply_lifecycle(longest)
    return store.lifecycle(longest)


def _open_to_others(folder: Path) -> bool:
    """Say whether somebody else can get to a folder: it and every folder above it would have to let him."""
    enter = (0o050, 0o010), (0o005, 0o001)
    return any(
        folder.stat().st_mode & read and all(above.stat().st_mode & step for above in folder.parents)
        for read, step in enter
    )


def file_system(folder: Path, mounts: str) -> Finding:
    """Judge the file system that holds *folder*; *mounts* is the content of ``/proc/self/mountinfo``."""
    check = "blob store's file system"
    kind = _kind(folder.resolve(), mounts)
    if kind in _PASSING:
        advice = "a volume that outlives this machine's restart; what is lost ends its jobs"
        return warning(check, kind, advice, "P6")
    if kind in _REMOTE or kind.startswith("fuse"):
        return warning(
            check, kind, "a local disk: a deletion elsewhere may leave snapshots that nobody here sees", "P3"
        )
    return ok(check, kind)


def _kind(folder: Path, mounts: str) -> str:
    best, kind = "", "unknown"
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or not right:
            continue
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
        # Of several mounts on one point, the last covers the others.
        if len(point) >= len(best) and folder.is_relative_to(point):
            best, kind = point, right.split()[0]
    return kind


def _room(folder: Path) -> Finding:
    state = os.statvfs(folder)
    free, total = state.f_bavail * state.f_frsize, state.f_blocks * state.f_frsize
    found = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    if free < min(LEAST_FREE_BYTES, total // 10):
        return warning("blob store's room", found, "make room; a full disk refuses uploads", "P6")
    return ok("blob store's room", found)


def figures(client: redis.Redis) -> Finding:
    """Judge whether anything is past its deadline without a record of its end."""
    check = "overdue objects"
    try:
        found = KeyStore(client).figures()
    except StorageError as error:
        return broken(check, "cannot be counted", str(error), "P4")
    overdue = sum(figures.overdue for figures in found.classes.values())
    live = sum(figures.live for figures in found.classes.values())
    if overdue:
        advice = "start a sweeper: their keys are gone, their ciphertext and receipts wait for one"
        return warning(check, f"{overdue} of {live + overdue}", advice, "P6")
    return ok(check, f"none of {live}", "P4")


def catalogue(settings: Settings) -> Finding:
    """Judge whether every recipe's provider is there."""
    check = "recipes and providers"
    registry = ProviderRegistry.from_entry_points()
    try:
        recipes = load_recipes(settings.recipes_dir)
        for recipe in recipes.values():
            registry.get(recipe.provider)
    except (PipelineError, ProviderError) as error:
        return warning(check, "do not fit together", str(error))
    return ok(check, f"{len(recipes)} recipes, {len(registry.names())} providers")
