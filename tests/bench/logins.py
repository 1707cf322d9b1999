"""Logins: how many a second, how long the reactor stalls in a flood, and what time tells.

    python -m tests.bench.logins                       # rate, then 200 clients with wrong passwords
    python -m tests.bench.logins --timing 10000        # tries of each kind, and Welch's t

The reactor's longest stall is measured inside the daemon, by a timer that is due every two
milliseconds: how late it is at the worst. A machine that is busy with something else shows there,
so the CPU time that the reactor's thread took between two of them is given as well.

For the timings refusals do not wait, and nobody is locked out: what is compared is the work alone.
Each try is on a connection that is open already; kinds of tries alternate, so that what else
happens on the machine falls on all alike.
"""

import argparse
import asyncio
import base64
import gc
import math
import os
import random
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import tests.daemon
from tests.daemon import Daemon

USER, PASSWORD = "ann@local.test", "correct-horse-battery"
OFF = "off@local.test"
SETTINGS = """
[limits]
errors = 1000000
errors_before_delay = 1000000
idle_commands = 1000000

[auth.lockout]
refusal_seconds = 0
"""
_TICK_SECONDS = 0.002
_SAMPLED = [
    sys.executable,
    "-c",
    "from tests.bench.logins import sample; sample();from twisted.scripts.twistd import run; run()",
]


