"""P1 at every adapter: marks in key, prompt, picture, result and address; none is ever said."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import generate_latest

from providers import Done, Operation, Pending, Provider, ProviderError, Request
from tests.fakes.films import FILM
from tests.fakes.server import KEY, PICTURE, FakeServer
from tests.fakes.task_vendors import FakeTasks
from tests.providers import test_ark as ark
from tests.providers import test_cloud_adapters as cloud
from tests.providers import test_dashscope as dashscope
from tests.providers import test_google_adapters as google
from tests.providers import test_hedra as hedra
from tests.providers import test_heygen as heygen
from tests.providers import test_kling as kling
from tests.providers import test_luma as luma
from tests.providers import test_runway as runway
from tests.providers import test_self_hosted_adapters as self_hosted
from tests.providers import test_sync_adapters as sync
from tests.providers import test_task_adapters as tasks
from tests.providers.network import PROMPT, UPLOAD, tools_for, wish

FILMS = [
    runway.TestRunway,
    luma.TestLuma,
    kling.TestKling,
    dashscope.TestDashScope,
    ark.TestArk,
    hedra.TestHedra,
    heygen.TestHeyGen,
]
CASES = [*sync.TABLE, tasks.TestReplicate, tasks.TestBfl, tasks.TestFal, *FILMS]
CASES += [*cloud.CASES, *google.CASES, *self_hosted.CASES]
BACKGROUND = "#c0ffee"
MARKS = (KEY, PROMPT, "prompt-canary", "upload-canary", BACKGROUND[1:], "signature=abc", "a prompt the generator wrote")


def provoke(fake: FakeServer, provider: Provider, request: Request, scenario: str) -> list[BaseException]:
    """Let one scenario happen, to its end, and give what was raised."""
    fake.next(scenario)
    try:
        # Another key each time: who recognises a repetition would answer with the task of the first.
        answer: Any = provider.submit(replace(request, idempotency_key=str(len(fake.seen))))
        while isinstance(answer, Pending):
            answer = provider.poll(answer.task)
        assert isinstance(answer, Done)
    except ProviderError as error:
        return [error]
    return []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.adapter.name)
def test_p1_no_key_prompt_picture_or_address_is_ever_said(case: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    fake = case.fake_type()
    raised: list[BaseException] = []
    request = wish(case.operation, background=BACKGROUND, options=case.options)
    with fake, tools_for(fake, case.adapter.name, case.path, pace=1) as (tools, _):
        provider = case.adapter(tools)
        for scenario in ["ok", *(getattr(fake, "SUBMITS", None) or fake.ERRORS)]:
            if scenario != "hang":
                raised += provoke(fake, provider, request, scenario)
        if isinstance(fake, FakeTasks):
            for scenario in fake.POLLS:
                fake.on_poll = [scenario]
                raised += provoke(fake, provider, request, "ok")
            for scenario in fake.FILES:
                fake.on_file = [scenario]
                raised += provoke(fake, provider, request, "ok")

    assert len(raised) > 5
    assert any(fake.shown in str(seen.headers) for seen in fake.seen), "the marks were there to be said"
    assert any(b"canary" in seen.body for seen in fake.seen)
    nothing_was_said(fake, raised, caplog)


def nothing_was_said(fake: FakeServer, raised: list[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    said = caplog.text + repr([(str(error), repr(error), error.__cause__) for error in raised])
    said += generate_latest().decode()
    for mark in (*MARKS, fake.shown):
        assert mark not in said
    for content in (UPLOAD, PICTURE, FILM):
        assert repr(content[40:56])[2:-1] not in said


@pytest.mark.parametrize("case", google.CASES, ids=lambda case: case.adapter.name)
def test_p1_nor_at_any_end_of_a_film(case: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    fake = case.fake_type()
    raised: list[BaseException] = []
    with fake, tools_for(fake, case.adapter.name, case.path, pace=1) as (tools, _):
        for scenario in fake.POLLS:
            fake.on_poll = [scenario]
            raised += provoke(fake, case.adapter(tools), wish(Operation.IMAGE_TO_VIDEO), "ok")

    assert len(raised) == len(fake.POLLS)
    nothing_was_said(fake, raised, caplog)
