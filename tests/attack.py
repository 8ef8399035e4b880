"""
Attack every promise, and print what held: `make attack`.

The campaign is a table: which promise, which attack, and the tests that carry it out against real servers. An attack
holds if every one of its tests passed; each has a twin, or a check of its own, that would tell if it could not fail.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

import pytest
from rich import box
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Attack:
    """
    One attack on one promise.

    Attributes:
        tests: Node ids of pytest; one without parameters stands for all of them.
    """

    promise: str
    name: str
    tests: tuple[str, ...]


def _attack(promise: str, name: str, *tests: str) -> Attack:
    return Attack(promise, name, tuple(f"tests/{test}" for test in tests))


P: Final = "promises"
S: Final = "storage"
W: Final = "worker"

CAMPAIGN: Final = (
    _attack(
        "P1", "search every file, Redis, logs and dead letters for a marked upload, prompt and key",
        f"{P}/test_p1_canary.py::test_p1_no_byte_of_an_upload_a_prompt_or_a_key_is_stored_in_clear",
        f"{P}/test_p1_canary.py::test_p1_the_scan_finds_a_planted_mark",
    ),
    _attack(
        "P1", "search a bucket with all its versions and unfinished uploads",
        f"{W}/test_pool_on_s3.py::test_p1_neither_bucket_nor_logs_hold_anything_in_clear",
    ),
    _attack(
        "P2", "look for an object's key in the object, beside it and in the stores",
        f"{P}/test_p2_keys_are_apart.py",
    ),
    _attack(
        "P2", "swap two ciphertexts, swap two key rows, even made to match",
        f"{S}/test_store.py::test_swapped_ciphertext_is_an_integrity_error",
        f"{S}/test_store.py::test_swapped_key_rows_are_integrity_errors_even_when_made_to_match",
        f"{S}/test_store.py::test_an_object_does_not_open_as_one_of_another_class",
    ),
    _attack(
        "P1", "flip, cut off and add bytes of ciphertext",
        f"{S}/test_sealed_format.py::test_any_flipped_bit_is_noticed",
        f"{S}/test_sealed_format.py::test_a_truncated_object_is_noticed",
        f"{S}/test_sealed_format.py::test_an_extended_object_is_noticed",
        f"{S}/test_store.py::test_a_flipped_bit_a_cut_and_an_extension_are_integrity_errors",
    ),
    _attack(
        "P2", "change every field of a key row and of a job's record",
        f"{P}/test_p6_tampering.py::test_p2_a_key_row_changed_in_any_field_opens_nothing",
        f"{P}/test_p6_tampering.py::test_p6_a_job_record_changed_in_any_field_costs_that_job_and_no_worker",
    ),
    _attack(
        "P6", "forge, repeat and garble messages",
        f"{P}/test_p6_tampering.py::test_p6_forged_and_repeated_messages_change_nothing",
        f"{W}/test_pool.py::test_an_undecodable_message_and_a_duplicate_strand_no_job",
    ),
    _attack(
        "P2", "open an upload with what a web tier holds",
        f"{W}/test_client.py::test_the_web_tier_cannot_open_an_upload",
        f"{W}/test_acl.py::test_p2_a_web_tiers_credentials_open_no_upload",
        f"{W}/test_acl.py::test_no_process_may_do_what_only_an_administrator_does",
    ),
    _attack(
        "P1", "read the memory of worker, sandbox, sweeper and Redis after jobs",
        f"{P}/test_p1_memory.py::test_p1_no_key_and_no_photo_stays_in_memory_after_a_job",
    ),
    _attack(
        "P3", "lose the primary before a replica has heard of a shred",
        f"{W}/test_failover.py::test_p3_a_shred_counts_only_when_a_replica_has_it",
    ),
    _attack(
        "P6", "kill the primary while jobs are in work",
        f"{W}/test_failover.py::test_p6_no_job_is_lost_when_the_primary_is_killed",
        f"{W}/test_failover.py::test_p6_a_job_is_accepted_and_claimed_only_when_a_replica_knows",
    ),
    _attack(
        "P3", "end jobs in every way and look for a live key",
        f"{W}/test_pool.py::test_p3_every_end_destroys_the_keys_of_upload_and_parameters",
        f"{P}/test_p3_postponed_shred.py",
    ),
    _attack(
        "P3", "delete from a bucket that keeps versions and unfinished uploads",
        f"{W}/test_pool_on_s3.py::test_p3_a_whole_job_leaves_only_its_outputs_in_the_bucket",
        f"{S}/test_s3_bucket.py",
    ),
    _attack(
        "P4", "let every process die",
        f"{P}/test_p4_deadlines_need_nobody.py",
    ),
    _attack(
        "P4", "set the clocks an hour forward and back",
        f"{P}/test_p4_clocks.py",
    ),
    _attack(
        "P5", "keep every copy of the key store and open what was shredded",
        f"{P}/test_p5_residue_is_bounded.py::test_p5_after_a_rotation_no_copy_of_the_key_store_opens_a_shredded_object",
    ),
    _attack(
        "P5", "the same without rotation: must open everything",
        f"{P}/test_p5_residue_is_bounded.py::test_p5_without_rotation_the_same_attack_opens_every_shredded_object",
        f"{P}/test_p5_residue_per_root_store.py::test_p5_without_rotation_the_same_attack_opens_everything_whatever_the_root_store",
    ),
    _attack(
        "P5", "the same with each root store, with every right to its server",
        f"{P}/test_p5_residue_per_root_store.py::test_p5_after_a_rotation_nothing_shredded_opens_whatever_the_root_store",
        f"{P}/test_p5_residue_per_root_store.py::test_p5_the_burglar_opens_sealed_roots_whose_key_was_not_destroyed",
    ),
    _attack(
        "P5", "restore an old copy of the key store",
        f"{P}/test_p5_restored_key_store.py",
        f"{P}/test_p5_residue_is_bounded.py::test_p5_an_old_snapshot_put_back_opens_nothing_and_is_cleared",
    ),
    _attack(
        "P6", "kill -9 at every point of seal, open, extend, shred, rotate, delete and heal",
        f"{P}/test_p6_crashes_of_storage.py::test_p6_a_process_killed_at_any_point_of_storage_loses_and_leaves_nothing",
        f"{P}/test_p6_crashes_of_storage.py::test_p6_a_rotation_killed_at_any_point_is_finished_and_nothing_shredded_returns",
        f"{P}/test_p6_crashes_with_shared_roots.py",
    ),
    _attack(
        "P6", "kill -9 at every point of submit, work, cancel, erase and sweep",
        f"{P}/test_p6_crash_of_the_pool.py",
        f"{P}/test_p5_rotation_in_the_pool.py",
    ),
    _attack(
        "P6", "race 32 processes that open, extend, shred and rotate one object",
        f"{P}/test_p6_crashes_of_storage.py::test_p6_open_extend_shred_and_rotate_race_without_a_wrong_answer",
        f"{P}/test_p6_race_of_processes.py",
    ),
    _attack(
        "P6", "random orders of every operation against a model",
        f"{P}/test_p6_model.py::test_p6_the_store_answers_as_the_model_whatever_the_order[12]",
    ),
    _attack(
        "P6", "fill the disks of the blob store and of Redis, and Redis' memory",
        f"{S}/test_blobs.py::test_a_file_size_limit_of_the_real_kernel_is_a_full_store",
        f"{S}/test_store.py::test_a_full_blob_store_leaves_no_key",
        f"{S}/test_keystore.py::test_a_full_server_is_full_and_its_error_shows_no_key",
    ),
    _attack(
        "P6", "stall Redis, take it away, make it forget its scripts",
        f"{W}/test_pool.py::test_a_stalled_redis_strands_no_job",
        f"{S}/test_keystore.py::test_an_unreachable_server_is_unavailable_in_every_call",
        f"{S}/test_keystore.py::test_scripts_come_back_after_a_flush_and_a_restart",
    ),
    _attack(
        "P6", "a bucket that answers 503, is slow, cuts parts off and reports errors in a 200",
        f"{S}/test_s3_faults.py",
    ),
    _attack(
        "P7", "kill the worker before, in and after a paid call",
        f"{P}/test_p7_paid_once_at_a_provider.py",
        f"{P}/test_p7_lost_calls.py::test_p7_campaign_of_real_kills_around_a_paid_call",
    ),
    _attack(
        "P7", "lose the answer to a paid call, and the answer to the question what became of it",
        f"{P}/test_p7_lost_calls.py::test_p7_a_worker_that_dies_around_a_paid_call_leaves_at_most_one_charge",
        f"{P}/test_p7_lost_calls.py::test_p7_a_call_that_may_still_be_under_way_is_not_made_again",
        f"{P}/test_p7_lost_calls.py::test_p7_a_look_up_that_fails_does_not_make_a_new_call",
        f"{P}/test_p7_lost_calls.py::test_p7_a_look_up_at_another_server_proves_nothing",
        f"{P}/test_p7_lost_calls.py::test_p7_a_double_charge_is_not_a_triple_one",
    ),
    _attack(
        "P7", "let tasks fail at the provider, and kill the worker between one task and the next",
        f"{P}/test_p7_failed_tasks.py",
    ),
    _attack(
        "P7", "kill the worker that asks for many waiting tasks",
        f"{P}/test_p7_many_tasks_waiting.py::test_p7_waiting_tasks_outlive_their_worker_and_are_paid_once",
    ),
    _attack(
        "P9", "break out of the sandbox",
        f"{P}/test_p9_hostile_input_stays_outside.py",
    ),
    _attack(
        "P9", "bad files through the whole pool",
        f"{P}/test_p9_bad_input_through_the_pool.py",
    ),
)  # fmt: skip


@dataclass
class Result:
    """What became of one attack's tests."""

    cases: int = 0
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def outcome(self) -> str:
        """In one word; an attack of which nothing ran proves nothing."""
        return "NOT RUN" if not self.cases else "BROKEN" if self.failed else "held"


