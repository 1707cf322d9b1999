"""Mail servers of other projects, as next hops: each takes mail for anyone and keeps it in files.

All listen on a port of loopback, keep what they have in a directory or in memory, and have
`received`, which gives the messages so far, and `stop`.
"""

import grp
import os
import pwd
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session
from twisted.trial.unittest import SkipTest

from tests.daemon import ROOT, greets, wait_until
from tests.interop.clients import program
from tests.interop.mail import Folder

EXIM = ROOT / "build/exim/usr/sbin/exim4"


class Process:
    """A server in a process group of its own, that writes messages into a directory."""

    def __init__(self, command: Sequence[str | Path], port: int, inbox: Path, log: Path) -> None:
        """Start it and wait for its greeting.

        Raises:
            RuntimeError: it did not start; with what it said.
        """
        self.inbox = Folder(inbox)
        with log.open("ab") as output:
            self._process = process = subprocess.Popen(
                command, stdout=output, stderr=output, start_new_session=True
            )
        wait_until(lambda: process.poll() is not None or greets(port))
        if process.poll() is not None or not greets(port):
            self.stop()
            raise RuntimeError(f"{command[0]} did not start: {log.read_text(errors='replace')}")

    def received(self) -> list[bytes]:
        """Give the messages so far, trace fields on top; the newest may be there in part."""
        return [file for file in self.inbox.contents() if file]

    def stop(self) -> None:
        """Stop it and what it has started."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


class SmtpSink(Process):
    """Postfix's smtp-sink."""

    def __init__(self, port: int, folder: Path, *options: str) -> None:
        """Start it, with further options; as root it wants to be somebody else."""
        dump = folder / "dump"
        dump.mkdir()
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        dump.chmod(0o777)
        where = ["-d", f"{dump}/%M.", f"127.0.0.1:{port}", "100"]
        command = [program("smtp-sink"), *user, *options, *where]
        super().__init__(command, port, dump, folder / "sink.log")

    def received(self) -> list[bytes]:
        """Give the messages so far; it writes an empty line after each."""
        return [file.removesuffix(b"\n") for file in super().received()]


class Exim(Process):
    """Exim, unpacked into the build folder."""

    def __init__(self, port: int, folder: Path, more: str = "") -> None:
        """Start it, with more lines of configuration; they may end with ACLs.

        Raises:
            SkipTest: it is not there, or we are not root.
        """
        if not EXIM.exists() or os.geteuid() != 0:
            raise SkipTest("Exim wants root, and to be unpacked; see tests/interop/install")
        maildir = folder / "maildir"
        for name in ("spool", "log", "maildir"):
            (folder / name).mkdir()
            shutil.chown(folder / name, "Debian-exim")
        config = folder / "exim.conf"
        config.write_text(f"""
exim_path = {EXIM}
primary_hostname = exim.test
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/exim.pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
tls_advertise_hosts =
notifier_socket =
keep_environment =
acl_smtp_rcpt = accept
log_selector = +smtp_protocol_error +received_recipients
{more}
begin routers
all:
  driver = accept
  transport = maildir
begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = {maildir}
  user = Debian-exim
""")
        command = [EXIM, "-C", config, "-bdf", "-q1m"]
        self._folder = folder
        super().__init__(command, port, maildir / "new", folder / "exim.log")

    def log(self) -> bytes:
        """Give what it has logged of messages."""
        path = self._folder / "log" / "mainlog"
        return path.read_bytes() if path.exists() else b""


class Postfix(Process):
    """Postfix with a configuration of its own."""

    def __init__(self, port: int, folder: Path, more: str = "") -> None:
        """Start it, with some more settings than are needed to keep mail.

        Raises:
            SkipTest: it is not there, or we are not root.
        """
        postfix = program("postfix")
        if os.geteuid() != 0:
            raise SkipTest("Postfix wants root")
        config = folder / "conf"
        for name in ("conf", "queue", "data", "maildir"):
            (folder / name).mkdir()
        shutil.chown(folder / "data", "postfix")
        shutil.chown(folder / "maildir", "nobody", "nogroup")
        for name in ("postfix-files", "dynamicmaps.cf"):
            shutil.copy(f"/etc/postfix/{name}", config / name)
        (config / "main.cf").write_text(f"""
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
meta_directory = {config}
myhostname = postfix.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = static:all
virtual_mailbox_base = {folder}
virtual_mailbox_maps = static:maildir/
virtual_uid_maps = static:{pwd.getpwnam("nobody").pw_uid}
virtual_gid_maps = static:{grp.getgrnam("nogroup").gr_gid}
virtual_minimum_uid = 1
{more}
""")
        (config / "master.cf").write_text(postfix_services(port))
        subprocess.run([postfix, "-c", config, "check"], check=True, capture_output=True)
        command = ["/usr/lib/postfix/sbin/master", "-c", config, "-d"]
        super().__init__(command, port, folder / "maildir" / "new", folder / "postfix.log")

    @classmethod
    def relaying(cls, port: int, folder: Path, next_hop: int) -> "Postfix":
        """Start one that keeps nothing, and relays all to another port, saying for whom."""
        return cls(
            port,
            folder,
            f"""
virtual_mailbox_domains =
relayhost = [127.0.0.1]:{next_hop}
smtp_send_xforward_command = yes
smtp_tls_security_level = none
smtputf8_enable = yes
""",
        )


def postfix_services(port: int) -> str:
    """Give Postfix's list of services: as shipped, without chroot, on another port."""
    kept = []
    for line in Path("/etc/postfix/master.cf.proto").read_text().splitlines():
        words = line.split()
        if len(words) < 8 or not line[:1].isalnum() or words[7] == "pipe":
            continue
        if words[:2] == ["smtp", "inet"]:
            words[0] = f"127.0.0.1:{port}"
        words[4] = "n"
        kept.append(" ".join(words))
    return "\n".join(kept) + "\n"


class Aiosmtpd:
    """aiosmtpd, in a thread; it can be told to refuse.

    Attributes:
        messages: contents received.
        senders: of each message.
        recipients: of each message.
        sessions: of each message.
        answers: given to the next messages instead of taking them.
        refused: recipients, and what each is answered.
        attempts: how often each recipient was named.
    """

    def __init__(self, port: int, **options: Any) -> None:
        """Start it; options as of its controller."""
        self.messages: list[bytes] = []
        self.senders: list[str] = []
        self.recipients: list[list[str]] = []
        self.sessions: list[Session] = []
        self.answers: list[str] = []
        self.refused: dict[str, str] = {}
        self.attempts: Counter[str] = Counter()
        options = {"decode_data": False, "data_size_limit": 60_000_000, **options}
        self._controller = Controller(self, "127.0.0.1", port, **options)
        self._controller.start()

    async def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take a recipient, unless it is to be refused."""
        self.attempts[address] += 1
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        """Take a message, unless there is another answer for it."""
        if self.answers:
            return self.answers.pop(0)
        self.messages.append(envelope.original_content or b"")
        self.senders.append(envelope.mail_from or "")
        self.recipients.append(envelope.rcpt_tos)
        self.sessions.append(session)
        return "250 2.0.0 Ok"

    def received(self) -> list[bytes]:
        """Give the messages so far."""
        return list(self.messages)

    def stop(self) -> None:
        """Stop it."""
        if self._controller.loop.is_running():
            self._controller.stop()


def authenticator(user: bytes, password: bytes) -> Callable[..., AuthResult]:
    """Make aiosmtpd's check of a login."""

    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        right = isinstance(data, LoginPassword) and data == LoginPassword(user, password)
        return AuthResult(success=right, handled=False)

    return check
