"""A pool whose ciphertext is in a bucket: what the doctor says of it, what a process refuses to start with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from metrics.instruments import BLOB_STORE_WEAKNESS, BlobStoreWeakness
from providers import Account
from storage import StoreConfigError, load_policies, open_blob_store
from tests.fakes.bedrock import ACCESS_KEY as FILMS_ACCESS_KEY
from tests.fakes.bedrock import SECRET as FILMS_SECRET
from tests.fakes.bedrock import TOKEN
from tests.fakes.bedrock_video import FakeBedrockVideo
from tests.fakes.server import Answer
from tests.s3 import SECRET_KEY, MotoServer
from tests.valkey import PrivateValkey
from worker.blob_settings import refuse_a_store_that_keeps
from worker.cli import ExitCode, main
from worker.doctor import Finding, Verdict
from worker.doctor._providers import outputs
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


KEY = f"{FILMS_ACCESS_KEY}:{FILMS_SECRET}:{TOKEN}"


def films(output: str | None, key: str = KEY) -> dict[str, Account]:
    return {"bedrock-video": Account(key=SecretStr(key), output=output)}


@pytest.mark.parametrize(
    ("status", "verdict", "words"),
    [
        (None, Verdict.OK, "nothing keeps"),
        ("Enabled", Verdict.BROKEN, "versions are kept"),
        ("Suspended", Verdict.WARNING, "versions were kept once"),
    ],
)
def test_the_bucket_where_films_land_must_keep_no_versions(
    moto: MotoServer, status: str | None, verdict: Verdict, words: str
) -> None:
    bucket = moto.new_bucket(versioned=status is not None)
    if status is not None:
        moto.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})

    (finding,) = outputs(films(f"{moto.endpoint}/{bucket}/films"))

    assert (finding.check, finding.verdict) == ("bucket of bedrock-video", verdict)
    assert words in finding.found


def test_the_bucket_where_films_land_must_have_no_lock(moto: MotoServer) -> None:
    bucket = moto.new_bucket(ObjectLockEnabledForBucket=True)

    (finding,) = outputs(films(f"{moto.endpoint}/{bucket}"))

    assert (finding.verdict, "never kept versions" in finding.advice) == (Verdict.BROKEN, True)


def test_a_lock_alone_is_seen() -> None:
    with FakeBedrockVideo() as fake:
        fake.settings["object-lock="] = Answer(200, b"<X><ObjectLockEnabled>Enabled</ObjectLockEnabled></X>")
        (finding,) = outputs(films(fake.output))

    assert finding.verdict is Verdict.BROKEN
    assert "object lock is enabled" in finding.found


def test_a_bucket_for_films_that_is_not_there_is_broken(moto: MotoServer) -> None:
    (finding,) = outputs(films(f"{moto.endpoint}/nobody-made-this"))

    assert (finding.verdict, finding.found) == (Verdict.BROKEN, "cannot be used")
    assert "no bucket of the name in DAYFLY_PROVIDER_BEDROCK_VIDEO_OUTPUT" in finding.advice


def test_an_account_that_names_no_bucket_or_has_another_key_is_broken() -> None:
    with FakeBedrockVideo() as fake:
        (unnamed,), (refused,) = outputs(films(None)), outputs(films(fake.output, KEY.replace(TOKEN, "another")))

    assert unnamed.verdict is refused.verdict is Verdict.BROKEN
    assert "names no bucket" in unnamed.advice
    assert "does not accept the credential" in refused.advice


def test_settings_that_are_not_shown_are_a_warning_with_the_permissions_that_are_missing() -> None:
    with FakeBedrockVideo() as fake:
        fake.settings = dict.fromkeys(fake.settings, Answer(403, b"<Error/>"))
        (finding,) = outputs(films(fake.output))

    assert finding.verdict is Verdict.WARNING
    assert finding.found.endswith("versioning and object lock")
    assert "s3:GetBucketVersioning" in finding.advice


def test_a_key_that_may_list_its_own_folder_only_is_enough() -> None:
    with FakeBedrockVideo() as fake:
        (finding,) = outputs(films(fake.output))
        (elsewhere,) = outputs(films(fake.output.removesuffix("/films")))

    assert (finding.verdict, finding.found) == (Verdict.OK, "nothing keeps what is deleted")
    assert (elsewhere.verdict, elsewhere.found) == (Verdict.BROKEN, "cannot be used")
    assert fake.wrong == []


@pytest.mark.parametrize(
    "answer",
    [*(Answer(status, b"<Error/>") for status in (400, 405, 501)), Answer(200, b"<ListBucketResult/>")],
    ids=["400", "405", "501", "what it holds"],
)
def test_a_server_of_another_house_that_does_not_know_these_settings_is_a_warning(answer: Answer) -> None:
    with FakeBedrockVideo() as fake:
        fake.settings = dict.fromkeys(fake.settings, answer)
        (finding,) = outputs(films(fake.output))

    assert finding.verdict is Verdict.WARNING
    assert finding.found.endswith("versioning and object lock")


def test_a_404_tells_of_a_lock_and_not_of_versions() -> None:
    with FakeBedrockVideo() as fake:
        fake.settings = dict.fromkeys(fake.settings, Answer(404, b"<Error/>"))
        (finding,) = outputs(films(fake.output))

    assert finding.verdict is Verdict.WARNING
    assert finding.found.endswith("its versioning")


def test_a_bucket_that_has_a_fault_is_not_taken_for_one_that_cannot_tell() -> None:
    with FakeBedrockVideo() as fake:
        fake.settings = dict.fromkeys(fake.settings, Answer(500, b"<Error/>"))
        (finding,) = outputs(films(fake.output))

    assert (finding.verdict, finding.found) == (Verdict.BROKEN, "cannot be used")


def test_providers_that_keep_results_themselves_have_no_bucket() -> None:
    assert [*outputs({"openai": Account(key=SecretStr("x")), "comfyui": Account(key=SecretStr(""))})] == []


def test_the_doctor_reads_the_accounts_of_this_process(
    moto: MotoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DAYFLY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAYFLY_PROVIDER_BEDROCK_VIDEO_KEY", KEY)
    monkeypatch.setenv("DAYFLY_PROVIDER_BEDROCK_VIDEO_OUTPUT", f"{moto.endpoint}/{moto.new_bucket(versioned=True)}")

    code = main(["doctor", "--json"])

    shown = capsys.readouterr().out
    findings = {finding["check"]: finding for finding in json.loads(shown)}
    assert (code, findings["bucket of bedrock-video"]["verdict"]) == (ExitCode.BROKEN_PROMISE, "broken")
    assert FILMS_SECRET not in shown
