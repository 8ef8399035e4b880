"""Keep one zygote alive: a thread that starts it, waits for its death, and starts the next."""

from __future__ import annotations

import os
import select
import threading
import time

from metrics.instruments import ZYGOTE_RESTARTS
from pipelines._outcomes import Outcome
from pipelines._zygote_process import ZygoteProcess, not_started, spawn_zygote
from pipelines.errors import SandboxError, SandboxUnavailableError

_READY_SECONDS = 60.0
_SHORT_LIFE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 5.0


class Supervisor:
    """
    Own the zygote's life.

    The kernel kills a zygote when the thread that started it ends; so it is this thread, which lives as long as the
    sandbox, and not whichever worker thread happened to notice the last one's death.
    """

    def __init__(self, *, strict: bool, entry: str) -> None:
        self._strict = strict
        self._entry = entry
        self._changed = threading.Condition()
        self._zygote: ZygoteProcess | None = None
        self._failure: SandboxUnavailableError | None = None
        self._closed = threading.Event()
        self._wake_reader, self._wake_writer = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._live, name="dayfly-sandbox", daemon=True)

    def start(self) -> None:
        """
        Start the thread, unless it has been started, and wait for a zygote.

        Raises:
            SandboxUnavailableError: It cannot start, or (when strict) lacks a layer.
            SandboxError: It is closed, or no zygote came up in a minute.
        """
        with self._changed:
            if self._thread.ident is None and not self._closed.is_set():
                self._thread.start()
        self.current()

    def current(self) -> ZygoteProcess:
        """
        Return the living zygote, waiting for it while it is being restarted.

        Raises:
            SandboxUnavailableError: No zygote can be started on this machine.
            SandboxError: It is closed, or no zygote came up in a minute.
        """
        with self._changed:
            ready = self._changed.wait_for(
                lambda: self._zygote or self._failure or self._closed.is_set(), _READY_SECONDS
            )
            if self._zygote is not None:
                return self._zygote
            if self._failure is not None:
                raise self._failure
        reason = "it is closed" if ready else "its zygote did not come back"
        raise SandboxError(f"the sandbox cannot be used: {reason}", outcome=Outcome.LOST, retryable=not ready)

    def forget(self, zygote: ZygoteProcess) -> None:
        """Give out this zygote no more: a run has seen it dead, before this object's own thread did."""
        with self._changed:
            if self._zygote is zygote:
                self._zygote = None

    def close(self) -> None:
        """End the zygote and the thread. Closing twice is harmless."""
        with self._changed:
            if self._closed.is_set():
                return
            self._closed.set()
            self._changed.notify_all()
        os.write(self._wake_writer, b"x")
        if self._thread.ident is not None:
            self._thread.join()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def _live(self) -> None:
        pause = 0.0
        while not self._closed.is_set():
            born = time.monotonic()
            try:
                zygote, pidfd = self._spawn()
            except SandboxUnavailableError as failure:
                with self._changed:
                    self._failure = failure
                    self._changed.notify_all()
                if not self._wait_for_close(_LONGEST_PAUSE_SECONDS):
                    continue
                return
            with self._changed:
                self._zygote, self._failure = zygote, None
                self._changed.notify_all()
            _poll([pidfd, self._wake_reader], None)
            os.close(pidfd)
            with self._changed:
                self._zygote = None
            zygote.kill()
            if self._closed.is_set():
                return
            ZYGOTE_RESTARTS.inc()
            # One that dies at once would otherwise be restarted without end at full speed.
            short = time.monotonic() - born < _SHORT_LIFE_SECONDS
            pause = min(_LONGEST_PAUSE_SECONDS, pause * 2 or 0.1) if short else 0.0
            self._wait_for_close(pause)

    def _spawn(self) -> tuple[ZygoteProcess, int]:
        """Start a zygote and return it with a descriptor that tells of its death."""
        zygote = spawn_zygote(self._entry)
        if self._strict and zygote.missing:
            zygote.kill()
            layer, problem = next(iter(zygote.missing.items()))
            raise SandboxUnavailableError(
                layer,
                f"the sandbox's {layer} layer is missing: {problem}. "
                "Provide it, or accept a weaker sandbox with DAYFLY_SANDBOX=relaxed.",
            )
        try:
            return zygote, os.pidfd_open(zygote.process.pid)
        except OSError as error:
            zygote.kill()
            raise not_started(error) from error

    def _wait_for_close(self, seconds: float) -> bool:
        return _poll([self._wake_reader], seconds)


def _poll(descriptors: list[int], seconds: float | None) -> bool:
    # Not select(): a busy worker may hold descriptors beyond its 1,024.
    poll = select.poll()
    for fd in descriptors:
        poll.register(fd, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))
