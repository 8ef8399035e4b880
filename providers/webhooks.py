"""
Verify that a webhook comes from the provider it claims to come from.

    verify_standard(headers, body, secret, now=datetime.now(UTC))
    verify_fal(headers, body, keys, now=datetime.now(UTC))
    verify_hedra(headers, body, hedra_key(text), now=datetime.now(UTC))

What is verified is a wake-up and nothing else: whatever the body says, the task is asked for. Pure functions: who
calls them brings secrets, keys and the time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

TOLERANCE: Final = timedelta(minutes=5)
"""How far a webhook's time may be from ours."""


class ForgedWebhookError(Exception):
    """A webhook is not what it claims to be, or is too old. The message names no part of it."""


def verify_standard(headers: Mapping[str, str], body: bytes, secret: str, *, now: datetime) -> None:
    """
    Verify a signature as Standard Webhooks describes it (Replicate, OpenAI): HMAC-SHA256 over id, time and body.

    Args:
        headers: By lowercase name.
        secret: As the provider shows it: ``whsec_`` and base64.

    Raises:
        ForgedWebhookError: A header is missing, the time is off, or no signature fits.
    """
    try:
        given, sent_at, signatures = (headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError:
        raise ForgedWebhookError("A header of the signature is missing.") from None
    _check_time(sent_at, now)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = hmac.new(key, b".".join((given.encode(), sent_at.encode(), body)), hashlib.sha256).digest()
    for signature in signatures.split(" "):
        version, _, value = signature.partition(",")
        if version == "v1" and hmac.compare_digest(_decoded(value), expected):
            return
    raise ForgedWebhookError("No signature fits.")


def verify_fal(headers: Mapping[str, str], body: bytes, keys: Iterable[Ed25519PublicKey], *, now: datetime) -> None:
    """
    Verify fal's signature: Ed25519 over request id, user id, time and the hash of the body, each on its own line.

    The layout is that of the vendor's page as far as it could be read; it was not run against the vendor.

    Raises:
        ForgedWebhookError: A header is missing, the time is off, or the signature is of none of the *keys*.
    """
    try:
        request_id, user_id, sent_at, signature = (
            headers[f"x-fal-webhook-{name}"] for name in ("request-id", "user-id", "timestamp", "signature")
        )
        raw = bytes.fromhex(signature)
    except (KeyError, ValueError):
        raise ForgedWebhookError("A header of the signature is missing or malformed.") from None
    _check_time(sent_at, now)
    message = "\n".join((request_id, user_id, sent_at, hashlib.sha256(body).hexdigest())).encode()
    for key in keys:
        try:
            key.verify(raw, message)
        except InvalidSignature:
            continue
        return
    raise ForgedWebhookError("The signature is of none of the published keys.")


def verify_hedra(headers: Mapping[str, str], body: bytes, key: Ed25519PublicKey, *, now: datetime) -> None:
    """
    Verify Hedra's signature: Ed25519 over time, id, event, whether it is repeated, and the hash of the body, by lines.

    That it is Ed25519, the form of the key and the headers for id, event and repetition are those of the vendor's SDK
    7.0.0; the other two headers and the layout are known from one other reader of the vendor's pages, and were not run
    against the vendor.

    Raises:
        ForgedWebhookError: A header is missing, the time is off, or the signature is not that of the *key*.
    """
    try:
        given, event, sent_at, signature = (
            headers[f"x-hedra-webhook-{name}"] for name in ("id", "event", "timestamp", "signature")
        )
        raw = bytes.fromhex(signature)
    except (KeyError, ValueError):
        raise ForgedWebhookError("A header of the signature is missing or malformed.") from None
    _check_time(sent_at, now)
    repeated = headers.get("x-hedra-webhook-redelivery", "false")
    message = "\n".join((sent_at, given, event, repeated, hashlib.sha256(body).hexdigest())).encode()
    try:
        key.verify(raw, message)
    except InvalidSignature:
        raise ForgedWebhookError("The signature is not that of the public key.") from None


def hedra_key(text: str) -> Ed25519PublicKey:
    """
    Read Hedra's public key as its API shows it, in base64.

    Raises:
        ValueError: It is no such key.
    """
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))


def fal_keys(document: Any) -> list[Ed25519PublicKey]:
    """Read the keys that fal publishes (a JWK set); what is no Ed25519 key is passed over."""
    listed = document.get("keys") if isinstance(document, dict) else None
    keys = []
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("x"), str):
            raw = _decoded(entry["x"].replace("-", "+").replace("_", "/"))
            if len(raw) == 32:
                keys.append(Ed25519PublicKey.from_public_bytes(raw))
    return keys


def _check_time(sent_at: str, now: datetime) -> None:
    if not (sent_at.isascii() and sent_at.isdigit() and len(sent_at) <= 12):
        raise ForgedWebhookError("The time is no time.")
    if abs(now - datetime.fromtimestamp(int(sent_at), UTC)) > TOLERANCE:
        raise ForgedWebhookError("The time is too far from ours.")


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4))
    except (binascii.Error, ValueError):
        return b""
