from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from metrics import BlobStoreWeakness, ObjectClassLabel, SandboxOperation
from metrics.figures import DestroyReason, OpenState
from storage import Weakness
from storage.names import ObjectClass, ShredReason
from worker.jobs import JobState

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = shutil.which("lint-imports", path=str(Path(sys.executable).parent))


def test_imports_run_one_way() -> None:
    assert LINT_IMPORTS is not None, "import-linter is missing: make setup"

    done = subprocess.run([LINT_IMPORTS, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_label_values_are_spelled_as_the_other_rooms_spell_them() -> None:
    assert set(ObjectClassLabel) == set(ObjectClass)
    assert set(BlobStoreWeakness) == set(Weakness)
    assert set(DestroyReason) == set(ShredReason)
    assert set(OpenState) == {state for state in JobState if not state.ended}


def test_sandbox_operations_are_methods_of_the_sandbox() -> None:
    from pipelines.sandbox import Sandbox

    assert [name for name in SandboxOperation if not hasattr(Sandbox, name)] == []
