"""
Keep roots in HashiCorp Vault or OpenBao, each sealed under a key of the Transit engine that nobody can export.

    roots = open_root_store("vault:shop")        # and VAULT_ADDR, VAULT_TOKEN_FILE in the environment

One Transit key per class and epoch, with deletion allowed from the start. The root, encrypted by that key, and its
deadline stand in a key-value engine of version 1 of the same Vault: one service and one token to look after, the same
for every host. What stands there opens nothing once the Transit key is deleted, so whatever old copies of it exist are
as dead as old copies of the key store. `?transit=<mount>&kv=<mount>` names other mounts than `transit` and `kv`.

Base64 and JSON make copies of a root in this process that cannot be overwritten; the end of the process wipes them.
"""

from __future__ import annotations

import base64
import re
import secrets
import time
from datetime import timedelta
from typing import Any, Final

from storage._key_material import wiped
from storage.errors import IntegrityError, RootLostError, StoreConfigError
from storage.names import ObjectClass
from storage.roots._vault_http import VaultAccess, VaultClient, VaultRefusalError

_MOUNT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_/-]{0,127}")
_UNFINISHED_SECONDS: Final = 3600
_SAFE: Final = {"derived": False, "exportable": False, "allow_plaintext_backup": False, "deletion_allowed": True}


