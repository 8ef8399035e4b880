"""The processes of the pool."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from worker.errors import SettingsError
from worker.logs import configure
from worker.settings import EarlySettings, SandboxMode, Settings

Port = Annotated[
    int | None,
    typer.Option("--metrics-port", min=0, max=65_535, help="The port of /metrics and /healthz; 0 serves none."),
]

EXPORTER_PORT = 9464
WEBHOOKS_PORT = 8088


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("worker")(worker)
    app.command("sweeper")(sweeper)
    app.command("exporter")(exporter)
    app.command("webhooks")(webhooks)


def worker(metrics_port: Port = None) -> int:
    """Work on jobs until told to stop."""
    from pipelines import Sandbox

    # Before any setting that may hold a secret is read: what decodes hostile images starts from a clean process.
    try:
        strict = EarlySettings.load().sandbox is SandboxMode.STRICT
    except SettingsError:
        # Nothing starts any more, so the others may be read: all that are wrong are told at once.
        _settings(metrics_port)
        raise
    with Sandbox(strict=strict) as sandbox:
        settings = _settings(metrics_port)
        if sandbox.missing_layers:
            print(f"The sandbox lacks {', '.join(sandbox.missing_layers)}; see 'dayfly doctor'.", file=sys.stderr)
        from worker.pool import run_worker

        return run_worker(settings, sandbox)


def sweeper(metrics_port: Port = None) -> int:
    """Finish what crashes left: due keys, stuck jobs, orphans, receipts, rotation."""
    from worker.sweeper import run_sweeper

    return run_sweeper(_settings(metrics_port))


def exporter(metrics_port: Port = None) -> int:
    """Serve the figures of the pool to Prometheus."""
    from worker.exporter import run_exporter

    settings = _settings(metrics_port)
    if metrics_port is None and not settings.metrics_port:
        settings = settings.model_copy(update={"metrics_port": EXPORTER_PORT})
    return run_exporter(settings)


def webhooks(
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="The port to listen on.")] = WEBHOOKS_PORT,
    metrics_port: Port = None,
) -> int:
    """Take providers' reports that a task has ended."""
    from worker.webhook_server import run_webhooks

    return run_webhooks(_settings(metrics_port), host, port)


def _settings(metrics_port: int | None) -> Settings:
    given: dict[str, Any] = {} if metrics_port is None else {"metrics_port": metrics_port}
    settings = Settings.load(**given)
    configure(settings.log_level, settings.log_format)
    return settings
