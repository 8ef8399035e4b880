"""The web tier's client: what it promises when all is well, and what it leaves when it is not."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from storage import Live, ObjectClass, ObjectRef, ShredReason
from storage.key_answers import ShredOutcome
from tests.harness import Pool, photo
from worker.client import Client, JobSpec
from worker.errors import (
    JobNotFoundError,
    JobTimeoutError,
    OutputNotFoundError,
    PolicyError,
    ServerUnavailableError,
    UnknownNameError,
    UploadTooLargeError,
)
from worker.jobs import JobStore
from worker.records import JobState

MARKER = "the-wish-of-a-person"


@pytest.fixture
def pool(pools: Callable[..., Pool]) -> Pool:
    """A pool in which nobody works, so that jobs stay where the client puts them."""
    pool = pools()
    pool.ensure_roots()
    return pool


def live(pool: Pool) -> int:
    return int(pool.deployment.keys.figures().classes[ObjectClass.UPLOAD].live)


def test_a_submitted_job_is_accepted_with_its_keys_under_the_policys_deadline(pool: Pool) -> None:
    job = pool.submit(photo(), "web-set", prompt="on oak", subject="u-381")

    assert job.state is JobState.ACCEPTED
    for ref in (job.upload, job.params):
        status = pool.deployment.store.status(ref.oid)
        assert isinstance(status, Live)
        assert abs(status.deadline - job.deadline) < timedelta(seconds=1)


def test_the_subject_is_stored_as_a_keyed_hash_only(pool: Pool) -> None:
    first = pool.submit(photo(), "web-set", subject="u-381")
    second = pool.submit(photo(), "web-set", subject="u-381")
    other = pool.submit(photo(), "web-set", subject="u-382")

    assert first.subject_hash == second.subject_hash != other.subject_hash
    assert "u-381" not in str(pool.deployment.redis.hgetall(f"dayfly:job:{first.id}"))


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"recipe": "amazon-man"}, "no recipe called 'amazon-man'.*Did you mean 'amazon-main'"),
        ({"recipe": "web-set", "provider": "stabilty"}, "no provider called 'stabilty'; known:.*local, .*none"),
        ({"recipe": "web-set", "policy": "forever"}, "no policy called 'forever'"),
    ],
)
def test_an_unknown_name_is_refused_before_anything_is_sealed(pool: Pool, spec: dict[str, str], sentence: str) -> None:
    with pytest.raises(UnknownNameError, match=sentence):
        pool.submit(photo(), **spec)

    assert live(pool) == 0
    assert pool.ciphertexts() == set()


@pytest.mark.parametrize(
    "given",
    [{"prompt": MARKER * 2000}, {"subject": MARKER * 20}, {"options": {"note": [MARKER]}}, {"prmopt": MARKER}],
)
def test_p1_a_wrong_wish_is_refused_without_a_word_of_it(given: dict[str, Any]) -> None:
    """A web tier logs the errors that it did not expect."""
    with pytest.raises(ValidationError) as refused:
        JobSpec(recipe="web-set", **given)

    assert MARKER not in str(refused.value)
    assert MARKER not in repr(refused.value)


def test_what_the_policy_does_not_allow_is_refused_before_anything_is_sealed(pools: Callable[..., Pool]) -> None:
    pool = pools()
    rules = "\nproviders = ['none']\n\n[limits]\nupload_bytes = 1000\nprompt_characters = 5\n"
    policy = pool.folder / "policies" / "quick.toml"
    head, tables = policy.read_text().split("\n[upload]")
    first, last = rules.split("\n[limits]")
    policy.write_text(f"{head}{first}\n[upload]{tables}\n[limits]{last}")
    pool.ensure_roots()

    with pytest.raises(PolicyError, match="does not let the provider 'local' see the data; it lets: none"):
        pool.submit(photo(), "amazon-main")
    with pytest.raises(PolicyError, match="has 6 characters; the policy 'quick' allows 5"):
        pool.submit(photo(), "web-set", prompt="on oak")
    with pytest.raises(UploadTooLargeError):
        pool.submit(photo(), "web-set")
    assert live(pool) == 0
    assert pool.ciphertexts() == set()


def test_an_upload_over_the_limit_is_refused_and_leaves_nothing(pool: Pool) -> None:
    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            return len(buffer)

    with pytest.raises(UploadTooLargeError, match="larger than 64 MiB"):
        pool.client.submit(Endless(), JobSpec(recipe="web-set"))  # type: ignore[arg-type]

    assert live(pool) == 0
    assert pool.ciphertexts() == set()


def test_an_upload_whose_stream_breaks_leaves_nothing(pool: Pool) -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            raise ConnectionResetError("the browser went away")

    with pytest.raises(ConnectionResetError):
        pool.client.submit(Broken(), JobSpec(recipe="web-set"))  # type: ignore[arg-type]

    assert live(pool) == 0
    assert pool.ciphertexts() == set()


def test_a_job_that_cannot_be_recorded_leaves_nothing(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no record")

    monkeypatch.setattr(JobStore, "create", refuse)

    with pytest.raises(RuntimeError, match="no record"):
        pool.submit(photo(), "web-set")

    assert live(pool) == 0
    assert pool.ciphertexts() == set()


def test_cancelling_a_job_nobody_has_begun_destroys_its_keys_at_once(pool: Pool) -> None:
    job = pool.submit(photo(), "web-set")

    assert pool.client.cancel(job.id).state is JobState.CANCELLED
    assert live(pool) == 0
    assert pool.ciphertexts() == set()
    assert pool.client.cancel(job.id).state is JobState.CANCELLED, "again is the same"


def test_two_who_cancel_at_once_both_find_it_cancelled(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second takes the job from the first between its shred and its end."""
    job = pool.submit(photo(), "web-set")
    shred = pool.deployment.store.shred

    def overtaken(refs: Sequence[ObjectRef], reason: ShredReason) -> list[ShredOutcome]:
        if pool.client.show(job.id).state is JobState.SETTLED:
            monkeypatch.undo()
            assert pool.client.cancel(job.id).state is JobState.CANCELLED
        return shred(refs, reason)

    monkeypatch.setattr(pool.deployment.store, "shred", overtaken)

    assert pool.client.cancel(job.id).state is JobState.CANCELLED
    assert live(pool) == 0


