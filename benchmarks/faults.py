"""What is lost when disks, encoders, devices, networks and threads fail in the middle of a run: nothing.

    python -m benchmarks.faults

Writes benchmarks/results/faults.json and its lines of the table of docs/reliability.md. Each fault is a test of
tests/test_faults.py (and two of tests/test_resume.py); a test that fails, and one that cannot run here, is told.
"""

from collections import defaultdict
from collections.abc import Mapping

import pytest

from benchmarks.reliability import Row, report, save_rows
from benchmarks.report import ROOT

FILES = ("test_faults.py", "test_resume.py")
FAULTS = {  # what is injected -> the tests that do
    "read error in the middle of the source, in decoding and in the join": ("test_a_read_error_is_no_damage",),
    "reads, writes and syncs that the system refuses (EIO, ENOSPC), in a run of its own": (
        "test_what_the_system_refuses_loses_nothing",
    ),
    "full disk, or one that refuses to delete, too": (
        "test_a_disk_that_is_full_in_the_middle_of_a_file",
        "test_a_disk_that_also_refuses_to_delete",
    ),
    "encoder that fails, swallows a frame, or is killed": (
        "test_an_encoder_that_fails_in_the_middle",
        "test_an_encoder_that_swallows_a_frame",
        "test_an_encoders_process_that_is_killed",
    ),
    "out of memory on the device: first call, middle, every call, around the network; in the machine": (
        "test_a_device_that_runs_out_of_memory_once_changes_nothing",
        "test_a_device_that_stays_out_of_memory",
        "test_a_device_that_runs_out_of_memory_around_the_network",
        "test_a_machine_without_memory",
    ),
    "NaN from the network, once and for good": (
        "test_nan_is_mended_where_a_second_look_helps",
        "test_nan_that_stays",
    ),
    "a thread that dies, or is gone without a word, in each stage; each stage hanging": (
        "test_a_thread_that_dies_of_a_bug",
        "test_an_upload_that_dies",
        "test_a_thread_that_is_gone_without_a_word",
        "test_any_wait_ends_when_the_run_is_stopped",
    ),
    "journal cut within a line": ("test_half_a_line_is_ignored", "test_half_a_first_line_begins_anew"),
    "segment damaged after it was journalled": (
        "test_a_segment_that_is_damaged_before_the_join",
        "test_a_damaged_segment_is_found_out_and_made_again",
    ),
}


class Outcomes:
    """A plugin that keeps what became of each test."""

    def __init__(self) -> None:
        self.by_test: dict[str, list[str]] = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.rpartition("::")[2].partition("[")[0]
        if report.when == "call" or report.outcome != "passed":  # a failed teardown is the run that did not go on
            self.by_test[name].append(report.outcome)


def row_of(injected: str, tests: tuple[str, ...], outcomes: Mapping[str, list[str]]) -> Row:
    """A line of the table."""
    found = [outcome for test in tests for outcome in outcomes.get(test, ["not run"])]
    others = [f"{found.count(what)} {what}" for what in ("failed", "skipped", "not run") if what in found]
    lost = "; ".join(others) or "nothing: one line, no output, and the same command gave the undisturbed run's packets"
    if not others and injected.startswith(("out of memory", "NaN")):
        lost = lost.replace("nothing:", "nothing: mended, or")
    return Row(injected=injected, times=len(found), lost=lost)


def main() -> None:
    """Inject, save and write the table."""
    outcomes = Outcomes()
    files = [str(ROOT / "tests" / name) for name in FILES]
    wanted = " or ".join(test for tests in FAULTS.values() for test in tests)
    pytest.main([*files, "-k", wanted, "-p", "no:cacheprovider"], plugins=[outcomes])
    rows = [row_of(injected, tests, outcomes.by_test) for injected, tests in FAULTS.items()]
    save_rows("faults", rows, outcomes=outcomes.by_test)
    print(report())


if __name__ == "__main__":
    main()
