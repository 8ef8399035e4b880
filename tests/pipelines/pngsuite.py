"""
PNG files of every colour type, bit depth, filter and interlacing, as the PngSuite has them, and broken ones.

PngSuite itself is in no package of the registries the tests use, so an equivalent is written here, byte by byte, by a
writer that shares no code with the decoders under test. Names follow it: `basi3p04` is basic, interlaced, colour type
3 with a palette, 4 bits.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

SIDE = 32
SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Colour type: its letter in the names, samples of a pixel, the depths it may have.
KINDS = {
    0: ("g", 1, (1, 2, 4, 8, 16)),
    2: ("c", 3, (8, 16)),
    3: ("p", 1, (1, 2, 4, 8)),
    4: ("a", 2, (8, 16)),
    6: ("a", 4, (8, 16)),
}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def samples(colour: int, depth: int, width: int = SIDE, height: int = SIDE) -> NDArray[np.int64]:
    """Return height × width × samples: ramps over the whole range of the depth, another for each sample."""
    top = (1 << depth) - 1
    y, x = np.mgrid[0:height, 0:width]
    ramps = [x * top // max(1, width - 1), y * top // max(1, height - 1), (x + y) * top // max(1, width + height - 2)]
    order = {0: [0], 2: [0, 1, 2], 3: [0], 4: [0, 1], 6: [0, 1, 2, 1]}[colour]
    return np.stack([ramps[index] for index in order], axis=2)


def palette(depth: int) -> NDArray[np.int64]:
    """Return 2^depth colours, none like another."""
    count = 1 << depth
    index = np.arange(count)
    return np.stack([index * 255 // (count - 1), 255 - index * 255 // (count - 1), (index * 37 + 11) % 256], axis=1)


def shown(colour: int, depth: int, width: int = SIDE, height: int = SIDE) -> NDArray[np.float64]:
    """Return what a viewer shows, by formula: RGB levels of 255, on white where it is transparent."""
    values = samples(colour, depth, width, height)
    if colour == 3:
        return palette(depth)[values[..., 0]].astype(float)
    levels = values * 255 / ((1 << depth) - 1)
    rgb = levels[..., :3] if colour in (2, 6) else np.repeat(levels[..., :1], 3, axis=2)
    if colour in (4, 6):
        alpha = levels[..., -1:] / 255
        rgb = rgb * alpha + 255 * (1 - alpha)
    return np.asarray(rgb, dtype=float)


def _packed(rows: NDArray[np.int64], depth: int) -> list[bytes]:
    packed = []
    for row in rows.reshape(rows.shape[0], -1):
        if depth == 16:
            packed.append(row.astype(">u2").tobytes())
        elif depth == 8:
            packed.append(row.astype(np.uint8).tobytes())
        else:
            bits = "".join(format(int(value), f"0{depth}b") for value in row)
            bits += "0" * (-len(bits) % 8)
            packed.append(bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)))
    return packed


def _filtered(lines: list[bytes], kind: int | None, step: int) -> bytes:
    """Apply one of the five filters to all lines, or each in turn where `kind` is None."""
    result = bytearray()
    before = bytes(len(lines[0])) if lines else b""
    for number, line in enumerate(lines):
        chosen = number % 5 if kind is None else kind
        result.append(chosen)
        for at, value in enumerate(line):
            left = line[at - step] if at >= step else 0
            up = before[at]
            corner = before[at - step] if at >= step else 0
            guess = (0, left, up, (left + up) // 2, _paeth(left, up, corner))[chosen]
            result.append((value - guess) & 255)
        before = line
    return bytes(result)


def _paeth(left: int, up: int, corner: int) -> int:
    estimate = left + up - corner
    distances = [(abs(estimate - value), order, value) for order, value in enumerate((left, up, corner))]
    return min(distances)[2]


def png(
    colour: int,
    depth: int,
    *,
    interlaced: bool = False,
    filtering: int | None = None,
    size: tuple[int, int] = (SIDE, SIDE),
    pieces: int = 1,
    level: int = 6,
    extra: bytes = b"",
) -> bytes:
    """Return one file; `extra` chunks stand before the picture, which is in `pieces` IDAT chunks."""
    values = samples(colour, depth, *size)
    step = max(1, values.shape[2] * depth // 8)
    if interlaced:
        passes = [values[top::down, left::across] for left, top, across, down in _ADAM7]
        raw = b"".join(_filtered(_packed(part, depth), filtering, step) for part in passes if part.size)
    else:
        raw = _filtered(_packed(values, depth), filtering, step)
    data = zlib.compress(raw, level)
    each = -(-len(data) // pieces)
    header = struct.pack(">IIBBBBB", size[0], size[1], depth, colour, 0, 0, int(interlaced))
    colours = chunk(b"PLTE", palette(depth).astype(np.uint8).tobytes()) if colour == 3 else b""
    body = b"".join(chunk(b"IDAT", data[at : at + each]) for at in range(0, len(data), each))
    return SIGNATURE + chunk(b"IHDR", header) + colours + extra + body + chunk(b"IEND", b"")


def good() -> Iterator[tuple[str, bytes, NDArray[np.float64]]]:
    """Give each good file's name, bytes and what it shows."""
    for colour, (letter, _count, depths) in KINDS.items():
        for depth in depths:
            for interlaced in (False, True):
                name = f"bas{'i' if interlaced else 'n'}{colour}{letter}{depth:02}"
                yield name, png(colour, depth, interlaced=interlaced), shown(colour, depth)
    for kind in range(5):
        yield f"f{kind:02}n2c08", png(2, 8, filtering=kind), shown(2, 8)
    for side in (1, 2, 3, 5, 7, 9, 33, 40):
        for interlaced in (False, True):
            name = f"s{side:02}{'i' if interlaced else 'n'}3p04"
            yield name, png(3, 4, interlaced=interlaced, size=(side, side)), shown(3, 4, side, side)
    for pieces in (2, 4, 10_000):
        yield f"oi{pieces}n2c16", png(2, 16, pieces=pieces), shown(2, 16)
    for level in (0, 1, 9):
        yield f"z{level:02}n2c08", png(2, 8, level=level), shown(2, 8)
    for name, extra in (
        ("cm0n0g04", chunk(b"tEXt", b"Title\x00PngSuite")),
        ("cten0g04", chunk(b"iTXt", b"Title\x00\x00\x00\x00\x00" + "Заглавие".encode())),
        ("cdfn2c08", chunk(b"pHYs", struct.pack(">IIB", 1, 4, 0))),
        ("ch1n3p04", chunk(b"tIME", struct.pack(">HBBBBB", 2026, 11, 24, 12, 0, 0))),
    ):
        colour, depth = int(name[4]), int(name[-2:])
        yield name, png(colour, depth, extra=extra), shown(colour, depth)
    see_through = np.where(samples(3, 2) == 1, 255, palette(2)[samples(3, 2)[..., 0]]).astype(float)
    yield "tbwn3p02", png(3, 2, extra=chunk(b"tRNS", bytes((255, 0, 255, 255)))), see_through


