"""Servers and clients of other projects use extensions on us: chunks, UTF-8, DSN, proxies."""

import os
import re
import shutil
import smtplib
import subprocess
from email.message import EmailMessage
from functools import cache
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, TestCase

from tests.daemon import Daemon, free_port, wait_until
from tests.interop import clients
from tests.interop.certificates import make_certificates
from tests.interop.clients import Route, program
from tests.interop.fixtures import new_folder, stopped_at_exit
from tests.interop.mail import HARD, PLAIN, Inbox, delivered, lines
from tests.interop.peers import EXIM, Postfix

ANN, PASSWORD = "ann@local.test", "correct-horse-battery"
_SETTINGS = """
[session]
prdr = true
xclient_networks = ["127.0.0.0/8"]
xforward_networks = ["127.0.0.0/8"]
[auth]
clear_text_networks = ["127.0.0.0/8"]
"""


@cache
def _server() -> tuple[Daemon, Path]:
    """Start the daemon that all tests here use; give it and the authority's certificate."""
    folder = new_folder("extensions")
    certificates = make_certificates(folder)
    daemon = Daemon(
        folder, *certificates.options, listeners=("mx", "submission", "lmtp"), settings=_SETTINGS
    )
    daemon.add_account(ANN, PASSWORD)
    daemon.admin("domain", "catch-all", "local.test", ANN)
    daemon.admin("domain", "add", "strict.test")
    stopped_at_exit(daemon).start()
    return daemon, certificates.authority


class _DaemonTests(TestCase):
    """What all tests here begin with."""

    timeout = 120

    def setUp(self) -> None:
        self.daemon, self.authority = _server()
        self.inbox = Inbox(self.daemon.maildir(ANN) / "new")
        self._logged = len(self.daemon.log())

    def tearDown(self) -> None:
        self.assertNotIn("Traceback", self.daemon.log())

    def new_log(self) -> str:
        return self.daemon.log()[self._logged :]


