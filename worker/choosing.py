"""
Who is asked: which providers may do a job, in which order, and whether one may be called now.

A job names its provider or leaves the choice to the pool (`auto`). Then every provider is a candidate that can do what
the recipe needs, that the policy allows and that has an account here, the cheapest first, and those last whose task for
this job has failed. The next one is asked only when the one before certainly did not charge.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from metrics.figures import StopReason
from providers import (
    MAIN,
    AuthFailed,
    Capabilities,
    Charged,
    ContentRefused,
    ModelGone,
    Operation,
    OutOfCredit,
    ProviderError,
    ProviderTools,
    Shape,
)
from storage import RetentionPolicy
from worker.accounts import region_of
from worker.bench import Bench
from worker.gate import AccountKey, Admission
from worker.prices import price_of
from worker.records import JobRecord
from worker.transfers import failed_tasks

CALL_FOR: dict[Shape, timedelta] = {Shape.SYNC: timedelta(minutes=11), Shape.TASK: timedelta(minutes=4)}
"""How long the slot of a call lasts: longer than the transport lets it take. It goes on after its caller's death."""


class ForbiddenByPolicyError(ProviderError):
    """The job's policy does not let this account see the data."""

    code: ClassVar[str] = "forbidden-by-policy"


class NobodyLeftError(ProviderError):
    """No provider that the job may be given to can do it."""

    code: ClassVar[str] = "no-provider"


@dataclass(frozen=True, slots=True)
class Choice:
    """A provider that may be called now, or how long to wait for one."""

    provider: str | None
    wait: timedelta = timedelta()


def key_of(bench: Bench, provider: str) -> AccountKey:
    """Give the name under which a provider's account is known to the gate."""
    account = bench.accounts.get(provider)
    return AccountKey(provider, account.credential if account is not None else MAIN)


def objection(policy: RetentionPolicy, provider: str, able: Capabilities, region: str | None) -> str | None:
    """Say in a sentence why a policy does not let a provider see the data; None if it does."""
    if not policy.allows(provider):
        allowed = ", ".join(policy.providers or ())
        return f"The policy {policy.name!r} does not let the provider {provider!r} see the data; it lets: {allowed}."
    if able.stays_with_us:
        return None
    if policy.first_party_only:
        return f"The policy {policy.name!r} keeps the data on machines of our own, and {provider!r} is none."
    if not policy.allows_region(region):
        where = f"in {region!r}" if region else "nobody knows where; set its _REGION"
        return (
            f"The policy {policy.name!r} has the data processed in {', '.join(policy.regions or ())} only, and"
            f" {provider!r} processes it {where}."
        )
    return None


def choose(bench: Bench, job: JobRecord, operation: Operation, passed: frozenset[str]) -> Choice:
    """
    Take a slot at a provider that the job may be given to.

    Args:
        passed: Whom to leave out this time.

    Raises:
        ForbiddenByPolicyError: The job's own provider may not see the data.
        NobodyLeftError: No candidate is left.
        ProviderError: The job's own provider, or every candidate, is stopped until a person does something.
    """
    policy = bench.policies[job.policy]
    if not job.auto:
        problem = _problem(bench, policy, job.provider)
        if problem is not None:
            raise ForbiddenByPolicyError(problem)
        names = [job.provider]
    else:
        names = list(_candidates(bench, policy, operation, passed | set(job.tried), last=failed_tasks(job.transfers)))
        if not names:
            raise NobodyLeftError(
                "No provider is left that can do this, that the policy allows and that has an account."
            )
    waits, stopped = [], None
    for name in names:
        admission = admit(bench, name, job.id)
        if admission.open:
            return Choice(name)
        if admission.needs_a_person:
            stopped = _stopped(name, admission)
        else:
            waits.append(admission.again_in)
    if not waits and stopped is not None:
        raise stopped
    return Choice(None, min(waits))


def admit(bench: Bench, name: str, holder: str) -> Admission:
    """Ask the gate for a slot; what stays on this machine needs none."""
    able = bench.providers.get(name).capabilities
    if not able.network:
        return Admission()
    account = bench.accounts.get(name)
    return bench.gate.enter(
        key_of(bench, name),
        holder,
        slot_for=CALL_FOR[able.shape],
        at_once=account.at_once if account else None,
        a_minute=account.a_minute if account else None,
    )


def may_fall_over(job: JobRecord, error: ProviderError) -> bool:
    """
    Whether the next provider may be asked: only if this one certainly did not charge.

    What one provider's rules on content refused is not carried round to the others.
    """
    return job.auto and error.charged is Charged.NO and not isinstance(error, ContentRefused)


def _candidates(
    bench: Bench,
    policy: RetentionPolicy,
    operation: Operation,
    without: frozenset[str] | set[str],
    *,
    last: Sequence[str],
) -> Iterator[str]:
    order = list(policy.providers or ())
    found = []
    for name in bench.providers.names():
        if name in without:
            continue
        try:
            adapter = bench.providers.get(name)
            able = adapter.capabilities
            if operation not in able.operations or _problem(bench, policy, name) is not None:
                continue
            # Raises where there is no account.
            bench.providers.build(name, ProviderTools(accounts=bench.accounts)).host(operation)
        except ProviderError:
            continue
        price = price_of(bench.prices, name, able, operation)
        found.append((last.count(name), price, order.index(name) if name in order else len(order), name))
    for *_, name in sorted(found):
        yield name


def _problem(bench: Bench, policy: RetentionPolicy, name: str) -> str | None:
    able = bench.providers.get(name).capabilities
    return objection(policy, name, able, region_of(able, bench.accounts.get(name)))


def _stopped(name: str, admission: Admission) -> ProviderError:
    minutes = max(1, round(admission.again_in.total_seconds() / 60))
    tail = f"It is tried again in about {minutes} min; 'dayfly providers' shows it."
    if admission.reason is StopReason.OUT_OF_CREDIT:
        return OutOfCredit(f"The account at {name!r} had no credit left when it was last called. {tail}")
    if admission.reason is StopReason.AUTH_FAILED:
        return AuthFailed(f"The provider {name!r} did not accept the credential when it was last called. {tail}")
    return ModelGone(f"The provider {name!r} did not offer the configured model when it was last called. {tail}")
