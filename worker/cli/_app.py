"""The tree of commands."""

from __future__ import annotations

import importlib.metadata
from typing import Annotated

import typer

from worker.cli import acl, catalogue, demonstration, jobs, processes, providers, recipes, subjects

app = typer.Typer(
    help="A pool of image workers that destroys the key of every upload when its job ends.",
    epilog="With no settings at all everything runs on this machine, under DAYFLY_HOME (~/.local/state/dayfly).",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"dayfly {importlib.metadata.version('dayfly')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


demonstration.add_to(app)
processes.add_to(app)
jobs.add_to(app)
subjects.add_to(app)
app.add_typer(recipes.app, name="recipes")
app.add_typer(providers.app, name="providers")
catalogue.add_to(app)
acl.add_to(app)