class VaultRootStore:
    """
    A root store in Vault's Transit engine. *namespace* keeps several pools in one Vault apart.

    Raises:
        StoreConfigError: Vault's variables are missing or wrong.
    """

    name: Final = "vault"
    residue_class: Final = "deleted-transit-key"
    bound: Final = (
        "A destroyed root's Transit key is deleted at once and could never be exported; snapshots and backups of "
        "Vault's own storage keep it, sealed by Vault's barrier, for as long as they are kept: that time is the bound. "
        "Transit keys have no deadline of their own: it is enforced by whoever reads a root and by the sweep, by their "
        "clocks. With every process dead, the pool's token ends and nothing of ours opens a root any more, but Vault's "
        "operators still can."
    )

    def __init__(self, namespace: str, access: VaultAccess, *, transit: str = "transit", kv: str = "kv") -> None:
        for mount in (transit, kv):
            if _MOUNT.fullmatch(mount) is None:
                raise StoreConfigError("A mount in a vault: address is letters, digits, '_', '-' and '/'.")
        self._vault = VaultClient(access)
        self._namespace = namespace
        self._transit = transit.strip("/")
        self._shelf = f"{kv.strip('/')}/{namespace}"

    def put(self, object_class: ObjectClass, epoch: int, secret: bytearray, lifetime: timedelta) -> None:
        self._put(f"{object_class.value}-{epoch}", secret, lifetime)

    def get(self, object_class: ObjectClass, epoch: int) -> bytearray:
        return self._get(f"{object_class.value}-{epoch}")

    def renew(self, object_class: ObjectClass, epoch: int, lifetime: timedelta) -> None:
        name = f"{object_class.value}-{epoch}"
        sealed = self._sealed(name)
        # If the root is destroyed between the two, what is written here opens nothing and the sweep takes it away.
        self._vault.call("POST", f"{self._shelf}/{name}", {"sealed": sealed, "deadline": _deadline(lifetime)})

    def destroy(self, object_class: ObjectClass, epoch: int) -> None:
        self._destroy(f"{object_class.value}-{epoch}")

    def epochs(self, object_class: ObjectClass) -> list[int]:
        prefix = f"{object_class.value}-"
        found = (name.removeprefix(prefix) for name in self._keys() if name.startswith(prefix))
        # With those that hold no sealed root (yet): one whose maker was killed must not be overlooked.
        return sorted(int(epoch) for epoch in found if epoch.isdigit() and not self._has_run_out(f"{prefix}{epoch}"))

    def expire(self) -> int:
        # In this order: whatever stands on the shelf had its key before.
        shelf = set(self._list(self._shelf))
        keys = set(self._keys())
        dead = [name for name in shelf if name not in keys or self._has_run_out(name)]
        dead += [name for name in keys - shelf if self._is_abandoned(name)]
        for name in dead:
            self._destroy(name)
        return len(dead)

    def check(self) -> None:
        name = f"check-{secrets.token_hex(4)}"
        with wiped(bytearray(secrets.token_bytes(96))) as secret:
            try:
                self._put(name, secret, timedelta(seconds=30))
                with wiped(self._get(name)) as found:
                    if found != secret:
                        raise StoreConfigError(f"Vault at {self._vault.place} does not give back what is put in it.")
            finally:
                self._destroy(name)
        if name in self._keys():
            raise StoreConfigError(f"Vault at {self._vault.place} still lists a Transit key that was deleted.")

    def remarks(self) -> list[str]:
        return self._vault.remarks()

    def _put(self, name: str, secret: bytearray, lifetime: timedelta) -> None:
        key = self._key(name)
        options = {"type": "aes256-gcm96", "derived": False, "exportable": False, "allow_plaintext_backup": False}
        self._vault.call("POST", key, options)
        self._vault.call("POST", f"{key}/config", {"deletion_allowed": True})
        made = self._data(self._vault.call("GET", key))
        wrong = [option for option, wanted in _SAFE.items() if bool(made.get(option)) is not wanted]
        if wrong:
            raise StoreConfigError(
                f"The Transit key {self._namespace}-{name} in Vault at {self._vault.place} has the wrong {wrong[0]}; "
                "somebody made it before: delete it."
            )
        plain = base64.b64encode(secret).decode("ascii")
        body = {"plaintext": plain, "associated_data": self._bound_to(name)}
        sealed = self._data(self._vault.call("POST", f"{self._transit}/encrypt/{self._namespace}-{name}", body))
        entry = {"sealed": str(sealed["ciphertext"]), "deadline": _deadline(lifetime)}
        self._vault.call("POST", f"{self._shelf}/{name}", entry)

    def _get(self, name: str) -> bytearray:
        body = {"ciphertext": self._sealed(name), "associated_data": self._bound_to(name)}
        try:
            answer = self._vault.call("POST", f"{self._transit}/decrypt/{self._namespace}-{name}", body)
        except VaultRefusalError as refusal:
            # A missing key is a 400 like every other refusal; only Vault's words tell, and a wrong guess shreds.
            if refusal.says("encryption key not found"):
                raise self._lost(name) from None
            raise IntegrityError(
                f"Vault at {self._vault.place} does not open the sealed root {name}: it was changed or swapped."
            ) from None
        return bytearray(base64.b64decode(str(self._data(answer)["plaintext"])))

    def _sealed(self, name: str) -> str:
        """Return the sealed root; one that has run out is destroyed here."""
        entry = self._vault.call("GET", f"{self._shelf}/{name}")
        if entry is None:
            raise self._lost(name)
        data = self._data(entry)
        if _over(data):
            self._destroy(name)
            raise self._lost(name)
        return str(data["sealed"])

    def _destroy(self, name: str) -> None:
        key = self._key(name)
        try:
            self._vault.call("DELETE", key)
        except VaultRefusalError as refusal:
            if refusal.says("deletion is not allowed"):
                # Its maker was killed between making the key and allowing this.
                self._vault.call("POST", f"{key}/config", {"deletion_allowed": True})
                self._vault.call("DELETE", key)
            elif not refusal.says("could not delete key; not found"):
                raise StoreConfigError(
                    f"Vault at {self._vault.place} does not delete the Transit key {self._namespace}-{name}; see its "
                    "log."
                ) from None
        self._vault.call("DELETE", f"{self._shelf}/{name}")

    def _is_abandoned(self, name: str) -> bool:
        """Whether a key without a sealed root is too old to be in the making."""
        key = self._vault.call("GET", self._key(name))
        made = (self._data(key).get("keys") or {}).values() if key else ()
        return any(int(moment) < time.time() - _UNFINISHED_SECONDS for moment in made)

    def _has_run_out(self, name: str) -> bool:
        entry = self._vault.call("GET", f"{self._shelf}/{name}")
        return entry is not None and _over(self._data(entry))

    def _keys(self) -> list[str]:
        prefix = f"{self._namespace}-"
        return [key.removeprefix(prefix) for key in self._list(f"{self._transit}/keys") if key.startswith(prefix)]

    def _list(self, path: str) -> list[str]:
        answer = self._vault.call("LIST", path)
        return [] if answer is None else [str(name) for name in self._data(answer).get("keys") or ()]

    def _key(self, name: str) -> str:
        return f"{self._transit}/keys/{self._namespace}-{name}"

    def _bound_to(self, name: str) -> str:
        return base64.b64encode(f"dayfly-root/1|{self._namespace}|{name}".encode()).decode("ascii")

    def _data(self, answer: dict[str, Any] | None) -> dict[str, Any]:
        data = (answer or {}).get("data")
        if not isinstance(data, dict):
            raise StoreConfigError(f"What answers at {self._vault.place} is not Vault; check VAULT_ADDR.")
        return data

    def _lost(self, name: str) -> RootLostError:
        return RootLostError(
            f"The root {name} is not in Vault at {self._vault.place}: it was destroyed, ran out, or was never there."
        )


def _deadline(lifetime: timedelta) -> int:
    return int((time.time() + lifetime.total_seconds()) * 1000)


def _over(entry: dict[str, Any]) -> bool:
    return int(entry.get("deadline") or 0) <= time.time() * 1000
