"""32 processes at one object: every answer is the right one at its moment, and afterwards nothing is left of it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from storage import ObjectClass, Shredded
from tests.sealed import SealedRoom

pytestmark = pytest.mark.slow

# Forked from one process, so that the machine's time goes into the race and not into importing.
RACERS = """
import json, os, sys, time
from datetime import UTC, datetime, timedelta
import redis
from storage import *

socket, folder, roots_url, name, processes = sys.argv[1:]
ref = ObjectRef.parse(name)
pipes = []
begin = time.monotonic() + 0.3

def race(number):
    keys = KeyStore(redis.Redis(unix_socket_path=socket))
    roots = open_root_store(roots_url)
    store = SealedStore(keys, open_blob_store("file://" + folder), {ObjectClass.UPLOAD: roots})
    rotator = Rotator(keys, roots, ObjectClass.UPLOAD, timedelta(minutes=5))
    answers = []
    while time.monotonic() < begin:
        pass
    for turn in range(12):
        started, what = time.time(), ("open", "extend", "rotate", "open")[(number + turn) % 4]
        if number == 0 and turn == 6:
            what = "shred"
        try:
            if what == "open":
                answer = "opened" if store.open_bytes(ref) == b"a photo" else "WRONG"
            elif what == "extend":
                store.extend([ref], datetime.now(UTC) + timedelta(minutes=6))
                answer = "extended"
            elif what == "rotate":
                rotator.rotate()
                answer = "rotated"
            else:
                (outcome,) = store.shred([ref], ShredReason.DONE)
                answer = "already" if outcome.already else "shredded"
        except ObjectShreddedError:
            answer = "gone"
        except StaleRootError:
            answer = "overtaken"
        answers.append((what, answer, started, time.time()))
    return answers

for number in range(int(processes)):
    read, write = os.pipe()
    if os.fork() == 0:
        try:
            result = race(number)
        except BaseException as error:
            result = [("error", repr(error), 0, 0)]
        with open(write, "w") as out:
            json.dump(result, out)
        os._exit(0)
    os.close(write)
    pipes.append(read)
print(json.dumps([json.load(open(read)) for read in pipes]))
"""


@pytest.mark.parametrize("processes", [8, pytest.param(32, marks=pytest.mark.campaign)])
def test_p6_processes_that_race_for_one_object_get_right_answers_only(room: SealedRoom, processes: int) -> None:
    ref, bystander = room.seal(b"a photo").ref, room.seal(b"bystander").ref
    done = subprocess.run(
        [
            sys.executable, "-c", RACERS,
            str(room.server.socket), str(room.blob_folder), room.roots_url, str(ref), str(processes),
        ],
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = [tuple(answer) for racer in json.loads(done.stdout) for answer in racer]

    shreds = [answer for answer in answers if answer[0] == "shred"]
    ((_, _, begun, over),) = shreds
    assert [answer for _, answer, _, _ in shreds] == ["shredded"]
    assert {answer for _, answer, _, _ in answers} <= {
        "opened", "extended", "rotated", "overtaken", "gone", "shredded",
    }  # fmt: skip
    for what, answer, started, ended in answers:
        if what in ("open", "extend"):
            assert answer != "gone" or ended > begun, "gone before it was shredded"
            assert answer == "gone" or started < over, "alive after it was shredded"
    assert {what for what, _, _, _ in answers} == {"open", "extend", "rotate", "shred"}

    assert isinstance(room.store.status(ref), Shredded)
    room.rotators[ObjectClass.UPLOAD].rotate()
    assert not room.keys.client.exists(room.keys.row(ref.oid))
    assert room.store.open_bytes(bystander) == b"bystander"
    while room.drain.drain():
        pass
    told = [receipt["type"] for receipt in room.drain.find_receipts(ref.oid)]
    assert told == ["created", "destroyed"]
