"""Promise P1 in the log: whatever a library or an exception would print, no user data comes through."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MARKER = "user-words-4711"

PREAMBLE = """
import logging, sys, threading, warnings
import structlog
from worker.errors import WorkerError
from worker.logs import configure
from worker.settings import LogFormat
MARKER = "-".join(("user", "words", "4711"))
configure("debug", LogFormat("FORMAT"))
log = structlog.get_logger("worker.advance")
"""


def logged(code: str, log_format: str = "json") -> str:
    """Run code in a process of its own, since logging belongs to the whole process; give its standard error."""
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE.replace("FORMAT", log_format) + code],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == ""
    return done.stderr


def lines(code: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in logged(code).splitlines()]


def test_our_own_lines_are_json_with_time_level_and_logger() -> None:
    (line,) = lines("log.info('job ended', job='ab12', outcome='done')")

    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "job ended", "job": "ab12", "outcome": "done", "level": "info", "logger": "worker.advance"}


@pytest.mark.parametrize(
    ("code", "event"),
    [
        (
            "logging.getLogger('dramatiq.worker.WorkerThread').error('Failed to process %s: %r', MARKER, [MARKER])",
            "Failed to process …: …",
        ),
        ("logging.getLogger('botocore.parsers').debug('body: %(b)s', {'b': MARKER})", "body: …"),
        ("logging.getLogger('httpx').info(f'GET https://host/?signature={MARKER}')", "a library reports"),
        ("logging.getLogger('redis').warning(MARKER, stack_info=True)", "a library reports"),
        ("logging.getLogger('PIL').debug('%5.2f%% of %s', 3.0, MARKER, extra={'body': MARKER})", "…% of …"),
        ("warnings.warn(f'odd picture {MARKER}')", "a library warns"),
    ],
)
def test_p1_of_a_librarys_line_only_the_fixed_text_is_kept(code: str, event: str) -> None:
    (line,) = lines(code)

    assert line["event"] == event
    assert MARKER not in json.dumps(line)
    assert line["where"]


def test_a_librarys_remark_of_which_nothing_may_be_shown_is_left_out_unless_all_is_asked_for() -> None:
    quiet = "configure('info', LogFormat('json'))\n"

    assert lines(quiet + "logging.getLogger('dramatiq').info(MARKER)") == []
    assert [line["level"] for line in lines(quiet + "logging.getLogger('dramatiq').warning(MARKER)")] == ["warning"]


@pytest.mark.parametrize(
    "code",
    [
        "\ntry: int(MARKER)\nexcept ValueError: log.exception('step failed')",
        "\ntry: int(MARKER)\nexcept ValueError as e: log.error('step failed', exc_info=e)",
        "\ntry: int(MARKER)\nexcept ValueError: logging.getLogger('dramatiq').exception('Failed %s', MARKER)",
        (
            "\ntry:\n  try: int(MARKER)\n  except ValueError as e: raise KeyError(MARKER) from e\n"
            "except KeyError: log.exception('step failed')"
        ),
        "\nthread = threading.Thread(target=int, args=(MARKER,)); thread.start(); thread.join()",
        "\nclass Odd:\n  def __del__(self): int(MARKER)\ndel_me = Odd(); del del_me",
        "\nint(MARKER)",
    ],
)
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_p1_an_exception_is_logged_without_its_text(code: str, log_format: str) -> None:
    text = logged(code, log_format)

    assert "ValueError" in text
    assert MARKER not in text


def test_an_exception_of_ours_keeps_its_sentence_and_its_causes_types() -> None:
    (line,) = lines(
        "\ntry:\n  try: int(MARKER)\n  except ValueError as e: raise WorkerError('The disk is full.') from e\n"
        "except WorkerError: log.exception('step failed')"
    )

    assert line["error"] == "WorkerError: The disk is full."
    assert line["causes"][0].startswith("ValueError at <string>:")
    assert line["frames"]


def test_lines_below_the_level_are_not_written() -> None:
    assert logged("configure('warning', LogFormat.JSON); log.info('x'); logging.getLogger('redis').info('y')") == ""


def test_console_lines_carry_no_control_codes_without_a_terminal() -> None:
    text = logged("log.warning('job left', job='ab12')", "console")

    assert "job left" in text
    assert "\x1b" not in text
