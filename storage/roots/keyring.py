"""
Keep roots in the Linux kernel's user keyring, where the kernel itself enforces their deadline.

Every process of the same user on this machine can read them, and none of them survives a reboot. The system calls are
made through `ctypes`: no package on PyPI that is still kept up wraps them.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import platform
import secrets
from datetime import timedelta
from typing import Final

from storage._key_material import wipe
from storage.errors import RootLostError, StorageError, StoreConfigError, StoreFullError, StoreUnavailableError
from storage.names import ObjectClass

_ADD_KEY, _KEYCTL = {"x86_64": (248, 250), "aarch64": (217, 219)}.get(platform.machine(), (-1, -1))
_USER_KEYRING: Final = -4
_REVOKE, _SETPERM, _DESCRIBE, _UNLINK, _SEARCH, _READ, _SET_TIMEOUT = 3, 5, 6, 9, 10, 11, 15
# Everything but changing the owner, for the process that has the key linked and for every process of the user.
_PERMISSIONS: Final = 0x3F3F0000
_TYPE: Final = b"user"
_GONE: Final = frozenset({errno.ENOKEY, errno.EKEYEXPIRED, errno.EKEYREVOKED})
_PROBE_EPOCH: Final = 0

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class KeyringRootStore:
    """
    A root store in the keyring of this process's user.

    *namespace* keeps several homes, or tests, of one user apart.

    Raises:
        StoreConfigError: This processor's system calls are not known here.
    """

    name = "keyring"
    residue_class = "kernel-keyring"
    bound = (
        "The kernel refuses a root from the second of its deadline, with no process of ours alive, and overwrites it "
        "when it collects expired keys (within five minutes by default). A destroyed root is overwritten at once. "
        "Nothing survives a reboot. One machine, one user."
    )

    def __init__(self, namespace: str) -> None:
        if _KEYCTL < 0:
            raise StoreConfigError(
                f"The kernel keyring is not supported on {platform.machine()}; use volatile:/dev/shm/<folder>."
            )
        self._prefix = f"dayfly:{namespace}:"

    def put(self, object_class: ObjectClass, epoch: int, secret: bytearray, lifetime: timedelta) -> None:
        payload = (ctypes.c_char * len(secret)).from_buffer(secret)
        serial = _call(
            _ADD_KEY,
            _TYPE,
            self._description(object_class.value, epoch),
            payload,
            ctypes.c_size_t(len(secret)),
            ctypes.c_int(_USER_KEYRING),
        )
        # The timeout first: a crash between the two must not leave a root without a deadline that all can read.
        _call(_KEYCTL, _SET_TIMEOUT, serial, _seconds(lifetime))
        _call(_KEYCTL, _SETPERM, serial, ctypes.c_uint(_PERMISSIONS))

    def get(self, object_class: ObjectClass, epoch: int) -> bytearray:
        serial = self._find(object_class.value, epoch)
        size = 96
        while True:
            secret = bytearray(size)
            target = (ctypes.c_char * size).from_buffer(secret)
            try:
                found = _call(_KEYCTL, _READ, serial, target, ctypes.c_size_t(size))
            except _GoneError:
                raise _lost(object_class, epoch) from None
            if found == size:
                return secret
            # The kernel says how long it is and, if that was too long, has copied nothing.
            if found < size:
                short = secret[:found]
                wipe(secret)
                return short
            size = found

    def renew(self, object_class: ObjectClass, epoch: int, lifetime: timedelta) -> None:
        serial = self._find(object_class.value, epoch)
        try:
            _call(_KEYCTL, _SET_TIMEOUT, serial, _seconds(lifetime))
        except _GoneError:
            raise _lost(object_class, epoch) from None

    def destroy(self, object_class: ObjectClass, epoch: int) -> None:
        try:
            serial = self._find(object_class.value, epoch)
        except RootLostError:
            return
        # Revoking overwrites and frees the payload at once; unlinking lets go of the empty key.
        for operation in ((_REVOKE, serial), (_UNLINK, serial, _USER_KEYRING)):
            try:
                _call(_KEYCTL, *operation)
            except _GoneError:
                continue

    def epochs(self, object_class: ObjectClass) -> list[int]:
        prefix = f"{self._prefix}{object_class.value}:"
        found = (name.removeprefix(prefix) for name in self._names() if name.startswith(prefix))
        return sorted(int(epoch) for epoch in found if epoch.isdigit())

    def expire(self) -> int:
        return 0

    def check(self) -> None:
        secret = bytearray(secrets.token_bytes(96))
        try:
            probe = f"check-{secrets.token_hex(4)}"
            self._try_out(probe, secret)
        except StoreConfigError:
            raise
        except StorageError as error:
            raise StoreConfigError(
                f"The kernel keyring does not work here ({error}); use volatile:/dev/shm/<folder>."
            ) from error

    def remarks(self) -> list[str]:
        return []

    def _try_out(self, namespace: str, secret: bytearray) -> None:
        store = KeyringRootStore(namespace)
        store.put(ObjectClass.UPLOAD, _PROBE_EPOCH, secret, timedelta(seconds=30))
        try:
            if store.get(ObjectClass.UPLOAD, _PROBE_EPOCH) != secret:
                raise StoreConfigError("The kernel keyring does not give back what is put in it.")
        finally:
            store.destroy(ObjectClass.UPLOAD, _PROBE_EPOCH)

    def _description(self, object_class: str, epoch: int) -> bytes:
        return f"{self._prefix}{object_class}:{epoch}".encode()

    def _find(self, object_class: str, epoch: int) -> int:
        try:
            return _call(
                _KEYCTL, _SEARCH, _USER_KEYRING, _TYPE, self._description(object_class, epoch), ctypes.c_int(0)
            )
        except _GoneError:
            raise _lost(ObjectClass(object_class), epoch) from None

    def _names(self) -> list[str]:
        names = []
        for serial in _linked():
            text = ctypes.create_string_buffer(256)
            try:
                _call(_KEYCTL, _DESCRIBE, serial, text, ctypes.c_size_t(len(text)))
            except (_GoneError, StoreConfigError):
                # It went away since, or it is somebody else's and hidden from us.
                continue
            # type;uid;gid;permissions;description
            names.append(text.value.decode("utf-8", "replace").split(";", 4)[-1])
        return names


class _GoneError(StorageError):
    """The kernel has no such key (any more)."""


def _linked() -> list[int]:
    size = 4096
    while True:
        buffer = (ctypes.c_int32 * (size // 4))()
        found = _call(_KEYCTL, _READ, _USER_KEYRING, buffer, ctypes.c_size_t(size))
        if found <= size:
            return list(buffer[: found // 4])
        size = found


def _call(*arguments: object) -> int:
    result: int = _libc.syscall(*arguments)
    if result >= 0:
        return result
    code = ctypes.get_errno()
    if code in _GONE:
        raise _GoneError(os.strerror(code))
    if code == errno.EDQUOT:
        raise StoreFullError(
            "The kernel keyring of this user is full; see /proc/key-users and raise kernel.keys.maxkeys or maxbytes."
        )
    if code in (errno.EACCES, errno.EPERM, errno.ENOSYS):
        raise StoreConfigError(
            f"The kernel keyring cannot be used here ({os.strerror(code)}), as in containers whose seccomp profile "
            "blocks keyctl; use volatile:/dev/shm/<folder>."
        )
    raise StoreUnavailableError(f"The kernel keyring does not work: {os.strerror(code)}.")


def _seconds(lifetime: timedelta) -> ctypes.c_uint:
    # The kernel counts whole seconds of its clock, so a timeout of n runs out up to a second early.
    return ctypes.c_uint(math.ceil(lifetime.total_seconds()) + 1)


def _lost(object_class: ObjectClass, epoch: int) -> RootLostError:
    return RootLostError(
        f"The root of epoch {epoch} of class {object_class.value} is not in the kernel keyring: it was destroyed, "
        "ran out, or went with a reboot."
    )
