from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import (
    FaultPoint,
    ObjectClass,
    ObjectRef,
    StoreConfigError,
    associated_data,
    ceiling_hour,
    load_policies,
    new_object_id,
)

NAIVE_RANGE = (datetime(2000, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001 - hypothesis adds the zone


@given(st.datetimes(*NAIVE_RANGE, timezones=st.just(UTC)), st.sampled_from(ObjectClass))
def test_a_name_reads_back_and_its_hour_is_never_before_the_ceiling(ceiling: datetime, name: ObjectClass) -> None:
    ref = ObjectRef.new(name, ceiling)
    hour = datetime.strptime(ref.ceiling_hour, "%Y%m%d%H").replace(tzinfo=UTC)

    assert ObjectRef.parse(str(ref)) == ref
    assert ceiling <= hour < ceiling + timedelta(hours=1)


def test_the_hour_is_counted_in_utc() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))

    assert ceiling_hour(datetime(2026, 11, 24, 6, 30, tzinfo=zone)) == "2026112401"
    with pytest.raises(ValueError):
        ceiling_hour(datetime(2026, 11, 24))  # noqa: DTZ001 - the missing zone is what is refused


@pytest.mark.parametrize(
    "name", ["", "upload/2026112401/", "video/2026112401/" + "a" * 32, "upload/2026112401/" + "A" * 32, "upload/1/x\n"]
)
def test_what_is_not_a_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        ObjectRef.parse(name)


def test_object_ids_are_random_and_the_associated_data_is_fixed() -> None:
    assert len({new_object_id() for _ in range(1000)}) == 1000
    ref = ObjectRef.parse("upload/2026112401/" + "0" * 32)
    assert associated_data(ref) == b"dayfly/1|upload|" + b"0" * 32


def test_the_default_policy_is_process_and_forget() -> None:
    policy = load_policies()["process-and-forget"]

    assert policy.upload.shred == "job-end"
    assert policy.upload.latest == policy.output.latest == timedelta(days=1)
    assert policy.pending == timedelta(minutes=15)
    assert policy.allows("local")


EXAMPLES = Path(__file__).parents[2] / "examples" / "policies"

GOOD = """
name = "mine"
title = "Mine"
providers = ["local"]
[upload]
latest_seconds = 3600
[output]
latest_seconds = 60
"""


def test_a_policy_of_ones_own_is_read_beside_the_default(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(GOOD)
    policies = load_policies(tmp_path)

    assert set(policies) == {"mine", "process-and-forget"}
    assert policies["mine"].allows("local")
    assert not policies["mine"].allows("stability")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("latest_seconds = 3600", "latest_seconds = 0"), "upload.latest_seconds.*1"),
        (("latest_seconds = 3600", 'latest_seconds = "day"'), "upload.latest_seconds.*integer"),
        (("[upload]", '[upload]\nshred = "never"'), "upload.shred.*job-end"),
        (("[upload]", '[upload]\nshred = "after"'), "upload: shred.*after_seconds go together"),
        (("[upload]", "[upload]\nafter_seconds = 60"), "upload: shred.*after_seconds go together"),
        (("[upload]", '[upload]\nshred = "after"\nafter_seconds = 3601'), "after_seconds must not be longer"),
        (('title = "Mine"', 'title = "Mine"\nkeep = 1'), "keep"),
        (('name = "mine"', 'name = "other"'), "name: must be 'mine'"),
        (('title = "Mine"', ""), "title"),
        (("[upload]", "[upload"), "not TOML"),
    ],
)
def test_a_wrong_policy_names_the_file_and_the_field(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    (tmp_path / "mine.toml").write_text(GOOD.replace(*change))

    with pytest.raises(StoreConfigError, match=f"mine.toml.*{words}"):
        load_policies(tmp_path)


def test_the_example_of_a_postponed_shred_is_a_policy() -> None:
    policy = load_policies(EXAMPLES)["keep-a-week"]

    assert policy.upload.after == timedelta(days=7)
    assert policy.upload.latest > policy.upload.after


def test_a_missing_policies_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreConfigError, match="does not exist"):
        load_policies(tmp_path / "nowhere")


def run_with_fault(value: str, code: str) -> int:
    return subprocess.run(
        [sys.executable, "-c", f"from storage.faults import *\n{code}"],
        env={"DAYFLY_FAULT_POINT": value, "PYTHONPATH": "."},
    ).returncode


def test_a_fault_point_kills_at_its_point_only_and_at_its_turn() -> None:
    assert run_with_fault("shred-done", "reach(FaultPoint.SHRED_DONE)") == -9
    assert run_with_fault("shred-done", "reach(FaultPoint.EXTEND_DONE)") == 0
    assert run_with_fault("shred-done:2", "reach(FaultPoint.SHRED_DONE)") == 0
    assert run_with_fault("shred-done:2", "[reach(FaultPoint.SHRED_DONE) for _ in range(2)]") == -9
    assert run_with_fault("", "reach(FaultPoint.SHRED_DONE)") == 0


def test_other_rooms_bring_points_of_their_own() -> None:
    code = "from enum import StrEnum\nreach(StrEnum('Other', {'STEP': 'other-step'}).STEP)"

    assert run_with_fault("other-step", code) == -9
    assert run_with_fault("other-step-2", code) == 0


def test_fault_points_have_names_of_their_own() -> None:
    assert len({point.value for point in FaultPoint}) == len(FaultPoint)
