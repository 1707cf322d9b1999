"""The servers that are compared: how each is started for each job.

A job is ``discard`` (accept and drop), ``maildir`` (accept and deliver, synced) or ``relay``
(accept, queue durably, relay to smtp-sink). Everything listens on 127.0.0.1.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

RECIPIENT = "rcpt@bench.test"
SENDER = "from@load.test"
SBIN = Path("/usr/sbin")


class Peer:
    """A server under measurement, in an empty directory of its own."""

    jobs: tuple[str, ...] = ("discard", "maildir", "relay")

    def __init__(self, job: str, port: int, sink_port: int, state: Path) -> None:
        self.job, self.port, self.sink_port, self.state = job, port, sink_port, state
        require_free(port)
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir(parents=True)
        state.chmod(0o755)
        self.process = self.start()
        wait_for_banner(port, self.process)

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the server in the foreground."""
        raise NotImplementedError

    def new_directory(self) -> Path:
        """Give the directory in which delivered messages appear."""
        raise NotImplementedError

    def delivered(self) -> int:
        """Count the messages delivered so far."""
        try:
            with os.scandir(self.new_directory()) as entries:
                return sum(1 for _ in entries)
        except FileNotFoundError:
            return 0

    def cpu_seconds(self) -> float:
        """Give the processor time that the server's processes have used so far."""
        ticks = os.sysconf("SC_CLK_TCK")
        return sum(_cpu_ticks(pid) for pid in process_tree(self.process.pid)) / ticks

    def stop(self) -> None:
        """Stop the server and whatever it left running, by process id."""
        tree = process_tree(self.process.pid)
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in tree:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, 9)
        wait_until(lambda: not listening(self.port), 10)

    def log(self) -> "subprocess._FILE":
        """Open the file that takes the server's output."""
        return (self.state / "out.log").open("ab")


class Postroom(Peer):
    """This project's daemon: one process, settings as shipped."""

    def start(self) -> "subprocess.Popen[bytes]":
        self.home = self.state / "postroom"
        options = ["--hostname", "mx.bench.test", "--max-message-size", "60000000"]
        options += ["--listen", f"mx=tcp:{self.port}:interface=127.0.0.1:backlog=511"]
        if self.job == "relay":
            options += ["--relay-host", f"smtp://127.0.0.1:{self.sink_port}"]
            options += ["--relay-network", "127.0.0.0/8"]
        else:
            self._admin("domain", "add", "bench.test")
        if self.job == "discard":
            self._admin("alias", "add", RECIPIENT, "discard:")
        if self.job == "maildir":
            self._admin("account", "add", RECIPIENT, "--password-stdin", stdin=b"secret-1234\n")
        command = [_tool("twistd"), "-n", "--pidfile=", "smtp", "--state-dir", str(self.home)]
        return subprocess.Popen(
            [*command, *options], cwd=self.state, stdout=self.log(), stderr=subprocess.STDOUT
        )

    def new_directory(self) -> Path:
        if not hasattr(self, "_new"):
            self._new = Path(self._admin("mailbox", "path", RECIPIENT).strip()) / "new"
        return self._new

    def _admin(self, *words: str, stdin: bytes = b"") -> str:
        command = [_tool("postroom"), "--state-dir", str(self.home), *words]
        return subprocess.run(command, input=stdin, check=True, capture_output=True).stdout.decode()


class Postfix(Peer):
    """Postfix as shipped, without chroot, its queue and log in the state directory."""

    extra = ""
    discard = "virtual_mailbox_domains = bench.test\nvirtual_transport = discard\n"

    def start(self) -> "subprocess.Popen[bytes]":
        conf = self.state / "conf"
        for name in ("conf", "queue", "data", "maildir"):
            (self.state / name).mkdir()
        shutil.chown(self.state / "data", "postfix")
        shutil.chown(self.state / "maildir", "nobody")
        self._write_master(conf)
        for name in ("postfix-files", "dynamicmaps.cf"):
            shutil.copy(f"/etc/postfix/{name}", conf / name)
        (conf / "main.cf").write_text(self._main(conf))
        subprocess.run([SBIN / "postfix", "-c", conf, "check"], check=True, capture_output=True)
        return subprocess.Popen(
            ["/usr/lib/postfix/sbin/master", "-c", str(conf), "-d"],
            stdout=self.log(),
            stderr=subprocess.STDOUT,
        )

    def _write_master(self, conf: Path) -> None:
        lines, skip = [], False
        for line in Path("/etc/postfix/master.cf.proto").read_text().splitlines():
            words = line.split()
            skip = (skip and line[:1] == " ") or words[:1] in (
                [["maildrop"], ["uucp"], ["ifmail"], ["bsmtp"], ["scalemail-backend"], ["mailman"]]
            )
            if skip or not words or line.startswith("#"):
                continue
            if words[:2] == ["smtp", "inet"]:
                words[0] = f"127.0.0.1:{self.port}"
            if len(words) >= 8 and line[:1] != " ":
                words[4] = "n"
            lines.append((" " if line[:1] == " " else "") + " ".join(words))
        (conf / "master.cf").write_text("\n".join(lines) + "\n")

    def _main(self, conf: Path) -> str:
        import grp
        import pwd

        state = self.state
        text = f"""compatibility_level = 3.6
queue_directory = {state}/queue
data_directory = {state}/data
maillog_file = {state}/mail.log
maillog_file_prefixes = {state}
meta_directory = {conf}
myhostname = mx.bench.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
message_size_limit = 60000000
virtual_mailbox_limit = 0
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = [127.0.0.1]:{self.sink_port}
{self.extra}"""
        if self.job == "discard":
            text += self.discard
        if self.job == "maildir":
            uid, gid = pwd.getpwnam("nobody").pw_uid, grp.getgrnam("nogroup").gr_gid
            text += f"""virtual_mailbox_domains = bench.test
virtual_mailbox_base = {state}
virtual_mailbox_maps = static:maildir/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
"""
        return text

    def new_directory(self) -> Path:
        return self.state / "maildir" / "new"


