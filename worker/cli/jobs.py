"""Hand in a photo, follow its job, fetch what became of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Timer
from typing import Annotated, Any, BinaryIO, Final

import typer
from pydantic import ValidationError

from storage import Live, Shredded, Status
from worker.cli._deployment import deployment
from worker.cli._errors import ExitCode, UsageError
from worker.cli._output import Json, console, moment, notes, print_json, print_table, seconds, size
from worker.cli._periods import period
from worker.cli._renditions import print_renditions, write_renditions
from worker.cli._transfers import transfer_as_words
from worker.client import Client, JobSpec
from worker.errors import JobTimeoutError
from worker.records import JobRecord, JobState
from worker.subjects import status_as_data
from worker.wiring import Deployment

UNTAKEN_AFTER: Final = timedelta(seconds=3)
"""How long a job that is waited for may lie untaken before the user is told why that may be."""

NO_WORKER: Final = "No worker has taken the job yet; if none runs, start one with 'dayfly worker'."

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id, or the beginning of one of the last 1000.")]

job_commands = typer.Typer(help="Show, list and cancel jobs.", no_args_is_help=False)


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("submit")(submit)
    app.command("fetch")(fetch)
    job_commands.command("show")(show)
    job_commands.command("list")(list_jobs)
    job_commands.command("cancel")(cancel)
    job_commands.command("shred")(shred)
    app.add_typer(job_commands, name="job")


def submit(
    photo: Annotated[str, typer.Argument(metavar="PHOTO", help="The photo's path, or - for standard input.")],
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="What to make of it; see 'dayfly recipes'.")],
    provider: Annotated[str | None, typer.Option("--provider", help="Who is asked; default: the recipe's own.")] = None,
    policy: Annotated[str | None, typer.Option("--policy", help="When it is shredded; see 'dayfly policies'.")] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", help="The person the photo is about, as your own id.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="Words for the provider. Visible in process lists.")
    ] = None,
    prompt_file: Annotated[
        Path | None, typer.Option("--prompt-file", help="A file with words for the provider.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="A further wish; may be repeated.")
    ] = None,
    keep_upload: Annotated[
        str | None,
        typer.Option("--keep-upload", metavar="TIME", help="For how long after a job that is done, if less."),
    ] = None,
    keep_outputs: Annotated[
        str | None, typer.Option("--keep-outputs", metavar="TIME", help="For how long after the job, if less: 12h, 7d.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit with 1 unless it is done.")] = False,
    timeout: Annotated[float | None, typer.Option("--timeout", min=0, help="Seconds to wait at most.")] = None,
    as_json: Json = False,
) -> int:
    """Seal a photo and accept a job for it."""
    spec = _spec(
        recipe=recipe,
        provider=provider,
        policy=policy,
        subject=subject,
        prompt=_prompt(prompt, prompt_file),
        options=_options(option or []),
        keep_upload=period("--keep-upload", keep_upload),
        keep_outputs=period("--keep-outputs", keep_outputs),
    )
    with _photo(photo) as stream, deployment() as opened:
        if opened.settings.embedded:
            opened.ensure_roots()
        client = Client(opened)
        record = client.submit(stream, spec)
        if not wait:
            if as_json:
                print_json(record.to_json())
            else:
                print(record.id)
                if sys.stdout.isatty():
                    notes().print(f"Accepted; 'dayfly job show {record.id}' says where it is.")
            return ExitCode.OK
        record = _follow(opened, record, timeout)
        _print_job(opened, record, as_json)
    return _verdict(record)


def show(job_id: JobId, as_json: Json = False) -> None:
    """Show where a job is and what became of it."""
    with deployment() as opened:
        _print_job(opened, _find(Client(opened), job_id), as_json)


def list_jobs(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 20, as_json: Json = False
) -> None:
    """Show the newest jobs."""
    with deployment() as opened:
        records = list(Client(opened).list(limit))
    if as_json:
        print_json([record.to_json() for record in records])
        return
    print_table(
        ("job", "state", "recipe", "provider", "submitted (UTC)", "took", "renditions"),
        [
            (_listed_id(r), r.state.value, r.recipe, r.provider, moment(r.created_at), _took(r), str(len(r.outputs)))
            for r in records
        ],
    )


def _listed_id(record: JobRecord) -> str:
    """Give what fits beside the rest: every command takes the beginning of an id; a script gets the whole."""
    return record.id[:12] if sys.stdout.isatty() else record.id


def cancel(job_id: JobId, as_json: Json = False) -> None:
    """Shred a job's keys at once and end it. A job that has ended stays as it is."""
    with deployment() as opened:
        client = Client(opened)
        _print_job(opened, client.cancel(_find(client, job_id).id), as_json)


def shred(job_id: JobId, as_json: Json = False) -> None:
    """Shred at once whatever of a job still lives, its renditions included."""
    with deployment() as opened:
        client = Client(opened)
        _print_job(opened, client.shred(_find(client, job_id).id), as_json)


