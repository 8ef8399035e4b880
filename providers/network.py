"""
What adapters behind a network share: the account, the call, the picture, the sealed result.

Such an adapter sets its addresses and implements three pure functions: how the credential is shown (`_headers`), what
an answer that is no success means (`_failure`), and in ``_submit`` what is sent. It never touches a socket.
"""

from __future__ import annotations

import base64
import os
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, ClassVar, Final
from urllib.parse import urlsplit

from providers.accounts import Account, AllowedHosts
from providers.capabilities import Operation
from providers.errors import (
    AuthFailed,
    BadResult,
    Charged,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    TaskNotFound,
    Transient,
)
from providers.exchange import Done, Request, SealedResult, Task
from providers.media import MOST_RESULTS, Blob, Document, as_blob
from providers.models import Model, choose
from providers.problems import Problem
from providers.protocol import Provider, ProviderTools
from providers.replies import Reply, seal
from providers.transport import ASK, Call, Transport

_TASK_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:-]{0,199}")


class NetworkProvider(Provider):
    """
    A provider behind a network.

    Attributes:
        default_url: Where it is called unless the account says otherwise; empty if the account must.
        credential_hosts: The only hosts that may see the credential, with everything below them.
        result_hosts: Where its results lie, fetched without the credential.
        option_names: What a request may carry besides prompt, background and ``model``.
        errors_are_free: Whether the provider promises that an error is never charged.
        check_hosts: Hosts that may see the credential in a check and in no other call; no picture goes there.
        check_path: Where to show the credential without being charged (GET), for an answer that holds nothing of a
            user; whoever has one, or a `_check_call`, sets `check_note` to None.
    """

    default_url: ClassVar[str]
    credential_hosts: ClassVar[tuple[str, ...]]
    result_hosts: ClassVar[tuple[str, ...]] = ()
    option_names: ClassVar[frozenset[str]] = frozenset()
    errors_are_free: ClassVar[bool] = False
    check_hosts: ClassVar[tuple[str, ...]] = ()
    check_path: ClassVar[str | None] = None
    check_note: ClassVar[str | None] = "no call is documented that shows the credential and costs nothing."

    def __init__(self, tools: ProviderTools) -> None:
        super().__init__(tools)
        account = tools.accounts.get(self.name)
        self._operators: tuple[str, ...] = () if account is None or account.base_url is None else (account.base_url,)

    @abstractmethod
    def _headers(self, key: str) -> dict[str, str]:
        """Return the headers that show the credential."""

    def _shown(self, call: Call, key: str) -> dict[str, str]:
        """Return the headers that show the credential with *call*, for providers that want the call itself signed."""
        return self._headers(key)

    @abstractmethod
    def _failure(self, problem: Problem) -> ProviderError:
        """Return what an answer that is no success means."""

    @property
    def account(self) -> Account:
        """
        The account of this provider.

        Raises:
            AuthFailed: None is configured.
        """
        account = self.tools.accounts.get(self.name)
        if account is None:
            setting = f"DAYFLY_PROVIDER_{self.name.upper().replace('-', '_')}_KEY"
            raise AuthFailed(f"The provider {self.name!r} has no credential; set {setting}.")
        return account

    @property
    def base_url(self) -> str:
        """
        Where the provider is called, without a slash at the end.

        Raises:
            AuthFailed: There is no account, or the provider stands somewhere else for everybody and no address is set.
        """
        url = self.account.base_url or self.default_url
        if not url:
            setting = f"DAYFLY_PROVIDER_{self.name.upper().replace('-', '_')}_URL"
            raise AuthFailed(f"The provider {self.name!r} has no address of its own; set {setting}.")
        return url.rstrip("/")

    def host(self, operation: Operation) -> str | None:
        return urlsplit(self.base_url).hostname

    @property
    def transport(self) -> Transport:
        """
        The shared transport.

        Raises:
            InvalidRequest: The worker handed none in.
        """
        if self.tools.transport is None:
            raise InvalidRequest(f"The provider {self.name!r} was started without a transport.", field="tools")
        return self.tools.transport

    @property
    def sink(self) -> Callable[[Iterator[bytes] | BinaryIO, str], str]:
        """
        Where results go. Asked for before a paid call: what could not be kept is not bought.

        Raises:
            InvalidRequest: The worker handed none in.
        """
        if self.tools.sink is None:
            raise InvalidRequest(f"The provider {self.name!r} was started without a place for results.", field="tools")
        return self.tools.sink

    @contextmanager
    def _reply(
        self,
        call: Call,
        *,
        base_url: str | None = None,
        task: bool = False,
        failure: Callable[[Problem], ProviderError] | None = None,
        also: tuple[str, ...] = (),
    ) -> Iterator[Reply]:
        """
        Send *call*, whose address may be relative to the base, with the credential; give a reply of status 200 to 299.

        Args:
            failure: What any other status means for this call, where that is not what `_failure` says.
            also: Hosts that may see the credential in this call.

        Raises:
            ProviderError: The provider answered otherwise, or not at all.
        """
        if call.limits.paid:
            self.sink  # noqa: B018  what could not be kept is not bought
        account = self.account
        url = call.url if "://" in call.url else (base_url or self.base_url).rstrip("/") + call.url
        headers = {**self._shown(replace(call, url=url), account.key.get_secret_value()), **call.headers}
        hosts = AllowedHosts((*self.credential_hosts, *also), self._operators)
        with self.transport.call(replace(call, url=url, headers=headers), hosts) as reply:
            if not 200 <= reply.status < 300:
                document = reply.document()
                raise (failure or self._failure)(
                    Problem(self.name, reply.status, reply.headers, document, paid=call.limits.paid, task=task)
                )
            yield reply

    def _told(self, task: Task, path: str) -> Problem:
        """Ask how a task is going, and return the answer; it is a success, whatever it says of the task."""
        with self._reply(Call("GET", path, ASK), base_url=task.base_url, task=True) as reply:
            return Problem(self.name, reply.status, reply.headers, reply.document())

    def _delete(self, task: Task, path: str) -> None:
        """Have a task deleted at its provider. One that is not known there was deleted before, which is as good."""
        with suppress(TaskNotFound), self._reply(Call("DELETE", path, ASK), base_url=task.base_url, task=True):
            pass

    def _ping(self) -> None:
        if self.check_note is not None:
            super()._ping()
            return
        with self._reply(self._check_call(), also=self.check_hosts) as reply:
            if not isinstance(reply.document().at(), dict | list):
                # A page of a proxy or of the house's own network is no sign that the provider took the credential.
                raise BadResult(f"What answers for {self.name!r} does not answer as the provider does.")

    def _check_call(self) -> Call:
        """Return the call of a check; overridden where its address depends on the account or the time."""
        assert self.check_path is not None, "whoever has no note has a path"
        return Call("GET", self.check_path, ASK)

    def _model(self, request: Request) -> Model:
        assert request.operation is not None
        return choose(self.name, request.operation, request.options.get("model") or self.account.model)

    def _check(self, request: Request) -> None:
        super()._check(request)
        unknown = sorted(set(request.options) - self.option_names - {"model", "background"})
        if unknown:
            can = ", ".join(sorted(self.option_names | {"model", "background"}))
            raise InvalidRequest(
                f"The provider {self.name!r} does not take {len(unknown)} of the options; it takes: {can}.",
                field="options",
            )
        most = self.capabilities.max_image_bytes
        if request.input is not None and most is not None and os.fstat(request.input.fd).st_size > most:
            raise InvalidRequest(f"The provider {self.name!r} takes pictures up to {most} bytes.", field="input")

    def _own(self, task: Task) -> None:
        super()._own(task)
        if task.credential != self.account.credential:
            # A task is visible to the account that made it only; with another one it would seem to be lost.
            raise TaskNotFound(f"The task was made with a credential of {self.name!r} that is not configured.")

    def _fetched(self, urls: list[Any], *, media: str = "", show_credential: bool = False) -> Done:
        """Download the results of a task at once: their addresses die soon."""
        if not urls:
            raise BadResult(f"The provider {self.name!r} reported success without a result.")
        results = []
        with self._kept():
            for url in self._distinct(urls):
                if isinstance(url, SealedResult):
                    # It came with the answer that told of it.
                    results.append(url)
                    continue
                blob = as_blob(url) if isinstance(url, Blob) or str(url).startswith("data:") else None
                if not isinstance(url, str) and blob is None:
                    raise BadResult(f"The provider {self.name!r} reported success without a result.")
                if blob is not None:
                    ref, media_type = seal(blob.open(), self.sink, media=media)
                else:
                    ref, media_type = self.transport.fetch(
                        url,
                        AllowedHosts((*self.result_hosts, *self.credential_hosts), self._operators),
                        self.sink,
                        headers=self._headers(self.account.key.get_secret_value()) if show_credential else None,
                        credential_hosts=AllowedHosts(self.credential_hosts, self._operators),
                    )
                results.append(SealedResult(ref, media_type))
        return Done(tuple(results))

    def _sealing(self, reply: Reply, media: str) -> Document:
        """Read an answer about a task, and seal the results inside it while they come."""
        with self._kept():
            return reply.sealing(self.sink, media)

    def _sealed(self, blobs: list[Any]) -> Done:
        """Seal the pictures of an answer that was paid for."""
        if not blobs or any(as_blob(blob) is None for blob in blobs):
            raise BadResult(f"The provider {self.name!r} reported success without a picture.")
        results = []
        for each in self._distinct(blobs):
            blob = as_blob(each)
            assert blob is not None
            ref, media_type = seal(blob.open(), self.sink, media="image/")
            results.append(SealedResult(ref, media_type))
        return Done(tuple(results))

    def _distinct(self, results: list[Any]) -> list[Any]:
        """Return each result of an answer once: one that came inside it can be named there as often as it likes."""
        distinct = list({id(result): result for result in results}.values())
        if len(distinct) > MOST_RESULTS:
            raise BadResult(f"The provider {self.name!r} reported more than {MOST_RESULTS} results.")
        return distinct

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Let a fault of the sink be one that another poll repairs: the result still lies at the provider."""
        try:
            yield
        except ProviderError:
            raise
        except Exception as error:  # noqa: BLE001  the sink belongs to another room, whose errors are not known here
            raise Transient(f"The result could not be sealed ({type(error).__name__}).") from None

    def _task(
        self, task_id: str, model: str, poll_url: str | None = None, *, result_lives: timedelta | None = None
    ) -> Task:
        """
        Put together what another process needs to ask for the task.

        Args:
            result_lives: How long the vendor says that it keeps a result, if it says so.
        """
        # It becomes part of an address to which the credential is sent.
        if not _TASK_ID.fullmatch(task_id):
            raise OutcomeUnknown(
                f"The provider {self.name!r} accepted the call without naming a task.", charged=Charged.MAYBE
            )
        now = datetime.now(UTC)
        return Task(
            provider=self.name,
            credential=self.account.credential,
            base_url=self.base_url,
            model=model,
            task_id=task_id,
            poll_url=poll_url,
            submitted_at=now,
            expires_at=None if result_lives is None else now + result_lives,
        )


def picture(request: Request) -> bytes:
    """Return the encoded picture of a request."""
    assert request.input is not None
    size, parts, at = os.fstat(request.input.fd).st_size, [], 0
    while at < size:
        part = os.pread(request.input.fd, size - at, at)
        if not part:
            break
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def encoded(request: Request) -> str:
    """Return the encoded picture of a request in base64."""
    return base64.b64encode(picture(request)).decode()


def data_uri(request: Request) -> str:
    """Return the encoded picture of a request as a data URI."""
    assert request.input is not None
    return f"data:{request.input.media_type};base64,{encoded(request)}"


def prompt_of(request: Request, provider: str) -> str:
    """
    Return the words to send: the prompt, or the wish for a background.

    Raises:
        InvalidRequest: There are none.
    """
    words = request.prompt or ""
    if request.background:
        keep = "Keep the product exactly as it is and replace everything behind it with"
        words = f"{keep}: {request.background}. {words}".strip()
    if not words:
        raise InvalidRequest(f"The provider {provider!r} needs a prompt for this operation.", field="prompt")
    return words


def number(value: str) -> int | float | str:
    """Return an option as the number it spells, for providers that take no text in its place."""
    try:
        return float(value) if "." in value else int(value)
    except ValueError:
        return value
