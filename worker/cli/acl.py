"""The users of the pool's Redis servers."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from worker.acl import ServerKind, UserRole, acl_file, rules, users
from worker.cli._errors import UsageError
from worker.cli._output import Json, print_json

_PASSWORD_BYTES = 32
_LEAST_LENGTH = 16


def add_to(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("acl")(acl)


def acl(
    passwords: Annotated[
        Path,
        typer.Option(
            "--passwords",
            help="The file of passwords, one role=password a line; roles that are missing are added with a random one.",
        ),
    ],
    server: Annotated[
        ServerKind, typer.Option("--server", help="What the server holds: records, keys, both of them (all), or roots.")
    ] = ServerKind.ALL,
    replicated: Annotated[
        bool, typer.Option("--replicated", help="Add the users of its replicas and its sentinels.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print the ACL file of a Redis server: a user for each process, with the least it needs."""
    roles = users(server, replicated=replicated)
    known = _completed(passwords, roles)
    if as_json:
        print_json([{"role": role.value, "user": role.user, "rules": rules(role, server)} for role in roles])
        return
    print(acl_file(server, known, replicated=replicated), end="")


def _completed(file: Path, roles: list[UserRole]) -> dict[UserRole, str]:
    """Read the file and add what is missing; nobody but its owner may read one that is made here."""
    try:
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        known = dict(_read(file, text))
        missing = {role: secrets.token_urlsafe(_PASSWORD_BYTES) for role in roles if role not in known}
        if missing:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with open(descriptor, "w", encoding="utf-8") as target:
                target.write("\n" if text and not text.endswith("\n") else "")
                target.writelines(f"{role.value}={password}\n" for role, password in missing.items())
    except OSError as error:
        raise UsageError(f"The file {file} cannot be used ({error.strerror}); choose another.") from error
    return known | missing


def _read(file: Path, text: str) -> list[tuple[UserRole, str]]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, _, password = line.partition("=")
        if name not in list(UserRole):
            raise UsageError(f"Line {number} of {file} names no role; a line is role=password, roles: {_ROLES}.")
        if len(password) < _LEAST_LENGTH or not password.isascii() or not password.isprintable() or " " in password:
            # The ACL file holds a plain digest of it, from which a short one can be guessed.
            raise UsageError(
                f"The password in line {number} of {file} is too short or has characters that no password of Redis "
                f"should have; use at least {_LEAST_LENGTH} printable ones without spaces."
            )
        found.append((UserRole(name), password))
    return found


_ROLES = ", ".join(UserRole)
