"""Who is asked: by capability, policy, account, health and price; and the next only when nothing was charged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from providers import ContentRefused, InvalidRequest, Operation, OutcomeUnknown, ProviderRegistry, Stage, Transient
from storage import load_policies
from tests.fakes.sync_vendors import FakePhotoroom, FakeRemoveBg
from tests.fakes.task_vendors import FakeFal
from tests.worker.visits import Visits
from worker.choosing import key_of, may_fall_over, objection
from worker.errors import PolicyError, SettingsError, UnfitProviderError, UnknownNameError
from worker.gate import STOP_FOR, Verdict
from worker.prices import load_prices, price_of
from worker.records import JobRecord, JobState


@pytest.fixture
def remove_bg() -> Iterator[FakeRemoveBg]:
    with FakeRemoveBg() as fake:
        yield fake


@pytest.fixture
def photoroom() -> Iterator[FakePhotoroom]:
    with FakePhotoroom() as fake:
        yield fake


@pytest.fixture
def fal() -> Iterator[FakeFal]:
    with FakeFal() as fake:
        yield fake


def policy(visits: Visits, **changes: Any) -> None:
    policies = visits.bench.policies
    assert isinstance(policies, dict)
    policies["quick"] = policies["quick"].model_copy(update=changes)


@pytest.fixture
def two(visits: Visits, remove_bg: FakeRemoveBg, photoroom: FakePhotoroom) -> Visits:
    """Two providers with accounts, remove.bg the cheaper."""
    visits.account("remove-bg", f"{remove_bg.url}/v1.0", region="eu-west")
    visits.account("photoroom", photoroom.url, region="us")
    visits.bench = replace(visits.bench, prices={"remove-bg": {"default": 0.1}, "photoroom": {"default": 0.2}})
    policy(visits, providers=("remove-bg", "photoroom", "fal"))
    return visits


def test_the_cheapest_that_has_an_account_is_asked(two: Visits, remove_bg: FakeRemoveBg) -> None:
    job = two.submit("auto")
    ended = two.until_ended(job.id)

    assert (job.provider, ended.provider, ended.auto, ended.state) == ("auto", "remove-bg", True, JobState.DONE)
    assert remove_bg.charges == 1


def test_the_order_is_the_operators(two: Visits, photoroom: FakePhotoroom) -> None:
    two.bench = replace(two.bench, prices={"photoroom": {"remove-background": 0.01}})

    assert two.until_ended(two.submit("auto").id).provider == "photoroom"
    assert photoroom.charges == 1


@pytest.mark.parametrize("scenario", ["402", "403", "429", "500"])
def test_the_next_is_asked_when_the_first_certainly_did_not_charge(
    two: Visits, remove_bg: FakeRemoveBg, photoroom: FakePhotoroom, scenario: str
) -> None:
    remove_bg.next(scenario)

    ended = two.once(two.submit("auto").id)

    assert (ended.state, ended.provider) == (JobState.DONE, "photoroom")
    assert (remove_bg.charges, photoroom.charges) == (0, 1)
    assert [transfer.provider for transfer in ended.transfers] == ["remove-bg", "photoroom"]


def test_the_next_is_not_asked_when_the_first_may_have_charged(
    two: Visits, remove_bg: FakeRemoveBg, photoroom: FakePhotoroom
) -> None:
    remove_bg.next("html")

    ended = two.until_ended(two.submit("auto").id)

    assert (ended.state, ended.error_code, ended.provider) == (JobState.FAILED, "outcome-unknown", "remove-bg")
    assert photoroom.seen == []


def test_an_account_that_is_stopped_is_left_out(two: Visits, remove_bg: FakeRemoveBg, photoroom: FakePhotoroom) -> None:
    remove_bg.next("402")
    two.until_ended(two.submit("auto").id)
    remove_bg.seen.clear()

    assert two.until_ended(two.submit("auto").id).provider == "photoroom"
    assert remove_bg.seen == []


def test_a_job_that_names_a_stopped_provider_ends_at_once_and_sends_nothing(
    two: Visits, remove_bg: FakeRemoveBg
) -> None:
    remove_bg.next("402")
    first = two.until_ended(two.submit("remove-bg").id)
    calls = len(remove_bg.seen)

    second = two.once(two.submit("remove-bg").id)

    assert (first.error_code, second.error_code, len(remove_bg.seen)) == ("out-of-credit", "out-of-credit", calls)
    assert second.transfers == ()


def test_when_all_are_tried_the_last_answer_is_told(
    two: Visits, remove_bg: FakeRemoveBg, photoroom: FakePhotoroom
) -> None:
    remove_bg.next("402")
    photoroom.next("402")

    ended = two.until_ended(two.submit("auto").id)

    assert (ended.state, ended.error_code, ended.tried) == (
        JobState.FAILED, "out-of-credit", ("remove-bg", "photoroom"),
    )  # fmt: skip


def test_a_job_without_a_candidate_says_so(visits: Visits) -> None:
    policy(visits, providers=("remove-bg",))

    ended = visits.until_ended(visits.submit("auto").id)

    assert (ended.error_code, ended.transfers) == ("no-provider", ())


def test_a_full_account_keeps_a_job_waiting_without_an_intent_or_a_strike(two: Visits, remove_bg: FakeRemoveBg) -> None:
    two.account("remove-bg", f"{remove_bg.url}/v1.0", at_once=1)
    key = key_of(two.bench, "remove-bg")
    two.bench.gate.enter(key, "another", slot_for=timedelta(minutes=1), at_once=1, a_minute=None)
    job = two.submit("remove-bg")
    waiting = [two.once(job.id) for _ in range(8)][-1]
    two.bench.gate.leave(key, "another")

    ended = two.until_ended(job.id)

    assert (waiting.state, waiting.intent, waiting.strikes) == (JobState.PREPARING, None, 0)
    assert (ended.state, remove_bg.charges) == (JobState.DONE, 1)
    assert two.bench.gate.states()[0].in_use == 0


def test_a_task_holds_its_slot_until_it_has_ended(two: Visits, fal: FakeFal) -> None:
    two.account("fal", fal.url, at_once=1)
    job = two.submit("fal")
    two.until(job.id, lambda record: record.task is not None)
    during = two.bench.gate.states()[0].in_use
    ended = two.until_ended(job.id)

    assert (during, ended.state, two.bench.gate.states()[0].in_use) == (1, JobState.DONE, 0)


def test_the_slot_of_a_cancelled_task_is_free_once_the_provider_was_told(two: Visits, fal: FakeFal) -> None:
    two.account("fal", fal.url, at_once=1)
    job = two.submit("fal")
    two.until(job.id, lambda record: record.task is not None)
    two.pool.client.cancel(job.id)
    two.once(job.id)

    assert fal.cancelled == ["task-0"]
    assert two.bench.gate.states()[0].in_use == 0


def test_a_refused_photo_gives_its_slot_back(two: Visits) -> None:
    job = two.pool.submit(b"this is no photo", "ask-only", provider="remove-bg")
    ended = two.until_ended(job.id)

    assert ended.state is JobState.FAILED
    assert [state.in_use for state in two.bench.gate.states()] == [0]


def test_a_policys_regions_are_held_for_named_and_for_chosen_providers(two: Visits, photoroom: FakePhotoroom) -> None:
    policy(two, regions=("us",))

    assert two.until_ended(two.submit("remove-bg").id).error_code == "forbidden-by-policy"
    assert two.until_ended(two.submit("auto").id).provider == "photoroom"


def test_a_policy_for_our_own_machines_refuses_all_others_before_anything_is_stored(visits: Visits) -> None:
    policy(visits, first_party_only=True)

    with pytest.raises(PolicyError, match="our own"):
        visits.submit("remove-bg")
    policy(visits, first_party_only=True, providers=("fal",))
    with pytest.raises(UnfitProviderError):
        visits.submit("auto")
    with pytest.raises(UnknownNameError, match="auto"):
        visits.submit("autos")


def test_the_reasons_of_a_policy() -> None:
    found = load_policies()["process-and-forget"]
    registry = ProviderRegistry.from_entry_points()
    fal, local = (registry.get(name).capabilities for name in ("fal", "local"))

    assert objection(found, "fal", fal, None) is None
    eu = found.model_copy(update={"regions": ("eu",)})
    assert "nobody knows" in str(objection(eu, "fal", fal, None))
    assert objection(eu, "fal", fal, "eu-central-1") is None
    assert "'europe'" in str(objection(eu, "fal", fal, "europe"))
    assert objection(eu, "local", local, None) is None
    own = found.model_copy(update={"first_party_only": True})
    assert objection(own, "local", local, None) is None
    assert objection(own, "fal", fal, "eu") is not None
    assert objection(own, "fal", replace(fal, first_party=True), None) is None


def test_only_an_answer_that_certainly_cost_nothing_lets_the_next_be_asked(visits: Visits) -> None:
    job = replace(visits.submit("darkroom"), auto=True)

    assert may_fall_over(job, Transient("x"))
    assert may_fall_over(job, InvalidRequest("x"))
    assert not may_fall_over(job, OutcomeUnknown("x"))
    assert not may_fall_over(job, ContentRefused("x", stage=Stage.INPUT))
    assert not may_fall_over(replace(job, auto=False), Transient("x"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[fal]\nedit-image = -1", "has no price at fal.edit-image"),
        ("[fal]\nedit = 1", "names 'edit'"),
        ("fal = 1", "has no price at fal"),
        ("[fal", "is not TOML"),
    ],
)
def test_a_wrong_price_table_is_refused_by_name(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "prices.toml").write_text(content)

    with pytest.raises(SettingsError, match="DAYFLY_PRICES " + problem.replace(".", r"\.")):
        load_prices(tmp_path / "prices.toml")


def test_the_price_of_an_operation_the_default_and_none(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text("[fal]\nedit-image = 0.5\ndefault = 1\n")
    prices = load_prices(tmp_path / "prices.toml")
    registry = ProviderRegistry.from_entry_points()
    fal, local = (registry.get(name).capabilities for name in ("fal", "local"))

    assert price_of(prices, "fal", fal, Operation.EDIT_IMAGE) == 0.5
    assert price_of(prices, "fal", fal, Operation.GENERATE_IMAGE) == 1
    assert price_of(prices, "replicate", fal, Operation.EDIT_IMAGE) == float("inf")
    assert price_of(prices, "local", local, Operation.EDIT_IMAGE) == 0
    assert load_prices(None) == {}


def test_a_stop_of_many_faults_makes_jobs_wait_instead_of_failing(two: Visits, remove_bg: FakeRemoveBg) -> None:
    two.bench.gate.report(key_of(two.bench, "remove-bg"), Verdict("stopped", "faults", STOP_FOR))
    record: JobRecord = two.once(two.submit("remove-bg").id)

    assert (record.state, record.strikes, remove_bg.seen) == (JobState.PREPARING, 0, [])
