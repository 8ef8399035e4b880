"""The whole pool with its ciphertext in a bucket: on a service with versions, and on one with real files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage import ObjectClass, ObjectShreddedError, OutboxDrain
from tests.harness import Pool, photo
from tests.s3 import CREDENTIALS, SECRET_KEY, MotoServer, S3Server
from tests.valkey import PrivateValkey

pytestmark = pytest.mark.slow


class BucketPool(Pool):
    """A pool whose ciphertext is in a bucket of one of the test services."""

    def start(self, role: str, **extra: str) -> Any:
        return super().start(role, **CREDENTIALS, **extra)

    def receipts(self) -> list[dict[str, Any]]:
        return [*OutboxDrain(self.deployment.keys, self.deployment.blobs).receipts()]

    def ciphertexts(self) -> set[str]:
        blobs = self.deployment.blobs
        return {
            blob.name
            for found in (blobs.list(""), blobs.unfinished())
            for blob in found
            if not blob.name.startswith("receipts/")
        }


@pytest.fixture(params=["moto", "rclone"])
def server(request: pytest.FixtureRequest) -> S3Server:
    found: S3Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def bucket(server: S3Server) -> str:
    return server.new_bucket(versioned=True) if isinstance(server, MotoServer) else server.new_bucket()


@pytest.fixture
def pool(tmp_path: Path, valkey: PrivateValkey, server: S3Server, bucket: str) -> Iterator[BucketPool]:
    pool = BucketPool(tmp_path, valkey.url, blobs=server.url(bucket))
    try:
        yield pool
    finally:
        pool.close()


def test_p3_a_whole_job_leaves_only_its_outputs_in_the_bucket(pool: BucketPool, server: S3Server, bucket: str) -> None:
    pool.start("worker")
    pool.start("sweeper")
    job = pool.submit(photo(), prompt="a marker that must not be found")
    record = pool.ended(job.id)
    assert record.state == "done", record
    for output in record.outputs:
        with pool.client.open_output(record.id, output.name) as rendition:
            assert len(rendition.read()) == output.size
    with pytest.raises(ObjectShreddedError):
        pool.deployment.store.open_bytes(record.upload)

    pool.assert_nothing_left()
    # Beside the outputs there are receipts, and nothing under any version, marker or unfinished upload.
    left = {key for key in server.keys(bucket) if not key.startswith("dayfly/receipts/")}
    assert left == {f"dayfly/{output.ref}" for output in record.outputs}


def test_p1_neither_bucket_nor_logs_hold_anything_in_clear(pool: BucketPool, server: S3Server, bucket: str) -> None:
    pool.start("worker")
    pool.start("sweeper")
    record = pool.ended(pool.submit(photo(), prompt="marker-in-the-prompt", subject="marker-of-the-subject").id)
    pool.assert_nothing_left()
    contents = b"".join(server.client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in server.keys(bucket))

    assert record.state == "done"
    assert b"marker" not in contents
    # The start of a JPEG, a PNG or a WebP would be the start of an image in clear.
    assert not any(start in contents for start in (b"\xff\xd8\xff\xe0", b"\x89PNG\r\n", b"WEBPVP8"))
    assert SECRET_KEY not in pool.logs()
    assert "Signature=" not in pool.logs()


def test_p6_a_worker_killed_while_it_writes_outputs_leaves_nothing_in_the_bucket(
    pool: BucketPool, server: S3Server, bucket: str
) -> None:
    pool.start("sweeper")
    pool.ensure_roots()
    job = pool.submit(photo())
    # The first thing a worker seals is an output.
    worker = pool.start("worker", DAYFLY_FAULT_POINT="seal-written:2")
    worker.wait(30)
    pool.start("worker")

    assert pool.ended(job.id).state == "done"
    pool.assert_nothing_left()
    assert pool.deployment.keys.figures().classes[ObjectClass.UPLOAD].live == 0
