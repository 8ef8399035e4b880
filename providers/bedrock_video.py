"""
Films from Amazon Bedrock: tasks whose results end in a bucket of the account's own, where they are read and deleted.

Written from the service's description in botocore 1.44.8 (``bedrock-runtime``, 2023-09-30) and AWS's pages about Luma's
Ray 2, which is the model offered; Amazon's own Nova Reel ended on 2026-09-30. A provider of its own beside `bedrock`,
because here a repeated call is recognised by its token and there it is not. The setting ``_OUTPUT`` names the bucket
(``s3://bucket/prefix``, or ``https://endpoint/bucket/prefix`` for an endpoint of one's own); it must lie in the region
of the address. The key is ``ACCESS_KEY_ID:SECRET`` with a third part for a session's token (extra ``bedrock``): a key
of Bedrock's own opens no bucket. Whatever lies in the folder of the task is deleted; in a bucket that keeps versions it
is only hidden. Not verified: the form of a picture to start from (it is third parties' word), that Ray 2 leaves its
film in a folder of the task's name as Nova Reel did, for how long a token is recognised, how a refusal is worded,
whether a task that failed is billed.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final
from urllib.parse import quote, urlsplit

from providers.accounts import AllowedHosts
from providers.bedrock import HOME, access_key, failure, region_in, signature
from providers.capabilities import Capabilities, EraseSupport, IdempotencySupport, Operation, Shape
from providers.errors import (
    AuthFailed,
    BadResult,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    Stage,
    TaskNotFound,
    Transient,
)
from providers.exchange import Done, Erasure, ErasureOutcome, OutputPlace, Pending, Request, SealedResult, Task
from providers.models import Model
from providers.network import NetworkProvider, encoded, prompt_of
from providers.problems import Problem
from providers.protocol import ProviderTools
from providers.transport import ASK, SUBMIT, Call
from providers.wishes import texts

_ARN: Final = re.compile(r"arn:aws(?:-[^:]+)?:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:async-invoke/([a-z0-9]{12})")
_SETTING: Final = "DAYFLY_PROVIDER_BEDROCK_VIDEO_OUTPUT"
_BUCKET: Final = re.compile(r"[a-z0-9][.a-z0-9-]{1,61}[a-z0-9]")
_KEY: Final = re.compile(r"<Key>([^<]*)</Key>")
_STATUS: Final = re.compile(r"<(?:Status|ObjectLockEnabled)>\s*(Enabled|Suspended)\b")
_REFUSED: Final = re.compile(r"content filter|responsible ai|moderat|policy", re.IGNORECASE)


class BedrockVideoProvider(NetworkProvider):
    """Makes films from words and pictures."""

    name: ClassVar[str] = "bedrock-video"
    default_url: ClassVar[str] = f"https://bedrock-runtime.{HOME}.amazonaws.com"
    # Another region's host and the bucket's are the account's addresses, and allowed as such.
    credential_hosts: ClassVar[tuple[str, ...]] = (f"bedrock-runtime.{HOME}.amazonaws.com",)
    check_path: ClassVar[str | None] = "/async-invoke?maxResults=1"
    check_note: ClassVar[str | None] = None
    option_names: ClassVar[frozenset[str]] = frozenset({"aspect_ratio", "duration", "resolution"})
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=frozenset({Operation.IMAGE_TO_VIDEO, Operation.TEXT_TO_VIDEO}),
        shape=Shape.TASK,
        network=True,
        charges=True,
        retention_note="A film lies in a bucket of your own until it is erased; what else is kept is the model's.",
        max_image_bytes=18_000_000,
        erase=EraseSupport.FILES,
        idempotency=IdempotencySupport.KEY,
        min_poll=timedelta(seconds=10),
        # Two, so that nobody takes the first for granted where the address names another.
        regions=("us-west-2", "the region of the address"),
    )

    def __init__(self, tools: ProviderTools) -> None:
        super().__init__(tools)
        account = tools.accounts.get(self.name)
        self._bucket: Bucket | None = None
        if account is not None and account.output is not None:
            self._bucket = Bucket(account.output, region_in(account.base_url or self.default_url))
            self._operators = (*self._operators, self._bucket.url)

    @property
    def bucket(self) -> Bucket:
        """
        Where films go. Asked for before a paid call.

        Raises:
            AuthFailed: The account names none.
        """
        if self._bucket is None:
            raise AuthFailed(f"The account of {self.name!r} names no bucket; set {_SETTING}.")
        return self._bucket

    def _headers(self, key: str) -> dict[str, str]:
        raise AuthFailed("A call to 'bedrock-video' is signed, not shown a key.")

    def _shown(self, call: Call, key: str) -> dict[str, str]:
        found = access_key(key)
        if found is None:
            raise AuthFailed("The credential of 'bedrock-video' must be '<access key id>:<secret>[:<session token>]'.")
        of_bucket = self._bucket is not None and call.url.startswith(self._bucket.url)
        return signature(call, *found, region=region_in(self.base_url), service="s3" if of_bucket else "bedrock")

    def _submit(self, request: Request) -> Done | Pending:
        model = self._model(request)
        with self._reply(build(request, model, self.bucket.uri)) as reply:
            arn = _ARN.fullmatch(reply.document().text("invocationArn"))
        task = self._task(arn[1] if arn else "", model.id, arn[0] if arn else None)
        return Pending(task, self.capabilities.min_poll)

    def _state(self, task: Task) -> Problem:
        if task.poll_url is None or not _ARN.fullmatch(task.poll_url):
            raise TaskNotFound("The task of 'bedrock-video' does not say by what name to ask for it.")
        return self._told(task, f"/async-invoke/{quote(task.poll_url, safe='')}")

    def _poll(self, task: Task) -> Done | Pending:
        problem = self._state(task)
        match problem.document.text("status"):
            case "InProgress":
                return Pending(task, self.capabilities.min_poll)
            case "Completed":
                films = [key for key in self._listed(task) if key.endswith(".mp4")]
                return self._collected(films)
            case "Failed":
                words = problem.document.text("failureMessage")
                raise problem.refused(Stage.OUTPUT, words) if _REFUSED.search(words) else problem.ended()
        raise BadResult("The provider 'bedrock-video' reports a state that is not known.")

    def _collected(self, films: list[str]) -> Done:
        if not films:
            raise BadResult("The provider 'bedrock-video' reported success without a film.")
        hosts, results = AllowedHosts((), self._operators), []
        with self._kept():
            for key in self._distinct(films):
                url = self.bucket.url_of(key)
                shown = self._shown(Call("GET", url), self.account.key.get_secret_value())
                found = self.transport.fetch(url, hosts, self.sink, headers=shown, credential_hosts=hosts)
                results.append(SealedResult(*found))
        return Done(tuple(results))

    def _erase(self, task: Task) -> Erasure:
        # What runs cannot be stopped, and leaves its film after the folder was emptied. A task that is not known any
        # more has ended.
        with suppress(TaskNotFound):
            if self._state(task).document.text("status") == "InProgress":
                raise Transient("The task still runs at 'bedrock-video'; what it leaves is deleted after its end.")
        for key in self._listed(task):
            self._delete(task, self.bucket.url_of(key))
        return Erasure(ErasureOutcome.ERASED, datetime.now(UTC))

    def _output_place(self) -> OutputPlace:
        try:
            self._told_by_bucket(f"{self.bucket.listing()}&max-keys=1")
        except TaskNotFound:
            raise InvalidRequest(f"There is no bucket of the name in {_SETTING}.", field="output") from None
        # S3 says by a 404 that no object lock was ever set; of versions it always tells.
        return OutputPlace(versions=self._status("versioning"), lock=self._status("object-lock", never=""))

    def _status(self, question: str, never: str | None = None) -> str | None:
        try:
            text = self._told_by_bucket(f"{self.bucket.url}/?{question}=", self._unanswered)
        except (AuthFailed, InvalidRequest):
            return None
        except TaskNotFound:
            return never
        if "<ListBucketResult" in text:
            # A server that does not know the question may hear another.
            return None
        found = _STATUS.search(text)
        return found[1] if found else ""

    def _unanswered(self, problem: Problem) -> ProviderError:
        # That it is not implemented is no fault that passes.
        return problem.invalid() if problem.status == 501 else self._failure(problem)

    def _told_by_bucket(self, url: str, failure: Callable[[Problem], ProviderError] | None = None) -> str:
        with self._reply(Call("GET", url, ASK), task=True, failure=failure) as reply:
            return reply.stream().read().decode("utf-8", "replace")

    def _listed(self, task: Task) -> list[str]:
        """List what lies in the task's folder of the bucket."""
        text = self._told_by_bucket(self.bucket.listing(task.task_id))
        return [html.unescape(key) for key in _KEY.findall(text)]

    def _failure(self, problem: Problem) -> ProviderError:
        kind = problem.headers.get("x-amzn-errortype", "")
        if problem.task and kind.startswith("ResourceNotFoundException"):
            return TaskNotFound("The provider 'bedrock-video' does not know the task.")
        if kind.startswith("ConflictException"):
            return OutcomeUnknown("The provider 'bedrock-video' has had this call before, with other content.")
        return failure(problem)


