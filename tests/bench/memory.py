"""How much memory the daemon takes: large messages on several connections, and idle ones.

    python -m tests.bench.memory                     # 4 x 50 MB; 5,000 idle connections
    python -m tests.bench.memory --idle 15000

The figures are of the resident set, read from the kernel. Before each measurement the daemon has
done that very work in small, so that what it does only once (imports, pools, caches) is not
counted.
"""

import argparse
import resource
import smtplib
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.daemon import Daemon, wait_until

RECIPIENT = "ann@local.test"
SETTINGS = """
[limits]
connections = 100000

"""
_LINE = b"x" * 76 + b"\r\n"
_CHUNK = _LINE * 1000


def make_daemon(folder: Path) -> Daemon:
    """Start a daemon that takes many connections from one place."""
    daemon = Daemon(folder, settings=SETTINGS)
    daemon.add_account(RECIPIENT, "correct-horse-battery")
    daemon.start()
    return daemon


def send(port: int, octets: int) -> None:
    """Send one message of at least so many octets, fast.

    Raises:
        RuntimeError: it was not accepted.
    """
    with socket.create_connection(("127.0.0.1", port), 120) as peer:
        replies = peer.makefile("rb")
        replies.readline()
        for line in (b"HELO load.test", b"MAIL FROM:<a@b.test>", b"RCPT TO:<%s>", b"DATA"):
            peer.sendall(line.replace(b"%s", RECIPIENT.encode()) + b"\r\n")
            replies.readline()
        peer.sendall(b"Subject: large\r\n\r\n")
        for _ in range(octets // len(_CHUNK) + 1):
            peer.sendall(_CHUNK)
        peer.sendall(b".\r\n")
        answer = replies.readline()
    if not answer.startswith(b"250"):
        raise RuntimeError(f"not accepted: {answer!r}")


def send_on_each(port: int, connections: int, octets: int) -> None:
    """Send one message on each of several connections at the same time."""
    with ThreadPoolExecutor(connections) as threads:
        list(threads.map(lambda _: send(port, octets), range(connections)))


def growth_by_large_messages(daemon: Daemon, connections: int, octets: int) -> int:
    """Give by how many octets the daemon grows at most while it takes large messages."""
    send_on_each(daemon.port, connections, 1_000_000)
    before = daemon.resident_octets()
    daemon.forget_peak()
    send_on_each(daemon.port, connections, octets)
    return daemon.peak_octets() - before


class IdleConnections:
    """Connections that have said EHLO and nothing since; closed at the end of the context."""

    def __init__(self, port: int, count: int) -> None:
        """Open them.

        Raises:
            RuntimeError: this process may not have so many, or the daemon does not take them.
        """
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < count + 200:
            if hard != resource.RLIM_INFINITY and hard < count + 200:
                raise RuntimeError(f"the limit on open files, {hard}, is too low for {count}")
            resource.setrlimit(resource.RLIMIT_NOFILE, (count + 200, hard))
        self._peers: list[socket.socket] = []
        for _ in range(count):
            peer = socket.create_connection(("127.0.0.1", port), 30)
            self._peers.append(peer)
            self._expect(peer, b"220 ")
            peer.sendall(b"EHLO idle.test\r\n")
            self._expect(peer, b"250-")

    def _expect(self, peer: socket.socket, code: bytes) -> None:
        answer = peer.recv(4096)
        if not answer.startswith(code):
            raise RuntimeError(f"connection {len(self._peers)} heard {answer!r}")

    def __enter__(self) -> "IdleConnections":
        """Give the connections, which are open already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all."""
        for peer in self._peers:
            peer.close()


def octets_for_each_idle(daemon: Daemon, count: int) -> float:
    """Give what an idle connection costs; new mail must get through beside them.

    Raises:
        RuntimeError: it did not.
    """
    with IdleConnections(daemon.port, 50):
        send(daemon.port, 1000)
    before = daemon.resident_octets()
    inbox = daemon.maildir(RECIPIENT) / "new"
    with IdleConnections(daemon.port, count):
        cost = (daemon.resident_octets() - before) / count
        had = sum(1 for _ in inbox.iterdir())
        with smtplib.SMTP("127.0.0.1", daemon.port, timeout=10) as smtp:
            smtp.sendmail("a@b.test", [RECIPIENT], b"Subject: still here\r\n\r\n")
        if not wait_until(lambda: sum(1 for _ in inbox.iterdir()) == had + 1, 5):
            raise RuntimeError("new mail did not get through")
    return cost


def main() -> None:
    """Measure at full length and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--octets", type=int, default=50_000_000)
    parser.add_argument("--idle", type=int, default=5000)
    options = parser.parse_args()
    for measure in ("large", "idle"):
        with tempfile.TemporaryDirectory(prefix="postroom-memory-") as folder:
            daemon = make_daemon(Path(folder))
            try:
                start = daemon.resident_octets() / 2**20
                if measure == "large":
                    growth = growth_by_large_messages(daemon, options.connections, options.octets)
                    what = f"{options.connections} x {options.octets} octets"
                    print(f"{what}: {growth / 2**20:.1f} MiB more, {start:.1f} MiB at start")
                else:
                    cost = octets_for_each_idle(daemon, options.idle)
                    print(f"{options.idle} idle connections: {cost / 1024:.2f} KiB each")
            finally:
                daemon.stop()


if __name__ == "__main__":
    main()
