"""
A paid provider with tasks, for tests: it counts what it charges, keeps a caller waiting, and answers through the sink.

It is installed the way a provider of another package is, by an entry point (`darkroom-1.0.dist-info` beside it).
What a real provider keeps on its own servers, this one keeps in the folder `DARKROOM`: one line in `charges` per
accepted call, one file per task. `DARKROOM_POLLS` says how often it answers "not yet", `DARKROOM_HANG` makes it
accept a call and never answer. Its siblings answer in the call, recognise a repetition, or let themselves be asked.
"""

from __future__ import annotations

import io
import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from providers import (
    CancelSupport,
    Capabilities,
    Done,
    EraseSupport,
    Erasure,
    ErasureOutcome,
    IdempotencySupport,
    InputEncoding,
    Operation,
    Pending,
    Provider,
    Request,
    SealedResult,
    Shape,
    Task,
    TaskNotFound,
    Transient,
)


class Darkroom(Provider):
    """Gives back the picture it was sent, after a while, for money."""

    name = "darkroom"
    capabilities = Capabilities(
        operations=frozenset({Operation.REMOVE_BACKGROUND, Operation.REPLACE_BACKGROUND}),
        shape=Shape.TASK,
        network=True,
        charges=True,
        retention_note="Keeps everything until it is asked to erase.",
        input_encoding=InputEncoding.PNG,
        erase=EraseSupport.TASK,
        cancel=CancelSupport.ANY,
        min_poll=timedelta(milliseconds=100),
    )

    def host(self, operation: Operation) -> str | None:
        return "darkroom.example"

    def _submit(self, request: Request) -> Done | Pending:
        self._charge(request)
        self._hang()
        return self._pending(request.idempotency_key)

    def _charge(self, request: Request) -> None:
        with (self._folder / "charges").open("a") as charges:
            charges.write(f"{request.idempotency_key}\n")
        assert request.input is not None
        picture = os.pread(request.input.fd, os.fstat(request.input.fd).st_size, 0)
        self._file(request.idempotency_key).write_bytes(picture)

    def _hang(self) -> None:
        if "DARKROOM_HANG" in os.environ:
            time.sleep(3600)

    def _pending(self, task_id: str) -> Pending:
        task = Task(
            provider=self.name,
            credential="default",
            base_url="file:",
            model="silver",
            task_id=task_id,
            submitted_at=datetime.now(UTC),
        )
        return Pending(task, self.capabilities.min_poll)

    def _poll(self, task: Task) -> Done | Pending:
        asked = self._folder / f"{task.task_id}.polls"
        with asked.open("a") as polls:
            polls.write("x")
        if asked.stat().st_size <= int(os.environ.get("DARKROOM_POLLS", "1")):
            return Pending(task, self.capabilities.min_poll)
        if not self._file(task.task_id).exists():
            raise TaskNotFound("The darkroom does not know the task.")
        return self._result(task.task_id)

    def _result(self, task_id: str) -> Done:
        assert self.tools.sink is not None
        ref = self.tools.sink(io.BytesIO(self._file(task_id).read_bytes()), "image/png")
        return Done((SealedResult(ref, "image/png"),))

    def _cancel(self, task: Task) -> None:
        (self._folder / f"{task.task_id}.cancelled").touch()

    def _erase(self, task: Task) -> Erasure:
        if (self._folder / "erase-fails").exists():
            (self._folder / "erase-fails").unlink()
            raise Transient("The darkroom's bin is full.")
        self._file(task.task_id).unlink(missing_ok=True)
        return Erasure(ErasureOutcome.ERASED, datetime.now(UTC))

    @property
    def _folder(self) -> Path:
        return Path(os.environ["DARKROOM"])

    def _file(self, task_id: str) -> Path:
        return self._folder / f"{task_id}.png"


class Sync(Darkroom):
    """Answers in the call itself."""

    name = "darkroom-sync"
    capabilities = replace(Darkroom.capabilities, shape=Shape.SYNC, erase=EraseSupport.NONE, cancel=CancelSupport.NONE)

    def _submit(self, request: Request) -> Done | Pending:
        self._charge(request)
        self._hang()
        return self._result(request.idempotency_key)


class Keyed(Darkroom):
    """Recognises a repetition by its key, and charges it once."""

    name = "darkroom-keyed"
    capabilities = replace(Darkroom.capabilities, idempotency=IdempotencySupport.KEY)

    def _charge(self, request: Request) -> None:
        if not self._file(request.idempotency_key).exists():
            super()._charge(request)


class Named(Darkroom):
    """Takes the name that we give a task, charges whatever it is sent, and can be asked for a name."""

    name = "darkroom-named"
    capabilities = replace(Darkroom.capabilities, idempotency=IdempotencySupport.CLIENT_ID)

    def _look_up(self, operation: Operation, idempotency_key: str) -> Done | Pending | None:
        return self._pending(idempotency_key) if self._file(idempotency_key).exists() else None
