"""
Everything a child gives up before it looks at the file, layer by layer.

`prepare` runs once in the zygote and finds out what this machine offers; `enter` runs in each child.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
from collections.abc import Callable
from enum import StrEnum

from pipelines import _landlock
from pipelines._seccomp import SyscallFilter
from pipelines._wire import MAX_REPORT, Bounds

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CLOSE_RANGE = 436
_PAGE = resource.getpagesize()

INPUT, REPORT, PAYLOAD = 3, 4, 5
_FIRST_FORBIDDEN = 6
_OPEN_FILES = 16
_NOBODY = 65_534

_libc = ctypes.CDLL(None, use_errno=True)


class Layer(StrEnum):
    """One layer of the sandbox, by the name that settings, errors and the doctor use."""

    NO_NEW_PRIVS = "no_new_privs"
    NOT_DUMPABLE = "not-dumpable"
    CLOSED_DESCRIPTORS = "close_range"
    LIMITS = "rlimits"
    LANDLOCK = "landlock"
    SECCOMP = "seccomp"


class LayerError(Exception):
    """A layer could not be put on."""

    def __init__(self, layer: Layer, problem: str) -> None:
        super().__init__(f"{layer}: {problem}")
        self.layer = layer
        self.problem = problem


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def die_with_parent(parent: int) -> None:
    """
    Ask the kernel to kill this process when the thread that made it ends, and leave at once if that has happened.

    Raises:
        OSError: The kernel refused.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def make_undumpable() -> None:
    """
    Forbid core files, and reading this process's memory by another of the same user.

    Raises:
        OSError: The kernel refused.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


def _leave_alone(parent: int) -> None:
    die_with_parent(parent)
    make_undumpable()


def drop_root() -> None:
    """Become nobody if this process is root; where the user namespace has no nobody, the other layers must do."""
    if os.geteuid() != 0:
        return
    try:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    except OSError:
        pass


class Confinement:
    """What this machine offers, found once in the zygote; `missing` maps a layer to why it cannot be had."""

    def __init__(self) -> None:
        self.missing: dict[Layer, str] = {}
        self._filter: SyscallFilter | None = None
        self._abi = 0
        try:
            self._abi = _landlock.landlock_abi()
        except OSError as error:
            self.missing[Layer.LANDLOCK] = f"the kernel answers {error.strerror!r}"
        try:
            self._filter = SyscallFilter()
        except (ImportError, OSError, RuntimeError) as error:
            self.missing[Layer.SECCOMP] = (
                f"pyseccomp or the system's libseccomp cannot be used ({type(error).__name__})"
            )
        self._base_bytes = _address_space()

    def rehearse(self) -> None:
        """
        Confine a child that does nothing else, and note each layer that could not be put on as missing.

        That a kernel has a feature does not mean that this process may use it: containers forbid some.
        """
        nothing = Bounds(
            bytes=1, pixels=1, side=1, frames=1, scans=1, profile_bytes=1, wall_seconds=1, cpu_seconds=1,
            memory_bytes=1 << 30, output_bytes=1, payload_bytes=1,
        )  # fmt: skip
        layers = list(Layer)
        while True:
            parent = os.getpid()
            pid = os.fork()
            if pid == 0:
                failed = len(layers)
                try:
                    self.enter(nothing, (0, 0, 0), parent)
                except LayerError as error:
                    failed = layers.index(error.layer)
                finally:
                    os._exit(failed)
            _pid, status = os.waitpid(pid, 0)
            failed = os.waitstatus_to_exitcode(status)
            if failed == len(layers):
                return
            # A child that was killed in the middle was killed by its filter: the last layer, and the strictest.
            layer = layers[failed] if 0 <= failed < len(layers) else Layer.SECCOMP
            if layer in self.missing:
                return
            self.missing[layer] = "this process may not use it"

    def enter(self, bounds: Bounds, descriptors: tuple[int, int, int], parent: int) -> None:
        """
        Give up everything but the three descriptors, which become 3 (input), 4 (report) and 5 (payload).

        Layers known to be missing are left out; whether that is allowed was decided when the sandbox started.

        Raises:
            LayerError: A layer that should be there could not be put on.
        """
        # In this order: Landlock and seccomp need no_new_privs, and after seccomp nothing else can be done.
        steps: dict[Layer, Callable[[], None]] = {
            Layer.CLOSED_DESCRIPTORS: lambda: _keep_only(descriptors),
            Layer.LIMITS: lambda: self._limit(bounds),
            Layer.NOT_DUMPABLE: lambda: _leave_alone(parent),
            Layer.NO_NEW_PRIVS: lambda: _prctl(_PR_SET_NO_NEW_PRIVS, 1),
            Layer.LANDLOCK: lambda: _landlock.deny_everything(self._abi),
            Layer.SECCOMP: self._load_filter,
        }
        for layer, put_on in steps.items():
            if layer in self.missing:
                continue
            try:
                put_on()
            except (OSError, ValueError) as error:
                raise LayerError(layer, getattr(error, "strerror", None) or type(error).__name__) from error

    def _load_filter(self) -> None:
        assert self._filter is not None
        self._filter.load()

    def _limit(self, bounds: Bounds) -> None:
        # The zygote's own mappings count as address space, so the bound is what the child may add to them.
        memory = self._base_bytes + bounds.memory_bytes
        # The soft limit ends the child with SIGXCPU, the hard one a second later with SIGKILL.
        resource.setrlimit(resource.RLIMIT_CPU, (bounds.cpu_seconds, bounds.cpu_seconds + 1))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        written = max(bounds.payload_bytes, MAX_REPORT)
        resource.setrlimit(resource.RLIMIT_FSIZE, (written, written))
        resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
        # Python ignores SIGXFSZ; a child that floods its output shall end, and be told from one that does not.
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def _address_space() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[0]) * _PAGE


def _keep_only(descriptors: tuple[int, int, int]) -> None:
    # Moved out of the way first: a descriptor may already have a number that another one is to get.
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FORBIDDEN) for fd in descriptors]
    for fd, target in zip(moved, (INPUT, REPORT, PAYLOAD), strict=True):
        os.dup2(fd, target, inheritable=False)
    if _libc.syscall(_CLOSE_RANGE, ctypes.c_uint(_FIRST_FORBIDDEN), ctypes.c_uint(0xFFFF_FFFF), ctypes.c_uint(0)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
