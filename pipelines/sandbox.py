"""
The sandbox: each image is decoded in a child process of its own that holds nothing worth stealing.

    with Sandbox() as sandbox, Encoded.from_bytes(upload) as source:
        facts = sandbox.probe(source, Limits())

The child has no file system, no network, no keys, a list of some sixty system calls, and bounds on time, memory and
output. What starting cold costs it, `make bench` compares. All methods may be called from any number of threads; as
many children run at once as there are cores.
"""

from __future__ import annotations

import mmap
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from types import TracebackType
from typing import Any, Literal, Self

from metrics.instruments import SANDBOX_RUNS, SANDBOX_SECONDS
from pipelines import _answers
from pipelines._orders import bounds_of, check_source
from pipelines._outcomes import Operation, Outcome
from pipelines._reports import PLACEHOLDER, FactsReport, MeasuredReport, PictureReport, RenditionsReport
from pipelines._reports import build as build_reports
from pipelines._supervisor import Supervisor
from pipelines._wire import Ending, Order
from pipelines._zygote_process import CUT_OUT_ENTRY, DEFAULT_ENTRY
from pipelines.acceptance import Measurements
from pipelines.errors import Refused, SandboxError
from pipelines.limits import Limits
from pipelines.provenance import DigitalSource
from pipelines.recipes import Recipe
from pipelines.renditions import MEDIA_TYPES
from pipelines.sources import (
    Encoded,
    Note,
    PhotoFacts,
    Pixels,
    Prepared,
    Rendered,
    Renditions,
    Source,
    new_memfd,
    seal_memfd,
)

# What the zygote may take beyond a run's own wall clock before it is thought stuck.
_GRACE_SECONDS = 10.0
_ENDING_BYTES = 4096
_MAGIC: dict[str, tuple[bytes, ...]] = {
    "jpeg": (b"\xff\xd8\xff",),
    "png": (b"\x89PNG\r\n\x1a\n",),
    "webp": (b"RIFF",),
    # The size of the first box depends on how many brands the encoder lists.
    "json": (b'{"width":',),
    "avif": tuple(bytes((0, 0, 0, size)) + b"ftypavif" for size in range(16, 64, 4)),
}


