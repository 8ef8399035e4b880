"""
Talk to one bucket: its address, its client, and every error of the service in the room's own words.

An address is `s3://bucket/prefix`, with settings behind a question mark:

    endpoint    URL of a service other than AWS, for instance http://127.0.0.1:9000
    region      the region to sign for; not given: as the AWS settings of the machine say, else us-east-1
    addressing  path (endpoint/bucket/key), virtual (bucket.endpoint/key) or auto
    sse         server-side encryption to ask for: AES256 or aws:kms
    sse_key     the key to use with sse=aws:kms; not given: the bucket's
    part_mib    the size of a part of a large object, 5 to 512 (default 8)

Credentials come from where every AWS program takes them and are never part of the address.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast
from urllib.parse import parse_qsl, urlsplit

import boto3
import botocore.session
import urllib3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.loaders import create_loader

from storage.blobs.protocol import ALLOWED_ADDRESSES
from storage.errors import (
    CiphertextMissingError,
    StorageError,
    StoreConfigError,
    StoreFullError,
    StoreUnavailableError,
)

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 20.0
ATTEMPTS: Final = 4
"""How often one request is sent at most. Every request here may be repeated."""

_CONNECTIONS: Final = 32
# The descriptions of AWS' services: read from disk once a process, not once a client.
_MODELS: Final = create_loader()
_MIB: Final = 1 << 20
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_SETTINGS: Final = frozenset({"endpoint", "region", "addressing", "sse", "sse_key", "part_mib"})
_ADDRESSING: Final = ("path", "virtual", "auto")
_SSE: Final = ("AES256", "aws:kms")

NETWORK_ERRORS: Final = (BotoCoreError, ClientError, urllib3.exceptions.HTTPError, OSError)
"""What boto3 and what lies below it raise."""

_MISSING: Final = frozenset({"NoSuchKey", "NoSuchUpload", "NoSuchVersion", "404"})
_FULL: Final = frozenset(
    {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}
)
_BUSY: Final = frozenset({"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "TooManyRequests"})
UNSUPPORTED: Final = frozenset({"NotImplemented", "501", "MethodNotAllowed", "405"})
_DENIED: Final = frozenset({"AccessDenied", "403", "AllAccessDisabled"})
_WHO: Final = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "TokenRefreshRequired"}
)


class S3Client(Protocol):
    """What is used of a boto3 client: operations by name, which take and give plain data."""

    def __getattr__(self, operation: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class S3Address:
    """A bucket, a prefix in it and how to talk to it. Holds no secret."""

    bucket: str
    prefix: str
    endpoint: str | None = None
    region: str | None = None
    addressing: str = "auto"
    sse: str | None = None
    sse_key: str | None = None
    part_bytes: int = 8 * _MIB

    @classmethod
    def parse(cls, url: str) -> S3Address:
        """
        Read an address.

        Raises:
            StoreConfigError: Something in it is wrong; says what is allowed, and quotes no value.
        """
        parts = urlsplit(url)
        bucket, prefix = parts.netloc, parts.path.strip("/")
        if parts.fragment or _BUCKET.fullmatch(bucket) is None or (prefix and _PREFIX.fullmatch(prefix) is None):
            raise _wrong("names no bucket and prefix that can be used")
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        given = dict(pairs)
        if len(given) != len(pairs) or not given.keys() <= _SETTINGS or "" in given.values():
            raise _wrong(f"may hold each of {', '.join(sorted(_SETTINGS))} once behind the question mark, nothing else")
        endpoint, part = given.get("endpoint"), given.get("part_mib", "8")
        if endpoint is not None and not _is_endpoint(endpoint):
            raise _wrong("has an endpoint that is not http:// or https:// with a host, and nothing behind it")
        if given.get("addressing", "auto") not in _ADDRESSING:
            raise _wrong(f"has an unknown addressing; allowed: {', '.join(_ADDRESSING)}")
        if "sse" in given and given["sse"] not in _SSE:
            raise _wrong(f"has an unknown sse; allowed: {', '.join(_SSE)}")
        if "sse_key" in given and given.get("sse") != "aws:kms":
            raise _wrong("has an sse_key, which needs sse=aws:kms")
        if not part.isascii() or not part.isdigit() or not 5 <= int(part) <= 512:
            raise _wrong("has a part_mib that is not a whole number from 5 to 512")
        return cls(
            bucket,
            prefix,
            endpoint,
            given.get("region"),
            given.get("addressing", "auto"),
            given.get("sse"),
            given.get("sse_key"),
            int(part) * _MIB,
        )

    @property
    def place(self) -> str:
        """The bucket and the prefix, as error messages and people name them."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def encrypted_way(self) -> bool:
        """Whether the way to the service is encrypted, or does not leave this machine."""
        parts = urlsplit(self.endpoint or "https://")
        return parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")


