"""
Read retention policies: when each class of object is shredded, and who may see the data until then.

    policy = load_policies()["process-and-forget"]
    deadline = datetime.now(UTC) + policy.upload.latest

A policy is a TOML file; `policies/process-and-forget.toml` in this package is the default one, with every field.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from storage.errors import StoreConfigError
from storage.names import ObjectClass

_DAY = 86_400
_Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class UploadRetention(_Strict):
    """
    How long uploads and parameters live: until the job ends, and in any case `latest_seconds` after submit.

    With `shred = "after"`, those of a job that is done live for `after_seconds` more; however else it ends, nothing is
    kept.
    """

    shred: Literal["job-end", "after"] = "job-end"
    after_seconds: Annotated[int, Field(ge=1, le=30 * _DAY)] | None = None
    latest_seconds: Annotated[int, Field(ge=1, le=60 * _DAY)]

    @model_validator(mode="after")
    def _says_how_long(self) -> Self:
        if (self.shred == "after") != (self.after_seconds is not None):
            raise ValueError('shred = "after" and after_seconds go together')
        if self.after_seconds is not None and self.after_seconds > self.latest_seconds:
            raise ValueError("after_seconds must not be longer than latest_seconds, the life of an upload at most")
        return self

    @property
    def after(self) -> timedelta:
        """How long an upload outlives its job when that is done; zero if it dies with it."""
        return timedelta(seconds=self.after_seconds or 0)

    @property
    def latest(self) -> timedelta:
        """The longest life of an upload, counted from submit."""
        return timedelta(seconds=self.latest_seconds)


class OutputRetention(_Strict):
    """How long outputs live, counted from when each was made."""

    latest_seconds: Annotated[int, Field(ge=1, le=366 * _DAY)]

    @property
    def latest(self) -> timedelta:
        """The longest life of an output."""
        return timedelta(seconds=self.latest_seconds)


class PolicyLimits(_Strict):
    """
    What a job under this policy may bring: the size of an upload in bytes, the length of a prompt in characters.

    The others bound the work on its photo, as `pipelines.Limits` describes them; None leaves the default.
    """

    upload_bytes: Annotated[int, Field(ge=1, le=1 << 40)] = 64 << 20
    prompt_characters: Annotated[int, Field(ge=0, le=100_000)] = 4000
    pixels: Annotated[int, Field(ge=1, le=400_000_000)] | None = None
    side: Annotated[int, Field(ge=1, le=20_000)] | None = None
    frames: Annotated[int, Field(ge=1, le=100_000)] | None = None
    scans: Annotated[int, Field(ge=1, le=100_000)] | None = None
    profile_bytes: Annotated[int, Field(ge=1, le=1 << 30)] | None = None
    seconds: Annotated[int, Field(ge=1, le=600)] | None = None
    memory_bytes: Annotated[int, Field(ge=64 << 20, le=1 << 40)] | None = None


class RetentionPolicy(_Strict):
    """
    One retention policy.

    `providers` is `None` if every provider may see the data, `regions` if it may be processed anywhere;
    `first_party_only` keeps it on the operator's own machines. `accepts_double_charge` lets a worker repeat, once, a
    paid call whose outcome nobody can know.
    """

    name: _Name
    title: Annotated[str, Field(min_length=1, max_length=120)]
    upload: UploadRetention
    output: OutputRetention
    pending_seconds: Annotated[int, Field(ge=1, le=_DAY)] = 900
    providers: Annotated[tuple[_Name, ...] | None, Field(strict=False)] = None
    first_party_only: bool = False
    regions: Annotated[tuple[_Name, ...] | None, Field(strict=False)] = None
    limits: PolicyLimits = PolicyLimits()
    accepts_double_charge: bool = False

    @property
    def pending(self) -> timedelta:
        """How long a key may live before its job is recorded."""
        return timedelta(seconds=self.pending_seconds)

    def allows(self, provider: str) -> bool:
        """Say whether *provider* may see data under this policy."""
        return self.providers is None or provider in self.providers

    def allows_region(self, region: str | None) -> bool:
        """Say whether data may be processed in *region*, or in one below it; None is one that nobody knows."""
        if self.regions is None:
            return True
        return region is not None and any(region == name or region.startswith(f"{name}-") for name in self.regions)


def load_policies(extra_dir: Path | None = None) -> dict[str, RetentionPolicy]:
    """
    Read the policies of this package, then those in *extra_dir*, which may replace them by name.

    Raises:
        StoreConfigError: A file cannot be read or is wrong: names the file, the field and what is allowed.
    """
    folders = [Path(__file__).with_name("policies")] + ([extra_dir] if extra_dir is not None else [])
    policies: dict[str, RetentionPolicy] = {}
    for folder in folders:
        if not folder.is_dir():
            raise StoreConfigError(f"The policies folder {folder} does not exist; create it or leave the setting out.")
        for file in sorted(folder.glob("*.toml")):
            policy = _read(file)
            policies[policy.name] = policy
    return policies


def longest_lives(policies: Iterable[RetentionPolicy]) -> dict[ObjectClass, timedelta]:
    """Say how long ciphertext of each class may lie in the blob store under the longest of *policies*."""
    found = tuple(policies)
    return {
        ObjectClass.UPLOAD: max((policy.upload.latest for policy in found), default=timedelta()),
        # An output may be made before its job's record knows of it.
        ObjectClass.OUTPUT: max((policy.output.latest + policy.pending for policy in found), default=timedelta()),
    }


def _read(file: Path) -> RetentionPolicy:
    try:
        content: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreConfigError(f"The policy file {file} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StoreConfigError(f"The policy file {file} is not TOML: {error}.") from error
    try:
        policy = RetentionPolicy.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        problem = first["msg"].removeprefix("Value error, ")
        raise StoreConfigError(f"The policy file {file}: {field}: {problem}.") from error
    if policy.name != file.stem:
        raise StoreConfigError(f"The policy file {file}: name: must be {file.stem!r}, like the file's own name.")
    return policy
