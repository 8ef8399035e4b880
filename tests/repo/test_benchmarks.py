from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.__main__ import MEASUREMENTS
from benchmarks.processes import cpu_seconds, descendants, rss_bytes
from tests.harness import REPO


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", MEASUREMENTS)
def test_every_measurement_runs_and_reports(name: str, tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"

    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", name, "--quick", "--output", str(results)],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=150,
    )

    assert run.returncode == 0, run.stderr[-3000:]
    table = [line for line in results.read_text().splitlines() if line.startswith("| ")]
    assert len(table) >= 3
    assert all(line in run.stdout for line in table)
    assert str(REPO) not in results.read_text()
    assert str(tmp_path) not in results.read_text()


def test_an_unknown_measurement_is_refused_with_the_names_there_are() -> None:
    run = subprocess.run([sys.executable, "-m", "benchmarks", "speed"], cwd=REPO, capture_output=True, text=True)

    assert run.returncode == 2
    assert all(name in run.stderr for name in MEASUREMENTS)


def test_a_figure_is_judged_by_the_median_of_its_rounds() -> None:
    assert report.at_least("seal", 0.6, [0.5, 0.7, 0.8]).cells == ("seal", "≥ 0.6 ×", "0.70 ×", "0.50–0.80 ×", "yes")
    assert report.at_least("seal", 0.6, [0.5, 0.59, 0.8]).verdict == "no"
    assert report.at_most("wait", 30, [12, 31, 300], unit="ms").cells[2:] == ("31.0 ms", "12.0–300 ms", "no")
    assert report.told("rate", [7], unit="/s", note="one round").cells[3:] == ("one round", "–")


def test_what_is_written_by_hand_below_the_table_is_kept(tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"
    results.write_text(f"# Old\n\nold table\n\n{report.HAND_WRITTEN}\n\nIn the kernel.\n")

    report.write([report.told("rate", [7], unit="/s")], results)

    text = results.read_text()
    assert "7.00 /s" in text
    assert "old table" not in text
    assert text.endswith(f"{report.HAND_WRITTEN}\n\nIn the kernel.\n")


def test_the_99th_percentile_is_not_the_highest_of_many() -> None:
    assert report.percentile(list(range(1000)), 0.99) == 990
    assert report.percentile([5.0], 0.99) == 5.0


def test_processes_are_found_and_their_time_and_memory_read() -> None:
    script = "import sys; sum(i * i for i in range(2_000_000)); print('done', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"done\n"

        assert child.pid in descendants(os.getpid())
        assert cpu_seconds([child.pid]) > 0
        assert rss_bytes(child.pid) > 1 << 20
        assert child.stdin is not None
        child.stdin.close()
    assert rss_bytes(child.pid) == 0
