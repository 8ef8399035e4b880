"""
Throw damaged files at the whole child: `python -m tests.pipelines.fuzz SECONDS [SEED]`.

Every file starts as a good one of some format and is cut, flipped, spliced and repeated. Whatever comes out, the
sandbox must answer: a picture, or a refusal. A crash, a forbidden system call or an answer that makes no sense is a
finding; the file is kept and its seed printed. `make chaos` runs it for a while, the tests for a moment.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from pathlib import Path

from pipelines import Encoded, Limits, Refused, Sandbox, SandboxError, load_recipes
from tests import photos

FINDINGS = Path("fuzz-findings")


KINDS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "BMP", "HEIF")


def seeds(kinds: tuple[str, ...] = KINDS) -> list[bytes]:
    """Return small good files of every format that is read, and of every feature that has code of its own."""
    picture = photos.picture(90, 70, seed=1)
    return [
        *(photos.encode(picture, kind) for kind in kinds),
        photos.encode(picture.convert("RGBA"), "PNG"),
        photos.encode(picture.convert("P"), "PNG", transparency=3),
        photos.encode(picture, "TIFF", compression="tiff_lzw"),
        photos.jpeg(90, 70, progressive=True),
        photos.cmyk_jpeg(60, 40),
        photos.png_16_bit(60, 40),
        photos.animated_gif(3, 24),
        photos.oriented_jpeg(6, 40),
        photos.marked_jpeg(b"marker", 60, 40),
        photos.profiled((10, 200, 30)),
        photos.SVG,
    ]


def damaged(source: random.Random, files: list[bytes]) -> bytes:
    """Return one of the files after a few wounds."""
    data = bytearray(source.choice(files))
    for _ in range(source.randint(1, 6)):
        at = source.randrange(len(data)) if data else 0
        match source.randrange(6):
            case 0:
                del data[at:]
            case 1:
                for place in range(at, min(len(data), at + source.randint(1, 8))):
                    data[place] = source.randrange(256)
            case 2:
                other = source.choice(files)
                start = source.randrange(len(other))
                data[at:at] = other[start : start + source.randint(1, 200)]
            case 3:
                data[at:at] = data[at : at + source.randint(1, 100)] * source.randint(1, 30)
            case 4:
                data[at : at + 4] = source.choice(
                    [b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"\x00\x01"]
                )
            case _:
                del data[at : at + source.randint(1, 60)]
    return bytes(data)


def fuzz(seconds: float, seed: int) -> tuple[Counter[str], list[str]]:
    """Return how the runs ended, and a line for each finding."""
    files, recipes = seeds(), load_recipes()
    tried = [recipes[name] for name in ("original-clean", "avatar", "amazon-main", "web-set-avif")]
    limits = Limits(pixels=4_000_000)
    counts: Counter[str] = Counter()
    findings: list[str] = []
    end = time.monotonic() + seconds
    with Sandbox() as sandbox:
        while time.monotonic() < end or not counts:
            source = random.Random(seed)
            data = damaged(source, files)
            recipe = source.choice(tried)
            try:
                with Encoded.from_bytes(data) as upload:
                    if source.random() < 0.2:
                        sandbox.measure(upload, limits)
                    else:
                        sandbox.render(upload, recipe, limits).close()
                counts["made"] += 1
            except Refused as refused:
                counts[refused.code] += 1
            except SandboxError as error:
                counts["finding"] += 1
                findings.append(f"seed {seed}, {recipe.name}: {error}")
                FINDINGS.mkdir(exist_ok=True)
                (FINDINGS / str(seed)).write_bytes(data)
            seed += 1
    return counts, findings


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 40)
    counts, findings = fuzz(seconds, seed)
    print(f"{counts.total()} files from seed {seed}: {dict(counts.most_common())}")
    print("\n".join(findings))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
