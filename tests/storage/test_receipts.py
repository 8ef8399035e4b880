from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import FaultPoint, ObjectClass, ShredReason
from storage import receipts as receipts_module
from tests.sealed import SealedRoom
from tests.valkey import PrivateValkey

UPLOAD = ObjectClass.UPLOAD


def lines(room: SealedRoom) -> list[dict[str, object]]:
    files = sorted((room.blob_folder / "receipts").rglob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_every_event_is_in_one_file_in_order(room: SealedRoom) -> None:
    refs = [room.seal().ref for _ in range(3)]
    room.store.shred(refs, ShredReason.DONE)
    room.rotators[UPLOAD].rotate()

    assert room.drain.drain() == 7
    assert room.drain.drain() == 0
    assert [line["type"] for line in lines(room)] == ["created"] * 3 + ["destroyed"] * 3 + ["epoch"]
    assert [line["oid"] for line in lines(room)[:6]] == [ref.oid for ref in refs] * 2
    assert room.keys.figures().receipts_pending == 0


def test_a_line_is_canonical_and_says_what_when_and_why(room: SealedRoom) -> None:
    ref = room.seal().ref
    (outcome,) = room.store.shred([ref], ShredReason.CANCELLED)
    room.drain.drain()
    (file,) = (room.blob_folder / "receipts").rglob("*.jsonl")
    raw = file.read_text().splitlines()[-1]
    line = json.loads(raw)

    assert raw == json.dumps(line, sort_keys=True, separators=(",", ":"))
    assert outcome.shredded_at is not None
    assert line == {
        "v": 1,
        "type": "destroyed",
        "id": line["id"],
        "oid": ref.oid,
        "class": "upload",
        "reason": "cancelled",
        "epoch": 1,
        "at": round(outcome.shredded_at.timestamp() * 1000),
    }


def test_files_are_named_by_day_and_events(room: SealedRoom) -> None:
    room.seal()
    room.drain.drain()
    (file,) = (room.blob_folder / "receipts").rglob("*.jsonl")
    (line,) = lines(room)

    assert file.stem == f"{line['id']}-{line['id']}"
    assert [len(part) for part in file.relative_to(room.blob_folder / "receipts").parts[:3]] == [4, 2, 2]


def test_a_file_is_bounded(room: SealedRoom) -> None:
    for _ in range(5):
        room.seal()

    assert [room.drain.drain(limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert len(lines(room)) == 5


@pytest.mark.parametrize("point", [FaultPoint.DRAIN_CUT, FaultPoint.DRAIN_WRITTEN, FaultPoint.DRAIN_TRIMMED])
def test_a_drain_that_stops_is_taken_up_by_another_though_more_has_happened(
    room: SealedRoom, monkeypatch: pytest.MonkeyPatch, point: FaultPoint
) -> None:
    room.seal()

    class StopError(Exception):
        pass

    def stop(reached: FaultPoint) -> None:
        if reached is point:
            raise StopError

    monkeypatch.setattr(receipts_module, "reach", stop)
    with pytest.raises(StopError):
        room.drain.drain()
    monkeypatch.undo()
    room.seal()
    while room.drain.drain():
        pass

    assert len(lines(room)) == len({line["id"] for line in lines(room)}) == 2


def test_a_slow_drain_beside_a_fast_one_doubles_nothing(room: SealedRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    room.seal()

    def overtaken(reached: FaultPoint) -> None:
        if reached is FaultPoint.DRAIN_CUT:
            monkeypatch.undo()
            assert room.drain.drain() == 1
            room.seal()

    monkeypatch.setattr(receipts_module, "reach", overtaken)
    room.drain.drain()
    room.drain.drain()

    assert len(lines(room)) == len({line["id"] for line in lines(room)}) == 2


def test_a_slow_drain_does_not_undo_the_cut_of_the_next(room: SealedRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    room.seal()

    def overtaken(reached: FaultPoint) -> None:
        if reached is FaultPoint.DRAIN_WRITTEN:
            monkeypatch.undo()
            assert room.drain.drain() == 1
            room.seal()
            room.keys.run("cut", [room.keys.cut, room.keys.outbox], [10])

    monkeypatch.setattr(receipts_module, "reach", overtaken)
    room.drain.drain()

    assert room.keys.client.hexists(room.keys.cut, "last")


def test_a_killed_server_repeats_the_same_file(fresh_valkey: Callable[..., PrivateValkey], tmp_path: Path) -> None:
    server = fresh_valkey(None, "--appendfsync", "always")
    room = SealedRoom.open(server, tmp_path, f"file://{tmp_path}/roots")
    room.seal()
    room.keys.run("cut", [room.keys.cut, room.keys.outbox], [10])
    server.kill()
    server.start()
    room.seal()

    assert [room.drain.drain(), room.drain.drain(), room.drain.drain()] == [1, 1, 0]


def test_receipts_of_an_object_are_found_waiting_or_filed(room: SealedRoom) -> None:
    ref, other = room.seal().ref, room.seal().ref
    room.drain.drain()
    room.store.shred([ref, other], ShredReason.DONE)

    assert [receipt["type"] for receipt in room.drain.find_receipts(ref.oid)] == ["created", "destroyed"]
    room.drain.drain()
    found = room.drain.find_receipts(ref.oid)
    assert [receipt["type"] for receipt in found] == ["created", "destroyed"]
    assert {receipt["oid"] for receipt in found} == {ref.oid}


def test_counts_are_what_the_receipts_say(room: SealedRoom) -> None:
    refs = [room.seal().ref for _ in range(4)]
    room.store.shred(refs[:3], ShredReason.DONE)
    room.store.shred(refs[:3], ShredReason.DONE)
    room.drain.drain()
    figures = room.keys.figures()

    assert figures.created[UPLOAD] == sum(line["type"] == "created" for line in lines(room))
    assert sum(figures.destroyed.values()) == sum(line["type"] == "destroyed" for line in lines(room))
