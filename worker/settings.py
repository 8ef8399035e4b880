"""
The settings, read once at the edge from ``DAYFLY_*`` and handed down as a frozen object.

    settings = Settings.load()
    settings.worker_threads

With none set, everything runs on this machine under `Settings.home`. Durations carry their unit in the name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from storage.blobs.protocol import ALLOWED_ADDRESSES as BLOB_ADDRESSES
from storage.roots import ALLOWED_ADDRESSES as ROOT_ADDRESSES
from worker.addresses import ALLOWED as REDIS_ADDRESSES
from worker.addresses import RedisAddress
from worker.errors import SettingProblem, SettingsError

PREFIX: Final = "DAYFLY_"
DEFAULT_HOME: Final = Path("~/.local/state/dayfly")

# Read by other parts of the program and not settings of the pool.
_OTHER_NAMES: Final = frozenset({"DAYFLY_FAULT_POINT", "DAYFLY_DEBUG"})
# Kubernetes sets such names for a Service called dayfly or dayfly-*.
_SERVICE_LINK: Final = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP)(_\w+)?)$")


class SandboxMode(StrEnum):
    """Whether a worker may start when the kernel lacks a layer of the sandbox."""

    STRICT = "strict"
    RELAXED = "relaxed"


class LogFormat(StrEnum):
    """How log lines look."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


def _redis_url(value: SecretStr) -> SecretStr:
    RedisAddress.parse(value.get_secret_value())
    return value


def _home(value: Path) -> Path:
    try:
        path = value.expanduser()
    except RuntimeError:
        raise ValueError("starts with ~ and this user has no home folder") from None
    if not path.is_absolute():
        raise ValueError("is not an absolute path")
    return path


def _roots_url(value: SecretStr) -> SecretStr:
    try:
        scheme = urlsplit(value.get_secret_value()).scheme
    except ValueError:
        scheme = ""
    _check_scheme(scheme, ROOT_ADDRESSES, "root store")
    return value


def _store_url(value: str) -> str:
    try:
        parts = urlsplit(value)
    except ValueError:
        raise ValueError("is not a URL") from None
    _check_scheme(parts.scheme, BLOB_ADDRESSES, "blob store")
    if parts.scheme == "file" and (parts.netloc or not parts.path.startswith("/")):
        raise ValueError("names no absolute folder")
    return value


def _check_scheme(scheme: str, addresses: str, store: str) -> None:
    if not scheme:
        raise ValueError("is not a URL")
    # The stores check the rest when they are opened; a scheme that none has is told with all other wrong settings.
    if scheme not in {address.partition(":")[0] for address in re.split(r", | or ", addresses)}:
        raise ValueError(f"has a scheme that no {store} has")


def _folder(value: Path) -> Path:
    path = value.expanduser()
    if not path.is_dir():
        raise ValueError("is not a folder")
    return path


def _file(value: Path) -> Path:
    path = value.expanduser()
    if not path.is_file():
        raise ValueError("is not a file")
    return path


def _https_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018  the attribute checks the port
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("is not a URL")
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ValueError("is not https")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("holds more than an address")
    return value


RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
RootsUrl = Annotated[SecretStr, AfterValidator(_roots_url)]
StoreUrl = Annotated[str, AfterValidator(_store_url)]
Folder = Annotated[Path, AfterValidator(_folder)]
HttpsUrl = Annotated[str, AfterValidator(_https_url)]
File = Annotated[Path, AfterValidator(_file)]


def _allowed(text: str) -> dict[str, Any]:
    return {"allowed": text}


