"""The line at the end of a test run counts what really happened."""

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

SCRIPT = Path(__file__).with_name("summary.py")


class SummaryTests(SynchronousTestCase):
    """Tests for ``tests/summary.py``."""

    def run_on(self, output: str, *arguments: str, ci: str = "") -> tuple[str, int]:
        done = subprocess.run(
            [sys.executable, str(SCRIPT), *arguments],
            input=output,
            capture_output=True,
            text=True,
            env={**os.environ, "CI": ci},
            check=False,
        )
        return done.stdout.splitlines()[-1], done.returncode

    def test_all_is_well(self) -> None:
        self.assertEqual(
            self.run_on("Ran 7 tests in 1.0s\n\nPASSED (successes=7)\n", "--check=ruff=0"),
            ("8 passed, 0 failed, 0 skipped", 0),
        )

    def test_every_kind_of_failure_counts(self) -> None:
        self.assertEqual(
            self.run_on(
                "Ran 10 tests in 1.0s\n\n"
                "FAILED (skips=1, failures=2, errors=3, unexpectedSuccesses=1, successes=3)\n",
                "--check=mypy=1",
            ),
            ("3 passed, 7 failed, 1 skipped", 1),
        )

    def test_a_failed_check_fails_the_run(self) -> None:
        self.assertEqual(
            self.run_on("Ran 1 tests in 1.0s\n\nPASSED (successes=1)\n", "--check=ruff=2"),
            ("1 passed, 1 failed, 0 skipped", 1),
        )

    def test_skips_are_allowed_at_home_and_not_in_ci(self) -> None:
        output = "Ran 2 tests in 1.0s\n\nPASSED (skips=1, successes=1)\n"
        self.assertEqual(self.run_on(output), ("1 passed, 0 failed, 1 skipped", 0))
        self.assertEqual(self.run_on(output, ci="true"), ("1 passed, 0 failed, 1 skipped", 1))

    def test_a_run_that_was_cut_off_has_failed(self) -> None:
        for output in ("tests.x\n  y ... [OK]\n", "", "Ran 3 tests in 1.0s\n", "Killed\n"):
            line, status = self.run_on(output)
            self.assertEqual((line, status), ("0 passed, 1 failed, 0 skipped", 1))
