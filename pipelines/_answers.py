"""What a run left behind: how the child ended and what it wrote, turned into an answer or an error."""

from __future__ import annotations

import os
import re
import signal
from types import TracebackType
from typing import Self, TypeVar

from pipelines import _reports
from pipelines._outcomes import Operation, Outcome, RefusalCode
from pipelines._sentences import refused
from pipelines._wire import EXIT_REPORTED, EXIT_UNCONFINED, MAX_REPORT, Ending
from pipelines.errors import PipelineError, SandboxError, SandboxUnavailableError
from pipelines.limits import Limits

Expected = TypeVar("Expected", bound=_reports.AnyReport)

__all__ = ["MAX_REPORT", "Run", "nonsense"]


def nonsense(operation: Operation) -> SandboxError:
    """Return the error for a child that said or did what no honest one can have."""
    return SandboxError(f"the sandboxed {operation} gave an answer that makes no sense", outcome=Outcome.CRASHED)


class Run:
    """
    One finished run. Owns the payload's descriptor until `take_payload`.

    `outcome` is known at once, for counting; `expect` raises what it means.
    """

    def __init__(self, operation: Operation, limits: Limits, ending: Ending, message: bytes, payload: int) -> None:
        self.operation = operation
        self.limits = limits
        self.ending = ending
        self.payload = payload
        self.payload_size = os.fstat(payload).st_size
        self._taken = False
        self._report = _reports.read_report(message) if ending.exit_code >= 0 else None
        self.outcome, self._error = self._judge()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._taken:
            os.close(self.payload)

    def expect(self, kind: type[Expected]) -> Expected:
        """
        Return the report, which must be of this kind.

        Raises:
            Refused: The file is at fault.
            SandboxError: There is no report, or not one of this kind.
        """
        if self._error is not None:
            raise self._error
        if not isinstance(self._report, kind):
            raise self.nonsense()
        return self._report

    def take_payload(self) -> int:
        """Return the payload's descriptor, which the caller closes from now on."""
        self._taken = True
        return self.payload

    def starts_with(self, signatures: tuple[bytes, ...], offset: int) -> bool:
        """Say whether the payload has one of the signatures at `offset`."""
        return os.pread(self.payload, 16, offset).startswith(signatures)

    def matches(self, pattern: re.Pattern[bytes], offset: int, size: int) -> bool:
        """Say whether a short piece of the payload is wholly what the pattern says."""
        return size <= MAX_REPORT and pattern.fullmatch(os.pread(self.payload, size, offset)) is not None

    def nonsense(self) -> SandboxError:
        """Return the error for a child that said what it cannot have done."""
        return nonsense(self.operation)

    def _judge(self) -> tuple[Outcome, PipelineError | None]:
        code, limits = self.ending.exit_code, self.limits
        if not self.ending.started:
            problem = "could not begin: this machine has no room for another process now"
            return Outcome.LOST, self._ended(problem, Outcome.LOST, retryable=True)
        used_up = self.ending.cpu_seconds >= limits.cpu.total_seconds()
        if self.ending.out_of_time or code == -signal.SIGXCPU or (code == -signal.SIGKILL and used_up):
            return Outcome.TIMEOUT, refused(RefusalCode.TOO_MUCH_TIME)
        if code == -signal.SIGXFSZ:
            return Outcome.REFUSED, refused(RefusalCode.OUTPUT_TOO_LARGE)
        if code in (-signal.SIGABRT, -signal.SIGTRAP):
            # GLib ends the process so when it gets no memory, and hardly anything else does.
            return Outcome.MEMORY, refused(RefusalCode.TOO_MUCH_MEMORY)
        if code == -signal.SIGSYS:
            return Outcome.VIOLATION, self._ended("tried a forbidden system call", Outcome.VIOLATION)
        if code == -signal.SIGKILL:
            # Not by us: the kernel was short of memory, or an operator was at work. The file may be innocent.
            return Outcome.CRASHED, self._ended("was killed from outside", Outcome.CRASHED, retryable=True)
        if code < 0:
            return Outcome.CRASHED, self._ended(f"ended by {signal.Signals(-code).name}", Outcome.CRASHED)
        return self._judge_report(code)

    def _judge_report(self, code: int) -> tuple[Outcome, PipelineError | None]:
        match self._report:
            case _reports.UnconfinedReport(layer=layer) if code == EXIT_UNCONFINED:
                return Outcome.LOST, SandboxUnavailableError(
                    layer.value, f"the sandbox's {layer.value} layer could not be put on, so nothing was decoded"
                )
            case _reports.MissingLibraryReport():
                return Outcome.LOST, SandboxUnavailableError(
                    "opencv", "cutting out a product needs OpenCV, which is not installed: install dayfly[local]"
                )
            case _reports.RefusedReport() as report:
                outcome = Outcome.MEMORY if report.code is RefusalCode.TOO_MUCH_MEMORY else Outcome.REFUSED
                return outcome, refused(report.code, actual=report.actual, limit=report.limit, what=report.what)
            case _reports.BrokenReport(where=where):
                return Outcome.CRASHED, self._ended(f"failed at {where}", Outcome.CRASHED)
            case None:
                return Outcome.CRASHED, self._ended("ended without a valid answer", Outcome.CRASHED)
            case _ if code != EXIT_REPORTED:
                return Outcome.CRASHED, self._ended(f"ended with code {code}", Outcome.CRASHED)
        return Outcome.OK, None

    def _ended(self, how: str, outcome: Outcome, *, retryable: bool = False) -> SandboxError:
        return SandboxError(f"the sandboxed {self.operation} {how}", outcome=outcome, retryable=retryable)
