"""
P1 at every adapter: marks in key, prompt, picture, result, addresses and secrets of reports; none is ever said,
whatever is asked and whatever is answered.
"""

from __future__ import annotations

import base64
import logging
import ssl
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from providers import Done, Operation, Pending, Provider, ProviderError, ProviderRegistry, Request, Task
from tests.fakes.films import FILM
from tests.fakes.http2 import FakeHttp2
from tests.fakes.server import HTML, KEY, PICTURE, Answer, FakeServer, Seen
from tests.fakes.task_vendors import FakeTasks
from tests.providers import test_ark as ark
from tests.providers import test_bedrock_video as bedrock_video
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
from tests.providers.network import HOOK, PROMPT, UPLOAD, tools_for, wish

FILMS = [
    runway.TestRunway,
    luma.TestLuma,
    kling.TestKling,
    dashscope.TestDashScope,
    ark.TestArk,
    hedra.TestHedra,
    heygen.TestHeyGen,
    bedrock_video.TestBedrockVideo,
]
CASES = [*sync.TABLE, tasks.TestReplicate, tasks.TestBfl, tasks.TestFal, *FILMS]
CASES += [*cloud.CASES, *google.CASES, *self_hosted.CASES]
BACKGROUND = "#c0ffee"
MARKS = (
    KEY, PROMPT, "prompt-canary", "upload-canary", BACKGROUND[1:], "signature=abc", "a prompt the generator wrote",
    "hooks.example", "canary-5b", "wrong-canary",
)  # fmt: skip
CONTENTS = [UPLOAD, PICTURE, FILM]
CODED = [base64.b64encode(content).decode()[40:64] for content in CONTENTS]


def quoting(seen: Seen) -> str:
    """What a provider says that quotes all it was sent."""
    return f"{seen.method} {seen.path}?{seen.query} {dict(seen.headers)} {seen.body.decode('latin-1')} {CODED}"


def quoted(status: int) -> Callable[[Seen], Answer]:
    """Answer with all that was asked, wherever an adapter looks for an explanation."""

    def route(seen: Seen) -> Answer:
        words = quoting(seen)
        error = {"message": words, "code": words, "type": words, "status": words, "param": words}
        body = {"error": error, "errors": [error], "detail": words, "message": words, "name": words, "code": words}
        body |= {"status": words, "state": words, "id": words, "data": {"status": words, "task_id": words}}
        header = "".join(letter for letter in words if letter.isascii() and letter.isprintable())
        return Answer(status, body, {"x-request-id": header[:400]})

    return route


ANSWERS: list[Callable[[Seen], Answer]] = [
    *map(quoted, (200, 400, 403, 404, 429, 500)),
    lambda seen: replace(HTML, body=quoting(seen).encode()),
    lambda seen: Answer(200, {"words": quoting(seen)}, cut=8),
    lambda seen: Answer(302, quoting(seen).encode(), {"location": f"https://elsewhere.test/{KEY}?signature=abc"}),
]
"""What may be answered to any call, beside what each vendor's page lists."""


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
    said = caplog.text + repr([(str(error), repr(error), error.__cause__, error.args) for error in raised])
    said += "".join("".join(traceback.format_exception(error)) for error in raised)
    said += generate_latest().decode()
    for mark in (*MARKS, *CODED, fake.shown):
        assert mark not in said, mark
    for content in CONTENTS:
        assert repr(content[40:56])[2:-1] not in said


def calls_of(provider: Provider, request: Request, task: Task) -> Iterator[Callable[[], Any]]:
    """Each thing that can be asked of a provider."""
    assert request.operation is not None
    operation = request.operation
    yield lambda: provider.submit(request)
    yield lambda: provider.poll(task)
    yield lambda: provider.look_up(operation, request.idempotency_key)
    yield provider.check
    yield lambda: provider.cancel(task)
    yield lambda: provider.erase(task)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.adapter.name)
def test_p1_nothing_is_said_whatever_is_asked_and_answered(case: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    fake = case.fake_type()
    raised: list[BaseException] = []
    asked = 0
    request = wish(case.operation, background=BACKGROUND, options=case.options, webhook=HOOK)
    with fake, tools_for(fake, case.adapter.name, case.path, pace=1) as (tools, _):
        provider = case.adapter(tools)
        answer = provider.submit(request)
        task = answer.task if isinstance(answer, Pending) else stray(case.adapter.name, fake.url + case.path)
        # As it should be, first; then every call with every answer; then with nobody there.
        for route in (fake.route, *ANSWERS):
            fake.route = route
            for call in calls_of(provider, replace(request, idempotency_key=f"k-{asked}"), task):
                asked += 1
                try:
                    call()
                except ProviderError as error:
                    raised.append(error)
        seen = list(fake.seen)
    with tools_for(fake, case.adapter.name, case.path, pace=1) as (tools, _):
        for call in calls_of(case.adapter(tools), request, task):
            try:
                call()
            except ProviderError as error:
                raised.append(error)

    # The first of each kind succeeds, and erasing or cancelling may be nothing that is asked of anybody.
    assert len(raised) >= 3 * len(ANSWERS)
    assert any(fake.shown in str(each.headers) for each in seen), "the marks were there to be said"
    nothing_was_said(fake, raised, caplog)


def stray(name: str, base_url: str) -> Task:
    """A task of a provider that makes none."""
    about = {"model": "m", "task_id": "t", "submitted_at": datetime.now(UTC)}
    return Task(provider=name, credential="main", base_url=base_url, **about)


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


TALKATIVE = ("httpx", "httpcore", "hpack", "h2", "h11", "hyperframe", "botocore", "urllib3", "google")


def test_p1_nor_over_http2_by_those_who_write_and_read_it(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    with FakeHttp2(tmp_path) as server:
        monkeypatch.setattr("providers.transport._tls", lambda http2: ssl.create_default_context(cafile=server.ca))

        def asked() -> None:
            with tools_for(server, "replicate", "/v1", pace=1) as (tools, _):  # type: ignore[arg-type]
                provider = ProviderRegistry.from_entry_points().build("replicate", tools)
                provider.check()
                with suppress(ProviderError):
                    provider.poll(stray("replicate", f"{server.url}/v1"))

        asked()
        quiet = caplog.text
        # The same again by clients that nobody has told to be silent: what was there to be said is said.
        monkeypatch.setattr("providers.transport._TALKATIVE", ())
        for name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in TALKATIVE]:
            monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)
        logging.getLogger().manager._clear_cache()  # type: ignore[attr-defined]  # levels were changed past it
        asked()
        loud = caplog.text

    assert server.shown == [f"Bearer {KEY}"] * 4
    assert KEY in loud
    assert KEY not in quiet
