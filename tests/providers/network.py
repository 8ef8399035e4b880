"""What the tests of adapters behind a network share: a short-tempered transport, a sink in memory, one account."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, ClassVar
from urllib.parse import unquote

import pytest
from pydantic import SecretStr

from providers import (
    Account,
    AuthFailed,
    BadResult,
    Done,
    InvalidRequest,
    Operation,
    OutcomeUnknown,
    Pending,
    PreparedImage,
    Provider,
    ProviderError,
    ProviderTools,
    Request,
    Transient,
    Transport,
    WebhookSupport,
)
from tests.fakes.server import HTML, PICTURE, Answer, FakeServer, png
from tests.providers.provider_contract import ProviderContract, memfd

HOOK = "https://hooks.example/in/canary-5b"
PROMPT = "prompt-canary-91c2 on oak"
UPLOAD = png(16, 16, text="upload-canary-77aa")


class Shelf:
    """A sink that keeps what it is given where a test can look at it."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[str, bytes]] = {}

    def __call__(self, stream: Any, media_type: str) -> str:
        parts, buffer = [], bytearray(1 << 12)
        while count := stream.readinto(buffer):
            parts.append(bytes(buffer[:count]))
        ref = f"object-{len(self.kept)}"
        self.kept[ref] = (media_type, b"".join(parts))
        return ref


@contextmanager
def tools_for(
    fake: FakeServer, name: str, path: str = "", *, pace: float = 0.005, key: str | None = None
) -> Iterator[tuple[ProviderTools, Shelf]]:
    shelf = Shelf()
    with Transport(trusted={"127.0.0.1"}, pace=pace) as transport:
        account = Account(key=SecretStr(key or fake.key), base_url=fake.url + path, output=fake.output)
        yield ProviderTools(transport=transport, sink=shelf, accounts={name: account}), shelf


@cache
def _upload() -> int:
    """The prepared picture of every wish: one file, because nobody closes it."""
    return memfd(UPLOAD)


def wish(operation: Operation, **changes: Any) -> Request:
    image = PreparedImage(_upload(), "image/png", 16, 16, 3) if operation.needs_input else None
    return Request(operation=operation, idempotency_key="k", input=image, prompt=PROMPT, **changes)


