"""Nothing lost: let single system calls fail, or kill the daemon at them, under mail; then count.

    python -m tests.crash.syscalls                       # every call, error and position
    python -m tests.crash.syscalls fsync:EIO linkat      # these alone

``strace`` is attached to the running daemon for a few messages and makes the first, second or third
call of a kind fail, or all from the first on, or kills the process there. Each message gets 250 or
a temporary refusal, never a permanent one; afterwards, without strace, mail is taken again by the
same process (the next one, where it was killed). At the end everything that got its 250 has
arrived, whole.
"""

import argparse
import itertools
import smtplib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiosmtpd.controller import Controller

from tests.crash.ledger import LOCAL, REMOTE, Sink, lost, new_body
from tests.daemon import Daemon, free_port, wait_until

ERRORS: Final[dict[str, tuple[str, ...]]] = {
    "fsync": ("EIO", "ENOSPC"),
    "fdatasync": ("EIO", "ENOSPC"),
    "openat": ("EMFILE", "EIO", "ENOSPC"),
    "write": ("ENOSPC", "EIO"),
    "writev": ("ENOSPC", "EIO"),
    "pwritev": ("ENOSPC", "EIO"),
    "pwrite64": ("ENOSPC", "EIO"),
    "pread64": ("EIO",),
    "read": ("EIO",),
    "rename": ("EIO", "ENOSPC"),
    "link": ("EIO", "ENOSPC"),
    "linkat": ("EIO", "ENOSPC"),
    "unlink": ("EIO",),
    "mkdir": ("EIO", "ENOSPC"),
    "ftruncate": ("EIO",),
    "fcntl": ("EIO",),
    "mmap": ("ENOMEM",),
    "accept4": ("EMFILE", "ENFILE", "ENOMEM", "ECONNABORTED"),
    "recvfrom": ("ECONNRESET", "ENOBUFS"),
    "sendto": ("ECONNRESET", "ENOBUFS"),
    "connect": ("EADDRNOTAVAIL", "ENOBUFS"),
    "socket": ("EMFILE", "ENOBUFS"),
    "epoll_wait": ("EINTR",),
    "epoll_ctl": ("ENOMEM",),
}
POSITIONS: Final = ("1", "2", "3", "1+")
# Where no call of a kind ever succeeds, nobody can be answered.
_SILENCED: Final = {
    *(("accept4", error, "1+") for error in ERRORS["accept4"]),
    *(("sendto", "ENOBUFS", "1+"), ("epoll_wait", "EINTR", "1+")),
}
SMALL, LARGE = 80, 1_500_000


@dataclass(frozen=True)
class Case:
    """One kind of harm."""

    call: str
    harm: str
    when: str

    @property
    def kills(self) -> bool:
        """True if the process does not survive it."""
        return self.harm == "SIGKILL"

    def __str__(self) -> str:
        """Give it as strace takes it."""
        kind = "signal" if self.kills else "error"
        return f"{self.call}:{kind}={self.harm}:when={self.when}"


@dataclass
class Outcome:
    """What came of all cases; empty lists are what is wanted."""

    cases: int = 0
    accepted: dict[int, tuple[str, ...]] = field(default_factory=dict)
    deferred: int = 0
    wrong: list[str] = field(default_factory=list)
    lost: Sequence[str] = ()

    def __str__(self) -> str:
        return (
            f"{self.cases} cases: {len(self.accepted)} accepted, {self.deferred} refused for now,"
            f" {len(self.lost)} lost, {len(self.wrong)} answered or recovered wrongly"
        )


def every_case() -> Iterator[Case]:
    """Give every call with each of its errors, and SIGKILL, at each position."""
    for call, errors in ERRORS.items():
        for harm in (*errors, "SIGKILL"):
            for when in POSITIONS if harm != "SIGKILL" else POSITIONS[:3]:
                if (call, harm, when) not in _SILENCED:
                    yield Case(call, harm, when)


