"""
Name objects, their classes and the reasons for which they end.

    ref = ObjectRef.new(ObjectClass.UPLOAD, ceiling=datetime.now(UTC) + timedelta(days=1))
    assert ObjectRef.parse(str(ref)) == ref

An object's name in the blob store carries the hour after which it cannot be alive, so that a sweep or a bucket's
lifecycle rule can recognise a dead one without asking anybody.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NewType

ObjectId = NewType("ObjectId", str)
"""A random 128-bit object id: 32 lowercase hexadecimal digits."""


class ObjectClass(StrEnum):
    """What an object is: an upload (or a job's parameters), or an output."""

    UPLOAD = "upload"
    OUTPUT = "output"


class ShredReason(StrEnum):
    """Why an object's key was destroyed."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUSED = "refused"
    ERASED = "erased"
    ORPHANED = "orphaned"
    ROOT_LOST = "root-lost"
    LOST = "lost"
    """The key store was restored from a backup made before the key."""


_NAME = re.compile(r"(upload|output)/(\d{10})/([0-9a-f]{32})")


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """
    Everything needed to find one object; `str(ref)` is its name in the blob store.

    `ceiling_hour` is `YYYYMMDDHH` in UTC: the latest moment to which the deadline may ever be extended, rounded up
    to the hour.
    """

    object_class: ObjectClass
    ceiling_hour: str
    oid: ObjectId

    @classmethod
    def new(cls, object_class: ObjectClass, ceiling: datetime) -> ObjectRef:
        """
        Name a new object.

        Raises:
            ValueError: *ceiling* has no time zone.
        """
        return cls(object_class, ceiling_hour(ceiling), new_object_id())

    @classmethod
    def parse(cls, name: str) -> ObjectRef:
        """
        Read a name as `str(ref)` wrote it.

        Raises:
            ValueError: It is not the name of an object.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError("not the name of an object: expected class/YYYYMMDDHH/32 hexadecimal digits")
        return cls(ObjectClass(match[1]), match[2], ObjectId(match[3]))

    def __str__(self) -> str:
        return f"{self.object_class.value}/{self.ceiling_hour}/{self.oid}"


def new_object_id() -> ObjectId:
    """Draw a random object id."""
    return ObjectId(secrets.token_hex(16))


def ceiling_hour(ceiling: datetime) -> str:
    """
    Round *ceiling* up to the hour and write it as `YYYYMMDDHH` in UTC.

    Raises:
        ValueError: *ceiling* has no time zone.
    """
    if ceiling.tzinfo is None:
        raise ValueError("a ceiling needs a time zone")
    moment = ceiling.astimezone(UTC)
    hour = moment.replace(minute=0, second=0, microsecond=0)
    return (hour if hour == moment else hour + timedelta(hours=1)).strftime("%Y%m%d%H")


def associated_data(ref: ObjectRef) -> bytes:
    """Return what binds ciphertext and wrapped key to *ref*: always from what the caller expects, never read back."""
    return f"dayfly/1|{ref.object_class.value}|{ref.oid}".encode()
