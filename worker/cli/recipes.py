"""`dayfly recipes`: what can be made of a photo, and which marketplace would take it as it is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines import Encoded, Judgement, Limits, Measurements, Recipe, Sandbox, judge, load_recipes
from worker.cli._errors import ExitCode, UsageError
from worker.cli._output import Json, notes, print_json, print_table, size
from worker.settings import Settings

app = typer.Typer(help="What can be made of a photo, and which marketplace would take it.", add_completion=False)


@app.callback(invoke_without_command=True)
def recipes(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Show hidden recipes, too.")] = False,
    as_json: Json = False,
) -> None:
    """Show what can be made of a photo."""
    if context.invoked_subcommand is not None:
        return
    found = [recipe for recipe in load_recipes(Settings.load().recipes_dir).values() if everything or not recipe.hidden]
    if as_json:
        print_json([recipe.model_dump(mode="json") for recipe in found])
        return
    print_table(
        ("recipe", "what it makes", "provider", "renditions", "numbers read at the source"),
        [
            (recipe.name, recipe.title, recipe.provider, _renditions(recipe), str(recipe.verified_on or ""))
            for recipe in found
        ],
    )


def _renditions(recipe: Recipe) -> str:
    return ", ".join(spec.name for spec in recipe.renditions)


@app.command()
def check(
    photo: Annotated[Path, typer.Argument(help="The photo to look at.")],
    wanted: Annotated[
        list[str] | None,
        typer.Option("--for", help="Only this marketplace's recipe; again for more. Exit code 1 if one refuses."),
    ] = None,
    as_json: Json = False,
) -> int:
    """
    Say which marketplace would take this photo as it is, and why not.

    The photo is read in the sandbox, on this machine, and goes nowhere.
    """
    settings = Settings.load()
    known = {name: recipe for name, recipe in load_recipes(settings.recipes_dir).items() if recipe.accepts is not None}
    for name in wanted or ():
        if name not in known:
            raise UsageError(f"There is no marketplace's recipe called {name!r}; known: {', '.join(known)}.")
    try:
        upload = photo.read_bytes()
    except OSError as error:
        raise UsageError(f"The photo {photo} cannot be read: {error.strerror}.") from error
    with Sandbox(strict=settings.sandbox == "strict") as sandbox, Encoded.from_bytes(upload) as source:
        measured = sandbox.measure(source, Limits())
    judgements = [judge(measured, recipe) for name, recipe in known.items() if not wanted or name in wanted]
    if as_json:
        print_json({"photo": asdict(measured), "marketplaces": [_data(judgement) for judgement in judgements]})
    else:
        notes().print(_in_words(measured))
        print_table(
            ("recipe", "verdict", "why"),
            [
                (judgement.recipe, _verdict(judgement), "; ".join(str(problem) for problem in judgement.problems))
                for judgement in judgements
            ],
        )
    refused = wanted and not all(judgement.accepted for judgement in judgements)
    return ExitCode.FAILED if refused else ExitCode.OK


def _data(judgement: Judgement) -> dict[str, Any]:
    problems = [asdict(problem) | {"sentence": str(problem)} for problem in judgement.problems]
    return {"recipe": judgement.recipe, "accepted": judgement.accepted, "problems": problems}


def _verdict(judgement: Judgement) -> str:
    if not judgement.accepted:
        return "refused"
    return "accepted, could be better" if judgement.problems else "accepted"


def _in_words(measured: Measurements) -> str:
    return (
        f"{measured.format.upper()}, {measured.width} × {measured.height} px, {size(measured.bytes)}; the product "
        f"fills {measured.fill:.0%} of the frame, {measured.white_border:.0%} of the border is pure white."
    )
