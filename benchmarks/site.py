"""A whole site for a measurement: a Valkey, real worker processes, a web tier; all of it temporary."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.processes import descendants
from tests.harness import REPO, Pool, eventually
from tests.valkey import PrivateValkey

THREADS = 8


class Site(Pool):
    """The tests' pool with the settings of a real one, and with its processes known by id."""

    def __init__(self, folder: Path, server: PrivateValkey, **settings: str) -> None:
        real = {
            "lease_seconds": "30",
            "sweep_seconds": "5",
            "worker_threads": str(THREADS),
            "log_level": "info",
            **settings,
        }
        super().__init__(folder, server.url, pending=900, latest=86_400, **real)
        self.server = server

    def start(self, role: str, **extra: str) -> subprocess.Popen[bytes]:
        process = super().start(role, **extra)
        if process.poll() is not None:
            raise AssertionError(f"a {role} did not start: {self.logs()[-2000:]}")
        return process

    def work(self, module: str = "worker.cli", *arguments: str) -> subprocess.Popen[bytes]:
        """Start a worker by another entry than the command's, and wait until it works."""
        log = self.folder / "logs" / f"worker-{len(self.processes)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *(arguments or ("worker",))],
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPO), **self.environment},
                stdout=output,
                stderr=output,
                cwd=self.folder,
            )
        self.processes.append(process)
        eventually(
            lambda: b"started" in log.read_bytes() or process.poll() is not None,
            what=f"a worker: {log.read_text()[-2000:]}",
        )
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """Stop one process in good order."""
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        self.processes.remove(process)

    def members(self, worker: subprocess.Popen[bytes]) -> list[int]:
        """The whole pool as one job sees it: worker, zygote, Valkey, and this process as the web tier."""
        return [worker.pid, *descendants(worker.pid), self.server.pid, os.getpid()]

    def forget_roots(self) -> None:
        """Take the roots out of the keyring."""
        for object_class, store in self.deployment.root_stores.items():
            for epoch in store.epochs(object_class):
                store.destroy(object_class, epoch)


@contextmanager
def running_site(**settings: str) -> Iterator[Site]:
    """Set a site up and take all of it down again."""
    with tempfile.TemporaryDirectory(prefix="dayfly-bench-") as folder, PrivateValkey() as server:
        site = Site(Path(folder), server, **settings)
        try:
            yield site
        finally:
            for process in list(site.processes):
                with suppress(subprocess.TimeoutExpired):
                    site.stop(process)
            site.forget_roots()
            site.close()
