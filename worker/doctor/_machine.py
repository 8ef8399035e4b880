"""This machine: what could carry plaintext or keys out of memory, and what the sandbox is made of."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from pathlib import Path

from pipelines import Sandbox, SandboxError
from worker.doctor._findings import Finding, broken, ok, warning
from worker.settings import SandboxMode, Settings


def home_folder(settings: Settings) -> Finding:
    """Judge who may look into the home folder."""
    check = "home folder"
    try:
        mode = settings.home.stat().st_mode
    except FileNotFoundError:
        return ok(check, f"{settings.home}, not made yet", "P2")
    except OSError as error:
        return broken(check, f"{settings.home}: {error.strerror}", "choose another with DAYFLY_HOME", "P2")
    if mode & 0o077:
        return warning(check, f"{settings.home} is open to others", f"chmod 700 {settings.home}", "P2")
    return ok(check, f"{settings.home}, for this user only", "P2")


def swap(listing: Path = Path("/proc/swaps"), groups: Path = Path("/sys/fs/cgroup")) -> Finding:
    """Judge whether the memory of this process may be written to a disk."""
    try:
        lines = listing.read_text().splitlines()[1:]
    except OSError:
        return warning("swap", "cannot be read", "see that this machine has none", "P1")
    # Compressed memory is memory.
    areas = [line.split()[0] for line in lines if line and "zram" not in line.split()[0]]
    if not areas:
        return ok("swap", "none", "P1")
    if _group_swaps_nothing(groups):
        return ok("swap", f"{', '.join(areas)}, but not for this process (memory.swap.max is 0)", "P1")
    advice = (
        "swapoff -a, memory.swap.max=0 (MemorySwapMax=0) for the pool's processes, or swap encrypted under a key made "
        "at boot: opened photos and keys may be written to it"
    )
    return warning("swap", ", ".join(areas), advice, "P1")


def _group_swaps_nothing(groups: Path) -> bool:
    """Say whether this process's control group, or one above it, is allowed no swap."""
    try:
        own = next(line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return False
    folder = groups / own.lstrip("/")
    for place in (folder, *folder.parents):
        try:
            if (place / "memory.swap.max").read_text().strip() == "0":
                return True
        except OSError:
            continue
    return False


def core_dumps(pattern: Path = Path("/proc/sys/kernel/core_pattern")) -> Finding:
    """Judge whether a crash writes this user's memory to a file."""
    check = "core dumps"
    try:
        target = pattern.read_text().strip()
    except OSError:
        target = ""
    if target.startswith("|"):
        # The limit does not hold for a program, which gets the memory whatever it is.
        advice = "sysctl kernel.core_pattern=core and ulimit -c 0 for the pool's processes"
        return warning(check, f"handed to {target[1:].split()[0]}", advice, "P1")
    soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
    if soft != 0:
        return warning(check, "allowed", "ulimit -c 0 (LimitCORE=0) for the pool's processes", "P1")
    return ok(check, "off", "P1")


def sandbox_layers(settings: Settings) -> Iterable[Finding]:
    """Start a sandbox and judge what it is made of here."""
    check = "sandbox"
    try:
        with Sandbox(strict=False) as sandbox:
            missing = sandbox.missing_layers
    except SandboxError as error:
        yield broken(check, "does not start", str(error), "P9")
        return
    if not missing:
        yield ok(check, f"whole, {len(os.sched_getaffinity(0))} at once", "P9")
    for layer, reason in missing.items():
        consequence = (
            "workers refuse to start here"
            if settings.sandbox is SandboxMode.STRICT
            else "workers run without it because DAYFLY_SANDBOX is relaxed"
        )
        yield broken(f"{check}: {layer}", f"missing ({reason})", f"{consequence}; allow it to this container", "P9")
