"""What was sent to whom, and that each provider is asked to erase its copy, however the job ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from providers import Erasure, ErasureOutcome
from tests.fakes.sync_vendors import FakeRemoveBg
from tests.fakes.task_vendors import FakeFal
from tests.worker.visits import Visits
from worker.cli._transfers import transfer_as_words
from worker.records import JobState
from worker.transfers import ACCEPTED, Transfer, amended, begun, decode_transfers, encode_transfers, erased

WORDS = "words of a user, never to be repeated"


@pytest.fixture
def remove_bg() -> Iterator[FakeRemoveBg]:
    with FakeRemoveBg() as fake:
        yield fake


@pytest.fixture
def fal() -> Iterator[FakeFal]:
    with FakeFal() as fake:
        yield fake


def transfer(**changes: object) -> Transfer:
    given = {"provider": "acme", "host": "acme.example", "region": None, "at": datetime.now(UTC), "sent_bytes": 100}
    return Transfer(**{**given, "retention": "Keeps a little.", **changes})  # type: ignore[arg-type]


def test_a_job_without_a_provider_outside_sends_nothing(visits: Visits) -> None:
    job = visits.submit("local")

    assert visits.until_ended(job.id).transfers == ()


def test_a_call_that_answers_at_once_is_listed_with_what_the_provider_keeps(
    visits: Visits, remove_bg: FakeRemoveBg
) -> None:
    visits.account("remove-bg", f"{remove_bg.url}/v1.0", region="eu")
    job = visits.submit("remove-bg", prompt=WORDS)

    ended = visits.until_ended(job.id)

    (listed,) = ended.transfers
    assert (listed.provider, listed.host, listed.region, listed.attempts) == ("remove-bg", "127.0.0.1", "eu", 1)
    assert (listed.answer, listed.erasure) == (ACCEPTED, "unsupported")
    assert listed.sent_bytes > len(WORDS)
    assert "about an hour" in listed.retention
    assert WORDS not in json.dumps(ended.to_json())
    assert ended.to_json()["transfers"] == [listed.to_json()]


def test_calls_that_were_turned_down_are_counted_in_one_entry(visits: Visits, remove_bg: FakeRemoveBg) -> None:
    visits.account("remove-bg", f"{remove_bg.url}/v1.0")
    remove_bg.next("429", "429")
    job = visits.submit("remove-bg")

    (listed,) = visits.until_ended(job.id).transfers

    assert (listed.attempts, listed.answer) == (3, ACCEPTED)
    assert listed.sent_bytes % 3 == 0


def test_a_refused_call_is_listed_with_the_refusal(visits: Visits, remove_bg: FakeRemoveBg) -> None:
    visits.account("remove-bg", f"{remove_bg.url}/v1.0")
    remove_bg.next("402")
    job = visits.submit("remove-bg")

    (listed,) = visits.until_ended(job.id).transfers

    assert listed.answer == "out-of-credit"


def test_a_task_is_erased_after_its_result_was_collected(visits: Visits) -> None:
    job = visits.submit("darkroom")

    ended = visits.until_ended(job.id)

    (listed,) = ended.transfers
    assert (listed.host, listed.erasure, listed.cancelled) == ("darkroom.example", "erased", None)
    assert listed.erased_at is not None
    assert not ended.owed
    assert list((visits.pool.folder / "darkroom").glob("*.png")) == []


def test_an_erasure_that_failed_is_asked_for_again_after_the_job_is_done(visits: Visits) -> None:
    (visits.pool.folder / "darkroom" / "erase-fails").touch()
    job = visits.submit("darkroom")

    ended = visits.until_ended(job.id)

    assert ended.state is JobState.DONE
    assert (ended.transfers[-1].erasure, ended.owed) == ("erased", False)


def test_an_erasure_that_never_succeeds_is_given_up_and_recorded(visits: Visits) -> None:
    bin_is_full = visits.pool.folder / "darkroom" / "erase-fails"
    job = visits.submit("darkroom")
    visits.until(job.id, lambda record: record.task is not None)
    visits.pool.client.cancel(job.id)
    for _ in range(5):
        bin_is_full.touch()
        record = visits.once(job.id)
    bin_is_full.touch()

    assert (record.transfers[-1].erasure, record.owed) == ("transient", False)
    assert visits.once(job.id).erase_tries == 5


@pytest.mark.parametrize("task", ["[]", "null", '{"provider":"darkroom"}'])
def test_an_owed_erasure_whose_record_was_changed_costs_no_worker(visits: Visits, task: str) -> None:
    job = visits.submit("darkroom")
    visits.until(job.id, lambda record: record.task is not None)
    visits.pool.client.cancel(job.id)
    visits.pool.deployment.redis.hset(f"dayfly:job:{job.id}", "task", task)

    record = visits.once(job.id)

    assert (record.transfers[-1].erasure, record.owed) == ("task-not-found", False)


def test_the_sweep_looks_at_what_is_owed_once_in_a_while(visits: Visits) -> None:
    """A worker that was sent takes it on although the sweep has put its next look off."""
    job = visits.submit("darkroom")
    visits.until(job.id, lambda record: record.task is not None)
    visits.pool.client.cancel(job.id)
    looks = [visits.bench.jobs.due(limit=10, look_again=timedelta(minutes=1)) for _ in range(2)]
    first = visits.bench.jobs.erasures.claim(job.id, lease_for=timedelta(minutes=1))
    second = visits.bench.jobs.erasures.claim(job.id, lease_for=timedelta(minutes=1))

    assert looks == [[job.id], []]
    assert first is not None
    assert second is None


def test_a_cancelled_job_has_its_task_stopped_and_erased_by_the_next_worker(visits: Visits) -> None:
    """The web tier that cancels holds no credential, so the sweep sends a worker."""
    job = visits.submit("darkroom")
    visits.until(job.id, lambda record: record.task is not None)
    cancelled = visits.pool.client.cancel(job.id)
    due = visits.bench.jobs.due(limit=10, look_again=timedelta(seconds=30))

    record = visits.once(job.id)

    assert (cancelled.state, cancelled.transfers[-1].erasure, due) == (JobState.CANCELLED, None, [job.id])
    assert (record.transfers[-1].erasure, record.transfers[-1].cancelled) == ("erased", ACCEPTED)
    assert list((visits.pool.folder / "darkroom").glob("*.png")) == []
    assert len(list((visits.pool.folder / "darkroom").glob("*.cancelled"))) == 1
    assert visits.bench.jobs.due(limit=10, look_again=timedelta(seconds=30)) == []


@pytest.mark.parametrize(
    ("answer", "told"), [("no_media_generated", "task-failed"), ("content_policy_violation", ACCEPTED)]
)
def test_a_task_that_failed_at_the_provider_is_asked_about_too(
    visits: Visits, fal: FakeFal, answer: str, told: str
) -> None:
    visits.account("fal", fal.url)
    fal.on_poll = [answer] * 3
    job = visits.submit("fal")

    ended = visits.until_ended(job.id)

    (listed,) = ended.transfers
    assert ended.state is JobState.FAILED
    assert (listed.answer, listed.erasure) == (told, "unsupported")
    assert not ended.owed


@pytest.mark.parametrize(("times", "end"), [(1, None), (2, "result-expired")])
@pytest.mark.parametrize("blips", [[], ["gateway"]], ids=["at once", "after a fault"])
def test_an_address_that_has_died_is_asked_for_anew_once(
    visits: Visits, fal: FakeFal, blips: list[str], times: int, end: str | None
) -> None:
    visits.account("fal", fal.url)
    fal.pending = 0
    fal.on_poll, fal.on_file = list(blips), ["expired"] * times
    job = visits.submit("fal")

    ended = visits.until_ended(job.id)

    fetched = [seen for seen in fal.seen if seen.path.startswith("/files/")]
    assert (ended.error_code, len(fetched), fal.charges) == (end, 2, 1)


def test_a_result_is_kept_from_when_it_was_made(visits: Visits, fal: FakeFal) -> None:
    """The vendor's hour began at the latest when the result was seen, however long the task had waited."""
    visits.account("fal", fal.url)
    job = visits.submit("fal")
    transfers = visits.until(job.id, lambda record: record.task is not None).transfers
    accepted = transfers[-1].kept_until or datetime.now(UTC)
    # As if the task had waited for a day.
    waited = encode_transfers(amended(transfers, kept_until=accepted - timedelta(days=1)))
    visits.pool.deployment.redis.hset(f"dayfly:job:{job.id}", "transfers", waited)

    collected = visits.until_ended(job.id).transfers[-1].kept_until

    assert transfers[-1].at + timedelta(hours=1) <= accepted + timedelta(seconds=1)
    assert collected is not None
    assert accepted <= collected + timedelta(seconds=1) <= datetime.now(UTC) + timedelta(hours=1, seconds=1)


