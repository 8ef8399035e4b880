"""What fakes of makers of films have in common: films beside pictures, and tasks that can be erased."""

from __future__ import annotations

import struct
from typing import Any

from tests.fakes.server import Answer
from tests.fakes.task_vendors import FakeTasks


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


FILM = box(b"ftyp", b"isom\0\0\2\0isomiso2mp41") + box(b"mdat", b"a prompt the generator wrote into its result" * 4)
"""The outside of an MP4: as much of a film as anybody looks at before sealing it."""


class FakeFilms(FakeTasks):
    """Results are films, or pictures where a task was for one."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures: set[str] = set()
        self.erased: list[str] = []

    def begun(self, *, picture: bool) -> tuple[str, Answer | None]:
        """Meet the scenario of a submit, and remember what the task is for."""
        task, wrong = self.accept()
        if picture and task:
            self.pictures.add(task)
        return task, wrong

    def exists(self, task: str) -> bool:
        return task in self.tasks and task not in self.erased

    def file(self) -> Answer:
        if self.on_file:
            return super().file()
        if any(seen.path.endswith(".png") for seen in self.seen[-1:]):
            return Answer(200, self.picture, {"content-type": "image/png"})
        return Answer(200, FILM, {"content-type": "video/mp4"})

    def result_of(self, task: str) -> str:
        return f"{self.url}/files/{task}.{'png' if task in self.pictures else 'mp4'}?signature=abc"

    def take(self) -> Any:
        """The next end of a task that a test has ordered, or None."""
        return self.POLLS[self.on_poll.pop(0)] if self.on_poll else None
