from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage import ObjectClass, open_root_store
from worker.demo import DemoPool

REPO = Path(__file__).parents[2]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def dayfly(tmp_path: Path) -> Iterator[Run]:
    """Run the command as a user does: a process of its own, with no settings but those given."""

    def run(*arguments: str, stdin: bytes = b"", **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DAYFLY_")}
        environment |= {
            "DAYFLY_HOME": str(tmp_path / "home"),
            **{f"DAYFLY_{k.upper()}": v for k, v in settings.items()},
        }
        done = subprocess.run(
            [sys.executable, "-m", "worker.cli", *arguments],
            input=stdin,
            capture_output=True,
            timeout=50,
            env={**environment, "PYTHONPATH": str(REPO)},
            cwd=tmp_path,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    yield run
    # The kernel would keep the roots of this test's home until their deadline, and lets a user have 200 keys.
    chosen = tmp_path / "home" / "roots-uploads"
    if chosen.exists():
        store = open_root_store(chosen.read_text())
        for epoch in store.epochs(ObjectClass.UPLOAD):
            store.destroy(ObjectClass.UPLOAD, epoch)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoPool]:
    """A running pool, shared by the tests of a module."""
    with DemoPool.start(tmp_path_factory.mktemp("pool")) as pool:
        yield pool
