"""
Handle key material and plaintext in memory that is overwritten after use.

What Python lets one promise: a `bytearray` or a mapping is overwritten in place, whatever happens; and so are the
immutable `bytes` that HPKE's `decrypt` of the `cryptography` package returns, because nobody else holds them. What it
does not: copies that a library makes on its way. Those are bounded by the process's life, not by this module.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

_Buffer = TypeVar("_Buffer", bytearray, memoryview)

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.getrandom.restype = ctypes.c_ssize_t
_libc.getrandom.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint)


def random_key(size: int = 32) -> bytearray:
    """
    Draw *size* random bytes straight into a buffer that can be overwritten.

    `os.urandom` would leave an immutable copy behind.

    Raises:
        OSError: The kernel gave no randomness.
    """
    key = bytearray(size)
    target = (ctypes.c_char * size).from_buffer(key)
    # Up to 256 bytes the call is never interrupted and never short, see getrandom(2).
    if _libc.getrandom(ctypes.addressof(target), size, 0) != size:
        raise OSError(ctypes.get_errno(), "getrandom gave no key")
    return key


def wipe(*buffers: bytearray | memoryview) -> None:
    """Overwrite *buffers* with zeros, in place."""
    for buffer in buffers:
        size = len(buffer)
        if size:
            ctypes.memset(ctypes.addressof((ctypes.c_char * size).from_buffer(buffer)), 0, size)


def wipe_bytes(content: bytes) -> None:
    """
    Overwrite an immutable copy, for libraries that take nothing else.

    Only for `bytes` of more than one byte that the caller made and nobody else holds: CPython shares others.
    """
    address = ctypes.cast(ctypes.c_char_p(content), ctypes.c_void_p).value
    if address:
        ctypes.memset(address, 0, len(content))


@contextmanager
def wiped(buffer: _Buffer) -> Iterator[_Buffer]:
    """Lend *buffer* and overwrite it at the end, also on an exception."""
    try:
        yield buffer
    finally:
        wipe(buffer)
