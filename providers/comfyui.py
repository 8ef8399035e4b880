"""
ComfyUI on a machine of one's own: a graph of its own nodes as a task, pictures in its temporary directory.

Written from the server's source (``server.py`` at 002c3fb9a5, ``folder_paths.py``). It has no authentication: bind it
to a private address, or put a proxy with a token before it, which is then the key. The task's id is made here from the
attempt's key, so that a repeated attempt finds the task of the first instead of starting another; versions that do not
take an id give one of their own, and there a repetition starts anew.

What is left on the server: it has no route that deletes a file, but an upload may replace one. So everything goes into
the temporary directory, which the server clears when it starts, and `erase` replaces upload and result by a single
pixel and drops the record with the prompt. That frees the bytes as deletion does and no more: let ``--temp-directory``
be in memory, and start the server with ``--disable-metadata``. Not verified: nodes other than the server's own, which
are not used.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final
from urllib.parse import urlencode
from uuid import UUID, uuid5

from providers.capabilities import (
    CancelSupport,
    Capabilities,
    EraseSupport,
    IdempotencySupport,
    Operation,
    Shape,
)
from providers.errors import (
    BadResult,
    Cancelled,
    Charged,
    InvalidRequest,
    ModelGone,
    ProviderError,
    TaskFailed,
    TaskNotFound,
    Transient,
)
from providers.exchange import Done, Erasure, ErasureOutcome, Pending, Request, Task
from providers.media import Document
from providers.network import number, picture, prompt_of
from providers.problems import Problem
from providers.self_hosted import FREE_SUBMIT, SelfHostedProvider
from providers.transport import ASK, Call

_TASKS: Final = UUID("5a2f7c1e-0d0b-4d0c-9d5d-6f3b1c9a7e42")
_INPUT, _OUTPUT = "1", "9"
_PIXEL: Final = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010100000000376ef9240000000a49444154789c636000000002000148afa471"
    "0000000049454e44ae426082"
)
"""A PNG of one black pixel."""


class ComfyUIProvider(SelfHostedProvider):
    """Edits and makes pictures with a checkpoint on a machine of one's own."""

    name: ClassVar[str] = "comfyui"
    option_names: ClassVar[frozenset[str]] = frozenset(
        {"negative_prompt", "steps", "cfg", "denoise", "seed", "sampler_name", "scheduler", "width", "height"}
    )
    check_path: ClassVar[str | None] = "/system_stats"
    check_note: ClassVar[str | None] = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        operations=frozenset({Operation.EDIT_IMAGE, Operation.GENERATE_IMAGE}),
        shape=Shape.TASK,
        network=True,
        first_party=True,
        charges=False,
        retention_note="A server of your own; pictures lie in its temporary directory until erased, or its next start.",
        max_input_side=4096,
        # The server's own limit, unless it was started with another.
        max_image_bytes=100_000_000,
        cancel=CancelSupport.ANY,
        erase=EraseSupport.FILES,
        idempotency=IdempotencySupport.NOT_NEEDED,
        min_poll=timedelta(seconds=1),
        regions=("your own",),
    )

    def _submit(self, request: Request) -> Done | Pending:
        self.sink  # noqa: B018  what could not be kept is not made
        name = str(uuid5(_TASKS, request.idempotency_key))
        checkpoint = self._checkpoint(request.options.get("model")) or self._first_checkpoint()
        if not self._started(name):
            image = None if request.input is None else self._placed(f"{name}.png", picture(request))
            call = build(request, name, checkpoint, image, secrets.randbits(48))
            try:
                with self._reply(call) as reply:
                    name = reply.document().text("prompt_id") or name
            except ProviderError as error:
                # Only the answer may have been lost, and another attempt would not know of this task.
                if not (isinstance(error, Transient) and self._started(name)):
                    if image is not None:
                        self._placed(f"{name}.png", _PIXEL)
                    raise
        return Pending(self._task(name, checkpoint), self.capabilities.min_poll)

    def _poll(self, task: Task) -> Done | Pending:
        entry = self._record(task)
        if entry is None and self._waits(task):
            return Pending(task, self.capabilities.min_poll)
        # It may have ended between the two questions.
        entry = entry or self._record(task)
        if entry is None:
            raise TaskNotFound(
                "The server of 'comfyui' does not know the task: it was erased, or the server restarted."
            )
        match entry.text("status", "status_str"):
            case "success":
                urls = [f"{task.base_url}/view?{urlencode(each)}" for each in files(entry.at("outputs", _OUTPUT))]
                return self._fetched(urls, media="image/", show_credential=True)
            case "error":
                raise failed(entry)
        raise BadResult("The server of 'comfyui' reports a state that is not known.", charged=Charged.NO)

    def _cancel(self, task: Task) -> None:
        try:
            with self._ask("POST", f"/api/jobs/{task.task_id}/cancel", task):
                pass
        except TaskNotFound:
            # An older version. It can interrupt, too, but would stop whatever runs, perhaps somebody else's task.
            with self._ask("POST", "/queue", task, {"delete": [task.task_id]}):
                pass

    def _erase(self, task: Task) -> Erasure:
        entry = self._record(task)
        # Without a record the task was never begun, or was erased before.
        left = [{"filename": f"{task.task_id}.png", "subfolder": "", "type": "temp"}]
        if entry is not None:
            left = files(entry.at("outputs", _OUTPUT))
            image = entry.text("prompt", 2, _INPUT, "inputs", "image").removesuffix(" [temp]")
            left += [{"filename": image, "subfolder": "", "type": "temp"}] if image else []
        for each in left:
            self._placed(each["filename"], _PIXEL, each["subfolder"], each["type"], base_url=task.base_url)
        with self._ask("POST", "/history", task, {"delete": [task.task_id]}):
            pass
        return Erasure(ErasureOutcome.ERASED, datetime.now(UTC))

    def _ask(self, method: str, path: str, task: Task, body: Any = None) -> Any:
        return self._reply(Call(method, path, ASK, json=body), base_url=task.base_url, task=True)

    def _record(self, task: Task) -> Document | None:
        """Return what the server remembers of a task that has ended."""
        with self._ask("GET", f"/history/{task.task_id}", task) as reply:
            found = reply.document().at(task.task_id)
        return Document(found) if isinstance(found, dict) else None

    def _waits(self, task: Task) -> bool:
        with self._ask("GET", "/queue", task) as reply:
            queue = reply.document()
        listed = [*(queue.at("queue_running") or ()), *(queue.at("queue_pending") or ())]
        return task.task_id in [Document(each).at(1) for each in listed]

    def _started(self, name: str) -> bool:
        try:
            with self._reply(Call("GET", f"/api/jobs/{name}", ASK), task=True) as reply:
                return reply.document().text("id") == name
        except TaskNotFound:
            return False

    def _first_checkpoint(self) -> str:
        with self._reply(Call("GET", "/models/checkpoints", ASK)) as reply:
            first = reply.document().at(0)
        if not isinstance(first, str):
            raise InvalidRequest("The server of 'comfyui' has no checkpoint.", field="model")
        return first

    def _placed(
        self, name: str, content: bytes, subfolder: str = "", kind: str = "temp", *, base_url: str | None = None
    ) -> str:
        """Put a file into a directory of the server, replacing one of the same name, and return its name there."""
        form = {"type": kind, "subfolder": subfolder, "overwrite": "true"}
        call = Call("POST", "/upload/image", FREE_SUBMIT, form=form, files=(("image", (name, content, "image/png")),))
        with self._reply(call, base_url=base_url) as reply:
            return reply.document().text("name") or name

    def _failure(self, problem: Problem) -> ProviderError:
        return failure(problem)