class Bucket:
    """
    The bucket of an account, and the folder in it.

    Attributes:
        uri: As AWS names it, ``s3://bucket/prefix``.
        url: Where it is asked, without a slash at the end.
    """

    def __init__(self, output: str, region: str) -> None:
        """
        Read the setting.

        Raises:
            AuthFailed: It names no bucket.
        """
        parts = urlsplit(output)
        path = parts.path.strip("/")
        if parts.scheme == "s3":
            name, self._prefix = parts.netloc, path
            self.url = f"https://{name}.s3.{region}.amazonaws.com"
        else:
            name, _, self._prefix = path.partition("/")
            self.url = f"{parts.scheme}://{parts.netloc}/{name}"
        if not _BUCKET.fullmatch(name):
            raise AuthFailed(f"The setting {_SETTING} names no bucket.")
        self.uri = "/".join(filter(None, (f"s3://{name}", self._prefix)))

    def url_of(self, key: str) -> str:
        """Return the address of an object."""
        return f"{self.url}/{quote(key)}"

    def listing(self, task_id: str = "") -> str:
        """Return the address of the list of what a task, or all of them, have left; a policy may allow no other."""
        folder = "".join(f"{part}/" for part in (self._prefix, task_id) if part)
        return f"{self.url}/?list-type=2&prefix={quote(folder, safe='')}"


def build(request: Request, model: Model, output: str) -> Call:
    """Build the call that starts a task whose result goes below *output*."""
    given: dict[str, Any] = {"prompt": prompt_of(request, "bedrock-video")}
    given |= texts(request, "aspect_ratio", "duration", "resolution")
    if request.input is not None:
        source = {"type": "base64", "media_type": request.input.media_type, "data": encoded(request)}
        given["keyframes"] = {"frame0": {"type": "image", "source": source}}
    body = {
        "clientRequestToken": request.idempotency_key,
        "modelId": model.id,
        "modelInput": given,
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": output}},
    }
    headers = {"content-type": "application/json"}
    return Call("POST", "/async-invoke", SUBMIT, headers, content=json.dumps(body).encode())
