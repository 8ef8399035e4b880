"""
P1: ciphertext only, seen from outside: a marked upload goes through the whole pool, then every byte of every store
is read.

The marks are in the pixels, in the EXIF, in the prompt and in the subject; the object keys themselves are searched
for, too. A twin test plants a mark and must find it, so that a scan that reads nothing cannot pass.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import storage.store
from storage._key_material import random_key
from tests.harness import Pool
from tests.photos import product_photo
from tests.valkey import PrivateValkey
from worker.records import JobRecord, JobState

pytestmark = pytest.mark.timeout(120)

PROMPT = "canary-prompt-5b1f0c37a9 on oak, soft light"
SUBJECT = "canary-subject-77e2"
PIXELS = bytes((37 * i * i + 11 * i + 5) % 256 for i in range(96))
EXIF = b"canary-exif-c0ffee0123456789"


def marked_photo() -> bytes:
    """A PNG, whose marked pixels are raw once it is decoded; windows of its compressed bytes are marks, too."""
    picture = Image.fromarray(np.array(product_photo("camera", width=1600, height=1200).rgb))
    for row in range(0, 1200, 100):
        picture.paste(Image.frombytes("RGB", (32, 1), PIXELS), (700, row))
    exif = Image.Exif()
    exif[0x010E] = EXIF.decode()
    encoded = io.BytesIO()
    picture.save(encoded, "PNG", exif=exif, compress_level=1)
    return encoded.getvalue()


def places(pool: Pool, valkey_folder: Path) -> Iterator[tuple[str, bytes]]:
    """Give every file the pool can have written: stores, append-only file and snapshots, logs, temporary folders."""
    folders = [pool.folder, valkey_folder, Path("/dev/shm")]
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and "darkroom" not in path.parts:
                yield str(path), path.read_bytes()


def live_redis(pool: Pool) -> Iterator[tuple[str, bytes]]:
    """Give every key and value in Redis, broker and dead letters included, and what its slow log quotes."""
    client = pool.deployment.redis
    for key in client.scan_iter(count=1000):
        yield f"redis {key!r}", key + (client.dump(key) or b"")
    yield "slowlog", repr(client.slowlog_get(1000)).encode()


def finds(needles: dict[str, bytes], haystacks: Iterator[tuple[str, bytes]]) -> list[str]:
    return [f"{name} in {place}" for place, data in haystacks for name, needle in needles.items() if needle in data]


def needles(upload: bytes) -> dict[str, bytes]:
    windows = {f"upload at {at}": upload[at : at + 24] for at in range(0, len(upload) - 24, max(1, len(upload) // 150))}
    return {"pixels": PIXELS, "exif": EXIF, "prompt": PROMPT.encode(), "subject": SUBJECT.encode(), **windows}


def run_done(pool: Pool, upload: bytes) -> JobRecord:
    job = pool.submit(upload, "web-set", prompt=PROMPT, subject=SUBJECT)
    pool.start("worker")
    return pool.ended(job.id)


def run_failed(pool: Pool, upload: bytes) -> JobRecord:
    """A file cut short is refused only when its pixels are decoded: as deep in the sandbox as a failure gets."""
    job = pool.submit(upload[: len(upload) * 2 // 3], "web-set", prompt=PROMPT, subject=SUBJECT)
    pool.start("worker")
    return pool.ended(job.id)


def run_cancelled(pool: Pool, upload: bytes) -> JobRecord:
    job = pool.submit(upload, "amazon-main", provider="darkroom", prompt=PROMPT, subject=SUBJECT)
    pool.start("worker", DARKROOM_POLLS="1000000")
    while pool.client.show(job.id).state is not JobState.AWAITING:
        pass
    return pool.client.cancel(job.id)


@pytest.mark.parametrize(
    ("way", "end"), [(run_done, JobState.DONE), (run_failed, JobState.FAILED), (run_cancelled, JobState.CANCELLED)]
)
def test_p1_no_byte_of_an_upload_a_prompt_or_a_key_is_stored_in_clear(
    pools: Callable[..., Pool],
    fresh_valkey: Callable[[], PrivateValkey],
    way: Callable[[Pool, bytes], JobRecord],
    end: JobState,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A server of its own: an append-only file remembers what other tests wrote.
    valkey = fresh_valkey()
    pool = pools(redis_url=valkey.url)
    pool.ensure_roots()
    keys: dict[str, bytes] = {}

    def remembered(size: int = 32) -> bytearray:
        key = random_key(size)
        keys[f"key {len(keys)}"] = bytes(key)
        return key

    monkeypatch.setattr(storage.store, "random_key", remembered)
    upload = marked_photo()
    record = way(pool, upload)
    pool.start("sweeper")

    assert record.state is end
    assert len(keys) == 2, "the keys of the upload and of its parameters are searched for"
    pool.assert_nothing_left()
    pool.deployment.redis.bgsave()
    assert finds({**needles(upload), **keys}, places(pool, valkey.folder)) == []
    assert finds({**needles(upload), **keys}, live_redis(pool)) == []


def test_p1_the_scan_finds_a_planted_mark(
    pools: Callable[..., Pool], fresh_valkey: Callable[[], PrivateValkey]
) -> None:
    valkey = fresh_valkey()
    pool = pools(redis_url=valkey.url)
    (pool.folder / "tmp" / "spill").write_bytes(b"..." + PIXELS + b"...")
    pool.deployment.redis.set("planted", PROMPT)

    found = finds(needles(os.urandom(1000)), places(pool, valkey.folder))
    in_redis = finds(needles(os.urandom(1000)), live_redis(pool))

    assert any("pixels in" in place for place in found)
    assert any("prompt in" in place for place in found), "the append-only file is read, too"
    assert any("prompt in" in place for place in in_redis)
