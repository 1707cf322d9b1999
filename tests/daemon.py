"""A real daemon in a process of its own, for tests that talk to it, measure it or kill it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner

from postroom.cli.main import cli
from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
# The checkout's own code and plugin, whatever directory a command runs in.
ENVIRONMENT = {
    **os.environ,
    "PYTHONUNBUFFERED": "1",
    "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
}
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
LISTENERS = {
    "lmtp": "lmtp=tcp:{}:interface=127.0.0.1",
    "mx": "mx=tcp:{}:interface=127.0.0.1",
    "submission": "submission=tcp:{}:interface=127.0.0.1",
    "mx-tls": "mx=ssl:{}:interface=127.0.0.1",
    "submission-tls": "submission=ssl:{}:interface=127.0.0.1",
}


def wait_until(condition: Callable[[], object], seconds: float = 30) -> bool:
    """Wait for a condition; tell whether it came true."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def greets(port: int) -> bool:
    """Tell whether an SMTP server answers on a port of loopback."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as probe:
            probe.settimeout(5)
            return probe.recv(4) in (b"220 ", b"220-")
    except OSError:
        return False


class Daemon:
    """``twistd -n smtp`` on one state directory, started as often as one likes.

    Attributes:
        ports: where each of its listeners, named as in `LISTENERS`, is bound.
        state: the state directory.
        process: what runs, or ran last.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        listeners: tuple[str, ...] = ("mx",),
        settings: str = "",
        twistd: tuple[str, ...] = (),
        port: int | None = None,
        path: Path | None = None,
    ) -> None:
        """Choose ports; nothing runs yet.

        Args:
            folder: exists; takes state directory, settings file and log.
            options: of ``twistd smtp``, besides those for state and listeners.
            listeners: names from `LISTENERS`.
            settings: TOML, given with ``--config``.
            twistd: options of twistd itself.
            port: of the mx listener, if it may not be any.
            path: where Python finds more, plugins for instance.
        """
        self.folder = folder
        self.state = folder / "state"
        self.ports = {name: free_port() for name in listeners}
        if port is not None:
            self.ports["mx"] = port
        self.options = ["--state-dir", str(self.state), *options]
        for name, port in self.ports.items():
            self.options += ["--listen", LISTENERS[name].format(port)]
        if settings:
            (folder / "postroom.toml").write_text(settings)
            self.options += ["--config", str(folder / "postroom.toml")]
        self.twistd = twistd
        self._environment = dict(ENVIRONMENT)
        if path is not None:
            self._environment["PYTHONPATH"] += f":{path}"
        self.process: subprocess.Popen[bytes] | None = None
        self._maildirs: dict[str, Path] = {}

    @property
    def port(self) -> int:
        """The port of the mx listener."""
        return self.ports["mx"]

    def start(self) -> None:
        """Start it and wait for its greeting."""
        command = [*TWISTD, "-n", "--pidfile=", *self.twistd, "smtp", *self.options]
        with (self.folder / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        process = self.process
        wait_until(lambda: greets(self.port) or process.poll() is not None)
        if process.poll() is not None or not greets(self.port):
            raise RuntimeError(f"the daemon did not start:\n{self.log()[-2000:]}")

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

    def stop(self) -> None:
        """Stop it if it runs; kill it if it does not obey."""
        if self.process is None or self.process.poll() is not None:
            return
        try:
            self.terminate()
        except subprocess.TimeoutExpired:
            self.kill()

    def log(self) -> str:
        """Give what it has printed so far."""
        return (self.folder / "daemon.log").read_text(errors="replace")

    def resident_octets(self) -> int:
        """Give how much memory the process has in use now."""
        return self._memory("VmRSS")

    def forget_peak(self) -> None:
        """Let `peak_octets` count from now on."""
        assert self.process is not None
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")  # proc(5)

    def peak_octets(self) -> int:
        """Give the most memory that the process had in use."""
        return self._memory("VmHWM")

    def _memory(self, field: str) -> int:
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"the kernel does not tell {field}")

    def admin(self, *words: str, stdin: str = "") -> str:
        """Run the admin command on the same state directory; in this process, which is faster."""
        done = CliRunner().invoke(cli, ["--state-dir", str(self.state), *words], input=stdin)
        if done.exit_code:
            raise RuntimeError(f"{' '.join(words)}: {done.output}") from done.exception
        return done.stdout

    def add_account(self, address: str, password: str) -> None:
        """Make an account, and its domain if that is new."""
        domain = address.partition("@")[2]
        if f'"{domain}"' not in self.admin("domain", "list", "--json"):
            self.admin("domain", "add", domain)
        self.admin("account", "add", address, "--password-stdin", stdin=f"{password}\n")

    def queued(self) -> int:
        """Count the messages in the queue."""
        listing = json.loads(self.admin("queue", "list", "--json"))
        return len(listing["messages"] if isinstance(listing, dict) else listing)

    def maildir(self, address: str) -> Path:
        """Give an account's Maildir."""
        if address not in self._maildirs:
            self._maildirs[address] = Path(self.admin("mailbox", "path", address).strip())
        return self._maildirs[address]
