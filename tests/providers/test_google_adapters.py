"""The adapters to Google's two doors: the shared contract, every row of their errors, films from submit to erasure."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import ClassVar

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from providers import (
    AuthFailed,
    BadResult,
    Cancelled,
    ContentRefused,
    Done,
    ErasureOutcome,
    InvalidRequest,
    ModelGone,
    Operation,
    OutcomeUnknown,
    OutOfCredit,
    Pending,
    Provider,
    ProviderError,
    RateLimited,
    Task,
    TaskFailed,
    TaskNotFound,
    Transient,
)
from providers.gemini import GeminiProvider
from providers.vertex import VertexProvider
from tests.fakes.google import FILM, FakeGemini, FakeVertex
from tests.providers.network import Shelf, tools_for, wish
from tests.providers.tabled import Row, TabledContract

GOOGLES: list[Row] = [
    ("429", RateLimited, {"retry_after": None}),
    ("429 body", RateLimited, {"retry_after": timedelta(seconds=33)}),
    ("429 fraction", RateLimited, {"retry_after": timedelta(seconds=0.5)}),
    ("429 seconds", RateLimited, {"retry_after": timedelta(seconds=7)}),
    ("429 nonsense", RateLimited, {"retry_after": None}),
    ("429 html", RateLimited, {}),
    ("429 billing", OutOfCredit, {}),
    ("403 billing", OutOfCredit, {}),
    ("400 billing", OutOfCredit, {}),
    ("400", InvalidRequest, {}),
    ("400 region", InvalidRequest, {}),
    ("400 rules", ContentRefused, {"stage": "input", "charged": "no"}),
    ("400 key", AuthFailed, {}),
    ("403 key", AuthFailed, {}),
    ("401", AuthFailed, {}),
    ("403", AuthFailed, {}),
    ("404", ModelGone, {}),
    ("499", OutcomeUnknown, {}),
    ("500", Transient, {}),
    ("502", OutcomeUnknown, {}),
    ("503", Transient, {"charged": "no"}),
    ("504", OutcomeUnknown, {"charged": "maybe"}),
]
CONTENTS: list[Row] = [
    *GOOGLES,
    ("prompt SAFETY", ContentRefused, {"stage": "input", "charged": "no"}),
    ("prompt BLOCKLIST", ContentRefused, {"stage": "input"}),
    ("prompt PROHIBITED_CONTENT", ContentRefused, {"stage": "input"}),
    ("prompt IMAGE_SAFETY", ContentRefused, {"stage": "input"}),
    ("prompt OTHER", ContentRefused, {"stage": "input"}),
    ("prompt new", ContentRefused, {"stage": "input"}),
    ("SAFETY", ContentRefused, {"stage": "output", "charged": "maybe"}),
    ("PROHIBITED_CONTENT", ContentRefused, {"stage": "output"}),
    ("BLOCKLIST", ContentRefused, {}),
    ("SPII", ContentRefused, {}),
    ("RECITATION", ContentRefused, {}),
    ("IMAGE_SAFETY", ContentRefused, {}),
    ("IMAGE_PROHIBITED_CONTENT", ContentRefused, {}),
    ("IMAGE_RECITATION", ContentRefused, {}),
    # These may be asked for once more.
    ("NO_IMAGE", BadResult, {"max_retries": 1}),
    ("IMAGE_OTHER", BadResult, {}),
    ("MALFORMED_RESPONSE", BadResult, {}),
    ("OTHER", BadResult, {}),
    ("TOMORROW", BadResult, {}),
    ("words only", BadResult, {}),
    ("no candidates", BadResult, {}),
    ("no image", BadResult, {}),
    ("html", BadResult, {}),
]


class TestGemini(TabledContract):
    adapter, fake_type, path = GeminiProvider, FakeGemini, "/v1"
    operation = Operation.EDIT_IMAGE
    rows: ClassVar[list[Row]] = CONTENTS

    def test_options_of_a_picture_get_googles_names(self, fake: FakeGemini, provider: Provider) -> None:
        provider.submit(wish(Operation.EDIT_IMAGE, options={"aspect_ratio": "1:1", "image_size": "2K"}))

        assert fake.seen[0].json["generationConfig"]["imageConfig"] == {"aspectRatio": "1:1", "imageSize": "2K"}


class TestFilms:
    @pytest.fixture
    def fake(self) -> Iterator[FakeGemini]:
        with FakeGemini() as fake:
            yield fake
            assert fake.wrong == []

    @pytest.fixture
    def both(self, fake: FakeGemini) -> Iterator[tuple[Provider, Shelf]]:
        with tools_for(fake, "gemini", "/v1", pace=1) as (tools, shelf):
            yield GeminiProvider(tools), shelf

    def submitted(self, provider: Provider) -> Task:
        answer = provider.submit(wish(Operation.IMAGE_TO_VIDEO, options={"resolution": "720p"}))
        assert isinstance(answer, Pending)
        return Task.model_validate_json(answer.task.model_dump_json())

    @pytest.mark.parametrize("by_address", [False, True])
    def test_a_film_is_asked_for_sealed_and_erased(
        self, fake: FakeGemini, both: tuple[Provider, Shelf], by_address: bool
    ) -> None:
        provider, shelf = both
        fake.by_address = by_address
        task = self.submitted(provider)

        assert isinstance(provider.poll(task), Pending)
        assert isinstance(provider.poll(task), Done)
        assert shelf.kept == {"object-0": ("video/mp4", FILM)}
        assert provider.erase(task).outcome is ErasureOutcome.ERASED
        assert provider.erase(task).outcome is ErasureOutcome.ERASED, "it is idempotent"
        assert fake.deleted == [task.task_id]
        assert fake.charges == 1

    def test_every_end_becomes_its_decision(self, fake: FakeGemini, both: tuple[Provider, Shelf]) -> None:
        provider, shelf = both
        task = self.submitted(provider)
        rows: list[tuple[str, type[ProviderError], str | None]] = [
            ("failed", TaskFailed, None),
            ("safety", ContentRefused, None),
            ("step", ContentRefused, "violence"),
            ("cancelled", Cancelled, None),
            ("budget", OutOfCredit, None),
            ("requires_action", BadResult, None),
            ("requires_continuation", BadResult, None),
            ("dreaming", BadResult, None),
            ("empty", BadResult, None),
            ("no film", BadResult, None),
            ("elsewhere", BadResult, None),
            ("429 body", RateLimited, None),
            ("499", Transient, None),
            ("500", Transient, None),
            ("504", Transient, None),
        ]
        assert set(fake.POLLS) <= {row[0] for row in rows}, "a hard case without a row"
        for scenario, kind, reason in rows:
            fake.on_poll = [scenario]
            with pytest.raises(ProviderError) as caught:
                provider.poll(task)

            assert type(caught.value) is kind, scenario
            assert getattr(caught.value, "reason", None) == reason, scenario
            assert "words" not in str(caught.value)
        assert shelf.kept == {}

    def test_p7_a_start_without_a_name_is_of_unknown_outcome(
        self, fake: FakeGemini, both: tuple[Provider, Shelf]
    ) -> None:
        fake.next("no id")

        with pytest.raises(OutcomeUnknown, match="without naming a task"):
            self.submitted(both[0])

    def test_a_film_it_does_not_know_is_said_to_be_so(self, both: tuple[Provider, Shelf]) -> None:
        provider, _ = both
        task = self.submitted(provider).model_copy(update={"task_id": "v1_other"})

        for ask in (provider.poll, provider.cancel):
            with pytest.raises(TaskNotFound):
                ask(task)

    def test_a_cancel_reaches_the_provider(self, fake: FakeGemini, both: tuple[Provider, Shelf]) -> None:
        task = self.submitted(both[0])

        both[0].cancel(task)

        assert fake.cancelled == [task.task_id]


@pytest.fixture(scope="module")
def private_key() -> RSAPrivateKey:
    return generate_private_key(public_exponent=65537, key_size=2048)


def account_file(key: RSAPrivateKey) -> str:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    file = {
        "type": "service_account",
        "client_email": "pool@p-1.iam.gserviceaccount.com",
        "private_key_id": "k1",
        "private_key": pem,
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    return base64.b64encode(json.dumps(file).encode()).decode()


class TestVertex(TabledContract):
    adapter, fake_type, path = VertexProvider, FakeVertex, FakeVertex.PLACE
    operation = Operation.EDIT_IMAGE
    rows: ClassVar[list[Row]] = CONTENTS

    def test_a_service_account_signs_its_tokens_here(self, fake: FakeVertex, private_key: RSAPrivateKey) -> None:
        fake.public_key = private_key.public_key()
        with tools_for(fake, "vertex", self.path, key=account_file(private_key), pace=1) as (tools, shelf):
            provider = VertexProvider(tools)
            for _ in range(2):
                provider.submit(wish(Operation.EDIT_IMAGE))

        assert len(shelf.kept) == 2
        assert len({seen.headers["authorization"] for seen in fake.seen}) == 1, "one token serves for an hour"
        assert len(fake.seen) == 2, "nobody is asked for it"

    def test_p1_a_broken_account_file_is_not_quoted(self, fake: FakeVertex) -> None:
        key = base64.b64encode(b'{"private_key": "canary", "client_email": "canary"}').decode()
        with (
            tools_for(fake, "vertex", self.path, key=key, pace=1) as (tools, _),
            pytest.raises(AuthFailed, match="not the file of a service account") as caught,
        ):
            VertexProvider(tools).submit(wish(Operation.EDIT_IMAGE))

        assert caught.value.__suppress_context__
        assert fake.seen == []

    def test_an_api_key_is_shown_as_one(self, fake: FakeVertex) -> None:
        with tools_for(fake, "vertex", self.path, key="AIza-canary", pace=1) as (tools, _):
            VertexProvider(tools).submit(wish(Operation.EDIT_IMAGE))

        assert "authorization" not in fake.seen[0].headers

    def test_imagen_is_gone_and_names_its_successor(self, fake: FakeVertex, provider: Provider) -> None:
        with pytest.raises(ModelGone, match="use 'gemini-3-pro-image'"):
            provider.submit(wish(Operation.GENERATE_IMAGE, options={"model": "imagen-4.0-ultra-generate-001"}))

        assert fake.seen == []


class TestVeo:
    @pytest.fixture
    def fake(self) -> Iterator[FakeVertex]:
        with FakeVertex() as fake:
            yield fake
            assert fake.wrong == []

    @pytest.fixture
    def both(self, fake: FakeVertex) -> Iterator[tuple[Provider, Shelf]]:
        with tools_for(fake, "vertex", FakeVertex.PLACE, pace=1) as (tools, shelf):
            yield VertexProvider(tools), shelf

    def submitted(self, provider: Provider) -> Task:
        answer = provider.submit(wish(Operation.IMAGE_TO_VIDEO, options={"duration": "8", "aspect_ratio": "16:9"}))
        assert isinstance(answer, Pending)
        return Task.model_validate_json(answer.task.model_dump_json())

    def test_a_film_is_asked_for_and_sealed(self, fake: FakeVertex, both: tuple[Provider, Shelf]) -> None:
        provider, shelf = both
        task = self.submitted(provider)

        assert isinstance(provider.poll(task), Pending)
        assert isinstance(provider.poll(task), Done)
        assert shelf.kept == {"object-0": ("video/mp4", FILM)}
        assert provider.erase(task).outcome is ErasureOutcome.UNSUPPORTED
        assert fake.charges == 1

    def test_every_end_becomes_its_decision(self, fake: FakeVertex, both: tuple[Provider, Shelf]) -> None:
        provider, shelf = both
        task = self.submitted(provider)
        rows: list[tuple[str, type[ProviderError], dict[str, str]]] = [
            ("filtered", ContentRefused, {"stage": "output", "reason": "violence", "charged": "maybe"}),
            ("refused", ContentRefused, {"stage": "input", "charged": "no"}),
            ("internal", TaskFailed, {"charged": "maybe"}),
            ("crowded", TaskFailed, {"charged": "maybe"}),
            ("bucket", BadResult, {}),
            ("empty", BadResult, {}),
            ("no film", BadResult, {}),
            ("nameless", BadResult, {}),
            ("429 body", RateLimited, {}),
            ("503", Transient, {}),
            ("504", Transient, {}),
        ]
        assert set(fake.POLLS) <= {row[0] for row in rows}, "a hard case without a row"
        for scenario, kind, facts in rows:
            fake.on_poll = [scenario]
            with pytest.raises(ProviderError) as caught:
                provider.poll(task)

            assert type(caught.value) is kind, scenario
            assert {name: getattr(caught.value, name) for name in facts} == facts, scenario
            assert "words" not in str(caught.value)
        assert shelf.kept == {}

    def test_p7_an_operation_without_a_name_is_of_unknown_outcome(
        self, fake: FakeVertex, both: tuple[Provider, Shelf]
    ) -> None:
        fake.next("no name")

        with pytest.raises(OutcomeUnknown, match="without naming a task"):
            self.submitted(both[0])

    def test_an_operation_it_does_not_know_is_said_to_be_so(self, both: tuple[Provider, Shelf]) -> None:
        provider, _ = both
        task = self.submitted(provider).model_copy(update={"task_id": "other", "poll_url": None})

        with pytest.raises(TaskNotFound):
            provider.poll(task)


CASES = [TestGemini, TestVertex]
"""For the test that none of them says anything it should not."""
