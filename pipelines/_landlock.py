"""
Landlock by its three system calls: deny the file system, the network and signals to others, all of it.

An empty ruleset needs no more than this; the kernel's `Documentation/userspace-api/landlock.rst` has the numbers.
"""

from __future__ import annotations

import ctypes
import os

_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_VERSION_FLAG = 1

# Rights known to each ABI version, as (file system, network, scope): asking for one the kernel does not know fails.
_FILES = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16, 6: 16, 7: 16}
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6

_libc = ctypes.CDLL(None, use_errno=True)


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


def _syscall(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def landlock_abi() -> int:
    """
    Return the kernel's Landlock version.

    Raises:
        OSError: The kernel has no Landlock, or it is switched off.
    """
    return _syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))


def deny_everything(abi: int) -> None:
    """
    Take every Landlock right from this thread and its future children, for good.

    Needs no_new_privs. Descriptors that are open already keep working.

    Raises:
        OSError: The kernel refused.
    """
    known = min(abi, max(_FILES))
    attr = _RulesetAttr(
        files=(1 << _FILES[known]) - 1,
        network=0b11 if known >= _NETWORK_SINCE else 0,
        scopes=0b11 if known >= _SCOPES_SINCE else 0,
    )
    # Older kernels take a shorter structure; zero in the bytes they do not know is accepted.
    ruleset = _syscall(_CREATE_RULESET, ctypes.byref(attr), ctypes.c_size_t(ctypes.sizeof(attr)), ctypes.c_uint32(0))
    try:
        _syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)
