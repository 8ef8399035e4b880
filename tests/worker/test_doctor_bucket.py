"""A pool whose ciphertext is in a bucket: what the doctor says of it, what a process refuses to start with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from metrics.instruments import BLOB_STORE_WEAKNESS, BlobStoreWeakness
from storage import StoreConfigError, load_policies, open_blob_store
from tests.s3 import SECRET_KEY, MotoServer
from tests.valkey import PrivateValkey
from worker.blob_settings import refuse_a_store_that_keeps
from worker.cli import ExitCode, main
from worker.doctor import Finding, Verdict
from worker.doctor._stores import blobs
from worker.settings import Settings
from worker.wiring import Deployment, Role

SETTINGS = "blob store's settings"


@pytest.fixture
def given(tmp_path: Path) -> Callable[[str], Settings]:
    return lambda url: Settings(home=tmp_path / "home", blobs=url)


def by_check(settings: Settings) -> dict[str, Finding]:
    return {finding.check: finding for finding in blobs(settings)}


def public_bucket(moto: MotoServer) -> str:
    bucket = moto.new_bucket()
    moto.client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    return bucket


def test_weaknesses_of_a_bucket_are_warnings_with_what_to_do(
    moto: MotoServer, given: Callable[[str], Settings]
) -> None:
    found = by_check(given(moto.url(moto.new_bucket(versioned=True))))

    assert found["blob store"].verdict is Verdict.OK
    assert {check: finding.verdict for check, finding in found.items() if check.startswith(SETTINGS)} == {
        f"{SETTINGS}: {weakness}": Verdict.WARNING for weakness in ("versions", "unfinished", "expiry")
    }
    assert all("dayfly doctor --fix" in finding.advice for finding in found.values() if finding.advice)
    assert "endpoint" not in found["blob store"].found


def test_a_bucket_that_breaks_a_promise_is_broken(moto: MotoServer, given: Callable[[str], Settings]) -> None:
    finding = by_check(given(moto.url(public_bucket(moto))))[SETTINGS]

    assert (finding.verdict, finding.promise) == (Verdict.BROKEN, "P3")
    assert "open to the public" in finding.advice


def test_a_bucket_that_is_not_there_is_broken(moto: MotoServer, given: Callable[[str], Settings]) -> None:
    (finding,) = blobs(given(moto.url("nowhere")))

    assert (finding.verdict, finding.check) == (Verdict.BROKEN, "blob store")


def test_the_doctor_prints_the_rules_and_sets_them(
    moto: MotoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = moto.new_bucket()
    monkeypatch.setenv("DAYFLY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAYFLY_BLOBS", moto.url(bucket))
    main(["doctor"])
    shown = capsys.readouterr().out
    printed = json.loads(shown[shown.index("\n{") :])
    main(["doctor", "--fix", "--json"])
    findings = {finding["check"]: finding for finding in json.loads(capsys.readouterr().out)}
    main(["doctor"])
    rules = moto.client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]

    assert {rule["ID"]: rule["Expiration"] for rule in printed["Rules"]} == {
        rule["ID"]: rule["Expiration"] for rule in rules
    }
    assert findings[SETTINGS]["verdict"] == "ok"
    assert "Rules" not in capsys.readouterr().out
    assert SECRET_KEY not in shown


def test_worker_and_sweeper_refuse_a_bucket_that_breaks_a_promise(
    moto: MotoServer, valkey: PrivateValkey, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path / "home", redis_url=valkey.url, blobs=moto.url(public_bucket(moto)))
    for role in (Role.WORKER, Role.SWEEPER):
        with pytest.raises(StoreConfigError, match="open to the public"):
            Deployment.open(settings, role)


def test_the_command_that_refuses_exits_with_3_and_the_reason(
    moto: MotoServer,
    valkey: PrivateValkey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DAYFLY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAYFLY_REDIS_URL", valkey.url)
    monkeypatch.setenv("DAYFLY_BLOBS", moto.url(public_bucket(moto)))

    assert main(["sweeper"]) == ExitCode.SETTINGS
    assert "open to the public" in capsys.readouterr().err


def test_weaknesses_are_counted_until_they_are_gone(moto: MotoServer) -> None:
    def seen() -> set[BlobStoreWeakness]:
        return {kind for kind in BlobStoreWeakness if BLOB_STORE_WEAKNESS.labels(weakness=kind)._value.get()}

    store = open_blob_store(moto.url(moto.new_bucket()))
    policies = load_policies().values()
    refuse_a_store_that_keeps(store, policies)
    before = seen()
    from storage import longest_lives

    store.apply_lifecycle(longest_lives(policies))  # type: ignore[attr-defined]  # a bucket has rules
    refuse_a_store_that_keeps(store, policies)

    assert (before, seen()) == ({BlobStoreWeakness.UNFINISHED, BlobStoreWeakness.EXPIRY}, set())
