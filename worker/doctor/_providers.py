"""The accounts at providers, and the places of the operator's own where results are left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from providers import Account, OutputPlace, ProviderError, ProviderRegistry, ProviderTools, Transport
from worker.accounts import hosts_of, read_accounts
from worker.doctor._findings import Finding, broken, ok, warning
from worker.errors import SettingsError

_ADVICE = "use a bucket that never kept versions and has no object lock: what is deleted there must be gone"


def providers(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Judge the accounts that the environment names."""
    try:
        accounts = read_accounts(ProviderRegistry.from_entry_points().names(), environ)
    except SettingsError as error:
        # A line each would break the table.
        yield broken("providers", "the settings are wrong", " ".join(map(str, error.problems)))
        return
    yield from outputs(accounts)


def outputs(accounts: Mapping[str, Account]) -> Iterator[Finding]:
    """Judge what becomes of a film that is deleted from the bucket of an account, where an account has one."""
    registry = ProviderRegistry.from_entry_points()
    with Transport(trusted=hosts_of(accounts)) as transport:
        tools = ProviderTools(transport=transport, accounts=accounts)
        for name in sorted(accounts):
            check = f"bucket of {name}"
            try:
                place = registry.build(name, tools).output_place()
            except ProviderError as error:
                yield broken(check, "cannot be used", error.message)
                continue
            if place is not None:
                yield _judged(check, place)


def _judged(check: str, place: OutputPlace) -> Finding:
    if "Enabled" in (place.versions, place.lock):
        kept = "versions are kept" if place.versions == "Enabled" else "object lock is enabled"
        return broken(check, f"{kept}: a deleted film stays, and its job says that it was erased", _ADVICE)
    if place.versions:
        return warning(check, "versions were kept once: films deleted then may still be there", _ADVICE)
    hidden = [what for what, told in (("versioning", place.versions), ("object lock", place.lock)) if told is None]
    if hidden:
        advice = "allow the key s3:GetBucketVersioning and s3:GetBucketObjectLockConfiguration, or look yourself"
        return warning(check, f"does not tell of its {' and '.join(hidden)}", advice)
    return ok(check, "nothing keeps what is deleted")