class Settings(BaseSettings):
    """
    Everything an operator can choose.

    Secrets, and URLs that may hold one, are of a type that prints as asterisks.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    home: Annotated[Path, AfterValidator(_home)] = Field(
        default=DEFAULT_HOME,
        validate_default=True,
        description="Where embedded parts keep their files; made with access for this user only.",
        json_schema_extra=_allowed("an absolute path"),
    )
    redis_url: RedisUrl | None = Field(
        default=None,
        description="Job records, leases and the broker. Not set: a private Valkey on this machine.",
        json_schema_extra=_allowed(REDIS_ADDRESSES),
    )
    keys_url: RedisUrl | None = Field(
        default=None,
        description="The key store. Not set: the same server as DAYFLY_REDIS_URL.",
        json_schema_extra=_allowed(REDIS_ADDRESSES),
    )
    replicas: int = Field(
        default=0,
        ge=0,
        le=10,
        description="Replicas that must have a change of a job or a key before it counts; 0 asks none.",
        json_schema_extra=_allowed("a whole number from 0 to 10"),
    )
    blobs: StoreUrl | None = Field(
        default=None,
        description="Where ciphertext lives. Not set: the folder blobs under DAYFLY_HOME.",
        json_schema_extra=_allowed(BLOB_ADDRESSES),
    )
    roots_uploads: RootsUrl | None = Field(
        default=None,
        description="The root store of class upload. Not set: the kernel keyring where permitted, else /dev/shm.",
        json_schema_extra=_allowed(ROOT_ADDRESSES),
    )
    roots_outputs: RootsUrl | None = Field(
        default=None,
        description="The root store of class output. Not set: the folder roots under DAYFLY_HOME.",
        json_schema_extra=_allowed(ROOT_ADDRESSES),
    )
    policy: str = Field(
        default="process-and-forget",
        min_length=1,
        description="The retention policy of jobs that name none.",
        json_schema_extra=_allowed("a name that 'dayfly policies' lists"),
    )
    policies_dir: Folder | None = Field(
        default=None,
        description="A folder of further retention policies (TOML).",
        json_schema_extra=_allowed("the path of a folder that exists"),
    )
    recipes_dir: Folder | None = Field(
        default=None,
        description="A folder of further recipes (TOML).",
        json_schema_extra=_allowed("the path of a folder that exists"),
    )
    prices: File | None = Field(
        default=None,
        description="What a call to each provider costs (TOML): the order in which the provider auto asks.",
        json_schema_extra=_allowed("the path of a file that exists"),
    )
    subject_key: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Keys the hash of subject ids; the same on every host. Not set: a file under DAYFLY_HOME.",
        json_schema_extra=_allowed("at least 16 characters"),
    )
    rotation_uploads_seconds: int = Field(
        default=60,
        ge=1,
        le=86_400,
        description="How often the root of class upload is rotated; this bounds the residue of a shredded key.",
        json_schema_extra=_allowed("a whole number of seconds from 1 to 86400"),
    )
    rotation_outputs_seconds: int = Field(
        default=86_400,
        ge=1,
        le=2_592_000,
        description="How often the root of class output is rotated.",
        json_schema_extra=_allowed("a whole number of seconds from 1 to 2592000"),
    )
    root_lifetime_uploads_seconds: int = Field(
        default=3_600,
        ge=2,
        le=604_800,
        description="How long a root of class upload outlives its last renewal when every process is dead.",
        json_schema_extra=_allowed("a whole number of seconds from 2 to 604800, longer than its rotation interval"),
    )
    root_lifetime_outputs_seconds: int = Field(
        default=172_800,
        ge=2,
        le=7_776_000,
        description="How long a root of class output outlives its last renewal when every process is dead.",
        json_schema_extra=_allowed("a whole number of seconds from 2 to 7776000, longer than its rotation interval"),
    )
    worker_threads: int = Field(
        default=8,
        ge=1,
        le=256,
        description="Jobs one worker process moves on at the same time.",
        json_schema_extra=_allowed("a whole number from 1 to 256"),
    )
    worker_max_jobs: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="How often a worker takes up a job before it drains and exits with 0 for another; 0 is no limit.",
        json_schema_extra=_allowed("a whole number from 0 to 1000000"),
    )
    worker_max_seconds: int = Field(
        default=0,
        ge=0,
        le=2_592_000,
        description="How long a worker lives before it drains and exits with 0 for another; 0 is no limit.",
        json_schema_extra=_allowed("a whole number of seconds from 0 to 2592000"),
    )
    lease_seconds: int = Field(
        default=30,
        ge=1,
        le=600,
        description="How long a job stays with a worker that has stopped renewing its lease.",
        json_schema_extra=_allowed("a whole number of seconds from 1 to 600"),
    )
    drain_seconds: int = Field(
        default=60,
        ge=0,
        le=3_600,
        description="How long a stopping worker finishes the steps it is in; keep it below the pod's grace period.",
        json_schema_extra=_allowed("a whole number of seconds from 0 to 3600"),
    )
    sweep_seconds: float = Field(
        default=5,
        ge=0.1,
        le=3_600,
        description="The pause between two sweeps.",
        json_schema_extra=_allowed("a number of seconds from 0.1 to 3600"),
    )
    max_starts: int = Field(
        default=5,
        ge=1,
        le=100,
        description="Attempts after which a job that cannot be completed is given up.",
        json_schema_extra=_allowed("a whole number from 1 to 100"),
    )
    webhooks_url: HttpsUrl | None = Field(
        default=None,
        description="Where providers reach 'dayfly webhooks'. Not set: they are not asked to report.",
        json_schema_extra=_allowed("https://host[:port][/path]"),
    )
    webhooks_key: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Keys the addresses of webhooks; the same for workers and 'dayfly webhooks'.",
        json_schema_extra=_allowed("at least 16 characters"),
    )
    sandbox: SandboxMode = Field(
        default=SandboxMode.STRICT,
        description="Whether a worker refuses to start when the kernel lacks a layer of the sandbox.",
        json_schema_extra=_allowed("strict or relaxed"),
    )
    metrics_host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="The address /metrics and /healthz listen on.",
        json_schema_extra=_allowed("an address or host name of this machine"),
    )
    metrics_port: int = Field(
        default=0,
        ge=0,
        le=65_535,
        description="The port of /metrics and /healthz; 0 serves none.",
        json_schema_extra=_allowed("0 to 65535"),
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="The least severe log lines to write.",
        json_schema_extra=_allowed("debug, info, warning or error"),
    )
    log_format: LogFormat = Field(
        default=LogFormat.AUTO,
        description="How log lines look; auto is console on a terminal and json elsewhere.",
        json_schema_extra=_allowed("auto, json or console"),
    )

    @model_validator(mode="after")
    def _root_outlives_rotation(self) -> Self:
        for name in ("uploads", "outputs"):
            rotation = getattr(self, f"rotation_{name}_seconds")
            if getattr(self, f"root_lifetime_{name}_seconds") <= rotation:
                raise ValueError(f"root_lifetime_{name}_seconds")
        return self

    @classmethod
    def load(cls, **given: Any) -> Self:
        """
        Read the environment; *given* values win over it.

        Raises:
            SettingsError: One or more settings are wrong; all of them are listed.
        """
        problems = list(_misspelt(os.environ, cls))
        try:
            settings = cls(**given)
        except ValidationError as error:
            found = [_problem(detail, cls) for detail in error.errors(include_url=False, include_context=False)]
            raise SettingsError(found + problems) from None
        if problems:
            raise SettingsError(problems)
        return settings

    @property
    def embedded(self) -> bool:
        """Whether the private server of this machine is used."""
        return self.redis_url is None


class EarlySettings(BaseSettings):
    """The one setting read before the sandbox starts. Whatever reads it holds no secret yet."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    sandbox: SandboxMode = SandboxMode.STRICT

    @classmethod
    def load(cls) -> Self:
        """
        Read the environment.

        Raises:
            SettingsError: The value is neither of the two.
        """
        try:
            return cls()
        except ValidationError as error:
            raise SettingsError([_problem(detail, Settings) for detail in error.errors()]) from None


