"""
One visit of one worker to one job: what it has open, and what it must not leave behind.

A run holds plaintext only in sealed memory files (memfd) and closes them when it ends, however it ends. Objects that
it sealed and no record names yet are shredded at the end of the run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import structlog

from pipelines import Encoded, Pixels, Recipe, RefusalCode, Refused, SandboxError, Source
from providers import (
    PIXELS,
    AuthFailed,
    InMemory,
    InvalidRequest,
    ModelGone,
    Operation,
    PreparedImage,
    Provider,
    ProviderError,
    ProviderTools,
    Request,
    TaskFailed,
    Transient,
    WebhookSupport,
)
from storage import ObjectClass, ObjectRef, ShredReason, StorageError
from worker.accounts import region_of
from worker.bench import Bench
from worker.choosing import NobodyLeftError, choose, key_of
from worker.errors import ServerUnavailableError, UnknownNameError
from worker.gate import AccountKey, verdict_of
from worker.jobs import Lease
from worker.records import JobRecord, JobState
from worker.transfers import Transfer, Transfers, begun, encode_transfers
from worker.webhooks import address

log = structlog.get_logger(__name__)


class Run:
    """A held lease with everything opened under it. Use as a context manager."""

    def __init__(self, bench: Bench, lease: Lease) -> None:
        self.bench = bench
        self.lease = lease
        self.intent_is_fresh = False
        self.unrecorded: list[ObjectRef] = []
        self._open_files: list[int] = []
        self._results: list[InMemory] = []
        self._input: PreparedImage | None = None
        self.passed: frozenset[str] = frozenset()
        self.last_error: ProviderError | None = None
        self._slot: AccountKey | None = None
        self._transfers_before: Transfers = ()
        self._parameters: dict[str, Any] | None = None
        self._upload: int | None = None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
        for fd in self._open_files:
            os.close(fd)
        self._open_files.clear()
        # The provider holds this run by its tools: without this, the prompt would live until the next full collection.
        self._parameters = self._input = None
        self.__dict__.pop("provider", None)
        if self.unrecorded:
            try:
                self.bench.store.shred(self.unrecorded, ShredReason.ORPHANED)
                self.bench.store.delete_ciphertext(self.unrecorded)
            except StorageError as error:
                log.warning("unfinished outputs left to their pending deadline", problem=str(error))

    @property
    def job(self) -> JobRecord:
        """The record as this run last wrote it."""
        return self.lease.job

    def advance(self, to: JobState, fields: Mapping[str, str] | None = None, **changes: Any) -> None:
        """
        Move the job on; see `JobStore.transition`.

        Raises:
            LeaseLostError: Somebody else holds the job now.
            ServerUnavailableError: The record may have been written or not.
        """
        try:
            self.lease = self.bench.jobs.transition(self.lease, to, fields, **changes)
        except ServerUnavailableError:
            # Perhaps the record names them by now, and then a result that was paid for must not be shredded. If it
            # does not, they die by their own deadline.
            self.unrecorded.clear()
            raise

    @cached_property
    def recipe(self) -> Recipe:
        """
        The job's recipe.

        Raises:
            UnknownNameError: This worker does not have it, for example because its recipes folder is older.
        """
        try:
            return self.bench.recipes[self.job.recipe]
        except KeyError:
            raise UnknownNameError("recipe", self.job.recipe, tuple(self.bench.recipes)) from None

    @cached_property
    def provider(self) -> Provider:
        """The job's provider, given the tools of this run."""
        return self.bench.providers.build(
            self.job.provider,
            ProviderTools(
                cut_out=self._cut_out,
                sink=self._seal_result,
                transport=self.bench.transport,
                accounts=self.bench.accounts,
            ),
        )

    def choose(self) -> timedelta | None:
        """
        Take a slot at the provider that is to be called, or say how long to wait for one.

        Raises:
            ProviderError: As `worker.choosing.choose`.
        """
        operation = Operation(self.recipe.operation or "")
        try:
            choice = choose(self.bench, self.job, operation, self.passed)
        except NobodyLeftError:
            if self.last_error is None:
                raise
            # What the last one said tells more than that there is no other.
            raise self.last_error from None
        if choice.provider is None:
            return choice.wait
        self._slot = key_of(self.bench, choice.provider)
        if choice.provider != self.job.provider:
            self.note({"provider": choice.provider}, provider=choice.provider)
            # Made anew for the one that was chosen, in the form that it wants.
            self.__dict__.pop("provider", None)
            self._input = None
        return None

    def withdraw(self) -> None:
        """Take back an intent whose paid call was not made: to the next worker it would look like one that was lost."""
        if self.job.state is JobState.SUBMITTING and self.intent_is_fresh and self.provider.capabilities.charges:
            before = self._transfers_before
            self.advance(JobState.PREPARING, {"transfers": encode_transfers(before)}, transfers=before)

    def keep_slot(self) -> None:
        """Leave the slot of a call that goes on without this run; it frees itself."""
        self._slot = None

    def free_slot(self) -> None:
        """Give back the slot of a call or a task that has ended, which an earlier run may have taken."""
        self._slot = key_of(self.bench, self.job.provider)
        self.leave()

    def leave(self) -> None:
        """Give the slot back. If that fails, it frees itself."""
        slot, self._slot = self._slot, None
        if slot is None or not self.provider.capabilities.network:
            return
        try:
            self.bench.gate.leave(slot, self.job.id)
        except ServerUnavailableError as error:
            log.warning("slot left to its expiry", provider=slot.provider, problem=str(error))

    def report(self, error: ProviderError | None) -> None:
        """Tell the gate what an answer says about the account; if that fails, the next answer does."""
        provider = self.provider
        if not provider.capabilities.network or (
            isinstance(error, AuthFailed) and provider.name not in self.bench.accounts
        ):
            return
        own_model = isinstance(error, ModelGone) and "model" in self.parameters["options"]
        verdict = verdict_of(error, own_model=own_model)
        if verdict is None:
            return
        # A call that fails is the provider's fault. A task may also have failed because of what it was to make.
        blamed = (self.job.subject_hash or self.job.id) if isinstance(error, TaskFailed) else ""
        try:
            stopped = self.bench.gate.report(key_of(self.bench, provider.name), verdict, blamed=blamed)
        except ServerUnavailableError as problem:
            log.warning("account's health not told", provider=provider.name, problem=str(problem))
            return
        if stopped:
            log.error("provider stopped", provider=provider.name, reason=verdict.reason)

    # Not cached properties: until Python 3.12 these take one lock for all jobs of a process while they open an object.

    @property
    def parameters(self) -> dict[str, Any]:
        """The opened parameters: `prompt` and `options`."""
        if self._parameters is None:
            self._parameters = dict(json.loads(self.bench.store.open_bytes(self.job.params)))
        return self._parameters

    @property
    def upload(self) -> int:
        """The opened upload as a memory file sealed against change."""
        if self._upload is None:
            self._upload = self._keep(self.bench.store.open_memfd(self.job.upload))
        return self._upload

    def provider_input(self) -> PreparedImage:
        """Give the clean picture the provider gets, made in the sandbox at the first call."""
        if self._input is None:
            capabilities = self.provider.capabilities
            prepared = self.bench.sandbox.prepare(
                Encoded(self.upload),
                max_side=capabilities.max_input_side,
                encoding=capabilities.input_encoding.value,
                limits=self.bench.limits_under(self.job.policy),
            )
            self._keep(prepared.fd)
            self._input = PreparedImage(
                prepared.fd, prepared.media_type, prepared.width, prepared.height, prepared.bands
            )
        return self._input

    def request(self) -> Request:
        """Give the provider's request for this job, whose recipe asks for an operation."""
        assert self.recipe.operation is not None
        return Request(
            operation=Operation(self.recipe.operation),
            idempotency_key=self.job.intent or "",
            input=self.provider_input(),
            prompt=self.parameters["prompt"],
            background=self.parameters["options"].get("background"),
            options=self.parameters["options"],
            webhook=self._webhook(),
        )

    def _webhook(self) -> str | None:
        settings, provider = self.bench.settings, self.provider
        if settings.webhooks_url is None or settings.webhooks_key is None:
            return None
        if provider.capabilities.webhook is WebhookSupport.NONE:
            return None
        return address(
            settings.webhooks_url, settings.webhooks_key.get_secret_value().encode(), provider.name, self.job.id
        )

    def transfer(self) -> Transfer | None:
        """
        Describe what the call that comes next sends away, or give None where nothing leaves this machine.

        Raises:
            AuthFailed: The provider has no account here.
        """
        provider, operation = self.provider, Operation(self.recipe.operation or "")
        host = provider.host(operation)
        if not provider.capabilities.network or host is None:
            return None
        words = [self.parameters["prompt"], *self.parameters["options"].values()]
        account = self.bench.accounts.get(provider.name)
        return Transfer(
            provider=provider.name,
            host=host,
            region=region_of(provider.capabilities, account),
            at=datetime.now(UTC),
            sent_bytes=os.fstat(self.provider_input().fd).st_size + sum(len((word or "").encode()) for word in words),
            retention=provider.capabilities.retention_note,
        )

    def intend(self, intent: str) -> None:
        """Store that the provider is about to be called, and what that sends away."""
        self._transfers_before = transfers = self.job.transfers
        transfer = self.transfer()
        if transfer is not None:
            transfers = begun(transfers, transfer)
        fields = {"intent": intent, "transfers": encode_transfers(transfers)}
        self.advance(JobState.SUBMITTING, fields, intent=intent, transfers=transfers)
        self.intent_is_fresh = True

    def note(self, fields: Mapping[str, str], **changes: Any) -> None:
        """
        Store something about the job without moving it on; see `JobStore.note`.

        Raises:
            LeaseLostError: Somebody else holds the job now.
            ServerUnavailableError: It may have been written or not.
        """
        self.lease = self.bench.jobs.note(self.lease, fields, **changes)

    def recorded(self, refs: Iterable[ObjectRef]) -> None:
        """Let these objects outlive the run: the record names them by now."""
        named = set(refs)
        self.unrecorded[:] = [ref for ref in self.unrecorded if ref not in named]

    def keep_results(self, results: list[InMemory]) -> None:
        """Take over results that stayed in memory."""
        for result in results:
            self._keep(result.fd)
        self._results = results

    @contextmanager
    def picture(self) -> Iterator[Source]:
        """
        Give what is to be rendered: the provider's result, or the upload where the recipe asks for no provider.

        A result in memory that died with another worker is made again; only providers that charge nothing give such.
        """
        if self.recipe.operation is None:
            yield Encoded(self.upload)
            return
        if self.job.results:
            yield Encoded(self._keep(self.bench.store.open_memfd(self.job.results[0].ref)))
            return
        if not self._results:
            answer = self.provider.submit(self.request())
            self.keep_results([result for result in getattr(answer, "results", ()) if isinstance(result, InMemory)])
        if not self._results:
            yield Encoded(self.upload)
            return
        result = self._results[0]
        if result.media_type == PIXELS:
            yield Pixels(result.fd, result.width, result.height, result.bands)
        else:
            yield Encoded(result.fd)

    def _keep(self, fd: int) -> int:
        self._open_files.append(fd)
        return fd

    def _cut_out(self, image: PreparedImage) -> InMemory | None:
        """Lend the sandbox to a first-party provider; its refusals become the provider's answers."""
        try:
            cut = self.bench.sandbox.cut_out(
                Pixels(image.fd, image.width, image.height, image.bands),
                self.bench.limits_under(self.job.policy),
            )
        except Refused as error:
            if error.code is RefusalCode.NO_PRODUCT_FOUND:
                return None
            # A provider lets only its own room's errors through; the sentence is the refusal's.
            raise InvalidRequest(str(error), field="input") from None
        except SandboxError as error:
            raise Transient(str(error)) from None
        return InMemory(cut.fd, PIXELS, cut.width, cut.height, cut.bands)

    def _seal_result(self, stream: Any, media_type: str) -> str:
        """Seal what a provider fetched, as an object of this job that dies with it."""
        # Until the record names it, it lives by the short pending deadline like an upload does: `collect` extends it.
        pending = datetime.now(UTC) + self.bench.policies[self.job.policy].pending
        sealed = self.bench.store.seal(
            stream,
            object_class=ObjectClass.UPLOAD,
            deadline=min(pending, self.job.deadline),
            ceiling=self.job.deadline,
        )
        self.unrecorded.append(sealed.ref)
        return str(sealed.ref)
