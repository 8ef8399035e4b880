"""
Keep roots in AWS KMS, each sealed under a KMS key whose material we made, imported and forgot.

    roots = open_root_store("kms:shop")          # region and credentials as boto3 finds them

For every root a KMS key of external origin is made. Its material is drawn here, imported with an expiry and
overwritten at once; then KMS encrypts the root, bound to its class and epoch by the encryption context, and the result
stands in the key's description: no second store, and every host with the same rights sees it. Descriptions appear in
CloudTrail, and may: without the material they open nothing, and material that was deleted or has expired is nowhere
any more.

KMS cannot move the expiry of material it has, and we cannot import again what we forgot. So a root is renewed by
sealing it once more under a new KMS key and deleting the old material; that is done when less than half of its
lifetime is left. Aliases, `alias/dayfly/<namespace>/<class>/<epoch>/<serial>`, tell which KMS keys seal which root. The
empty shells of KMS keys are scheduled for deletion, which takes AWS seven days and keeps nothing that matters.

Base64 and JSON make copies of a root in this process that cannot be overwritten; the end of the process wipes them.
"""

from __future__ import annotations

import base64
import logging
import math
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import boto3
from botocore.config import Config
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from storage._key_material import random_key, wipe_bytes, wiped
from storage.errors import RootLostError, StorageError, StoreConfigError
from storage.names import ObjectClass
from storage.roots._kms_errors import KmsGoneError, translated

_Answer = TypeVar("_Answer")

_UNSEALED: Final = "Dayfly root, not sealed yet"
_SEALED: Final = "Dayfly root, sealed: "
_DESTROYED: Final = "Dayfly root, destroyed"
_SHORTEST_WAIT_DAYS: Final = 7
# A key that nobody finished for so long was left by a crash.
_UNFINISHED: Final = timedelta(hours=1)
# Expiry is in whole seconds, rounded up.
_ROUNDING: Final = timedelta(seconds=2)
# What KMS has just answered may be unknown to it for some seconds.
_PATIENCE_SECONDS: Final = 20.0

# At level debug, botocore logs the bodies of requests and answers, and roots are among these.
logging.getLogger("botocore").setLevel(logging.INFO)


@dataclass(frozen=True, slots=True)
class _Copy:
    """One KMS key that seals a root, as KMS describes it."""

    alias: str
    key_id: str
    state: str
    description: str = field(repr=False)
    created: datetime
    expires: datetime | None

    @property
    def epoch(self) -> str:
        return self.alias.rsplit("/", 2)[1]

    @property
    def dead(self) -> bool:
        """Whether its material is gone."""
        return self.state == "PendingImport" or self.description == _DESTROYED

    @property
    def sealed(self) -> bytes:
        return base64.b64decode(self.description.removeprefix(_SEALED))


