"""What every root store must do. A new one subclasses this and gives its `roots` fixture."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from datetime import timedelta

import pytest

from storage import ObjectClass, RootLostError, RootStore, open_root_store

UPLOAD, OUTPUT = ObjectClass.UPLOAD, ObjectClass.OUTPUT
MINUTE = timedelta(minutes=1)


def root() -> bytearray:
    return bytearray(secrets.token_bytes(96))


class RootStoreConformance:
    """Needs a fixture `url` of an empty root store of the test's own."""

    @pytest.fixture
    def roots(self, url: str) -> RootStore:
        return open_root_store(url)

    def test_it_gives_back_what_was_put(self, roots: RootStore) -> None:
        secret = root()
        roots.put(UPLOAD, 1, secret, MINUTE)

        assert roots.get(UPLOAD, 1) == secret

    def test_what_it_gives_back_can_be_overwritten_without_harm(self, roots: RootStore) -> None:
        secret = root()
        roots.put(UPLOAD, 1, secret, MINUTE)
        first = roots.get(UPLOAD, 1)
        first[:] = bytes(len(first))

        assert roots.get(UPLOAD, 1) == secret

    def test_a_root_never_put_is_lost(self, roots: RootStore) -> None:
        with pytest.raises(RootLostError):
            roots.get(UPLOAD, 9)
        with pytest.raises(RootLostError):
            roots.renew(UPLOAD, 9, MINUTE)

    def test_a_destroyed_root_is_lost_and_destroying_it_again_is_no_error(self, roots: RootStore) -> None:
        roots.put(UPLOAD, 1, root(), MINUTE)
        roots.put(UPLOAD, 2, root(), MINUTE)
        roots.destroy(UPLOAD, 1)
        roots.destroy(UPLOAD, 1)

        with pytest.raises(RootLostError):
            roots.get(UPLOAD, 1)
        assert roots.epochs(UPLOAD) == [2]

    def test_classes_and_epochs_are_apart(self, roots: RootStore) -> None:
        secrets_by_place = {(name, epoch): root() for name in ObjectClass for epoch in (1, 2, 11)}
        for (name, epoch), secret in secrets_by_place.items():
            roots.put(name, epoch, secret, MINUTE)
        roots.destroy(OUTPUT, 1)

        assert roots.epochs(UPLOAD) == [1, 2, 11]
        assert roots.epochs(OUTPUT) == [2, 11]
        assert all(roots.get(UPLOAD, epoch) == secrets_by_place[UPLOAD, epoch] for epoch in (1, 2, 11))

    def test_every_process_of_the_user_reads_it(self, roots: RootStore, url: str) -> None:
        secret = root()
        roots.put(UPLOAD, 3, secret, MINUTE)
        code = "import sys; from storage import *; print(open_root_store(sys.argv[1]).get(ObjectClass.UPLOAD, 3).hex())"
        # A session of its own, as another service of the same user has.
        answer = subprocess.run(
            [sys.executable, "-c", code, url], capture_output=True, text=True, start_new_session=True, check=True
        )

        assert answer.stdout.strip() == secret.hex()

    def test_a_root_nobody_renews_dies_by_itself(self, roots: RootStore) -> None:
        started = time.monotonic()
        roots.put(UPLOAD, 1, root(), timedelta(seconds=1))
        roots.put(UPLOAD, 2, root(), MINUTE)
        _wait_until_lost(roots, 1)

        assert 0.9 <= time.monotonic() - started <= 5
        assert roots.get(UPLOAD, 2)

    def test_renewing_postpones_its_death(self, roots: RootStore) -> None:
        # Long enough for the slowest store to have taken both on a busy machine.
        roots.put(UPLOAD, 1, root(), timedelta(seconds=3))
        roots.put(UPLOAD, 2, root(), timedelta(seconds=3))
        roots.renew(UPLOAD, 1, MINUTE)
        _wait_until_lost(roots, 2)

        assert roots.get(UPLOAD, 1)

    def test_a_shorter_renewal_counts_too(self, roots: RootStore) -> None:
        roots.put(UPLOAD, 1, root(), MINUTE)
        roots.renew(UPLOAD, 1, timedelta(seconds=1))

        assert _wait_until_lost(roots, 1) <= 4

    def test_a_dead_root_is_not_listed_once_expired_ones_are_swept(self, roots: RootStore) -> None:
        roots.put(UPLOAD, 1, root(), timedelta(seconds=1))
        _wait_until_lost(roots, 1)
        roots.expire()

        assert roots.epochs(UPLOAD) == []

    def test_it_declares_its_bound(self, roots: RootStore) -> None:
        assert roots.name
        assert roots.residue_class
        assert len(roots.bound) > 40

    def test_it_checks_itself_and_leaves_nothing(self, roots: RootStore) -> None:
        roots.check()

        assert roots.epochs(UPLOAD) == roots.epochs(OUTPUT) == []


def _wait_until_lost(roots: RootStore, epoch: int) -> float:
    start = time.monotonic()
    while time.monotonic() - start < 10:
        try:
            roots.get(UPLOAD, epoch)
        except RootLostError:
            return time.monotonic() - start
        time.sleep(0.02)
    raise AssertionError("the root did not die")
