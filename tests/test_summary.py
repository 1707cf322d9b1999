"""The line at the end of a test run counts what really happened."""

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

SCRIPT = Path(__file__).with_name("summary.py")


def run_summary(output: str, *arguments: str, ci: str = "") -> tuple[str, int]:
    """Run the script on trial's output; gives its last line and its exit status."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        input=output,
        capture_output=True,
        text=True,
        env={**os.environ, "CI": ci},
        check=False,
    )
    return done.stdout.splitlines()[-1], done.returncode


def told(tests: int, result: str) -> str:
    """Give what trial prints when it has run a number of tests."""
    return f"Running {tests} tests.\ntests.x ...\nRan {tests} tests in 1.0s\n\n{result}\n"


class SummaryTests(SynchronousTestCase):
    """Tests for ``tests/summary.py``."""

    def test_all_is_well(self) -> None:
        self.assertEqual(
            run_summary(told(7, "PASSED (successes=7)"), "--check=ruff=0"),
            ("8 passed, 0 failed, 0 skipped", 0),
        )

    def test_without_jobs_trial_announces_nothing(self) -> None:
        output = told(7, "PASSED (successes=7)").partition("\n")[2]
        self.assertEqual(run_summary(output), ("7 passed, 0 failed, 0 skipped", 0))
        self.assertEqual(
            run_summary(output + output, "--runs=2"), ("14 passed, 0 failed, 0 skipped", 0)
        )

    def test_every_kind_of_failure_counts(self) -> None:
        result = "FAILED (skips=1, failures=2, errors=3, unexpectedSuccesses=1, successes=3)"
        self.assertEqual(
            run_summary(told(10, result), "--check=mypy=1"),
            ("3 passed, 7 failed, 1 skipped", 1),
        )

    def test_a_failed_check_fails_the_run(self) -> None:
        self.assertEqual(
            run_summary(told(1, "PASSED (successes=1)"), "--check=ruff=2"),
            ("1 passed, 1 failed, 0 skipped", 1),
        )

    def test_skips_are_allowed_at_home_and_not_in_ci(self) -> None:
        output = told(2, "PASSED (skips=1, successes=1)")
        self.assertEqual(run_summary(output), ("1 passed, 0 failed, 1 skipped", 0))
        self.assertEqual(run_summary(output, ci="true"), ("1 passed, 0 failed, 1 skipped", 1))

    def test_a_run_that_was_cut_off_has_failed(self) -> None:
        for output in (
            "",
            "Killed\n",
            "Running 3 tests.\ntests.x\n  y ... [OK]\n",
            "Running 3 tests.\nRan 3 tests in 1.0s\n",
        ):
            line, status = run_summary(output)
            self.assertEqual((line, status), ("0 passed, 1 failed, 0 skipped", 1))

    def test_tests_that_were_announced_and_not_run_have_failed(self) -> None:
        output = told(2, "PASSED (successes=2)").replace("Running 2", "Running 3")
        self.assertEqual(run_summary(output), ("2 passed, 1 failed, 0 skipped", 1))
        nothing = told(0, "PASSED")
        self.assertEqual(run_summary(nothing), ("0 passed, 1 failed, 0 skipped", 1))

    def test_several_runs_are_summed_up_and_none_may_be_missing(self) -> None:
        first, second = told(2, "PASSED (successes=2)"), told(2, "FAILED (errors=1, successes=1)")
        self.assertEqual(
            run_summary(first + second, "--runs=2"), ("3 passed, 1 failed, 0 skipped", 1)
        )
        self.assertEqual(
            run_summary(first + first, "--runs=2"), ("4 passed, 0 failed, 0 skipped", 0)
        )
        for output in (first, first + "Running 2 tests.\n"):
            self.assertEqual(run_summary(output, "--runs=2"), ("2 passed, 1 failed, 0 skipped", 1))


class WorkerTests(SynchronousTestCase):
    """The output of trial itself, with processes that work side by side."""

    def test_a_worker_that_dies_fails_the_run(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "test_deadly.py").write_text(
            "import os\n"
            "from twisted.trial.unittest import SynchronousTestCase, SkipTest\n"
            "class Tests(SynchronousTestCase):\n"
            "    def test_1(self): pass\n"
            "    def test_2(self): raise SkipTest('no')\n"
            "    def test_3(self): os._exit(0)\n"
            "    def test_4(self): pass\n"
        )
        trial = (sys.executable, "-m", "twisted.trial")
        done = subprocess.run(
            [*trial, "-j1", "test_deadly"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        line, status = run_summary(done.stdout)
        self.assertEqual((line, status), ("1 passed, 2 failed, 1 skipped", 1))
