"""
The statement of cryptographic erase features that NIST SP 800-88 (appendix E) asks of a vendor, for one deployment.

    print(json.dumps(statement(Settings.load(), root_stores)))

The ten points are the appendix's; what stands in them is what this code does and what the settings make of it.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from storage import ObjectClass, RootStore
from worker.home import blobs_url
from worker.settings import Settings

_ROOTS: Final = {
    "keyring": "the kernel's memory; the kernel enforces the deadline",
    "volatile": "files on a memory-backed file system; readers and the sweep enforce the deadline",
    "file": "files on a disk; overwritten and deleted, best effort on flash and copy-on-write file systems",
    "redis": "the memory of a server without persistence, which enforces the deadline",
    "vault": "Vault or OpenBao Transit; snapshots of its storage keep a deleted key behind its barrier",
    "kms": "AWS KMS imported key material; deleted at once, or by itself at its expiry",
}


def statement(settings: Settings, root_stores: Mapping[ObjectClass, RootStore]) -> dict[str, Any]:
    """
    Give the ten points as plain values, without anything secret.

    Raises:
        SettingsError: The home folder cannot be made.
    """
    rotation = {
        ObjectClass.UPLOAD: settings.rotation_uploads_seconds,
        ObjectClass.OUTPUT: settings.rotation_outputs_seconds,
    }
    lifetime = {
        ObjectClass.UPLOAD: settings.root_lifetime_uploads_seconds,
        ObjectClass.OUTPUT: settings.root_lifetime_outputs_seconds,
    }
    return {
        "product": f"dayfly {importlib.metadata.version('dayfly')}",
        "key_generation": "256 random bits for each object from the operating system's generator (getrandom); roots are"
        " ML-KEM-768 with X25519 key pairs made by OpenSSL",
        "media_encryption": "Tink streaming AEAD AES256-GCM-HKDF with 1 MiB segments, bound to the object's class and"
        " id; applied while data arrives, before it reaches any disk or service",
        "key_level_and_wrapping": "one key per object, wrapped with HPKE (ML-KEM-768 and X25519, HKDF-SHA256,"
        " AES-256-GCM) to the root of its class's current epoch; no wrapped key lies in or beside the object",
        "data_areas_addressed": {
            "encrypted": ["uploads", "prompts and parameters", "results of providers", "renditions"],
            "blob_store": urlsplit(blobs_url(settings)).scheme,
            "in_clear_and_not_erased": "job records without content: names of recipe, provider and policy, states,"
            " times and sizes, and a keyed hash of the subject",
        },
        "key_lifecycle": {
            name.value: {
                "root_store": store.name,
                "where_roots_are": _ROOTS[store.name],
                "rotation_seconds": rotation[name],
                "root_dies_by_itself_after_seconds": lifetime[name],
                "previous_wrapped_instances": "copies of the key store hold keys under former roots; these are"
                " destroyed at every rotation, so that, as far as the root store forgets, no copy opens what was"
                f" shredded more than {rotation[name]} s and the time of one rotation ago",
            }
            for name, store in root_stores.items()
        },
        "key_sanitisation_technique": {
            name.value: {
                "object_key": "its wrapped form is deleted from the key store in one atomic step with a tombstone",
                "root": _ROOTS[store.name],
                "class": store.residue_class,
            }
            for name, store in root_stores.items()
        },
        "escrow_or_injection": "none: keys are neither exported, escrowed nor injected"
        + ("; the importer's copy of KMS material is overwritten" if _uses(root_stores, "kms") else ""),
        "error_handling": "a shred either happened or raises; what a crash leaves is finished by the sweep; every key"
        " has a deadline that the key store enforces by itself; ciphertext is deleted as well as its key, and receipts"
        " tell both creation and destruction of every key",
        "interface": "a job's end; Client.cancel, Client.shred, Client.erase; 'dayfly job cancel', 'dayfly job shred',"
        " 'dayfly erase --subject'; each answers with the time of the destruction",
    }


def _uses(root_stores: Mapping[ObjectClass, RootStore], name: str) -> bool:
    return any(store.name == name for store in root_stores.values())
