"""What a bucket keeps, and how it is set up: versions, locks, rules, who may look."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread

import pytest
import redis

from storage import (
    BlobExistsError,
    BlobStore,
    HasLifecycle,
    KeyStore,
    ObjectClass,
    ObjectSweep,
    ShredReason,
    StoreConfigError,
    Weakness,
    open_blob_store,
)
from storage.blobs import s3
from storage.blobs._s3_bucket import S3Address
from tests.harness import eventually
from tests.s3 import MotoServer, RcloneServer, S3Server
from tests.sealed import SealedRoom
from tests.storage.blob_conformance import NAME, OTHER, read, write

LONGEST = {ObjectClass.UPLOAD: timedelta(days=1), ObjectClass.OUTPUT: timedelta(days=7, seconds=900)}


def weaknesses(blobs: BlobStore) -> dict[Weakness, str]:
    return {found.kind: found.found for found in blobs.probe(LONGEST)}


def test_p3_deleting_leaves_no_version_and_no_marker(moto: MotoServer) -> None:
    bucket = moto.new_bucket(versioned=True)
    blobs = open_blob_store(moto.url(bucket))
    for content in (b"one", b"two", b"three"):
        write(blobs, NAME, content)
    write(blobs, OTHER, b"stays")
    moto.client.delete_object(Bucket=bucket, Key=f"dayfly/{NAME}")
    moto.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    write(blobs, NAME, b"four, without a version of its own")
    moto.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    moto.client.create_multipart_upload(Bucket=bucket, Key=f"dayfly/{NAME}")
    moto.client.create_multipart_upload(Bucket=bucket, Key=f"dayfly/{NAME}")

    assert blobs.delete(NAME) is True
    assert moto.keys(bucket) == [f"dayfly/{OTHER}"]
    assert blobs.delete(NAME) is False
    assert moto.keys(bucket) == [f"dayfly/{OTHER}"]


def test_p3_a_blob_that_somebody_only_marked_as_deleted_is_deleted_all_the_same(moto: MotoServer) -> None:
    bucket = moto.new_bucket(versioned=True)
    blobs = open_blob_store(moto.url(bucket))
    write(blobs, NAME, b"x")
    moto.client.delete_object(Bucket=bucket, Key=f"dayfly/{NAME}")

    assert list(blobs.list("")) == []
    assert blobs.delete(NAME) is True
    assert moto.keys(bucket) == []


def test_more_than_one_answer_holds_is_all_deleted(moto: MotoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_PAGE", 3)
    bucket = moto.new_bucket(versioned=True)
    blobs = open_blob_store(moto.url(bucket))
    for _ in range(4):
        write(blobs, NAME, b"x")
        moto.client.delete_object(Bucket=bucket, Key=f"dayfly/{NAME}")
        moto.client.create_multipart_upload(Bucket=bucket, Key=f"dayfly/{NAME}")

    assert blobs.delete(NAME) is True
    assert moto.keys(bucket) == []


def test_a_list_goes_on_behind_the_first_thousand(rclone: RcloneServer) -> None:
    bucket = rclone.new_bucket()
    folder = rclone.folder(bucket) / "dayfly" / "upload" / "2026112401"
    folder.mkdir(parents=True)
    names = [f"upload/2026112401/{number:032x}" for number in range(1205)]
    for name in names:
        (folder / name.rpartition("/")[2]).write_bytes(b"x")
    blobs = open_blob_store(rclone.url(bucket))

    assert [blob.name for blob in blobs.list("upload/")] == names
    assert [blob.name for blob in blobs.list("upload/", after=names[50])] == names[51:]


def test_what_others_keep_in_the_bucket_is_neither_listed_nor_touched(moto: MotoServer) -> None:
    bucket = moto.new_bucket()
    blobs = open_blob_store(moto.url(bucket))
    for key in ("dayfly/Readme", f"other/{NAME}", "dayfly-2/x/y", f"dayfly/{NAME}0"):
        moto.client.put_object(Bucket=bucket, Key=key, Body=b"theirs")
    moto.client.create_multipart_upload(Bucket=bucket, Key=f"other/{NAME}")
    before = moto.keys(bucket)
    write(blobs, NAME, b"ours")

    assert [blob.name for blob in blobs.list("")] == [NAME, f"{NAME}0"]
    assert list(blobs.unfinished()) == []
    assert blobs.delete(NAME) is True
    assert moto.keys(bucket) == before


def test_ciphertext_carries_its_latest_deadline(moto: MotoServer) -> None:
    bucket = moto.new_bucket()
    blobs = open_blob_store(moto.url(bucket))
    for content in (b"small", bytes(9 << 20)):
        write(blobs, NAME, content)
        head = moto.client.head_object(Bucket=bucket, Key=f"dayfly/{NAME}")

        assert head["Metadata"]["dayfly-deadline"] == "2026-11-24T01:00:00Z"


@pytest.mark.parametrize("content", [b"small", bytes(9 << 20)], ids=["small", "large"])
def test_server_side_encryption_is_asked_for(moto: MotoServer, content: bytes) -> None:
    bucket = moto.new_bucket()
    write(open_blob_store(moto.url(bucket, sse="AES256")), NAME, content)
    write(open_blob_store(moto.url(bucket, sse="aws:kms", sse_key="alias/photos")), OTHER, content)

    assert moto.client.head_object(Bucket=bucket, Key=f"dayfly/{NAME}")["ServerSideEncryption"] == "AES256"
    head = moto.client.head_object(Bucket=bucket, Key=f"dayfly/{OTHER}")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/photos")


def test_of_many_exclusive_writes_at_once_one_succeeds(moto: MotoServer) -> None:
    stores = [open_blob_store(moto.url(moto.new_bucket()))] * 6
    stores[0].probe(LONGEST)
    barrier, outcomes = Barrier(len(stores)), []

    def attempt(number: int) -> None:
        barrier.wait(10)
        try:
            with stores[number].create(NAME, exclusive=True) as sink:
                sink.write(f"writer {number}".encode())
            outcomes.append(number)
        except BlobExistsError:
            outcomes.append(-1)

    threads = [Thread(target=attempt, args=(number,)) for number in range(len(stores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    (winner,) = [number for number in outcomes if number >= 0]
    assert len(outcomes) == len(stores)
    assert read(stores[0], NAME) == f"writer {winner}".encode()


def test_conditional_writes_are_tried_and_not_assumed(moto: MotoServer, rclone: RcloneServer) -> None:
    versioned = moto.new_bucket(versioned=True)

    assert Weakness.CONDITIONS not in weaknesses(open_blob_store(moto.url(versioned)))
    assert Weakness.CONDITIONS in weaknesses(open_blob_store(rclone.url(bucket := rclone.new_bucket())))
    assert (moto.keys(versioned), rclone.keys(bucket)) == ([], [])


def test_a_plain_bucket_only_lacks_rules(moto: MotoServer) -> None:
    assert set(weaknesses(open_blob_store(moto.url(moto.new_bucket())))) == {Weakness.UNFINISHED, Weakness.EXPIRY}


def test_the_rules_it_makes_are_the_ones_it_asks_for(moto: MotoServer) -> None:
    bucket = moto.new_bucket(versioned=True)
    theirs = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}}
    moto.client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [theirs]})
    blobs = open_blob_store(moto.url(bucket))
    assert set(weaknesses(blobs)) == {Weakness.VERSIONS, Weakness.UNFINISHED, Weakness.EXPIRY}

    assert isinstance(blobs, HasLifecycle)
    for _ in range(2):
        blobs.apply_lifecycle(LONGEST)
    rules = {rule["ID"]: rule for rule in moto.client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]}

    assert weaknesses(blobs) == {}
    assert set(rules) == {"theirs", *(f"dayfly dayfly {what}" for what in ("leftovers", "probes", "upload", "output"))}
    assert rules["dayfly dayfly upload"]["Filter"] == {"Prefix": "dayfly/upload/"}
    assert rules["dayfly dayfly upload"]["Expiration"] == {"Days": 1}
    assert rules["dayfly dayfly output"]["Expiration"] == {"Days": 8}
    assert json.loads(json.dumps(blobs.lifecycle(LONGEST)))["Rules"][0]["AbortIncompleteMultipartUpload"] == {
        "DaysAfterInitiation": 1
    }


@pytest.mark.parametrize(("life", "says"), [(30, "before their deadline"), (2, "longer than any object may live")])
def test_rules_and_policies_must_be_one_number(moto: MotoServer, life: int, says: str) -> None:
    blobs = open_blob_store(moto.url(moto.new_bucket()))
    assert isinstance(blobs, HasLifecycle)
    blobs.apply_lifecycle(LONGEST)
    (weakness,) = blobs.probe({**LONGEST, ObjectClass.OUTPUT: timedelta(days=life)})

    assert (weakness.kind, says in weakness.found) == (Weakness.EXPIRY, True)
    assert f"dayfly/output/ expires after {life} days" in weakness.advice


def locked(moto: MotoServer) -> str:
    bucket = moto.new_bucket(ObjectLockEnabledForBucket=True)
    retention = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    moto.client.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=retention)
    return bucket


def replicated(moto: MotoServer) -> str:
    source, target = moto.new_bucket(versioned=True), moto.new_bucket(versioned=True)
    rule = {"Status": "Enabled", "Prefix": "", "Destination": {"Bucket": f"arn:aws:s3:::{target}"}}
    rules = {"Role": "arn:aws:iam::123456789012:role/copy", "Rules": [rule]}
    moto.client.put_bucket_replication(Bucket=source, ReplicationConfiguration=rules)
    return source


def public_by_policy(moto: MotoServer) -> str:
    bucket = moto.new_bucket()
    everybody = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [everybody]})
    moto.client.put_bucket_policy(Bucket=bucket, Policy=policy)
    return bucket


def public_by_list(moto: MotoServer) -> str:
    bucket = moto.new_bucket()
    moto.client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    return bucket


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (locked, "object lock with a default retention"),
        (replicated, "is replicated"),
        (public_by_policy, "open to the public by its policy"),
        (public_by_list, "open to the public by its access control list"),
    ],
)
def test_a_bucket_that_breaks_a_promise_is_refused_with_the_reason(
    moto: MotoServer, make: Callable[[MotoServer], str], says: str
) -> None:
    bucket = make(moto)
    with pytest.raises(StoreConfigError, match=says):
        open_blob_store(moto.url(bucket)).probe(LONGEST)

    assert moto.keys(bucket) == []


def test_object_lock_without_a_retention_is_a_weakness(moto: MotoServer) -> None:
    blobs = open_blob_store(moto.url(moto.new_bucket(ObjectLockEnabledForBucket=True)))

    assert Weakness.OBJECT_LOCK in weaknesses(blobs)


def test_public_lists_that_the_bucket_ignores_are_no_reason(moto: MotoServer) -> None:
    bucket = public_by_list(moto)
    block = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
    moto.client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=block)

    assert Weakness.EXPIRY in weaknesses(open_blob_store(moto.url(bucket)))


def test_a_service_without_settings_is_not_taken_for_a_broken_one(rclone: RcloneServer) -> None:
    found = weaknesses(open_blob_store(rclone.url(rclone.new_bucket())))

    assert set(found) == {Weakness.CONDITIONS, Weakness.UNFINISHED, Weakness.EXPIRY}


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///prefix",
        "s3://user:word@bucket/prefix",
        "s3://bucket/../x",
        "s3://bucket/a//b",
        "s3://bucket/p#x",
        "s3://bucket/p?colour=red",
        "s3://bucket/p?region=a&region=b",
        "s3://bucket/p?region=",
        "s3://bucket/p?endpoint=ftp://host",
        "s3://bucket/p?endpoint=http://user:word@host",
        "s3://bucket/p?endpoint=http://host/path",
        "s3://bucket/p?endpoint=http://host:99999",
        "s3://bucket/p?addressing=up",
        "s3://bucket/p?sse=rot13",
        "s3://bucket/p?sse_key=x",
        "s3://bucket/p?part_mib=4",
        "s3://bucket/p?part_mib=٥٥",
    ],
)
def test_a_wrong_address_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(StoreConfigError, match="s3://bucket/prefix") as caught:
        open_blob_store(url)

    assert "word" not in str(caught.value)


def test_an_address_says_all_there_is_to_say() -> None:
    url = "s3://photos/a/b?endpoint=https://s3.example:9000&region=eu-central-1&addressing=path&sse=aws:kms&sse_key=k&part_mib=16"

    assert S3Address.parse(url) == S3Address(
        "photos", "a/b", "https://s3.example:9000", "eu-central-1", "path", "aws:kms", "k", 16 << 20
    )
    assert S3Address.parse("s3://photos") == S3Address("photos", "")
    assert not S3Address.parse("s3://photos?endpoint=http://10.0.0.1").encrypted_way


def test_without_boto3_it_says_what_to_install() -> None:
    code = """
