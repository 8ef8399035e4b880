from __future__ import annotations

import os

from storage import ObjectClass
from storage._key_material import wiped
from storage.names import associated_data
from storage.wrapping import UnwrappingRoot
from tests.sealed import SealedRoom

MARKER = b"a marker that no store may hold in clear"


def test_p2_every_object_has_a_key_of_its_own_that_lies_in_no_store(room: SealedRoom) -> None:
    refs = [room.seal(MARKER * 50, object_class=name).ref for name in ObjectClass for _ in range(10)]
    keys = set()
    for ref in refs:
        row = room.keys.load(ref)
        with wiped(room.roots.get(ref.object_class, row.epoch)) as secret:
            keys.add(bytes(UnwrappingRoot(secret).unwrap(row.wrapped, associated_data(ref))))
    room.keys.persist()
    stored = b"".join(path.read_bytes() for path in room.files())
    stored += b"".join(path.read_bytes() for path in room.server.folder.rglob("*") if path.is_file())

    assert len(keys) == len(refs)
    assert len(stored) > 20 * len(MARKER) * 50
    assert not any(key in stored or key.hex().encode() in stored for key in keys)


def test_p2_the_object_holds_no_trace_of_its_wrapped_key(room: SealedRoom) -> None:
    ref = room.seal(os.urandom(5000)).ref
    wrapped = room.keys.load(ref).wrapped
    content = room.blob_path(ref).read_bytes()

    assert not any(wrapped[at : at + 16] in content for at in range(len(wrapped) - 16))


def test_p1_nothing_of_the_content_is_in_key_store_or_blob_store(room: SealedRoom) -> None:
    refs = [room.seal(MARKER).ref, room.seal(MARKER * 100_000).ref]
    room.store.open_bytes(refs[0])
    room.store.shred(refs[:1], next(iter(room.keys.figures().destroyed))[1])
    room.drain.drain()
    room.keys.persist()
    folders = (room.blob_folder, room.server.folder)
    stored = b"".join(path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file())

    assert str(refs[0].oid).encode() in stored
    assert MARKER[:12] not in stored
