"""The adapters to servers of one's own: the shared contract, every row of their errors, what is left on the server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest
from pydantic import SecretStr

from providers import (
    Account,
    AuthFailed,
    BadResult,
    Cancelled,
    ErasureOutcome,
    InvalidRequest,
    ModelGone,
    Operation,
    Pending,
    Provider,
    ProviderTools,
    RateLimited,
    Request,
    Task,
    TaskFailed,
    Transient,
)
from providers.automatic1111 import Automatic1111Provider
from providers.comfyui import ComfyUIProvider
from providers.media import media_type_of
from tests.fakes.self_hosted import FakeAutomatic1111, FakeComfyUI
from tests.fakes.server import PICTURE, FakeServer
from tests.providers.network import UPLOAD, NetworkContract, Shelf, tools_for, wish
from tests.providers.tabled import HINTS, Row, TabledContract
from tests.providers.test_task_adapters import TaskContract


class SelfHostedContract(NetworkContract):
    """What is different where nobody is charged: a lost answer may be asked for again, and a key is not needed."""

    def test_p7_a_call_that_hangs_after_it_was_accepted_is_of_unknown_outcome(
        self, fake: FakeServer, wish: Request
    ) -> None:
        """It is, but nothing was charged, so that it may be repeated."""
        with tools_for(fake, self.adapter.name, self.path, pace=0.002) as (tools, _):
            fake.next("hang")

            with pytest.raises(Transient) as caught:
                self.adapter(tools).submit(wish)

        assert (caught.value.retryable, caught.value.charged) == (True, "no")

    def test_without_a_credential_nothing_is_sent(self, fake: FakeServer, wish: Request) -> None:
        with pytest.raises(AuthFailed, match=r"set DAYFLY_PROVIDER_[A-Z0-9]+_URL"):
            self.adapter(ProviderTools(sink=Shelf())).submit(wish)

    @pytest.mark.parametrize("key", ["", "user:password-canary"])
    def test_a_key_is_shown_only_where_there_is_one(self, fake: FakeServer, wish: Request, key: str) -> None:
        account = Account(key=SecretStr(key), base_url=fake.url)
        with tools_for(fake, self.adapter.name, pace=1) as (tools, shelf):
            accounts = {self.adapter.name: account}
            self.adapter(ProviderTools(transport=tools.transport, sink=shelf, accounts=accounts)).submit(wish)

        assert {seen.headers.get("authorization", "") for seen in fake.seen} == {
            "Basic dXNlcjpwYXNzd29yZC1jYW5hcnk=" if key else ""
        }


class TestAutomatic1111(SelfHostedContract, TabledContract):
    adapter, fake_type = Automatic1111Provider, FakeAutomatic1111
    operation = Operation.EDIT_IMAGE
    rows: ClassVar[list[Row]] = [
        *HINTS,
        ("400", InvalidRequest, {}),
        ("401", AuthFailed, {}),
        ("403", AuthFailed, {}),
        ("404", InvalidRequest, {"field": "provider"}),
        ("404 sampler", InvalidRequest, {}),
        ("404 checkpoint", ModelGone, {}),
        ("422", InvalidRequest, {}),
        ("500", Transient, {}),
        ("500 memory", Transient, {"charged": "no"}),
        ("500 image", InvalidRequest, {"field": "input"}),
        ("502", Transient, {}),
        ("503", Transient, {}),
        ("504", Transient, {"charged": "no"}),
        ("no picture", BadResult, {}),
        ("no pictures", BadResult, {}),
        ("no image", BadResult, {}),
        ("html", BadResult, {}),
    ]

    def test_p7_an_answer_that_breaks_off_has_probably_been_charged(
        self, fake: FakeServer, both: tuple[Provider, Shelf], wish: Request
    ) -> None:
        """It has not, here."""
        fake.next("cut")

        with pytest.raises(Transient, match="broke off"):
            both[0].submit(wish)

        assert both[1].kept == {}

    def test_the_operators_checkpoint_and_the_size_of_the_upload_are_kept(self, fake: FakeServer) -> None:
        account = Account(key=SecretStr(""), base_url=fake.url, model="sd_xl_base_1.0.safetensors [31e35c80fc]")
        with tools_for(fake, "automatic1111", pace=1) as (tools, shelf):
            tools = ProviderTools(transport=tools.transport, sink=shelf, accounts={"automatic1111": account})
            Automatic1111Provider(tools).submit(wish(Operation.EDIT_IMAGE, options={"steps": "20", "width": "24"}))

        body = fake.seen[0].json
        assert body["override_settings"]["sd_model_checkpoint"] == account.model
        assert (body["steps"], body["width"], body["height"]) == (20, 24, 64)
        assert list(shelf.kept.values()) == [("image/png", PICTURE)], "the mask of an extension is no result"


class TestComfyUI(SelfHostedContract, TaskContract):
    adapter, fake_type = ComfyUIProvider, FakeComfyUI
    submits: ClassVar[list[Row]] = [
        *HINTS,
        ("401", AuthFailed, {}),
        ("403", AuthFailed, {}),
        ("413", InvalidRequest, {"field": "input"}),
        ("checkpoint", ModelGone, {}),
        ("image", InvalidRequest, {"field": "input"}),
        ("sampler", InvalidRequest, {"field": None}),
        ("no outputs", InvalidRequest, {}),
        ("500", Transient, {}),
        ("502", Transient, {"charged": "no"}),
    ]
    polls: ClassVar[list[Row]] = [
        ("error", TaskFailed, {"charged": "no"}),
        ("memory", TaskFailed, {"charged": "no"}),
        ("interrupted", Cancelled, {"charged": "no"}),
        ("dreaming", BadResult, {}),
        ("empty", BadResult, {}),
        ("text", BadResult, {}),
    ]

    def test_p7_a_call_that_hangs_after_it_was_accepted_is_of_unknown_outcome(
        self, fake: FakeServer, wish: Request
    ) -> None:
        """Not here: its task is looked for, and found. (An answer that breaks off needs no patience to be lost.)"""
        fake.next("lost")
        with tools_for(fake, "comfyui", pace=1) as (tools, shelf):
            provider = ComfyUIProvider(tools)
            answer = provider.submit(wish)
            assert isinstance(answer, Pending)
            self.finished_with(provider, answer.task)

        assert fake.charges == 1
        assert len(shelf.kept) == 1

    def test_a_repeated_attempt_finds_the_task_of_the_first(self, fake: FakeServer, provider: Provider) -> None:
        assert self.submitted(provider).task_id == self.submitted(provider).task_id
        assert fake.charges == 1

    def finished_with(self, provider: Provider, task: Task) -> None:
        assert isinstance(provider.poll(task), Pending)
        self.finished(provider, task)

    def test_p1_nothing_of_upload_and_result_is_left_on_the_server(
        self, fake: FakeComfyUI, both: tuple[Provider, Shelf]
    ) -> None:
        provider, shelf = both
        task = self.submitted(provider)
        assert fake.files["temp", f"{task.task_id}.png"] == UPLOAD
        self.finished_with(provider, task)

        assert provider.erase(task).outcome is ErasureOutcome.ERASED
        assert provider.erase(task).outcome is ErasureOutcome.ERASED, "it is idempotent"

        assert len(fake.files) == 2
        assert {(kind, media_type_of(content)) for (kind, _), content in fake.files.items()} == {("temp", "image/png")}
        assert all(len(content) < 100 for content in fake.files.values())
        assert fake.tasks == {}, "the record holds the prompt"
        assert list(shelf.kept.values()) == [("image/png", PICTURE)]

    def test_p1_a_refused_task_leaves_no_upload(self, fake: FakeComfyUI, provider: Provider) -> None:
        for scenario, kind in (("checkpoint", ModelGone), ("500", Transient), ("429", RateLimited)):
            fake.next(scenario)
            with pytest.raises(kind):
                self.submitted(provider)

        assert all(len(content) < 100 for content in fake.files.values())

    def test_a_task_that_never_began_is_erased_as_well(self, fake: FakeComfyUI, provider: Provider) -> None:
        task = self.submitted(provider)
        provider.cancel(task)
        del fake.tasks[task.task_id]

        assert provider.erase(task).outcome is ErasureOutcome.ERASED
        assert all(len(content) < 100 for content in fake.files.values())

    def test_an_older_version_gives_ids_of_its_own_and_only_forgets_what_waits(
        self, fake: FakeComfyUI, provider: Provider
    ) -> None:
        fake.takes_ids = fake.has_jobs = False
        task = self.submitted(provider)
        provider.cancel(task)
        self.finished_with(provider, task)
        provider.erase(task)

        assert task.task_id.startswith("00000000-")
        assert fake.cancelled == [task.task_id]
        assert "/interrupt" not in {seen.path for seen in fake.seen}
        assert all(len(content) < 100 for content in fake.files.values())

    def test_every_declared_operation_satisfies_the_servers_source(self, fake: FakeComfyUI) -> None:
        for charges, operation in enumerate(sorted(self.adapter.capabilities.operations), 1):
            with tools_for(fake, "comfyui", pace=1) as (tools, _):
                asked = replace(wish(operation, options={"seed": "7", "cfg": "5.5"}), idempotency_key=f"{operation}")
                ComfyUIProvider(tools).submit(asked)

            assert fake.wrong == [], operation
            assert fake.charges == charges

    def test_a_server_without_a_checkpoint_is_of_no_use(self, fake: FakeComfyUI, provider: Provider) -> None:
        fake.checkpoints = []

        with pytest.raises(InvalidRequest, match="no checkpoint"):
            self.submitted(provider)


CASES: list[Any] = [TestAutomatic1111, TestComfyUI]
"""For the test that none of them says anything it should not."""
