"""Bedrock's films: contract, errors, repetitions by token, and a bucket that is left as it was found."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import boto3
import pytest

from providers import (
    AuthFailed,
    BadResult,
    ContentRefused,
    ErasureOutcome,
    InvalidRequest,
    ModelGone,
    Operation,
    OutcomeUnknown,
    Provider,
    RateLimited,
    TaskFailed,
    TaskNotFound,
    Transient,
)
from providers.bedrock_video import BedrockVideoProvider, Bucket
from tests.fakes.bedrock import ACCESS_KEY, SECRET, TOKEN
from tests.fakes.bedrock_video import BUCKET, FakeBedrockVideo
from tests.fakes.films import FILM
from tests.providers.film_contract import FilmContract
from tests.providers.network import PROMPT, Shelf, tools_for, wish
from tests.providers.test_task_adapters import Row


class TestBedrockVideo(FilmContract):
    adapter, fake_type = BedrockVideoProvider, FakeBedrockVideo
    wrong_key = f"{ACCESS_KEY}:wrong/canary:{TOKEN}"
    submits: ClassVar[list[Row]] = [
        ("throttled", RateLimited, {}),
        ("quota", RateLimited, {}),
        ("denied", AuthFailed, {}),
        ("signature", AuthFailed, {}),
        ("model", ModelGone, {}),
        ("model id", ModelGone, {}),
        ("validation", InvalidRequest, {}),
        ("filters", ContentRefused, {"stage": "input", "charged": "no"}),
        ("500", Transient, {}),
        ("502", OutcomeUnknown, {}),
        ("503", Transient, {}),
        ("504", OutcomeUnknown, {}),
        ("conflict", OutcomeUnknown, {}),
        ("no id", OutcomeUnknown, {}),
        ("strange id", OutcomeUnknown, {}),
    ]
    polls: ClassVar[list[Row]] = [
        ("failed", TaskFailed, {"retryable": False, "charged": "maybe"}),
        ("refused", ContentRefused, {"stage": "output", "reason": "violence"}),
        ("empty", BadResult, {}),
        ("dreaming", BadResult, {}),
    ]

    def test_what_it_erases_is_gone_at_the_provider(self, fake: FakeBedrockVideo, both: tuple[Provider, Shelf]) -> None:
        provider, _ = both
        before = dict(fake.objects)
        task = self.submitted(provider)
        self.finished(provider, task)
        left = set(fake.objects) - set(before)

        first, second = provider.erase(task), provider.erase(task)

        assert len(left) == 2, "the film and the vendor's notes about it"
        assert first.outcome is second.outcome is ErasureOutcome.ERASED
        assert fake.objects == before, "and nothing of anybody else's"

    def test_what_still_runs_is_not_said_to_be_erased(
        self, fake: FakeBedrockVideo, both: tuple[Provider, Shelf]
    ) -> None:
        provider, _ = both
        task = self.submitted(provider)

        with pytest.raises(Transient, match="still runs") as caught:
            provider.erase(task)
        provider.poll(task)

        assert caught.value.retryable
        assert provider.erase(task).outcome is ErasureOutcome.ERASED
        assert fake.erased == [task.task_id]

    def test_the_end_of_a_task_is_reported_to_the_address_that_was_given_or_to_none(
        self, fake: FakeBedrockVideo, provider: Provider
    ) -> None:
        # It asks for different things with one and the same key.
        fake.remembers = False
        super().test_the_end_of_a_task_is_reported_to_the_address_that_was_given_or_to_none(fake, provider)

    def test_p7_a_repetition_is_recognised_by_its_token(self, fake: FakeBedrockVideo, provider: Provider) -> None:
        first, second = (provider.submit(wish(self.operation)) for _ in range(2))

        assert first.task.task_id == second.task.task_id  # type: ignore[union-attr]  # both are tasks
        assert fake.charges == 1
        with pytest.raises(OutcomeUnknown, match="other content"):
            provider.submit(wish(Operation.TEXT_TO_VIDEO))

    @pytest.mark.parametrize("name", [None, "arn:aws:bedrock:us-west-2:1:async-invoke/../x", "https://x"])
    def test_a_task_without_its_name_is_not_asked_for(
        self, fake: FakeBedrockVideo, provider: Provider, name: str | None
    ) -> None:
        task = self.submitted(provider)
        asked = len(fake.seen)

        with pytest.raises(TaskNotFound):
            provider.poll(task.model_copy(update={"poll_url": name}))

        assert len(fake.seen) == asked

    def test_a_task_with_an_address_elsewhere_keeps_its_credential(self, fake: Any, provider: Provider) -> None:
        task = self.submitted(provider)

        with pytest.raises(BadResult, match="must not be sent"):
            provider.poll(task.model_copy(update={"base_url": "https://bedrock-runtime.evil.test"}))

    def test_a_task_it_does_not_know_is_said_to_be_so(self, provider: Provider) -> None:
        task = self.submitted(provider)

        with pytest.raises(TaskNotFound):
            provider.poll(task.model_copy(update={"poll_url": str(task.poll_url)[:-12] + "z" * 12}))

    def test_without_a_bucket_nothing_is_sent(self, fake: FakeBedrockVideo) -> None:
        with tools_for(fake, "bedrock-video") as (tools, shelf):
            account = tools.accounts["bedrock-video"]
            bare = type(account)(key=account.key, base_url=account.base_url)
            provider = BedrockVideoProvider(
                type(tools)(transport=tools.transport, sink=shelf, accounts={"bedrock-video": bare})
            )
            with pytest.raises(AuthFailed, match="DAYFLY_PROVIDER_BEDROCK_VIDEO_OUTPUT"):
                provider.submit(wish(self.operation))

        assert fake.seen == []


@pytest.mark.parametrize(
    ("output", "uri", "listing"),
    [
        ("s3://films", "s3://films", "https://films.s3.eu-west-1.amazonaws.com/?list-type=2&prefix=t%2F"),
        ("s3://films/a/b/", "s3://films/a/b", "https://films.s3.eu-west-1.amazonaws.com/?list-type=2&prefix=a%2Fb%2Ft%2F"),
        ("https://vpce.test/films/a", "s3://films/a", "https://vpce.test/films/?list-type=2&prefix=a%2Ft%2F"),
    ],
)  # fmt: skip
def test_a_bucket_has_one_name_and_one_address(output: str, uri: str, listing: str) -> None:
    bucket = Bucket(output, "eu-west-1")

    assert (bucket.uri, bucket.listing("t")) == (uri, listing)


@pytest.mark.parametrize("output", ["s3://", "https://host", "s3://Up", "ftp://x"])
def test_what_is_no_bucket_is_refused(output: str) -> None:
    with pytest.raises(AuthFailed, match="names no bucket"):
        Bucket(output, "eu-west-1")


def test_the_sdk_sends_what_we_send_and_understands_the_fake() -> None:
    given = {
        "region_name": "us-west-2",
        "aws_access_key_id": ACCESS_KEY,
        "aws_secret_access_key": SECRET,
        "aws_session_token": TOKEN,
    }
    with FakeBedrockVideo() as fake, tools_for(fake, "bedrock-video", pace=1) as (tools, shelf):
        fake.pending = 0
        sdk: Any = boto3.client("bedrock-runtime", endpoint_url=fake.url, **given)
        store: Any = boto3.client("s3", endpoint_url=fake.url, **given)
        arn = sdk.start_async_invoke(
            clientRequestToken="k2",
            modelId="luma.ray-v2:0",
            modelInput={"prompt": PROMPT, "duration": "5s"},
            outputDataConfig={"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/films"}},
        )["invocationArn"]
        told = sdk.get_async_invoke(invocationArn=arn)
        _, _, prefix = told["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"].partition(f"{BUCKET}/")
        film = store.get_object(Bucket=BUCKET, Key=f"{prefix}/output.mp4")["Body"].read()
        store.delete_object(Bucket=BUCKET, Key=f"{prefix}/output.mp4")
        sdk.close()
        store.close()
        provider = BedrockVideoProvider(tools)
        answer: Any = provider.submit(wish(Operation.TEXT_TO_VIDEO, options={"duration": "5s"}))
        provider.poll(answer.task)

    assert (told["status"], film) == ("Completed", FILM)
    assert list(shelf.kept.values()) == [("video/mp4", FILM)]
    theirs, ours = (seen for seen in fake.seen if seen.method == "POST")
    assert json.loads(ours.body) | {"clientRequestToken": "k2"} == json.loads(theirs.body)
    asked = [seen.path for seen in fake.seen if seen.path.startswith("/async-invoke/")]
    assert asked[0][:-12] == asked[1][:-12]
    assert fake.wrong == []
