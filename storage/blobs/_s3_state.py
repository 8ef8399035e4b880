"""
Look at how a bucket is set up, judge what that does to the promises, and make its lifecycle rules.

What would keep, copy or show ciphertext in spite of a deletion breaks a promise. What would only let something linger
after a crash weakens one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from storage.blobs._s3_bucket import Bucket
from storage.blobs.protocol import BlobWeakness, Weakness
from storage.errors import StoreConfigError
from storage.names import ObjectClass

_EVERYBODY: Final = ("/groups/global/AllUsers", "/groups/global/AuthenticatedUsers")
_DAY: Final = timedelta(days=1)

# What is asked, and the codes by which a service says that nothing of the kind is set.
_QUESTIONS: Final[Mapping[str, frozenset[str]]] = {
    "get_bucket_versioning": frozenset(),
    "get_object_lock_configuration": frozenset(
        {"ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration"}
    ),
    "get_bucket_replication": frozenset({"ReplicationConfigurationNotFoundError"}),
    "get_bucket_policy_status": frozenset({"NoSuchBucketPolicy"}),
    "get_bucket_acl": frozenset({"AccessControlListNotSupported"}),
    "get_public_access_block": frozenset({"NoSuchPublicAccessBlockConfiguration"}),
    "get_bucket_lifecycle_configuration": frozenset({"NoSuchLifecycleConfiguration"}),
}
_NOT_GIVEN: Final = frozenset({"AccessDenied", "403"})


@dataclass(frozen=True, slots=True)
class BucketState:
    """What a bucket answered. An empty answer means that nothing is set; one that is `None` was refused."""

    answers: Mapping[str, Mapping[str, Any] | None]
    prefix: str

    @property
    def broken(self) -> Sequence[str]:
        """What breaks a promise, each as the rest of a sentence that begins with the bucket."""
        return [*self._broken()]

    @property
    def versioned(self) -> bool:
        """Whether the bucket keeps old versions, or has kept some."""
        return self._of("get_bucket_versioning").get("Status") in ("Enabled", "Suspended")

    @property
    def rules(self) -> list[dict[str, Any]]:
        """The lifecycle rules that are on and hold for every object of ours."""
        rules = self._of("get_bucket_lifecycle_configuration").get("Rules", ())
        return [rule for rule in rules if rule.get("Status") == "Enabled"]

    def weaknesses(self, bucket: Bucket, longest: Mapping[ObjectClass, timedelta]) -> Iterator[BlobWeakness]:
        """Yield what weakens a promise; *longest* is the longest life of an object of each class."""
        everything = [rule for rule in self.rules if _covers(rule, bucket.key(""))]
        if self.versioned and not any("NoncurrentVersionExpiration" in rule for rule in everything):
            yield BlobWeakness(
                Weakness.VERSIONS,
                "versions are kept and no rule ends them",
                "set the lifecycle rules (dayfly doctor --fix): Dayfly deletes every version, a rule what others leave",
            )
        if not any("AbortIncompleteMultipartUpload" in rule for rule in everything):
            yield BlobWeakness(
                Weakness.UNFINISHED,
                "no rule ends unfinished uploads",
                "set the lifecycle rules (dayfly doctor --fix): until then only the sweep ends them",
            )
        for object_class, life in longest.items():
            yield from self._expiry(bucket, object_class, days(life))
        if "ObjectLockEnabled" in self._lock():
            yield BlobWeakness(
                Weakness.OBJECT_LOCK,
                "object lock is enabled, without a default retention",
                "use a bucket without object lock: whoever may set a retention can keep ciphertext",
            )
        if not bucket.address.encrypted_way:
            yield BlobWeakness(
                Weakness.TRANSPORT, "the way to the service is not encrypted", "use an https:// endpoint"
            )
        refused = sorted(question for question, answer in self.answers.items() if answer is None)
        if refused:
            yield BlobWeakness(
                Weakness.UNSEEN,
                f"not shown to these credentials: {', '.join(_spoken(question) for question in refused)}",
                "allow the sweeper to read these settings of the bucket",
            )

    def _broken(self) -> Iterator[str]:
        if "DefaultRetention" in self._lock().get("Rule", {}):
            yield "has an object lock with a default retention, which forbids deletion; use a bucket without it"
        if self._of("get_bucket_versioning").get("MFADelete") == "Enabled":
            yield "wants a second factor to delete versions (MFA delete); use a bucket without it"
        replication = self._of("get_bucket_replication").get("ReplicationConfiguration", {})
        if any(rule.get("Status") == "Enabled" for rule in replication.get("Rules", ())):
            yield "is replicated to another, where nothing deletes; switch its replication rules off"
        block = self._of("get_public_access_block").get("PublicAccessBlockConfiguration", {})
        status = self._of("get_bucket_policy_status").get("PolicyStatus", {})
        if status.get("IsPublic") and not block.get("RestrictPublicBuckets"):
            yield "is open to the public by its policy; correct the policy or block public access"
        grants = self._of("get_bucket_acl").get("Grants", ())
        public = any(str(grant.get("Grantee", {}).get("URI", "")).endswith(_EVERYBODY) for grant in grants)
        if public and not block.get("IgnorePublicAcls"):
            yield "is open to the public by its access control list; make it private or block public access"

    def _expiry(self, bucket: Bucket, object_class: ObjectClass, wanted: int) -> Iterator[BlobWeakness]:
        folder = bucket.key(f"{object_class.value}/")
        # A rule for a part of the folder counts too: it would end objects early.
        found = [
            int(rule["Expiration"]["Days"])
            for rule in self.rules
            if "Days" in rule.get("Expiration", {}) and (_covers(rule, folder) or _prefix(rule).startswith(folder))
        ]
        advice = f"set the lifecycle rules (dayfly doctor --fix): {folder} expires after {wanted} days"
        if not found:
            yield BlobWeakness(Weakness.EXPIRY, f"no rule ends ciphertext of class {object_class.value}", advice)
        elif min(found) < wanted:
            what = f"a rule ends objects of class {object_class.value} after {min(found)} days, before their deadline"
            yield BlobWeakness(Weakness.EXPIRY, what, advice)
        elif min(found) > wanted:
            what = f"the rule for class {object_class.value} waits {min(found)} days, longer than any object may live"
            yield BlobWeakness(Weakness.EXPIRY, what, advice)

    def _lock(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._of("get_object_lock_configuration").get("ObjectLockConfiguration", {})
        return found

    def _of(self, question: str) -> Mapping[str, Any]:
        return self.answers.get(question) or {}


def bucket_state(bucket: Bucket) -> BucketState:
    """
    Ask the service how the bucket is set up.

    Raises:
        StorageError: The bucket is not there or does not answer.
    """
    answers: dict[str, Mapping[str, Any] | None] = {}
    for question, absent in _QUESTIONS.items():
        answers[question] = bucket.ask(question, absent=absent, refused=_NOT_GIVEN)
    return BucketState(answers, bucket.address.prefix)


def lifecycle_rules(prefix: str, longest: Mapping[ObjectClass, timedelta]) -> list[dict[str, Any]]:
    """Make the rules for everything under *prefix*: the policies' longest lives, in whole days rounded up."""
    folder = f"{prefix}/" if prefix else ""
    rules: list[dict[str, Any]] = [
        {
            "ID": f"dayfly {prefix} leftovers".replace("  ", " "),
            "Status": "Enabled",
            "Filter": {"Prefix": folder},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
            "Expiration": {"ExpiredObjectDeleteMarker": True},
        },
        {
            "ID": f"dayfly {prefix} probes".replace("  ", " "),
            "Status": "Enabled",
            "Filter": {"Prefix": f"{folder}check/"},
            "Expiration": {"Days": 1},
        },
    ]
    for object_class, life in longest.items():
        rules.append(
            {
                "ID": f"dayfly {prefix} {object_class.value}".replace("  ", " "),
                "Status": "Enabled",
                "Filter": {"Prefix": f"{folder}{object_class.value}/"},
                "Expiration": {"Days": days(life)},
            }
        )
    return rules


