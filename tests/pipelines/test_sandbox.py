from __future__ import annotations

import json
import os
import resource
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from metrics.instruments import SANDBOX_RUNS, ZYGOTE_RESTARTS
from pipelines import (
    Encoded,
    Limits,
    Outcome,
    PipelineError,
    Pixels,
    Recipe,
    RefusalCode,
    Refused,
    Sandbox,
    SandboxError,
    SandboxUnavailableError,
)
from pipelines import load_recipes as load
from tests import photos
from tests.pipelines import attacks


@pytest.fixture
def own() -> Iterator[Callable[..., Sandbox]]:
    """Start sandboxes of the test's own, whose zygotes it may kill."""
    made: list[Sandbox] = []

    def start(**options: Any) -> Sandbox:
        made.append(Sandbox(**options).start())
        return made[-1]

    yield start
    for sandbox in made:
        sandbox.close()


@pytest.fixture(scope="module")
def lying() -> Iterator[Sandbox]:
    """A sandbox whose `render` claims what the "photo" says."""
    with Sandbox(_entry=attacks.ENTRY) as sandbox:
        yield sandbox


def runs(operation: str, outcome: str) -> float:
    """Return how often the counter says that this has happened."""
    return SANDBOX_RUNS.labels(operation=operation, outcome=outcome)._value.get()


def wait_for_end(pid: int) -> None:
    """Return when the process has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(10_000)
    os.close(pidfd)


def test_many_threads_share_one_zygote(sandbox: Sandbox, limits: Limits) -> None:
    recipe = load()["web-set"]
    uploads = [photos.jpeg(500, 300 + 10 * index, seed=index) for index in range(12)]

    def work(upload: bytes) -> tuple[int, ...]:
        with Encoded.from_bytes(upload) as source, sandbox.render(source, recipe, limits) as renditions:
            return tuple(rendition.height for rendition in renditions)

    with ThreadPoolExecutor(8) as threads:
        heights = list(threads.map(work, uploads))

    assert heights == [(round((300 + 10 * index) * 480 / 500),) * 2 for index in range(12)]


def test_no_more_children_run_at_once_than_asked(own: Callable[..., Sandbox]) -> None:
    sandbox = own(_entry=attacks.ENTRY, concurrency=1)
    limits = Limits(wall=timedelta(milliseconds=300))
    most = 0
    stop = threading.Event()

    def watch() -> None:
        nonlocal most
        while not stop.is_set():
            with open(f"/proc/{sandbox.zygote_pid}/task/{sandbox.zygote_pid}/children") as children:
                most = max(most, len(children.read().split()))

    def idle(_index: int) -> None:
        with Encoded.from_bytes(b"idle") as source, pytest.raises(Exception, match="longer"):
            sandbox.probe(source, limits)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(idle, range(3)))
    stop.set()
    watcher.join()

    assert most == 1


def test_a_zygote_that_dies_is_replaced_and_its_runs_can_be_tried_again(own: Callable[..., Sandbox]) -> None:
    sandbox = own(_entry=attacks.ENTRY)
    first, restarts, lost = sandbox.zygote_pid, ZYGOTE_RESTARTS._value.get(), runs("probe", "lost")
    errors: list[SandboxError] = []

    def idle() -> None:
        with Encoded.from_bytes(b"idle") as source:
            try:
                sandbox.probe(source, Limits())
            except SandboxError as error:
                errors.append(error)

    victim = threading.Thread(target=idle)
    victim.start()
    children = ""
    while not children:
        with open(f"/proc/{first}/task/{first}/children") as listing:
            children = listing.read().strip()
    os.kill(first, signal.SIGKILL)
    victim.join(10)
    wait_for_end(int(children))

    assert [(error.outcome, error.retryable) for error in errors] == [(Outcome.LOST, True)]
    with Encoded.from_bytes(b"nothing") as source:
        assert sandbox.probe(source, Limits()).frames == 1
    assert sandbox.zygote_pid != first
    assert ZYGOTE_RESTARTS._value.get() == restarts + 1
    assert runs("probe", "lost") == lost + 1


def test_the_zygote_outlives_the_thread_that_noticed_its_death(own: Callable[..., Sandbox]) -> None:
    """The kernel ties a zygote to the thread that started it; that must not be one of the worker's."""
    sandbox = own()
    os.kill(sandbox.zygote_pid, signal.SIGKILL)
    seen: list[int] = []

    def notice() -> None:
        with Encoded.from_bytes(photos.jpeg(64, 48)) as source:
            while not seen:
                try:
                    sandbox.probe(source, Limits())
                    seen.append(sandbox.zygote_pid)
                except SandboxError:
                    continue

    thread = threading.Thread(target=notice)
    thread.start()
    thread.join(20)

    with Encoded.from_bytes(photos.jpeg(64, 48)) as source:
        assert sandbox.probe(source, Limits()).width == 64
    assert [sandbox.zygote_pid] == seen