class Recorder:
    """A plugin of pytest that notes what became of each attack's tests."""

    def __init__(self) -> None:
        self.results: dict[Attack, Result] = defaultdict(Result)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for attack in CAMPAIGN:
            if not any(belongs(report.nodeid, test) for test in attack.tests):
                continue
            result = self.results[attack]
            result.seconds += report.duration
            result.cases += report.when == "call"
            # A skipped test attacked nothing.
            if not report.passed:
                result.failed.append(report.nodeid)


def belongs(node: str, test: str) -> bool:
    """Say whether a test that ran is *test*, one of its parameters, or in its file."""
    return node == test or node.startswith((f"{test}[", f"{test}::"))


def show(results: dict[Attack, Result]) -> None:
    """Print promise, attack and outcome as a table."""
    table = Table(box=box.SIMPLE_HEAD, title="Attacks on the promises", title_justify="left")
    for column in ("promise", "attack", "outcome", "cases", "seconds"):
        table.add_column(column, overflow="fold", justify="right" if column in ("cases", "seconds") else "left")
    for attack in sorted(CAMPAIGN, key=lambda attack: attack.promise):
        result = results[attack]
        table.add_row(attack.promise, attack.name, result.outcome, str(result.cases), f"{result.seconds:.1f}")
    Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 120).print(table)


def main() -> int:
    """Run the campaign; 0 if everything held."""
    recorder = Recorder()
    tests = dict.fromkeys(test for attack in CAMPAIGN for test in attack.tests)
    pytest.main(["-q", "-m", "", "--timeout", "300", "-p", "no:randomly", *sys.argv[1:], *tests], plugins=[recorder])
    show(recorder.results)
    return int(any(recorder.results[attack].outcome != "held" for attack in CAMPAIGN))


if __name__ == "__main__":
    sys.exit(main())
