"""The closed lists of answers: plain enums, shared by the worker process and the sandboxed child."""

from __future__ import annotations

from enum import StrEnum


class Operation(StrEnum):
    """What a sandboxed child can be asked to do."""

    PROBE = "probe"
    PREPARE = "prepare"
    CUT_OUT = "cut_out"
    RENDER = "render"
    MEASURE = "measure"


class Outcome(StrEnum):
    """How one sandboxed run ended."""

    OK = "ok"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    CRASHED = "crashed"
    VIOLATION = "violation"
    LOST = "lost"


class RefusalCode(StrEnum):
    """Why a file was refused; stable, for translation by a site."""

    EMPTY_FILE = "empty-file"
    TOO_MANY_BYTES = "too-many-bytes"
    NOT_AN_IMAGE = "not-an-image"
    FORMAT_NOT_SUPPORTED = "format-not-supported"
    TOO_MANY_PIXELS = "too-many-pixels"
    SIDE_TOO_LONG = "side-too-long"
    TOO_MANY_FRAMES = "too-many-frames"
    TOO_MANY_SCANS = "too-many-scans"
    PROFILE_TOO_LARGE = "profile-too-large"
    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    TOO_MUCH_MEMORY = "too-much-memory"
    TOO_MUCH_TIME = "too-much-time"
    OUTPUT_TOO_LARGE = "output-too-large"
    TOO_SMALL = "too-small"
    NO_PRODUCT_FOUND = "no-product-found"