import sys
sys.modules["boto3"] = None
from storage import StoreConfigError, open_blob_store
try:
    open_blob_store("s3://bucket/prefix")
except StoreConfigError as error:
    print(error)
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "dayfly[s3]" in answer.stdout


@pytest.fixture(params=["moto", "rclone"])
def server(request: pytest.FixtureRequest) -> S3Server:
    found: S3Server = request.getfixturevalue(request.param)
    return found


KILLED_WHILE_SEALING = """
import io, os, signal, sys, threading
from datetime import UTC, datetime, timedelta
import redis
from storage import *
socket, url, roots_url = sys.argv[1:]
store = SealedStore(KeyStore(redis.Redis(unix_socket_path=socket)), open_blob_store(url), {})
class Endless(io.RawIOBase):
    sent = 0
    def readinto(self, buffer):
        self.sent += len(buffer)
        if self.sent > 40 << 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return len(buffer)
now = datetime.now(UTC)
soon, later = now + timedelta(seconds=1), now + timedelta(hours=1)
store.seal(Endless(), object_class=ObjectClass.UPLOAD, deadline=soon, ceiling=later)
"""


def test_p6_a_process_killed_between_two_parts_leaves_nothing_after_a_sweep(room: SealedRoom, server: S3Server) -> None:
    bucket = server.new_bucket()
    url = server.url(bucket)
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_SEALING, str(room.server.socket), url, room.roots_url],
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = server.keys(bucket)
    sweep = ObjectSweep(room.keys, open_blob_store(url), {})

    # While its key lives, a write may still be going on somewhere.
    assert left
    if room.keys.figures().classes[ObjectClass.UPLOAD].live:
        sweep.collect_orphans()
        assert server.keys(bucket) == left
    eventually(lambda: room.keys.figures().classes[ObjectClass.UPLOAD].live == 0, what="the pending deadline")
    sweep.expire_due()
    sweep.delete_doomed()
    sweep.collect_orphans()

    assert server.keys(bucket) == []