def test_a_machine_without_room_for_a_child_costs_that_run_and_no_other(own: Callable[..., Sandbox]) -> None:
    """A full table of processes passes; a sandbox that is given up for it would not come back."""
    sandbox = own(_entry="tests.pipelines.attacks:main_without_room")
    zygote = sandbox.zygote_pid
    with Encoded.from_bytes(photos.jpeg(64, 48)) as source:
        with pytest.raises(SandboxError, match="no room") as refused:
            sandbox.probe(source, Limits())
        assert (refused.value.outcome, refused.value.retryable) == (Outcome.LOST, True)
        assert sandbox.probe(source, Limits()).width == 64
    assert sandbox.zygote_pid == zygote


def test_closing_ends_the_zygote_and_later_runs_say_so(own: Callable[..., Sandbox]) -> None:
    sandbox = own()
    zygote = sandbox.zygote_pid

    sandbox.close()
    sandbox.close()

    wait_for_end(zygote)
    with Encoded.from_bytes(photos.jpeg(64, 48)) as source, pytest.raises(SandboxError, match="it is closed"):
        sandbox.probe(source, Limits())


def test_a_zygote_that_cannot_start_says_why() -> None:
    with pytest.raises(SandboxUnavailableError, match="ended while it was starting"):
        Sandbox(_entry="tests.pipelines.no_such_module:main").start()


def test_no_descriptor_is_left_open_by_any_outcome(own: Callable[..., Sandbox]) -> None:
    sandbox = own(_entry=attacks.ENTRY)
    limits = Limits(wall=timedelta(milliseconds=200), output_bytes=1 << 20)

    def everything() -> None:
        for attack in ("nothing", "idle", "segfault", "make a socket", "report noise", "exit 7"):
            with Encoded.from_bytes(attack.encode()) as source, suppress(PipelineError):
                sandbox.probe(source, limits)

    everything()
    before = sorted(os.listdir("/proc/self/fd"))
    everything()

    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_source_that_could_change_under_the_child_is_not_accepted(sandbox: Sandbox, limits: Limits) -> None:
    fd = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    os.write(fd, photos.jpeg(64, 48))

    with pytest.raises(ValueError, match="sealed"):
        sandbox.probe(Encoded(fd), limits)
    os.close(fd)


def test_raw_pixels_of_the_wrong_size_are_not_accepted(sandbox: Sandbox, limits: Limits) -> None:
    with Encoded.from_bytes(bytes(100)) as source, pytest.raises(ValueError, match="width × height × bands"):
        sandbox.cut_out(Pixels(source.fd, 100, 100, 3), limits)


def cut_one(sandbox: Sandbox) -> None:
    photo = photos.product_photo("mug", seed=1)
    height, width = photo.rgb.shape[:2]
    with Pixels.from_bytes(photo.rgb.tobytes(), width, height, 3) as source, sandbox.cut_out(source, Limits()) as cut:
        assert (cut.width, cut.height, cut.bands) == (width, height, 4)


def own_children() -> set[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # A thread may end meanwhile.
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


def mapped_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_opencv_is_in_no_process_until_a_product_is_cut_out_and_then_not_where_photos_are_decoded(
    own: Callable[..., Sandbox],
) -> None:
    before = own_children()
    sandbox = own()
    (decoding,) = own_children() - before

    cut_one(sandbox)

    (cutting,) = own_children() - before - {decoding}
    assert decoding == sandbox.zygote_pid
    # OpenCV alone is some 200 MiB of mapped libraries.
    assert mapped_mib(cutting) > mapped_mib(decoding) + 100
    sandbox.close()
    assert own_children() <= before


def test_a_zygote_for_cut_outs_that_dies_is_replaced(own: Callable[..., Sandbox]) -> None:
    before = own_children()
    sandbox = own()
    cut_one(sandbox)
    (cutting,) = own_children() - before - {sandbox.zygote_pid}

    os.kill(cutting, signal.SIGKILL)

    # Whether the next run still meets the dead one is a matter of milliseconds.
    with suppress(SandboxError):
        cut_one(sandbox)
    cut_one(sandbox)
    (another,) = own_children() - before - {sandbox.zygote_pid}
    assert another != cutting


def test_photos_are_looked_at_while_the_zygote_for_cut_outs_starts(own: Callable[..., Sandbox]) -> None:
    sandbox = own(concurrency=1, _cut_out_entry="tests.pipelines.without_words:main")
    before = own_children()

    with ThreadPoolExecutor() as threads, Encoded.from_bytes(photos.jpeg(64, 48)) as source:
        cutting = threads.submit(cut_one, sandbox)
        deadline = time.monotonic() + 20
        while own_children() <= before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert threads.submit(sandbox.probe, source, Limits()).result(timeout=3).width == 64
        assert not cutting.done()
        with pytest.raises(SandboxUnavailableError, match="ended while it was starting"):
            cutting.result()


def test_a_zygote_that_no_descriptor_was_left_for_is_started_later(own: Callable[..., Sandbox]) -> None:
    sandbox = own()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    photo = photos.product_photo("mug", seed=1)
    with Pixels.from_bytes(photo.rgb.tobytes(), photo.rgb.shape[1], photo.rgb.shape[0], 3) as source:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (source.fd + 3, hard))
            # Room for the two files of the answer, and none for a zygote.
            with pytest.raises(SandboxUnavailableError, match="cannot be started"):
                sandbox.cut_out(source, Limits())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(SandboxUnavailableError):
            cut_one(sandbox)
            return
        time.sleep(0.2)
    pytest.fail("the sandbox did not try again")


