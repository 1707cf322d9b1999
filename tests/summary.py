"""Ends a test run with the line ``N passed, N failed, N skipped``.

    trial … 2>&1 | python tests/summary.py [--check NAME=STATUS]…

Trial's output is passed on as it comes and its last line is read: each test counts once, and so
does each check that ran before, by its exit status. The status is 1 if anything failed, if the
count does not add up (a run that was cut off), and, where ``CI`` is ``true``, if anything was
skipped: there every peer and tool has to be installed.
"""

import os
import re
import sys
from collections import Counter
from collections.abc import Iterable

RAN = re.compile(r"Ran (\d+) tests? in ")
RESULT = re.compile(r"(?:PASSED|FAILED)(?: \((.*)\))?$")
SKIPPED = re.compile(r"\[(?:SKIPPED|TODO)\]$")
OUTCOMES = {
    "successes": "passed",
    "expectedFailures": "skipped",
    "skips": "skipped",
    "failures": "failed",
    "errors": "failed",
    "unexpectedSuccesses": "failed",
}


def read_result(lines: Iterable[str]) -> tuple[Counter[str], int | None]:
    """Read trial's output; gives the counts, and how many tests it says it ran (None if never)."""
    counts: Counter[str] = Counter()
    ran = None
    for line in lines:
        text = line.strip()
        if match := RAN.match(text):
            ran = int(match[1])
        elif ran is not None and (match := RESULT.match(text)):
            for item in (match[1] or "").split(", "):
                name, _, number = item.partition("=")
                if name in OUTCOMES:
                    counts[OUTCOMES[name]] += int(number)
    return counts, ran


def echoed(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        sys.stdout.write(line)
        sys.stdout.flush()
        yield line


def main() -> int:
    counts, ran = read_result(echoed(sys.stdin))
    problems = []
    if ran is None or sum(counts.values()) < ran:
        problems.append("trial did not tell the result of every test")
        counts["failed"] += 1
    for check in sys.argv[1:]:
        name, _, status = check.removeprefix("--check=").partition("=")
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
