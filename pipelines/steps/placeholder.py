"""
Placeholder: what a page shows before the picture is there, in a few bytes.

BlurHash and ThumbHash as their authors define them, and the most frequent colours. In plain Python, because a
thousand pixels are enough and the optional NumPy may not be there.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import pyvips
from PIL import Image

_SIDE = 32
_COLOURS = 5
_BASE83 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"

Rgba = Sequence[tuple[int, int, int, int]]


def placeholder(image: pyvips.Image, width: int, height: int) -> bytes:
    """Return the JSON of a picture's placeholders; `width` and `height` are those to reserve on the page."""
    small = image.thumbnail_image(_SIDE, height=_SIDE, size="down", no_rotate=True)
    if not small.hasalpha():
        small = small.bandjoin(255)
    data = bytes(small.cast("uchar").write_to_memory())
    pixels = [(data[i], data[i + 1], data[i + 2], data[i + 3]) for i in range(0, len(data), 4)]
    size = small.width, small.height
    found = {
        "width": width,
        "height": height,
        "blurhash": blurhash(pixels, *size),
        "thumbhash": base64.b64encode(thumbhash(pixels, *size)).decode(),
        "colours": dominant_colours(pixels),
    }
    return json.dumps(found, separators=(",", ":")).encode()


def dominant_colours(pixels: Rgba, count: int = _COLOURS) -> list[str]:
    """Return up to `count` colours as "#rrggbb", most frequent first, of what is not transparent."""
    seen = bytes(level for pixel in pixels if pixel[3] > 127 for level in pixel[:3])
    if not seen:
        return []
    reduced = Image.frombytes("RGB", (len(seen) // 3, 1), seen).quantize(count, Image.Quantize.MEDIANCUT)
    palette = reduced.getpalette() or []
    counts = sorted(
        ((int(number), int(index)) for number, index in reduced.getcolors() or [] if isinstance(index, int))
    )
    colours = [bytes(palette[3 * index : 3 * index + 3]).hex() for _number, index in reversed(counts)]
    return [f"#{colour}" for colour in dict.fromkeys(colours)]


# -- BlurHash ---------------------------------------------------------------------------------------------------------


def blurhash(pixels: Rgba, width: int, height: int) -> str:
    """Return the BlurHash on white, of 4 × 3 components along the longer side."""
    across, down = (4, 3) if width >= height else (3, 4)
    linear = [[_to_linear(_on_white(pixel, band)) for band in range(3)] for pixel in pixels]
    factors = []
    for j in range(down):
        for i in range(across):
            wave = _wave(i, j, width, height, half=0.0)
            norm = (1 if i == j == 0 else 2) / (width * height)
            factors.append([norm * sum(w * p[band] for w, p in zip(wave, linear, strict=True)) for band in range(3)])
    largest = max(abs(value) for factor in factors[1:] for value in factor)
    quantised = max(0, min(82, math.floor(largest * 166 - 0.5)))
    scale = (quantised + 1) / 166
    average = 0
    for value in factors[0]:
        average = average << 8 | _to_srgb(value)
    text = _base83(across - 1 + (down - 1) * 9, 1) + _base83(quantised, 1) + _base83(average, 4)
    for factor in factors[1:]:
        number = 0
        for value in factor:
            part = value / scale
            root = math.copysign(math.sqrt(abs(part)), part)
            number = number * 19 + max(0, min(18, math.floor(root * 9 + 9.5)))
        text += _base83(number, 2)
    return text


def _on_white(pixel: tuple[int, int, int, int], band: int) -> float:
    return (pixel[band] * pixel[3] + 255 * (255 - pixel[3])) / 255


def _to_linear(level: float) -> float:
    share = level / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4


def _to_srgb(value: float) -> int:
    value = max(0.0, min(1.0, value))
    share = value * 12.92 if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055
    return int(share * 255 + 0.5)


def _base83(value: int, length: int) -> str:
    return "".join(_BASE83[value // 83 ** (length - place) % 83] for place in range(1, length + 1))


def _wave(i: int, j: int, width: int, height: int, *, half: float) -> list[float]:
    across = [math.cos(math.pi * i * (x + half) / width) for x in range(width)]
    return [math.cos(math.pi * j * (y + half) / height) * value for y in range(height) for value in across]


# -- ThumbHash --------------------------------------------------------------------------------------------------------


class _Channel(NamedTuple):
    dc: float
    ac: list[float]
    scale: float


def thumbhash(pixels: Rgba, width: int, height: int) -> bytes:
    """Return the ThumbHash; it keeps transparency and the picture's proportions."""
    weight = sum(pixel[3] for pixel in pixels) / 255
    average = [sum(pixel[band] * pixel[3] for pixel in pixels) / 65025 / (weight or 1) for band in range(3)]
    has_alpha = any(pixel[3] < 255 for pixel in pixels)
    lights, yellows, reds, alphas = [], [], [], []
    for pixel in pixels:
        alpha = pixel[3] / 255
        r, g, b = (average[band] * (1 - alpha) + alpha * pixel[band] / 255 for band in range(3))
        lights.append((r + g + b) / 3)
        yellows.append((r + g) / 2 - b)
        reds.append(r - g)
        alphas.append(alpha)
    limit = 5 if has_alpha else 7
    across = max(1, _round(limit * width / max(width, height)))
    down = max(1, _round(limit * height / max(width, height)))
    light = _channel(lights, width, height, max(3, across), max(3, down))
    yellow, red = _channel(yellows, width, height, 3, 3), _channel(reds, width, height, 3, 3)
    landscape = width > height
    head = _round(63 * light.dc) | _round(31.5 + 31.5 * yellow.dc) << 6 | _round(31.5 + 31.5 * red.dc) << 12
    head |= _round(31 * light.scale) << 18 | has_alpha << 23
    tail = (down if landscape else across) | _round(63 * yellow.scale) << 3 | _round(63 * red.scale) << 9
    result = head.to_bytes(3, "little") + (tail | landscape << 15).to_bytes(2, "little")
    channels = [light, yellow, red]
    if has_alpha:
        alpha_channel = _channel(alphas, width, height, 5, 5)
        result += bytes((_round(15 * alpha_channel.dc) | _round(15 * alpha_channel.scale) << 4,))
        channels.append(alpha_channel)
    nibbles = [_round(15 * value) for channel in channels for value in channel.ac]
    nibbles += [0] * (len(nibbles) % 2)
    return result + bytes(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=True))


def _channel(values: list[float], width: int, height: int, across: int, down: int) -> _Channel:
    dc, ac = 0.0, []
    for j in range(down):
        i = 0
        while i * down < across * (down - j):
            wave = _wave(i, j, width, height, half=0.5)
            factor = sum(w * value for w, value in zip(wave, values, strict=True)) / (width * height)
            if i or j:
                ac.append(factor)
            else:
                dc = factor
            i += 1
    scale = max((abs(value) for value in ac), default=0.0)
    return _Channel(dc, [0.5 + 0.5 / scale * value for value in ac] if scale else ac, scale)


def _round(value: float) -> int:
    # As JavaScript rounds, in which the algorithm was first written.
    return math.floor(value + 0.5)
