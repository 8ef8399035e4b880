"""
A whole pool for tests: real worker and sweeper processes around one Valkey and one folder.

    pool = Pool(tmp_path, redis_url)
    pool.start("worker"); pool.start("sweeper")
    job = pool.client.submit(...); pool.client.wait(job.id)
    pool.assert_nothing_left()
    pool.close()
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from storage import ObjectClass
from tests.photos import product_photo
from tests.valkey import PrivateValkey
from worker.client import Client, JobSpec
from worker.jobs import Lease
from worker.records import JobRecord, JobState, OutputRecord, encode_outputs
from worker.settings import Settings
from worker.settling import DONE_FIELDS, finish_settled
from worker.wiring import Deployment, Role

FAKE_SITE = Path(__file__).parent / "fakes" / "site"
REPO = Path(__file__).parent.parent
# The darkroom is installed for this process, too: the web tier refuses providers it does not know.
sys.path.append(str(FAKE_SITE))

TEST_POLICY = """\
name = "quick"
title = "As process-and-forget, with a short pending deadline"
pending_seconds = {pending}

[upload]
shred = "job-end"
latest_seconds = {latest}

[output]
latest_seconds = 86400
"""


@cache
def photo() -> bytes:
    """A photo of a product large enough for every recipe, as the JPEG a camera would write."""
    return product_photo("camera", width=1600, height=1200).encoded


def eventually(claim: Callable[[], Any], *, within: float = 20.0, what: str = "") -> Any:
    """Wait until a claim holds, and give its value; fail with what was waited for."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        value = claim()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {within} s: {what or claim}")


