"""`dayfly acl`: a file a server loads, and passwords that are made once and told to nobody else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from worker.acl import ServerKind, UserRole
from worker.cli._errors import UsageError
from worker.cli.acl import acl


def told(capsys: pytest.CaptureFixture[str], file: Path, **given: object) -> str:
    acl(file, given.pop("server", ServerKind.ALL), bool(given.get("replicated")), bool(given.get("as_json")))  # type: ignore[arg-type]  # a kind
    return capsys.readouterr().out


def test_passwords_are_made_once_kept_private_and_printed_as_digests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "passwords"
    file.write_text(f"web={'w' * 20}")
    first, second = told(capsys, file), told(capsys, file)
    known = dict(line.split("=", 1) for line in file.read_text().splitlines())

    assert first == second
    assert known["web"] == "w" * 20
    assert set(known) == {"web", "worker", "sweeper", "exporter", "webhooks", "doctor", "admin"}
    for password in known.values():
        assert password not in first
        assert hashlib.sha256(password.encode()).hexdigest() in first
    (tmp_path / "passwords").unlink()
    told(capsys, file)
    assert file.stat().st_mode & 0o777 == 0o600


def test_each_kind_of_server_has_the_users_that_use_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "passwords"
    roots = json.loads(told(capsys, file, server=ServerKind.ROOTS, as_json=True))
    replicated = json.loads(told(capsys, file, replicated=True, as_json=True))

    assert [user["role"] for user in roots] == ["web", "worker", "sweeper", "doctor", "admin"]
    assert {"replica", "sentinel"} <= {user["role"] for user in replicated}
    assert set(roots[0]) == {"role", "user", "rules"}


@pytest.mark.parametrize(
    "text", ["nobody=0123456789abcdef", f"{UserRole.WEB}=horse-battery", "web=0123456789 abcdef", "just a line"]
)
def test_a_file_that_is_wrong_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "passwords").write_text(text)

    with pytest.raises(UsageError, match="ine 1") as refused:
        acl(tmp_path / "passwords", ServerKind.ALL, False, False)
    assert text.partition("=")[2] == "" or text.partition("=")[2] not in str(refused.value)


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        acl(tmp_path / "no" / "passwords", ServerKind.ALL, False, False)
