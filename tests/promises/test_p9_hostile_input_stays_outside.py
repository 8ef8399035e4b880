"""
P9: an upload is decoded in a sandbox without keys, network or file system, within limits of time, memory and pixels.

The attacks run in the real child of the real zygote, as a decoder would that its input has taken over.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines import Encoded, Limits, Outcome, RefusalCode, Refused, Sandbox, SandboxError, SandboxUnavailableError
from tests.pipelines import attacks

QUICK = Limits(wall=timedelta(seconds=20), cpu=timedelta(seconds=10), memory_bytes=256 << 20, output_bytes=4 << 20)
SECRET = "dayfly-test-secret-in-the-worker-1f0c"


@pytest.fixture(scope="module")
def hostile() -> Iterator[Sandbox]:
    """A sandbox in which a "photo" names the attack it carries out."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DAYFLY_TEST_SECRET", SECRET)
        with Sandbox(_entry=attacks.ENTRY) as sandbox:
            yield sandbox


def run(sandbox: Sandbox, attack: str, limits: Limits = QUICK) -> int:
    """Carry out one attack and return what it reports."""
    with Encoded.from_bytes(attack.encode()) as source:
        return sandbox.probe(source, limits).frames


def test_p9_the_attacks_would_report_success(hostile: Sandbox) -> None:
    """The control: an attack that does nothing comes back with its answer."""
    assert run(hostile, "nothing") == 1


@pytest.mark.parametrize(
    "attack",
    ["open /etc/passwd", "create a file", "list a folder", "read the parent's memory", "read its own environment",
     "raise its own limits"],
)  # fmt: skip
def test_p9_no_file_can_be_opened(attack: str, hostile: Sandbox) -> None:
    assert run(hostile, attack) in (errno.EPERM, errno.EACCES)
    assert not Path("/tmp/dayfly-escape").exists()


@pytest.mark.parametrize(
    "attack",
    ["make a socket", "make a unix socket", "run a program", "fork", "signal another process", "trace another process",
     "io_uring", "bpf", "mount", "new user namespace", "kernel keyring", "process_vm_readv", "memfd",
     "executable memory"],
)  # fmt: skip
def test_p9_a_forbidden_system_call_ends_the_child_and_nothing_else(attack: str, hostile: Sandbox) -> None:
    with pytest.raises(SandboxError) as violation:
        run(hostile, attack)

    assert violation.value.outcome is Outcome.VIOLATION
    assert not violation.value.retryable
    assert run(hostile, "nothing") == 1


@pytest.mark.parametrize("entry", [attacks.ENTRY, "tests.pipelines.attacks:main_on_an_older_kernel"])
def test_p9_no_other_process_can_be_signalled_whatever_the_kernel(entry: str) -> None:
    """`tgkill` is how a process aborts itself, so it is on the list; Landlock refuses the rest since Linux 6.12."""
    with Sandbox(_entry=entry) as sandbox:
        with pytest.raises(SandboxError) as violation:
            run(sandbox, "signal a thread of another process")
        assert violation.value.outcome is Outcome.VIOLATION
        with pytest.raises(Refused):
            run(sandbox, "abort")


@pytest.mark.parametrize("attack", ["seal its payload", "seal its report"])
def test_p9_a_child_that_seals_what_it_hands_over_is_not_believed(attack: str, hostile: Sandbox) -> None:
    with pytest.raises(SandboxError, match="makes no sense") as crash:
        run(hostile, attack)

    assert crash.value.outcome is Outcome.CRASHED


def test_p9_the_child_cannot_become_dumpable_again(hostile: Sandbox) -> None:
    assert run(hostile, "become dumpable") == errno.EINVAL


def test_p9_the_child_holds_its_three_files_and_the_null_device_only(hostile: Sandbox) -> None:
    """Three for the null device; input, report and payload; and the copy of the input's that Python's mapping keeps."""
    assert run(hostile, "count descriptors") == 7


def test_p9_the_upload_cannot_be_changed_from_inside(hostile: Sandbox) -> None:
    assert run(hostile, "change its input") == errno.EPERM


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        ("exhaust memory", RefusalCode.TOO_MUCH_MEMORY),
        ("abort", RefusalCode.TOO_MUCH_MEMORY),
        ("spin", RefusalCode.TOO_MUCH_TIME),
        ("idle", RefusalCode.TOO_MUCH_TIME),
        ("flood the payload", RefusalCode.OUTPUT_TOO_LARGE),
    ],
)
def test_p9_time_memory_and_output_are_bounded(attack: str, code: RefusalCode, hostile: Sandbox) -> None:
    limits = QUICK
    if code is RefusalCode.TOO_MUCH_TIME:
        limits = QUICK.model_copy(update={"wall": timedelta(seconds=1)})
    started = time.monotonic()

    with pytest.raises(Refused) as refused:
        run(hostile, attack, limits)

    assert refused.value.code is code
    assert time.monotonic() - started < 10


def test_p9_processor_time_is_bounded_when_the_wall_clock_is_generous(hostile: Sandbox) -> None:
    started = time.monotonic()

    with pytest.raises(Refused) as refused:
        run(hostile, "spin", QUICK.model_copy(update={"wall": timedelta(seconds=50), "cpu": timedelta(seconds=1)}))

    assert refused.value.code is RefusalCode.TOO_MUCH_TIME
    assert time.monotonic() - started < 30


def test_p9_threads_are_bounded_by_memory(hostile: Sandbox) -> None:
    """Either the kernel gives no more threads, or the child ends: the worker sees an answer both times."""
    try:
        threads = run(hostile, "spawn threads")
    except (Refused, SandboxError):
        threads = 0

    assert threads < 10_000
    assert run(hostile, "nothing") == 1


