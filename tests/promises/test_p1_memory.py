"""
P1: what is left in memory after a job, seen from outside through `/proc/<pid>/mem`.

The processes are not dumpable, so only root may look: these tests run as root, or fail.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import storage.store
from benchmarks.processes import descendants
from storage._key_material import random_key
from tests.harness import REPO, Pool, photo
from tests.memory import count
from tests.promises.test_p1_canary import EXIF, PIXELS, marked_photo
from tests.valkey import PrivateValkey
from worker.records import JobState

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

JOBS = 2


def test_p1_no_key_and_no_photo_stays_in_memory_after_a_job(
    pools: Callable[..., Pool], fresh_valkey: Callable[..., PrivateValkey], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt is a Python string on its way to a provider: up to one copy for a job may stay for a while."""
    keys: dict[str, bytes] = {}

    def remembered(size: int = 32) -> bytearray:
        key = random_key(size)
        keys[f"key {len(keys)}"] = bytes(key)
        return key

    valkey = fresh_valkey()
    pool = pools(redis_url=valkey.url)
    pool.ensure_roots()
    worker, sweeper = pool.start("worker"), pool.start("sweeper")
    zygotes = descendants(worker.pid)
    monkeypatch.setattr(storage.store, "random_key", remembered)
    upload = marked_photo()
    prompts = {f"prompt {number}": f"canary {secrets.token_hex(12)}".encode() for number in range(JOBS)}
    for prompt in prompts.values():
        job = pool.submit(upload, "amazon-main", provider="darkroom", prompt=prompt.decode())
        assert pool.ended(job.id, within=60).state is JobState.DONE

    middle = len(upload) // 2
    content = {"pixels": PIXELS, "exif": EXIF, "file": upload[middle : middle + 32]}
    needles = {**keys, **content, **prompts}
    assert len(keys) == 2 * JOBS
    assert len(zygotes) == 1
    # The controls: the scan finds what is there, here and in the worker.
    assert all(count(os.getpid(), needles).values())
    assert count(worker.pid, {"folder": str(pool.folder).encode()})["folder"]
    for pid in (*zygotes, sweeper.pid, valkey.pid):
        assert {name: found for name, found in count(pid, needles).items() if found} == {}
    left = count(worker.pid, needles)
    assert {name: found for name, found in left.items() if found and name not in prompts} == {}
    assert sum(left[name] for name in prompts) <= JOBS
    assert [link for link in _open_files(worker.pid) + _open_files(zygotes[0]) if link.startswith("/memfd:")] == []


def _open_files(pid: int) -> list[str]:
    return [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]


def test_p1_no_process_of_the_command_can_be_dumped_or_leave_a_core() -> None:
    program = (
        "import ctypes, resource\n"
        "from worker.cli import main\n"
        "prctl = ctypes.CDLL(None).prctl\n"
        "before = prctl(3, 0, 0, 0, 0)\n"
        "main(['--version'])\n"
        "print(before, prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "1 0 (0, 0)"


def test_p1_a_worker_that_has_worked_enough_ends_in_order_and_loses_nothing(pools: Callable[..., Pool]) -> None:
    """The end of a process is what wipes its memory for certain."""
    pool = pools(pending=60)
    first = pool.start("worker", DAYFLY_WORKER_MAX_JOBS="1", DAYFLY_WORKER_THREADS="1")
    pool.start("sweeper")
    jobs = [pool.submit(photo(), "web-set") for _ in range(2)]

    assert first.wait(60) == 0
    assert [job.state.ended for job in pool.client.list()].count(True) == 1
    pool.start("worker")
    for job in jobs:
        assert pool.ended(job.id, within=60).state is JobState.DONE
    pool.assert_nothing_left()


def test_p1_a_worker_that_is_old_enough_ends_in_order(pools: Callable[..., Pool]) -> None:
    worker = pools().start("worker", DAYFLY_WORKER_MAX_SECONDS="1")

    assert worker.wait(60) == 0
