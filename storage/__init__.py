"""
Sealed objects: ciphertext in a blob store, wrapped keys in Redis, roots where they can be forgotten.

    keys = KeyStore(redis.Redis.from_url("redis://localhost/0"))
    roots = open_root_store("keyring:shop")
    Rotator(keys, roots, ObjectClass.UPLOAD, timedelta(hours=1)).ensure()
    store = SealedStore(keys, open_blob_store("file:///var/lib/dayfly/blobs"), {ObjectClass.UPLOAD: roots})
    sealed = store.seal(b"photo", object_class=ObjectClass.UPLOAD, deadline=soon, ceiling=tomorrow)
    store.shred([sealed.ref], ShredReason.DONE)
"""

from __future__ import annotations

from storage.blobs import BlobInfo, BlobSink, BlobStore, BlobWeakness, HasLifecycle, Weakness, open_blob_store
from storage.errors import (
    BlobExistsError,
    CiphertextMissingError,
    DeadlineError,
    IntegrityError,
    NotReplicatedError,
    ObjectShreddedError,
    RootElsewhereError,
    RootLostError,
    StaleRootError,
    StorageError,
    StoreConfigError,
    StoreFullError,
    StoreUnavailableError,
    UnknownObjectError,
)
from storage.faults import FaultPoint, reach
from storage.key_answers import ClassFigures, KeyFigures, KeyRow, Live, Shredded, ShredOutcome, Status, Unknown
from storage.keystore import KeyStore
from storage.names import (
    ObjectClass,
    ObjectId,
    ObjectRef,
    ShredReason,
    associated_data,
    ceiling_hour,
    new_object_id,
)
from storage.policies import RetentionPolicy, load_policies, longest_lives
from storage.receipts import OutboxDrain, Receipt
from storage.restoring import RestoreHealer, RestoreReport
from storage.root_records import PublicRoot
from storage.roots import RootStore, open_root_store
from storage.rotation import RotationReport, Rotator
from storage.store import Sealed, SealedStore
from storage.sweeping import ObjectSweep

__all__ = [
    "BlobExistsError",
    "BlobInfo",
    "BlobSink",
    "BlobStore",
    "BlobWeakness",
    "CiphertextMissingError",
    "ClassFigures",
    "DeadlineError",
    "FaultPoint",
    "HasLifecycle",
    "IntegrityError",
    "KeyFigures",
    "KeyRow",
    "KeyStore",
    "Live",
    "NotReplicatedError",
    "ObjectClass",
    "ObjectId",
    "ObjectRef",
    "ObjectShreddedError",
    "ObjectSweep",
    "OutboxDrain",
    "PublicRoot",
    "Receipt",
    "RestoreHealer",
    "RestoreReport",
    "RetentionPolicy",
    "RootElsewhereError",
    "RootLostError",
    "RootStore",
    "RotationReport",
    "Rotator",
    "Sealed",
    "SealedStore",
    "ShredOutcome",
    "ShredReason",
    "Shredded",
    "StaleRootError",
    "Status",
    "StorageError",
    "StoreConfigError",
    "StoreFullError",
    "StoreUnavailableError",
    "Unknown",
    "UnknownObjectError",
    "Weakness",
    "associated_data",
    "ceiling_hour",
    "load_policies",
    "longest_lives",
    "new_object_id",
    "open_blob_store",
    "open_root_store",
    "reach",
]
