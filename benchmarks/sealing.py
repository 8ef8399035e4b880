"""Sealing and opening in memory on one thread, against raw AES-GCM on the same buffers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.report import Figure, at_least, told
from storage.sealed_format import SEGMENT_BYTES, open_into, seal_stream, sealed_size

_TAG = 16
_AAD = b"dayfly/1|upload|0123456789abcdef0123456789abcdef"


class _Memory:
    """A sink and a source over one buffer that is made once, as a memory file would be."""

    def __init__(self, size: int) -> None:
        # Written once, so that no contender pays for the first touch of its pages.
        self._place = memoryview(bytearray(b"\x01") * size)
        self._at = 0

    def rewind(self) -> None:
        self._at = 0

    def write(self, data: memoryview | bytes) -> int:
        self._place[self._at : self._at + len(data)] = data
        self._at += len(data)
        return len(data)

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._place) - self._at)
        buffer[:count] = self._place[self._at : self._at + count]
        self._at += count
        return count


def measure(*, quick: bool) -> list[Figure]:
    """Seal and open, each by turns with the cipher alone in segments of the same size."""
    size = (4 if quick else 64) << 20
    rounds = 2 if quick else 15
    plain = memoryview(bytearray(os.urandom(1 << 20)) * (size >> 20))
    opened = memoryview(bytearray(b"\x01") * size)
    key = bytearray(os.urandom(32))
    sealed = _Memory(sealed_size(size))
    raw_sealed = memoryview(bytearray(b"\x01") * (size + _TAG * (size // SEGMENT_BYTES)))
    segment = memoryview(bytearray(SEGMENT_BYTES + _TAG))
    cipher = AESGCM(bytes(key))

    def raw(work: Callable[[bytes, memoryview, None, memoryview], object], *, opening: bool) -> None:
        for number in range(size // SEGMENT_BYTES):
            clear = (opened if opening else plain)[number * SEGMENT_BYTES : (number + 1) * SEGMENT_BYTES]
            step = SEGMENT_BYTES + _TAG
            shut = raw_sealed[number * step : (number + 1) * step]
            nonce = number.to_bytes(12, "big")
            work(nonce, *((shut, None, clear) if opening else (clear, None, shut)))

    def handed_on() -> None:
        """The cipher alone, through one buffer and the same sink: what is left is what the format itself costs."""
        sealed.rewind()
        for number in range(size // SEGMENT_BYTES):
            clear = plain[number * SEGMENT_BYTES : (number + 1) * SEGMENT_BYTES]
            cipher.encrypt_into(number.to_bytes(12, "big"), clear, None, segment)
            sealed.write(segment)

    def seal() -> None:
        sealed.rewind()
        seal_stream(plain, sealed, key, _AAD)

    def open_() -> None:
        sealed.rewind()
        open_into(sealed, opened, key, _AAD)

    contenders: dict[str, Callable[[], None]] = {
        "raw seal handed on": handed_on,
        "seal": seal,
        "raw seal": lambda: raw(cipher.encrypt_into, opening=False),
        "open": open_,
        "raw open": lambda: raw(cipher.decrypt_into, opening=True),
    }
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, work in contenders.items():
            started = time.thread_time()
            work()
            if turn:  # the first is a rehearsal
                speeds[name].append(size / 2**20 / (time.thread_time() - started))
    assert opened == plain

    def ratio(name: str, how: str = "") -> list[float]:
        return [ours / raw for ours, raw in zip(speeds[name], speeds[f"raw {name}{how}"], strict=True)]

    what = f"{size >> 20} MiB in memory"
    return [
        at_least(f"seal {what}, one thread, to raw AES-GCM", 0.6, ratio("seal")),
        told("… to raw AES-GCM handed on through one buffer and the same sink", ratio("seal", " handed on"), unit="×"),
        at_least(f"open {what}, one thread, to raw AES-GCM", 0.6, ratio("open")),
        told("seal, one thread", speeds["seal"], unit="MiB/s"),
        told("open, one thread", speeds["open"], unit="MiB/s"),
    ]
