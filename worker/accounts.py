"""
The accounts at providers, read once when a worker starts.

    DAYFLY_PROVIDER_<NAME>_KEY      the credential; the name in capitals, with _ for -; servers of one's own need none
    DAYFLY_PROVIDER_<NAME>_URL      where to call instead of the adapter's default: a region, a server of one's own
    DAYFLY_PROVIDER_<NAME>_MODEL    which model to ask for instead of the adapter's default
    DAYFLY_PROVIDER_<NAME>_OUTPUT   the bucket for results that the provider keeps nowhere itself (bedrock-video)
    DAYFLY_PROVIDER_<NAME>_REGION   where what is sent there is processed, as the operator knows it
    DAYFLY_PROVIDER_<NAME>_AT_ONCE  the most calls and tasks under way at the account, of all workers together
    DAYFLY_PROVIDER_<NAME>_A_MINUTE the most calls begun in a minute, of all workers together

Only a worker reads them: a web tier, a sweeper and an exporter hold no credential of a provider.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from providers import Account, Capabilities
from providers.accounts import KEYLESS
from worker.errors import SettingProblem, SettingsError

PREFIX: Final = "DAYFLY_PROVIDER_"
SECRET: Final = "WEBHOOK_SECRET"
_FIELDS: Final = ("KEY", "URL", "MODEL", "OUTPUT", "REGION", "AT_ONCE", "A_MINUTE")
_COUNT: Final = re.compile(r"[1-9][0-9]{0,4}")
_REGION: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_OUTPUT: Final = re.compile(r"(s3:/|https?://[A-Za-z0-9.:-]+)/[a-z0-9][.a-z0-9-]{1,61}[a-z0-9](/[A-Za-z0-9/_.-]*)?")
_SETTING: Final = re.compile(rf"{PREFIX}(?P<provider>[A-Z0-9_]+?)_(?P<field>{'|'.join((*_FIELDS, SECRET))})")
_ALLOWED: Final = (
    f"{PREFIX}<NAME>_{', _'.join(_FIELDS[:-1])} or _{_FIELDS[-1]}, the name in capitals, as 'dayfly providers' lists it"
)


def read_accounts(names: Iterable[str], environ: Mapping[str, str]) -> dict[str, Account]:
    """
    Return the account of each provider that has one.

    Args:
        names: The registered providers.
        environ: The environment.

    Raises:
        SettingsError: A name or a value is wrong; all of them are listed, and no value is quoted.
    """
    spelt = {name.upper().replace("-", "_"): name for name in names}
    given: dict[str, dict[str, str]] = {}
    problems = []
    for setting in sorted(environ):
        if not setting.startswith(PREFIX) or not environ[setting]:
            continue
        found = _SETTING.fullmatch(setting)
        if found is None or found["provider"] not in spelt:
            problems.append(SettingProblem(setting, "is not a setting of a provider that is installed", _ALLOWED))
            continue
        if found["field"] == SECRET:
            # That of the process which receives webhooks, which has no credential; see `read_webhook_secrets`.
            continue
        given.setdefault(spelt[found["provider"]], {})[found["field"]] = environ[setting]
        problem = _problem(found["field"], environ[setting])
        if problem is not None:
            problems.append(SettingProblem(setting, *problem))
    for name, values in given.items():
        if "KEY" not in values and name not in KEYLESS:
            setting = f"{PREFIX}{name.upper().replace('-', '_')}_KEY"
            problems.append(SettingProblem(setting, "is not set, and another setting of the provider is", "the key"))
    if problems:
        raise SettingsError(problems)
    return {
        name: Account(
            key=SecretStr(values.get("KEY", "")),
            base_url=values.get("URL"),
            model=values.get("MODEL"),
            output=values.get("OUTPUT"),
            region=values.get("REGION"),
            at_once=int(values["AT_ONCE"]) if "AT_ONCE" in values else None,
            a_minute=int(values["A_MINUTE"]) if "A_MINUTE" in values else None,
        )
        for name, values in given.items()
    }


def webhook_setting(name: str) -> str:
    """Name the setting of the secret by which a provider signs."""
    return f"{PREFIX}{name.upper().replace('-', '_')}_{SECRET}"


def read_webhook_secrets(names: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """
    Return the secret by which each provider that has one signs its webhooks (`DAYFLY_PROVIDER_<NAME>_WEBHOOK_SECRET`),
    or the public key, where it signs with the other half of one.

    Raises:
        SettingsError: One is not of the form that providers give out.
    """
    found, problems = {}, []
    for name in names:
        setting = webhook_setting(name)
        value = environ.get(setting)
        if not value:
            continue
        try:
            base64.b64decode(value.removeprefix("whsec_"), validate=True)
        except ValueError:
            problems.append(
                SettingProblem(
                    setting, "is not a webhook secret", "base64, with or without whsec_, as the provider shows it"
                )
            )
            continue
        found[name] = value
    if problems:
        raise SettingsError(problems)
    return found


def hosts_of(accounts: Mapping[str, Account]) -> set[str]:
    """Return the hosts the operator named himself, which may have private addresses."""
    named = (url for account in accounts.values() for url in (account.base_url, account.output))
    return {host for url in named if url and not url.startswith("s3:") and (host := urlsplit(url).hostname)}


def region_of(able: Capabilities, account: Account | None) -> str | None:
    """Say where a provider processes the data: what the operator says of the account, else its only region."""
    if account is not None and account.region is not None:
        return account.region
    return able.regions[0] if len(able.regions) == 1 else None


def _problem(field: str, value: str) -> tuple[str, str] | None:
    if field == "KEY" and (not value.isascii() or not value.isprintable() or " " in value):
        # It becomes a header; a line break from a file is the usual mistake.
        return "holds characters that no key has", "the key alone, without a line break or a space"
    if field in ("AT_ONCE", "A_MINUTE") and not _COUNT.fullmatch(value):
        return "is not a number of calls", "a whole number from 1 to 99999"
    if field == "REGION" and not _REGION.fullmatch(value):
        return "is not the name of a region", "lowercase letters, digits and hyphens, such as eu or eu-central-1"
    if field == "OUTPUT" and not _OUTPUT.fullmatch(value):
        return "is not a bucket", "s3://bucket[/prefix], or https://endpoint/bucket[/prefix]"
    if field == "URL":
        allowed = "https://host[:port][/path], or http:// for a server of your own"
        try:
            parts = urlsplit(value)
            parts.port  # noqa: B018  the attribute checks the port
        except ValueError:
            return "is not a URL", allowed
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return "is not a URL", allowed
        if "@" in parts.netloc or parts.query or parts.fragment:
            return "holds more than an address", allowed
    return None
