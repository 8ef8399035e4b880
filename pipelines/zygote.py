"""
The zygote: a small process that has the image libraries loaded and forks a sandboxed child for each image.

It is exec'd with a clean environment, so nothing in its memory was ever a secret; it stays single-threaded and never
evaluates a pixel, because a child forked after libvips has started its threads hangs. It ends with its worker.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module

from pipelines._child import run_child
from pipelines._confinement import Confinement, die_with_parent, drop_root, make_undumpable
from pipelines._programs import CUT_OUT, PROGRAMS, Program
from pipelines._wire import DESCRIPTORS, NOT_STARTED, Ending, receive_order


@dataclass(slots=True)
class _Run:
    """A child at work."""

    pid: int
    pidfd: int
    reply: socket.socket
    started: float
    deadline: float
    out_of_time: bool = False


class Zygote:
    """The loop: take orders, fork, watch the clocks, report endings."""

    def __init__(self, control: socket.socket, confinement: Confinement, programs: Mapping[str, Program]) -> None:
        self._control = control
        self._confinement = confinement
        self._programs = programs
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ, None)
        self._runs: dict[int, _Run] = {}

    def serve(self) -> None:
        """Serve until the worker closes its end of the control socket, then kill what still runs."""
        try:
            while True:
                for key, _events in self._selector.select(self._until_next_deadline()):
                    if key.data is not None:
                        self._end(key.data)
                    elif not self._begin():
                        return
                self._kill_the_late()
        finally:
            for run in self._runs.values():
                _kill(run)

    def _begin(self) -> bool:
        received = receive_order(self._control)
        if received is None:
            return False
        order, descriptors = received
        if len(descriptors) != DESCRIPTORS:
            return False
        reply = socket.socket(fileno=descriptors[0])
        files = (descriptors[1], descriptors[2], descriptors[3])
        zygote = os.getpid()
        started = time.monotonic()
        try:
            pid = os.fork()
        except OSError:
            # No room for another process now: this run can be tried again, and the others go on.
            _tell(reply, NOT_STARTED)
            pid = -1
        if pid == 0:
            run_child(order, files, self._confinement, self._programs, zygote)
        for fd in files:
            os.close(fd)
        if pid > 0:
            run = _Run(pid, os.pidfd_open(pid), reply, started, started + order.bounds.wall_seconds)
            self._runs[pid] = run
            self._selector.register(run.pidfd, selectors.EVENT_READ, run)
        return True

    def _end(self, run: _Run) -> None:
        _pid, status, usage = os.wait4(run.pid, 0)
        self._selector.unregister(run.pidfd)
        os.close(run.pidfd)
        del self._runs[run.pid]
        ending = Ending(
            exit_code=os.waitstatus_to_exitcode(status),
            out_of_time=run.out_of_time,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            wall_seconds=time.monotonic() - run.started,
            peak_bytes=usage.ru_maxrss * 1024,
        )
        _tell(run.reply, ending)

    def _until_next_deadline(self) -> float | None:
        waiting = [run.deadline for run in self._runs.values() if not run.out_of_time]
        return max(0.0, min(waiting) - time.monotonic()) if waiting else None

    def _kill_the_late(self) -> None:
        now = time.monotonic()
        for run in self._runs.values():
            if now >= run.deadline and not run.out_of_time:
                run.out_of_time = True
                _kill(run)


def _tell(reply: socket.socket, ending: Ending) -> None:
    # Whoever asked may have gone; the child's ending is then nobody's business.
    with suppress(OSError):
        reply.send(ending.to_bytes())
    reply.close()


def _kill(run: _Run) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(run.pidfd, signal.SIGKILL)


def _thread_count() -> int:
    return len(os.listdir("/proc/self/task"))


def _load_libraries() -> None:
    """Import and configure all a child may need: it can open no file itself."""
    import pyvips

    pyvips.cache_set_max(0)
    pyvips.block_untrusted_set(True)
    # libvips has more decoders than are wanted: all are off, then those that are asked for by name are on.
    pyvips.operation_block_set("VipsForeignLoad", True)


def _load_decoders() -> None:
    import pyvips
    from PIL import Image

    for wanted in ("Jpeg", "Png", "Webp", "Nsgif", "Tiff"):
        pyvips.operation_block_set(f"VipsForeignLoad{wanted}", False)
    # The bound on pixels is checked before this one could be met; a lower built-in one would only be a surprise.
    Image.MAX_IMAGE_PIXELS = None
    Image.preinit()
    # The optional extra `heic`; without it such a photo is refused, with a sentence that says what reads it.
    with suppress(ImportError):
        import_module("pipelines.steps.heic")
    # Pillow imports these when it meets the first EXIF block, or a file of theirs whose copyright is to be kept.
    for plugin in ("TiffImagePlugin", "WebPImagePlugin", "MpoImagePlugin"):
        import_module(f"PIL.{plugin}")
    _learn(pyvips.type_from_name("VipsOperation"))


def _load_opencv() -> None:
    # The optional extra `local`; without it `cut_out` says what to install. The second is imported by the first median.
    with suppress(ImportError):
        for module in ("pipelines.steps.cut_out", "numpy.ma"):
            import_module(module)


def _learn(kind: object, *_unused: object) -> object:
    """
    Look up an operation of libvips and all that derive from it, as its first call would, in every child again.

    That evaluates nothing, takes 80 ms and 2 MiB, and saves a child some milliseconds and hundreds of page faults.
    """
    import pyvips

    # Those that are blocked, or that are only a family of operations, cannot be called and need not be known.
    with suppress(pyvips.Error):
        pyvips.Introspect.get(pyvips.nickname_find(kind))
    return pyvips.type_map(kind, _learn)


def main(
    control_fd: int,
    parent: int,
    programs: Mapping[str, Program] = PROGRAMS,
    load: Callable[[], None] = _load_decoders,
) -> None:
    """
    Run the zygote on an inherited control socket until the worker `parent` is gone.

    The first message it sends says either which layers are missing, or why it cannot start at all.
    """
    control = socket.socket(fileno=control_fd)
    control.set_inheritable(False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A signal to the process group is for the worker, which decides when its zygote ends.
        signal.signal(number, signal.SIG_IGN)
    try:
        _load_libraries()
        load()
        confinement = Confinement()
    except Exception as error:  # noqa: BLE001  Told to the worker, which turns it into one sentence.
        control.send(json.dumps({"error": f"{type(error).__name__}: {error}"[:500]}).encode())
        return
    drop_root()
    die_with_parent(parent)
    make_undumpable()
    confinement.rehearse()
    threads = _thread_count()
    missing = {layer.value: problem for layer, problem in confinement.missing.items()}
    gc.collect()
    gc.freeze()
    control.send(json.dumps({"missing": missing, "threads": threads}).encode())
    Zygote(control, confinement, programs).serve()


def cut_outs(control_fd: int, parent: int) -> None:
    """
    Run a zygote that cuts products out and does nothing else, with OpenCV and without a decoder.

    OpenCV and NumPy take 33 MiB, and make the fork and the end of every child a third slower that does not need them.
    """
    main(control_fd, parent, CUT_OUT, _load_opencv)