def build(request: Request, name: str, checkpoint: str, image: str | None, seed: int) -> Call:
    """Build the call that starts a task: a graph in which a checkpoint makes a picture, from another or from noise."""
    wanted = {key: number(value) for key, value in request.options.items() if key in ComfyUIProvider.option_names}
    size = {"width": wanted.get("width", 1024), "height": wanted.get("height", 1024), "batch_size": 1}
    graph: dict[str, Any] = {
        "2": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": checkpoint}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": prompt_of(request, "comfyui"), "clip": ["2", 1]}},
        "4": {
            "class_type": "CLIPTextEncode",
            "inputs": {"text": str(wanted.get("negative_prompt", "")), "clip": ["2", 1]},
        },
        "5": {"class_type": "EmptyLatentImage", "inputs": size},
        "6": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["2", 0],
                "positive": ["3", 0],
                "negative": ["4", 0],
                "latent_image": ["5", 0],
                "seed": wanted.get("seed", seed),
                "steps": wanted.get("steps", 25),
                "cfg": wanted.get("cfg", 7.0),
                "sampler_name": wanted.get("sampler_name", "euler"),
                "scheduler": wanted.get("scheduler", "normal"),
                "denoise": wanted.get("denoise", 1.0 if image is None else 0.6),
            },
        },
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["6", 0], "vae": ["2", 2]}},
        # A preview lies in the temporary directory; what SaveImage writes would stay.
        _OUTPUT: {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}},
    }
    if image is not None:
        graph[_INPUT] = {"class_type": "LoadImage", "inputs": {"image": f"{image} [temp]"}}
        graph["5"] = {"class_type": "VAEEncode", "inputs": {"pixels": [_INPUT, 0], "vae": ["2", 2]}}
    return Call("POST", "/prompt", FREE_SUBMIT, json={"prompt": graph, "prompt_id": name})


def files(output: Any) -> list[dict[str, str]]:
    """Return the files of a node's output, as the server wants them named."""
    images = output.get("images") if isinstance(output, dict) else None
    return [
        {key: str(each.get(key, "")) for key in ("filename", "subfolder", "type")}
        for each in (images if isinstance(images, list) else [])
        if isinstance(each, dict) and each.get("filename")
    ]


def failed(entry: Document) -> ProviderError:
    """Explain a task that ended without a result."""
    messages = entry.at("status", "messages")
    told = {Document(each).text(0): Document(each) for each in (messages if isinstance(messages, list) else [])}
    if "execution_interrupted" in told:
        return Cancelled("The task was cancelled at the server of 'comfyui'.", charged=Charged.NO)
    if "OutOfMemory" in told.get("execution_error", Document(None)).text(1, "exception_type"):
        return TaskFailed("The server of 'comfyui' has not enough memory at the moment.", charged=Charged.NO)
    return TaskFailed("The graph failed at the server of 'comfyui'.", charged=Charged.NO)


def failure(problem: Problem) -> ProviderError:
    """Explain an error."""
    nodes = problem.document.at("node_errors")
    for node in nodes.values() if isinstance(nodes, dict) else ():
        errors = Document(node).at("errors")
        for each in errors if isinstance(errors, list) else ():
            field = Document(each).text("extra_info", "input_name")
            if field == "ckpt_name":
                return ModelGone("The server of 'comfyui' has no such checkpoint.")
            return problem.invalid("input" if field == "image" else None)
    return problem.invalid("input") if problem.status == 413 else problem.by_status()
