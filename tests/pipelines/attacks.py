"""
What an attacker would do who has taken over the decoder, run in the real child.

`main` is the zygote of production with one difference: `probe` runs the attack that the "photo" names. An attack that
comes back reports what it got as the `frames` of an otherwise ordinary answer.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pipelines import _landlock, zygote
from pipelines._confinement import INPUT, PAYLOAD, REPORT
from pipelines._programs import PROGRAMS, Report, Work

ENTRY = "tests.pipelines.attacks:main"

# Known before the child is confined; afterwards even asking for it would be a violation.
_zygote_pid = os.getpid()
_libc = ctypes.CDLL(None, use_errno=True)


def _answer(got: int, **changes: Any) -> Report:
    facts: Report = {
        "kind": "facts", "format": "png", "width": 1, "height": 1, "frames": got, "bands": 3, "bits": 8,
        "has_alpha": False, "has_profile": False, "orientation": 1, "scans": 1,
    }  # fmt: skip
    return {**facts, **changes}


def _errno_of(attempt: Callable[[], object]) -> int:
    try:
        attempt()
    except OSError as error:
        return error.errno or 0
    return 0


def _syscall(number: int, *arguments: int) -> int:
    result = _libc.syscall(ctypes.c_long(number), *(ctypes.c_long(argument) for argument in arguments))
    return ctypes.get_errno() if result < 0 else 0


def _open_descriptors() -> int:
    found = 0
    for fd in range(4096):
        with suppress(OSError):
            os.fstat(fd)
            found += 1
    return found


def _executable_memory() -> int:
    # Shellcode needs a page that is both writable and executable, at once or in turn.
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    return 0


def _exhaust_memory() -> int:
    hoard = []
    while True:
        hoard.append(bytearray(64 << 20))


def _flood_payload() -> int:
    while True:
        os.write(PAYLOAD, bytes(1 << 20))


def _spin() -> int:
    while True:
        pass


def _idle() -> int:
    while True:
        time.sleep(0.05)


def _spawn_threads() -> int:
    # Threads are allowed, codecs use them; what they cost is bounded by the address space.
    def wait() -> None:
        time.sleep(60)

    count = 0
    try:
        while count < 100_000:
            threading.Thread(target=wait, daemon=True).start()
            count += 1
    except RuntimeError:
        pass
    return count


def _change_input() -> int:
    return _errno_of(lambda: os.pwrite(INPUT, b"changed", 0)) or _errno_of(lambda: os.ftruncate(INPUT, 0))


def _write_report(text: bytes) -> int:
    os.pwrite(REPORT, text, 0)
    os._exit(0)


ATTACKS: dict[str, Callable[[], int]] = {
    "nothing": lambda: 1,
    "open /etc/passwd": lambda: _errno_of(lambda: os.open("/etc/passwd", os.O_RDONLY)),
    "create a file": lambda: _errno_of(lambda: os.open("/tmp/dayfly-escape", os.O_CREAT | os.O_WRONLY)),
    "list a folder": lambda: _errno_of(lambda: os.listdir("/")),
    "read the parent's memory": lambda: _errno_of(lambda: os.open(f"/proc/{_zygote_pid}/mem", os.O_RDONLY)),
    "read its own environment": lambda: _errno_of(lambda: os.open("/proc/self/environ", os.O_RDONLY)),
    "make a socket": lambda: _errno_of(lambda: socket.socket(socket.AF_INET)),
    "make a unix socket": lambda: _errno_of(lambda: socket.socket(socket.AF_UNIX)),
    "run a program": lambda: _errno_of(lambda: os.execv("/bin/true", ["true"])),
    "fork": lambda: os.fork(),
    "signal another process": lambda: _errno_of(lambda: os.kill(1, signal.SIGTERM)),
    "signal a thread of another process": lambda: _syscall(234, _zygote_pid, _zygote_pid, 0),
    "seal its payload": lambda: fcntl.fcntl(PAYLOAD, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL),
    "seal its report": lambda: fcntl.fcntl(REPORT, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL),
    "trace another process": lambda: _syscall(101, 16, 1, 0, 0),
    "io_uring": lambda: _syscall(425, 1, 0),
    "bpf": lambda: _syscall(321, 0, 0, 0),
    "mount": lambda: _syscall(165, 0, 0, 0, 0, 0),
    "new user namespace": lambda: _syscall(272, 0x1000_0000),
    "kernel keyring": lambda: _syscall(250, 0, -4 & 0xFFFF_FFFF, 0),
    "process_vm_readv": lambda: _syscall(310, 1, 0, 0, 0, 0, 0),
    "memfd": lambda: os.memfd_create("more"),
    "raise its own limits": lambda: _syscall(302, 0, 0, 0, 0),
    "become dumpable": lambda: _libc.prctl(4, 1, 0, 0, 0) and ctypes.get_errno(),
    "executable memory": _executable_memory,
    "count descriptors": _open_descriptors,
    "change its input": _change_input,
    "exhaust memory": _exhaust_memory,
    "spawn threads": _spawn_threads,
    "flood the payload": _flood_payload,
    "spin": _spin,
    "idle": _idle,
    "abort": lambda: os.abort(),
    "segfault": lambda: int(ctypes.string_at(0)[0]),
    "exit 0 silently": lambda: os._exit(0),
    "exit 7": lambda: os._exit(7),
    "raise with a secret": lambda: int("the photo's secret"),
    "report noise": lambda: _write_report(b"\xff\x00{]" * 100),
    "report too much": lambda: _write_report(b"[" * 60_000),
    "report a megabyte": lambda: _write_report(b'"' + b"x" * (1 << 20)),
    "report another kind": lambda: _write_report(b'{"kind":"picture","width":1,"height":1,"bands":3,"size":3}'),
    "report text in a refusal": lambda: _write_report(b'{"kind":"refused","code":"damaged","what":"<script>"}'),
    "report text in a fault": lambda: _write_report(b'{"kind":"broken","where":"secret words from the photo"}'),
    "report a negative size": lambda: _write_report(json.dumps(_answer(1, width=-5)).encode()),
    "report too huge a size": lambda: _write_report(json.dumps(_answer(1, width=1 << 60)).encode()),
    "report an unknown format": lambda: _write_report(json.dumps(_answer(1, format="exe")).encode()),
    "report one field more": lambda: _write_report(json.dumps(_answer(1, note="hello")).encode()),
}


def attack(work: Work) -> Report:
    """Run the attack that the input names."""
    return _answer(ATTACKS[bytes(work.data).decode()]())


def lie(work: Work) -> Report:
    """Claim renditions that are not there: the payload's name says how."""
    fields = json.loads(bytes(work.data))
    os.write(PAYLOAD, fields.pop("payload").encode("latin-1"))
    return fields


def main(control_fd: int, parent: int) -> None:
    """Run the zygote of production with programs that attack."""
    zygote.main(control_fd, parent, {**PROGRAMS, "probe": attack, "render": lie})


def main_on_an_older_kernel(control_fd: int, parent: int) -> None:
    """Run the zygote that attacks on a kernel whose Landlock does not know of signals yet."""
    _landlock.landlock_abi = lambda: 5
    main(control_fd, parent)


def main_without_room(control_fd: int, parent: int) -> None:
    """Run the zygote of production on a machine that has no room for the first child."""
    receive, fork = zygote.receive_order, os.fork

    def no_room() -> int:
        os.fork = fork
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def receive_first(control: socket.socket) -> object:
        received = receive(control)
        os.fork, zygote.receive_order = no_room, receive  # type: ignore[assignment]
        return received

    zygote.receive_order = receive_first  # type: ignore[assignment]
    zygote.main(control_fd, parent)
