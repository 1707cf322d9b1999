"""Runs the fuzz targets under atheris, which looks for inputs that reach new code.

    python -m tests.fuzz.atheris_run --seconds 10            # every target, ten seconds each
    python -m tests.fuzz.atheris_run --runs 2000             # the same inputs each time, as in CI
    python -m tests.fuzz.atheris_run --seconds 36000 stream.cut
    python -m tests.fuzz.atheris_run --input FILE stream.cut # once more what was found

A run begins with the dialogues of ``tests/transcripts`` and of the conformance suite, and with what
earlier runs have kept in ``build/fuzz``. An input that makes a target fail is left there; the exit
status is then 1. Each target runs in a child process, for atheris ends the process that it runs in.
"""

import argparse
import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import atheris

if TYPE_CHECKING:
    from tests.fuzz.targets import Target

FOLDER = Path(__file__).parents[2] / "build" / "fuzz"
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_MEMORY_MIB = 2048


def main() -> None:
    """Read the command line, and run what it asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.atheris_run")
    parser.add_argument("--seconds", type=int, default=10, help="for each target")
    parser.add_argument("--runs", type=int, help="for each target, from a fixed seed")
    parser.add_argument("--input", type=Path, help="run this input alone, without atheris")
    parser.add_argument("names", nargs="*", metavar="TARGET", help="by default every one")
    options = parser.parse_args()
    with atheris.instrument_imports(include=["postroom"], enable_loader_override=False):
        from tests.fuzz.targets import TARGETS, distinct
    unknown = set(options.names) - set(TARGETS)
    if unknown:
        sys.exit(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    chosen = {name: TARGETS[name] for name in options.names} or dict(distinct())
    if options.input is not None:
        for target in chosen.values():
            checked(target)(options.input.read_bytes())
    else:
        timed, counted = (
            [f"-max_total_time={options.seconds}"],
            [f"-runs={options.runs}", "-seed=1"],
        )
        sys.exit(run_all(chosen, timed if options.runs is None else counted))


def run_all(targets: "dict[str, Target]", extent: Sequence[str]) -> int:
    """Run targets one after the other; gives the exit status.

    Args:
        targets: by name.
        extent: how long, as libFuzzer's arguments.
    """
    total = failed = 0
    for name, target in targets.items():
        executed, output = run_one(name, target, extent)
        total += executed or 0
        print(f"{name:40}{executed if executed is not None else 'failed':>12}", flush=True)
        if executed is None:
            failed += 1
            print(output, flush=True)
    print(f"{total} executions, {failed} targets failed")
    return 1 if failed else 0


def run_one(name: str, target: "Target", extent: Sequence[str]) -> tuple[int | None, str]:
    """Run a target in a child process; gives how often, None if it failed, and its output."""
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            fuzz(name, target, extent)
        _, status = os.waitpid(child, 0)
        output.seek(0)
        said = output.read().decode(errors="replace")
    executed = _EXECUTED.search(said)
    return (int(executed[1]) if executed and status == 0 else None), said


def fuzz(name: str, target: "Target", extent: Sequence[str]) -> None:
    """Run a target in this process, which ends with it."""
    corpus = FOLDER / re.sub(r"\W+", "-", name)
    corpus.mkdir(parents=True, exist_ok=True)
    _write_seeds(corpus)
    arguments = (
        *extent,
        *("-max_len=4096", "-timeout=20", "-print_final_stats=1"),
        *(f"-rss_limit_mb={_MEMORY_MIB}", f"-artifact_prefix={corpus}-ended-", "-verbosity=0"),
    )
    atheris.Setup([sys.argv[0], *arguments, str(corpus)], kept(checked(target), corpus))
    atheris.Fuzz()


def kept(target: "Target", corpus: Path) -> "Target":
    """Keep the input that makes a target fail; libFuzzer does so only if it ends in good order."""

    def run(octets: bytes) -> None:
        try:
            target(octets)
        except BaseException:
            name = hashlib.sha1(octets).hexdigest()
            corpus.with_name(f"{corpus.name}-failed-{name}").write_bytes(octets)
            raise

    return run


def checked(target: "Target") -> "Target":
    """Make a failure of everything that Twisted logs as one."""
    from twisted.logger import globalLogPublisher

    failures: list[Any] = []

    def note(event: Any) -> None:
        if "log_failure" in event:
            failures.append(event["log_failure"])

    globalLogPublisher.addObserver(note)

    def run(octets: bytes) -> None:
        target(octets)
        if failures:
            raise AssertionError(failures.pop().getTraceback())

    return run


def _write_seeds(corpus: Path) -> None:
    from tests.fuzz.alphabet import raw, seeds
    from tests.fuzz.capture_targets import capture_files
    from tests.fuzz.peer_targets import PROXY_SEEDS

    for seed in (*seeds(), *PROXY_SEEDS, *map(raw, capture_files())):
        (corpus / hashlib.sha1(seed).hexdigest()).write_bytes(seed)


if __name__ == "__main__":
    main()