class Pool:
    """Real processes with short times: leases of one second, a sweep every 200 ms."""

    def __init__(self, folder: Path, redis_url: str, *, pending: int = 12, latest: int = 600, **settings: str) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        for name in ("home", "blobs", "policies", "logs", "darkroom", "tmp"):
            (folder / name).mkdir()
        (folder / "policies" / "quick.toml").write_text(TEST_POLICY.format(pending=pending, latest=latest))
        self.environment = {
            "DAYFLY_HOME": str(folder / "home"),
            "DAYFLY_REDIS_URL": redis_url,
            "DAYFLY_BLOBS": (folder / "blobs").as_uri(),
            "DAYFLY_ROOTS_UPLOADS": f"keyring:test-{folder.name}-{os.getpid()}",
            "DAYFLY_ROOTS_OUTPUTS": (folder / "home" / "roots").as_uri(),
            "DAYFLY_POLICIES_DIR": str(folder / "policies"),
            "DAYFLY_POLICY": "quick",
            "DAYFLY_LEASE_SECONDS": "1",
            "DAYFLY_SWEEP_SECONDS": "0.2",
            "DAYFLY_ROTATION_UPLOADS_SECONDS": "60",
            "DAYFLY_WORKER_THREADS": "4",
            "DAYFLY_LOG_LEVEL": "debug",
            "DAYFLY_LOG_FORMAT": "json",
            "DARKROOM": str(folder / "darkroom"),
            **{f"DAYFLY_{name.upper()}": value for name, value in settings.items()},
        }

    def start(self, role: str, **extra: str) -> subprocess.Popen[bytes]:
        """Start `dayfly worker` or `dayfly sweeper`; give it more environment by keyword."""
        log = self.folder / "logs" / f"{role}-{len(self.processes)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "worker.cli", role],
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": os.pathsep.join((str(REPO), str(FAKE_SITE))),
                    "TMPDIR": str(self.folder / "tmp"),
                    **self.environment,
                    **extra,
                },
                stdout=output,
                stderr=output,
                cwd=self.folder,
            )
        self.processes.append(process)
        eventually(
            lambda: b"started" in log.read_bytes() or process.poll() is not None,
            what=f"{role} started: {log.read_text()[-2000:]}",
        )
        return process

    @cached_property
    def deployment(self) -> Deployment:
        """The stores as a worker sees them: this side may open uploads, to prove that it cannot."""
        return Deployment.open(Settings.load(**self._given), Role.WORKER)

    @property
    def _given(self) -> dict[str, str]:
        return {
            name.removeprefix("DAYFLY_").lower(): value
            for name, value in self.environment.items()
            if name.startswith("DAYFLY_")
        }

    @cached_property
    def client(self) -> Client:
        """A web tier."""
        return Client(self.deployment)

    def ensure_roots(self) -> None:
        """Make the first roots, as a worker does when it starts, so that a web tier can seal before there is one."""
        for rotator in self.deployment.rotators.values():
            rotator.ensure()

    def submit(self, photo: bytes, recipe: str = "web-set", **spec: Any) -> JobRecord:
        """Submit one photo."""
        return self.client.submit(BytesIO(photo), JobSpec(recipe=recipe, **spec))

    def ended(self, job_id: str, within: float = 30.0) -> JobRecord:
        """Wait for a job's end."""
        record: JobRecord = eventually(
            lambda: (record := self.client.show(job_id)).state.ended and record,
            within=within,
            what=f"the end of {self.client.show(job_id)}\n{self.logs()[-4000:]}",
        )
        return record

    def settle_as_done(self, job: JobRecord, rendition: bytes) -> Lease:
        """Bring a job to where a worker does that has made one rendition, without a worker and without its end."""
        now = datetime.now(UTC)
        pending = self.deployment.policies[job.policy].pending
        sealed = self.deployment.store.seal(
            rendition,
            object_class=ObjectClass.OUTPUT,
            deadline=now + pending,
            ceiling=now + 2 * pending + job.output_lifetime,
        )
        outputs = (OutputRecord("main", "image/jpeg", 1, 1, len(rendition), sealed.ref),)
        lease = self.deployment.jobs.claim(job.id, lease_for=timedelta(seconds=30), most_strikes=5)
        return self.deployment.jobs.transition(
            lease,
            JobState.SETTLED,
            {**DONE_FIELDS, "outputs": encode_outputs(outputs)},
            outcome=JobState.DONE,
            reason=DONE_FIELDS["reason"],
            outputs=outputs,
        )

    def done(self, job: JobRecord, rendition: bytes = b"a rendition") -> JobRecord:
        """Bring a job to its end as done, without a worker."""
        finish_settled(self.settle_as_done(job, rendition), self.deployment)
        return self.client.show(job.id)

    def charges(self) -> list[str]:
        """The idempotency key of every call the darkroom charged."""
        ledger = self.folder / "darkroom" / "charges"
        return ledger.read_text().split() if ledger.exists() else []

    def logs(self) -> str:
        """Everything every process logged."""
        return "".join(path.read_text(errors="replace") for path in sorted((self.folder / "logs").iterdir()))

    def receipts(self) -> list[dict[str, Any]]:
        """Every receipt written so far."""
        files = sorted((self.folder / "blobs" / "receipts").rglob("*.jsonl"))
        return [json.loads(line) for path in files for line in path.read_text().splitlines()]

    def ciphertexts(self) -> set[str]:
        """The names of all ciphertext in the blob store, unfinished writes included."""
        blobs = self.folder / "blobs"
        return {
            str(path.relative_to(blobs))
            for path in blobs.rglob("*")
            if path.is_file() and path.relative_to(blobs).parts[0] != "receipts"
        }

    def assert_nothing_left(self, within: float = 60.0) -> None:
        """
        Every object is either an output of a done job or destroyed, with its ciphertext, and told once.

        Needs a sweeper running.
        """
        expected = {str(output.ref) for job in self.client.list(1000) if job.state == "done" for output in job.outputs}

        def settled() -> bool:
            figures = self.deployment.keys.figures()
            return (
                figures.classes[ObjectClass.UPLOAD].live == 0
                and figures.classes[ObjectClass.OUTPUT].live == len(expected)
                and sum(figures.classes[name].overdue for name in ObjectClass) == 0
                and figures.doomed == 0
                and figures.receipts_pending == 0
                and self.ciphertexts() == expected
            )

        eventually(
            settled,
            within=within,
            what=f"only {expected} left: {self.deployment.keys.figures()} {self.ciphertexts()}",
        )
        events = Counter((receipt["type"], receipt["oid"]) for receipt in self.receipts() if "oid" in receipt)
        assert set(events.values()) <= {1}, "a receipt is doubled"
        created = {oid for event, oid in events if event == "created"}
        destroyed = {oid for event, oid in events if event == "destroyed"}
        live = {name.rsplit("/", 1)[1] for name in expected}
        assert created - destroyed == live, "a receipt is missing"
        assert not destroyed & live

    def close(self) -> None:
        """Stop every process by its id and close the connections."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if "deployment" in self.__dict__:
            # The keyring is the kernel's, not the test's folder: what is left there would stay until its deadline.
            for object_class, store in self.deployment.root_stores.items():
                for epoch in store.epochs(object_class):
                    store.destroy(object_class, epoch)
            self.deployment.close()


@pytest.fixture
def pools(tmp_path: Path, valkey: PrivateValkey) -> Iterator[Callable[..., Pool]]:
    """Make a pool of real processes, on the shared server unless given the URL of another."""
    made: list[Pool] = []

    def make(redis_url: str | None = None, **settings: Any) -> Pool:
        pool = Pool(tmp_path, redis_url or valkey.url, **settings)
        made.append(pool)
        return pool

    yield make
    for pool in made:
        pool.close()
