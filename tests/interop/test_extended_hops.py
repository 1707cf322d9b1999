"""Extensions with servers of other projects as next hops: what is offered, and what is not."""

import email
import json
import re
import smtplib
import ssl
from collections.abc import Sequence
from functools import cache, partial

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon, free_port, wait_until
from tests.interop.certificates import Certificates, make_certificates
from tests.interop.fixtures import new_folder, stopped_at_exit
from tests.interop.lmtp import DovecotLMTP
from tests.interop.mail import HARD, PLAIN, Folder, Inbox, delivered, lines, message
from tests.interop.peers import Exim, Postfix, SmtpSink

ANN, PASSWORD = "ann@local.test", "correct-horse-battery"
_HOPS = ("sink.test", "exim.test", "postfix.test", "postroom.test")
_ports = {domain: free_port() for domain in _HOPS}
_EXIM = """
chunking_advertise_hosts = *
prdr_enable = true
dsn_advertise_hosts = *
acl_smtp_data_prdr = prdr
begin acl
prdr:
  deny condition = ${if eq{$local_part}{picky}}
       message = not this one
  accept
"""
_BINARY = "[session]\nbinarymime = true\n"


@cache
def _certificates() -> Certificates:
    return make_certificates(new_folder("extended-tls"))


@cache
def _dovecot() -> DovecotLMTP:
    dovecot = DovecotLMTP(["bob", "eve"], new_folder("lmtp"))
    stopped_at_exit(dovecot)
    return dovecot


@cache
def _relay() -> Daemon:
    """Start the daemon that relays in all tests here."""
    routes = {domain: f"smtp://127.0.0.1:{port}" for domain, port in _ports.items()}
    routes |= {
        "tcp.test": f"lmtp://127.0.0.1:{_dovecot().port}",
        "unix.test": f"lmtp+unix:{_dovecot().socket}",
    }
    table = "\n".join(f'"{domain}" = "{hop}"' for domain, hop in routes.items())
    daemon = Daemon(
        new_folder("extended"),
        *("--hostname", "relay.test", "--relay-network", "127.0.0.0/8"),
        *_certificates().options,
        listeners=("mx", "submission"),
        settings=f"[routes]\n{table}\n[retry]\nfirst_seconds = 1\njitter = 0\n{_BINARY}",
    )
    daemon.add_account(ANN, PASSWORD)
    stopped_at_exit(daemon).start()
    return daemon


class _Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.relay = _relay()
        self.inbox = Inbox(self.relay.maildir(ANN) / "new")

    def tearDown(self) -> None:
        self.assertNotIn("Traceback", self.relay.log())

    def submit(
        self,
        content: bytes,
        *recipients: str,
        sender: str = ANN,
        mail: Sequence[str] = (),
        rcpt: Sequence[str] = (),
    ) -> None:
        """Hand a message to the relay, with parameters."""
        with smtplib.SMTP("127.0.0.1", self.relay.port, timeout=30) as smtp:
            smtp.ehlo("client.test")
            if "SMTPUTF8" in mail:
                smtp.command_encoding = "utf-8"
            self.assertEqual(smtp.mail(sender, mail)[0], 250)
            for recipient in recipients:
                code, text = smtp.rcpt(recipient, rcpt)
                self.assertEqual(code, 250, text)
            code, text = smtp.data(content)
            self.assertEqual(code, 250, text)

    def arrive(self, received: object, *contents: bytes) -> None:
        """Wait until a hop has these messages and no others."""
        wanted = sorted(lines(content) for content in contents)

        def there() -> bool:
            return sorted(lines(delivered(each)) for each in received()) == wanted  # type: ignore[operator]

        self.assertTrue(wait_until(there))

    def report(self) -> list[tuple[str, str, str]]:
        """Wait for a report; gives recipient, action and status of each group."""
        (octets,) = self.inbox.wait()
        self.text = octets.decode("utf-8")
        found = email.message_from_bytes(octets)
        self.assertEqual(found.get_content_type(), "multipart/report")
        fields = "Final-Recipient: (.*)\nAction: (.*)\nStatus: (.*)"
        return re.findall(fields, self.text.replace("\r\n", "\n"))


