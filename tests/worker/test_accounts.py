from __future__ import annotations

import pytest

from worker.accounts import hosts_of, read_accounts
from worker.errors import SettingsError

NAMES = ("openai", "remove-bg", "none")


def test_a_provider_with_a_key_has_an_account() -> None:
    accounts = read_accounts(
        NAMES,
        {
            "DAYFLY_PROVIDER_OPENAI_KEY": "k-1",
            "DAYFLY_PROVIDER_REMOVE_BG_KEY": "k-2",
            "DAYFLY_PROVIDER_REMOVE_BG_URL": "http://10.0.0.7:8080/v1",
            "DAYFLY_PROVIDER_OPENAI_MODEL": "gpt-image-1-mini",
            "DAYFLY_PROVIDER_OPENAI_URL": "",
            "DAYFLY_POLICY": "quick",
        },
    )

    assert set(accounts) == {"openai", "remove-bg"}
    assert accounts["openai"].key.get_secret_value() == "k-1"
    assert (accounts["openai"].base_url, accounts["openai"].model) == (None, "gpt-image-1-mini")
    assert hosts_of(accounts) == {"10.0.0.7"}
    assert "k-1" not in repr(accounts)


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("DAYFLY_PROVIDER_OPENIA_KEY", "k", "not a setting of a provider that is installed"),
        ("DAYFLY_PROVIDER_OPENAI_TOKEN", "k", "not a setting of a provider that is installed"),
        ("DAYFLY_PROVIDER_OPENAI_KEY", "canary\n", "holds characters that no key has"),
        ("DAYFLY_PROVIDER_OPENAI_URL", "canary", "is not a URL"),
        ("DAYFLY_PROVIDER_OPENAI_URL", "ftp://canary/", "is not a URL"),
        ("DAYFLY_PROVIDER_OPENAI_URL", "https://canary:99999/", "is not a URL"),
        ("DAYFLY_PROVIDER_OPENAI_URL", "https://user:canary@host/", "holds more than an address"),
        ("DAYFLY_PROVIDER_OPENAI_URL", "https://host/?key=canary", "holds more than an address"),
        ("DAYFLY_PROVIDER_OPENAI_OUTPUT", "canary", "is not a bucket"),
        ("DAYFLY_PROVIDER_OPENAI_OUTPUT", "s3://Canary_", "is not a bucket"),
        ("DAYFLY_PROVIDER_OPENAI_OUTPUT", "https://host/", "is not a bucket"),
        ("DAYFLY_PROVIDER_OPENAI_MODEL", "m", "DAYFLY_PROVIDER_OPENAI_KEY is not set"),
    ],
)
def test_a_wrong_one_is_named_and_not_quoted(setting: str, value: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_accounts(NAMES, {setting: value})

    assert sentence in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("output", "hosts"),
    [("s3://films/a", set()), ("https://vpce.test/films", {"vpce.test"}), ("http://10.0.0.9:9000/b-1/c", {"10.0.0.9"})],
)  # fmt: skip
def test_a_bucket_at_an_endpoint_of_ones_own_may_have_a_private_address(output: str, hosts: set[str]) -> None:
    accounts = read_accounts(("acme",), {"DAYFLY_PROVIDER_ACME_KEY": "k", "DAYFLY_PROVIDER_ACME_OUTPUT": output})

    assert (accounts["acme"].output, hosts_of(accounts)) == (output, hosts)


def test_a_server_of_ones_own_needs_no_key() -> None:
    accounts = read_accounts(("automatic1111",), {"DAYFLY_PROVIDER_AUTOMATIC1111_URL": "http://10.0.0.8:7860"})

    assert accounts["automatic1111"].key.get_secret_value() == ""
    assert hosts_of(accounts) == {"10.0.0.8"}
