"""
The copies that providers still keep of ended jobs, in Redis, until each has been asked to erase its own.

A job may end where nobody holds a provider's credential: in the web tier that cancels it, or in a worker that dies.
What is owed then is queued in the step that ends the job, and any worker takes it on. Each attempt is counted and
leased, so that a provider that never answers is not asked for ever, and a worker that dies leaves it to the next.
"""

from __future__ import annotations

from datetime import timedelta
from importlib import resources

import redis

from worker.errors import translated
from worker.records import JobId, JobRecord, decode_record
from worker.transfers import LeftTasks, Transfers, encode_left, encode_transfers


class ErasureQueue:
    """
    What ended jobs still owe.

    Raises:
        ServerUnavailableError: From every method, when Redis cannot be reached. Every write is safe to repeat.
    """

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self.key = f"{namespace}:jobs:erasures"
        self._client = client
        self._namespace = namespace
        folder = resources.files("worker") / "lua"
        self._claim, self._answer, self._due = (
            client.register_script((folder / f"{name}.lua").read_text("utf-8"))
            for name in ("claim_erasure", "answer_erasure", "due")
        )

    def claim(self, job_id: JobId, *, lease_for: timedelta) -> JobRecord | None:
        """Take one on, or give None when the job owes nothing or somebody is at it."""
        with translated():
            answer = self._claim(keys=self._keys(job_id), args=[job_id, _ms(lease_for)])
        return decode_record(job_id, dict(zip(answer[::2], answer[1::2], strict=True))) if answer else None

    def answer(
        self,
        job_id: JobId,
        transfers: Transfers,
        *,
        again_in: timedelta | None = None,
        owed: bool = False,
        left: LeftTasks = (),
    ) -> None:
        """
        Write how it went; without `again_in` nothing is owed any more.

        Args:
            owed: Whether the record's task is to be asked about again.
            left: The failed tasks that are.
        """
        if again_in is None:
            owed, left = False, ()
        fields = {"transfers": encode_transfers(transfers), "owed": str(int(owed)), "left": encode_left(left)}
        flat = [part for pair in fields.items() for part in pair]
        with translated():
            self._answer(keys=self._keys(job_id), args=[job_id, "" if again_in is None else _ms(again_in), *flat])

    def due(self, limit: int, look_again: timedelta) -> list[JobId]:
        """List those that nobody is at and put their next look off by `look_again`."""
        with translated():
            ids = self._due(keys=[self.key], args=[limit, _ms(look_again)])
        return [JobId(value.decode()) for value in ids]

    def _keys(self, job_id: JobId) -> list[str]:
        return [f"{self._namespace}:job:{job_id}", self.key]


def _ms(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)