class PostfixTuned(Postfix):
    """Postfix with the limits lifted that a benchmark would otherwise measure."""

    extra = """in_flow_delay = 0
initial_destination_concurrency = 20
default_destination_concurrency_limit = 100
virtual_destination_concurrency_limit = 100
smtpd_client_event_limit_exceptions = static:all
smtpd_peername_lookup = no
"""
    discard = Postfix.discard + (
        "smtpd_recipient_restrictions = check_recipient_access static:discard, permit\n"
    )


class Aiosmtpd(Peer):
    """aiosmtpd with its own handlers: no queue, so no relay, and nothing is synced."""

    jobs = ("discard", "maildir")

    def start(self) -> "subprocess.Popen[bytes]":
        handler = ["aiosmtpd.handlers.Sink"]
        if self.job == "maildir":
            handler = ["aiosmtpd.handlers.Mailbox", str(self.state / "maildir")]
        command = [sys.executable, "-m", "aiosmtpd", "-n", "-l", f"127.0.0.1:{self.port}"]
        return subprocess.Popen(
            [*command, "-c", *handler], stdout=self.log(), stderr=subprocess.STDOUT
        )

    def new_directory(self) -> Path:
        return self.state / "maildir" / "new"


PEERS: dict[str, type[Peer]] = {
    "postroom": Postroom,
    "postfix": Postfix,
    "postfix-tuned": PostfixTuned,
    "aiosmtpd": Aiosmtpd,
}


class Sink:
    """smtp-sink, the next hop of the relay job; it counts on its standard output."""

    def __init__(self, port: int, log: Path) -> None:
        require_free(port)
        self.log = log
        command = [SBIN / "smtp-sink", "-c", "-u", "nobody", "-m", "1000"]
        self.process = subprocess.Popen(
            [*command, f"127.0.0.1:{port}", "1024"], stdout=log.open("wb"), stderr=subprocess.STDOUT
        )
        wait_for_banner(port, self.process)

    def count(self) -> int:
        """Count the messages received so far."""
        with self.log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 200))
            tail = file.read().decode("ascii", "replace")
        for part in reversed(tail.split("\r")):
            fields = dict(word.split("=", 1) for word in part.split() if "=" in word)
            if len(fields) >= 3 and "mesg" in fields:
                return int(fields["mesg"])
        return 0

    def stop(self) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait()


def _tool(name: str) -> str:
    """Give a command that is installed beside the interpreter that runs this."""
    return str(Path(sys.executable).parent / name)


def process_tree(pid: int) -> list[int]:
    """Give a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    tree, todo = [], [pid]
    while todo:
        tree.append(todo.pop())
        todo += children.get(tree[-1], [])
    return tree


def _cpu_ticks(pid: int) -> int:
    """Processor time of a process, its ended children's included."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return sum(int(field) for field in fields[11:15])


def listening(port: int) -> bool:
    """Tell whether something accepts connections on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def require_free(port: int) -> None:
    """Refuse to measure whatever a run before left on a port."""
    if listening(port):
        raise RuntimeError(f"something listens on port {port} already")


def wait_for_banner(port: int, process: "subprocess.Popen[bytes]", seconds: float = 30) -> None:
    """Wait until a server greets."""

    def greets() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as probe:
                probe.settimeout(5)
                return probe.recv(4) == b"220 "
        except OSError:
            return False

    if not wait_until(greets, seconds):
        raise RuntimeError(f"no greeting on port {port}")


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition; tell whether it came true."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
