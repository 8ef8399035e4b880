"""Write a job's renditions as files, and show which file is what."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from shutil import copyfileobj
from typing import BinaryIO

from worker.cli._errors import UsageError
from worker.cli._output import print_table, size
from worker.client import Client
from worker.errors import OutputNotFoundError
from worker.records import JobRecord, JobState, OutputRecord

SUFFIXES = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "image/avif": ".avif",
    "application/json": ".json",
}


def write_renditions(
    client: Client, record: JobRecord, folder: Path, *, names: list[str] | None = None, force: bool = False
) -> list[tuple[OutputRecord, Path]]:
    """
    Open renditions and write them as files, each whole or not at all.

    Raises:
        UsageError: A file exists, or the folder cannot be made.
        OutputNotFoundError: The job has no such rendition, or none.
    """
    wanted = [output for output in record.outputs if names is None or output.name in names]
    missing = [name for name in names or [] if name not in {output.name for output in wanted}]
    if missing or not wanted or record.state is not JobState.DONE:
        raise OutputNotFoundError(missing[0] if missing else "", record)
    paths = [folder / f"{output.name}{SUFFIXES.get(output.media_type, '')}" for output in wanted]
    in_the_way = [path for path in paths if path.exists()]
    if in_the_way and not force:
        raise UsageError(f"{in_the_way[0]} exists; give --force to replace it, or another folder with -o.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The folder {folder} cannot be made ({error.strerror}); choose another with -o.") from error
    for output, path in zip(wanted, paths, strict=True):
        with client.open_output(record.id, output.name) as source:
            _write(source, path)
    return list(zip(wanted, paths, strict=True))


def print_renditions(written: list[tuple[OutputRecord, Path]]) -> None:
    """Show which file is what."""
    print_table(
        ("file", "pixels", "size"),
        [(str(path), f"{output.width}×{output.height}", size(output.size)) for output, path in written],
    )


def _write(source: BinaryIO, path: Path) -> None:
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as draft:
            try:
                copyfileobj(source, draft)
                draft.flush()
                # A temporary file is made for its owner alone; a rendition is an ordinary file.
                os.fchmod(draft.fileno(), 0o666 & ~_umask())
                os.replace(draft.name, path)
            except BaseException:
                os.unlink(draft.name)
                raise
    except OSError as error:
        error.filename = str(path)
        if isinstance(error, PermissionError):
            raise UsageError(f"{path} cannot be written ({error.strerror}); choose another folder with -o.") from error
        raise


def _umask() -> int:
    value = os.umask(0o022)
    os.umask(value)
    return value
