"""A film goes from the provider's address into a sealed output piece by piece, however long it is."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from providers import Task
from tests.fakes.films import FILM
from tests.fakes.runway import FakeRunway
from tests.fakes.server import KEY, Answer, Seen
from tests.sealed import SealedRoom

pytestmark = pytest.mark.slow

# A worker's part of it, in a process of its own, whose memory is nobody else's.
COLLECT = """
import hashlib, sys
from datetime import UTC, datetime, timedelta
import redis
from pydantic import SecretStr
from providers import *
from providers.runway import RunwayProvider
from storage import *

socket, blobs, roots_url, key, address, *tasks = sys.argv[1:]
roots = open_root_store(roots_url)
store = SealedStore(KeyStore(redis.Redis(unix_socket_path=socket)), open_blob_store(blobs), {ObjectClass.OUTPUT: roots})

def status(name):
    for line in open("/proc/self/status"):
        if line.startswith(name):
            return int(line.split()[1]) / 1024

def sink(stream, media_type):
    assert media_type == "video/mp4"
    end = datetime.now(UTC) + timedelta(hours=1)
    return str(store.seal(stream, object_class=ObjectClass.OUTPUT, deadline=end, ceiling=end).ref)

with Transport(trusted={"127.0.0.1"}) as transport:
    account = Account(key=SecretStr(key), base_url=address)
    provider = RunwayProvider(ProviderTools(transport=transport, sink=sink, accounts={"runway": account}))

    def collected(task):
        done = provider.poll(Task.model_validate_json(task))
        digest, size, buffer = hashlib.sha256(), 0, bytearray(1 << 18)
        with store.open_stream(ObjectRef.parse(done.results[0].ref)) as opened:
            while count := opened.readinto(buffer):
                digest.update(memoryview(buffer)[:count])
                size += count
        return size, digest.hexdigest()

    collected(tasks[0])
    idle = status("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    size, digest = collected(tasks[1])
    print(size, digest, status("VmHWM") - idle)
"""


class FakeStudio(FakeRunway):
    """Its first film is short; the second has as many bytes as asked for, made while they are sent."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.digest = hashlib.sha256()
        self.pending = 0

    def route(self, seen: Seen) -> Answer:
        if seen.path != "/files/long.mp4":
            return super().route(seen)
        return Answer(200, b"", {"content-type": "video/mp4", "content-length": str(self.size)}, pieces=self.film())

    def film(self) -> Iterator[bytes]:
        left, number, grain = self.size, 0, hashlib.shake_128(b"film").digest(1 << 18)
        while left:
            piece = (FILM if not number else number.to_bytes(8, "big") + grain)[:left]
            self.digest.update(piece)
            left, number = left - len(piece), number + 1
            yield piece

    def result_of(self, task: str) -> str:
        return f"{self.url}/files/long.mp4?signature=abc" if task == "long" else super().result_of(task)


@pytest.mark.parametrize("megabytes", [32, pytest.param(200, marks=[pytest.mark.campaign, pytest.mark.timeout(300)])])
def test_a_film_passes_from_the_provider_to_a_sealed_output_with_flat_memory(room: SealedRoom, megabytes: int) -> None:
    with FakeStudio(megabytes * 1_000_000) as fake:
        fake.tasks |= {"short": 0, "long": 0}
        tasks = [
            Task(
                provider="runway",
                credential="main",
                base_url=fake.url,
                model="gen4.5",
                task_id=name,
                submitted_at=datetime.now(UTC),
            ).model_dump_json()
            for name in ("short", "long")
        ]
        stores = [str(room.server.socket), f"file://{room.blob_folder}", room.roots_url]
        done = subprocess.run(
            [sys.executable, "-c", COLLECT, *stores, KEY, fake.url, *tasks], capture_output=True, text=True
        )

    assert done.returncode == 0, done.stderr
    size, digest, over_idle = done.stdout.split()
    print(f"{megabytes} MB: {float(over_idle):.1f} MiB over idle")
    assert (int(size), digest) == (megabytes * 1_000_000, fake.digest.hexdigest())
    # The pieces in flight and two segments of the sealer; the film itself is larger, whichever is taken.
    assert float(over_idle) <= 16
    assert fake.wrong == []