@pytest.mark.parametrize("attack", ["segfault", "exit 0 silently", "exit 7"])
def test_p9_a_crash_costs_one_run_and_not_the_sandbox(attack: str, hostile: Sandbox) -> None:
    zygote = hostile.zygote_pid

    with pytest.raises(SandboxError) as crash:
        run(hostile, attack)

    assert crash.value.outcome is Outcome.CRASHED
    assert hostile.zygote_pid == zygote
    assert run(hostile, "nothing") == 1


@pytest.mark.parametrize("attack", [name for name in attacks.ATTACKS if name.startswith("report")])
def test_p9_a_report_that_is_not_exactly_right_is_not_believed(attack: str, hostile: Sandbox) -> None:
    limits = QUICK if attack != "report a megabyte" else Limits()

    with pytest.raises((SandboxError, Refused)) as error:
        run(hostile, attack, limits)

    assert not isinstance(error.value, Refused) or error.value.code is RefusalCode.OUTPUT_TOO_LARGE
    assert "secret" not in str(error.value)
    assert "script" not in str(error.value)


def test_p9_an_error_inside_never_tells_what_the_photo_says(hostile: Sandbox) -> None:
    with pytest.raises(SandboxError) as error:
        run(hostile, "raise with a secret")

    assert "secret" not in str(error.value)
    assert "ValueError" in str(error.value)


def test_p9_nothing_the_worker_knows_is_in_the_zygote(hostile: Sandbox) -> None:
    """Scans every readable page of the zygote for a secret that the worker has in its environment and its memory."""
    needle = SECRET.encode()
    environment = Path(f"/proc/{hostile.zygote_pid}/environ").read_bytes()

    assert needle in _memory_of(os.getpid())  # The control: the scan can find it.
    assert needle not in environment
    assert needle not in _memory_of(hostile.zygote_pid)


def test_p9_zygote_and_child_leave_no_core_and_cannot_be_traced(hostile: Sandbox) -> None:
    limits = Path(f"/proc/{hostile.zygote_pid}/limits").read_text()
    status = Path(f"/proc/{hostile.zygote_pid}/status").read_text()

    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
    # A process that is not dumpable has its /proc files owned by root, whoever it runs as.
    assert Path(f"/proc/{hostile.zygote_pid}/mem").stat().st_uid == 0
    assert re.search(r"^Threads:\s+1$", status, re.MULTILINE)
    if os.geteuid() == 0:
        assert re.search(r"^Uid:\s+65534\s", status, re.MULTILINE)


def test_p9_the_zygote_dies_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", _WORKER], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert worker.stdout is not None
    with worker.stdout:
        zygote = int(worker.stdout.readline())
    pidfd = os.pidfd_open(zygote)
    worker.kill()
    worker.wait()

    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(5_000), "the zygote outlived its worker"
    os.close(pidfd)


@pytest.mark.parametrize(
    ("layer", "blocked"),
    [("landlock", "landlock_create_ruleset"), ("seccomp", "prctl-seccomp")],
)
def test_p9_strict_refuses_to_start_without_a_layer_and_names_it(layer: str, blocked: str) -> None:
    """Runs on this kernel as if it had no such feature: a filter of our own answers for it."""
    strict, relaxed = _start_without(blocked, strict=True), _start_without(blocked, strict=False)

    assert f"SandboxUnavailableError {layer}" in strict
    assert "DAYFLY_SANDBOX=relaxed" in strict
    assert relaxed.startswith(f"started without ['{layer}']")
    # Each of the two keeps the child from files on its own: the filter answers EPERM, Landlock EACCES.
    assert relaxed.split()[-1] == str(errno.EPERM if layer == "landlock" else errno.EACCES)


def test_p9_a_missing_layer_is_an_error_of_its_own_type() -> None:
    error = SandboxUnavailableError("landlock", "no landlock")

    assert isinstance(error, SandboxError)
    assert error.layer == "landlock"


def _memory_of(pid: int) -> bytes:
    pieces = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, permissions = line.split()[:2]
            start, end = (int(number, 16) for number in span.split("-"))
            if not permissions.startswith("rw") or end - start > 256 << 20:
                continue
            try:
                memory.seek(start)
                pieces.append(memory.read(end - start) or b"")
            except OSError:
                continue
    return b"".join(pieces)


def _start_without(blocked: str, *, strict: bool) -> str:
    return subprocess.run(
        [sys.executable, "-c", _WITHOUT, blocked, str(int(strict))],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


_WORKER = """
import sys, time
sys.path.insert(0, ".")
from pipelines import Sandbox
sandbox = Sandbox().start()
print(sandbox.zygote_pid, flush=True)
time.sleep(60)
"""

_WITHOUT = """
import errno, sys
sys.path.insert(0, ".")
import pyseccomp
blocked, strict = sys.argv[1], sys.argv[2] == "1"
rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
if blocked == "prctl-seccomp":
    rules.add_rule(pyseccomp.ERRNO(errno.EINVAL), "prctl", pyseccomp.Arg(0, pyseccomp.EQ, 22))
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "seccomp")
else:
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), blocked)
rules.load()
from pipelines import Encoded, Limits, Sandbox, SandboxUnavailableError
try:
    with Sandbox(strict=strict, _entry="tests.pipelines.attacks:main") as sandbox:
        with Encoded.from_bytes(b"open /etc/passwd") as source:
            opened = sandbox.probe(source, Limits()).frames
        print("started without", list(sandbox.missing_layers), "and opening a file gives", opened)
except SandboxUnavailableError as error:
    print("SandboxUnavailableError", error.layer, error)
"""
