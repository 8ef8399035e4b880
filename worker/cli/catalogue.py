"""The retention policies there are, and what the doctor says about this machine."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Annotated

import typer

from storage import ObjectClass, RetentionPolicy, load_policies
from worker.cli._errors import ExitCode
from worker.cli._output import Json, print_json, print_table
from worker.doctor import Verdict, examine, lifecycle
from worker.home import open_roots
from worker.settings import Settings
from worker.statement import statement


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("policies")(policies)
    app.command("doctor")(doctor)


def policies(as_json: Json = False) -> None:
    """Show the retention policies: when each class of object is shredded."""
    settings = Settings.load()
    found = load_policies(settings.policies_dir).values()
    if as_json:
        print_json([policy.model_dump(mode="json") | {"default": policy.name == settings.policy} for policy in found])
        return
    print_table(
        ("policy", "what it is for", "uploads", "outputs", "providers"),
        [_policy(policy, default=policy.name == settings.policy) for policy in found],
    )


def _policy(policy: RetentionPolicy, *, default: bool) -> tuple[str, ...]:
    return (
        f"{policy.name} (default)" if default else policy.name,
        policy.title,
        f"{_when(policy)}, at the latest after {_span(policy.upload.latest)}",
        f"at the latest after {_span(policy.output.latest)}",
        "any" if policy.providers is None else ", ".join(policy.providers),
    )


def _when(policy: RetentionPolicy) -> str:
    return f"{_span(policy.upload.after)} after a job that is done" if policy.upload.after else "at the job's end"


def _span(value: timedelta) -> str:
    whole = int(value.total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if whole % length == 0 and whole >= 2 * length:
            return f"{whole // length} {unit}"
    return f"{whole // 3600} h" if whole % 3600 == 0 else f"{whole} s"


def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="First set the bucket's lifecycle rules that fit the policies.")
    ] = False,
    as_statement: Annotated[
        bool, typer.Option("--statement", help="Instead print the statement of cryptographic erase features, as JSON.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Check what the promises lean on, and say what to change."""
    settings = Settings.load()
    if as_statement:
        print_json(statement(settings, {name: open_roots(settings, name) for name in ObjectClass}))
        return ExitCode.OK
    if fix:
        lifecycle(settings, apply=True)
    findings = examine(settings, os.environ)
    if as_json:
        print_json([finding.to_json() for finding in findings])
    else:
        print_table(
            ("check", "verdict", "found", "what to change"),
            [(finding.check, finding.verdict.value, finding.found, finding.advice) for finding in findings],
        )
        rules = lifecycle(settings) if any("--fix" in finding.advice for finding in findings) else None
        if rules is not None:
            print("\nThe lifecycle rules that 'dayfly doctor --fix' sets:\n")
            print_json(rules)
    broken = any(finding.verdict is Verdict.BROKEN for finding in findings)
    return ExitCode.BROKEN_PROMISE if broken else ExitCode.OK
