"""The root store `kms`, against a server that boto3 and botocore's model of KMS are held against."""

from __future__ import annotations

import base64
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from storage import (
    IntegrityError,
    RootLostError,
    RootStore,
    StorageError,
    StoreConfigError,
    StoreFullError,
    StoreUnavailableError,
    open_root_store,
)
from tests.fakes.kms import FakeKms
from tests.memory import occurrences
from tests.storage.root_conformance import MINUTE, OUTPUT, UPLOAD, RootStoreConformance, root


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKms]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with FakeKms() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def roots(kms: FakeKms) -> RootStore:
    return open_root_store("kms:shop")


@pytest.fixture
def client(kms: FakeKms) -> Iterator[Any]:
    """The vendor's own client, as an operator has it."""
    client = boto3.session.Session().client("kms")
    yield client
    client.close()


class TestKms(RootStoreConformance):
    @pytest.fixture
    def url(self, kms: FakeKms) -> str:
        return "kms:shop"

    @pytest.fixture
    def roots(self, url: str) -> RootStore:
        return open_root_store(url)


def import_material(client: Any, key_id: str, material: bytes, valid_to: datetime) -> None:
    parameters = client.get_parameters_for_import(
        KeyId=key_id, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_4096"
    )
    public = load_der_public_key(parameters["PublicKey"])
    oaep = padding.OAEP(mgf=padding.MGF1(SHA256()), algorithm=SHA256(), label=None)
    client.import_key_material(
        KeyId=key_id,
        ImportToken=parameters["ImportToken"],
        EncryptedKeyMaterial=public.encrypt(material, oaep),  # type: ignore[union-attr]
        ExpirationModel="KEY_MATERIAL_EXPIRES",
        ValidTo=valid_to,
    )


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as caught:
        act()
    return str(caught.value.response["Error"]["Code"])


def test_boto3_gets_from_the_server_what_kms_documents(client: Any) -> None:
    key_id = client.create_key(Origin="EXTERNAL", Description="d")["KeyMetadata"]["KeyId"]
    later = datetime.now(UTC) + timedelta(minutes=5)
    assert client.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "PendingImport"
    assert refused(lambda: client.encrypt(KeyId=key_id, Plaintext=b"x")) == "KMSInvalidStateException"
    import_material(client, key_id, b"m" * 32, later)
    about = client.describe_key(KeyId=key_id)["KeyMetadata"]
    assert (about["KeyState"], about["ExpirationModel"]) == ("Enabled", "KEY_MATERIAL_EXPIRES")
    assert abs(about["ValidTo"] - later) < timedelta(seconds=1)
    # The expiry cannot be moved: the material must be deleted and imported again, and only the same bytes.
    assert refused(lambda: import_material(client, key_id, b"m" * 32, later)) == "KMSInvalidStateException"
    sealed = client.encrypt(KeyId=key_id, Plaintext=b"root", EncryptionContext={"a": "b"})["CiphertextBlob"]
    assert client.decrypt(CiphertextBlob=sealed, EncryptionContext={"a": "b"})["Plaintext"] == b"root"
    assert refused(lambda: client.decrypt(CiphertextBlob=sealed)) == "InvalidCiphertextException"
    client.delete_imported_key_material(KeyId=key_id)
    assert (
        refused(lambda: client.decrypt(CiphertextBlob=sealed, EncryptionContext={"a": "b"}))
        == "KMSInvalidStateException"
    )
    assert refused(lambda: import_material(client, key_id, b"n" * 32, later)) == "IncorrectKeyMaterialException"
    import_material(client, key_id, b"m" * 32, later)
    client.create_alias(AliasName="alias/a", TargetKeyId=key_id)
    assert client.describe_key(KeyId="alias/a")["KeyMetadata"]["KeyId"] == key_id
    client.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    assert client.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    client.delete_alias(AliasName="alias/a")
    assert refused(lambda: client.describe_key(KeyId="alias/a")) == "NotFoundException"


