"""
What adapters to servers of one's own share: an address that must be set, a credential that need not be.

Nobody is charged for a call, so that a lost answer costs time only: such a call may be repeated. The pictures stay with
the operator, who is the one to protect the server: neither of the two speaks TLS by itself.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import ClassVar, Final

from providers.accounts import Account
from providers.errors import AuthFailed
from providers.network import NetworkProvider
from providers.transport import SUBMIT, WORK

FREE_WORK: Final = replace(WORK, paid=False)
"""A call that works while we wait, at nobody's expense."""
FREE_SUBMIT: Final = replace(SUBMIT, paid=False)
"""A call that starts a task, at nobody's expense."""


class SelfHostedProvider(NetworkProvider):
    """A server of the operator's own. Its only address is the one in the account."""

    default_url: ClassVar[str] = ""
    credential_hosts: ClassVar[tuple[str, ...]] = ()

    def _headers(self, key: str) -> dict[str, str]:
        if not key:
            return {}
        if ":" in key:
            return {"authorization": f"Basic {base64.b64encode(key.encode()).decode()}"}
        # Neither server knows tokens; a proxy before it may.
        return {"authorization": f"Bearer {key}"}

    @property
    def account(self) -> Account:
        """
        The account: an address, and a key only if the server asks for one.

        Raises:
            AuthFailed: None is configured.
        """
        account = self.tools.accounts.get(self.name)
        if account is None:
            raise AuthFailed(f"The provider {self.name!r} has no address; set DAYFLY_PROVIDER_{self.name.upper()}_URL.")
        return account

    def _checkpoint(self, named: str | None) -> str | None:
        """Return the file of the model to work with: a name on the operator's disk, and never part of an address."""
        return named or self.account.model
