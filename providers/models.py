"""
Models as configuration: which one an operation gets, and when it stops being offered.

The file ``models.toml`` beside this module lists them. A provider retires a model every few months; a retired one
fails here, with its successor's name, before anything is sent.
"""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, date, datetime
from functools import cache
from importlib.resources import files
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from providers.capabilities import Operation
from providers.errors import InvalidRequest, ModelGone

# A model's name becomes part of an address.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*(:([0-9a-f]{64}|[0-9]{1,3}))?")


class Model(BaseModel):
    """One model of a provider."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: str
    id: str
    operations: tuple[Operation, ...] = ()
    image_field: str = Field(default="image", description="Where the model takes the picture.")
    retires: date | None = Field(default=None, description="The first day on which it is not offered any more.")
    replaced_by: str | None = None

    def retired(self, today: date) -> bool:
        """Say whether it is not offered any more."""
        return self.retires is not None and self.retires <= today


@cache
def known_models() -> tuple[Model, ...]:
    """Return what ``models.toml`` lists, in its order."""
    text = files("providers").joinpath("models.toml").read_text(encoding="utf-8")
    return tuple(Model.model_validate(entry) for entry in tomllib.loads(text)["model"])


def choose(provider: str, operation: Operation, named: str | None, today: date | None = None) -> Model:
    """
    Return the model named, or the provider's default for *operation*.

    Raises:
        ModelGone: It is retired; the message names its successor.
        InvalidRequest: The name cannot be a model's, or there is no default.
    """
    today = today or datetime.now(UTC).date()
    ours = [model for model in known_models() if model.provider == provider]
    if named is None:
        for model in ours:
            if operation in model.operations and not model.retired(today):
                return model
        raise InvalidRequest(f"Name a model: the provider {provider!r} has no default for {operation}.", field="model")
    if not _NAME.fullmatch(named):
        raise InvalidRequest("The option 'model' is not the name of a model.", field="model")
    for model in ours:
        if model.id == named:
            if model.retired(today):
                successor = f"; use {model.replaced_by!r}" if model.replaced_by else ""
                raise ModelGone(
                    f"The model {named!r} of {provider!r} is not offered since {model.retires}{successor}.",
                    replaced_by=model.replaced_by,
                )
            return model
    return Model(provider=provider, id=named)