def fetch(
    job_id: JobId,
    folder: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The folder to write to.")] = Path(),
    name: Annotated[list[str] | None, typer.Option("--name", help="Only this rendition; may be repeated.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    as_json: Json = False,
) -> None:
    """Write a job's renditions to a folder."""
    with deployment() as opened:
        client = Client(opened)
        record = _find(client, job_id)
        written = write_renditions(client, record, folder, names=name, force=force)
    if as_json:
        print_json([{**output.to_json(), "path": str(path)} for output, path in written])
    else:
        print_renditions(written)


@contextmanager
def _photo(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        yield sys.stdin.buffer
        return
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(open(path, "rb"))
            # A folder opens and does not read.
            stream.peek(1)
        except OSError as error:
            raise UsageError(f"The photo {path} cannot be read ({error.strerror}).") from error
        yield stream


def _prompt(prompt: str | None, file: Path | None) -> str | None:
    if file is None:
        return prompt
    if prompt is not None:
        raise UsageError("Give --prompt or --prompt-file, not both.")
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UsageError(f"The prompt file {file} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"The prompt file {file} is not UTF-8 text.") from error


def _spec(**wishes: Any) -> JobSpec:
    try:
        return JobSpec(**wishes)
    except ValidationError as error:
        # What was given may be the user's words, so only its name and what is wrong with it are told.
        wrong = error.errors(include_url=False, include_input=False)[0]
        name = str(wrong["loc"][0])
        raise UsageError(f"The {name} is not accepted: {wrong['msg'][0].lower()}{wrong['msg'][1:]}.") from None


def _options(pairs: list[str]) -> dict[str, str]:
    options = {}
    for number, pair in enumerate(pairs, 1):
        name, equals, value = pair.partition("=")
        if not (name and equals):
            # The text itself may be the user's words, so it is not repeated.
            raise UsageError(f"The {number}. --option is not of the form NAME=VALUE.")
        options[name] = value
    return options


def _find(client: Client, job_id: str) -> JobRecord:
    if len(job_id) == 32:
        return client.show(job_id)
    found = [record for record in client.list(1000) if record.id.startswith(job_id)] if len(job_id) >= 4 else []
    if len(found) > 1:
        raise UsageError(f"{len(found)} jobs begin with {job_id!r}; give more of the id.")
    return found[0] if found else client.show(job_id)


def _follow(deployment: Deployment, record: JobRecord, timeout: float | None) -> JobRecord:
    """Wait for a job's end, showing the states it passes through on a terminal."""
    given = None if timeout is None else timedelta(seconds=timeout)
    end = None if given is None else datetime.now(UTC) + given
    out = notes()
    untaken = Timer(UNTAKEN_AFTER.total_seconds(), out.print, [NO_WORKER])
    untaken.daemon = True
    untaken.start()
    try:
        with out.status("waiting …") if sys.stderr.isatty() else nullcontext() as status:
            for seen in deployment.jobs.watch(record.id, end=end):
                record = seen
                if record.state is not JobState.ACCEPTED:
                    untaken.cancel()
                if status is not None:
                    status.update(f"{record.state} …")
    except KeyboardInterrupt:
        out.print(f"The job goes on; 'dayfly job show {record.id}' says where it is.")
        raise
    finally:
        untaken.cancel()
    if not record.state.ended:
        raise JobTimeoutError(record.id, given)
    return record


def _verdict(record: JobRecord) -> ExitCode:
    return ExitCode.OK if record.state is JobState.DONE else ExitCode.FAILED


def _print_job(deployment: Deployment, record: JobRecord, as_json: bool) -> None:
    upload = deployment.store.status(record.upload)
    if as_json:
        print_json({**record.to_json(), "upload_status": status_as_data(upload)})
        return
    out = console()
    out.print(f"job {record.id}: {record.state}")
    out.print(f"  recipe {record.recipe}, provider {record.provider}, policy {record.policy}")
    out.print(f"  submitted {moment(record.created_at)} UTC{f', took {_took(record)}' if record.ended_at else ''}")
    out.print(f"  upload {_status_as_words(upload)}")
    if record.error_message is not None:
        out.print(f"  {record.error_code}: {record.error_message}")
    if record.stage_times:
        previous = record.created_at
        stages = []
        for stage, at in record.stage_times.items():
            stages.append(f"{stage} +{seconds(max(0.0, (at - previous).total_seconds()))}")
            previous = at
        out.print(f"  {', '.join(stages)}")
    if record.outputs:
        print_table(
            ("rendition", "type", "pixels", "size"),
            [(o.name, o.media_type, f"{o.width}×{o.height}", size(o.size)) for o in record.outputs],
        )
    for transfer in record.transfers:
        out.print(f"  {transfer_as_words(transfer)}")
    for note in record.notes:
        out.print(f"  {note}")


def _status_as_words(status: Status) -> str:
    match status:
        case Live(deadline=deadline):
            return f"live until {moment(deadline)} UTC at the latest"
        case Shredded(at=at, reason=reason):
            return f"shredded at {moment(at)} UTC ({reason})"
        case _:
            return "gone; the record of its end is no longer kept"


def _took(record: JobRecord) -> str:
    return "" if record.ended_at is None else seconds((record.ended_at - record.created_at).total_seconds())