class EximTests(_Case):
    """Exim, with CHUNKING, PRDR and DSN."""

    def setUp(self) -> None:
        super().setUp()
        self.hop = Exim(_ports["exim.test"], new_folder("exim"), _EXIM)
        self.addCleanup(self.hop.stop)

    def test_largeContentGoesInChunks(self) -> None:
        self.submit(HARD["big"], "bob@exim.test")
        self.arrive(self.hop.received, HARD["big"])
        self.assertIn(b" K S=", self.hop.log())  # so it marks what came by BDAT

    def test_oneRecipientIsRefusedAfterTheContent(self) -> None:
        self.submit(PLAIN, "bob@exim.test", "picky@exim.test")
        self.assertEqual(self.report(), [("rfc822; picky@exim.test", "failed", "5.0.0")])
        self.assertIn("not this one", self.text)
        self.arrive(self.hop.received, PLAIN)
        self.assertIn(b" PRDR", self.hop.log())

    def test_itReportsItselfWhenItKnowsDSN(self) -> None:
        self.submit(PLAIN, "bob@exim.test", rcpt=["NOTIFY=SUCCESS"], mail=["ENVID=+2Bid"])
        # Exim delivers its report of success beside the message.
        self.assertTrue(wait_until(lambda: len(self.hop.received()) == 2))
        report = b"Subject: Delivery Status Notification"
        self.arrive(lambda: [each for each in self.hop.received() if report not in each], PLAIN)
        # Other tests have reports in this inbox: only those of this message count.
        own = [each for each in self.inbox.contents() if b"Original-Envelope-Id: +id" in each]
        self.assertNotIn(b"relayed", b"".join(own))


class PostfixTests(_Case):
    """Postfix, with SMTPUTF8 and DSN."""

    def setUp(self) -> None:
        super().setUp()
        self.hop = Postfix(_ports["postfix.test"], new_folder("postfix"))
        self.addCleanup(self.hop.stop)

    def test_anAddressInUTF8Arrives(self) -> None:
        content = message("utf8", b"body\r\n").replace(b"interop", "grüße".encode())
        self.submit(content, "jörg@postfix.test", mail=["SMTPUTF8", "BODY=8BITMIME"])
        self.arrive(self.hop.received, content)
        (stored,) = self.hop.received()
        self.assertIn("for <jörg@postfix.test>".encode(), stored)
        self.assertIn(b"with UTF8SMTP id", stored)

    def test_itReportsWithWhatWeHavePassedOn(self) -> None:
        self.submit(
            PLAIN,
            "bob@postfix.test",
            rcpt=["NOTIFY=SUCCESS", "ORCPT=rfc822;a+2Bb@old.test"],
            mail=["ENVID=x+2By", "RET=HDRS"],
        )
        # This Postfix takes every domain for its own, and so has its report as well.
        self.assertTrue(wait_until(lambda: len(self.hop.received()) == 2))
        (report,) = [each for each in self.hop.received() if b"Reporting-MTA" in each]
        for field in (
            b"Final-Recipient: rfc822; bob@postfix.test",
            b"Action: delivered",
            b"Original-Envelope-Id: x+y",
            b"Original-Recipient: rfc822;a+b@old.test",
        ):
            self.assertIn(field, report)
        self.assertEqual(self.inbox.arrived(), [])


class SinkTests(_Case):
    """smtp-sink, told to offer less."""

    def hop(self, *options: str) -> SmtpSink:
        hop = SmtpSink(_ports["sink.test"], new_folder("sink"), *options)
        self.addCleanup(hop.stop)
        return hop

    def test_weReportInPlaceOfAHostThatDoesNot(self) -> None:
        hop = self.hop("-e")  # no ESMTP at all
        self.submit(PLAIN, "bob@sink.test", rcpt=["NOTIFY=SUCCESS", "ORCPT=rfc822;b@old.test"])
        self.assertEqual(self.report(), [("rfc822; bob@sink.test", "relayed", "2.1.9")])
        self.assertIn("Original-Recipient: rfc822; b@old.test", self.text)
        self.arrive(hop.received, PLAIN)

    def test_whatItCannotTakeComesBack(self) -> None:
        hop = self.hop("-e")
        self.submit(PLAIN, "jörg@sink.test", mail=["SMTPUTF8"])
        self.assertEqual(self.report(), [("utf-8; jörg@sink.test", "failed", "5.6.7")])
        self.assertIn("message/global-delivery-status", self.text)
        self.assertEqual(hop.received(), [])

    def test_eightBitGoesAnyway(self) -> None:
        hop = self.hop("-e")
        self.submit(HARD["eight_bit"], "bob@sink.test", mail=["BODY=8BITMIME"])
        self.arrive(hop.received, HARD["eight_bit"])


class DovecotTests(_Case):
    """Dovecot's LMTP server, by TCP and by a UNIX socket."""

    def test_someGetItAndSomeDoNot(self) -> None:
        for domain in ("tcp.test", "unix.test"):
            content = message(domain, b".\r\n..\r\n")
            self.submit(content, f"bob@{domain}", f"nobody@{domain}", f"eve@{domain}")
            for user in ("bob", "eve"):
                self.assertTrue(wait_until(partial(_received_by, user, content)))
            self.assertEqual(self.report(), [(f"rfc822; nobody@{domain}", "failed", "5.1.1")])


