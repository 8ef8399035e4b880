"""
Recipes: what to do with a photo, as data. One TOML file each, beside this one or in a folder of one's own.

    from pipelines.recipes import load_recipes

    for name, recipe in load_recipes().items():
        print(name, recipe.title, [spec.name for spec in recipe.renditions])
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import fields
from datetime import date
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipelines.acceptance import Rules
from pipelines.errors import RecipeError
from pipelines.recipes._marks import MarkError, with_picture
from pipelines.renditions import (
    KINDS,
    BoxRendition,
    CanvasRendition,
    CleanRendition,
    Gravity,
    PlaceholderRendition,
    RenditionSpec,
    WidthRendition,
)

NAME_PATTERN = r"^[a-z0-9]+(-[a-z0-9]+)*$"
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=40)]


class Watermark(BaseModel):
    """
    A mark for the renditions that ask for it: `width` is its share of the picture's width, `gravity` the edge it is at.

    A recipe's file names the picture as `image`, a PNG beside it of at most 24 KiB, or has a `text` to be drawn, in
    `colour` and with the `font` beside it, or one that has the letters of English; `png` is what was read or drawn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    png: Annotated[str, Field(repr=False, description="the picture in base64")]
    opacity: Annotated[float, Field(gt=0, le=1)] = 0.6
    width: Annotated[float, Field(gt=0, le=1)] = 0.2
    gravity: Gravity = "south-east"
    tile: bool = False


class Recipe(BaseModel):
    """
    One recipe.

    `operation` is what a provider is asked to do, None for nothing; `provider` is who is asked unless the job says
    otherwise. `source` says where the numbers are from, `verified_on` when it was last read there, and `unverified`
    which of them are not from the marketplace itself but from third parties. Without `verified_on` none of them is.

    With `keep_copyright` its renditions carry the upload's copyright notice and creator, and nothing else of it.

    `accepts` is what a marketplace takes, `advises` what it asks for beyond that; `dayfly recipes check` measures both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    title: Annotated[str, Field(min_length=1, max_length=120)]
    operation: Literal["remove-background", "replace-background"] | None = None
    provider: Name = "none"
    hidden: bool = False
    source: str | None = None
    verified_on: date | None = None
    unverified: tuple[str, ...] = ()
    accepts: Rules | None = None
    advises: Rules | None = None
    watermark: Watermark | None = None
    keep_copyright: bool = False
    renditions: Annotated[
        tuple[
            Annotated[
                WidthRendition | CanvasRendition | BoxRendition | PlaceholderRendition | CleanRendition,
                Field(discriminator="fit"),
            ],
            ...,
        ],
        Field(max_length=32),
    ] = ()

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        names = [spec.name for spec in self.renditions]
        if len(names) != len(set(names)):
            raise ValueError("two renditions have the same name")
        if not self.renditions and not self.hidden:
            raise ValueError("a recipe needs at least one rendition")
        if self.operation is not None and self.provider == "none":
            raise ValueError("an operation needs a provider other than 'none'")
        if self.operation is not None and self.keep_copyright:
            raise ValueError("keep_copyright needs the upload itself, and an operation makes another picture of it")
        for spec in self.renditions:
            if not isinstance(spec, WidthRendition) or not spec.animated:
                continue
            if spec.format != "webp" or spec.watermark or spec.sharpen:
                raise ValueError(f"rendition {spec.name!r}: animated needs format webp, no watermark and no sharpen")
        if self.accepts is not None and self.source is None:
            raise ValueError("what a marketplace accepts needs a source")
        for spec in self.renditions:
            if isinstance(spec, CanvasRendition) and spec.canvas_min > max(spec.size):
                raise ValueError(f"rendition {spec.name!r}: canvas_min must not be larger than canvas")
        marked = [spec.name for spec in self.renditions if getattr(spec, "watermark", False)]
        if marked and self.watermark is None:
            raise ValueError(f"rendition {marked[0]!r} wants a watermark, and the recipe has none")
        return self


def load_recipes(extra_dir: Path | None = None) -> dict[str, Recipe]:
    """
    Return all recipes by name: the built-in ones, then those of `extra_dir`, which may replace them.

    Raises:
        RecipeError: A file cannot be read or is wrong; the message names the file, the field and what is allowed.
    """
    recipes: dict[str, Recipe] = {}
    own = resources.files(__name__)
    for file in _toml_files(own):
        recipes.update(_load(file, own))
    if extra_dir is not None:
        if not extra_dir.is_dir():
            raise RecipeError(f"the folder of recipes {extra_dir} does not exist or is not a folder")
        for file in _toml_files(extra_dir):
            recipes.update(_load(file, extra_dir))
    return recipes


def _toml_files(folder: Traversable) -> Iterator[Traversable]:
    yield from sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)


def _load(file: Traversable, beside: Traversable) -> dict[str, Recipe]:
    stem = file.name.removesuffix(".toml")
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {file.name} cannot be read: {type(error).__name__}") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"recipe {file.name} is not valid TOML: {error}") from error
    if "name" in values:
        raise RecipeError(f"recipe {file.name}: name must be left out; the file's name is the recipe's name")
    values = _with_watermark(file, values, beside)
    try:
        return {stem: Recipe(name=stem, **values)}
    except ValidationError as error:
        raise RecipeError(f"recipe {file.name}: {_first_problem(error)}") from error


def _with_watermark(file: Traversable, values: dict[str, Any], beside: Traversable) -> dict[str, Any]:
    """Return the values with the watermark's picture in them instead of its name or text."""
    mark = values.get("watermark")
    if not isinstance(mark, dict):
        return values
    try:
        return {**values, "watermark": with_picture(mark, beside)}
    except MarkError as error:
        raise RecipeError(f"recipe {file.name}: {error}") from error


def _first_problem(error: ValidationError) -> str:
    # A misspelt field is missing under its right name as well; the misspelling says more.
    problems = error.errors(include_url=False, include_input=False)
    unknown = {"extra_forbidden", "unexpected_keyword_argument"}
    problem = next((problem for problem in problems if problem["type"] in unknown), problems[0])
    # The kind of a rendition is in the path as well ("renditions.0.canvas.fill"); to its author it is noise.
    path = [str(part) for part in problem["loc"]]
    allowed = sorted(set(Recipe.model_fields) - {"name"})
    if len(path) > 2 and path[0] == "renditions" and path[2] in KINDS:
        allowed = sorted(field.name for field in fields(cast(type[RenditionSpec], KINDS[path[2]])))
        del path[2]
    where = ".".join(path)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in unknown:
        message = f"there is no such field; allowed are {', '.join(allowed)}"
    return f"{where}: {message}" if where else message


__all__ = ["Recipe", "RenditionSpec", "load_recipes"]
