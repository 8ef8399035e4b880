"""A rotation is killed at every point with each root store that several hosts share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import FaultPoint, ObjectClass, ShredReason
from tests.promises.test_p6_crashes_of_storage import assert_whole, crash, recover
from tests.roots import SHARED_KINDS, root_store
from tests.sealed import SealedRoom
from tests.valkey import PrivateValkey

pytestmark = pytest.mark.slow

UPLOAD = ObjectClass.UPLOAD
ROTATION = [point for point in FaultPoint if point.value.startswith("rotate-")]


@pytest.fixture(params=SHARED_KINDS)
def shared_room(
    request: pytest.FixtureRequest, valkey: PrivateValkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SealedRoom]:
    with root_store(request.param, tmp_path, monkeypatch) as (url, _):
        yield SealedRoom.open(valkey, tmp_path, url)


@pytest.mark.parametrize("point", ROTATION)
def test_p6_a_rotation_killed_with_shared_roots_is_finished_elsewhere(
    shared_room: SealedRoom, point: FaultPoint
) -> None:
    room = shared_room
    live = [room.seal(b"%d" % number).ref for number in range(8)]
    crash(room, point)
    room.store.shred(live[:3], ShredReason.CANCELLED)
    report = room.rotators[UPLOAD].rotate()
    recover(room)

    assert_whole(room)
    assert report.lost == 0
    assert [room.store.open_bytes(ref) for ref in live[3:]] == [b"%d" % number for number in range(3, 8)]
    assert not any(room.keys.client.exists(room.keys.row(ref.oid)) for ref in live[:3])
