"""The root store `vault`, against a server that `hvac`, Vault's own client for Python, is held to as well."""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import hvac
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from storage import (
    IntegrityError,
    ObjectClass,
    RootLostError,
    RootStore,
    StorageError,
    StoreConfigError,
    StoreUnavailableError,
    open_root_store,
)
from tests.fakes.vault import FakeVault, Token
from tests.storage.root_conformance import MINUTE, OUTPUT, UPLOAD, RootStoreConformance, root


@pytest.fixture(autouse=True)
def no_vault_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("VAULT_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeVault]:
    with FakeVault() as server:
        monkeypatch.setenv("VAULT_ADDR", server.url)
        monkeypatch.setenv("VAULT_TOKEN", server.token)
        yield server


@pytest.fixture
def roots(vault: FakeVault) -> RootStore:
    return open_root_store("vault:shop")


class TestVault(RootStoreConformance):
    @pytest.fixture
    def url(self, vault: FakeVault) -> str:
        return "vault:shop"

    @pytest.fixture
    def roots(self, url: str) -> RootStore:
        return open_root_store(url)


@pytest.fixture
def client(vault: FakeVault) -> Iterator[hvac.Client]:
    """Vault's own client, as an operator has it."""
    client = hvac.Client(url=vault.url, token=vault.token)
    yield client
    client.adapter.close()


def test_hvac_gets_from_the_server_what_it_expects_of_vault(vault: FakeVault, client: hvac.Client) -> None:
    transit, kv = client.secrets.transit, client.secrets.kv.v1

    assert client.is_authenticated()
    assert client.auth.token.lookup_self()["data"]["renewable"]
    assert client.auth.token.renew_self()["auth"]["lease_duration"] == 3600
    with pytest.raises(hvac.exceptions.InvalidPath):
        transit.list_keys()
    transit.create_key("k", key_type="aes256-gcm96")
    assert transit.read_key("k")["data"]["deletion_allowed"] is False
    with pytest.raises(hvac.exceptions.InvalidRequest, match="deletion is not allowed"):
        transit.delete_key("k")
    transit.update_key_configuration("k", deletion_allowed=True)
    plain, bound = (base64.b64encode(text).decode() for text in (b"secret", b"place"))
    sealed = transit.encrypt_data("k", plain, associated_data=bound)["data"]["ciphertext"]
    assert transit.decrypt_data("k", sealed, associated_data=bound)["data"]["plaintext"] == plain
    with pytest.raises(hvac.exceptions.InvalidRequest, match="message authentication failed"):
        transit.decrypt_data("k", sealed)
    with pytest.raises(hvac.exceptions.InvalidRequest, match="not exportable"):
        transit.export_key("k", "encryption-key")
    assert transit.list_keys()["data"]["keys"] == ["k"]
    transit.delete_key("k")
    with pytest.raises(hvac.exceptions.InvalidRequest, match="could not delete key; not found"):
        transit.delete_key("k")
    with pytest.raises(hvac.exceptions.InvalidRequest, match="encryption key not found"):
        transit.decrypt_data("k", sealed, associated_data=bound)
    with pytest.raises(hvac.exceptions.InvalidPath):
        transit.read_key("k")

    kv.create_or_update_secret("a/b", {"sealed": "x"}, mount_point="kv")
    assert kv.read_secret("a/b", mount_point="kv")["data"] == {"sealed": "x"}
    assert kv.list_secrets("a", mount_point="kv")["data"]["keys"] == ["b"]
    kv.delete_secret("a/b", mount_point="kv")
    with pytest.raises(hvac.exceptions.InvalidPath):
        kv.read_secret("a/b", mount_point="kv")
    vault.sealed = True
    with pytest.raises(hvac.exceptions.VaultDown):
        transit.list_keys()
    vault.sealed = False
    client.token = "hvs.other"
    with pytest.raises(hvac.exceptions.Forbidden):
        transit.list_keys()


def test_hvac_sees_the_root_as_it_was_made(vault: FakeVault, client: hvac.Client, roots: RootStore) -> None:
    secret = root()
    roots.put(UPLOAD, 7, secret, MINUTE)
    key = client.secrets.transit.read_key("shop-upload-7")["data"]

    assert (key["type"], key["derived"], key["exportable"]) == ("aes256-gcm96", False, False)
    assert (key["allow_plaintext_backup"], key["deletion_allowed"]) == (False, True)
    entry = client.secrets.kv.v1.read_secret("shop/upload-7", mount_point="kv")["data"]
    bound = base64.b64encode(b"dayfly-root/1|shop|upload-7").decode()
    opened = client.secrets.transit.decrypt_data("shop-upload-7", entry["sealed"], associated_data=bound)
    assert base64.b64decode(opened["data"]["plaintext"]) == secret
    assert secret not in str(vault.entries).encode()


def test_destroying_deletes_the_key_and_a_kept_copy_of_the_sealed_root_opens_nothing(
    vault: FakeVault, roots: RootStore
) -> None:
    roots.put(UPLOAD, 1, root(), MINUTE)
    kept = dict(vault.entries)
    roots.destroy(UPLOAD, 1)
    assert vault.entries == {}
    assert vault.keys == {}
    vault.entries.update(kept)

    with pytest.raises(RootLostError):
        roots.get(UPLOAD, 1)
    assert roots.epochs(UPLOAD) == []
    # The sweep tidies what is left of it.
    assert roots.expire() == 1
    assert vault.entries == {}


def test_a_root_under_another_name_does_not_open(vault: FakeVault, roots: RootStore) -> None:
    roots.put(UPLOAD, 1, root(), MINUTE)
    roots.put(OUTPUT, 1, root(), MINUTE)
    vault.entries["shop/output-1"] = vault.entries["shop/upload-1"]
    vault.keys["shop-output-1"] = vault.keys["shop-upload-1"]

    with pytest.raises(IntegrityError):
        roots.get(OUTPUT, 1)


@pytest.mark.parametrize("requests", [1, 2, 3, 4])
def test_what_a_crash_while_a_root_is_made_leaves_is_listed_and_can_be_destroyed(
    vault: FakeVault, roots: RootStore, monkeypatch: pytest.MonkeyPatch, requests: int
) -> None:
    roots.epochs(UPLOAD)
    whole, left = vault.answer, requests

    def crash(method: str, path: str, headers: object, body: dict[str, object]) -> object:
        nonlocal left
        if left == 0:
            return 503, {"errors": ["Vault is sealed"]}
        left -= 1
        return whole(method, path, headers, body)

    monkeypatch.setattr(vault, "answer", crash)
    with pytest.raises(StoreUnavailableError):
        roots.put(UPLOAD, 1, root(), MINUTE)
    monkeypatch.undo()
    monkeypatch.setenv("VAULT_ADDR", vault.url)
    monkeypatch.setenv("VAULT_TOKEN", vault.token)

    assert roots.epochs(UPLOAD) == [1]
    with pytest.raises(RootLostError):
        roots.get(UPLOAD, 1)
    assert roots.expire() == 0, "it may be in the making"
    vault.keys["shop-upload-1"].made -= 3700
    if requests % 2:
        roots.destroy(UPLOAD, 1)
    else:
        assert roots.expire() == 1
    assert vault.keys == {}


def test_a_root_put_while_the_sweep_looks_is_not_taken_for_dead(
    vault: FakeVault, roots: RootStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = roots._list  # type: ignore[attr-defined]
    looks = 0

    def between(path: str) -> object:
        nonlocal looks
        looks += 1
        if looks == 2:
            open_root_store("vault:shop").put(UPLOAD, 1, root(), MINUTE)
        return listing(path)

    monkeypatch.setattr(roots, "_list", between)

    assert roots.expire() == 0
    assert len(roots.get(UPLOAD, 1)) == 96


def test_an_exportable_key_that_somebody_made_before_is_not_used(
    vault: FakeVault, client: hvac.Client, roots: RootStore
) -> None:
    client.secrets.transit.create_key("shop-upload-1", exportable=True)

    with pytest.raises(StoreConfigError, match="exportable"):
        roots.put(UPLOAD, 1, root(), MINUTE)
    assert vault.entries == {}


def test_two_namespaces_in_one_vault_are_apart(vault: FakeVault, roots: RootStore) -> None:
    other = open_root_store("vault:shop-upload")
    roots.put(UPLOAD, 1, root(), MINUTE)
    other.put(UPLOAD, 2, root(), MINUTE)

    assert (roots.epochs(UPLOAD), other.epochs(UPLOAD)) == ([1], [2])


def test_other_mounts_and_a_namespace_of_vault_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeVault(namespace="team/photos") as server:
        server.mounts = {"dayfly-transit": "transit", "dayfly-kv": "kv"}
        monkeypatch.setenv("VAULT_ADDR", server.url + "/")
        monkeypatch.setenv("VAULT_TOKEN", server.token)
        monkeypatch.setenv("VAULT_NAMESPACE", "team/photos/")
        open_root_store("vault:shop?transit=dayfly-transit&kv=dayfly-kv").check()
        with pytest.raises(StoreConfigError, match="no engine mounted at transit"):
            open_root_store("vault:shop").check()


def test_a_token_is_renewed_before_half_of_it_is_over(vault: FakeVault, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = open_root_store("vault:shop")
    clock = 1000.0
    monkeypatch.setattr("storage.roots._vault_http.time.monotonic", lambda: clock)
    roots.epochs(UPLOAD)
    assert vault.tokens[vault.token].renewals == 1
    clock += 1700
    roots.epochs(UPLOAD)
    assert vault.tokens[vault.token].renewals == 1
    clock += 101
    roots.epochs(UPLOAD)

    assert vault.tokens[vault.token].renewals == 2
    assert roots.remarks() == []


def test_a_token_that_cannot_be_renewed_is_remarked_on(vault: FakeVault, roots: RootStore) -> None:
    vault.tokens[vault.token] = Token(ttl=600, renewable=False)
    roots.check()

    assert "cannot be renewed and ends in" in roots.remarks()[0]


def test_a_token_that_never_ends_is_not_renewed(vault: FakeVault, roots: RootStore) -> None:
    vault.tokens[vault.token] = Token(forever=True)
    roots.check()

    assert vault.tokens[vault.token].renewals == 0
    assert roots.remarks() == []


def test_a_token_that_vaults_agent_replaced_in_its_file_is_taken_over(
    vault: FakeVault, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sink = tmp_path / "token"
    sink.write_text(vault.token + "\n")
    monkeypatch.delenv("VAULT_TOKEN")
    monkeypatch.setenv("VAULT_TOKEN_FILE", str(sink))
    roots = open_root_store("vault:shop")
    roots.put(UPLOAD, 1, root(), MINUTE)
    vault.tokens = {"hvs.next": Token()}
    with pytest.raises(StoreConfigError, match="token has ended"):
        roots.get(UPLOAD, 1)
    sink.write_text("hvs.next\n")

    assert len(roots.get(UPLOAD, 1)) == 96


def refused(vault: FakeVault, *rules: str) -> None:
    vault.denied.extend(rules)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda vault: setattr(vault, "sealed", True), StoreUnavailableError, "sealed"),
        (lambda vault: vault.tokens.clear(), StoreConfigError, "token has ended"),
        (lambda vault: refused(vault, "GET kv/.*"), StoreConfigError, "policy does not allow"),
        (lambda vault: refused(vault, "POST transit/decrypt/.*"), StoreConfigError, "policy does not allow"),
        (lambda vault: vault.mounts.pop("kv"), StoreConfigError, "no engine mounted at kv"),
        (lambda vault: vault.mounts.pop("transit"), StoreConfigError, "no engine mounted at transit"),
        (lambda vault: vault.mounts.update(kv="kv2"), StoreConfigError, "version 1"),
    ],
)
def test_what_keeps_vault_from_answering_is_never_taken_for_a_lost_root(
    vault: FakeVault, roots: RootStore, change: Callable[[FakeVault], object], kind: type[StorageError], words: str
) -> None:
    roots.put(UPLOAD, 1, root(), MINUTE)
    change(vault)
    with pytest.raises(kind, match=words) as caught:
        roots.get(UPLOAD, 1)

    assert not isinstance(caught.value, RootLostError)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "hvs." not in sentence


def test_a_key_that_vault_does_not_delete_is_an_error(vault: FakeVault, roots: RootStore) -> None:
    roots.put(UPLOAD, 1, root(), MINUTE)
    refused(vault, "DELETE transit/keys/.*")
    with pytest.raises(StoreConfigError):
        roots.destroy(UPLOAD, 1)

    assert roots.epochs(UPLOAD) == [1]


def test_an_unreachable_vault_is_one_sentence(vault: FakeVault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_ADDR", "https://127.0.0.1:1")
    with pytest.raises(StoreUnavailableError, match=r"^Vault at 127\.0\.0\.1:1 cannot be reached") as caught:
        open_root_store("vault:shop").get(UPLOAD, 1)

    assert caught.value.__cause__ is None
    assert vault.token not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("VAULT_ADDR", "", "needs VAULT_ADDR"),
        ("VAULT_ADDR", "vault.example:8200", "needs VAULT_ADDR"),
        ("VAULT_ADDR", "http://vault.example:8200", "use https"),
        ("VAULT_TOKEN", "", "needs a token"),
        ("VAULT_CACERT", "/nowhere/ca.pem", "VAULT_CACERT cannot be read"),
    ],
)
def test_a_wrong_variable_is_named(
    vault: FakeVault, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv("VAULT_TOKEN_FILE", str(tmp_path / "none"))
    monkeypatch.setenv(name, value)

    with pytest.raises(StoreConfigError, match=words):
        open_root_store("vault:shop")


@pytest.mark.parametrize("url", ["vault:", "vault://host/shop", "vault:a/b", "vault:shop?mount=x", "vault:shop?kv=a b"])
def test_a_wrong_address_is_refused(vault: FakeVault, url: str) -> None:
    with pytest.raises(StoreConfigError):
        open_root_store(url)


def test_a_certificate_of_the_given_authority_is_trusted_and_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate, key = self_signed(tmp_path)
    with FakeVault((certificate, key)) as server:
        monkeypatch.setenv("VAULT_ADDR", server.url)
        monkeypatch.setenv("VAULT_TOKEN", server.token)
        with pytest.raises(StoreUnavailableError, match="its certificate"):
            open_root_store("vault:shop").check()
        assert server.log == []
        monkeypatch.setenv("VAULT_CACERT", str(certificate))
        open_root_store("vault:shop").check()


def self_signed(folder: Path) -> tuple[Path, Path]:
    import ipaddress

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "ca.pem", folder / "key.pem"


def test_no_root_and_no_token_reaches_a_log(
    vault: FakeVault, roots: RootStore, caplog: pytest.LogCaptureFixture
) -> None:
    secret = root()
    with caplog.at_level(logging.DEBUG):
        roots.put(ObjectClass.UPLOAD, 1, secret, MINUTE)
        roots.get(ObjectClass.UPLOAD, 1)

    assert vault.token not in caplog.text
    assert base64.b64encode(secret).decode() not in caplog.text