class Harm:
    """A daemon, what it is sent, and what is done to it."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.outcome = Outcome()
        self._numbers = itertools.count(1)

    def suffer(self, case: Case) -> None:
        """Send some mail under one kind of harm, then see whether the daemon is itself again."""
        self.outcome.cases += 1
        strace = self._attach(case)
        for recipients, octets in (
            ((LOCAL,), SMALL),
            ((LOCAL, REMOTE), SMALL),
            ((LOCAL, REMOTE), LARGE),
        ):
            self._send(case, recipients, octets)
        _detach(strace)
        process = self.daemon.process
        assert process is not None
        if case.kills and wait_until(lambda: process.poll() is not None, 1):
            self.daemon.start()
        elif process.poll() is not None:
            self.outcome.wrong.append(f"{case}: the daemon died")
            self.daemon.start()
        if not wait_until(lambda: self._send(case, (LOCAL, REMOTE), SMALL), 10):
            self.outcome.wrong.append(f"{case}: no mail is taken afterwards")

    def _attach(self, case: Case) -> "subprocess.Popen[bytes]":
        process = self.daemon.process
        assert process is not None
        trace = ["-e", f"trace={case.call}", "-e", f"inject={case}"]
        strace = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", "/dev/null", *trace, "-p", str(process.pid)],
            stderr=subprocess.PIPE,
        )
        tasks = Path(f"/proc/{process.pid}/task")

        def attached() -> bool:
            if strace.poll() is not None:
                return True
            try:
                states = [(task / "status").read_text() for task in tasks.iterdir()]
            except OSError:  # a thread, or the process, has ended meanwhile
                return process.poll() is not None
            return all("TracerPid:\t0\n" not in state for state in states)

        wait_until(attached, 10)
        if strace.poll() is not None and process.poll() is None:
            assert strace.stderr is not None
            raise RuntimeError(f"strace: {strace.stderr.read().decode()}")
        return strace

    def _send(self, case: Case, recipients: tuple[str, ...], octets: int) -> bool:
        """Send a message; tell whether it was taken, and note an answer that must not be."""
        number = next(self._numbers)
        try:
            with smtplib.SMTP("127.0.0.1", self.daemon.port, "sender.test", timeout=20) as smtp:
                refused = smtp.sendmail("sender@local.test", recipients, new_body(number, octets))
                taken = tuple(each for each in recipients if each not in refused)
                self.outcome.accepted[number] = taken
                self._judge(case, [code for code, _ in refused.values()])
                return not refused
        except smtplib.SMTPRecipientsRefused as error:
            self._judge(case, [code for code, _ in error.recipients.values()])
        except smtplib.SMTPResponseException as error:
            self._judge(case, [error.smtp_code])
        except (OSError, smtplib.SMTPException) as error:
            # A lost connection is for the sender to try again. smtplib makes one of a time-out too.
            if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
                self.outcome.wrong.append(f"{case}: no answer within 20 seconds")
        self.outcome.deferred += number not in self.outcome.accepted
        return False

    def _judge(self, case: Case, codes: Sequence[int]) -> None:
        self.outcome.wrong += [f"{case}: answered {code}" for code in codes if code >= 500]


def _detach(strace: "subprocess.Popen[bytes]") -> None:
    """End strace; one that waits for a process that is gone has to be killed."""
    strace.terminate()
    try:
        strace.wait(3)
    except subprocess.TimeoutExpired:
        strace.kill()
        strace.wait()


def run(
    cases: Sequence[Case], folder: Path, tell: Callable[[str], object] = lambda _: None
) -> Outcome:
    """Do all of it to one daemon, drain, and count; ``tell`` hears of each case."""
    sink = Sink()
    hop = Controller(sink, "127.0.0.1", free_port())
    hop.start()
    daemon = Daemon(
        folder,
        *("--relay-host", f"smtp://127.0.0.1:{hop.port}", "--relay-network", "127.0.0.0/8"),
    )
    daemon.add_account(LOCAL, "secret-1234")
    new = daemon.maildir(LOCAL) / "new"
    harm = Harm(daemon)
    try:
        daemon.start()
        for case in cases:
            begun = time.monotonic()
            harm.suffer(case)
            tell(f"{case} {time.monotonic() - begun:.1f} s")
        end = time.monotonic() + 120
        while daemon.queued() and time.monotonic() < end:
            daemon.admin("queue", "retry", "--all")
            time.sleep(0.5)
        daemon.terminate()
    finally:
        daemon.stop()
        hop.stop()
    harm.outcome.lost, _ = lost(harm.outcome.accepted, new, sink)
    return harm.outcome


def chosen(words: Sequence[str]) -> list[Case]:
    """Give the cases that ``CALL`` or ``CALL:HARM`` name; all without any."""
    return [
        case
        for case in every_case()
        if not words or any(word in (case.call, f"{case.call}:{case.harm}") for word in words)
    ]


def main() -> None:
    """Run the cases of the command line and print the outcome."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("case", nargs="*", metavar="CALL[:HARM]")
    with tempfile.TemporaryDirectory(prefix="postroom-crash-") as folder:
        outcome = run(chosen(parser.parse_args().case), Path(folder), print)
    print(outcome)
    for line in [*outcome.wrong, *(f"lost: {each}" for each in outcome.lost)][:60]:
        print(line)
    raise SystemExit(bool(outcome.lost or outcome.wrong))


if __name__ == "__main__":
    main()