def sample() -> None:
    """Measure the reactor of this process; called in the daemon, before it runs."""
    from twisted.internet import reactor
    from twisted.internet.task import LoopingCall

    target = Path(os.environ["POSTROOM_STALLS"])
    worst = dict.fromkeys(("stall", "work", "collection"), 0.0)
    last = [time.monotonic(), time.thread_time(), 0.0]

    def tick() -> None:
        now, spent = time.monotonic(), time.thread_time()
        worst["stall"] = max(worst["stall"], now - last[0] - _TICK_SECONDS)
        worst["work"] = max(worst["work"], spent - last[1])
        last[:2] = now, spent

    def publish() -> None:
        fresh = target.with_suffix(".new")
        fresh.write_text(" ".join(f"{each * 1000:.1f}" for each in worst.values()))
        fresh.replace(target)
        if target.with_suffix(".reset").exists():
            target.with_suffix(".reset").unlink()
            worst.update(dict.fromkeys(worst, 0.0))
        last[:2] = time.monotonic(), time.thread_time()

    def collected(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            last[2] = time.thread_time()
        else:
            worst["collection"] = max(worst["collection"], time.thread_time() - last[2])

    gc.callbacks.append(collected)  # type: ignore[arg-type]
    reactor.callWhenRunning(LoopingCall(tick).start, _TICK_SECONDS)  # type: ignore[attr-defined]
    reactor.callWhenRunning(LoopingCall(publish).start, 0.5)  # type: ignore[attr-defined]


class Stalls:
    """What `sample` measures, seen from outside."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def reset(self) -> None:
        """Begin anew."""
        self._path.with_suffix(".reset").touch()
        while self._path.with_suffix(".reset").exists():
            time.sleep(0.05)

    def read(self) -> str:
        """Give what was measured since, in words."""
        time.sleep(1.1)
        stall, work, collection = self._path.read_text().split()
        return (
            f"longest stall {stall} ms; longest work of the reactor's thread in one turn {work} ms"
            f" of CPU, longest garbage collection {collection} ms of CPU"
        )


def plain(user: str, password: str) -> bytes:
    """Make an AUTH command."""
    return b"AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()) + b"\r\n"


class Client:
    """One connection over TLS, after EHLO."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, port: int) -> "Client":
        """Open a connection."""
        context = ssl._create_unverified_context()
        client = cls(*await asyncio.open_connection("127.0.0.1", port, ssl=context))
        await client._reply()
        await client.say(b"EHLO client.test\r\n")
        return client

    async def say(self, line: bytes) -> bytes:
        """Send a line, and give the last line of the reply."""
        self._writer.write(line)
        return await self._reply()

    async def _reply(self) -> bytes:
        while True:
            line = await self._reader.readline()
            if not line or line[3:4] != b"-":
                return line

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


async def rate(port: int, clients: int, seconds: float) -> float:
    """Give right logins a second, each on a connection of its own."""
    end, done = time.monotonic() + seconds, 0

    async def log_in_again_and_again() -> None:
        nonlocal done
        while time.monotonic() < end:
            client = await Client.connect(port)
            if (await client.say(plain(USER, PASSWORD)))[:3] == b"235":
                done += 1
            client.close()

    began = time.monotonic()
    await asyncio.gather(*(log_in_again_and_again() for _ in range(clients)))
    return done / (time.monotonic() - began)


async def flood(port: int, clients: int, seconds: float) -> dict[str, int]:
    """Have clients try wrong passwords, each on a new connection; counts the replies by code."""
    end, heard = time.monotonic() + seconds, dict[str, int]()

    async def guess_again_and_again() -> None:
        while time.monotonic() < end:
            client = await Client.connect(port)
            for _ in range(5):
                code = (await client.say(plain(USER, f"wrong{random.random()}")))[:3].decode()
                heard[code] = heard.get(code, 0) + 1
            client.close()

    await asyncio.gather(*(guess_again_and_again() for _ in range(clients)))
    return heard


async def timings(port: int, tries: int) -> dict[str, list[float]]:
    """Time tries that are wrong in different ways, in random order; in milliseconds."""
    client = await Client.connect(port)
    kinds = {
        "wrong password": lambda: plain(USER, f"wrong{random.random()}"),
        "unknown user": lambda: plain(f"u{random.randrange(10**6)}@local.test", "wrong-password"),
        "switched off": lambda: plain(OFF, f"wrong{random.random()}"),
    }
    order = list(kinds) * tries
    random.shuffle(order)
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    for kind in order:
        line = kinds[kind]()
        began = time.perf_counter()
        answer = await client.say(line)
        taken[kind].append((time.perf_counter() - began) * 1000)
        assert answer[:3] == b"535", answer
    client.close()
    return taken


def welch(one: Sequence[float], other: Sequence[float]) -> float:
    """Give Welch's t of two samples; beyond 4.5 they are taken to differ."""
    spread = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    return (statistics.fmean(one) - statistics.fmean(other)) / math.sqrt(spread)


def cropped(sample_: list[float]) -> list[float]:
    """Leave out the slowest tenth: what the machine did meanwhile, and not we."""
    return sorted(sample_)[: len(sample_) * 9 // 10]


def print_timings(taken: dict[str, list[float]]) -> None:
    """Print means, and t of each pair, of all tries and without the slowest tenth."""
    for kind, values in taken.items():
        print(
            f"{kind:16} {len(values)} tries, median {statistics.median(values):.3f} ms, "
            f"mean {statistics.fmean(values):.3f} ms"
        )
    kinds = list(taken)
    for number, one in enumerate(kinds):
        for other in kinds[number + 1 :]:
            print(
                f"{one} / {other}: t = {welch(taken[one], taken[other]):.2f}, "
                f"cropped {welch(cropped(taken[one]), cropped(taken[other])):.2f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--timing", type=int, default=0, help="tries of each kind")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stalls = Stalls(folder / "stalls")
        tests.daemon.ENVIRONMENT["POSTROOM_STALLS"] = str(folder / "stalls")
        tests.daemon.TWISTD[:] = _SAMPLED
        daemon = Daemon(folder, listeners=("mx", "submission-tls"), settings=SETTINGS)
        daemon.add_account(USER, PASSWORD)
        daemon.add_account(OFF, PASSWORD)
        daemon.admin("account", "disable", OFF)
        daemon.start()
        try:
            measure(daemon.ports["submission-tls"], stalls, options)
        finally:
            daemon.stop()


def measure(port: int, stalls: Stalls, options: argparse.Namespace) -> None:
    """Measure what was asked for."""
    if options.timing:
        print_timings(asyncio.run(timings(port, options.timing)))
        return
    stalls.reset()
    print(f"idle: {stalls.read()}")
    print(f"right logins: {asyncio.run(rate(port, 8, options.seconds / 2)):.1f} a second")
    stalls.reset()
    heard = asyncio.run(flood(port, options.clients, options.seconds))
    print(f"{options.clients} clients with wrong passwords: {heard}")
    print(f"flood: {stalls.read()}")


if __name__ == "__main__":
    main()