def test_p4_a_sweep_that_has_only_the_bucket_deletes_what_cannot_be_alive(server: S3Server) -> None:
    bucket = server.new_bucket()
    blobs = open_blob_store(server.url(bucket))
    now = datetime.now(UTC)
    dead = [f"{kind}/{now - timedelta(hours=hours):%Y%m%d%H}/{'d' * 32}" for kind in ObjectClass for hours in (2, 900)]
    alive = [f"{kind}/{now + timedelta(hours=hours):%Y%m%d%H}/{'a' * 32}" for kind in ObjectClass for hours in (0, 9)]
    for name in (*dead, *alive, "receipts/2026/11/24/1-2.jsonl"):
        write(blobs, name, b"x")
    for name in (dead[0], alive[0]):
        server.client.create_multipart_upload(Bucket=bucket, Key=f"dayfly/{name}")
    sweep = ObjectSweep(KeyStore(redis.Redis(unix_socket_path="/nonexistent/socket")), blobs, {})

    assert sweep.delete_past_ceiling() == len(dead)
    assert sorted(blob.name for blob in blobs.list("")) == sorted([*alive, "receipts/2026/11/24/1-2.jsonl"])
    assert [blob.name for blob in blobs.unfinished()] == [alive[0]]
    assert sweep.delete_past_ceiling() == 0


