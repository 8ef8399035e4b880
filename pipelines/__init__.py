"""
Image work on files nobody trusts: probe, prepare, cut out, render, each in a sandboxed child of its own.

    from pipelines import Encoded, Limits, Sandbox, load_recipes

    recipe = load_recipes()["web-set"]
    with Sandbox() as sandbox, Encoded.from_bytes(upload) as source:
        with sandbox.render(source, recipe, Limits()) as renditions:
            for rendition in renditions:
                print(rendition.name, rendition.width, len(rendition.data))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines._outcomes import Operation, Outcome, RefusalCode
    from pipelines.acceptance import Judgement, Measurements, Problem, Rule, Rules, Severity, judge
    from pipelines.errors import PipelineError, RecipeError, Refused, SandboxError, SandboxUnavailableError
    from pipelines.limits import Limits
    from pipelines.provenance import DigitalSource, digital_source_of
    from pipelines.recipes import Recipe, load_recipes
    from pipelines.renditions import (
        BoxRendition,
        CanvasRendition,
        CleanRendition,
        PlaceholderRendition,
        RenditionSpec,
        WidthRendition,
    )
    from pipelines.sandbox import Sandbox
    from pipelines.sources import Encoded, Note, PhotoFacts, Pixels, Prepared, Rendered, Renditions, Source

# The zygote imports this package too, and every page it holds is a page each fork must copy: the names below,
# which bring pydantic and Prometheus with them, are therefore loaded on first use.
_HOMES = {
    "Operation": "pipelines._outcomes",
    "Outcome": "pipelines._outcomes",
    "RefusalCode": "pipelines._outcomes",
    "Judgement": "pipelines.acceptance",
    "Measurements": "pipelines.acceptance",
    "Problem": "pipelines.acceptance",
    "Rule": "pipelines.acceptance",
    "Rules": "pipelines.acceptance",
    "Severity": "pipelines.acceptance",
    "judge": "pipelines.acceptance",
    "PipelineError": "pipelines.errors",
    "RecipeError": "pipelines.errors",
    "Refused": "pipelines.errors",
    "SandboxError": "pipelines.errors",
    "SandboxUnavailableError": "pipelines.errors",
    "Limits": "pipelines.limits",
    "DigitalSource": "pipelines.provenance",
    "digital_source_of": "pipelines.provenance",
    "Recipe": "pipelines.recipes",
    "load_recipes": "pipelines.recipes",
    "BoxRendition": "pipelines.renditions",
    "PlaceholderRendition": "pipelines.renditions",
    "CanvasRendition": "pipelines.renditions",
    "CleanRendition": "pipelines.renditions",
    "RenditionSpec": "pipelines.renditions",
    "WidthRendition": "pipelines.renditions",
    "Sandbox": "pipelines.sandbox",
    "Encoded": "pipelines.sources",
    "Note": "pipelines.sources",
    "PhotoFacts": "pipelines.sources",
    "Pixels": "pipelines.sources",
    "Prepared": "pipelines.sources",
    "Rendered": "pipelines.sources",
    "Renditions": "pipelines.sources",
    "Source": "pipelines.sources",
}

__all__ = [
    "BoxRendition",
    "CanvasRendition",
    "CleanRendition",
    "DigitalSource",
    "Encoded",
    "Judgement",
    "Limits",
    "Measurements",
    "Note",
    "Operation",
    "Outcome",
    "PhotoFacts",
    "PipelineError",
    "Pixels",
    "PlaceholderRendition",
    "Prepared",
    "Problem",
    "Recipe",
    "RecipeError",
    "RefusalCode",
    "Refused",
    "Rendered",
    "RenditionSpec",
    "Renditions",
    "Rule",
    "Rules",
    "Sandbox",
    "SandboxError",
    "SandboxUnavailableError",
    "Severity",
    "Source",
    "WidthRendition",
    "digital_source_of",
    "judge",
    "load_recipes",
]


def __getattr__(name: str) -> Any:
    """
    Load a public name on first use.

    Raises:
        AttributeError: There is no such public name.
    """
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'pipelines' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value
