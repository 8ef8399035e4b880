"""What a command works with: the deployment that the settings name, as a web tier sees it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from worker.logs import configure
from worker.settings import Settings
from worker.wiring import Deployment, Role


@contextmanager
def deployment(*, rotates: bool = False) -> Iterator[Deployment]:
    """
    Open the deployment for one command.

    Args:
        rotates: Whether the command may rotate by itself on the embedded default, where its user holds the roots anyway
            and no sweeper may be running.
    """
    settings = Settings.load()
    # A command's own output is its log; only what an operator asked for comes beside it.
    configure(settings.log_level if "log_level" in settings.model_fields_set else "error", settings.log_format)
    role = Role.SWEEPER if rotates and settings.embedded else Role.WEB
    with Deployment.open(settings, role) as opened:
        yield opened
