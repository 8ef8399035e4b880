"""What there is, as tables and as data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.photos import jpeg
from worker.cli import ExitCode, main


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYFLY_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(
    ("command", "name", "tables"),
    [("recipes", "amazon-main", 1), ("providers", "local", 2), ("policies", "process-and-forget", 1)],
)
def test_each_catalogue_is_a_table_and_json(
    command: str, name: str, tables: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command]) == ExitCode.OK
    text = capsys.readouterr().out.splitlines()
    assert main([command, "--json"]) == ExitCode.OK
    rows = json.loads(capsys.readouterr().out)

    assert any(line.startswith(name) for line in text[1:])
    assert name in [row["name"] for row in rows]
    # Each has a head, and an empty line stands between two.
    assert len(text) == tables * (len(rows) + 1) + tables - 1


def test_hidden_recipes_are_shown_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    main(["recipes", "--json"])
    shown = {row["name"] for row in json.loads(capsys.readouterr().out)}
    main(["recipes", "--all", "--json"])
    everything = {row["name"] for row in json.loads(capsys.readouterr().out)}

    assert everything - shown == {"null"}


def test_checking_a_photo_names_each_marketplace_and_its_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(jpeg(700, 500))

    assert main(["recipes", "check", str(photo)]) == ExitCode.OK
    text = capsys.readouterr().out
    assert main(["recipes", "check", str(photo), "--json"]) == ExitCode.OK
    data = json.loads(capsys.readouterr().out)

    assert any(line.startswith("amazon-main  ") and "refused" in line for line in text.splitlines())
    assert (data["photo"]["width"], data["photo"]["height"]) == (700, 500)
    assert all(problem["sentence"] in text for one in data["marketplaces"] for problem in one["problems"])


def test_checking_for_a_marketplace_answers_by_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(jpeg(2100, 1600))

    assert main(["recipes", "check", str(photo), "--for", "etsy"]) == ExitCode.OK
    assert main(["recipes", "check", str(photo), "--for", "etsy", "--for", "amazon-main"]) == ExitCode.FAILED
    assert main(["recipes", "check", str(photo), "--for", "amazon"]) == ExitCode.USAGE
    assert main(["recipes", "check", str(tmp_path / "none.jpg")]) == ExitCode.USAGE
    photo.write_bytes(b"no photo")
    assert main(["recipes", "check", str(photo)]) == ExitCode.FAILED
    assert "not a photo" in capsys.readouterr().err


def test_the_default_policy_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    main(["policies"])

    assert "process-and-forget (default)" in capsys.readouterr().out


def test_doctor_gives_the_same_findings_as_table_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])

    findings = json.loads(capsys.readouterr().out)
    assert {"check", "verdict", "found", "advice", "promise"} == set(findings[0])
    broken = [finding for finding in findings if finding["verdict"] == "broken"]
    assert code == (ExitCode.BROKEN_PROMISE if broken else ExitCode.OK)


def test_doctor_says_by_its_exit_code_that_a_promise_is_broken(dayfly: Run, tmp_path: Path) -> None:
    done = dayfly("doctor", roots_uploads="volatile:/etc/dayfly-test")

    assert done.returncode == ExitCode.BROKEN_PROMISE
    assert "roots of class upload" in done.stdout
    assert "broken" in done.stdout


def test_doctor_looks_at_everything_although_settings_of_providers_are_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DAYFLY_PROVIDER_OPNAI_KEY", "key-canary")
    monkeypatch.setenv("DAYFLY_PROVIDER_REPLICATE_URL", "no address")

    code = main(["doctor", "--json"])
    told = capsys.readouterr()
    main(["doctor"])
    table = capsys.readouterr().out

    findings = {finding["check"]: finding for finding in json.loads(told.out)}
    assert code == ExitCode.BROKEN_PROMISE
    assert {"home folder", "sandbox", "swap"} <= set(findings), "the others are shown all the same"
    assert findings["providers"]["verdict"] == "broken"
    assert "DAYFLY_PROVIDER_OPNAI_KEY is not a setting of a provider" in findings["providers"]["advice"]
    assert "DAYFLY_PROVIDER_REPLICATE_URL is not a URL" in findings["providers"]["advice"]
    assert findings["providers"]["advice"] in table, "in one line"
    assert "canary" not in told.out + told.err + table


def test_the_version_and_the_help_need_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == ExitCode.OK
    version = capsys.readouterr().out
    assert main([]) == ExitCode.OK
    shown = capsys.readouterr().out

    assert version.startswith("dayfly ")
    for command in ("demo", "worker", "sweeper", "exporter", "submit", "job", "fetch", "recipes", "doctor"):
        assert command in shown
