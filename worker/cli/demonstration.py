"""`dayfly demo`: one photo through the whole pool, and the proof that its key is gone."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pipelines import load_recipes
from storage import ObjectRef, ObjectShreddedError, OutboxDrain, StorageError
from storage.receipts import Receipt
from worker.cli._errors import ExitCode, UsageError
from worker.cli._output import Json, console, notes, print_json, seconds, size
from worker.cli._renditions import print_renditions, write_renditions
from worker.client import JobSpec
from worker.demo import DemoPool, moved, private_home, sample_photos
from worker.errors import UnknownNameError
from worker.logs import configure
from worker.records import JobRecord, JobState, OutputRecord

RECIPES = ("amazon-main", "web-set")
RECEIPT_PATIENCE_SECONDS = 5.0


@dataclass(slots=True)
class Story:
    """What became of one photo under one recipe."""

    photo: Path
    record: JobRecord
    sealed_bytes: int
    """Size of the upload's ciphertext while it was there."""
    written: list[tuple[OutputRecord, Path]] = field(default_factory=list)
    ciphertext: str = ""
    attempt: str = ""
    receipts: list[Receipt] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Give the story as plain values."""
        return {
            "photo": str(self.photo),
            "job": self.record.to_json(),
            "renditions": [{**output.to_json(), "path": str(path)} for output, path in self.written],
            "proof": {"ciphertext": self.ciphertext, "attempt": self.attempt, "receipts": self.receipts},
        }


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("demo")(demo)


def demo(
    photos: Annotated[
        list[Path] | None, typer.Argument(metavar="[PHOTO]...", help="Your own; default: a sample.")
    ] = None,
    recipe: Annotated[list[str] | None, typer.Option("--recipe", "-r", help="What to make; may be repeated.")] = None,
    folder: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where renditions go.")] = Path(
        "dayfly-demo"
    ),
    home: Annotated[Path | None, typer.Option("--home", help="The demo's home; default: a temporary folder.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the temporary home.")] = False,
    as_json: Json = False,
) -> int:
    """Run the whole pool on this machine for one photo, and prove that its key is gone."""
    started = time.monotonic()
    chosen = photos or sample_photos()
    for photo in chosen:
        if not os.access(photo, os.R_OK) or not photo.is_file():
            raise UsageError(f"The photo {photo} cannot be read; give the path of a file you may read.")
    known = load_recipes()
    for name in recipe or ():
        if name not in known:
            raise UnknownNameError("recipe", name, known)
    configure("error")
    out = Console(quiet=True) if as_json else console()
    with private_home(home, keep=keep) as place:
        with ExitStack() as running:
            with notes().status("starting Valkey, a worker, a sweeper and an exporter …"):
                pool = running.enter_context(DemoPool.start(place))
            out.print(f"The pool runs under {place} after {seconds(time.monotonic() - started)}.")
            before = pool.scrape()
            stories = [_tell(pool, photo, name, folder, out) for photo in chosen for name in recipe or RECIPES]
            for story in stories:
                _prove(pool, story)
            _show_proof(stories[0], out)
            changes = moved(before, pool.scrape())
            _show_metrics(changes, out)
        if keep and home is None:
            out.print(f"The home is kept: DAYFLY_HOME={place}")
    took = time.monotonic() - started
    out.print(f"\nEverything is stopped and cleared away. {seconds(took)} in all.")
    if as_json:
        print_json(
            {
                "seconds": round(took, 3),
                "stories": [story.to_json() for story in stories],
                "metrics": {name: {"before": old, "after": new} for name, (old, new) in changes.items()},
            }
        )
    return ExitCode.OK if all(story.record.state is JobState.DONE for story in stories) else ExitCode.FAILED


def _tell(pool: DemoPool, photo: Path, recipe: str, folder: Path, out: Console) -> Story:
    """Submit one photo and show each stage as it happens."""
    out.print(f"\n{photo.name} ({size(photo.stat().st_size)}), recipe {recipe}")
    with photo.open("rb") as stream:
        record = pool.client.submit(stream, JobSpec(recipe=recipe))
    sealed_bytes = _size(pool, record.upload)
    story = Story(photo, record, sealed_bytes)
    shown: set[str] = set()
    for seen in pool.client.watch(record.id):
        story.record = seen
        for stage, at in seen.stage_times.items():
            if stage not in shown:
                shown.add(stage)
                out.print(f"  {stage:<12} {seconds((at - seen.created_at).total_seconds()):>8}")
    record = story.record
    if record.state is JobState.DONE:
        story.written = write_renditions(pool.client, record, folder / photo.stem, force=True)
        if not out.quiet:
            print_renditions(story.written)
        for note in record.notes:
            out.print(f"  {note}")
    else:
        out.print(f"  {record.error_code}: {record.error_message}")
    return story


def _prove(pool: DemoPool, story: Story) -> None:
    """Collect what shows that the upload cannot be opened any more."""
    ref = story.record.upload
    path = pool.home / "blobs" / str(ref)
    left = _size(pool, ref)
    story.ciphertext = f"{path}: {size(left)} left" if left else f"{path}: deleted ({size(story.sealed_bytes)} before)"
    try:
        pool.deployment.store.open_bytes(ref)
        story.attempt = "OPENED"
    except ObjectShreddedError as error:
        story.attempt = str(error)
    drain = OutboxDrain(pool.deployment.keys, pool.deployment.blobs)
    end = time.monotonic() + RECEIPT_PATIENCE_SECONDS
    while time.monotonic() < end:
        story.receipts = drain.find_receipts(ref.oid)
        if any(receipt.get("type") == "destroyed" for receipt in story.receipts):
            return
        time.sleep(0.05)


def _size(pool: DemoPool, ref: ObjectRef) -> int:
    try:
        return pool.deployment.blobs.size(str(ref))
    except StorageError:
        return 0


def _show_proof(story: Story, out: Console) -> None:
    out.print(f"\nWhat is left of the upload of {story.photo.name}")
    out.print(f"  ciphertext  {story.ciphertext}")
    out.print(f"  opening it  {story.attempt}")
    if (lag := _lag(story)) is not None:
        out.print(f"  key gone    {seconds(lag)} after the job was settled")
    for receipt in story.receipts:
        out.print(f"  receipt     {json.dumps(receipt, separators=(', ', ': '))}")


def _lag(story: Story) -> float | None:
    """Give the seconds from the end of the work to the destruction of the key, both by Redis' clock."""
    settled = story.record.stage_times.get(JobState.SETTLED)
    gone = [int(receipt["at"]) / 1000 for receipt in story.receipts if receipt.get("type") == "destroyed"]
    return gone[0] - settled.timestamp() if gone and settled is not None else None


def _show_metrics(changes: dict[str, tuple[float, float]], out: Console) -> None:
    out.print("\nMetrics that moved")
    telling = (
        "dayfly_objects_",
        "dayfly_jobs_",
        "dayfly_shred_lag_seconds_count",
        "dayfly_sandbox_runs",
        "dayfly_provider",
    )
    for name, (old, new) in changes.items():
        if name.startswith(telling):
            out.print(f"  {name} {old:g} → {new:g}")
