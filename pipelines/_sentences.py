"""The sentence for each refusal: English, for a site's user, made from checked numbers only."""

from __future__ import annotations

from pipelines._outcomes import RefusalCode
from pipelines.errors import Refused

_MIB = 1 << 20
_READ = "JPEG, PNG, WebP, AVIF, GIF, TIFF or BMP"
# Shown to a site's user, but also all that its operator ever sees of the matter.
_HEIC = (
    f"This file is an HEIC file, which this site does not read; please use {_READ}."
    " (For its operator: the extra dayfly[heic] reads HEIC; the wheel it installs is under the GPL.)"
)


def refused(
    code: RefusalCode, *, actual: int | None = None, limit: int | None = None, what: str | None = None
) -> Refused:
    """Return the refusal with its sentence; numbers that are not known are left out of it."""
    return Refused(code, _sentence(code, actual, limit, what), actual=actual, limit=limit, what=what)


def _sentence(code: RefusalCode, actual: int | None, limit: int | None, what: str | None) -> str:
    match code:
        case RefusalCode.EMPTY_FILE:
            return "This file is empty."
        case RefusalCode.TOO_MANY_BYTES:
            return f"This file has {_mib(actual)} MiB; the limit is {_mib(limit)}."
        case RefusalCode.NOT_AN_IMAGE:
            return f"This file is not a photo: it is neither {_READ}, whatever its name says."
        case RefusalCode.FORMAT_NOT_SUPPORTED if what == "HEIC":
            return _HEIC
        case RefusalCode.FORMAT_NOT_SUPPORTED:
            return f"This file is {_kind(what)}; please use {_READ}."
        case RefusalCode.TOO_MANY_PIXELS:
            return f"This photo has {_mega(actual)} megapixels; the limit is {_mega(limit)}."
        case RefusalCode.SIDE_TOO_LONG:
            return f"The longest side of this photo has {_number(actual)} pixels; the limit is {_number(limit)}."
        case RefusalCode.TOO_MANY_FRAMES:
            return f"This file holds {_number(actual)} frames; the limit is {_number(limit)}."
        case RefusalCode.TOO_MANY_SCANS:
            return f"This JPEG is stored in more than {_number(limit)} scans, which no camera or editor does."
        case RefusalCode.PROFILE_TOO_LARGE:
            return f"The colour profile in this photo has {_number(actual)} bytes; the limit is {_number(limit)}."
        case RefusalCode.TRUNCATED:
            return "This photo is incomplete: the file ends before the picture does. Please upload it again."
        case RefusalCode.DAMAGED:
            return "This photo is damaged and cannot be read."
        case RefusalCode.TOO_MUCH_MEMORY:
            return "This photo needs more memory than is allowed for one picture."
        case RefusalCode.TOO_MUCH_TIME:
            return "This photo takes longer to read than is allowed for one picture."
        case RefusalCode.OUTPUT_TOO_LARGE:
            return "The finished pictures would be larger than is allowed."
        case RefusalCode.TOO_SMALL:
            return f"The product in this photo is {_number(actual)} pixels long; at least {_number(limit)} are needed."
        case RefusalCode.NO_PRODUCT_FOUND:
            return "No product could be told from the background of this photo; a plain background works best."


def _kind(what: str | None) -> str:
    if what is None:
        return "of a kind that is not read"
    known = {
        "video": "a video",
        "icon": "an icon",
        "multi-channel": "a picture whose channels are not those of a photo",
        "unusual TIFF": "a TIFF of an unusual kind",
    }
    return known.get(what, f"{'an' if what == 'SVG' else 'a'} {what} file")


def _number(value: int | None) -> str:
    return "too many" if value is None else f"{value:,}"


def _mib(value: int | None) -> str:
    return "too many" if value is None else f"{value / _MIB:,.1f}".removesuffix(".0")


def _mega(value: int | None) -> str:
    return "too many" if value is None else f"{value / 1_000_000:,.1f}".removesuffix(".0")
