"""
The system calls a decode and an encode need, and nothing else.

The filter is compiled once, in the zygote; a child loads it with one `prctl`. Whatever is not listed kills the
process; what libraries try and can do without is answered with an error instead.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from itertools import chain

_CLONE_THREAD = 0x0001_0000
_PROT_EXEC = 0x4
_PR_SET_NAME = 15
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_INSTRUCTION_BYTES = 8

# Stands in the compiled filter for the process that will load it: no process has this number.
_OWN_PID = 0x7AFE_B0DE

# mmap and mprotect are added below, because of their PROT_EXEC, and tgkill, which abort() needs to end as SIGABRT.
_ALLOWED = {
    "memory": ["munmap", "madvise", "brk", "mremap"],
    "open descriptors": ["read", "write", "lseek", "pread64", "pwrite64", "fstat", "newfstatat", "ftruncate", "close"],
    "copies of descriptors": ["dup", "fcntl"],
    "threads of its own": ["futex", "set_robust_list", "rseq", "sched_getaffinity", "sched_yield", "gettid", "getpid"],
    "signals to itself": ["rt_sigprocmask", "rt_sigaction", "rt_sigreturn", "sigaltstack"],
    "clocks": ["clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time"],
    "randomness and usage": ["getrandom", "getrusage"],
    "the end": ["restart_syscall", "exit", "exit_group"],
}

# Tried by libc or a library, which goes on without: an error rather than death.
_DENIED = {
    "openat": errno.EPERM,
    "open": errno.EPERM,
    "stat": errno.EPERM,
    "lstat": errno.EPERM,
    "access": errno.EPERM,
    "readlink": errno.EPERM,
    "ioctl": errno.ENOTTY,
    # GLib asks this of its standard error before it writes a warning there.
    "getpeername": errno.ENOTSOCK,
    "sysinfo": errno.EPERM,
    "prlimit64": errno.EPERM,
    "set_mempolicy": errno.EPERM,
    "mbind": errno.EPERM,
    # seccomp cannot look into clone3's structure, so glibc is sent back to clone.
    "clone3": errno.ENOSYS,
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


class SyscallFilter:
    """
    The compiled filter.

    Raises:
        ImportError: `pyseccomp` or the system's libseccomp is missing.
        OSError: libseccomp could not compile the filter.
    """

    def __init__(self) -> None:
        import pyseccomp

        rules = pyseccomp.SyscallFilter(pyseccomp.KILL_PROCESS)
        for name in chain.from_iterable(_ALLOWED.values()):
            rules.add_rule(pyseccomp.ALLOW, name)
        for name, code in _DENIED.items():
            rules.add_rule(pyseccomp.ERRNO(code), name)
        # A thread, never a process; and no memory that can be executed, so that no shellcode can be made.
        rules.add_rule(pyseccomp.ALLOW, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD))
        for name in ("mmap", "mprotect"):
            rules.add_rule(pyseccomp.ALLOW, name, pyseccomp.Arg(2, pyseccomp.MASKED_EQ, _PROT_EXEC, 0))
        # To itself alone: Landlock keeps signals from others only since Linux 6.12.
        rules.add_rule(pyseccomp.ALLOW, "tgkill", pyseccomp.Arg(0, pyseccomp.EQ, _OWN_PID))
        rules.add_rule(pyseccomp.ALLOW, "prctl", pyseccomp.Arg(0, pyseccomp.EQ, _PR_SET_NAME))
        rules.add_rule(pyseccomp.ERRNO(errno.EINVAL), "prctl", pyseccomp.Arg(0, pyseccomp.NE, _PR_SET_NAME))
        with open(os.memfd_create("dayfly-filter"), "w+b") as compiled:
            rules.export_bpf(compiled)
            compiled.seek(0)
            instructions = compiled.read()
        own_pid = _OWN_PID.to_bytes(4, sys.byteorder)
        if instructions.count(own_pid) != 1:
            raise RuntimeError("the compiled filter does not name the process that loads it once")
        self._own_pid_at = instructions.index(own_pid)
        self._code = ctypes.create_string_buffer(instructions, len(instructions))
        self._program = _Program(len(instructions) // _INSTRUCTION_BYTES, ctypes.addressof(self._code))
        self._libc = ctypes.CDLL(None, use_errno=True)

    def load(self) -> None:
        """
        Hold this process to the filter, for good. Needs no_new_privs.

        Raises:
            OSError: The kernel refused.
        """
        struct.pack_into("=I", self._code, self._own_pid_at, os.getpid())
        result = self._libc.prctl(
            _PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(self._program), 0, 0
        )
        if result != 0:
            code = ctypes.get_errno()
            raise OSError(code, "the kernel refused the system call filter")
