"""
TLS in front of a server that has none: the wheel's Valkey is built without it.

    with TlsProxy(server.socket, folder) as proxy:
        proxy.url, proxy.ca, proxy.client_certificate, proxy.client_key

A real handshake with certificates made here, the client's asked for and checked; behind it bytes are passed on as they
are.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class TlsProxy:
    """One listener on loopback in front of one unix socket. *wants_client* asks every client for a certificate."""

    def __init__(self, upstream: Path, folder: Path, *, wants_client: bool = True) -> None:
        self._upstream = upstream
        folder.mkdir(parents=True, exist_ok=True)
        authority, signer = _authority()
        self.ca = _written(folder / "ca.pem", authority.public_bytes(serialization.Encoding.PEM))
        server_certificate, server_key = _certificate(folder, "server", authority, signer)
        self.client_certificate, self.client_key = _certificate(folder, "client", authority, signer)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(server_certificate, server_key)
        if wants_client:
            self._context.load_verify_locations(self.ca)
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        """The address with everything that a client needs."""
        files = f"ssl_ca_certs={self.ca}&ssl_certfile={self.client_certificate}&ssl_keyfile={self.client_key}"
        return f"rediss://127.0.0.1:{self.port}/0?{files}"

    def __enter__(self) -> TlsProxy:
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for each in self._open:
            each.close()

    def _spawn(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]  # a function
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self._spawn(self._serve, plain)

    def _serve(self, plain: socket.socket) -> None:
        self._open.append(plain)
        try:
            secured = self._context.wrap_socket(plain, server_side=True)
        except OSError:
            return
        self._open.append(secured)
        behind = socket.socket(socket.AF_UNIX)
        self._open.append(behind)
        behind.connect(str(self._upstream))
        self._spawn(_pass_on, behind, secured)
        _pass_on(secured, behind)


def server_context(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Make what a server on loopback shows, and the file of the authority by which it is believed."""
    authority, signer = _authority()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*_certificate(folder, "server", authority, signer))
    return context, _written(folder / "ca.pem", authority.public_bytes(serialization.Encoding.PEM))


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(65_536):
            target.sendall(content)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(subject: str, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name("dayfly test authority"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )


def _authority() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    return _builder("dayfly test authority", key, ca=True).sign(key, hashes.SHA256()), key


def _certificate(
    folder: Path, name: str, authority: x509.Certificate, signer: ec.EllipticCurvePrivateKey
) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    place = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = _builder(name, key, ca=False).add_extension(place, critical=False).sign(signer, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return (
        _written(folder / f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM)),
        _written(folder / f"{name}.key", pem),
    )