class Bucket:
    """One bucket's operations. Safe to share between threads."""

    def __init__(self, address: S3Address) -> None:
        self.address = address
        try:
            self._client = _connect(address)
        except (*NETWORK_ERRORS, ValueError) as error:
            raise translated(error, address.place) from error
        self._folder = f"{address.prefix}/" if address.prefix else ""

    def key(self, name: str) -> str:
        """Give the key of the blob *name*, or of a prefix of names."""
        return self._folder + name

    def name(self, key: str) -> str:
        """Give the name of the blob under *key*."""
        return key.removeprefix(self._folder)

    def call(self, operation: str, *, blob: str = "", **arguments: Any) -> dict[str, Any]:
        """
        Do one operation; *blob* is the name of the blob it is about.

        Raises:
            CiphertextMissingError: The blob, or its unfinished upload, is not there.
            StorageError: It failed in another way.
        """
        try:
            return cast("dict[str, Any]", getattr(self._client, operation)(Bucket=self.address.bucket, **arguments))
        except NETWORK_ERRORS as error:
            raise translated(error, self.address.place, blob) from error

    def ask(
        self, operation: str, *, absent: Collection[str] = (), refused: Collection[str] = (), **arguments: Any
    ) -> dict[str, Any] | None:
        """
        Ask for something that need not be there.

        Gives an empty answer if the service answers with a code of *absent* or has no such operation, and `None` if it
        answers with a code of *refused*.

        Raises:
            StorageError: It failed in another way.
        """
        try:
            return cast("dict[str, Any]", getattr(self._client, operation)(Bucket=self.address.bucket, **arguments))
        except NETWORK_ERRORS as error:
            if error_code(error) in refused:
                return None
            if error_code(error) in UNSUPPORTED or error_code(error) in absent:
                return {}
            raise translated(error, self.address.place) from error

    def encryption(self) -> dict[str, str]:
        """Give the arguments that ask for server-side encryption."""
        asked = {"ServerSideEncryption": self.address.sse, "SSEKMSKeyId": self.address.sse_key}
        return {name: value for name, value in asked.items() if value is not None}


def error_code(error: BaseException | None) -> str:
    """Give the service's code of an error, or its HTTP status, or nothing."""
    if not isinstance(error, ClientError):
        return ""
    details: Mapping[str, Any] = cast("Mapping[str, Any]", error.response)
    status = details.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
    return str(details.get("Error", {}).get("Code", "") or status)


def translated(error: BaseException, place: str, blob: str = "") -> StorageError:
    """Say in one sentence of the room's own what an error of the service means. Quotes nothing of its text."""
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError | ProfileNotFound):
        return StoreConfigError(
            f"No AWS credentials for the bucket {place}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the "
            "machine a role."
        )
    if isinstance(error, ParamValidationError | ValueError):
        return StoreConfigError(f"The address of the bucket {place} cannot be used; check its endpoint and region.")
    if not isinstance(error, ClientError):
        return StoreUnavailableError(f"The bucket {place} does not answer ({type(error).__name__}).")
    code = error_code(error)
    details: Mapping[str, Any] = cast("Mapping[str, Any]", error.response)
    status = int(details.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code == "NoSuchBucket":
        return StoreConfigError(f"There is no bucket {place}; create it, or correct the address.")
    if code in _MISSING and blob:
        return CiphertextMissingError(f"The bucket holds no ciphertext of {blob}; it was deleted.")
    if code in _FULL or status == 507:
        return StoreFullError(f"The bucket {place} has no room left ({code}); raise its quota.")
    if code in _BUSY or status >= 500 or status == 429:
        return StoreUnavailableError(f"The bucket {place} is busy or broken ({code or status}); try again later.")
    if code in _WHO:
        return StoreConfigError(f"The AWS credentials do not fit the bucket {place} ({code}); correct or renew them.")
    if code in _DENIED:
        return StoreConfigError(
            f"The AWS credentials may not do {error.operation_name} in the bucket {place}; allow it, and see that no "
            "object lock forbids it."
        )
    if code == "RequestTimeTooSkewed":
        return StoreConfigError(f"The clock of this machine is wrong for the bucket {place}; run a time service.")
    return StoreConfigError(f"The bucket {place} refuses {error.operation_name} ({code or status}).")


def _connect(address: S3Address) -> S3Client:
    core = botocore.session.Session()
    core.register_component("data_loader", _MODELS)
    session = boto3.session.Session(botocore_session=core)
    config = Config(
        signature_version="s3v4",
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=_CONNECTIONS,
        tcp_keepalive=True,
        s3={"addressing_style": address.addressing},
        # Not every service knows the newer checksums; what is sent carries its MD5, which all check.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    client = session.client(
        "s3",
        endpoint_url=address.endpoint,
        region_name=address.region or session.region_name or "us-east-1",
        config=config,
    )
    return cast(S3Client, client)


def _is_endpoint(text: str) -> bool:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    extra = parts.username or parts.password or parts.path.strip("/") or parts.query or parts.fragment
    return parts.scheme in ("http", "https") and bool(host) and not extra


def _wrong(problem: str) -> StoreConfigError:
    return StoreConfigError(f"The blob store address {problem}; allowed: {ALLOWED_ADDRESSES}.")
