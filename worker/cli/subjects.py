"""Answer a person's requests: erase what was sealed for a subject, or hand it out."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from worker.cli._deployment import deployment
from worker.cli._errors import ExitCode, UsageError
from worker.cli._output import Json, moment, notes, print_json, print_table, size
from worker.cli._periods import period
from worker.client import Client
from worker.subjects import Erasure

Subject = Annotated[str, typer.Option("--subject", help="The person, as the id that jobs were submitted with.")]


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("erase")(erase)
    app.command("export")(export)


def erase(
    subject: Subject,
    patience: Annotated[
        str, typer.Option("--patience", metavar="TIME", help="How long to wait for the roots to be rotated: 30s, 5m.")
    ] = "60s",
    as_json: Json = False,
) -> int:
    """Erase everything of a subject: end its jobs, shred its keys, delete its ciphertext, rotate the roots."""
    longest = period("--patience", patience)
    assert longest is not None
    with deployment(rotates=True) as opened:
        erasure = Client(opened).erase(subject=subject, patience=longest)
    if as_json:
        print_json(erasure.to_json())
    else:
        _print(erasure)
    return ExitCode.OK if erasure.complete else ExitCode.FAILED


def _print(erasure: Erasure) -> None:
    if erasure.objects:
        print_table(
            ("job", "object", "shredded (UTC)", "reason"),
            [
                (
                    item.job,
                    str(item.ref),
                    moment(item.shredded_at) or "long ago",
                    "" if item.reason is None else item.reason,
                )
                for item in erasure.objects
            ],
        )
    jobs = len({item.job for item in erasure.objects})
    print(f"{len(erasure.objects)} objects of {jobs} jobs; {len(erasure.cancelled)} jobs cancelled, ", end="")
    print(f"{erasure.ciphertext_deleted} ciphertexts deleted.")
    if not erasure.complete:
        print(
            "The roots are not rotated yet, so a copy of the key store could still bring keys back; a sweeper does it"
            " within its rotation interval. Run this again to see."
        )


def export(
    subject: Subject,
    file: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.zip", help="The file to write; - for standard output.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Write a zip file of a subject's renditions that can still be read, and a record of everything."""
    with deployment() as opened:
        parts = Client(opened).export(subject=subject)
        if str(file) == "-":
            for part in parts:
                sys.stdout.buffer.write(part)
            return
        try:
            # For this user only: it is clear text.
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL), 0o600)
        except FileExistsError:
            raise UsageError(f"{file} exists; give another name, or --force to replace it.") from None
        except OSError as error:
            raise UsageError(f"{file} cannot be written ({error.strerror}).") from error
        try:
            with open(descriptor, "wb") as target:
                written = sum(target.write(part) for part in parts)
        except BaseException:
            # Half a zip file would look like an answer.
            with suppress(OSError):
                file.unlink()
            raise
    notes().print(f"{file}: {size(written)}")