class EximTests(_DaemonTests):
    """Exim sends in chunks, and asks for a reply for each recipient."""

    def send(self, content: bytes, *recipients: str, tls: bool = False) -> str:
        """Send a message with Exim; gives its log."""
        if not EXIM.exists() or os.geteuid() != 0:
            raise SkipTest("Exim wants root, and to be unpacked; see tests/interop/install")
        folder = new_folder("exim")
        for name in ("spool", "log"):
            (folder / name).mkdir()
            shutil.chown(folder / name, "Debian-exim")
        config = folder / "exim.conf"
        config.write_text(f"""
exim_path = {EXIM}
primary_hostname = exim.test
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
notifier_socket =
keep_environment =
begin routers
all:
  driver = manualroute
  route_list = * 127.0.0.1 byname
  self = send
  transport = remote
begin transports
remote:
  driver = smtp
  port = {self.daemon.port}
  allow_localhost
  hosts_avoid_tls = {"" if tls else "*"}
  hosts_require_tls = {"*" if tls else ""}
  tls_verify_certificates = {self.authority}
  tls_verify_cert_hostnames =
  hosts_try_chunking = *
  hosts_try_prdr = *
""")
        command = [str(EXIM), "-C", str(config), "-odf", "-oi", "-f", "sender@remote.test"]
        command += recipients
        done = subprocess.run(command, input=lines(content), capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return (folder / "log/mainlog").read_text()

    def test_content_in_chunks_arrives_as_it_is(self) -> None:
        for name in ("dots", "blanks", "big", "eight_bit"):
            log = self.send(HARD[name], ANN)
            self.assertRegex(log, r"=> ann@local\.test .* K ")  # which says that it used BDAT
            (file,) = self.inbox.arrived()
            self.assertEqual(delivered(file).partition(b"\r\n\r\n")[2], _body(HARD[name]))

    def test_under_tls(self) -> None:
        for name in ("dots", "big"):
            log = self.send(HARD[name], ANN, "anyone@local.test", tls=True)
            self.assertRegex(log, r"=> ann@local\.test .* X=TLS.* K ")
            (file,) = self.inbox.arrived()
            self.assertEqual(_body(delivered(file)), _body(HARD[name]))

    def test_each_recipient_has_a_reply(self) -> None:
        log = self.send(PLAIN, ANN, "anyone@local.test")
        self.assertEqual(len(re.findall(r"[=-]> \S+@local\.test .* PRDR ", log)), 2, log)
        self.assertEqual(len(self.inbox.arrived()), 1)


def _body(content: bytes) -> bytes:
    return content.partition(b"\r\n\r\n")[2]


class PostfixTests(_DaemonTests):
    """Postfix relays to us what it was given with SMTPUTF8 and DSN, and says for whom."""

    def test_utf8_dsn_and_xforward(self) -> None:
        port = free_port()
        folder = new_folder("postfix")
        relayed = Postfix.relaying(port, folder, self.daemon.port)
        self.addCleanup(relayed.stop)
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as smtp:
            smtp.ehlo("client.test")
            smtp.mail(
                "sénder@remote.test", ["SMTPUTF8", "BODY=8BITMIME", "RET=HDRS", "ENVID=a+2Bb"]
            )
            for recipient in (ANN, "jürgen@local.test"):
                code, said = smtp.rcpt(recipient, ["NOTIFY=SUCCESS", "ORCPT=rfc822;a+2Bb@c.test"])
                self.assertEqual(code, 250, said)
            code, said = smtp.data(HARD["eight_bit"])
            self.assertEqual(code, 250, said)
        (file,) = self.inbox.wait(1)
        self.assertEqual(_body(delivered(file)), _body(HARD["eight_bit"]))
        self.assertIn("Return-Path: <sénder@remote.test>".encode(), file)
        forwarded = re.compile(r"forwarded=.*helo=client\.test")
        wait_until(lambda: forwarded.search(self.new_log()))
        self.assertRegex(self.new_log(), forwarded)


class SwaksTests(_DaemonTests):
    """swaks speaks for others, and hangs up wherever it is told to."""

    def swaks(self, *more: str, fails: bool = False) -> str:
        command = [program("swaks"), "--server", f"127.0.0.1:{self.daemon.port}"]
        command += ["--from", "sender@remote.test", "--to", ANN, "--ehlo", "client.test", *more]
        done = subprocess.run(command, input=b"", capture_output=True, timeout=60)
        said = done.stdout.decode(errors="replace")
        if not fails:
            self.assertEqual(done.returncode, 0, said)
        return said

    def test_xclient_makes_the_session_somebody_elses(self) -> None:
        said = self.swaks("--xclient-addr", "198.51.100.7", "--xclient-name", "client.test")
        self.assertIn("-> XCLIENT ", said)
        self.assertIn("<-  220 ", said)
        (file,) = self.inbox.arrived()
        self.assertIn(b"[198.51.100.7]", file)

    def test_xclient_gives_no_rights_that_the_client_has_not(self) -> None:
        xclient = ("--xclient-addr", "198.51.100.7", "--to", "bob@elsewhere.test")
        self.assertIn("550 5.7.1", self.swaks(*xclient, fails=True))

    def test_it_may_hang_up_after_any_step(self) -> None:
        for when in ("--drop-after", "--drop-after-send"):
            for step in ("CONNECT", "FIRST-HELO", "MAIL", "RCPT", "DATA", "DOT", "QUIT"):
                if (when, step) != ("--drop-after-send", "CONNECT"):
                    self.swaks(when, step, fails=True)
            for step in ("TLS", "HELO"):
                self.swaks(when, step, "--tls", fails=True)
            self.swaks(when, "XCLIENT", "--xclient-addr", "198.51.100.7", fails=True)
        before = len(self.inbox.arrived())
        self.assertLessEqual(before, 5)  # those whose end of content had come
        self.swaks()
        self.assertEqual(len(self.inbox.wait(1)), 1)

    def test_lmtp(self) -> None:
        lmtp = f"127.0.0.1:{self.daemon.ports['lmtp']}"
        recipients = f"{ANN},other@local.test"
        said = self.swaks("--server", lmtp, "--protocol", "LMTP", "--to", recipients)
        self.assertEqual(said.count("<-  250 2.0.0"), 2, said)
        self.assertIn(b"with LMTP id", self.inbox.arrived()[0])


class NodemailerTests(_DaemonTests):
    """nodemailer asks for reports, and writes to addresses beyond ASCII."""

    def send(self, recipients: list[str], **more: Any) -> None:
        login = clients.Login("PLAIN", ANN, PASSWORD)
        route = Route(self.daemon.ports["submission"], "starttls", login, self.authority)
        clients.send_with_nodemailer(route, recipients, PLAIN, **more)

    def test_dsn(self) -> None:
        self.send(
            [ANN],
            dsn={"id": "id+1", "return": "headers", "notify": ["failure", "delay"]},
        )
        self.assertEqual([delivered(each) for each in self.inbox.wait(1)], [PLAIN])

    def test_a_recipient_beyond_ascii(self) -> None:
        self.send(["jürgen@local.test"])
        self.assertEqual([delivered(each) for each in self.inbox.wait(1)], [PLAIN])


class SmtplibTests(_DaemonTests):
    """The standard library sends messages with headers in UTF-8."""

    def test_smtputf8(self) -> None:
        message = EmailMessage()
        message["From"] = "sénder@remote.test"
        message["To"] = "jürgen@local.test"
        message["Subject"] = "Grüße"
        message.set_content("Hallo\n")
        with smtplib.SMTP("127.0.0.1", self.daemon.port, timeout=30) as smtp:
            smtp.send_message(message)
        (file,) = self.inbox.wait(1)
        self.assertIn("Subject: Grüße".encode(), file)
        self.assertIn(b"with UTF8SMTP id", file)
