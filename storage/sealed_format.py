"""
Write and read the sealed object: Tink's streaming AEAD, AES256-GCM-HKDF with SHA-256 and 1 MiB segments.

    sealed = io.BytesIO()
    seal_stream(b"photo", sealed, key, aad)
    sealed.seek(0)
    assert b"".join(bytes(part) for part in open_segments(sealed, key, aad)) == b"photo"

The layout, byte for byte what the `tink` package writes for the key template `AES256_GCM_HKDF_1MB`:

    header   1 byte: 40 | 32 bytes: salt | 7 bytes: nonce prefix
    segment  AES-256-GCM ciphertext | 16 bytes: tag          (1 MiB each; the first is 40 bytes shorter)

The segments' key is HKDF-SHA256(object key, salt, info = associated data); a segment's nonce is the prefix, its
number as 4 bytes, and 1 for the last one, else 0. So a segment that is changed, moved, missing or left over fails.
Both directions keep a flat amount of memory whatever the size, and overwrite every buffer that held plaintext.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from storage._key_material import wipe, wiped
from storage.errors import IntegrityError
from storage.faults import FaultPoint, reach

SEGMENT_BYTES: Final = 1 << 20
_TAG: Final = 16
_SALT: Final = 32
_PREFIX: Final = 7
_HEADER: Final = 1 + _SALT + _PREFIX
_FIRST_PLAIN: Final = SEGMENT_BYTES - _TAG - _HEADER
_PLAIN: Final = SEGMENT_BYTES - _TAG
_MAX_SEGMENTS: Final = 1 << 32

_BROKEN: Final = "The object does not open: it was changed, swapped with another, cut short or extended."


class Source(Protocol):
    """What can be read into a buffer: a binary file, a socket's file, a stream of an upload."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...


class Sink(Protocol):
    """What sealed bytes are written to; every write takes all it is given."""

    def write(self, data: memoryview | bytes, /) -> object: ...


