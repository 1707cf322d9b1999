"""Ends a test run with the line ``N passed, N failed, N skipped``.

    { trial …; trial …; } 2>&1 | python tests/summary.py [--runs=N] [--check=NAME=STATUS]…

Trial's output is passed on as it comes, also that of several runs one after the other; ``--runs``
tells how many there are to be. Each test counts once, and so does each check that ran before, by
its exit status. The status is 1 if anything failed; if a run is missing, ran no test or does not
tell the result of every test that it announced, because it was cut off or its processes died; and,
where ``CI`` is ``true``, if anything was skipped: there every peer and tool has to be installed.
"""

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

ANNOUNCED = re.compile(r"Running (\d+) tests?\.$")
RAN = re.compile(r"Ran (\d+) tests? in ")
RESULT = re.compile(r"(?:PASSED|FAILED)(?: \((.*)\))?$")
OUTCOMES = {
    "successes": "passed",
    "expectedFailures": "skipped",
    "skips": "skipped",
    "failures": "failed",
    "errors": "failed",
    "unexpectedSuccesses": "failed",
}


@dataclass
class TrialRun:
    """What one run of trial says of itself.

    Attributes:
        announced: how many tests it was going to run; it only tells with ``--jobs``.
        ran: how many it ran; None until it says so.
        counts: how many passed, failed and were skipped.
    """

    announced: int = 0
    ran: int | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def count(self, items: str) -> None:
        """Read what stands behind PASSED or FAILED."""
        for item in items.split(", "):
            name, _, number = item.partition("=")
            if name in OUTCOMES:
                self.counts[OUTCOMES[name]] += int(number)

    def problem(self) -> str | None:
        """Return what is wrong with the run as a whole, if anything is."""
        if self.ran == 0:
            return "trial ran no test"
        if self.ran is None or self.ran < self.announced or self.counts.total() < self.ran:
            return "trial did not tell the result of every test"
        return None


def read_runs(lines: Iterable[str]) -> list[TrialRun]:
    """Read the output of trial, once or several times."""
    runs: list[TrialRun] = []
    for line in lines:
        text = line.strip()
        if match := ANNOUNCED.match(text):
            runs.append(TrialRun(int(match[1])))
        elif match := RAN.match(text):
            if not runs or runs[-1].ran is not None:
                runs.append(TrialRun())
            runs[-1].ran = int(match[1])
        elif runs and runs[-1].ran is not None and (match := RESULT.match(text)):
            runs[-1].count(match[1] or "")
    return runs


def echoed(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        sys.stdout.write(line)
        sys.stdout.flush()
        yield line


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--check", action="append", default=[])
    options = parser.parse_args()
    runs = read_runs(echoed(sys.stdin))
    counts: Counter[str] = sum((run.counts for run in runs), Counter())
    problems = [problem for run in runs if (problem := run.problem()) is not None]
    if len(runs) != options.runs:
        problems.append(f"trial ran {len(runs)} times and was to run {options.runs} times")
    counts["failed"] += len(problems)
    for check in options.check:
        name, _, status = check.partition("=")
        counts["failed" if status != "0" else "passed"] += 1
        if status != "0":
            problems.append(f"{name} failed")
    if counts["skipped"] and os.environ.get("CI") == "true":
        problems.append("a skipped test is a failure here")
    for problem in problems:
        print(f"summary: {problem}")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] or problems else 0


if __name__ == "__main__":
    sys.exit(main())