class KeeperTests(SynchronousTestCase):
    """Dovecot keeps the mailboxes of our accounts."""

    def test_mailForAccountsIsHandedOver(self) -> None:
        daemon = Daemon(
            new_folder("keeper"),
            *("--hostname", "keeper.test", "--relay-network", "127.0.0.0/8"),
            settings=f'[delivery]\nlmtp = "lmtp+unix:{_dovecot().socket}"\n',
        )
        daemon.add_account("eve@keeper.test", PASSWORD)
        self.addCleanup(daemon.stop)
        daemon.start()
        content = message("keeper", b"kept elsewhere\r\n")
        with smtplib.SMTP("127.0.0.1", daemon.port, timeout=30) as smtp:
            smtp.sendmail("a@b.test", ["eve@keeper.test"], content)
        self.assertTrue(wait_until(partial(_received_by, "eve", content)))
        self.assertEqual(Inbox(daemon.maildir("eve@keeper.test") / "new").contents(), [])
        self.assertNotIn("Traceback", daemon.log())


class SubmissionTests(_Case):
    """What only those who log in are offered."""

    def send(self, mail: Sequence[str], rcpt: Sequence[str] = ()) -> None:
        """Send a message to ourselves, with parameters."""
        context = ssl.create_default_context(cafile=_certificates().authority)
        context.check_hostname = False
        with smtplib.SMTP("127.0.0.1", self.relay.ports["submission"], timeout=30) as smtp:
            smtp.starttls(context=context)
            smtp.login(ANN, PASSWORD)
            for command in (smtp.mail(ANN, mail), smtp.rcpt(ANN, rcpt), smtp.data(PLAIN)):
                self.assertEqual(command[0], 250, command)

    def test_heldMailWaitsUntilItsTimeOrUntilItIsReleased(self) -> None:
        self.send(["HOLDFOR=3600", "MT-PRIORITY=3"])
        (waiting,) = json.loads(self.relay.admin("queue", "list", "--json"))
        (recipient,) = waiting["recipients"]
        self.assertTrue(recipient["held"])
        self.assertEqual(waiting["priority"], 3)
        shown = self.relay.admin("queue", "show", waiting["id"])
        self.assertIn("held until", shown)
        self.assertIn("HOLDFOR=3600", shown)
        self.relay.admin("queue", "retry", "--all")
        self.assertEqual(self.inbox.arrived(), [])
        self.relay.admin("queue", "retry", waiting["id"])
        (stored,) = self.inbox.wait()
        self.assertEqual(delivered(stored), PLAIN)
        self.assertIn(b"PRIORITY 3", stored)

    def test_aMailboxIsToldOf(self) -> None:
        self.send(["ENVID=42", "RET=FULL"], ["NOTIFY=SUCCESS"])
        reports = [each for each in self.inbox.wait(2) if b"multipart/report" in each]
        (report,) = reports
        self.assertIn(b"Action: delivered", report)
        self.assertIn(b"Original-Envelope-Id: 42", report)
        self.assertIn(b"text/rfc822-headers", report)


class PostroomTests(_Case):
    """Ourselves: binary content, all the way."""

    def test_binaryContentArrivesOctetForOctet(self) -> None:
        hop = Daemon(
            new_folder("second"),
            *("--hostname", "second.test"),
            port=_ports["postroom.test"],
            settings=_BINARY,
        )
        hop.add_account("bob@postroom.test", PASSWORD)
        self.addCleanup(hop.stop)
        hop.start()
        content = message("binary", bytes(range(256)) * 2000 + b"\r\n.\r\nMAIL FROM:<x@y>\n")
        with smtplib.SMTP("127.0.0.1", self.relay.port, timeout=30) as smtp:
            smtp.ehlo("client.test")
            self.assertEqual(smtp.mail(ANN, ["BODY=BINARYMIME"])[0], 250)
            self.assertEqual(smtp.rcpt("bob@postroom.test")[0], 250)
            half = len(content) // 2
            for chunk, last in ((content[:half], ""), (content[half:], " LAST")):
                smtp.send(b"BDAT %d%s\r\n" % (len(chunk), last.encode()) + chunk)
                code, text = smtp.getreply()
                self.assertEqual(code, 250, text)
        inbox = Folder(hop.maildir("bob@postroom.test") / "new")
        (stored,) = inbox.wait()
        self.assertTrue(stored.endswith(content))


def _received_by(user: str, content: bytes) -> bool:
    return _has(_dovecot().received(user), content)


def _has(stored: Sequence[bytes], content: bytes) -> bool:
    return any(lines(delivered(each)) == lines(content) for each in stored)