class KmsRootStore:
    """
    A root store in AWS KMS. *namespace* (letters, digits, `_`, `-`) keeps several pools in one account apart.

    Raises:
        StoreConfigError: boto3 finds no region, or the endpoint is not encrypted.
    """

    name: Final = "kms"
    residue_class: Final = "deleted-imported-material"
    bound: Final = (
        "KMS deletes the material of a destroyed root at once, and of one that nobody renewed at its expiry, with no "
        "process of ours alive; nobody holds another copy, so AWS itself cannot bring it back. Its machines may take "
        "some seconds to learn of it. A renewed root lives between half of its lifetime and the whole of it."
    )

    def __init__(self, namespace: str) -> None:
        self._root = f"alias/dayfly/{namespace}/"
        self._namespace = namespace
        with translated():
            self._kms: Any = boto3.session.Session().client(
                "kms",
                config=Config(
                    connect_timeout=3,
                    read_timeout=10,
                    retries={"mode": "standard", "total_max_attempts": 2},
                    user_agent_extra="dayfly",
                ),
            )
        endpoint = str(self._kms.meta.endpoint_url)
        if not endpoint.startswith(("https://", "http://127.0.0.1:", "http://localhost:", "http://[::1]:")):
            raise StoreConfigError("The endpoint of KMS would send every root unencrypted; use https://.")
        # Key ids and sealed roots only; no root.
        self._known: dict[tuple[str, int], _Copy] = {}

    def put(self, object_class: ObjectClass, epoch: int, secret: bytearray, lifetime: timedelta) -> None:
        self._put(object_class.value, epoch, secret, lifetime)

    def get(self, object_class: ObjectClass, epoch: int) -> bytearray:
        return self._get(object_class.value, epoch)

    def renew(self, object_class: ObjectClass, epoch: int, lifetime: timedelta) -> None:
        place = object_class.value, epoch
        self._known.pop(place, None)
        left = (self._find(*place).expires or datetime.now(UTC)) - datetime.now(UTC)
        if lifetime / 2 <= left <= lifetime + _ROUNDING:
            return
        old = self._copies(f"{object_class.value}/{epoch}/")
        with wiped(self._get(*place)) as secret:
            self._put(*place, secret, lifetime)
        if len(self._aliases(f"{object_class.value}/{epoch}/")) == 1:
            # Somebody destroyed the root meanwhile; it must not live on in the new copy.
            self.destroy(object_class, epoch)
            raise self._lost(*place)
        for copy in old:
            self._kill(copy.alias, copy.key_id)

    def destroy(self, object_class: ObjectClass, epoch: int) -> None:
        self._destroy(object_class.value, epoch)

    def epochs(self, object_class: ObjectClass) -> list[int]:
        # Also what a crash left while a root was made, if it has material.
        copies = self._copies(f"{object_class.value}/")
        return sorted({int(copy.epoch) for copy in copies if not copy.dead and copy.epoch.isdigit()})

    def expire(self) -> int:
        cleared = 0
        for copy in self._copies(""):
            unfinished = copy.description == _UNSEALED and datetime.now(UTC) - copy.created < _UNFINISHED
            if copy.dead and not unfinished:
                self._kill(copy.alias, copy.key_id)
                cleared += 1
        return cleared

    def check(self) -> None:
        probe = f"check-{secrets.token_hex(4)}"
        with wiped(bytearray(secrets.token_bytes(96))) as secret:
            try:
                self._put(probe, 0, secret, timedelta(minutes=5))
                with wiped(self._get(probe, 0)) as found:
                    if found != secret:
                        raise StoreConfigError("KMS does not give back what is sealed by it.")
            finally:
                self._destroy(probe, 0)

    def remarks(self) -> list[str]:
        return []

    def _put(self, object_class: str, epoch: int, secret: bytearray, lifetime: timedelta) -> None:
        copy = self._make(object_class, epoch, secret, lifetime)
        self._known[object_class, epoch] = copy
        # Not before every process can find it: a root that another one does not see yet would seem lost to it.
        _until_seen(lambda: self._seen(copy))

    def _make(self, object_class: str, epoch: int, secret: bytearray, lifetime: timedelta) -> _Copy:
        alias = f"{self._root}{object_class}/{epoch}/{secrets.token_hex(4)}"
        with translated():
            key_id = self._kms.create_key(
                Description=_UNSEALED,
                KeySpec="SYMMETRIC_DEFAULT",
                KeyUsage="ENCRYPT_DECRYPT",
                Origin="EXTERNAL",
                Tags=[{"TagKey": "dayfly", "TagValue": self._namespace}],
            )["KeyMetadata"]["KeyId"]
        try:
            _until_seen(lambda: self._call("create_alias", AliasName=alias, TargetKeyId=key_id))
            expires = datetime.fromtimestamp(math.ceil(time.time() + lifetime.total_seconds()), UTC)
            self._import_material(key_id, expires)
            sealed = _until_seen(
                lambda: self._call(
                    "encrypt", KeyId=key_id, Plaintext=secret, EncryptionContext=self._context(object_class, epoch)
                )
            )["CiphertextBlob"]
            description = _SEALED + base64.b64encode(sealed).decode("ascii")
            self._call("update_key_description", KeyId=key_id, Description=description)
        except BaseException:
            # If KMS is away too, the material dies at its expiry and the sweep clears the rest.
            with suppress(StorageError):
                self._kill(alias, key_id)
            raise
        return _Copy(alias, key_id, "Enabled", description, datetime.now(UTC), expires)

    def _import_material(self, key_id: str, expires: datetime) -> None:
        parameters = _until_seen(
            lambda: self._call(
                "get_parameters_for_import",
                KeyId=key_id,
                WrappingAlgorithm="RSAES_OAEP_SHA_256",
                WrappingKeySpec="RSA_4096",
            )
        )
        public = load_der_public_key(parameters["PublicKey"])
        if not isinstance(public, RSAPublicKey):
            raise StoreConfigError("KMS offers no RSA key to import material with.")
        with wiped(random_key()) as drawn:
            # The library takes immutable bytes only; this copy is ours alone until it is overwritten.
            material = bytes(drawn)
            try:
                encrypted = public.encrypt(material, OAEP(mgf=MGF1(SHA256()), algorithm=SHA256(), label=None))
            finally:
                wipe_bytes(material)
        self._call(
            "import_key_material",
            KeyId=key_id,
            ImportToken=parameters["ImportToken"],
            EncryptedKeyMaterial=encrypted,
            ExpirationModel="KEY_MATERIAL_EXPIRES",
            ValidTo=expires,
        )

    def _get(self, object_class: str, epoch: int) -> bytearray:
        place = object_class, epoch
        for copy in (self._known.get(place), None):
            found = copy or self._find(*place)
            try:
                opened = self._call(
                    "decrypt", KeyId=found.key_id, CiphertextBlob=found.sealed, EncryptionContext=self._context(*place)
                )
            except KmsGoneError:
                # Gone, or renewed under another KMS key by another process.
                self._known.pop(place, None)
                continue
            self._known[place] = found
            return bytearray(opened["Plaintext"])
        raise self._lost(*place)

    def _find(self, object_class: str, epoch: int) -> _Copy:
        copies = [copy for copy in self._copies(f"{object_class}/{epoch}/") if copy.description.startswith(_SEALED)]
        usable = [copy for copy in copies if copy.state == "Enabled"]
        if usable:
            return max(usable, key=lambda copy: copy.expires or copy.created)
        blocked = [copy for copy in copies if not copy.dead]
        if blocked:
            raise StoreConfigError(
                f"The KMS key {blocked[0].key_id} of a root is {blocked[0].state}: somebody stopped it; enable it, or "
                "cancel its deletion."
            )
        raise self._lost(object_class, epoch)

    def _destroy(self, object_class: str, epoch: int) -> None:
        self._known.pop((object_class, epoch), None)
        for alias, key_id in self._aliases(f"{object_class}/{epoch}/").items():
            self._kill(alias, key_id)

    def _kill(self, alias: str, key_id: str) -> None:
        # The material first: from here on nothing opens. What follows can be repeated, as the alias goes last.
        with suppress(KmsGoneError):
            self._call("delete_imported_key_material", KeyId=key_id)
        with suppress(KmsGoneError):
            self._call("update_key_description", KeyId=key_id, Description=_DESTROYED)
        with suppress(KmsGoneError):
            self._call("schedule_key_deletion", KeyId=key_id, PendingWindowInDays=_SHORTEST_WAIT_DAYS)
        with suppress(KmsGoneError):
            self._call("delete_alias", AliasName=alias)

    def _copies(self, below: str) -> list[_Copy]:
        found = []
        for alias, key_id in self._aliases(below).items():
            with suppress(KmsGoneError):
                found.append(self._describe(alias, key_id))
        return found

    def _describe(self, alias: str, key_id: str) -> _Copy:
        about = self._call("describe_key", KeyId=key_id)["KeyMetadata"]
        return _Copy(
            alias, key_id, about["KeyState"], about.get("Description", ""), about["CreationDate"], about.get("ValidTo")
        )

    def _aliases(self, below: str) -> dict[str, str]:
        with translated():
            pages = self._kms.get_paginator("list_aliases").paginate(PaginationConfig={"PageSize": 100})
            return {
                entry["AliasName"]: entry["TargetKeyId"]
                for page in pages
                for entry in page["Aliases"]
                if entry["AliasName"].startswith(self._root + below) and "TargetKeyId" in entry
            }

    def _seen(self, copy: _Copy) -> None:
        if copy.alias not in self._aliases(copy.alias.removeprefix(self._root)):
            raise KmsGoneError
        if self._describe(copy.alias, copy.key_id).description != copy.description:
            raise KmsGoneError

    def _context(self, object_class: str, epoch: int) -> dict[str, str]:
        return {"dayfly": self._namespace, "class": object_class, "epoch": str(epoch)}

    def _call(self, operation: str, **parameters: Any) -> Any:
        with translated():
            return getattr(self._kms, operation)(**parameters)

    def _lost(self, object_class: str, epoch: int) -> RootLostError:
        return RootLostError(
            f"The root of epoch {epoch} of class {object_class} is not in KMS: it was destroyed, or its material has "
            "expired."
        )


def _until_seen(act: Callable[[], _Answer]) -> _Answer:
    """Repeat *act* while KMS does not know yet what it has just made."""
    pause, give_up = 0.1, time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return act()
        except KmsGoneError:
            if time.monotonic() + pause > give_up:
                raise
        time.sleep(pause)
        pause = min(2.0, pause * 2)
