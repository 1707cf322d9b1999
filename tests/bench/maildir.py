"""How fast mail gets into Maildirs, durably.

    PYTHONPATH=src python tests/bench/maildir.py [--orders] [--seconds 2]
        [--switch-interval 0.0001] [DIRECTORY]

Without options: the committer, with a number of sessions that each deliver a message of 4 KiB,
wait for it and deliver the next; then with a reactor thread that computes all the time, as a busy
server does; then large messages from a spool file. With ``--orders``: the orders of system calls
among which the committer's was chosen. Everything is synced; DIRECTORY has to be on a real disk.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

from twisted.internet import reactor

from postroom.delivery.batch import MaildirWrite
from postroom.delivery.committer import Committer
from postroom.delivery.maildir import message_key
from postroom.delivery.settings import DeliverySettings
from postroom.delivery.spool import FileContent, MemoryContent

HEAD = b"Return-Path: <sender@example.com>\r\n"
BODY = (b"Subject: bench\r\n\r\n" + b"x" * 62 + b"\r\n") + (b"x" * 62 + b"\r\n") * 62


class Run:
    """Sessions that deliver one message after the other for a number of seconds."""

    def __init__(self, root: str, sessions: int, maildirs: int, seconds: float) -> None:
        self.settings = DeliverySettings(hostname="bench.example")
        self.committer = Committer(reactor, self.settings)
        self.root, self.maildirs, self.seconds = root, maildirs, seconds
        self.sessions = self.running = sessions
        self.delivered = 0
        self.content = MemoryContent([BODY])

    def begin(self) -> None:
        self.until = time.perf_counter() + self.seconds
        self.started = time.perf_counter()
        self.cpu = time.process_time()
        self.own_cpu = time.thread_time()
        for _ in range(self.sessions):
            self.next()

    def next(self) -> None:
        if time.perf_counter() > self.until:
            self.running -= 1
            if not self.running:
                self.committer.stop().addCallback(self.end)
            return
        number = self.delivered
        write = MaildirWrite(
            f"{self.root}/{number % self.maildirs}",
            message_key(1_700_000_000, f"Q{number}", "bench@bench.example"),
            HEAD,
            self.content,
        )
        self.delivered += 1
        self.committer.deliver([write]).addCallback(self.stored)

    def stored(self, outcomes: Sequence[Exception | None]) -> None:
        if outcomes != [None]:
            raise SystemExit(f"delivery failed: {outcomes}")
        self.next()

    def end(self, _: object) -> None:
        seconds = time.perf_counter() - self.started
        cpu = time.process_time() - self.cpu
        own = time.thread_time() - self.own_cpu
        print(
            f"{self.sessions:4} sessions, {self.maildirs:4} Maildirs:"
            f" {self.delivered / seconds:7,.0f} messages/s,"
            f" {cpu / self.delivered * 1e6:5.0f} us CPU each"
            f" ({own / self.delivered * 1e6:.0f} us in the reactor's thread)"
        )
        reactor.crash()


def reactor_runs(run: Run) -> None:
    reactor.callWhenRunning(run.begin)
    reactor.run(installSignalHandlers=False)


def compute() -> None:
    """A turn of a busy reactor: some 300 us of pure Python, then a system call."""
    sum(range(15_000))
    reactor.callLater(0, compute)


def large(root: str) -> None:
    """One message of 10 MB after the other, from a spool file."""
    committer = Committer(reactor, DeliverySettings(hostname="bench.example"))
    descriptor = os.open(root, os.O_RDWR | os.O_TMPFILE, 0o600)
    size = os.pwrite(descriptor, (b"x" * 62 + b"\r\n") * 156_250, 0)
    content = FileContent(descriptor, size)
    started = time.perf_counter()
    left = 20

    def deliver(_: object = None) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            seconds = time.perf_counter() - started
            print(f"10 MB from a spool file: {20 * size / seconds / 1e6:,.0f} MB/s")
            committer.stop().addCallback(lambda _: reactor.crash())
            return
        key = message_key(1_700_000_000, f"L{left}", "bench@bench.example")
        committer.deliver([MaildirWrite(f"{root}/large", key, HEAD, content)]).addCallback(deliver)

    reactor.callWhenRunning(deliver)
    reactor.run(installSignalHandlers=False)
    os.close(descriptor)


# The orders of calls. Each takes descriptors of tmp/ and new/ and the names of a batch.

Order = Callable[[int, int, Sequence[str]], None]
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def create(tmp: int, names: Sequence[str]) -> list[int]:
    descriptors = []
    for name in names:
        descriptors.append(os.open(name, CREATE, 0o600, dir_fd=tmp))
        os.write(descriptors[-1], BODY)
    return descriptors


def start_write_back(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def sync(descriptors: Sequence[int], how: Callable[[int], None]) -> None:
    for descriptor in descriptors:
        how(descriptor)
        os.close(descriptor)


def rename(tmp: int, new: int, names: Sequence[str]) -> None:
    for name in names:
        os.rename(name, name, src_dir_fd=tmp, dst_dir_fd=new)
    os.fsync(new)


def one_by_one(tmp: int, new: int, names: Sequence[str]) -> None:
    for name in names:
        sync(create(tmp, [name]), os.fsync)
    rename(tmp, new, names)


def together(tmp: int, new: int, names: Sequence[str]) -> None:
    sync(create(tmp, names), os.fsync)
    rename(tmp, new, names)


def written_back(tmp: int, new: int, names: Sequence[str]) -> None:
    descriptors = create(tmp, names)
    start_write_back(descriptors)
    sync(descriptors, os.fsync)
    rename(tmp, new, names)


def written_back_fdatasync(tmp: int, new: int, names: Sequence[str]) -> None:
    descriptors = create(tmp, names)
    start_write_back(descriptors)
    sync(descriptors, os.fdatasync)
    rename(tmp, new, names)


def written_back_link(tmp: int, new: int, names: Sequence[str]) -> None:
    descriptors = create(tmp, names)
    start_write_back(descriptors)
    sync(descriptors, os.fsync)
    for name in names:
        os.link(name, name, src_dir_fd=tmp, dst_dir_fd=new)
    os.fsync(new)
    for name in names:
        os.unlink(name, dir_fd=tmp)


def unnamed(_: int, new: int, names: Sequence[str]) -> None:
    descriptors = []
    for _name in names:
        descriptors.append(os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o600, dir_fd=new))
        os.write(descriptors[-1], BODY)
    start_write_back(descriptors)
    for descriptor in descriptors:
        os.fsync(descriptor)
    for descriptor, name in zip(descriptors, names, strict=True):
        os.link(f"/proc/self/fd/{descriptor}", name, dst_dir_fd=new, follow_symlinks=True)
        os.close(descriptor)
    os.fsync(new)


ORDERS: tuple[Order, ...] = (
    one_by_one,
    together,
    written_back,
    written_back_fdatasync,
    written_back_link,
    unnamed,
)
BATCHES = (1, 5, 10, 20, 50)


def measure(order: Order, root: str, batch: int, seconds: float) -> float:
    path = tempfile.mkdtemp(dir=root)
    tmp, new = (os.open(_made(f"{path}/{name}"), os.O_RDONLY) for name in ("tmp", "new"))
    done, started = 0, time.perf_counter()
    while time.perf_counter() < started + seconds:
        order(tmp, new, [f"1700000000.{done + i}.bench,S={len(BODY)}" for i in range(batch)])
        done += batch
    rate = done / (time.perf_counter() - started)
    os.close(tmp)
    os.close(new)
    shutil.rmtree(path)
    return rate


def _made(path: str) -> str:
    os.mkdir(path)
    return path


def orders(root: str, seconds: float) -> None:
    """All orders, in two rounds, for the disk's mood changes."""
    print("messages/s in batches of  " + "".join(f"{batch:8}" for batch in BATCHES))
    for order in ORDERS * 2:
        rates = [measure(order, root, batch, seconds) for batch in BATCHES]
        print(f"{order.__name__:26}" + "".join(f"{rate:8,.0f}" for rate in rates), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--orders", action="store_true", help="compare orders of system calls")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure")
    parser.add_argument("--switch-interval", type=float, help="sys.setswitchinterval, in seconds")
    parser.add_argument("directory", nargs="?", default=".", help="on the disk to measure")
    options = parser.parse_args()
    if options.switch_interval is not None:
        sys.setswitchinterval(options.switch_interval)
    root = tempfile.mkdtemp(prefix="maildir-bench-", dir=options.directory)
    try:
        if options.orders:
            orders(root, options.seconds)
            return
        for sessions, maildirs in ((1, 1), (5, 1), (20, 1), (50, 1), (50, 50), (50, 1000)):
            reactor_runs(Run(root, sessions, maildirs, options.seconds))
        print("with a busy reactor:")
        compute()
        for sessions in (20, 50):
            reactor_runs(Run(root, sessions, 1, options.seconds))
        large(root)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    sys.exit(main())
