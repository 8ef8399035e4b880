"""Look at the blob store's own settings when a process starts: refuse what breaks a promise, tell what weakens one."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from metrics.instruments import BLOB_STORE_WEAKNESS
from storage import BlobStore, RetentionPolicy, Weakness, longest_lives

log = structlog.get_logger(__name__)


def refuse_a_store_that_keeps(blobs: BlobStore, policies: Iterable[RetentionPolicy]) -> None:
    """
    Ask the blob store how it is set up; count and log what weakens a promise.

    Raises:
        StoreConfigError: It would keep, copy or show what is deleted; says what to change.
        StoreUnavailableError: It does not answer.
    """
    found = {weakness.kind: weakness for weakness in blobs.probe(longest_lives(policies))}
    for kind in Weakness:
        BLOB_STORE_WEAKNESS.labels(weakness=kind.value).set(kind in found)
    for kind, weakness in found.items():
        log.warning("the blob store's settings", weakness=kind.value, found=weakness.found, advice=weakness.advice)
