"""
Two independent S3 services of the tests' own, on loopback: moto knows versions, conditions and bucket settings; rclone
keeps real files and checks signatures.

    with MotoServer() as server:
        server.client.create_bucket(Bucket="photos")
        blobs = open_blob_store(server.url("photos"))
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
from botocore.config import Config

ACCESS_KEY = "dayfly-tests-access"
SECRET_KEY = "dayfly-tests-secret-0123456789"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_DEFAULT_REGION": "us-east-1",
    # No look at the machine's own settings, nor at a metadata service.
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
}
_START_SECONDS = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class S3Server:
    """One server process; buckets are made with `new_bucket`."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="dayfly-s3-"))
        self.port = free_port()
        self._buckets = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def new_bucket(self) -> str:
        raise NotImplementedError

    def url(self, bucket: str, prefix: str = "dayfly", *, endpoint: str | None = None, **settings: str) -> str:
        """The address of a blob store in one of the buckets, through a proxy if its endpoint is given."""
        query = {"endpoint": endpoint or self.endpoint, "addressing": "path", "region": "us-east-1", **settings}
        return f"s3://{bucket}/{prefix}?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())

    @cached_property
    def client(self) -> Any:
        """A client of the tests' own, which sees what the store may not."""
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=config,
        )

    def keys(self, bucket: str) -> list[str]:
        """Every key that anything is left under: objects, old versions, delete markers, unfinished uploads."""
        raise NotImplementedError

    def __enter__(self) -> S3Server:
        with open(self.home / "log", "ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.home
            )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.__exit__()
                    raise AssertionError((self.home / "log").read_text()[-2000:]) from None
                time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(10)
        if "client" in self.__dict__:
            self.client.close()
        shutil.rmtree(self.home, ignore_errors=True)


class MotoServer(S3Server):
    def command(self) -> list[str]:
        start = "from moto.server import main; main()"
        return [sys.executable, "-W", "ignore", "-c", start, "-H", "127.0.0.1", "-p", str(self.port)]

    def new_bucket(self, *, versioned: bool = False, **options: Any) -> str:
        self._buckets += 1
        bucket = f"bucket-{self._buckets}"
        self.client.create_bucket(Bucket=bucket, **options)
        if versioned:
            self.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        return bucket

    def keys(self, bucket: str) -> list[str]:
        found = self.client.list_object_versions(Bucket=bucket)
        uploads = self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
        return sorted(entry["Key"] for entry in [*found.get("Versions", ()), *found.get("DeleteMarkers", ()), *uploads])


class RcloneServer(S3Server):
    """Its buckets are folders: `folder(bucket)` shows what is really there."""

    def command(self) -> list[str]:
        program = shutil.which("rclone", path=str(Path(sys.executable).parent)) or "rclone"
        (self.home / "buckets").mkdir(exist_ok=True)
        auth = f"{ACCESS_KEY},{SECRET_KEY}"
        options = ["--addr", f"127.0.0.1:{self.port}", "--auth-key", auth, "--config", "/nonexistent/rclone.conf"]
        return [program, "serve", "s3", *options, "--vfs-cache-mode", "off", str(self.home / "buckets")]

    def new_bucket(self) -> str:
        self._buckets += 1
        bucket = f"bucket-{self._buckets}"
        self.client.create_bucket(Bucket=bucket)
        return bucket

    def folder(self, bucket: str) -> Path:
        return self.home / "buckets" / bucket

    def keys(self, bucket: str) -> list[str]:
        try:
            uploads = self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
        except self.client.exceptions.NoSuchUpload:
            uploads = ()
        files = [
            str(path.relative_to(self.folder(bucket))) for path in self.folder(bucket).rglob("*") if path.is_file()
        ]
        return sorted([*files, *(upload["Key"] for upload in uploads)])