def test_p3_the_whole_life_of_an_object_in_a_versioned_bucket(room: SealedRoom, moto: MotoServer) -> None:
    bucket = moto.new_bucket(versioned=True)
    room.store.blobs = open_blob_store(moto.url(bucket))
    content = os.urandom(20 << 20)
    sealed = room.seal(content)
    assert len(moto.keys(bucket)) == 1
    descriptor = room.store.open_memfd(sealed.ref)
    with open(descriptor, "rb") as opened:
        assert opened.read() == content

    room.store.shred([sealed.ref], ShredReason.DONE)
    assert room.store.delete_ciphertext([sealed.ref]) == 1
    assert moto.keys(bucket) == []


LARGE_OBJECT = """
import io, resource, sys
from datetime import UTC, datetime, timedelta
import redis
from storage import *
socket, url, roots_url, size = sys.argv[1:]
size = int(size)
roots = open_root_store(roots_url)
store = SealedStore(KeyStore(redis.Redis(unix_socket_path=socket)), open_blob_store(url), {ObjectClass.UPLOAD: roots})
def status(name):
    for line in open("/proc/self/status"):
        if line.startswith(name):
            return int(line.split()[1]) / 1024
class Photo(io.RawIOBase):
    left = size
    def readinto(self, buffer):
        count = min(len(buffer), self.left)
        self.left -= count
        return count
now = datetime.now(UTC)
def life(source):
    end = now + timedelta(hours=1)
    sealed = store.seal(source, object_class=ObjectClass.UPLOAD, deadline=end, ceiling=end)
    buffer, found = bytearray(1 << 20), 0
    with store.open_stream(sealed.ref) as opened:
        while count := opened.readinto(buffer):
            assert not any(buffer[:count:4096])
            found += count
    assert found == sealed.size, (found, sealed.size)
    return sealed
life(bytes(1000))
idle = status("VmRSS")
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
sealed = life(Photo())
print(sealed.size, status("VmHWM") - idle)
"""


@pytest.mark.parametrize("mebibytes", [128, pytest.param(1024, marks=[pytest.mark.campaign, pytest.mark.timeout(300)])])
def test_a_large_object_passes_through_flat_memory(room: SealedRoom, rclone: RcloneServer, mebibytes: int) -> None:
    url = rclone.url(rclone.new_bucket())
    done = subprocess.run(
        [sys.executable, "-c", LARGE_OBJECT, str(room.server.socket), url, room.roots_url, str(mebibytes << 20)],
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    size, over_idle = done.stdout.split()
    print(f"{mebibytes} MiB: {float(over_idle):.1f} MiB over idle")

    assert int(size) == mebibytes << 20
    assert float(over_idle) <= 96
