"""What each process of the pool is given, and what it is not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage import ObjectClass, StorageError, StoreConfigError
from tests.valkey import PrivateValkey
from worker import home
from worker.errors import ServerUnavailableError, SettingsError
from worker.home import open_roots
from worker.settings import Settings
from worker.wiring import Deployment, Role


@pytest.fixture
def settings(tmp_path: Path, valkey: PrivateValkey) -> Settings:
    return Settings(home=tmp_path / "home", redis_url=valkey.url)


def forget(deployment: Deployment) -> None:
    for object_class, store in deployment.root_stores.items():
        for epoch in store.epochs(object_class):
            store.destroy(object_class, epoch)


def test_p2_a_web_tier_can_seal_an_upload_and_never_open_it(settings: Settings) -> None:
    with Deployment.open(settings, Role.WORKER) as worker, Deployment.open(settings, Role.WEB) as web:
        for rotator in worker.rotators.values():
            rotator.ensure()
        end = datetime.now(UTC) + timedelta(minutes=1)
        sealed = web.store.seal(b"photo", object_class=ObjectClass.UPLOAD, deadline=end, ceiling=end)

        assert worker.store.open_bytes(sealed.ref) == b"photo"
        with pytest.raises(StorageError):
            web.store.open_bytes(sealed.ref)
        assert set(web.root_stores) == {ObjectClass.OUTPUT}
        assert web.rotators == {}
        forget(worker)


def test_the_choice_of_the_uploads_root_store_is_made_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a process that chose otherwise every root would seem lost, and what is under a lost root is shredded."""
    first = open_roots(settings, ObjectClass.UPLOAD)

    def refuse(url: str, home: Path | None = None) -> object:
        asked.append(url)
        return first

    asked: list[str] = []
    monkeypatch.setattr(home, "open_root_store", refuse)
    open_roots(settings, ObjectClass.UPLOAD)

    assert asked == [(settings.home / "roots-uploads").read_text()]


def test_without_a_keyring_uploads_roots_live_in_memory_backed_files(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_keyring(url: str, home: Path | None = None) -> object:
        if url.startswith("keyring:"):
            raise StoreConfigError("The kernel keyring cannot be used here.")
        return url

    monkeypatch.setattr(home, "open_root_store", no_keyring)

    assert str(open_roots(settings, ObjectClass.UPLOAD)).startswith("volatile:/dev/shm/dayfly-")


def test_two_homes_of_one_user_do_not_share_roots(tmp_path: Path) -> None:
    chosen = set()
    for name in ("one", "two"):
        open_roots(Settings(home=tmp_path / name), ObjectClass.UPLOAD)
        chosen.add((tmp_path / name / "roots-uploads").read_text())

    assert len(chosen) == 2


def test_keys_may_live_on_a_server_of_their_own(settings: Settings, fresh_valkey: Callable[..., PrivateValkey]) -> None:
    server = fresh_valkey()
    apart = settings.model_copy(update={"keys_url": Settings(keys_url=server.url).keys_url})

    with Deployment.open(apart, Role.WORKER) as deployment:
        deployment.rotators[ObjectClass.OUTPUT].ensure()
        assert server.client().exists("dayfly:root:output")
        assert not deployment.redis.exists("dayfly:root:output")
        forget(deployment)


def test_every_process_of_a_home_hashes_subjects_alike(settings: Settings) -> None:
    keys = set()
    for _ in range(2):
        with Deployment.open(settings, Role.WEB) as deployment:
            keys.add(deployment.subject_key)

    assert len(keys) == 1
    assert (settings.home / "subject.key").stat().st_mode & 0o077 == 0


def test_a_subject_needs_a_key_that_every_host_has(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with Deployment.open(settings, Role.WEB) as deployment:
        deployment.settings = Settings(home=settings.home, redis_url="redis://elsewhere.example/0")
        with pytest.raises(SettingsError, match="DAYFLY_SUBJECT_KEY is not set, and jobs with a subject need it"):
            deployment.subject_key  # noqa: B018  reading it is what raises

    given = settings.model_copy(update={"subject_key": Settings(subject_key="k" * 16).subject_key})
    with Deployment.open(given, Role.WEB) as deployment:
        assert deployment.subject_key == b"k" * 16


def test_a_redis_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    given = Settings(home=tmp_path / "home", redis_url="redis://user:correct-horse@127.0.0.1:1/0")

    with pytest.raises(ServerUnavailableError, match=r"Redis at 127\.0\.0\.1:1 \(DAYFLY_REDIS_URL\) cannot") as caught:
        Deployment.open(given)

    assert "horse" not in str(caught.value)


def test_what_was_opened_is_closed_when_something_later_fails(tmp_path: Path) -> None:
    """The private server must not outlive a process that could not be set up."""
    (tmp_path / "file").write_text("")
    given = Settings(home=tmp_path / "home", blobs=(tmp_path / "file" / "blobs").as_uri())

    with pytest.raises(StoreConfigError):
        Deployment.open(given)

    assert not (tmp_path / "home" / "valkey" / "valkey.pid").exists()


def test_closing_twice_is_closing_once(settings: Settings) -> None:
    deployment = Deployment.open(settings)
    deployment.close()
    deployment.close()