def test_every_answer_fits_botocores_model_of_kms(kms: FakeKms, client: Any, roots: RootStore) -> None:
    roots.put(UPLOAD, 1, root(), MINUTE)
    roots.get(UPLOAD, 1)
    roots.destroy(UPLOAD, 1)
    times, blobs = ("CreationDate", "ValidTo", "DeletionDate", "ParametersValidTo"), ("ImportToken", "PublicKey")

    for operation, _, answer in kms.log:
        shape = client.meta.service_model.operation_model(operation).output_shape
        if shape is None:
            assert answer == {}, operation
            continue
        assert set(answer) <= set(shape.members), operation
        flat = answer.get("KeyMetadata", answer)
        about = shape.members["KeyMetadata"] if "KeyMetadata" in answer else shape
        values = {
            name: datetime.fromtimestamp(value, UTC) if name in times else value.encode() if name in blobs else value
            for name, value in flat.items()
            if name != "Aliases"
        }
        validate_parameters(values, about)
    assert {"CreateKey", "ImportKeyMaterial", "Encrypt", "Decrypt", "DeleteImportedKeyMaterial"} <= {
        operation for operation, _, _ in kms.log
    }


def test_boto3_sees_the_root_as_it_was_made(kms: FakeKms, client: Any, roots: RootStore) -> None:
    secret = root()
    roots.put(UPLOAD, 7, secret, MINUTE)
    ((alias, (key_id, _)),) = kms.aliases.items()
    about = client.describe_key(KeyId=key_id)["KeyMetadata"]
    sealed = base64.b64decode(about["Description"].rsplit(" ", 1)[1])
    context = {"dayfly": "shop", "class": "upload", "epoch": "7"}

    assert alias.startswith("alias/dayfly/shop/upload/7/")
    assert (about["Origin"], about["KeyState"], about["MultiRegion"]) == ("EXTERNAL", "Enabled", False)
    assert timedelta(seconds=55) < about["ValidTo"] - datetime.now(UTC) < timedelta(seconds=62)
    assert client.decrypt(CiphertextBlob=sealed, EncryptionContext=context)["Plaintext"] == secret
    assert refused(lambda: client.decrypt(CiphertextBlob=sealed)) == "InvalidCiphertextException"


def test_destroying_deletes_the_material_and_a_kept_copy_of_the_sealed_root_opens_nothing(
    kms: FakeKms, client: Any, roots: RootStore
) -> None:
    roots.put(UPLOAD, 1, root(), MINUTE)
    (key,) = kms.keys.values()
    kept = base64.b64decode(key.description.rsplit(" ", 1)[1])
    roots.destroy(UPLOAD, 1)
    context = {"dayfly": "shop", "class": "upload", "epoch": "1"}

    assert (key.material, key.state, kms.aliases) == (None, "PendingDeletion", {})
    assert kept.hex() not in key.description
    assert refused(lambda: client.decrypt(CiphertextBlob=kept, EncryptionContext=context)) == "KMSInvalidStateException"
    # Whoever cancels the deletion of the shell gets an empty shell.
    key.state = "PendingImport"
    assert refused(lambda: client.decrypt(CiphertextBlob=kept, EncryptionContext=context)) == "KMSInvalidStateException"


def test_what_was_encrypted_for_the_import_is_zero_afterwards(
    kms: FakeKms, roots: RootStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bytes] = []

    class Spy:
        def __init__(self, der: bytes) -> None:
            self._key = load_der_public_key(der)

        def encrypt(self, plaintext: bytes, how: padding.OAEP) -> bytes:
            held.append(plaintext)
            return self._key.encrypt(plaintext, how)  # type: ignore[union-attr,no-any-return]

    monkeypatch.setattr("storage.roots.kms.load_der_public_key", Spy)
    monkeypatch.setattr("storage.roots.kms.RSAPublicKey", Spy)
    roots.put(UPLOAD, 1, root(), MINUTE)

    assert held == [bytes(32)]
    assert next(iter(kms.keys.values())).material not in (None, bytes(32))


