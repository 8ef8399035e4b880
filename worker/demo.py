"""
The whole pool on this machine, for as long as one photo takes.

    with DemoPool.start(home) as pool:
        record = pool.client.submit(stream, JobSpec(recipe="web-set"))

Everything is real: a private Valkey, worker, sweeper and exporter as processes of their own, ciphertext in files, roots
where this machine keeps them. Nothing is left behind when it closes, however it closes.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import Final, Self

from prometheus_client.parser import text_string_to_metric_families

from storage import ObjectClass, StorageError
from worker.client import Client
from worker.errors import DemoError
from worker.settings import PREFIX, Settings
from worker.wiring import Deployment, Role

START_PATIENCE: Final = timedelta(seconds=30)
STOP_PATIENCE: Final = timedelta(seconds=10)

_PROCESSES: Final = ("worker", "sweeper", "exporter")
_SAMPLE: Final = "shoe.jpg"
_PR_SET_PDEATHSIG: Final = 1

Samples = Mapping[str, float]


class DemoPool:
    """
    A running pool of three processes around a private home.

    Attributes:
        deployment: Everything a worker sees, so that a demonstration may try to open an upload.
        client: A web tier's client.
        ports: Where each process serves its metrics.
    """

    def __init__(self, home: Path, deployment: Deployment, ports: Mapping[str, int]) -> None:
        self.home = home
        self.deployment = deployment
        self.client = Client(deployment)
        self.ports = ports

    @classmethod
    @contextmanager
    def start(cls, home: Path) -> Iterator[Self]:
        """
        Start everything under *home* and stop it when the block ends.

        Raises:
            DemoError: A process does not start.
            WorkerError: The private server cannot be started.
            StorageError: A store cannot be used.
        """
        # Settings in the environment are for the operator's own pool; the demonstration has its own.
        settings = Settings.model_construct(home=home)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        environment |= {
            "DAYFLY_HOME": str(home),
            "DAYFLY_LOG_FORMAT": "json",
            "DAYFLY_SWEEP_SECONDS": "0.25",
            "DAYFLY_DRAIN_SECONDS": "5",
        }
        ports = dict(zip(_PROCESSES, _free_ports(len(_PROCESSES)), strict=True))
        with ExitStack() as stack:
            deployment = stack.enter_context(Deployment.open(settings, Role.WORKER))
            stack.callback(_forget_roots, deployment)
            logs = home / "logs"
            logs.mkdir(mode=0o700, exist_ok=True)
            processes: dict[str, subprocess.Popen[bytes]] = {}
            stack.callback(_stop, processes)
            for name in _PROCESSES:
                processes[name] = _spawn(name, ports[name], environment, logs / f"{name}.log")
            _await_health(processes, ports, logs)
            yield cls(home, deployment, ports)

    def scrape(self) -> Samples:
        """Read every metric of every process: its name with its labels, and its value."""
        found: dict[str, float] = {}
        for port in self.ports.values():
            for family in text_string_to_metric_families(_get(port, "/metrics")):
                for sample in family.samples:
                    labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
                    name = f"{sample.name}{{{labels}}}" if labels else sample.name
                    found[name] = found.get(name, 0.0) + sample.value
        return found


@contextmanager
def private_home(given: Path | None, *, keep: bool) -> Iterator[Path]:
    """
    Lend a home for the demonstration: a new temporary folder, removed afterwards unless *keep*; or the one given.

    Raises:
        DemoError: The folder cannot be made.
    """
    try:
        home = Path(tempfile.mkdtemp(prefix="dayfly-demo-")) if given is None else given.expanduser().absolute()
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DemoError(
            f"The folder {error.filename} cannot be made ({error.strerror}); choose another with --home."
        ) from error
    try:
        yield home
    finally:
        if given is None and not keep:
            shutil.rmtree(home, ignore_errors=True)


def sample_photos() -> list[Path]:
    """
    Return the photographs that come with the project.

    Raises:
        DemoError: They are not there.
    """
    # Beside the package in a checkout, inside it in a wheel.
    for folder in (Path(str(resources.files("worker"))) / "samples", Path(__file__).parents[1] / "examples" / "photos"):
        if (folder / _SAMPLE).is_file():
            return [folder / _SAMPLE]
    raise DemoError("The sample photographs are not installed; give the path of a photo of your own.")


def moved(before: Samples, after: Samples) -> dict[str, tuple[float, float]]:
    """Return the pool's own metrics whose values differ, without the buckets of histograms."""
    return {
        name: (before.get(name, 0.0), value)
        for name, value in sorted(after.items())
        if name.startswith("dayfly_")
        and value != before.get(name, 0.0)
        and "_bucket{" not in name
        and not name.partition("{")[0].endswith(("_created", "_timestamp_seconds"))
    }


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _spawn(name: str, port: int, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl

    def die_with_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "worker.cli", name, "--metrics-port", str(port)],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Ctrl-C is for this process, which then stops the others in order.
            start_new_session=True,
            # No other thread runs yet, and without this a kill of the demonstration would leave its processes.
            preexec_fn=die_with_parent,
        )


def _await_health(processes: Mapping[str, subprocess.Popen[bytes]], ports: Mapping[str, int], logs: Path) -> None:
    end = time.monotonic() + START_PATIENCE.total_seconds()
    waiting = set(processes)
    while waiting:
        for name in sorted(waiting):
            if processes[name].poll() is not None or time.monotonic() > end:
                raise DemoError(f"The {name} does not start: {_last_line(logs / f'{name}.log')}")
            if _healthy(ports[name]):
                waiting.discard(name)
        time.sleep(0.02)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else f"it wrote nothing to {log}."


def _get(port: int, path: str) -> str:
    # No proxy: these are processes of our own.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return str(answer.read(), "utf-8")


def _healthy(port: int) -> bool:
    try:
        _get(port, "/healthz")
    except OSError:
        return False
    return True


def _stop(processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
    for process in processes.values():
        if process.poll() is None:
            process.terminate()
    end = time.monotonic() + STOP_PATIENCE.total_seconds()
    for process in processes.values():
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            # Asked again to stop: nothing that was accepted is lost, only this pool ends sooner.
            process.kill()
            process.wait()


def _forget_roots(deployment: Deployment) -> None:
    """Destroy the roots: the kernel would keep a temporary home's until their deadline."""
    for object_class, store in deployment.root_stores.items():
        with suppress(StorageError):
            for epoch in store.epochs(ObjectClass(object_class)):
                store.destroy(object_class, epoch)
