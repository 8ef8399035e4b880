from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from storage import ObjectClass, StoreConfigError, open_root_store
from storage.roots.keyring import KeyringRootStore
from tests.sealed import keyring_url
from tests.storage.root_conformance import MINUTE, UPLOAD, RootStoreConformance, root


class TestKeyring(RootStoreConformance):
    @pytest.fixture
    def url(self) -> Iterator[str]:
        url = keyring_url()
        yield url
        roots = open_root_store(url)
        for name in ObjectClass:
            for epoch in roots.epochs(name):
                roots.destroy(name, epoch)


class TestVolatile(RootStoreConformance):
    @pytest.fixture
    def url(self) -> Iterator[str]:
        folder = Path("/dev/shm") / f"dayfly-test-{secrets.token_hex(6)}"
        yield f"volatile:{folder}"
        shutil.rmtree(folder, ignore_errors=True)


class TestFile(RootStoreConformance):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"file://{tmp_path / 'roots'}"


def test_namespaces_of_the_keyring_are_apart() -> None:
    one, other = KeyringRootStore("test-one"), KeyringRootStore("test-other")
    one.put(UPLOAD, 1, root(), MINUTE)
    try:
        assert other.epochs(UPLOAD) == []
    finally:
        one.destroy(UPLOAD, 1)


def test_homes_get_namespaces_of_their_own(tmp_path: Path) -> None:
    one = open_root_store("keyring:", tmp_path / "one")
    other = open_root_store("keyring:", tmp_path / "other")
    one.put(UPLOAD, 1, root(), MINUTE)
    try:
        assert other.epochs(UPLOAD) == []
        assert open_root_store("keyring:", tmp_path / "one").epochs(UPLOAD) == [1]
    finally:
        one.destroy(UPLOAD, 1)


def test_volatile_refuses_a_disk(tmp_path: Path) -> None:
    with pytest.raises(StoreConfigError, match="not in memory"):
        open_root_store(f"volatile:{tmp_path}/roots")


def test_a_root_folder_open_to_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "roots").mkdir(mode=0o755)

    with pytest.raises(StoreConfigError, match="chmod 700"):
        open_root_store(f"file://{tmp_path}/roots")


def test_root_files_are_the_owners_alone(tmp_path: Path) -> None:
    open_root_store(f"file://{tmp_path}/roots").put(UPLOAD, 1, root(), MINUTE)

    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "roots").iterdir()] == [0o600]


def test_what_a_crash_left_half_written_runs_out_too(tmp_path: Path) -> None:
    roots = open_root_store(f"file://{tmp_path}/roots")
    roots.put(UPLOAD, 1, root(), timedelta(seconds=-1))
    (tmp_path / "roots" / "upload-1.root").rename(tmp_path / "roots" / "upload-1.0badcafe")

    assert roots.epochs(UPLOAD) == []
    assert roots.expire() == 1
    assert list((tmp_path / "roots").iterdir()) == []


@pytest.mark.parametrize(
    "url", ["", "keyring:a/b", "keyring://host/x", "volatile:relative", "memory:", "file://host/x", "file:///x?y=1"]
)
def test_a_wrong_address_is_refused_with_what_is_allowed(url: str) -> None:
    with pytest.raises(StoreConfigError):
        open_root_store(url)
