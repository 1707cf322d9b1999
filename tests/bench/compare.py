"""Compare Postroom with other mail servers, side by side in one run.

    python -m tests.bench.compare                                   # all jobs, short and persistent
    python -m tests.bench.compare --job maildir --workload short --rounds 5
    python -m tests.bench.compare --peers postroom,postfix-tuned,aiosmtpd --job discard

The load is Postfix's smtp-source, the next hop of the relay job smtp-sink. Peers take turns within
a round and the order rotates, so that a slow spell of the machine falls on all; read the ratios,
not the rates. Needs root (Postfix does) and the Debian package postfix.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.peers import PEERS, RECIPIENT, SBIN, SENDER, Sink, wait_until

PORT, SINK_PORT = 2525, 2626
WORKLOADS: dict[str, tuple[list[str], int]] = {
    # name: (arguments of smtp-source, messages)
    "short": (["-s", "20", "-l", "4096"], 3000),
    "persistent": (["-s", "20", "-l", "4096", "-d"], 3000),
    "large": (["-s", "4", "-l", "10000000", "-d"], 20),
}


@dataclass
class Run:
    """One measurement: messages a second until done, server CPU a message."""

    peer: str
    rate: float
    cpu_ms: float


def send(arguments: list[str], count: int) -> None:
    """Send a number of messages with smtp-source."""
    command = [str(SBIN / "smtp-source"), "-M", "load.test", "-f", SENDER, "-t", RECIPIENT]
    target = f"127.0.0.1:{PORT}"
    subprocess.run(
        [*command, *arguments, "-m", str(count), target], check=True, capture_output=True
    )


def measure(name: str, job: str, workload: str, count: int, state: Path) -> Run:
    """Run one peer on empty state: warm up, sync the disk, then measure."""
    arguments, _ = WORKLOADS[workload]
    sink = Sink(SINK_PORT, state / "sink.log") if job == "relay" else None
    try:
        peer = PEERS[name](job, PORT, SINK_PORT, state / name)
        try:
            arrived = {"discard": lambda: 0, "maildir": peer.delivered}.get(job) or sink.count
            send(["-s", "5", "-l", "4096"], 100)
            wait_until(lambda: job == "discard" or arrived() >= 100, 60)
            os.sync()
            before, cpu, start = arrived(), peer.cpu_seconds(), time.monotonic()
            send(arguments, count)
            done = wait_until(lambda: job == "discard" or arrived() >= before + count, 120)
            seconds = time.monotonic() - start
            if not done:
                raise RuntimeError(f"{name}: {arrived() - before} of {count} arrived")
            return Run(name, count / seconds, 1000 * (peer.cpu_seconds() - cpu) / count)
        finally:
            peer.stop()
    finally:
        if sink:
            sink.stop()


def compare(job: str, workload: str, peers: list[str], rounds: int, count: int | None) -> None:
    """Measure and print one table."""
    peers = [name for name in peers if job in PEERS[name].jobs]
    count = count or WORKLOADS[workload][1]
    results: list[dict[str, Run]] = []
    with tempfile.TemporaryDirectory(prefix="postroom-bench-") as folder:
        Path(folder).chmod(0o755)
        for number in range(rounds):
            turn = number % len(peers)
            order = peers[turn:] + peers[:turn]
            results.append(
                {name: measure(name, job, workload, count, Path(folder)) for name in order}
            )
    base = peers[-1]
    print(f"\n{job}, {workload}, {count} messages, {rounds} rounds, ratios to {base}")
    print(f"{'peer':16}{'msg/s':>9}{'min':>9}{'max':>9}{'ratio':>8}{'CPU ms':>8}{'ratio':>8}")
    for name in peers:
        rates = [result[name].rate for result in results]
        ratio = statistics.median(r[name].rate / r[base].rate for r in results)
        cpu = statistics.median(r[name].cpu_ms for r in results)
        cpu_ratio = statistics.median(r[name].cpu_ms / (r[base].cpu_ms or 1e-9) for r in results)
        row = f"{statistics.median(rates):9.1f}{min(rates):9.1f}{max(rates):9.1f}{ratio:8.2f}"
        print(f"{name:16}{row}{cpu:8.3f}{cpu_ratio:8.2f}", flush=True)


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--job", default="discard,maildir,relay")
    parser.add_argument("--workload", default="short,persistent")
    parser.add_argument("--peers", default="postroom,postfix-tuned", help="ratios are to the last")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-n", type=int, help="messages a run")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("postfix needs root")
    for job in options.job.split(","):
        for workload in options.workload.split(","):
            compare(job, workload, options.peers.split(","), options.rounds, options.n)


if __name__ == "__main__":
    main()