def test_the_importers_copy_of_the_material_is_nowhere_in_its_memory(kms: FakeKms) -> None:
    code = (
        "import sys; from datetime import timedelta; from storage import *; "
        "open_root_store('kms:shop').put(ObjectClass.UPLOAD, 1, bytearray(96), timedelta(minutes=1)); "
        "print('put', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"put\n"
        (key,) = kms.keys.values()
        assert key.material is not None
        found = occurrences(process.pid, key.material)
        # The search is not blind: the name of the key is there.
        assert occurrences(process.pid, key.key_id.encode()) > 0
        process.communicate()

    assert found == 0


def test_renewing_early_changes_nothing_and_late_seals_the_root_under_a_new_key(kms: FakeKms, roots: RootStore) -> None:
    secret = root()
    roots.put(UPLOAD, 1, secret, MINUTE)
    roots.renew(UPLOAD, 1, MINUTE)
    assert len(kms.keys) == 1
    (first,) = kms.keys.values()
    assert first.valid_to is not None
    first.valid_to -= 35
    roots.renew(UPLOAD, 1, MINUTE)
    second = next(key for key in kms.keys.values() if key is not first)

    assert (first.material, first.state) == (None, "PendingDeletion")
    assert second.valid_to is not None
    assert second.valid_to - time.time() > 55
    # A process that knew only the first key finds the second.
    assert roots.get(UPLOAD, 1) == secret
    assert roots.epochs(UPLOAD) == [1]


def test_another_process_finds_a_root_that_was_renewed(kms: FakeKms, roots: RootStore) -> None:
    secret = root()
    roots.put(UPLOAD, 1, secret, MINUTE)
    other = open_root_store("kms:shop")
    assert other.get(UPLOAD, 1) == secret
    roots.renew(UPLOAD, 1, timedelta(hours=1))

    assert other.get(UPLOAD, 1) == secret
    roots.destroy(UPLOAD, 1)
    with pytest.raises(RootLostError):
        other.get(UPLOAD, 1)


def test_a_root_destroyed_while_it_is_renewed_does_not_live_on(
    kms: FakeKms, roots: RootStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots.put(UPLOAD, 1, root(), MINUTE)
    make = roots._make  # type: ignore[attr-defined]

    def late(*arguments: object) -> object:
        open_root_store("kms:shop").destroy(UPLOAD, 1)
        return make(*arguments)

    monkeypatch.setattr(roots, "_make", late)
    with pytest.raises(RootLostError):
        roots.renew(UPLOAD, 1, timedelta(hours=1))

    assert [key.material for key in kms.keys.values()] == [None, None]
    assert roots.epochs(UPLOAD) == []


def test_two_renewals_at_once_leave_no_copy_that_destroying_misses(
    kms: FakeKms, roots: RootStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots.put(UPLOAD, 1, root(), MINUTE)
    make = roots._make  # type: ignore[attr-defined]

    def overtaken(*arguments: object) -> object:
        monkeypatch.undo()
        for name, value in kms.environment.items():
            monkeypatch.setenv(name, value)
        roots.renew(UPLOAD, 1, timedelta(hours=1))
        return make(*arguments)

    monkeypatch.setattr(roots, "_make", overtaken)
    try:
        roots.renew(UPLOAD, 1, timedelta(hours=1))
    except RootLostError:
        pytest.fail("a root that was renewed twice is not lost")
    finally:
        roots.destroy(UPLOAD, 1)

    assert [key.material for key in kms.keys.values() if key.material] == []


def test_a_root_is_not_put_before_every_process_can_see_it(kms: FakeKms, roots: RootStore) -> None:
    """KMS may take seconds to know what it has just made; a root that another process does not find seems lost."""
    kms.lag = 0.5
    secret = root()
    roots.put(UPLOAD, 1, secret, MINUTE)

    assert open_root_store("kms:shop").get(UPLOAD, 1) == secret


OPERATIONS = ["CreateAlias", "GetParametersForImport", "ImportKeyMaterial", "Encrypt", "UpdateKeyDescription"]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_fails_while_a_root_is_made_leaves_no_material(kms: FakeKms, roots: RootStore, operation: str) -> None:
    kms.refuse = {operation: "AccessDeniedException"}
    with pytest.raises(StoreConfigError, match=operation):
        roots.put(UPLOAD, 1, root(), MINUTE)
    kms.refuse = {}

    assert [key.material for key in kms.keys.values()] == [None]
    assert roots.epochs(UPLOAD) == []
    with pytest.raises(RootLostError):
        roots.get(UPLOAD, 1)


@pytest.mark.parametrize("operation", OPERATIONS[1:])
def test_what_a_crash_while_a_root_is_made_leaves_is_destroyed_or_swept(
    kms: FakeKms, roots: RootStore, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    monkeypatch.setattr(roots, "_kill", lambda *_: None)
    kms.refuse = {operation: "AccessDeniedException"}
    with pytest.raises(StoreConfigError):
        roots.put(UPLOAD, 1, root(), MINUTE)
    kms.refuse = {}
    (key,) = kms.keys.values()
    later = open_root_store("kms:shop")

    if key.material is None:
        assert later.expire() == 0, "it may be in the making"
        key.made -= 7200
        assert later.expire() == 1
    else:
        assert later.epochs(UPLOAD) == [1], "a rotation destroys what is listed"
        later.destroy(UPLOAD, 1)
    assert (key.state, key.material, kms.aliases) == ("PendingDeletion", None, {})


def test_a_root_that_expired_is_swept(kms: FakeKms, roots: RootStore) -> None:
    roots.put(UPLOAD, 1, root(), MINUTE)
    (key,) = kms.keys.values()
    key.valid_to = time.time() - 1

    assert roots.expire() == 1
    assert (key.state, kms.aliases) == ("PendingDeletion", {})


def test_many_aliases_in_the_account_are_paged_through(kms: FakeKms, roots: RootStore) -> None:
    roots.put(UPLOAD, 1, root(), MINUTE)
    (key_id,) = kms.keys
    kms.aliases.update({f"alias/app-{number:04}": (key_id, 0.0) for number in range(250)})

    assert roots.epochs(UPLOAD) == [1]


def test_a_root_under_another_name_does_not_open(kms: FakeKms, roots: RootStore) -> None:
    roots.put(UPLOAD, 1, root(), MINUTE)
    (alias,) = kms.aliases
    kms.aliases[alias.replace("upload", "output")] = kms.aliases[alias]

    with pytest.raises(IntegrityError):
        roots.get(OUTPUT, 1)


@pytest.mark.parametrize("state", ["Disabled", "PendingDeletion"])
def test_a_key_that_somebody_stopped_is_not_taken_for_lost(kms: FakeKms, roots: RootStore, state: str) -> None:
    roots.put(UPLOAD, 1, root(), MINUTE)
    (key,) = kms.keys.values()
    key.state = state

    with pytest.raises(StoreConfigError, match=r"somebody stopped it"):
        roots.get(UPLOAD, 1)
    assert roots.epochs(UPLOAD) == [1]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("AccessDeniedException", StoreConfigError),
        ("ExpiredTokenException", StoreConfigError),
        ("ThrottlingException", StoreUnavailableError),
        ("KMSInternalException", StoreUnavailableError),
        ("KeyUnavailableException", StoreUnavailableError),
        ("LimitExceededException", StoreFullError),
        ("SomethingNewException", StorageError),
    ],
)
def test_what_keeps_kms_from_answering_is_never_taken_for_a_lost_root(
    kms: FakeKms, roots: RootStore, code: str, kind: type[StorageError]
) -> None:
    roots.put(UPLOAD, 1, root(), MINUTE)
    for operation in ("Decrypt", "ListAliases"):
        kms.refuse = {operation: code}
        with pytest.raises(kind, match=operation) as caught:
            open_root_store("kms:shop").get(UPLOAD, 1)
        assert not isinstance(caught.value, RootLostError)
        assert caught.value.__cause__ is None
        assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("name", "value", "kind", "words"),
    [
        ("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1", StoreUnavailableError, "KMS cannot be reached"),
        ("AWS_ENDPOINT_URL_KMS", "http://kms.example", StoreConfigError, "use https"),
        ("AWS_ACCESS_KEY_ID", "AKIDOTHER", StoreConfigError, "check the credentials"),
        ("AWS_ACCESS_KEY_ID", None, StoreConfigError, "finds no AWS credentials|cannot call KMS"),
        ("AWS_REGION", None, StoreConfigError, "set AWS_REGION"),
    ],
)
def test_wrong_settings_of_aws_are_one_sentence(
    kms: FakeKms,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str | None,
    kind: type[StorageError],
    words: str,
) -> None:
    if value is None:
        monkeypatch.delenv(name)
        monkeypatch.delenv("AWS_DEFAULT_REGION" if name == "AWS_REGION" else "AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    else:
        monkeypatch.setenv(name, value)

    with pytest.raises(kind, match=words):
        open_root_store("kms:shop").get(UPLOAD, 1)


@pytest.mark.parametrize("url", ["kms:", "kms://host/x", "kms:a/b", "kms:a.b", "kms:shop?region=x"])
def test_a_wrong_address_is_refused(kms: FakeKms, url: str) -> None:
    with pytest.raises(StoreConfigError):
        open_root_store(url)


def test_no_root_reaches_a_log(kms: FakeKms, roots: RootStore, caplog: pytest.LogCaptureFixture) -> None:
    secret = root()
    with caplog.at_level(logging.DEBUG):
        roots.put(UPLOAD, 1, secret, MINUTE)
        roots.get(UPLOAD, 1)

    assert base64.b64encode(secret).decode() not in caplog.text
    assert bytes(secret).hex() not in caplog.text
    assert repr(bytes(secret))[2:-1] not in caplog.text
    # The sealed root says nothing about the root, and the material is nowhere in what was sent.
    (key,) = kms.keys.values()
    assert key.material is not None
    assert base64.b64encode(key.material).decode() not in str(kms.log)
