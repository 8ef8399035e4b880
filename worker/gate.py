"""
The gate before each account at a provider: who may call now, and what the answers say about the account's health.

All workers share it through Redis. It keeps

    slots      how many calls and tasks are under way, each with an expiry of its own, so that a holder that died
               frees its slot without anybody's doing, and steady traffic does not keep it taken
    a pace     how many calls a minute are begun
    a hold     until when the provider asked everybody to come back later
    a circuit  stopped after an answer that every further call would get too (no credit, a credential that is not
               accepted, a model that is gone) or after many faults in a row; then one call at a time tries again

    admission = gate.enter(account_key, holder=job_id, limits=limits, slot_for=timedelta(minutes=3))
    if admission.open:
        ...
        gate.report(account_key, verdict)
        gate.leave(account_key, holder=job_id)
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib import resources
from typing import Any, Final

import redis

from metrics.figures import StopReason
from providers import (
    AuthFailed,
    Charged,
    ContentRefused,
    ModelGone,
    OutcomeUnknown,
    OutOfCredit,
    ProviderError,
    RateLimited,
    TaskFailed,
    Transient,
)
from worker.errors import translated

FAULTS_IN_A_ROW: Final = 5
STOP_FOR: Final = timedelta(minutes=10)
FAULTS_STOP_FOR: Final = timedelta(seconds=30)
LONGEST_STOP: Final = timedelta(hours=1)
HOLD_FOR: Final = timedelta(seconds=5)
"""How long everybody waits when a provider asks for a pause and does not say how long."""

COUNT_WAITING_FOR: Final = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class AccountKey:
    """One credential at one provider."""

    provider: str
    credential: str

    def __str__(self) -> str:
        return f"{self.provider}:{self.credential}"


class Refusal(StrEnum):
    """Why a call may not be made now."""

    STOPPED = "stopped"
    HELD = "held"
    FULL = "full"
    PACED = "paced"


@dataclass(frozen=True, slots=True)
class Admission:
    """
    Whether a call may be made now.

    Attributes:
        refusal: Why not; None if it may.
        reason: What stopped the account.
        again_in: When to ask again, a little different for everybody.
    """

    refusal: Refusal | None = None
    reason: StopReason | None = None
    again_in: timedelta = timedelta()

    @property
    def open(self) -> bool:
        """Whether the call may be made; the holder has a slot then."""
        return self.refusal is None

    @property
    def needs_a_person(self) -> bool:
        """Whether waiting does not help: somebody must pay, or correct a credential or a model."""
        return self.reason is not None and self.reason is not StopReason.FAULTS


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer says about the account."""

    what: str
    reason: str = ""
    span: timedelta = timedelta()


WELL: Final = Verdict("well")


@dataclass(frozen=True, slots=True)
class AccountState:
    """How an account is, for people and dashboards."""

    key: AccountKey
    reason: StopReason | None
    since: datetime | None
    until: datetime | None
    held_until: datetime | None
    in_use: int
    waiting: int


