from __future__ import annotations

import pytest

from storage import BlobStore, open_blob_store
from tests.s3 import MotoServer, RcloneServer
from tests.storage.blob_conformance import BlobStoreConformance


class TestMoto(BlobStoreConformance):
    @pytest.fixture
    def blobs(self, moto: MotoServer) -> BlobStore:
        return open_blob_store(moto.url(moto.new_bucket()))


class TestMotoWithVersions(BlobStoreConformance):
    @pytest.fixture
    def blobs(self, moto: MotoServer) -> BlobStore:
        return open_blob_store(moto.url(moto.new_bucket(versioned=True), prefix=""))


class TestRclone(BlobStoreConformance):
    @pytest.fixture
    def blobs(self, rclone: RcloneServer) -> BlobStore:
        return open_blob_store(rclone.url(rclone.new_bucket()))
