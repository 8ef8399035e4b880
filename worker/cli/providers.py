"""`dayfly providers`: who can be asked, for what, what they keep, and how their accounts are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from providers import (
    MAIN,
    Account,
    BrokenProviderError,
    EraseSupport,
    ProviderError,
    ProviderRegistry,
    ProviderTools,
    Transport,
)
from providers.accounts import KEYLESS
from worker.accounts import PREFIX, hosts_of, read_accounts, region_of
from worker.cli._errors import ExitCode
from worker.cli._output import Json, moment, print_json, print_table
from worker.errors import ServerUnavailableError
from worker.gate import WELL, AccountKey, AccountState, Gate
from worker.servers import connected
from worker.settings import Settings

_ERASES: Final = {
    EraseSupport.NOT_NEEDED: "not needed",
    EraseSupport.NONE: "no",
    EraseSupport.TASK: "the task",
    EraseSupport.OUTPUT_ONLY: "the output only",
    EraseSupport.FILES: "its files",
}

app = typer.Typer(help="Who can be asked, for what, what they keep, and how their accounts are.", add_completion=False)


@app.callback(invoke_without_command=True)
def providers(context: typer.Context, as_json: Json = False) -> None:
    """Show who can be asked, for what, what they keep, and how their accounts are."""
    if context.invoked_subcommand is not None:
        return
    registry = ProviderRegistry.from_entry_points()
    accounts = read_accounts(registry.names(), os.environ)
    states = _states(Settings.load())
    rows = [_provider(registry, name, accounts.get(name), states) for name in registry.names()]
    if as_json:
        print_json(rows)
        return
    # Two tables, because one of all columns is wider than any terminal.
    print_table(
        ("provider", "region", "can erase", "credential", "health"),
        [_account(row) for row in rows],
    )
    print()
    print_table(
        ("provider", "charges", "operations", "what it keeps"),
        [_offer(row) for row in rows if _able(row)],
    )


@app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The provider, as 'dayfly providers' lists it.")],
    as_json: Json = False,
) -> int:
    """
    Show a provider its credential, with a call that costs nothing and carries no picture.

    Where it is accepted, an account that had been stopped is called again at once. Exit code 1 if it is not accepted.
    """
    settings = Settings.load()
    registry = ProviderRegistry.from_entry_points()
    accounts = read_accounts(registry.names(), os.environ)
    with Transport(trusted=hosts_of(accounts)) as transport:
        provider = registry.build(name, ProviderTools(transport=transport, accounts=accounts))
        can = provider.check_note is None
        try:
            if can:
                provider.check()
            said = "accepted" if can else f"not checked: {provider.check_note}"
            accepted = True if can else None
        except ProviderError as error:
            said, accepted = f"{error.code}: {error.message}", False
    if accepted:
        _call_again(settings, AccountKey(name, accounts[name].credential if name in accounts else MAIN))
    if as_json:
        print_json({"provider": name, "accepted": accepted, "answer": said})
    else:
        print(f"{name}: {said}")
    return ExitCode.FAILED if accepted is False else ExitCode.OK


def _provider(
    registry: ProviderRegistry, name: str, account: Account | None, states: Sequence[AccountState] | None
) -> dict[str, Any]:
    try:
        able = registry.get(name).capabilities
    except BrokenProviderError as error:
        return {"name": name, "problem": error.message}
    own = None if states is None else next((state for state in states if state.key.provider == name), None)
    region = region_of(able, account)
    return {
        "name": name,
        "operations": sorted(able.operations),
        "shape": able.shape,
        "network": able.network,
        "first_party": able.stays_with_us,
        "charges": able.charges,
        "retention_note": able.retention_note,
        "erase": able.erase,
        "cancel": able.cancel,
        "idempotency": able.idempotency,
        "regions": list(able.regions),
        "region": region,
        "credential": "not needed" if not able.network else "present" if account is not None else "missing",
        "setting": None if not able.network else f"{PREFIX}{name.upper().replace('-', '_')}_KEY",
        "at_once": None if account is None else account.at_once,
        "a_minute": None if account is None else account.a_minute,
        "health": _health(able.network, states is not None, own),
        "in_use": 0 if own is None else own.in_use,
        "waiting": 0 if own is None else own.waiting,
        "stopped": None if own is None or own.reason is None else own.reason,
        "stopped_until": None if own is None or own.until is None else own.until.isoformat(),
    }


def _able(row: Mapping[str, Any]) -> bool:
    return "problem" not in row


def _account(row: Mapping[str, Any]) -> tuple[str, ...]:
    if not _able(row):
        return (row["name"], "", "", "", row["problem"])
    if not row["network"]:
        region = "this machine"
    elif row["first_party"]:
        region = "a server of your own"
    else:
        region = row["region"] or ", ".join(row["regions"]) or "not said"
    no_account = row["name"] in KEYLESS and row["credential"] == "missing"
    return (
        row["name"],
        region,
        _ERASES[row["erase"]],
        "no address" if no_account else row["credential"],
        row["health"],
    )


def _offer(row: Mapping[str, Any]) -> tuple[str, ...]:
    charges = "yes" if row["charges"] else "no"
    return (row["name"], charges, ", ".join(row["operations"]) or "none", row["retention_note"])


def _health(network: bool, known: bool, state: AccountState | None) -> str:
    """Say in a few words how an account is; a part for each thing that is worth one."""
    if not network:
        return "ok"
    if not known:
        return "not known: Redis cannot be reached"
    if state is None:
        return "never called"
    parts = []
    now = datetime.now(UTC)
    if state.reason is not None and state.until is not None:
        since = "" if state.since is None else f" since {moment(state.since)}"
        when = f"until {moment(state.until)} UTC" if state.until > now else "the next call tries again"
        parts.append(f"stopped ({state.reason}){since}, {when}")
    if state.held_until is not None:
        parts.append(f"held until {moment(state.held_until)} UTC")
    if state.in_use:
        parts.append(f"{state.in_use} under way")
    if state.waiting:
        parts.append(f"{state.waiting} waiting")
    return "; ".join(parts) or "ok"


def _states(settings: Settings) -> list[AccountState] | None:
    """Read how the accounts are; None if nobody can say."""
    if settings.embedded and not (settings.home / "valkey").exists():
        # Nothing has ever run here, and looking must not start a server.
        return []
    try:
        with connected(settings) as clients:
            return Gate(clients.main).states()
    except ServerUnavailableError:
        return None


def _call_again(settings: Settings, key: AccountKey) -> None:
    for state in _states(settings) or ():
        if state.key == key and state.reason is not None:
            with connected(settings) as clients:
                Gate(clients.main).report(key, WELL)