class NetworkContract(ProviderContract):
    """What holds for every adapter behind a network, beside what holds for all. Give it the class and the fake."""

    adapter: type[Provider]
    fake_type: type[FakeServer]
    path = ""
    operation: Operation
    background: str | None = None
    options: ClassVar[dict[str, str]] = {}
    wrong_key = "wrong-canary"

    @pytest.fixture
    def fake(self) -> Iterator[FakeServer]:
        with self.fake_type() as fake:
            yield fake
            assert fake.wrong == []

    @pytest.fixture
    def both(self, fake: FakeServer) -> Iterator[tuple[Provider, Shelf]]:
        with tools_for(fake, self.adapter.name, self.path, pace=1) as (tools, shelf):
            yield self.adapter(tools), shelf

    @pytest.fixture
    def provider(self, both: tuple[Provider, Shelf]) -> Provider:
        return both[0]

    @pytest.fixture
    def wish(self) -> Request:
        return wish(self.operation, background=self.background, options=self.options)

    def test_p7_a_call_that_hangs_after_it_was_accepted_is_of_unknown_outcome(
        self, fake: FakeServer, wish: Request
    ) -> None:
        with tools_for(fake, self.adapter.name, self.path, pace=0.002) as (tools, _):
            fake.next("hang")

            with pytest.raises(OutcomeUnknown, match="may have been charged"):
                self.adapter(tools).submit(wish)

        assert fake.charges == 1
        assert len(fake.seen) == 1

    def test_p7_a_call_that_was_never_sent_may_be_repeated(self, wish: Request) -> None:
        with self.fake_type() as gone:
            pass
        with (
            tools_for(gone, self.adapter.name, self.path) as (tools, _),
            pytest.raises(Transient, match="nothing was sent") as caught,
        ):
            self.adapter(tools).submit(wish)

        assert (caught.value.retryable, caught.value.charged) == (True, "no")

    def test_a_wrong_key_stops_the_credential(self, fake: FakeServer, wish: Request) -> None:
        with (
            tools_for(fake, self.adapter.name, self.path, key="wrong-canary", pace=1) as (tools, _),
            pytest.raises(AuthFailed) as caught,
        ):
            self.adapter(tools).submit(wish)

        assert "canary" not in str(caught.value)
        assert fake.charges == 0

    def test_the_credential_can_be_checked_for_nothing_or_the_adapter_says_why_not(
        self, fake: FakeServer, provider: Provider
    ) -> None:
        if provider.check_note is not None:
            with pytest.raises(InvalidRequest, match=r"cannot be checked: [a-z].*\."):
                provider.check()
            assert fake.seen == []
            return
        provider.check()
        with (
            tools_for(fake, self.adapter.name, self.path, key=self.wrong_key, pace=1) as (tools, _),
            pytest.raises(AuthFailed) as caught,
        ):
            self.adapter(tools).check()
        assert "canary" not in str(caught.value)

        assert [(seen.method, seen.body) for seen in fake.seen] == [("GET", b"")] * 2
        assert (fake.charges, fake.wrong) == (0, [])

    @pytest.mark.parametrize(
        ("answer", "kind"), [(HTML, BadResult), (Answer(503, {}), Transient)], ids=["a page", "a fault"]
    )
    def test_a_check_that_nobody_answered_says_nothing_about_the_credential(
        self, fake: FakeServer, provider: Provider, answer: Answer, kind: type[ProviderError]
    ) -> None:
        fake.route = lambda seen: answer  # type: ignore[method-assign]

        with pytest.raises(kind if provider.check_note is None else InvalidRequest):
            provider.check()

    def test_the_end_of_a_task_is_reported_to_the_address_that_was_given_or_to_none(
        self, fake: FakeServer, provider: Provider
    ) -> None:
        way = provider.capabilities.webhook
        for operation in sorted(provider.capabilities.operations):
            before = len(fake.seen)

            answer = provider.submit(wish(operation, background=self.background, options=self.options, webhook=HOOK))

            sent = "".join(unquote(seen.query) + seen.body.decode("latin-1") for seen in fake.seen[before:])
            told = isinstance(answer, Pending) and way is not WebhookSupport.NONE
            assert sent.count(HOOK) == (1 if told else 0), operation

    def test_without_a_credential_nothing_is_sent(self, fake: FakeServer, wish: Request) -> None:
        with pytest.raises(AuthFailed, match=r"set DAYFLY_PROVIDER_[A-Z_]+_KEY"):
            self.adapter(ProviderTools(sink=Shelf())).submit(wish)

    def test_p7_what_could_not_be_kept_is_not_bought(self, fake: FakeServer, provider: Provider, wish: Request) -> None:
        tools = ProviderTools(transport=provider.tools.transport, accounts=provider.tools.accounts)

        with pytest.raises(InvalidRequest, match="without a place for results"):
            self.adapter(tools).submit(wish)

        assert fake.seen == []

    def test_an_option_it_does_not_take_is_refused_and_not_repeated(self, fake: FakeServer, provider: Provider) -> None:
        with pytest.raises(InvalidRequest, match="does not take 1 of the options; it takes: ") as caught:
            provider.submit(wish(self.operation, background=self.background, options={"canary": "x"}))

        assert "canary" not in str(caught.value)
        assert fake.seen == []


class SyncContract(NetworkContract):
    """For adapters whose answer comes in the call."""

    def test_the_result_is_sealed_as_what_its_bytes_are(self, both: tuple[Provider, Shelf], wish: Request) -> None:
        provider, shelf = both

        answer = provider.submit(wish)

        assert isinstance(answer, Done)
        assert shelf.kept == {"object-0": ("image/png", PICTURE)}

    def test_p7_an_answer_that_breaks_off_has_probably_been_charged(
        self, fake: FakeServer, both: tuple[Provider, Shelf], wish: Request
    ) -> None:
        provider, shelf = both
        fake.next("cut")

        with pytest.raises(OutcomeUnknown, match="broke off"):
            provider.submit(wish)

        assert shelf.kept == {}
        assert fake.charges == 1