def broken() -> Iterator[tuple[str, bytes]]:
    """Give files that no decoder may show: signature, header, check sums and data, each damaged."""
    whole = png(2, 8)
    yield "xs1n0g01", b"\x88" + whole[1:]
    yield "xs2n0g01", whole[:1] + b"RNG" + whole[4:]
    yield "xcrn0g04", whole.replace(b"\r\n", b"\n", 1)
    header = struct.Struct(">IIBBBBB")
    rest = whole[33:]
    for name, fields in (
        ("xc1n0g08", (SIDE, SIDE, 8, 1, 0, 0, 0)),
        ("xc9n2c08", (SIDE, SIDE, 8, 9, 0, 0, 0)),
        ("xd0n2c08", (SIDE, SIDE, 0, 2, 0, 0, 0)),
        ("xd3n2c08", (SIDE, SIDE, 3, 2, 0, 0, 0)),
        ("xd9n2c08", (SIDE, SIDE, 99, 2, 0, 0, 0)),
        ("xzwn2c08", (0, SIDE, 8, 2, 0, 0, 0)),
        ("xzhn2c08", (SIDE, 0, 8, 2, 0, 0, 0)),
        ("xmxn2c08", (0x7FFF_FFFF, 0x7FFF_FFFF, 8, 2, 0, 0, 0)),
    ):
        yield name, SIGNATURE + chunk(b"IHDR", header.pack(*fields)) + rest
    at = whole.index(b"IDAT") + 8
    yield "xcsn0g01", whole[:at] + bytes((whole[at] ^ 255,)) + whole[at + 1 :]
    yield "xdtn0g01", whole[:33] + chunk(b"IEND", b"")
    yield "xlfn2c08", whole[:33] + chunk(b"IDAT", b"no zlib stream") + chunk(b"IEND", b"")
    yield "xhdn0g08", whole[:29] + b"\x00\x00\x00\x00" + whole[33:]
    yield "xplp3p04", png(3, 4).replace(b"PLTE", b"PLXE")
    yield "xcut2c08", whole[: len(whole) // 2]
