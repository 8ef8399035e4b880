"""
A Valkey with the ACL file that `dayfly acl` generates: whoever connects is one of the pool's roles and no more.

    with AclValkey(ServerKind.KEYS) as server:
        server.as_role(UserRole.WEB).ping()
"""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path
from typing import Any

import redis

from tests.valkey import PrivateValkey
from worker.acl import ServerKind, UserRole, acl_file

PASSWORDS = {role: secrets.token_urlsafe(24) for role in UserRole}


class AclValkey(PrivateValkey):
    """A server that holds *kind*, with the users of the pool only."""

    def __init__(self, kind: ServerKind, *options: str, replicated: bool = False) -> None:
        with tempfile.NamedTemporaryFile("w", prefix="dayfly-", suffix=".acl", delete=False) as file:
            file.write(acl_file(kind, PASSWORDS, replicated=replicated))
        self._users = Path(file.name)
        super().__init__(None, "--aclfile", file.name, *options)

    def url_of(self, role: UserRole) -> str:
        """The address with the credentials of *role*."""
        return f"unix://{role.user}:{PASSWORDS[role]}@{self.socket}?db=0"

    def as_role(self, role: UserRole) -> redis.Redis:
        """Open a client of *role*."""
        return self.client(username=role.user, password=PASSWORDS[role])

    def refusals(self) -> list[str]:
        """What the server has refused to anybody, by its own log."""
        entries: Any = self.as_role(UserRole.ADMIN).acl_log()
        return [f"{entry['username']}: {entry['reason']} {entry['object']} ({entry['context']})" for entry in entries]

    def close(self) -> None:
        super().close()
        self._users.unlink(missing_ok=True)
