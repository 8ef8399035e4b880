"""
Check what the promises lean on, and say what to change.

    for finding in examine(Settings.load()):
        print(finding.verdict, finding.check, finding.advice)

A finding is *broken* if, with it, some promise of the design does not hold on this machine; a *warning* weakens one or
will break one later.
"""

from __future__ import annotations

from collections.abc import Mapping

from worker.doctor._findings import Finding, Verdict
from worker.doctor._machine import core_dumps, home_folder, sandbox_layers, swap
from worker.doctor._providers import providers
from worker.doctor._server import server, transport
from worker.doctor._start import examine_machine, examine_servers
from worker.doctor._stores import blobs, catalogue, figures, lifecycle, roots
from worker.errors import WorkerError
from worker.servers import connected
from worker.settings import Settings

__all__ = ["Finding", "Verdict", "examine", "examine_machine", "examine_servers", "lifecycle"]


def examine(settings: Settings, environ: Mapping[str, str] | None = None) -> list[Finding]:
    """
    Look at everything; what cannot be looked at is a finding, too.

    Args:
        environ: Where the accounts at providers stand, if this process has their credentials.
    """
    findings = [home_folder(settings)]
    try:
        with connected(settings) as clients:
            findings += [transport("Redis", settings.redis_url), *server("Redis", clients.main, settings)]
            if clients.keys is not clients.main:
                findings += [transport("key store", settings.keys_url), *server("key store", clients.keys, settings)]
            findings.append(figures(clients.keys))
    except WorkerError as error:
        advice = str(error)
        findings.append(Finding("Redis", Verdict.BROKEN, "cannot be used", advice, promise="P4"))
    return [
        *findings,
        *roots(settings),
        *blobs(settings),
        *providers(environ or {}),
        *sandbox_layers(settings),
        swap(),
        core_dumps(),
        catalogue(settings),
    ]
