"""Settings: every wrong one named at once, nothing secret printed, nothing silently ignored."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from worker.errors import SettingsError
from worker.settings import EarlySettings, LogFormat, SandboxMode, Settings

SECRET = "correct-horse-battery-staple"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("DAYFLY_"):
            monkeypatch.delenv(name)


def test_with_nothing_set_everything_is_on_this_machine() -> None:
    settings = Settings.load()

    assert settings.embedded
    assert settings.home == Path("~/.local/state/dayfly").expanduser()
    assert (settings.policy, settings.sandbox, settings.log_format) == (
        "process-and-forget",
        SandboxMode.STRICT,
        LogFormat.AUTO,
    )


def test_every_wrong_setting_is_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "DAYFLY_HOME": "relative/path",
        "DAYFLY_REDIS_URL": "http://host",
        "DAYFLY_KEYS_URL": "redis://host:port",
        "DAYFLY_BLOBS": "/no/scheme",
        "DAYFLY_POLICIES_DIR": "/nonexistent/folder",
        "DAYFLY_SUBJECT_KEY": "short",
        "DAYFLY_WORKER_THREADS": "many",
        "DAYFLY_LEASE_SECONDS": "0",
        "DAYFLY_SANDBOX": "off",
        "DAYFLY_METRICS_PORT": "70000",
        "DAYFLY_LOG_LEVEL": "chatty",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        Settings.load()

    assert {problem.setting for problem in caught.value.problems} == set(wrong)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(wrong)
    assert "DAYFLY_WORKER_THREADS is 'many'; allowed: a whole number from 1 to 256." in lines
    assert "DAYFLY_REDIS_URL has no scheme that Redis understands; allowed: redis://[user:password@]" in str(
        caught.value
    )


def test_a_root_must_outlive_the_rotation_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYFLY_ROOT_LIFETIME_OUTPUTS_SECONDS", "86400")

    with pytest.raises(SettingsError, match="DAYFLY_ROOT_LIFETIME_OUTPUTS_SECONDS is not longer than the rotation"):
        Settings.load()


def test_p1_secrets_print_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DAYFLY_REDIS_URL", "DAYFLY_KEYS_URL"):
        monkeypatch.setenv(name, f"redis://user:{SECRET}@host/0")
    monkeypatch.setenv("DAYFLY_SUBJECT_KEY", SECRET)

    settings = Settings.load()

    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


def test_p1_a_wrong_secret_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYFLY_REDIS_URL", f"redis://user:{SECRET}@")
    monkeypatch.setenv("DAYFLY_SUBJECT_KEY", SECRET[:10])

    with pytest.raises(SettingsError) as caught:
        Settings.load()
    with pytest.raises(ValidationError) as raw:
        Settings()

    assert SECRET[:10] not in f"{caught.value}{raw.value}"


def test_a_misspelt_setting_is_not_silently_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYFLY_ROTATION_UPLOAD_SECONDS", "5")

    with pytest.raises(
        SettingsError, match="DAYFLY_ROTATION_UPLOAD_SECONDS is not a setting; allowed: DAYFLY_ROTATION_"
    ):
        Settings.load()


def test_names_that_kubernetes_sets_for_a_service_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DAYFLY_PORT", "DAYFLY_REDIS_SERVICE_HOST", "DAYFLY_METRICS_PORT_9464_TCP_ADDR", "DAYFLY_REDIS_PORT"):
        monkeypatch.setenv(name, "tcp://10.0.0.1:6379")

    Settings.load()


def test_an_empty_value_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYFLY_REDIS_URL", "")

    assert Settings.load().embedded


def test_settings_cannot_be_changed() -> None:
    settings = Settings.load()

    with pytest.raises(ValidationError, match="frozen"):
        settings.worker_threads = 3  # type: ignore[misc]  # what the test is about


def test_every_setting_says_what_it_is_and_what_is_allowed() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description is not None, name
        assert field.description.endswith("."), name
        assert isinstance(field.json_schema_extra, dict), name
        assert field.json_schema_extra["allowed"], name


def test_the_sandbox_setting_is_read_without_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox starts before a secret is read, so a wrong secret must not matter yet."""
    monkeypatch.setenv("DAYFLY_SUBJECT_KEY", "short")
    monkeypatch.setenv("DAYFLY_SANDBOX", "relaxed")

    assert EarlySettings.load().sandbox is SandboxMode.RELAXED
    assert set(EarlySettings.model_fields) == {"sandbox"}

    monkeypatch.setenv("DAYFLY_SANDBOX", "off")
    with pytest.raises(SettingsError, match="DAYFLY_SANDBOX is 'off'; allowed: strict or relaxed"):
        EarlySettings.load()


def test_the_password_of_a_root_store_is_not_printed() -> None:
    settings = Settings(roots_uploads="rediss://pool:correct-horse@roots.example/0", roots_outputs="redis://:horse@r/0")

    assert "horse" not in repr(settings) + str(settings) + settings.model_dump_json()


def test_a_root_store_that_is_no_address_is_refused_without_repeating_it() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(roots_uploads="correct-horse")

    assert "DAYFLY_ROOTS_UPLOADS is not a URL" in str(caught.value)
    assert "horse" not in str(caught.value)