def test_waiting_gives_up_with_a_sentence_and_the_job_goes_on(pool: Pool) -> None:
    job = pool.submit(photo(), "web-set")

    with pytest.raises(JobTimeoutError, match=r"has not ended within 0\.2 s; it goes on"):
        pool.client.wait(job.id, timedelta(milliseconds=200))

    assert pool.client.show(job.id).state is JobState.ACCEPTED


def test_what_is_not_there_is_said_to_be_not_there(pool: Pool) -> None:
    job = pool.submit(photo(), "web-set")

    with pytest.raises(JobNotFoundError):
        pool.client.show("e" * 32)
    with pytest.raises(OutputNotFoundError, match="is still accepted;"):
        pool.client.open_output(job.id, "main")


def test_the_web_tier_cannot_open_an_upload(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It seals to a public key; the deployment it gets holds no root of class upload."""
    for name, value in pool.environment.items():
        monkeypatch.setenv(name, value)
    job = pool.submit(photo(), "web-set")

    with Client.from_env() as client, pytest.raises(Exception, match=r"(?i)root|upload"):
        client._parts.store.open_bytes(job.upload)


def test_a_server_that_goes_away_after_the_job_was_accepted_does_not_undo_the_submission(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller told of a failure would submit again, and might pay twice."""

    def gone(*_: object, **__: object) -> None:
        raise ServerUnavailableError("Redis cannot be reached")

    with monkeypatch.context() as outage:
        outage.setattr(type(pool.deployment.broker), "nudge", gone)
        outage.setattr(JobStore, "show", gone)
        job = pool.submit(photo(), "web-set", subject="u-381")

    kept = pool.client.show(job.id)
    assert (kept.state, kept.upload, kept.params, kept.subject_hash) == (
        JobState.ACCEPTED,
        job.upload,
        job.params,
        job.subject_hash,
    )
