"""
Wrap object keys to a root with HPKE: ML-KEM-768 with X25519, HKDF-SHA256, AES-256-GCM.

Whoever holds only the public half can wrap and never unwrap. `info` is the object's associated data, so a wrapped key
moved to another object's row does not unwrap. A root's secret is kept as 96 raw bytes in a `bytearray`: the 64-byte
ML-KEM seed, then the 32-byte X25519 key.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from storage._key_material import random_key, wipe_bytes
from storage.errors import IntegrityError

SECRET_BYTES: Final = 96
PUBLIC_BYTES: Final = 1184 + 32
_SEED: Final = 64
_KEM_PUBLIC: Final = 1184
_suite: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class UnwrappingRoot:
    """
    A root's secret half, ready to unwrap.

    Building one costs about as much as one unwrapping, so a rotation builds it once. It holds the secret in the
    library's own memory, which is cleared when this object goes: keep it no longer than the work at hand.
    """

    def __init__(self, secret: bytearray) -> None:
        view = memoryview(secret)
        self._key = MLKEM768X25519PrivateKey(
            MLKEM768PrivateKey.from_seed_bytes(view[:_SEED]), X25519PrivateKey.from_private_bytes(view[_SEED:])
        )

    def unwrap(self, wrapped: bytes, info: bytes) -> bytearray:
        """
        Return the object key in *wrapped*; the caller overwrites it.

        Raises:
            IntegrityError: It was wrapped to another root, for another object, or was changed.
        """
        try:
            immutable = _suite.decrypt(wrapped, self._key, info)
            key = bytearray(immutable)
            # Made by the call above and held by nobody else.
            wipe_bytes(immutable)
            return key
        except (InvalidTag, ValueError):
            raise IntegrityError(
                "The object's key does not unwrap: its key row was changed or swapped with another one."
            ) from None


def new_root() -> tuple[bytearray, bytes]:
    """Make a root; return its secret half, which the caller overwrites, and its public half."""
    secret = random_key(SECRET_BYTES)
    view = memoryview(secret)
    kem = MLKEM768PrivateKey.from_seed_bytes(view[:_SEED])
    exchange = X25519PrivateKey.from_private_bytes(view[_SEED:])
    return secret, kem.public_key().public_bytes_raw() + exchange.public_key().public_bytes_raw()


def wrap(key: bytearray, public: bytes, info: bytes) -> bytes:
    """
    Wrap *key* to the root whose public half is *public*.

    Raises:
        IntegrityError: *public* is not the public half of a root.
    """
    return _suite.encrypt(key, _public_key(public), info)


# Reading a public key costs a fifth of a wrapping; the two classes have one current root each.
@lru_cache(maxsize=8)
def _public_key(public: bytes) -> MLKEM768X25519PublicKey:
    if len(public) != PUBLIC_BYTES:
        raise IntegrityError(
            "The public half of the root in the key store was changed; rotate the roots to replace it."
        )
    return MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(public[:_KEM_PUBLIC]),
        X25519PublicKey.from_public_bytes(public[_KEM_PUBLIC:]),
    )