def test_a_task_that_expired_with_its_upload_is_erased_too(visits: Visits) -> None:
    job = visits.submit("darkroom")
    visits.until(job.id, lambda record: record.task is not None)
    visits.pool.deployment.redis.delete(f"dayfly:key:{job.upload.oid}")

    ended = visits.until_ended(job.id)

    assert (ended.state, ended.transfers[-1].erasure) == (JobState.EXPIRED, "erased")


def test_transfers_are_read_as_they_were_written() -> None:
    whole = transfer(kept_until=datetime(2026, 1, 2, tzinfo=UTC), erasure="erased", erased_at=None, answer=ACCEPTED)
    newer = encode_transfers((whole,)).replace('"provider"', '"field_of_a_newer_version":1,"provider"')

    (read,) = decode_transfers(newer)

    assert read.to_json() == whole.to_json()


def test_another_provider_gets_an_entry_of_its_own() -> None:
    refused = (transfer(answer="rate-limited"),)

    assert [each.attempts for each in begun(refused, transfer(host="other.example"))] == [1, 1]
    assert [each.attempts for each in begun(refused, transfer())] == [2]
    assert [each.attempts for each in begun((transfer(answer="outcome-unknown"),), transfer())] == [1, 1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"answer": None}, "no answer; not asked to erase yet, kept for a time that is not known"),
        ({"erasure": "unsupported", "answer": ACCEPTED}, "cannot be asked to erase"),
        ({"erasure": "transient", "answer": ACCEPTED}, "not erased (transient)"),
        ({"erasure": "erased", "answer": ACCEPTED, "region": "eu"}, "(acme.example, eu)"),
        ({"erasure": "nothing-kept", "answer": ACCEPTED, "attempts": 3}, "in 3 calls"),
        ({"answer": "content-refused", "cancelled": ACCEPTED}, "answer: content-refused"),
    ],
)
def test_a_transfer_is_told_in_one_line(changes: dict[str, object], words: str) -> None:
    assert words in transfer_as_words(transfer(**changes))


def test_what_is_scheduled_is_kept_until_then() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    (scheduled,) = erased((transfer(answer=ACCEPTED),), Erasure(ErasureOutcome.SCHEDULED, at))

    assert "kept until 2026-01-02 03:04:05 UTC" in transfer_as_words(scheduled)
