"""The campaign of `make attack` names tests that exist, and tells when one of them did not hold."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.attack import CAMPAIGN, Recorder, belongs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_every_attack_names_tests_that_exist() -> None:
    named = sorted({test for attack in CAMPAIGN for test in attack.tests})

    found = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "", "-p", "no:randomly", *named],
        capture_output=True,
        text=True,
    )

    assert found.returncode == 0, found.stdout[-2000:]
    nodes = found.stdout.splitlines()
    assert [test for test in named if not any(belongs(node, test) for node in nodes)] == []


def test_every_promise_that_is_kept_is_attacked() -> None:
    # P8 waits for its ledger.
    assert {attack.promise for attack in CAMPAIGN} == {"P1", "P2", "P3", "P4", "P5", "P6", "P7", "P9"}


@pytest.mark.parametrize(
    ("outcomes", "told"), [(["passed", "passed"], "held"), (["passed", "failed"], "BROKEN"), ([], "NOT RUN")]
)
def test_one_failed_case_breaks_an_attack_and_none_proves_nothing(outcomes: list[str], told: str) -> None:
    recorder = Recorder()
    (test, *_) = CAMPAIGN[0].tests
    for number, outcome in enumerate(outcomes):
        report = pytest.TestReport(
            f"{test}[{number}]", ("", 0, ""), {}, outcome, None, "call"  # type: ignore[arg-type]
        )  # fmt: skip
        recorder.pytest_runtest_logreport(report)

    assert recorder.results[CAMPAIGN[0]].outcome == told


def test_the_page_of_guarantees_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "guarantees.md").read_text()
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", page))

    assert len(named) > 15
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
    sections = re.split(r"^## (P\d)", page, flags=re.MULTILINE)
    assert sections[1::2] == [f"P{number}" for number in range(1, 10)]
    assert all("*Attacked by:*" in text and "*Limits" in text for text in sections[2::2])
