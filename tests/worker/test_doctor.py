"""The doctor: what it calls broken, and what it says to change."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from storage import ObjectClass, open_root_store
from tests.harness import Pool
from tests.roots import FORGETFUL, SHARED_KINDS, root_store
from tests.storage.test_redis_roots import named
from tests.valkey import PrivateValkey
from worker.doctor import Finding, Verdict, _start, examine, examine_machine, examine_servers
from worker.doctor._machine import core_dumps, home_folder, swap
from worker.doctor._server import clock, eviction, memory, persistence, replicas, transport
from worker.doctor._stores import blobs, file_system, roots
from worker.errors import UnfitServerError
from worker.servers import Clients
from worker.settings import SandboxMode, Settings

MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
23 22 0:20 / /mnt/share\\040one rw - nfs4 server:/x rw
24 22 0:21 / /dev/shm rw shared:3 - tmpfs tmpfs rw
25 22 0:22 / /mnt rw - fuse.sshfs me@host rw
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def test_a_fresh_machine_without_settings_keeps_every_promise(settings: Settings) -> None:
    findings = examine(settings)

    assert [finding for finding in findings if finding.verdict is Verdict.BROKEN] == []
    assert {"Redis persistence", "roots of class upload", "sandbox", "blob store", "overdue objects"} <= set(
        by_check(findings)
    )


def test_a_server_without_persistence_and_with_eviction_is_broken(
    settings: Settings, fresh_valkey: Callable[..., PrivateValkey], tmp_path: Path
) -> None:
    server = fresh_valkey()
    client = server.client()
    client.config_set("appendonly", "no")
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("maxmemory", "100mb")
    given = Settings(home=tmp_path / "home", redis_url=server.url)

    findings = by_check(examine(given))

    assert findings["Redis persistence"].verdict is Verdict.BROKEN
    assert findings["Redis persistence"].advice.startswith("set 'appendonly yes'")
    assert findings["Redis eviction"].verdict is Verdict.BROKEN
    assert "noeviction" in findings["Redis eviction"].advice


def test_two_servers_are_both_examined(
    valkey: PrivateValkey, fresh_valkey: Callable[..., PrivateValkey], tmp_path: Path
) -> None:
    keys = fresh_valkey()
    keys.client().config_set("appendfsync", "no")
    given = Settings(home=tmp_path / "home", redis_url=valkey.url, keys_url=keys.url)

    findings = by_check(examine(given))

    assert findings["Redis persistence"].verdict is Verdict.OK
    assert findings["key store persistence"].verdict is Verdict.WARNING


def test_a_server_that_is_away_is_a_finding_beside_the_others(tmp_path: Path) -> None:
    given = Settings(home=tmp_path / "home", redis_url=f"unix://{tmp_path}/nobody.sock")

    findings = by_check(examine(given))

    assert findings["Redis"].verdict is Verdict.BROKEN
    assert "cannot be reached" in findings["Redis"].advice
    assert findings["sandbox"].verdict is Verdict.OK


@pytest.mark.parametrize(
    ("info", "fsync", "verdict"),
    [
        ({"aof_enabled": 1}, "everysec", Verdict.OK),
        ({"aof_enabled": 1}, None, Verdict.OK),
        ({"aof_enabled": 1}, "no", Verdict.WARNING),
        ({"aof_enabled": 1, "aof_last_write_status": "err"}, "everysec", Verdict.BROKEN),
        ({"aof_enabled": 0, "rdb_saves": 3, "rdb_last_save_time": 1}, None, Verdict.BROKEN),
        ({}, None, Verdict.BROKEN),
    ],
)
def test_persistence(info: dict[str, object], fsync: str | None, verdict: Verdict) -> None:
    assert persistence("Redis", info, fsync).verdict is verdict


@pytest.mark.parametrize(
    ("info", "verdict"),
    [
        ({"maxmemory_policy": "noeviction", "maxmemory": 1}, Verdict.OK),
        ({"maxmemory_policy": "volatile-lru", "maxmemory": 0}, Verdict.WARNING),
        ({"maxmemory_policy": "volatile-lru", "maxmemory": 1}, Verdict.BROKEN),
    ],
)
def test_eviction(info: dict[str, object], verdict: Verdict) -> None:
    assert eviction("Redis", info).verdict is verdict


def test_memory_that_runs_out_is_a_warning() -> None:
    assert memory("Redis", {"used_memory": 90, "maxmemory": 100}).verdict is Verdict.WARNING
    assert memory("Redis", {"used_memory": 10, "maxmemory": 100}).verdict is Verdict.OK
    assert memory("Redis", {"used_memory": 10, "maxmemory": 0}).verdict is Verdict.OK


def test_memory_without_a_limit_is_measured_against_the_machine() -> None:
    assert memory("Redis", {"used_memory": 90, "total_system_memory": 100}).verdict is Verdict.WARNING
    assert memory("Redis", {"used_memory": 10, "total_system_memory": 100}).verdict is Verdict.OK


def test_p6_what_a_sync_every_second_may_lose_is_said() -> None:
    assert "may lose 2 s" in persistence("Redis", {"aof_enabled": 1}, "everysec").found
    assert "lose" not in persistence("Redis", {"aof_enabled": 1}, "always").found


IN_STEP = {"ip": "a", "port": 1, "state": "online", "offset": 1000, "lag": 0}


@pytest.mark.parametrize(
    ("found", "wanted", "verdict"),
    [
        ({}, 0, Verdict.OK),
        ({"slave0": IN_STEP}, 1, Verdict.OK),
        ({}, 1, Verdict.WARNING),
        ({"slave0": IN_STEP | {"state": "wait_bgsave"}}, 1, Verdict.WARNING),
        ({"slave0": IN_STEP, "slave1": IN_STEP | {"state": "wait_bgsave"}}, 1, Verdict.WARNING),
        ({"slave0": IN_STEP | {"lag": 60}}, 0, Verdict.WARNING),
        ({"slave0": IN_STEP, "master_repl_offset": 1 << 30}, 1, Verdict.WARNING),
    ],
)
def test_p6_replicas_that_are_missing_or_late(found: dict[str, object], wanted: int, verdict: Verdict) -> None:
    assert replicas("Redis", {"master_repl_offset": 1000, **found}, wanted).verdict is verdict


@pytest.mark.parametrize(
    ("url", "verdict"),
    [
        (None, Verdict.OK),
        ("redis://127.0.0.1", Verdict.OK),
        ("unix:///run/s", Verdict.OK),
        ("rediss://redis.example", Verdict.OK),
        ("redis://redis.example", Verdict.WARNING),
        ("redis+sentinel://a.example,127.0.0.1/shop", Verdict.WARNING),
    ],
)
def test_p1_a_server_elsewhere_without_tls_is_a_warning(url: str | None, verdict: Verdict) -> None:
    assert transport("Redis", None if url is None else SecretStr(url)).verdict is verdict


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ({"role": "slave"}, "Redis role (slave): point the setting at the primary"),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 1 << 30}, "Redis eviction (allkeys-lru)"),
        ({"redis_version": "6.2.14", "valkey_version": None}, "Redis version (Redis 6.2.14)"),
    ],
)
def test_p3_a_server_that_breaks_a_promise_is_not_started_on(
    settings: Settings, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, info: dict[str, object], reason: str
) -> None:
    told = {name: value for name, value in (client.info() | info).items() if value is not None}
    monkeypatch.setattr(client, "info", lambda: told)

    with pytest.raises(UnfitServerError, match=re.escape(reason)):
        examine_servers(settings, Clients(client, client))


def test_what_weakens_a_promise_is_logged_at_the_start(
    settings: Settings, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanting = settings.model_copy(update={"replicas": 1})
    info = client.info() | {"aof_enabled": 0}
    monkeypatch.setattr(client, "info", lambda: info)

    examine_servers(wanting, Clients(client, client))

    told = capsys.readouterr().out
    assert "Redis persistence" in told
    assert "0 of 1 that must confirm" in told


@pytest.mark.parametrize("role", ["worker", "sweeper"])
def test_p6_a_process_does_not_start_on_a_server_that_evicts(
    role: str, fresh_valkey: Callable[..., PrivateValkey], pools: Callable[..., Pool]
) -> None:
    server = fresh_valkey(None, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    pool = pools(server.url)
    process = pool.start(role)

    assert process.wait(20) == 3
    assert "noeviction" in pool.logs()


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [(0.1, Verdict.OK), (-5.0, Verdict.WARNING), (120.0, Verdict.BROKEN), (-120.0, Verdict.BROKEN)],
)
def test_p4_clocks_that_disagree(difference: float, verdict: Verdict) -> None:
    assert clock("Redis", difference).verdict is verdict


@pytest.mark.parametrize(
    ("listing", "verdict"),
    [
        ("Filename Type Size Used Priority\n", Verdict.OK),
        ("Filename Type Size Used Priority\n/dev/zram0 partition 1 0 -2\n", Verdict.OK),
        ("Filename Type Size Used Priority\n/swapfile file 1 0 -2\n", Verdict.WARNING),
        (None, Verdict.WARNING),
    ],
)
def test_p1_swap(tmp_path: Path, listing: str | None, verdict: Verdict) -> None:
    if listing is not None:
        (tmp_path / "swaps").write_text(listing)

    assert swap(tmp_path / "swaps", tmp_path).verdict is verdict


@pytest.mark.parametrize(("limit", "verdict"), [("0", Verdict.OK), ("max", Verdict.WARNING)])
def test_p1_swap_that_this_process_may_not_use_is_no_matter(tmp_path: Path, limit: str, verdict: Verdict) -> None:
    listing = tmp_path / "swaps"
    listing.write_text("Filename Type Size Used Priority\n/swapfile file 1 0 -2\n")
    (tmp_path / "memory.swap.max").write_text(f"{limit}\n")

    assert swap(listing, tmp_path).verdict is verdict


def test_p1_swap_is_told_loudly_when_a_process_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_start, "swap", lambda: Finding("swap", Verdict.WARNING, "/swapfile", "swapoff -a"))

    examine_machine()

    told = capsys.readouterr().out
    assert "memory may be written to a disk" in told
    assert "/swapfile" in told


def test_p1_core_dumps_handed_to_a_program_are_found(tmp_path: Path) -> None:
    pattern = tmp_path / "core_pattern"
    pattern.write_text("|/usr/share/apport/apport -p%p\n")

    finding = core_dumps(pattern)

    assert finding.verdict is Verdict.WARNING
    assert finding.found == "handed to /usr/share/apport/apport"


@pytest.mark.parametrize(
    ("folder", "kind", "verdict"),
    [
        ("/srv/blobs", "ext4", Verdict.OK),
        ("/mnt/share one/blobs", "nfs4", Verdict.WARNING),
        ("/mnt/other", "fuse.sshfs", Verdict.WARNING),
        ("/dev/shm/blobs", "tmpfs", Verdict.WARNING),
    ],
)
def test_file_systems(folder: str, kind: str, verdict: Verdict) -> None:
    finding = file_system(Path(folder), MOUNTS)

    assert (finding.found, finding.verdict) == (kind, verdict)


def test_folders_open_to_others_are_found(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o755)

    finding = home_folder(Settings(home=home))

    assert (finding.verdict, finding.advice) == (Verdict.WARNING, f"chmod 700 {home}")


def test_uploads_roots_on_a_disk_are_a_warning_and_unusable_ones_are_broken(tmp_path: Path) -> None:
    on_disk, unusable = (
        [finding.verdict for finding in roots(Settings(home=tmp_path / "home", roots_uploads=url))]
        for url in ((tmp_path / "roots").as_uri(), "volatile:/etc/dayfly-test")
    )

    assert on_disk == [Verdict.WARNING, Verdict.OK]
    assert unusable == [Verdict.BROKEN, Verdict.OK]


def test_a_root_server_that_would_keep_roots_is_broken_and_one_that_hides_its_settings_a_warning(
    settings: Settings, fresh_valkey: Callable[..., PrivateValkey]
) -> None:
    server = fresh_valkey(None, *FORGETFUL)
    given = Settings(home=settings.home, roots_uploads=named(server, "+info"), roots_outputs=server.url)
    hidden = [finding for finding in roots(given) if finding.verdict is not Verdict.OK]
    server.client().config_set("save", "60 1")
    kept = [finding for finding in roots(given) if finding.verdict is Verdict.BROKEN]

    assert [(finding.check, finding.verdict) for finding in hidden] == [("roots of class upload", Verdict.WARNING)]
    assert "CONFIG GET save" in hidden[0].advice
    assert [finding.check for finding in kept] == ["roots of class output"]
    assert "CONFIG SET save ''" in kept[0].advice
    assert "horse" not in str(hidden + kept)


@pytest.mark.parametrize("kind", SHARED_KINDS)
def test_root_stores_of_several_hosts_are_tried_out(
    settings: Settings, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with root_store(kind, tmp_path, monkeypatch) as (url, server):
        given = Settings(home=settings.home, roots_uploads=url)
        working = [*roots(given)]
        assert open_root_store(url).epochs(ObjectClass.UPLOAD) == []
        if kind == "vault":
            monkeypatch.setenv("VAULT_ADDR", "https://127.0.0.1:1")
        elif kind == "kms":
            monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "https://127.0.0.1:1")
        elif isinstance(server, PrivateValkey):
            server.stop()
        away = [*roots(given)]

    assert [finding.verdict for finding in working] == [Verdict.OK, Verdict.OK]
    assert working[0].found.startswith(f"{kind} (")
    assert [finding.verdict for finding in away] == [Verdict.BROKEN, Verdict.OK]
    assert "cannot be reached" in away[0].advice


def test_a_blob_store_that_cannot_be_used_is_broken(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("in the way")

    (finding,) = blobs(Settings(home=tmp_path / "home", blobs=(tmp_path / "blobs").as_uri()))

    assert (finding.verdict, finding.check) == (Verdict.BROKEN, "blob store")


def test_p9_a_missing_layer_of_the_sandbox_is_broken_in_either_mode(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
) -> None:
    from worker.doctor import _machine

    class Holed:
        def __init__(self, *, strict: bool) -> None:
            assert not strict
            self.missing_layers = {"landlock": "not in this kernel"}

        def __enter__(self) -> Holed:
            return self

        def __exit__(self, *_: object) -> None:
            return None

    monkeypatch.setattr(_machine, "Sandbox", Holed)

    for mode, consequence in ((SandboxMode.STRICT, "refuse to start"), (SandboxMode.RELAXED, "run without it")):
        (finding,) = _machine.sandbox_layers(settings.model_copy(update={"sandbox": mode}))
        assert (finding.check, finding.verdict) == ("sandbox: landlock", Verdict.BROKEN)
        assert consequence in finding.advice


def test_p1_no_finding_tells_a_password(tmp_path: Path) -> None:
    secret = "correct-horse"
    given = Settings(home=tmp_path / "home", redis_url=f"redis://user:{secret}@127.0.0.1:1/0")

    assert secret not in str([finding.to_json() for finding in examine(given)])
    assert os.environ.get("DAYFLY_REDIS_URL") is None