def put_lifecycle_rules(bucket: Bucket, rules: Sequence[Mapping[str, Any]]) -> None:
    """
    Put *rules* on the bucket in place of those of the same names; rules of others stay.

    Raises:
        StoreConfigError: The service has no lifecycle rules, or did not take them.
        StorageError: It failed in another way.
    """
    operation = "get_bucket_lifecycle_configuration"
    present = bucket.ask(operation, absent=_QUESTIONS[operation]) or {}
    names = {rule["ID"] for rule in rules}
    others = [rule for rule in present.get("Rules", ()) if rule.get("ID") not in names]
    bucket.call("put_bucket_lifecycle_configuration", LifecycleConfiguration={"Rules": [*others, *rules]})
    now = bucket.ask(operation, absent=_QUESTIONS[operation]) or {}
    if not names <= {rule.get("ID") for rule in now.get("Rules", ())}:
        raise StoreConfigError(f"The bucket {bucket.address.place} did not take the lifecycle rules.")


def days(life: timedelta) -> int:
    """Give the days after which a rule may end an object: services count from its making, to the midnight after."""
    return max(1, math.ceil(life / _DAY))


def _prefix(rule: Mapping[str, Any]) -> str:
    found = rule.get("Filter", {})
    return str(found.get("Prefix") or found.get("And", {}).get("Prefix") or rule.get("Prefix") or "")


def _covers(rule: Mapping[str, Any], folder: str) -> bool:
    """Say whether a rule holds for all objects under *folder*, whatever their tags and sizes."""
    found = rule.get("Filter", {})
    narrowed = found.keys() - {"Prefix", "And"} or found.get("And", {}).keys() - {"Prefix"}
    return not narrowed and folder.startswith(_prefix(rule))


def _spoken(question: str) -> str:
    return question.removeprefix("get_").removeprefix("bucket_").replace("_", " ")