def _problem(detail: ErrorDetails, settings: type[BaseSettings]) -> SettingProblem:
    if not detail["loc"]:
        # Raised by the model validator, which names the field at fault.
        name, problem = detail["msg"].removeprefix("Value error, "), "is not longer than the rotation interval"
    else:
        name = str(detail["loc"][0])
        problem = _sentence(detail, settings.model_fields[name].annotation)
    extra = settings.model_fields[name].json_schema_extra
    allowed = str(extra["allowed"]) if isinstance(extra, dict) else ""
    return SettingProblem(PREFIX + name.upper(), problem, allowed)


def _sentence(detail: ErrorDetails, annotation: Any) -> str:
    if detail["type"] == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    if "Secret" in str(annotation):
        return "is too short" if "too_short" in detail["type"] else "is not of the right form"
    return f"is {str(detail['input'])[:80]!r}"


def _misspelt(environ: Mapping[str, str], settings: type[BaseSettings]) -> Iterator[SettingProblem]:
    """Find names that were meant as a setting: one that is silently ignored may be a promise not kept."""
    known = {PREFIX + name.upper() for name in settings.model_fields}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in known | _OTHER_NAMES or _SERVICE_LINK.search(name):
            continue
        close = get_close_matches(name, known, n=1, cutoff=0.85)
        if close:
            yield SettingProblem(name, "is not a setting", f"{close[0]}, if that is what was meant")
