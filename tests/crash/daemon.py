"""A real daemon in a process of its own, for tests that kill it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PLAIN = {**os.environ, "PYTHONUNBUFFERED": "1"}


def tool(name: str) -> str:
    """Give a command that is installed beside the interpreter that runs the tests."""
    return str(Path(sys.executable).parent / name)


def free_port() -> int:
    """Give a port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Daemon:
    """``twistd -n smtp`` on one state directory, started as often as one likes."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.port = free_port()
        listen = f"mx=tcp:{self.port}:interface=127.0.0.1"
        self.options = ["--state-dir", str(self.state), "--listen", listen, *options]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait for its greeting."""
        command = [tool("twistd"), "-n", "--pidfile=", "smtp", *self.options]
        with (self.folder / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=PLAIN, stdout=log, stderr=subprocess.STDOUT
            )
        end = time.monotonic() + 30
        while not self._greets():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the daemon did not start:\n{self.log()[-2000:]}")
            time.sleep(0.02)

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.settimeout(5)
                return probe.recv(4) == b"220 "
        except OSError:
            return False

    def kill(self) -> None:
        """Kill it with SIGKILL: nothing of it gets to say anything."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self) -> int:
        """Stop it with SIGTERM; give its exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)

    def log(self) -> str:
        """Give what it has printed so far."""
        return (self.folder / "daemon.log").read_text(errors="replace")

    def admin(self, *words: str, stdin: str = "") -> str:
        """Run the admin command on the same state directory."""
        command = [tool("postroom"), "--state-dir", str(self.state), *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=PLAIN)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
        return done.stdout

    def queued(self) -> int:
        """Count the messages in the queue."""
        listing = json.loads(self.admin("queue", "list", "--json"))
        return len(listing["messages"] if isinstance(listing, dict) else listing)

    def maildir(self, address: str) -> Path:
        """Give an account's Maildir."""
        return Path(self.admin("mailbox", "path", address).strip())
