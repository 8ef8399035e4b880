"""
A Vault on loopback: token, Transit and key-value engine of version 1, as the vendor's HTTP API describes them.

It really encrypts, so a deleted key is a lost one. Its status codes and sentences are those of Vault 1.15 and OpenBao
2: a missing Transit key is a 400 with words that differ by endpoint, a 404 without errors is a missing entry, and a 404
with "no handler for route" a missing mount. `hvac` drives it in the tests to hold it to that.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import ssl
import threading
import time
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Answer = tuple[int, dict[str, Any] | None]


@dataclass
class Token:
    ttl: float = 3600.0
    renewable: bool = True
    forever: bool = False
    ends: float = field(init=False)
    renewals: int = 0

    def __post_init__(self) -> None:
        self.ends = time.monotonic() + self.ttl

    @property
    def left(self) -> int:
        return 0 if self.forever else max(0, int(self.ends - time.monotonic() + 0.999))

    @property
    def alive(self) -> bool:
        return self.forever or time.monotonic() < self.ends


@dataclass
class TransitKey:
    versions: dict[int, bytes]
    options: dict[str, Any]
    made: int = field(default_factory=lambda: int(time.time()))

    def describe(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "keys": dict.fromkeys(map(str, self.versions), self.made),
            "latest_version": max(self.versions),
            "min_available_version": 0,
            "min_decryption_version": 1,
            "min_encryption_version": 0,
            "supports_encryption": True,
            "supports_decryption": True,
            "supports_derivation": True,
            "supports_signing": False,
            "auto_rotate_period": 0,
            "imported_key": False,
            **self.options,
        }


class FakeVault:
    """
    One server. Use as a context manager.

    `tokens`, `keys` and `entries` may be looked into and changed by tests; `log` holds method and path of requests.
    """

    def __init__(self, certificate: tuple[Path, Path] | None = None, namespace: str = "") -> None:
        self.token = f"hvs.{secrets.token_urlsafe(24)}"
        self.tokens = {self.token: Token()}
        self.keys: dict[str, TransitKey] = {}
        self.entries: dict[str, dict[str, Any]] = {}
        self.mounts = {"transit": "transit", "kv": "kv", "kv2": "kv2"}
        self.namespace = namespace
        self.sealed = False
        self.denied: list[str] = []
        self.log: list[tuple[str, str]] = []
        self._lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FakeVault:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="fake vault", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, headers: Any, body: dict[str, Any]) -> Answer:
        with self._lock:
            self.log.append((method, path))
            if self.sealed:
                return 503, _errors("Vault is sealed")
            if (headers.get("X-Vault-Namespace") or "").strip("/") != self.namespace:
                return 404, _errors(f'no handler for route "{path}". route entry not found.')
            token = self.tokens.get(headers.get("X-Vault-Token") or "")
            if token is None or not token.alive or any(re.fullmatch(rule, f"{method} {path}") for rule in self.denied):
                return 403, _errors("1 error occurred:\n\t* permission denied\n\n")
            if path.startswith("auth/token/"):
                return self._auth(path.removeprefix("auth/token/"), method, headers["X-Vault-Token"], token)
            mount, _, rest = path.partition("/")
            engine = {"transit": self._transit, "kv": self._kv, "kv2": self._kv2}.get(self.mounts.get(mount, ""))
            if engine is None:
                return 404, _errors(f'no handler for route "{path}". route entry not found.')
            return engine(method, rest, body)

    def _auth(self, what: str, method: str, text: str, token: Token) -> Answer:
        if what == "lookup-self" and method == "GET":
            return 200, _data(
                {
                    "accessor": "accessor",
                    "creation_ttl": int(token.ttl),
                    "creation_time": int(time.time()),
                    "display_name": "token",
                    "explicit_max_ttl": 0,
                    "id": text,
                    "meta": None,
                    "num_uses": 0,
                    "orphan": True,
                    "path": "auth/token/create",
                    "policies": ["default", "dayfly"],
                    "renewable": token.renewable,
                    "ttl": token.left,
                    "type": "service",
                }
            )
        if what == "renew-self" and method in ("POST", "PUT"):
            if not token.renewable:
                return 400, _errors("lease is not renewable")
            token.ends = time.monotonic() + token.ttl
            token.renewals += 1
            auth = {"client_token": text, "policies": ["default", "dayfly"], "renewable": True}
            return 200, _envelope(auth={**auth, "lease_duration": int(token.ttl), "token_type": "service"})
        return 405, _errors("unsupported operation")

    def _transit(self, method: str, rest: str, body: dict[str, Any]) -> Answer:
        what, _, name = rest.partition("/")
        if what == "keys" and method == "LIST" and not name:
            return (200, _data({"keys": sorted(self.keys)})) if self.keys else (404, _errors())
        if what == "keys" and name.endswith("/config") and method in ("POST", "PUT"):
            return self._configure(name.removesuffix("/config"), body)
        if what == "keys" and name:
            return self._key(method, name, body)
        if what in ("encrypt", "decrypt") and method in ("POST", "PUT"):
            return self._crypt(what, name, body)
        if what == "export" and method == "GET":
            return 400, _errors("private key material is not exportable")
        return 405, _errors("unsupported operation")

    def _key(self, method: str, name: str, body: dict[str, Any]) -> Answer:
        key = self.keys.get(name)
        if method in ("POST", "PUT"):
            if key is None:
                if body.get("type", "aes256-gcm96") != "aes256-gcm96":
                    return 400, _errors(f"unknown key type {body['type']}")
                names = ("derived", "exportable", "allow_plaintext_backup")
                options = {option: bool(body.get(option)) for option in names}
                options |= {"type": "aes256-gcm96", "deletion_allowed": False}
                key = self.keys[name] = TransitKey({1: secrets.token_bytes(32)}, options)
                return 200, _data(key.describe(name))
            return 200, _envelope(data=key.describe(name), warnings=[f"key {name} already existed"])
        if method == "GET":
            return (200, _data(key.describe(name))) if key else (404, _errors())
        if method == "DELETE":
            if key is None:
                return 400, _errors(f"error deleting policy {name}: could not delete key; not found")
            if not key.options["deletion_allowed"]:
                return 400, _errors(f"error deleting policy {name}: deletion is not allowed for this key")
            del self.keys[name]
            return 204, None
        return 405, _errors("unsupported operation")

    def _configure(self, name: str, body: dict[str, Any]) -> Answer:
        key = self.keys.get(name)
        if key is None:
            return 400, _errors(f"no existing key named {name} could be found")
        if key.options["exportable"] and body.get("exportable") is False:
            return 400, _errors("exportable cannot be disabled")
        key.options |= {option: bool(body[option]) for option in ("deletion_allowed", "exportable") if option in body}
        return 200, _data(key.describe(name))

    def _crypt(self, what: str, name: str, body: dict[str, Any]) -> Answer:
        key = self.keys.get(name)
        if key is None:
            return 400, _errors("encryption key not found")
        associated = base64.b64decode(body.get("associated_data") or "")
        if what == "encrypt":
            version = max(key.versions)
            nonce = secrets.token_bytes(12)
            plain = base64.b64decode(body["plaintext"])
            sealed = nonce + AESGCM(key.versions[version]).encrypt(nonce, plain, associated)
            text = f"vault:v{version}:{base64.b64encode(sealed).decode()}"
            return 200, _data({"ciphertext": text, "key_version": version})
        match = re.fullmatch(r"vault:v(\d+):(.+)", body.get("ciphertext") or "")
        if match is None:
            return 400, _errors("invalid ciphertext: no prefix")
        if int(match[1]) not in key.versions:
            return 400, _errors("invalid ciphertext: version is too new")
        sealed = base64.b64decode(match[2])
        try:
            plain = AESGCM(key.versions[int(match[1])]).decrypt(sealed[:12], sealed[12:], associated)
        except InvalidTag:
            return 400, _errors("cipher: message authentication failed")
        return 200, _data({"plaintext": base64.b64encode(plain).decode()})

    def _kv(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        if method == "LIST":
            folder = path.rstrip("/") + "/" if path else ""
            below = {name.removeprefix(folder) for name in self.entries if name.startswith(folder)}
            names = {name if "/" not in name else name.partition("/")[0] + "/" for name in below}
            return (200, _data({"keys": sorted(names)})) if names else (404, _errors())
        if method in ("POST", "PUT"):
            self.entries[path] = body
            return 204, None
        if method == "GET":
            return (200, _data(self.entries[path])) if path in self.entries else (404, _errors())
        if method == "DELETE":
            self.entries.pop(path, None)
            return 204, None
        return 405, _errors("unsupported operation")

    def _kv2(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        advice = "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints."
        return 404, _envelope(warnings=[advice])


def _errors(*sentences: str) -> dict[str, Any]:
    return {"errors": list(sentences)}


def _data(data: dict[str, Any]) -> dict[str, Any]:
    return _envelope(data=data)


def _envelope(**parts: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"request_id": str(uuid.uuid4()), "lease_id": "", "renewable": False, "lease_duration": 0}
    return {**empty, "data": None, "wrap_info": None, "warnings": None, "auth": None, **parts}


def _handler(vault: FakeVault) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body in one packet; two would wait for the client's delayed acknowledgement.
        wbufsize = 1 << 16

        def _serve(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(size) if size else b""
            path, _, query = self.path.removeprefix("/v1/").partition("?")
            method = "LIST" if self.command == "GET" and "list=true" in query else self.command
            status, body = vault.answer(method, path.strip("/"), self.headers, json.loads(raw) if raw else {})
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self._serve
            raise AttributeError(name)

        def log_message(self, format: str, *args: object) -> None:
            return

    return Handler
