"""
An AWS KMS on loopback, as far as keys with imported material go, by the vendor's API reference.

It really wraps, encrypts and forgets: material that was deleted or has expired cannot be used, and only the same bytes
may be imported again. boto3 drives it; what it answers is checked against botocore's model of the service by a test.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256

ACCOUNT = "111122223333"
REGION = "eu-central-1"
ACCESS_KEY = "AKIDDAYFLYTEST"


@cache
def wrapping_key() -> rsa.RSAPrivateKey:
    """One for the whole run: drawing 4096 bits takes a second."""
    return rsa.generate_private_key(public_exponent=65537, key_size=4096)


class RefusalError(Exception):
    def __init__(self, code: str, message: str = "") -> None:
        self.code = code
        self.message = message


@dataclass
class Key:
    key_id: str
    description: str
    tags: list[dict[str, str]]
    made: float = field(default_factory=time.time)
    state: str = "PendingImport"
    material: bytes | None = None
    fingerprint: bytes | None = None
    valid_to: float | None = None
    deleted_at: float | None = None
    tokens: set[bytes] = field(default_factory=set)

    @property
    def arn(self) -> str:
        return f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{self.key_id}"

    def describe(self) -> dict[str, Any]:
        about: dict[str, Any] = {
            "AWSAccountId": ACCOUNT,
            "KeyId": self.key_id,
            "Arn": self.arn,
            "CreationDate": self.made,
            "Enabled": self.state == "Enabled",
            "Description": self.description,
            "KeyUsage": "ENCRYPT_DECRYPT",
            "KeyState": self.state,
            "Origin": "EXTERNAL",
            "KeyManager": "CUSTOMER",
            "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
            "KeySpec": "SYMMETRIC_DEFAULT",
            "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
            "MultiRegion": False,
        }
        if self.valid_to is not None:
            about |= {"ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": self.valid_to}
        if self.deleted_at is not None:
            about["DeletionDate"] = self.deleted_at
        return about


class FakeKms:
    """
    One server. Use as a context manager.

    `keys` and `aliases` may be looked into and changed by tests. What was made less than `lag` seconds ago is not seen
    yet. `refuse` maps an operation to the code it is refused with. `log` holds operation, request and answer.
    """

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.aliases: dict[str, tuple[str, float]] = {}
        self.lag = 0.0
        self.refuse: dict[str, str] = {}
        self.log: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
        self._lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to find this server."""
        return {
            "AWS_ENDPOINT_URL_KMS": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
        }

    def __enter__(self) -> FakeKms:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="fake kms", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, operation: str, authorization: str, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if f"Credential={ACCESS_KEY}/" not in authorization:
                raise RefusalError(
                    "UnrecognizedClientException", "The security token included in the request is invalid."
                )
            if operation in self.refuse:
                raise RefusalError(self.refuse[operation], "refused by the test")
            for key in self.keys.values():
                if key.valid_to is not None and key.valid_to <= time.time():
                    self._forget(key)
            handle: Callable[[dict[str, Any]], dict[str, Any]] | None = getattr(self, f"_{operation}", None)
            if handle is None:
                raise RefusalError("UnknownOperationException")
            found = handle(request)
            self.log.append((operation, request, found))
            return found

    def _key(self, name: str, *states: str) -> Key:
        if name.startswith("alias/"):
            target, made = self.aliases.get(name, ("", 0.0))
            name = target if time.time() - made >= self.lag else ""
        key = self.keys.get(name.rsplit("/", 1)[-1])
        if key is None or time.time() - key.made < self.lag:
            raise RefusalError("NotFoundException", f"Key 'arn:aws:kms:{REGION}:{ACCOUNT}:key/{name}' does not exist")
        if states and key.state not in states:
            if key.state == "Disabled" and "Enabled" in states:
                raise RefusalError("DisabledException", f"{key.arn} is disabled.")
            raise RefusalError("KMSInvalidStateException", f"{key.arn} is {key.state}.")
        return key

    def _forget(self, key: Key) -> None:
        key.material = key.valid_to = None
        if key.state != "PendingDeletion":
            key.state = "PendingImport"

    def _CreateKey(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("Origin") != "EXTERNAL":
            raise RefusalError("UnsupportedOperationException", "this server knows imported material only")
        key = Key(str(uuid.uuid4()), request.get("Description", ""), request.get("Tags", []))
        self.keys[key.key_id] = key
        return {"KeyMetadata": key.describe()}

    def _DescribeKey(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"KeyMetadata": self._key(request["KeyId"]).describe()}

    def _UpdateKeyDescription(self, request: dict[str, Any]) -> dict[str, Any]:
        key = self._key(request["KeyId"], "Enabled", "Disabled", "PendingImport")
        key.description = request["Description"]
        return {}

    def _GetParametersForImport(self, request: dict[str, Any]) -> dict[str, Any]:
        key = self._key(request["KeyId"], "Enabled", "Disabled", "PendingImport")
        if (request["WrappingAlgorithm"], request["WrappingKeySpec"]) != ("RSAES_OAEP_SHA_256", "RSA_4096"):
            raise RefusalError("UnsupportedOperationException")
        public = wrapping_key().public_key()
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        token = secrets.token_bytes(64)
        key.tokens.add(token)
        return {
            "KeyId": key.arn,
            "ImportToken": _text(token),
            "PublicKey": _text(der),
            "ParametersValidTo": time.time() + 86_400,
        }

    def _ImportKeyMaterial(self, request: dict[str, Any]) -> dict[str, Any]:
        # Material that is there keeps its expiry: it must be deleted before it can be imported again.
        key = self._key(request["KeyId"], "PendingImport")
        if base64.b64decode(request["ImportToken"]) not in key.tokens:
            raise RefusalError("InvalidImportTokenException")
        expires = request.get("ExpirationModel", "KEY_MATERIAL_EXPIRES") == "KEY_MATERIAL_EXPIRES"
        valid_to = request.get("ValidTo")
        if expires != (valid_to is not None):
            raise RefusalError("ValidationException", "ValidTo and ExpirationModel do not fit together")
        if valid_to is not None and not time.time() < valid_to <= time.time() + 365 * 86_400:
            raise RefusalError("ValidationException", "ValidTo must be in the future, at most 365 days from now")
        oaep = padding.OAEP(mgf=padding.MGF1(SHA256()), algorithm=SHA256(), label=None)
        try:
            material = wrapping_key().decrypt(base64.b64decode(request["EncryptedKeyMaterial"]), oaep)
        except ValueError:
            raise RefusalError("InvalidCiphertextException") from None
        if len(material) != 32 or key.fingerprint not in (None, _digest(material)):
            raise RefusalError("IncorrectKeyMaterialException")
        key.material, key.fingerprint, key.valid_to, key.state = material, _digest(material), valid_to, "Enabled"
        return {"KeyId": key.arn, "KeyMaterialId": _digest(material).hex()}

    def _DeleteImportedKeyMaterial(self, request: dict[str, Any]) -> dict[str, Any]:
        key = self._key(request["KeyId"], "Enabled", "Disabled", "PendingImport", "PendingDeletion")
        self._forget(key)
        return {"KeyId": key.arn}

    def _ScheduleKeyDeletion(self, request: dict[str, Any]) -> dict[str, Any]:
        key = self._key(request["KeyId"], "Enabled", "Disabled", "PendingImport")
        days = request.get("PendingWindowInDays", 30)
        if not 7 <= days <= 30:
            raise RefusalError("ValidationException")
        key.state, key.deleted_at = "PendingDeletion", time.time() + days * 86_400
        return {
            "KeyId": key.arn,
            "DeletionDate": key.deleted_at,
            "KeyState": key.state,
            "PendingWindowInDays": days,
        }

    def _Encrypt(self, request: dict[str, Any]) -> dict[str, Any]:
        key = self._key(request["KeyId"], "Enabled")
        assert key.material is not None
        plain = base64.b64decode(request["Plaintext"])
        if not 1 <= len(plain) <= 4096:
            raise RefusalError("ValidationException")
        nonce = secrets.token_bytes(12)
        sealed = AESGCM(key.material).encrypt(nonce, plain, _context(request))
        blob = uuid.UUID(key.key_id).bytes + nonce + sealed
        return {"CiphertextBlob": _text(blob), "KeyId": key.arn, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}

    def _Decrypt(self, request: dict[str, Any]) -> dict[str, Any]:
        blob = base64.b64decode(request["CiphertextBlob"])
        try:
            made_by = str(uuid.UUID(bytes=blob[:16]))
        except ValueError:
            raise RefusalError("InvalidCiphertextException") from None
        if made_by not in self.keys:
            raise RefusalError("InvalidCiphertextException")
        key = self._key(request.get("KeyId", made_by), "Enabled")
        if key.key_id != made_by:
            raise RefusalError(
                "IncorrectKeyException", "The key ID in the request does not identify a CMK that can decrypt"
            )
        assert key.material is not None
        try:
            plain = AESGCM(key.material).decrypt(blob[16:28], blob[28:], _context(request))
        except InvalidTag:
            raise RefusalError("InvalidCiphertextException") from None
        return {"Plaintext": _text(plain), "KeyId": key.arn, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}

    def _CreateAlias(self, request: dict[str, Any]) -> dict[str, Any]:
        key = self._key(request["TargetKeyId"], "Enabled", "Disabled", "PendingImport")
        if request["AliasName"] in self.aliases:
            raise RefusalError("AlreadyExistsException")
        self.aliases[request["AliasName"]] = key.key_id, time.time()
        return {}

    def _DeleteAlias(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.aliases.pop(request["AliasName"], None) is None:
            raise RefusalError("NotFoundException")
        return {}

    def _ListAliases(self, request: dict[str, Any]) -> dict[str, Any]:
        names = [name for name, (_, made) in sorted(self.aliases.items()) if time.time() - made >= self.lag]
        # Every account has aliases of AWS' own, and these may point at nothing.
        entries: list[dict[str, Any]] = [{"AliasName": "alias/aws/s3", "AliasArn": _alias_arn("alias/aws/s3")}]
        for name in names:
            target, made = self.aliases[name]
            entries.append(
                {"AliasName": name, "AliasArn": _alias_arn(name), "TargetKeyId": target, "CreationDate": made}
            )
        start, size = int(request.get("Marker") or 0), min(int(request.get("Limit", 50)), 100)
        page: dict[str, Any] = {"Aliases": entries[start : start + size], "Truncated": start + size < len(entries)}
        return page | ({"NextMarker": str(start + size)} if page["Truncated"] else {})


def _alias_arn(name: str) -> str:
    return f"arn:aws:kms:{REGION}:{ACCOUNT}:{name}"


def _digest(material: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(b"id" + material).digest()


def _context(request: dict[str, Any]) -> bytes:
    return json.dumps(request.get("EncryptionContext") or {}, sort_keys=True).encode()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _handler(kms: FakeKms) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body in one packet; two would wait for the client's delayed acknowledgement.
        wbufsize = 1 << 16

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            service, _, operation = self.headers["X-Amz-Target"].partition(".")
            assert service == "TrentService"
            try:
                status, body = 200, kms.answer(operation, self.headers.get("Authorization", ""), request)
            except RefusalError as refusal:
                server_side = refusal.code in ("KMSInternalException", "DependencyTimeoutException")
                status = 500 if server_side or refusal.code == "KeyUnavailableException" else 400
                body = {"__type": refusal.code, "message": refusal.message}
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            return

    return Handler
