"""
The home folder of this machine, and what a deployment keeps in it where no setting says otherwise.

    <home>/valkey          the private server
    <home>/blobs           ciphertext
    <home>/roots           roots of class `output`
    <home>/roots-uploads   which root store was chosen for class `upload`
    <home>/subject.key     the key under which subject ids are hashed
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from storage import ObjectClass, RootStore, StorageError, StoreConfigError, open_root_store
from worker.embedded import make_private_folder
from worker.errors import SettingProblem, SettingsError
from worker.settings import Settings

_SUBJECT_KEY_BYTES: Final = 32


def private_home(settings: Settings) -> Path:
    """
    Return the home folder, made with access for this user only if it was missing.

    Raises:
        SettingsError: It cannot be made.
    """
    try:
        make_private_folder(settings.home)
    except OSError as error:
        problem = SettingProblem("DAYFLY_HOME", f"cannot be used ({error.strerror})", "a folder this user may write to")
        raise SettingsError([problem]) from error
    return settings.home


def open_roots(settings: Settings, object_class: ObjectClass) -> RootStore:
    """
    Open the root store of a class: the one that is set, else the default for this machine.

    Uploads' roots live in the kernel keyring where that is permitted, else in memory-backed files; outputs' roots in
    files, so that a restart of the host does not take yesterday's renditions.

    Raises:
        StorageError: It cannot be used.
    """
    name, chosen_url = (
        ("DAYFLY_ROOTS_OUTPUTS", settings.roots_outputs)
        if object_class is ObjectClass.OUTPUT
        else ("DAYFLY_ROOTS_UPLOADS", settings.roots_uploads)
    )
    if chosen_url is not None:
        with _named(name):
            return open_root_store(chosen_url.get_secret_value(), settings.home)
    if object_class is ObjectClass.OUTPUT:
        return open_root_store((private_home(settings) / "roots").as_uri(), settings.home)
    # The choice is written down: to a process that chose otherwise, every root would seem lost, and whatever is under
    # a lost root is shredded.
    chosen = private_home(settings) / "roots-uploads"
    return open_root_store(_written_once(chosen, lambda: _roots_that_work(settings.home)).decode())


@contextmanager
def _named(setting: str) -> Iterator[None]:
    """Say which setting it was that a store found wrong."""
    try:
        yield
    except StoreConfigError as error:
        raise StoreConfigError(f"{setting}: {error}") from error


def blobs_url(settings: Settings) -> str:
    """
    Return the address of the blob store: the one that is set, else the default for this machine.

    Raises:
        SettingsError: The home folder cannot be made.
    """
    if settings.blobs is not None:
        return settings.blobs
    return (private_home(settings) / "blobs").as_uri()


def subject_key(settings: Settings) -> bytes:
    """
    Return the key that is kept on this machine for hashing subject ids, making it if there is none.

    Raises:
        SettingsError: The home folder cannot be made.
    """
    file = private_home(settings) / "subject.key"
    return _written_once(file, lambda: secrets.token_hex(_SUBJECT_KEY_BYTES).encode())


def _roots_that_work(home: Path) -> bytes:
    # Two homes of one user must not share roots.
    name = f"dayfly-{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}"
    with suppress(StorageError):
        open_root_store(f"keyring:{name}").check()
        return f"keyring:{name}".encode()
    return f"volatile:/dev/shm/{name}-{os.getuid()}".encode()


def _written_once(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return a file's content, made by whoever comes first and the same for everybody after."""
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, make())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        # Of two processes that get here at once, one wins and both go by its file.
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_bytes()
