"""
A film goes from the provider into a sealed output piece by piece, however long it is: from an address, and out of the
middle of an answer in JSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from providers import Task
from tests.fakes.films import FILM
from tests.fakes.google import FakeGemini, FakeVertex
from tests.fakes.runway import FakeRunway
from tests.fakes.server import B64, KEY, Answer, Seen
from tests.sealed import SealedRoom

pytestmark = pytest.mark.slow

# A worker's part of it, in a process of its own, whose memory is nobody else's.
COLLECT = """
import hashlib, sys
from datetime import UTC, datetime, timedelta
import redis
from pydantic import SecretStr
from providers import *
from storage import *

socket, blobs, roots_url, key, name, address, *tasks = sys.argv[1:]
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
    tools = ProviderTools(transport=transport, sink=sink, accounts={name: account})
    provider = ProviderRegistry.from_entry_points().build(name, tools)

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


class Reel:
    """As many bytes of a film as asked for, made while they are sent."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.digest = hashlib.sha256()

    def plain(self) -> Iterator[bytes]:
        left, number, grain = self.size, 0, hashlib.shake_128(b"film").digest(1 << 18)
        while left:
            piece = (FILM if not number else number.to_bytes(8, "big") + grain)[:left]
            self.digest.update(piece)
            left, number = left - len(piece), number + 1
            yield piece

    def inside(self, document: Any) -> Answer:
        """Give a JSON answer with the film in base64 where *document* says "FILM"."""
        head, _, tail = json.dumps(document).encode().partition(b"FILM")
        length = len(head) + (self.size + 2) // 3 * 4 + len(tail)

        def pieces() -> Iterator[bytes]:
            yield head
            rest = b""
            for piece in self.plain():
                rest += piece
                whole = len(rest) // 3 * 3
                yield base64.b64encode(rest[:whole])
                rest = rest[whole:]
            yield base64.b64encode(rest) + tail

        headers = {"content-type": "application/json", "content-length": str(length)}
        return Answer(200, b"", headers, pieces=pieces())


class LongRunway(FakeRunway):
    """The first film of each of these is short, the second as long as the reel."""

    path, model, tasks_named = "", "gen4.5", ("short", "long")

    def __init__(self, reel: Reel) -> None:
        super().__init__()
        self.reel = reel
        self.pending = 0
        self.tasks |= dict.fromkeys(self.tasks_named, 0)

    def route(self, seen: Seen) -> Answer:
        if seen.path != "/files/long.mp4":
            return super().route(seen)
        headers = {"content-type": "video/mp4", "content-length": str(self.reel.size)}
        return Answer(200, b"", headers, pieces=self.reel.plain())

    def result_of(self, task: str) -> str:
        return f"{self.url}/files/long.mp4?signature=abc" if task == "long" else super().result_of(task)


class LongGemini(FakeGemini):
    path, model, tasks_named = "/v1", "gemini-omni-1.2-flash", ("v1_0", "v1_1")

    def __init__(self, reel: Reel) -> None:
        super().__init__()
        self.reel = reel
        self.pending = 0
        self.interactions |= dict.fromkeys(self.tasks_named, 0)

    def _interaction(self, name: str, status: str) -> dict[str, Any]:
        # What was sent comes back in front of what was made.
        sent = {"type": "user_input", "content": [{"type": "image", "data": B64 * 60, "mime_type": "image/png"}]}
        return super()._interaction(name, status) | {"steps": [sent]}

    def _asked(self, seen: Seen, name: str, cancel: str | None) -> Answer:
        if name != "v1_1":
            return super()._asked(seen, name, cancel)
        document = self._interaction(name, "completed")
        film = {"type": "video", "mime_type": "video/mp4", "data": "FILM"}
        return self.reel.inside(
            document | {"steps": [*document["steps"], {"type": "model_output", "content": [film]}], "usage": {}}
        )


class LongVertex(FakeVertex):
    path, model = FakeVertex.PLACE, "veo-3.1-generate-001"
    operation = f"projects/4711/locations/eu/publishers/google/models/{model}/operations"
    tasks_named = (f"{operation}/op-0", f"{operation}/op-1")

    def __init__(self, reel: Reel) -> None:
        super().__init__()
        self.reel = reel
        self.pending = 0
        self.operations |= dict.fromkeys(self.tasks_named, 0)

    def _asked(self, name: str, model: str) -> Answer:
        if name != self.tasks_named[1]:
            return super()._asked(name, model)
        video = {"bytesBase64Encoded": "FILM", "mimeType": "video/mp4"}
        return self.reel.inside({"name": name, "done": True, "response": {"videos": [video]}})


@pytest.mark.parametrize("megabytes", [32, pytest.param(200, marks=[pytest.mark.campaign, pytest.mark.timeout(300)])])
@pytest.mark.parametrize(
    ("provider", "studio"), [("runway", LongRunway), ("gemini", LongGemini), ("vertex", LongVertex)]
)
def test_a_film_passes_from_the_provider_to_a_sealed_output_with_flat_memory(
    room: SealedRoom, provider: str, studio: type[LongRunway | LongGemini | LongVertex], megabytes: int
) -> None:
    reel = Reel(megabytes * 1_000_000)
    with studio(reel) as fake:
        tasks = [
            Task(
                provider=provider,
                credential="main",
                base_url=fake.url + fake.path,
                model=fake.model,
                task_id=name.rpartition("/")[2],
                poll_url=name if "/" in name else None,
                submitted_at=datetime.now(UTC),
            ).model_dump_json()
            for name in fake.tasks_named
        ]
        stores = [str(room.server.socket), f"file://{room.blob_folder}", room.roots_url]
        done = subprocess.run(
            [sys.executable, "-c", COLLECT, *stores, KEY, provider, fake.url + fake.path, *tasks],
            capture_output=True,
            text=True,
        )

    assert done.returncode == 0, done.stderr
    size, digest, over_idle = done.stdout.split()
    print(f"{provider}, {megabytes} MB: {float(over_idle):.1f} MiB over idle")
    assert (int(size), digest) == (reel.size, reel.digest.hexdigest())
    # The pieces in flight and two segments of the sealer; the film itself is larger, whichever is taken.
    assert float(over_idle) <= 16
    assert fake.wrong == []