def sealed_size(plain_size: int) -> int:
    """Return the size in bytes of a sealed object of *plain_size* bytes."""
    rest = plain_size - _FIRST_PLAIN
    segments = 1 if rest <= 0 else 1 + -(-rest // _PLAIN)
    return plain_size + _HEADER + _TAG * segments


def plain_size(sealed: int) -> int:
    """
    Return the size in bytes of the plaintext in a sealed object of *sealed* bytes.

    Raises:
        IntegrityError: No plaintext gives an object of this size.
    """
    segments = max(1, -(-sealed // SEGMENT_BYTES))
    size = sealed - _HEADER - _TAG * segments
    if size < 0 or sealed_size(size) != sealed:
        raise IntegrityError(_BROKEN)
    return size


def seal_stream(
    source: Source | bytes | bytearray | memoryview, sink: Sink, key: bytearray, aad: bytes
) -> tuple[int, int]:
    """
    Seal all of *source* into *sink* and return the plain size and the sealed size in bytes.

    Bytes in memory are sealed where they lie; a stream passes through one buffer of one segment.

    Raises:
        ValueError: *source* is longer than the format can hold (4 PiB).
    """
    salt, prefix = os.urandom(_SALT), os.urandom(_PREFIX)
    sink.write(bytes([_HEADER]) + salt + prefix)
    written, total = _HEADER, 0
    with _cipher(key, salt, aad) as cipher:
        segments = _from_memory(source) if isinstance(source, bytes | bytearray | memoryview) else _from_stream(source)
        sealed = memoryview(b"")
        for number, (plain, last) in enumerate(segments):
            if number == _MAX_SEGMENTS:
                raise ValueError("the source is longer than a sealed object can be")
            size = len(plain) + _TAG
            if len(sealed) < size:
                sealed = memoryview(bytearray(size if last else SEGMENT_BYTES))
            cipher.encrypt_into(_nonce(prefix, number, last=last), plain, None, sealed[:size])
            sink.write(sealed[:size])
            reach(FaultPoint.SEAL_WRITING)
            written += size
            total += len(plain)
    return total, written


def open_segments(source: Source, key: bytearray, aad: bytes) -> Iterator[memoryview]:
    """
    Yield the verified segments of a sealed object, each valid only until the next one is asked for.

    A segment is yielded only after its tag held. Whoever needs all or nothing waits for the end: that the object is
    whole is known when the iterator is exhausted.

    Raises:
        IntegrityError: The object was changed, swapped, cut short or extended, or *key* or *aad* is not its own.
    """
    salt, prefix = _read_header(source)
    cipher_text = memoryview(bytearray(SEGMENT_BYTES + 1))
    plain = bytearray()
    try:
        with _cipher(key, salt, aad) as cipher:
            carried, number, last = 0, 0, False
            while not last:
                limit = SEGMENT_BYTES - (_HEADER if number == 0 else 0)
                # One byte more than the segment tells whether another follows.
                filled = _fill(source, cipher_text, carried, limit + 1)
                last = filled <= limit
                size = min(filled, limit) - _TAG
                if size < 0:
                    raise IntegrityError(_BROKEN)
                if len(plain) < size:
                    wipe(plain)
                    plain = bytearray(size)
                target = memoryview(plain)[:size]
                _decrypt(cipher, _nonce(prefix, number, last=last), cipher_text[: size + _TAG], target)
                yield target
                if not last:
                    cipher_text[0] = cipher_text[limit]
                carried, number = 1, number + 1
    finally:
        wipe(plain)


def open_into(source: Source, target: memoryview, key: bytearray, aad: bytes) -> None:
    """
    Open a sealed object straight into *target*, which has exactly the size of its plaintext.

    On any error *target* is overwritten with zeros.

    Raises:
        IntegrityError: As `open_segments`, or the plaintext has not the size of *target*.
    """
    try:
        salt, prefix = _read_header(source)
        cipher_text = memoryview(bytearray(min(SEGMENT_BYTES, len(target) + _TAG) + 1))
        with _cipher(key, salt, aad) as cipher:
            done, number, last = 0, 0, False
            while not last:
                size = min(len(target) - done, _FIRST_PLAIN if number == 0 else _PLAIN)
                last = done + size == len(target)
                # Past the last segment one more byte must not come.
                wanted = size + _TAG + (1 if last else 0)
                if _fill(source, cipher_text, 0, wanted) != size + _TAG:
                    raise IntegrityError(_BROKEN)
                # Released at once, so that the caller can unmap the target also while an exception is on its way.
                with target[done : done + size] as part:
                    _decrypt(cipher, _nonce(prefix, number, last=last), cipher_text[: size + _TAG], part)
                done, number = done + size, number + 1
    except BaseException:
        wipe(target)
        raise


def _decrypt(cipher: AESGCM, nonce: bytes, data: memoryview, target: memoryview) -> None:
    try:
        cipher.decrypt_into(nonce, data, None, target)
    except InvalidTag:
        raise IntegrityError(_BROKEN) from None


@contextmanager
def _cipher(key: bytearray, salt: bytes, aad: bytes) -> Iterator[AESGCM]:
    with wiped(bytearray(32)) as derived:
        HKDF(hashes.SHA256(), 32, salt, aad).derive_into(key, derived)
        yield AESGCM(derived)


def _nonce(prefix: bytes, number: int, *, last: bool) -> bytes:
    return prefix + number.to_bytes(4, "big") + (b"\x01" if last else b"\x00")


def _read_header(source: Source) -> tuple[bytes, bytes]:
    header = bytearray(_HEADER)
    if _fill(source, memoryview(header), 0, _HEADER) != _HEADER or header[0] != _HEADER:
        raise IntegrityError(_BROKEN)
    return bytes(header[1 : 1 + _SALT]), bytes(header[1 + _SALT :])


def _fill(source: Source, buffer: memoryview, start: int, end: int) -> int:
    """Read until *buffer* is filled from *start* to *end* or the source ends; return how far it is filled."""
    while start < end:
        count = source.readinto(buffer[start:end])
        if not count:
            break
        start += count
    return start


def _from_memory(source: bytes | bytearray | memoryview) -> Iterator[tuple[memoryview, bool]]:
    with memoryview(source) as view, view.cast("B") as plain:
        start, end = 0, _FIRST_PLAIN
        while end < len(plain):
            yield plain[start:end], False
            start, end = end, end + _PLAIN
        yield plain[start:], True


def _from_stream(source: Source) -> Iterator[tuple[memoryview, bool]]:
    with wiped(memoryview(bytearray(_PLAIN + 1))) as buffer:
        carried, limit = 0, _FIRST_PLAIN
        while (filled := _fill(source, buffer, carried, limit + 1)) > limit:
            yield buffer[:limit], False
            buffer[0] = buffer[limit]
            carried, limit = 1, _PLAIN
        yield buffer[:filled], True
