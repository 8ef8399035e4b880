"""
Would a marketplace take this picture? Rules as data, measurements from the sandbox, and the judgement.

    with Encoded.from_bytes(photo) as source:
        measured = sandbox.measure(source, Limits())
    for problem in judge(measured, load_recipes()["amazon-main"]).problems:
        print(problem.severity, problem)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from pipelines.sources import PhotoFormat

if TYPE_CHECKING:
    from pipelines.recipes import Recipe

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(gt=0)]

# A background may have this many stray pixels; what a person sees as a fault is more.
_WHITE_ENOUGH = 0.995
_ASPECT_TOLERANCE = 0.01


class Rule(StrEnum):
    """What a picture can fall foul of; stable, for translation by a site."""

    FORMAT = "format"
    BYTES = "bytes"
    TOO_SMALL = "too-small"
    TOO_LARGE = "too-large"
    ASPECT = "aspect"
    BACKGROUND = "background"
    FILL = "fill"
    COLOUR = "colour"


class Severity(StrEnum):
    """Whether the marketplace refuses a picture for it, or only asks for better."""

    REFUSED = "refused"
    ADVICE = "advice"


class Rules(BaseModel):
    """
    What one marketplace takes, or advises. Sizes in pixels of the picture as it is shown; what is None does not matter.

    `aspect` is width to height. `white_background` asks for pure white, `fill_min` for the share of the frame that the
    product's box takes one way, `rgb` that the file is not in CMYK.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    formats: tuple[PhotoFormat, ...] | None = None
    bytes_max: Count | None = None
    width_min: Count | None = None
    height_min: Count | None = None
    longest_min: Count | None = None
    longest_max: Count | None = None
    sides_max: Annotated[Count | None, Field(description="width and height together")] = None
    pixels_max: Count | None = None
    aspect: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] | None = None
    white_background: bool = False
    fill_min: Share | None = None
    rgb: bool = False


@dataclass(frozen=True, slots=True)
class Measurements:
    """
    A picture as a marketplace sees it: width and height upright, and shares of 1.

    `white_border` is how much of the strip along the frame is pure white, `white_outside` of everything farther than
    16 px from the product's box (None if nothing is); `fill` is the share the box takes of the frame, the larger way.
    """

    format: PhotoFormat
    bytes: int
    width: int
    height: int
    frames: int
    cmyk: bool
    has_alpha: bool
    white_border: float
    white_outside: float | None
    fill: float


@dataclass(frozen=True, slots=True)
class Problem:
    """One rule that is broken, with what was found and what is wanted, as text a site can show."""

    rule: Rule
    severity: Severity
    actual: str
    wanted: str

    def __str__(self) -> str:
        return {
            Rule.FORMAT: f"the file is {self.actual}; wanted is {self.wanted}",
            Rule.BYTES: f"the file has {self.actual} bytes; at most {self.wanted} are taken",
            Rule.TOO_SMALL: f"the picture is {self.actual} px; wanted are at least {self.wanted}",
            Rule.TOO_LARGE: f"the picture is {self.actual} px; taken are at most {self.wanted}",
            Rule.ASPECT: f"width to height is {self.actual}; wanted is {self.wanted}",
            Rule.BACKGROUND: f"the background is pure white in {self.actual}; wanted is {self.wanted}",
            Rule.FILL: f"the product fills {self.actual} of the frame; wanted is at least {self.wanted}",
            Rule.COLOUR: f"the colours are {self.actual}; wanted is {self.wanted}",
        }[self.rule]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one marketplace says to one picture."""

    recipe: str
    problems: tuple[Problem, ...]

    @property
    def accepted(self) -> bool:
        """Whether nothing but advice is left."""
        return all(problem.severity is Severity.ADVICE for problem in self.problems)


def judge(measured: Measurements, recipe: Recipe) -> Judgement:
    """
    Hold a picture to what a recipe's marketplace accepts and advises; a rule refused is not advised on again.

    Raises:
        ValueError: The recipe is of no marketplace.
    """
    if recipe.accepts is None:
        raise ValueError(f"the recipe {recipe.name!r} says nothing about what is accepted")
    refused = _broken(measured, recipe.accepts, Severity.REFUSED)
    seen = {problem.rule for problem in refused}
    advice = [] if recipe.advises is None else _broken(measured, recipe.advises, Severity.ADVICE)
    return Judgement(recipe.name, (*refused, *(problem for problem in advice if problem.rule not in seen)))


def _broken(measured: Measurements, rules: Rules, severity: Severity) -> list[Problem]:
    found: list[Problem] = []

    def add(rule: Rule, actual: str, wanted: str) -> None:
        found.append(Problem(rule, severity, actual, wanted))

    if rules.formats is not None and measured.format not in rules.formats:
        add(Rule.FORMAT, measured.format.upper(), " or ".join(kind.upper() for kind in rules.formats))
    if rules.bytes_max is not None and measured.bytes > rules.bytes_max:
        add(Rule.BYTES, f"{measured.bytes:,}", f"{rules.bytes_max:,}")
    _size(measured, rules, add)
    if rules.aspect is not None:
        wanted = rules.aspect[0] / rules.aspect[1]
        actual = measured.width / measured.height
        if abs(actual / wanted - 1) > _ASPECT_TOLERANCE:
            add(Rule.ASPECT, f"{actual:.2f}", f"{wanted:.2f} ({rules.aspect[0]:g}:{rules.aspect[1]:g})")
    if rules.white_background:
        white = min(measured.white_border, 1.0 if measured.white_outside is None else measured.white_outside)
        if white < _WHITE_ENOUGH:
            add(Rule.BACKGROUND, _percent(white), "all of it away from the product's edge")
    if rules.fill_min is not None and measured.fill < rules.fill_min:
        add(Rule.FILL, _percent(measured.fill), _percent(rules.fill_min))
    if rules.rgb and measured.cmyk:
        add(Rule.COLOUR, "CMYK", "RGB")
    return found


def _size(measured: Measurements, rules: Rules, add: _Add) -> None:
    width, height = measured.width, measured.height
    size, longest = f"{width} × {height}", max(width, height)
    if (rules.width_min or 0) > width or (rules.height_min or 0) > height:
        add(Rule.TOO_SMALL, size, f"{rules.width_min or 1} × {rules.height_min or 1}")
    elif (rules.longest_min or 0) > longest:
        add(Rule.TOO_SMALL, size, f"{rules.longest_min} on the longer side")
    if rules.longest_max is not None and longest > rules.longest_max:
        add(Rule.TOO_LARGE, size, f"{rules.longest_max} on the longer side")
    elif rules.sides_max is not None and width + height > rules.sides_max:
        add(Rule.TOO_LARGE, size, f"{rules.sides_max} for both sides together")
    elif rules.pixels_max is not None and width * height > rules.pixels_max:
        add(Rule.TOO_LARGE, size, f"{rules.pixels_max / 1e6:g} million in all")


def _percent(share: float) -> str:
    # Rounded down: "100 %" must not be said of what is refused for being less.
    return f"{int(share * 1000) / 10:g} %"


if TYPE_CHECKING:
    from typing import Protocol

    class _Add(Protocol):
        def __call__(self, rule: Rule, actual: str, wanted: str) -> None: ...
