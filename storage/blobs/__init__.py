"""
Keep ciphertext under names, whole or not at all.

    blobs = open_blob_store("file:///var/lib/dayfly/blobs")
    with blobs.create("output/2026112401/0123456789abcdef0123456789abcdef") as sink:
        sink.write(b"sealed bytes")

A further blob store is one file that fulfils `BlobStore` and passes the conformance suite of the tests.
"""

from __future__ import annotations

from storage.blobs.protocol import (
    BlobInfo,
    BlobSink,
    BlobStore,
    BlobWeakness,
    HasLifecycle,
    Weakness,
    open_blob_store,
)

__all__ = ["BlobInfo", "BlobSink", "BlobStore", "BlobWeakness", "HasLifecycle", "Weakness", "open_blob_store"]