class Gate:
    """
    The gates of all accounts.

    Raises:
        ServerUnavailableError: From every method, when Redis cannot be reached.
    """

    def __init__(self, client: redis.Redis, *, namespace: str = "dayfly") -> None:
        self._client = client
        self._prefix = f"{namespace}:provider"
        self._accounts = f"{namespace}:provider-accounts"
        folder = resources.files("worker") / "lua"
        self._enter, self._report, self._keep = (
            client.register_script((folder / f"gate_{name}.lua").read_text("utf-8"))
            for name in ("enter", "report", "keep")
        )

    def enter(
        self, key: AccountKey, holder: str, *, slot_for: timedelta, at_once: int | None, a_minute: int | None
    ) -> Admission:
        """
        Ask for a slot.

        Args:
            holder: Who asks; asking again while holding one is no second slot.
            slot_for: When the slot frees itself; at least as long as the call may take.
            at_once: The most calls and tasks under way; None for any number.
            a_minute: The most calls begun in a minute; None for any number.
        """
        with translated():
            what, reason, number = self._enter(
                keys=[self._key(key, part) for part in ("state", "slots", "waiting")] + [self._accounts],
                args=[holder, str(key), at_once or 0, a_minute or 0, _ms(slot_for), _ms(COUNT_WAITING_FOR)],
            )
        if what == b"open":
            return Admission()
        refusal = Refusal(what.decode())
        if refusal is Refusal.FULL:
            # The more wait, the less often each asks: the load of asking stays the same.
            again_in = timedelta(seconds=min(60.0, max(1.0, int(number) / 50)))
        else:
            again_in = max(timedelta(milliseconds=200), timedelta(milliseconds=int(number)))
        return Admission(refusal, StopReason(reason.decode()) if reason else None, jittered(again_in))

    def keep(self, key: AccountKey, holder: str, *, slot_for: timedelta) -> int:
        """Keep the slot of a task that is under way, and say how many are taken."""
        with translated():
            return int(self._keep(keys=[self._key(key, "slots")], args=[holder, _ms(slot_for)]))

    def leave(self, key: AccountKey, holder: str) -> None:
        """Give a slot back; whoever has none changes nothing."""
        with translated():
            self._client.zrem(self._key(key, "slots"), holder)

    def report(self, key: AccountKey, verdict: Verdict, *, blamed: str = "") -> bool:
        """
        Take in what an answer says about the account, and say whether that stopped it.

        Args:
            blamed: Who may have caused a fault by what he asked for: of his in a row, one is counted. Empty where it
                can only be the provider's.
        """
        args: list[str | int] = [
            verdict.what,
            verdict.reason,
            _ms(verdict.span),
            FAULTS_IN_A_ROW,
            _ms(LONGEST_STOP),
            str(key),
            blamed,
        ]
        with translated():
            return bool(self._report(keys=[self._key(key, "state"), self._accounts], args=args))

    def states(self) -> list[AccountState]:
        """Read how every account is that was ever called."""
        with translated():
            members: Any = self._client.smembers(self._accounts)
            names = sorted(value.decode() for value in members)
            return [self._state(AccountKey(*name.split(":", 1))) for name in names]

    def _state(self, key: AccountKey) -> AccountState:
        now = datetime.now(UTC)
        ms = int(now.timestamp() * 1000)
        content: Any = self._client.hgetall(self._key(key, "state"))
        fields = {name.decode(): value.decode() for name, value in content.items()}
        held_until = _time(fields.get("held_until"))
        return AccountState(
            key=key,
            reason=StopReason(fields["reason"]) if "reason" in fields else None,
            since=_time(fields.get("since")),
            until=_time(fields.get("until")),
            held_until=held_until if held_until is not None and held_until > now else None,
            in_use=int(self._client.zcount(self._key(key, "slots"), ms, "+inf")),
            waiting=int(self._client.zcount(self._key(key, "waiting"), ms - _ms(COUNT_WAITING_FOR), "+inf")),
        )

    def _key(self, key: AccountKey, part: str) -> str:
        return f"{self._prefix}:{key}:{part}"


def verdict_of(error: ProviderError | None, *, own_model: bool = False) -> Verdict | None:
    """
    Say what the end of a call means for the account; None if nothing.

    Args:
        error: How it ended; None if well.
        own_model: Whether the job named a model of its own: that it is not offered says nothing about the account.
    """
    match error:
        case None | ContentRefused():
            # Whoever refuses content is well.
            return WELL
        case OutOfCredit():
            return Verdict("stopped", StopReason.OUT_OF_CREDIT, STOP_FOR)
        case AuthFailed():
            return Verdict("stopped", StopReason.AUTH_FAILED, STOP_FOR)
        case ModelGone() if not own_model:
            return Verdict("stopped", StopReason.MODEL_GONE, STOP_FOR)
        case RateLimited():
            return Verdict("held", span=error.retry_after or HOLD_FOR)
        case Transient() | OutcomeUnknown() | TaskFailed(charged=Charged.NO):
            # A provider that takes nothing for a failure says that it was its own.
            return Verdict("fault", StopReason.FAULTS, FAULTS_STOP_FOR)
        case _:
            # What is wrong with one request says nothing about the next, and it may not even have been sent.
            return None


def jittered(pause: timedelta) -> timedelta:
    """Spread pauses by a quarter to either side, so that those who began together do not go on together."""
    return pause * random.uniform(0.75, 1.25)  # nosec: a spread, not a secret


def _ms(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromtimestamp(int(float(value)) / 1000, UTC)