def test_without_opencv_cutting_out_says_what_to_install(own: Callable[..., Sandbox]) -> None:
    sandbox = own(_cut_out_entry="tests.pipelines.without_opencv:cut_outs")

    with (
        Pixels.from_bytes(bytes(300), 10, 10, 3) as source,
        pytest.raises(SandboxUnavailableError, match=r"install dayfly\[local\]"),
    ):
        sandbox.cut_out(source, Limits())
    with Encoded.from_bytes(photos.jpeg(64, 48)) as source:
        assert sandbox.probe(source, Limits()).width == 64


def test_without_pillow_heif_an_heic_is_refused_and_told_what_reads_it_and_under_which_licence(
    own: Callable[..., Sandbox],
) -> None:
    sandbox = own(_entry="tests.pipelines.without_heif:main")

    with (
        Encoded.from_bytes(photos.encode(photos.picture(64, 48), "HEIF")) as source,
        pytest.raises(Refused, match=r"HEIC file.*dayfly\[heic\].*GPL") as refused,
    ):
        sandbox.probe(source, Limits())
    assert (refused.value.code, refused.value.what) == (RefusalCode.FORMAT_NOT_SUPPORTED, "HEIC")
    with Encoded.from_bytes(photos.encode(photos.picture(64, 48), "AVIF")) as source:
        assert sandbox.probe(source, Limits()).width == 64


PIECE = {"index": 0, "format": "jpeg", "width": 9, "height": 9, "offset": 0, "size": 3}
NOTE = {"index": 0, "code": "no-cut-out", "actual": 0, "wanted": 0}
JPEG_HEAD = "\xff\xd8\xff"


@pytest.mark.parametrize(
    "claim",
    [
        {"payload": JPEG_HEAD, "items": [{**PIECE, "size": 4}]},
        {"payload": JPEG_HEAD, "items": [{**PIECE, "offset": 1}]},
        {"payload": JPEG_HEAD, "items": [{**PIECE, "offset": (1 << 47), "size": 1 << 47}]},
        {"payload": JPEG_HEAD, "items": [{**PIECE, "index": 9}]},
        {"payload": JPEG_HEAD, "items": [PIECE, PIECE]},
        {"payload": JPEG_HEAD, "items": []},
        {"payload": "MZ\x90", "items": [PIECE]},
        {"payload": JPEG_HEAD, "items": [{**PIECE, "format": "webp"}]},
        {"payload": JPEG_HEAD, "items": [{**PIECE, "size": 0}]},
        {"payload": JPEG_HEAD, "items": [PIECE], "notes": [{**NOTE, "index": 7}]},
        {"payload": JPEG_HEAD, "items": [PIECE], "notes": [{**NOTE, "code": "trust me"}]},
    ],
)  # fmt: skip
def test_renditions_that_are_not_there_are_not_believed(claim: dict[str, Any], lying: Sandbox) -> None:
    recipe: Recipe = load()["web-set"]
    crashed = runs("render", "crashed")

    text = json.dumps({"kind": "renditions", "notes": [], **claim}).encode()
    with Encoded.from_bytes(text) as source, pytest.raises(SandboxError) as error:
        lying.render(source, recipe, Limits())

    assert error.value.outcome is Outcome.CRASHED
    assert runs("render", "crashed") == crashed + 1


def test_an_honest_claim_passes_the_same_checks(lying: Sandbox) -> None:

    claim = {"kind": "renditions", "notes": [], "payload": JPEG_HEAD, "items": [PIECE]}
    with (
        Encoded.from_bytes(json.dumps(claim).encode()) as source,
        lying.render(source, load()["web-set"], Limits()) as renditions,
    ):
        assert bytes(renditions[0].data) == b"\xff\xd8\xff"
