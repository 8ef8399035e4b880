from __future__ import annotations

import io
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import IntegrityError
from storage.sealed_format import SEGMENT_BYTES, open_into, open_segments, plain_size, seal_stream, sealed_size

KEY = bytearray(range(32))
AAD = b"dayfly/1|upload|00"
FIRST = SEGMENT_BYTES - 56
EDGES = [0, 1, FIRST - 1, FIRST, FIRST + 1, FIRST + SEGMENT_BYTES - 16, FIRST + SEGMENT_BYTES - 15]


def sealed(content: bytes) -> bytes:
    sink = io.BytesIO()
    assert seal_stream(content, sink, KEY, AAD) == (len(content), len(sink.getvalue()))
    return sink.getvalue()


def opened(content: bytes, key: bytearray = KEY, aad: bytes = AAD) -> bytes:
    return b"".join(bytes(part) for part in open_segments(io.BytesIO(content), key, aad))


def content_of(size: int) -> bytes:
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


@pytest.mark.parametrize("size", EDGES)
def test_opens_to_what_was_sealed_from_memory_and_from_a_stream(size: int) -> None:
    content = content_of(size)
    sink = io.BytesIO()
    seal_stream(io.BytesIO(content), sink, KEY, AAD)
    target = bytearray(size)
    open_into(io.BytesIO(sink.getvalue()), memoryview(target), KEY, AAD)

    assert opened(sealed(content)) == opened(sink.getvalue()) == target == content


@pytest.mark.parametrize("size", EDGES)
def test_sizes_are_known_in_advance_both_ways(size: int) -> None:
    assert sealed_size(size) == len(sealed(content_of(size)))
    assert plain_size(sealed_size(size)) == size


@pytest.mark.parametrize("size", [0, 39, 55, SEGMENT_BYTES + 1, SEGMENT_BYTES + 16])
def test_a_size_no_object_can_have_is_an_integrity_error(size: int) -> None:
    with pytest.raises(IntegrityError):
        plain_size(size)


class Dripping(io.RawIOBase):
    """A source that gives a few bytes at a time, as a socket does."""

    def __init__(self, content: bytes, step: int) -> None:
        self._left = memoryview(content)
        self._step = step

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        part = self._left[: min(self._step, len(buffer))]
        buffer[: len(part)] = part
        self._left = self._left[len(part) :]
        return len(part)


def test_short_reads_change_nothing() -> None:
    content = content_of(FIRST + 5)
    sink = io.BytesIO()
    seal_stream(Dripping(content, 10_007), sink, KEY, AAD)

    target = bytearray(len(content))
    open_into(Dripping(sink.getvalue(), 9_973), memoryview(target), KEY, AAD)
    assert target == content


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=4096), place=st.integers(min_value=0), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed(content: bytes, place: int, bit: int) -> None:
    changed = bytearray(sealed(content))
    changed[place % len(changed)] ^= 1 << bit

    with pytest.raises(IntegrityError):
        opened(bytes(changed))


@pytest.mark.parametrize("size", EDGES)
@pytest.mark.parametrize("cut", [1, 16, 17, SEGMENT_BYTES])
def test_a_truncated_object_is_noticed(size: int, cut: int) -> None:
    whole = sealed(content_of(size))

    with pytest.raises(IntegrityError):
        opened(whole[: max(0, len(whole) - cut)])
    with pytest.raises(IntegrityError):
        open_into(io.BytesIO(whole[: max(0, len(whole) - cut)]), memoryview(bytearray(size)), KEY, AAD)


@pytest.mark.parametrize("size", EDGES)
@pytest.mark.parametrize("more", [1, 16, SEGMENT_BYTES])
def test_an_extended_object_is_noticed(size: int, more: int) -> None:
    whole = sealed(content_of(size)) + bytes(more)

    with pytest.raises(IntegrityError):
        opened(whole)
    with pytest.raises(IntegrityError):
        open_into(io.BytesIO(whole), memoryview(bytearray(size)), KEY, AAD)


def test_cut_at_a_segment_boundary_or_with_segments_swapped_is_noticed() -> None:
    whole = sealed(content_of(FIRST + 2 * (SEGMENT_BYTES - 16)))
    first, second, third = (whole[at : at + SEGMENT_BYTES] for at in range(0, len(whole), SEGMENT_BYTES))

    for wrong in (first, first + second, first + third + second, first + second + second):
        with pytest.raises(IntegrityError):
            opened(wrong)


def test_another_key_or_other_associated_data_does_not_open() -> None:
    whole = sealed(b"photo")

    with pytest.raises(IntegrityError):
        opened(whole, key=bytearray(32))
    with pytest.raises(IntegrityError):
        opened(whole, aad=b"dayfly/1|output|00")


def test_nothing_of_a_failed_opening_stays_in_the_target() -> None:
    changed = bytearray(sealed(content_of(3 * SEGMENT_BYTES)))
    changed[-1] ^= 1
    target = bytearray(3 * SEGMENT_BYTES)

    with pytest.raises(IntegrityError):
        open_into(io.BytesIO(changed), memoryview(target), KEY, AAD)
    assert target == bytes(len(target))


def test_two_seals_of_the_same_content_share_nothing() -> None:
    assert sealed(bytes(100))[1:40] != sealed(bytes(100))[1:40]


class Zeros(io.RawIOBase):
    def __init__(self, size: int) -> None:
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = min(self._left, len(buffer))
        self._left -= count
        return count


class Counting:
    def __init__(self) -> None:
        self.size = 0

    def write(self, data: memoryview | bytes) -> None:
        self.size += len(data)


def test_memory_stays_flat_whatever_the_size() -> None:
    def peak(size: int) -> int:
        tracemalloc.start()
        sink = Counting()
        seal_stream(Zeros(size), sink, KEY, AAD)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sink.size == sealed_size(size)
        return most

    assert peak(64 << 20) < peak(4 << 20) + (64 << 10)
    assert peak(64 << 20) < 3 << 20
