"""The exporter: figures from the stores, right after any restart, and honest about an outage."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from metrics.exporter import AccountFigures
from providers import OutOfCredit
from storage import ObjectClass, ShredReason
from tests.valkey import PrivateValkey
from worker.exporter import read_figures
from worker.gate import AccountKey, Gate, verdict_of
from worker.settings import Settings
from worker.wiring import Deployment, Role


@pytest.fixture
def deployment(tmp_path: Path, valkey: PrivateValkey) -> Iterator[Deployment]:
    with Deployment.open(Settings(home=tmp_path / "home", redis_url=valkey.url), Role.WORKER) as deployment:
        for rotator in deployment.rotators.values():
            rotator.ensure()
        yield deployment
        for object_class, store in deployment.root_stores.items():
            for epoch in store.epochs(object_class):
                store.destroy(object_class, epoch)


def seal(deployment: Deployment, object_class: ObjectClass) -> object:
    end = datetime.now(UTC) + timedelta(minutes=1)
    return deployment.store.seal(b"x", object_class=object_class, deadline=end, ceiling=end).ref


def test_the_figures_are_what_the_stores_hold(deployment: Deployment) -> None:
    kept = [seal(deployment, ObjectClass.UPLOAD) for _ in range(3)]
    seal(deployment, ObjectClass.OUTPUT)
    deployment.store.shred(kept[:2], ShredReason.CANCELLED)

    figures = read_figures(deployment.keys, deployment.jobs, deployment.broker, Gate(deployment.redis), ["acme"])

    uploads, outputs = figures.classes["upload"], figures.classes["output"]
    assert (uploads.live, uploads.created, uploads.destroyed["cancelled"]) == (1, 3, 2)
    assert (outputs.live, outputs.created, sum(outputs.destroyed.values())) == (1, 1, 0)
    assert uploads.oldest_deadline is not None
    assert abs(uploads.oldest_deadline - time.time() - 60) < 10
    assert (uploads.root_epoch, figures.ciphertext_doomed) == (1, 2)
    assert figures.jobs_open == dict.fromkeys(figures.jobs_open, 0)
    assert figures.messages == {"jobs": 0, "jobs.DQ": 0, "jobs.XQ": 0}
    assert figures.providers == {"acme": AccountFigures()}


def test_the_figures_tell_how_the_accounts_at_providers_are(deployment: Deployment) -> None:
    gate, key = Gate(deployment.redis), AccountKey("acme", "main")
    gate.enter(key, "job", slot_for=timedelta(minutes=1), at_once=1, a_minute=None)
    gate.enter(key, "another", slot_for=timedelta(minutes=1), at_once=1, a_minute=None)
    gate.report(key, verdict_of(OutOfCredit("none left")))
    gate.enter(AccountKey("uninstalled", "main"), "job", slot_for=timedelta(minutes=1), at_once=1, a_minute=None)

    figures = read_figures(deployment.keys, deployment.jobs, deployment.broker, gate, ["acme", "other"])

    assert figures.providers == {
        "acme": AccountFigures(stopped=frozenset({"out-of-credit"}), in_use=1, waiting=1),
        "other": AccountFigures(),
    }


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def until(claim: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not claim():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


def test_the_process_serves_says_when_the_store_is_away_and_stops(
    tmp_path: Path, fresh_valkey: Callable[..., PrivateValkey]
) -> None:
    server = fresh_valkey()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.cli", "exporter", "--metrics-port", str(port)],
        env={**os.environ, "DAYFLY_HOME": str(tmp_path / "home"), "DAYFLY_REDIS_URL": server.url},
        cwd=Path(__file__).parents[2],
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: get(port, "/healthz")[0] == 200)
        assert "dayfly_key_store_up 1.0" in get(port, "/metrics")[1]
        assert not (tmp_path / "home").exists(), "it needs no files"

        server.kill()

        assert get(port, "/healthz")[0] == 503
        status, text = get(port, "/metrics")
        assert (status, "dayfly_key_store_up 0.0" in text, "dayfly_objects_live" in text) == (200, True, False)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