class Sandbox:
    """
    A zygote and the children it forks, and from the first cut-out on a second one for those.

    A zygote is exec'd with an environment and descriptors of its own, so nothing the worker knows is in its memory;
    start the sandbox all the same before the worker holds keys, so that no mistake can change that for uploads. The
    second zygote's children see only pixels that a child of the first has made.
    """

    def __init__(
        self,
        *,
        strict: bool = True,
        concurrency: int | None = None,
        _entry: str = DEFAULT_ENTRY,
        _cut_out_entry: str = CUT_OUT_ENTRY,
    ) -> None:
        """
        Make a sandbox that is not running yet.

        Args:
            strict: Refuse to start when a layer of protection is missing on this machine.
            concurrency: How many children may run at once; the number of cores this process may use if None.
        """
        self._slots = threading.BoundedSemaphore(concurrency or len(os.sched_getaffinity(0)))
        self._supervisor = Supervisor(strict=strict, entry=_entry)
        # Started by the first cut-out.
        self._cutter = Supervisor(strict=strict, entry=_cut_out_entry)

    def start(self) -> Self:
        """
        Start the zygote and wait until it is ready, about a third of a second.

        Raises:
            SandboxUnavailableError: It cannot start, or a layer is missing and `strict` is set: the message names it.
        """
        build_reports()
        try:
            self._supervisor.start()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End the zygotes and whatever they run; runs in flight end with `SandboxError`."""
        self._cutter.close()
        self._supervisor.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def missing_layers(self) -> Mapping[str, str]:
        """
        The layers this machine lacks, each with the reason; empty when the sandbox is whole.

        Raises:
            SandboxError: The sandbox is not running.
        """
        return dict(self._supervisor.current().missing)

    @property
    def zygote_pid(self) -> int:
        """
        The process id of the zygote now running, for the doctor and for tests.

        Raises:
            SandboxError: The sandbox is not running.
        """
        return self._supervisor.current().process.pid

    def probe(self, source: Encoded, limits: Limits) -> PhotoFacts:
        """
        Read the header only.

        Raises:
            Refused: Not a photo, a format that is not read, or over a limit.
            SandboxError: The run ended without an answer.
            ValueError: The source is not sealed.
        """
        with self._run(Operation.PROBE, source, {}, limits, payload_bytes=0) as run:
            report = run.expect(FactsReport)
            return PhotoFacts(**report.model_dump(exclude={"kind"}))

    def measure(self, source: Encoded, limits: Limits) -> Measurements:
        """
        Measure what a marketplace looks at, on the file as it is: sizes, whiteness of the background, fill.

        Raises:
            Refused: Not a photo, truncated, damaged, or over a limit.
            SandboxError: The run ended without an answer.
            ValueError: The source is not sealed.
        """
        with self._run(Operation.MEASURE, source, {}, limits, payload_bytes=0) as run:
            report = run.expect(MeasuredReport)
            outside = report.white_outside
            return Measurements(
                format=report.format,
                bytes=os.fstat(source.fd).st_size,
                width=report.width,
                height=report.height,
                frames=report.frames,
                cmyk=report.cmyk,
                has_alpha=report.has_alpha,
                white_border=report.white_border / 1_000_000,
                white_outside=None if outside is None else outside / 1_000_000,
                fill=report.fill / 1_000_000,
            )

    def prepare(
        self, source: Encoded, *, max_side: int | None, encoding: Literal["pixels", "png", "jpeg"], limits: Limits
    ) -> Prepared:
        """
        Make a clean picture for a provider: upright, sRGB, first frame, without metadata, and with alpha if it had it.

        It is reduced so that no side is longer than `max_side`; never enlarged. The caller closes the result.

        Raises:
            Refused: Not a photo, truncated, damaged, or over a limit.
            SandboxError: The run ended without an answer.
            ValueError: The source is not sealed.
        """
        arguments = {"max_side": max_side, "encoding": encoding}
        raw = 4 * (min(limits.pixels, max_side * max_side) if max_side else limits.pixels)
        payload = raw if encoding == "pixels" else limits.output_bytes
        with self._run(Operation.PREPARE, source, arguments, limits, payload_bytes=payload) as run:
            picture = run.expect(PictureReport)
            pixel_bytes = picture.width * picture.height * picture.bands
            honest = picture.size == run.payload_size and (encoding != "pixels" or picture.size == pixel_bytes)
            if not honest or (encoding != "pixels" and not run.starts_with(_MAGIC[encoding], 0)):
                raise run.nonsense()
            return Prepared(
                run.take_payload(), MEDIA_TYPES[encoding], picture.width, picture.height, picture.bands, picture.size
            )

    def cut_out(self, source: Pixels, limits: Limits) -> Pixels:
        """
        Cut the product out of a plain background: RGBA of the same size, with soft edges and clean edge colours.

        A picture that already has transparency comes back as it is. The caller closes the result.

        Raises:
            Refused: No product can be told from the background, or over a limit.
            SandboxUnavailableError: OpenCV is not installed.
            SandboxError: The run ended without an answer.
            ValueError: The source is not sealed, or not as large as it says.
        """
        size = source.width * source.height * 4
        with self._run(Operation.CUT_OUT, source, {}, limits, payload_bytes=size) as run:
            picture = run.expect(PictureReport)
            if (picture.width, picture.height, picture.bands) != (source.width, source.height, 4):
                raise run.nonsense()
            if not picture.size == run.payload_size == size:
                raise run.nonsense()
            return Pixels(run.take_payload(), source.width, source.height, 4)

    def render(
        self, source: Source, recipe: Recipe, limits: Limits, *, digital_source: DigitalSource | None = None
    ) -> Renditions:
        """
        Make all of a recipe's renditions in one child that decodes once.

        Returns a sequence of `Rendered` with `notes` on whatever fell short; use it in a `with` block, the pictures'
        memory ends with it. A recipe without renditions runs no child. With a `digital_source` each of them carries
        an XMP packet that says so, and where the recipe keeps the copyright it says whose picture it is; they carry no
        other metadata, and without either none at all.

        Raises:
            Refused: Not a photo, truncated, damaged, too small for the recipe, or over a limit.
            SandboxError: The run ended without an answer.
            ValueError: The source is not sealed, or not as large as it says.
        """
        if not recipe.renditions:
            return Renditions((), (), None)
        arguments = {
            "renditions": [asdict(spec) for spec in recipe.renditions],
            "watermark": None if recipe.watermark is None else recipe.watermark.model_dump(),
            "keep_copyright": recipe.keep_copyright,
            "digital_source": None if digital_source is None else digital_source.value,
        }
        with self._run(Operation.RENDER, source, arguments, limits, payload_bytes=limits.output_bytes) as run:
            report = run.expect(RenditionsReport)
            indexes = [item.index for item in report.items]
            names = [spec.name for spec in recipe.renditions]
            if not indexes or indexes != sorted(set(indexes)) or indexes[-1] >= len(names):
                raise run.nonsense()
            for item in report.items:
                inside = item.offset + item.size <= run.payload_size
                if not inside or not run.starts_with(_MAGIC[item.format], item.offset):
                    raise run.nonsense()
                if item.format == "json" and not run.matches(PLACEHOLDER, item.offset, item.size):
                    raise run.nonsense()
            if any(note.index >= len(names) for note in report.notes):
                raise run.nonsense()
            window = mmap.mmap(run.payload, run.payload_size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
            whole = memoryview(window)
            items = [
                Rendered(
                    names[item.index],
                    MEDIA_TYPES[item.format],
                    item.width,
                    item.height,
                    whole[item.offset : item.offset + item.size],
                )
                for item in report.items
            ]
            whole.release()
            notes = [Note(names[note.index], note.code, note.actual, note.wanted) for note in report.notes]
            return Renditions(items, notes, window)

    @contextmanager
    def _run(
        self, operation: Operation, source: Source, arguments: dict[str, Any], limits: Limits, *, payload_bytes: int
    ) -> Iterator[_answers.Run]:
        """Run one child to its end, lend what it left, and count how it went, the check of its answer included."""
        outcome = Outcome.OK
        try:
            with self._run_child(operation, source, arguments, limits, payload_bytes) as run:
                outcome = run.outcome
                SANDBOX_SECONDS.labels(operation=operation.value).observe(run.ending.wall_seconds)
                yield run
        except Refused:
            outcome = Outcome.REFUSED if outcome is Outcome.OK else outcome
            raise
        except SandboxError as error:
            outcome = error.outcome if outcome is Outcome.OK else outcome
            raise
        finally:
            SANDBOX_RUNS.labels(operation=operation.value, outcome=outcome.value).inc()

    def _run_child(
        self, operation: Operation, source: Source, arguments: dict[str, Any], limits: Limits, payload_bytes: int
    ) -> _answers.Run:
        check_source(source, limits)
        order = Order(
            program=operation.value,
            source=None if isinstance(source, Encoded) else (source.width, source.height, source.bands),
            arguments=arguments,
            bounds=bounds_of(limits, payload_bytes),
        )
        report, payload = new_memfd("dayfly-report"), new_memfd("dayfly-payload")
        try:
            ending = self._ask(order, source.fd, report, payload)
            # The child is gone, and with it every other way to write: from here on nothing can change.
            try:
                seal_memfd(report)
                seal_memfd(payload)
            except OSError:
                # It has put a seal on them itself, which no honest child does.
                raise _answers.nonsense(operation) from None
            return _answers.Run(operation, limits, ending, os.pread(report, _answers.MAX_REPORT + 1, 0), payload)
        except BaseException:
            os.close(payload)
            raise
        finally:
            os.close(report)

    def _ask(self, order: Order, source: int, report: int, payload: int) -> Ending:
        supervisor = self._supervisor
        if order.program == Operation.CUT_OUT:
            supervisor = self._cutter
            # Before a slot is taken, which others could not use for as long as the zygote needs to start.
            supervisor.start()
        with self._slots:
            return _ask(supervisor, order, source, report, payload)


def _ask(supervisor: Supervisor, order: Order, source: int, report: int, payload: int) -> Ending:
    zygote = supervisor.current()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        try:
            with theirs:
                socket.send_fds(zygote.control, [order.to_bytes()], [theirs.fileno(), source, report, payload])
            ours.settimeout(order.bounds.wall_seconds + _GRACE_SECONDS)
            message = ours.recv(_ENDING_BYTES)
        except OSError:
            message = b""
    if not message:
        # If it lives, it does not keep its clocks or its word. Only after its death is another one started.
        zygote.process.kill()
        supervisor.forget(zygote)
        raise SandboxError(
            f"the sandbox's zygote ended during {order.program}; it is restarted, and the work can be tried again",
            outcome=Outcome.LOST,
            retryable=True,
        )
    return Ending.from_bytes(message)
