"""Nothing lost: kill the daemon again and again under load, then count.

    python -m tests.crash.ledger --messages 5000 --kills 20
    python -m tests.crash.ledger --messages 300 --kills 20 --octets 3000000

Every message has a number of its own and goes to a local account, to a remote domain, or to both.
The senders note which messages got their 250. At the end every noted message must lie in the
Maildir, at the next hop, or at both, as addressed. A message may arrive without having been noted
(killed between commit and 250), and a remote one twice (killed between the next hop's 250 and our
note of it): SMTP cannot do better (RFC 5321 s6.1), and both are counted. Whatever arrives must be
whole: every message carries a checksum.
"""

import argparse
import collections
import itertools
import random
import re
import smtplib
import tempfile
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

from tests.daemon import Daemon, free_port

LOCAL, REMOTE = "ann@local.test", "bob@remote.test"
_NUMBER = re.compile(rb"X-Number: (\d+)\r\nX-Sum: (\d+)\r\n\r\n")


def new_body(number: int, octets: int) -> bytes:
    """Make a message that says its number and the checksum of its body."""
    line = f"{number:078}\r\n".encode("ascii")
    body = line * max(1, octets // len(line))
    head = f"Subject: test\r\nX-Number: {number}\r\nX-Sum: {zlib.crc32(body)}\r\n\r\n"
    return head.encode("ascii") + body


def _number(content: bytes) -> int:
    """Read the number of a message, which must be whole."""
    match = _NUMBER.search(content)
    assert match is not None, f"not whole: {content[:200]!r}"
    body = content.partition(b"\r\n\r\n")[2]
    assert zlib.crc32(body) == int(match[2]), f"message {match[1]!r} is not whole"
    return int(match[1])


class Sink:
    """The next hop: an SMTP server of another project, that counts."""

    def __init__(self) -> None:
        self.seen: collections.Counter[int] = collections.Counter()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Take a message."""
        self.seen[_number(envelope.content)] += 1
        return "250 2.0.0 Ok"


@dataclass
class Ledger:
    """What was sent to whom, and what got its 250."""

    accepted: dict[int, tuple[str, ...]] = field(default_factory=dict)
    offered: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Outcome:
    """What came of it all."""

    accepted: int
    offered: int
    lost: tuple[str, ...]
    local_duplicates: int
    remote_duplicates: int
    unacknowledged: int
    kills: int

    def __str__(self) -> str:
        return (
            f"{self.accepted} accepted of {self.offered} offered, {self.kills} kills: "
            f"{len(self.lost)} lost, {self.local_duplicates} local and {self.remote_duplicates} "
            f"remote duplicates, {self.unacknowledged} arrived without their 250"
        )


def send_until(
    ledger: Ledger, numbers: "itertools.count[int]", target: int, port: int, octets: int
) -> None:
    """Send messages, over new connections as the daemon dies, until enough are accepted."""
    smtp: smtplib.SMTP | None = None
    while len(ledger.accepted) < target:
        try:
            smtp = smtp or smtplib.SMTP("127.0.0.1", port, "sender.test", timeout=30)
            with ledger.lock:
                number = next(numbers)
                ledger.offered += 1
            recipients = ((LOCAL,), (REMOTE,), (LOCAL, REMOTE))[number % 3]
            smtp.sendmail("sender@local.test", recipients, new_body(number, octets))
            with ledger.lock:
                ledger.accepted[number] = recipients
        except (OSError, smtplib.SMTPException):
            smtp = None
            time.sleep(0.05)


def run(messages: int, kills: int, folder: Path, seed: int = 1, octets: int = 80) -> Outcome:
    """Send, kill and restart, drain, and count."""
    random_source = random.Random(seed)
    sink = Sink()
    hop = Controller(sink, "127.0.0.1", free_port())
    hop.start()
    daemon = Daemon(
        folder,
        *("--relay-host", f"smtp://127.0.0.1:{hop.port}", "--relay-network", "127.0.0.0/8"),
    )
    daemon.admin("domain", "add", "local.test")
    daemon.admin("account", "add", LOCAL, "--password-stdin", stdin="secret-1234\n")
    new = daemon.maildir(LOCAL) / "new"
    daemon.start()
    ledger, numbers = Ledger(), itertools.count(1)
    threads = [
        threading.Thread(target=send_until, args=(ledger, numbers, messages, daemon.port, octets))
        for _ in range(8)
    ]
    try:
        for thread in threads:
            thread.start()
        done = 0
        while any(thread.is_alive() for thread in threads):
            if done < kills and len(ledger.accepted) >= (done + 0.5) * messages / kills:
                time.sleep(random_source.random() / 20)
                daemon.kill()
                daemon.start()
                done += 1
            time.sleep(0.005)
        _drain(daemon)
        daemon.terminate()
    finally:
        if daemon.process and daemon.process.poll() is None:
            daemon.kill()
        hop.stop()
    return _count(ledger, new, sink, done)


def _drain(daemon: Daemon) -> None:
    end = time.monotonic() + 120
    while daemon.queued() and time.monotonic() < end:
        time.sleep(0.3)


def lost(
    accepted: Mapping[int, Sequence[str]], new: Path, sink: Sink
) -> "tuple[list[str], collections.Counter[int]]":
    """Give what was accepted and did not arrive, and how often each number lies in a Maildir."""
    local: collections.Counter[int] = collections.Counter()
    for file in new.iterdir():
        local[_number(file.read_bytes().replace(b"\n", b"\r\n"))] += 1  # stored with LF
    missing = [
        f"{number} to {recipient}"
        for number, recipients in accepted.items()
        for recipient in recipients
        if not (local if recipient == LOCAL else sink.seen)[number]
    ]
    return missing, local


def _count(ledger: Ledger, new: Path, sink: Sink, kills: int) -> Outcome:
    missing, local = lost(ledger.accepted, new, sink)
    return Outcome(
        accepted=len(ledger.accepted),
        offered=ledger.offered,
        lost=tuple(missing),
        local_duplicates=sum(count - 1 for count in local.values()),
        remote_duplicates=sum(count - 1 for count in sink.seen.values()),
        unacknowledged=len((set(local) | set(sink.seen)) - set(ledger.accepted)),
        kills=kills,
    )


def main() -> None:
    """Run at full length and print the outcome."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--octets", type=int, default=80, help="of a message's body")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="postroom-crash-") as folder:
        outcome = run(options.messages, options.kills, Path(folder), options.seed, options.octets)
    print(outcome)
    for line in outcome.lost[:20]:
        print("lost:", line)
    raise SystemExit(bool(outcome.lost))


if __name__ == "__main__":
    main()
