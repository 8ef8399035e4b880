"""The statement of cryptographic erase features says what the deployment's settings make of it, and nothing secret."""

from __future__ import annotations

import json
from pathlib import Path

from storage import ObjectClass, open_root_store
from tests.sealed import keyring_url
from worker.settings import Settings
from worker.statement import statement

# NIST SP 800-88 Rev. 1, appendix E.
POINTS = 10


def test_the_statement_has_ten_points_and_the_bounds_of_the_settings(tmp_path: Path) -> None:
    settings = Settings.load(
        home=tmp_path, rotation_uploads_seconds=45, redis_url="redis://user:secret-word@127.0.0.1:1/0"
    )
    roots = {
        ObjectClass.UPLOAD: open_root_store(keyring_url()),
        ObjectClass.OUTPUT: open_root_store(f"file://{tmp_path}/roots"),
    }

    said = statement(settings, roots)

    assert len(said) == POINTS
    assert all(said.values())
    assert said["key_lifecycle"]["upload"]["rotation_seconds"] == 45
    assert "more than 45 s" in said["key_lifecycle"]["upload"]["previous_wrapped_instances"]
    assert said["key_sanitisation_technique"]["output"]["class"] == "best-effort"
    assert "secret-word" not in json.dumps(said)
