"""Start one zygote process, with a clean environment and a control socket, and hear its first words."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import SandboxUnavailableError

DEFAULT_ENTRY = "pipelines.zygote:main"
CUT_OUT_ENTRY = "pipelines.zygote:cut_outs"

# Measured: with these a child's page faults fall from 10,200 to 785 per job, which is most of what a process per
# image costs. What is larger than 32 MiB is given back when it is freed: that costs no fault more and leaves a 24 MP
# WebP at 56 MiB instead of 94. One thread per image, because there are as many images at once as cores.
_ENVIRONMENT = {
    "HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "MALLOC_ARENA_MAX": "1",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.top_pad=67108864:glibc.malloc.mmap_threshold=33554432",
    "VIPS_CONCURRENCY": "1",
    "VIPS_BLOCK_UNTRUSTED": "1",
    "VIPS_MAX_COORD": "20000",
    # Decoded pixels must never go to a temporary file; the child could not open one anyway.
    "VIPS_DISC_THRESHOLD": "64g",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}

# The worker's own import path is handed over, so that a checkout, an editable install and a wheel all work, and so
# that both import the same files. -I keeps the environment and the current folder out of it.
_BOOTSTRAP = """
import json, sys
path, entry, control, parent = json.loads(sys.argv[1])
sys.path[:] = path
module, function = entry.split(":")
getattr(__import__(module, fromlist=[function]), function)(control, parent)
"""

_HELLO_SECONDS = 30.0
_HELLO_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class ZygoteProcess:
    """A running zygote that has said hello. `missing` maps each layer it lacks to the reason."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    missing: dict[str, str]

    def kill(self) -> None:
        """End it and its children at once, and reap it; harmless when it has ended already."""
        self.control.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


def spawn_zygote(entry: str = DEFAULT_ENTRY) -> ZygoteProcess:
    """
    Start a zygote and wait until it is ready.

    It dies with the thread that calls this, so that must be one that lives as long as the sandbox.

    Raises:
        SandboxUnavailableError: It could not be started, or is not single-threaded after its imports.
    """
    try:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError as error:
        raise not_started(error) from error
    home = str(Path(__file__).resolve().parent.parent)
    # Relative folders too, as they are now: the zygote's own current folder is the root.
    path = [*(os.path.abspath(folder) for folder in sys.path), home]
    argument = json.dumps([path, entry, theirs.fileno(), os.getpid()])
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", _BOOTSTRAP, argument],
            env=_ENVIRONMENT,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
        )
    except OSError as error:
        ours.close()
        raise not_started(error) from error
    finally:
        theirs.close()
    try:
        return ZygoteProcess(process, ours, _hear_hello(ours))
    except BaseException:
        ours.close()
        process.kill()
        process.wait()
        raise


def not_started(error: OSError) -> SandboxUnavailableError:
    """Return what to raise when the system refuses what a zygote needs, such as another descriptor."""
    return SandboxUnavailableError("zygote", f"the sandbox's zygote cannot be started: {error.strerror}")


def _hear_hello(control: socket.socket) -> dict[str, str]:
    control.settimeout(_HELLO_SECONDS)
    try:
        message = control.recv(_HELLO_BYTES)
    except TimeoutError as error:
        raise SandboxUnavailableError("zygote", "the sandbox's zygote did not get ready in 30 seconds") from error
    except OSError as error:
        raise SandboxUnavailableError("zygote", "the sandbox's zygote ended while it was starting") from error
    if not message:
        raise SandboxUnavailableError("zygote", "the sandbox's zygote ended while it was starting")
    control.settimeout(None)
    hello = json.loads(message)
    if "error" in hello:
        raise SandboxUnavailableError("libraries", f"the sandbox cannot load its image libraries: {hello['error']}")
    if hello["threads"] != 1:
        raise SandboxUnavailableError(
            "single thread", f"the sandbox's zygote has {hello['threads']} threads after its imports; it must have one"
        )
    return dict(hello["missing"])
