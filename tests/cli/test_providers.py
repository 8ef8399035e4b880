"""`dayfly providers`: accounts, their health, and the check of a credential."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from providers import ProviderRegistry
from tests.fakes.server import KEY
from tests.fakes.task_vendors import FakeReplicate
from tests.valkey import PrivateValkey
from worker.cli import ExitCode, main
from worker.gate import AccountKey, Gate, Verdict

ACCOUNT = AccountKey("replicate", "main")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYFLY_HOME", str(tmp_path / "home"))


@pytest.fixture
def gate(valkey: PrivateValkey, monkeypatch: pytest.MonkeyPatch) -> Gate:
    monkeypatch.setenv("DAYFLY_REDIS_URL", valkey.url)
    return Gate(valkey.client())


@pytest.fixture
def replicate(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeReplicate]:
    with FakeReplicate() as fake:
        monkeypatch.setenv("DAYFLY_PROVIDER_REPLICATE_KEY", KEY)
        monkeypatch.setenv("DAYFLY_PROVIDER_REPLICATE_URL", f"{fake.url}/v1")
        yield fake


def row(capsys: pytest.CaptureFixture[str], name: str) -> dict[str, Any]:
    assert main(["providers", "--json"]) == ExitCode.OK
    (found,) = [each for each in json.loads(capsys.readouterr().out) if each["name"] == name]
    return found


def test_looking_at_providers_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert row(capsys, "fal")["health"] == "never called"
    assert not (tmp_path / "home").exists()


def test_a_credential_is_present_missing_or_not_needed_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DAYFLY_PROVIDER_FAL_KEY", KEY)
    monkeypatch.setenv("DAYFLY_PROVIDER_FAL_REGION", "us-east")

    fal = row(capsys, "fal")
    assert (fal["credential"], fal["region"]) == ("present", "us-east")
    assert row(capsys, "bfl")["credential"] == "missing"
    assert row(capsys, "bfl")["setting"] == "DAYFLY_PROVIDER_BFL_KEY"
    assert row(capsys, "local")["credential"] == "not needed"
    main(["providers"])
    assert KEY not in capsys.readouterr().out


def test_a_narrow_terminal_breaks_no_word_of_the_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)

    main(["providers"])

    told = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    assert max(map(len, told.splitlines())) <= 80
    registry = ProviderRegistry.from_entry_points()
    for name in registry.names():
        able = registry.get(name).capabilities
        for word in " ".join([name, *able.operations, *able.regions, *able.retention_note.split()]).split():
            assert word in told, f"{word} of {name}"
    for kind, words in {"bfl": "no", "luma": "the task", "comfyui": "its files", "local": "not needed"}.items():
        assert re.search(rf"^ {kind} .* {words} ", told, re.MULTILINE)
    assert re.search(r"^ comfyui .* no address", told, re.MULTILINE)


def test_the_health_of_an_account_is_told_in_words(gate: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    long = timedelta(minutes=5)
    for holder in ("first", "second"):
        gate.enter(ACCOUNT, holder, slot_for=long, at_once=1, a_minute=None)
    busy = row(capsys, "replicate")
    gate.report(ACCOUNT, Verdict("held", span=long))
    gate.report(ACCOUNT, Verdict("stopped", "out-of-credit", long))
    stopped = row(capsys, "replicate")

    assert busy["health"] == "1 under way; 1 waiting"
    assert stopped["health"].startswith("stopped (out-of-credit) since 20")
    assert "; held until 20" in stopped["health"]
    assert stopped["stopped"] == "out-of-credit"


def test_a_redis_that_is_away_does_not_hide_the_rest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DAYFLY_REDIS_URL", "redis://127.0.0.1:1/0")

    assert row(capsys, "fal")["health"] == "not known: Redis cannot be reached"
    assert row(capsys, "local")["health"] == "ok"


def test_a_credential_that_is_accepted_has_the_account_called_again(
    gate: Gate, replicate: FakeReplicate, capsys: pytest.CaptureFixture[str]
) -> None:
    gate.report(ACCOUNT, Verdict("stopped", "auth-failed", timedelta(minutes=5)))

    assert main(["providers", "check", "replicate"]) == ExitCode.OK
    assert capsys.readouterr().out == "replicate: accepted\n"
    assert gate.states()[0].reason is None
    assert replicate.charges == 0


def test_a_credential_that_is_not_accepted_fails_and_leaves_the_account_stopped(
    gate: Gate, replicate: FakeReplicate, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gate.report(ACCOUNT, Verdict("stopped", "auth-failed", timedelta(minutes=5)))
    monkeypatch.setenv("DAYFLY_PROVIDER_REPLICATE_KEY", "another")

    assert main(["providers", "check", "replicate", "--json"]) == ExitCode.FAILED
    assert json.loads(capsys.readouterr().out)["accepted"] is False
    assert gate.states()[0].reason == "auth-failed"


@pytest.mark.parametrize("name", ["local", "none"])
def test_what_cannot_be_checked_says_why(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["providers", "check", name]) == ExitCode.OK
    assert capsys.readouterr().out == f"{name}: not checked: it works on this machine and has no credential.\n"


def test_checking_without_a_credential_names_the_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["providers", "check", "openai"]) == ExitCode.FAILED
    assert "DAYFLY_PROVIDER_OPENAI_KEY" in capsys.readouterr().out
    assert main(["providers", "check", "nobody"]) == ExitCode.USAGE
