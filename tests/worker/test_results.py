"""What a provider's answer brings and nobody named."""

from __future__ import annotations

import io
from typing import Any

import pytest

from providers import Done, ProviderRegistry
from storage import ObjectRef, ObjectShreddedError
from tests.worker.visits import Visits
from worker.records import JobState


def test_what_an_answer_brings_and_does_not_name_is_shredded_at_once(
    visits: Visits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Films are sealed while their document arrives, before it is known which of them are wanted."""
    darkroom: Any = ProviderRegistry.from_entry_points().get("darkroom")
    whole, more = darkroom._result, []

    def result(self: Any, task_id: str) -> Done:
        more.append(self.tools.sink(io.BytesIO(b"a sheet of contacts"), "image/png"))
        answer: Done = whole(self, task_id)
        return answer

    monkeypatch.setattr(darkroom, "_result", result)
    job = visits.submit("darkroom")
    ended = visits.until_ended(job.id)

    (extra,) = more
    assert (ended.state, len(ended.results)) == (JobState.DONE, 1)
    with pytest.raises(ObjectShreddedError) as caught:
        visits.bench.store.open_bytes(ObjectRef.parse(extra))
    assert caught.value.reason == "orphaned"
