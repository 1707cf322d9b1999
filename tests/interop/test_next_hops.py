"""Mail for other domains arrives at servers of other projects, octet by octet."""

import email
import smtplib
import ssl
from collections.abc import Sequence
from email.message import Message
from email.utils import parseaddr
from functools import cache
from itertools import chain
from typing import Protocol

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon, free_port, wait_until
from tests.interop.certificates import Certificates, make_certificates
from tests.interop.clients import Login, Route, send_with_smtplib, smtp_source
from tests.interop.fixtures import new_folder, stopped_at_exit
from tests.interop.mail import HARD, ODD, PLAIN, Inbox, delivered, lines
from tests.interop.peers import Aiosmtpd, Exim, Postfix, SmtpSink, authenticator

ANN, PASSWORD = "ann@local.test", "correct-horse-battery"
# Each domain's next hop is another server; the hop's port is chosen once, here.
_HOPS = {
    "sink.test": "smtp://127.0.0.1:{}",
    "exim.test": "smtp://127.0.0.1:{}",
    "postfix.test": "smtp://127.0.0.1:{}",
    "starttls.test": "smtp://127.0.0.1:{}?tls=required",
    "stranger.test": "smtp://127.0.0.1:{}?tls=required",
    "implicit.test": "smtps://127.0.0.1:{}",
    "auth.test": "smtp://relay%40user:p%40ss%2Fword@127.0.0.1:{}?tls=required",
    "moody.test": "smtp://127.0.0.1:{}",
    "postroom.test": "smtp://127.0.0.1:{}",
}
_ports = {domain: free_port() for domain in _HOPS}


class _Hop(Protocol):
    def received(self) -> list[bytes]: ...


@cache
def _certificates() -> Certificates:
    return make_certificates(new_folder("hops-tls"))


@cache
def _relay() -> Daemon:
    """Start the daemon that relays in all tests here."""
    routes = "\n".join(f'"{d}" = "{hop.format(_ports[d])}"' for d, hop in _HOPS.items())
    settings = f"""
[routes]
{routes}

[client]
ca_file = "{_certificates().authority}"

[retry]
first_seconds = 1
jitter = 0
"""
    options = ("--hostname", "relay.test", "--relay-network", "127.0.0.0/8")
    daemon = Daemon(
        new_folder("relay"),
        *options,
        *_certificates().options,
        listeners=("mx", "submission"),
        settings=settings,
    )
    daemon.add_account(ANN, PASSWORD)
    stopped_at_exit(daemon).start()
    return daemon


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificates().certificate, _certificates().key)
    return context


class _HopTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.relay = _relay()
        self.inbox = Inbox(self.relay.maildir(ANN) / "new")

    def tearDown(self) -> None:
        self.assertNotIn("Traceback", self.relay.log())

    def submit(self, content: bytes, *recipients: str, sender: str = ANN) -> None:
        with smtplib.SMTP("127.0.0.1", self.relay.port, timeout=30) as smtp:
            refused = smtp.sendmail(sender, recipients, content)
        self.assertEqual(refused, {})

    def check(self, hop: _Hop, domain: str, contents: Sequence[bytes]) -> None:
        """Send messages and wait for them at the hop, which holds nothing else."""
        for content in contents:
            self.submit(content, f"bob@{domain}")
        wanted = sorted(lines(content) for content in contents)
        found: list[bytes] = []

        def arrived() -> bool:
            found[:] = sorted(lines(delivered(message)) for message in hop.received())
            return found == wanted

        if not wait_until(arrived):
            self.fail(f"{len(found)} of {len(wanted)} messages are there, or some changed")


class SmtpSinkTests(_HopTests):
    def test_messagesArriveUnchanged(self) -> None:
        hop = SmtpSink(_ports["sink.test"], new_folder("sink"))
        self.addCleanup(hop.stop)
        self.check(hop, "sink.test", [*HARD.values(), *ODD.values()])

    def test_manyMessagesOfManyConnections(self) -> None:
        hop = SmtpSink(_ports["sink.test"], new_folder("sink"))
        self.addCleanup(hop.stop)
        smtp_source(self.relay.port, "-s", "10", "-m", "300", "-f", ANN, "-t", "bob@sink.test")
        wait_until(lambda: len(hop.received()) >= 300)
        self.assertEqual(len(hop.received()), 300)


class EximTests(_HopTests):
    def test_messagesArriveUnchanged(self) -> None:
        hop = Exim(_ports["exim.test"], new_folder("exim"))
        self.addCleanup(hop.stop)
        self.check(hop, "exim.test", [*HARD.values(), ODD["only_blank_line"], ODD["dot_first"]])


class PostfixTests(_HopTests):
    def test_messagesArriveUnchanged(self) -> None:
        hop = Postfix(_ports["postfix.test"], new_folder("postfix"))
        self.addCleanup(hop.stop)
        odd = (ODD["empty_body"], ODD["only_blank_line"])  # a missing header it would add
        self.check(hop, "postfix.test", [*HARD.values(), *odd])


class PostroomTests(_HopTests):
    def test_messagesArriveUnchanged(self) -> None:
        options = ("--hostname", "second.test", *_certificates().options)
        hop = Daemon(new_folder("second"), *options, port=_ports["postroom.test"])
        hop.add_account("bob@postroom.test", PASSWORD)
        self.addCleanup(hop.stop)
        hop.start()

        class Received:
            received = staticmethod(Inbox(hop.maildir("bob@postroom.test") / "new").contents)

        self.check(Received(), "postroom.test", [*HARD.values(), *ODD.values()])


class AiosmtpdTests(_HopTests):
    """With TLS, with a login, and with what a next hop may say."""

    def hop(self, domain: str, **options: object) -> Aiosmtpd:
        hop = Aiosmtpd(_ports[domain], **options)
        self.addCleanup(hop.stop)
        return hop

    def test_withSTARTTLS(self) -> None:
        hop = self.hop("starttls.test", tls_context=_context(), require_starttls=True)
        self.check(hop, "starttls.test", list(HARD.values()))
        self.assertTrue(all(session.ssl for session in hop.sessions))

    def test_withImplicitTLS(self) -> None:
        hop = self.hop("implicit.test", ssl_context=_context())
        self.check(hop, "implicit.test", [HARD["dots"], HARD["big"]])

    def test_withLogin(self) -> None:
        hop = self.hop(
            "auth.test",
            tls_context=_context(),
            require_starttls=True,
            auth_required=True,
            authenticator=authenticator(b"relay@user", b"p@ss/word"),
        )
        self.check(hop, "auth.test", [PLAIN, HARD["big"]])
        self.assertTrue(all(session.authenticated for session in hop.sessions))

    def test_aStrangersCertificateGetsNothing(self) -> None:
        """The hop proves nothing: the mail waits, and nobody there sees its envelope."""
        stranger = make_certificates(new_folder("stranger"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(stranger.certificate, stranger.key)
        hop = self.hop("stranger.test", tls_context=context, require_starttls=True)
        self.submit(PLAIN, "bob@stranger.test")
        self.assertTrue(wait_until(lambda: "['bob@stranger.test']" in self.relay.log()))
        self.assertEqual((hop.messages, hop.attempts), ([], {}))
        self.assertIn("bob@stranger.test", self.relay.admin("queue", "list", "--json"))

    def test_submittedMailIsRelayed(self) -> None:
        """The way of a mail program's user: TLS and a login on both sides of us."""
        hop = self.hop("starttls.test", tls_context=_context(), require_starttls=True)
        login = Login("PLAIN", ANN, PASSWORD)
        authority = _certificates().authority
        route = Route(self.relay.ports["submission"], "starttls", login, authority)
        send_with_smtplib(route, ["bob@starttls.test", ANN], HARD["dots"])
        self.assertTrue(wait_until(hop.received))
        (here,) = self.inbox.arrived()
        (there,) = hop.received()
        self.assertEqual([delivered(here), delivered(there)], [HARD["dots"]] * 2)
        self.assertIn(b"with ESMTPSA id", there)

    def test_refusedForNowIsTriedAgain(self) -> None:
        hop = self.hop("moody.test")
        hop.answers = ["451 4.3.0 Not now"]
        hop.refused["later@moody.test"] = "450 4.2.1 Greylisted"
        self.submit(PLAIN, "bob@moody.test", "later@moody.test")
        self.assertTrue(wait_until(lambda: len(hop.messages) == 1))
        hop.refused.clear()
        self.assertTrue(wait_until(lambda: len(hop.messages) == 2))
        self.assertEqual(hop.recipients, [["bob@moody.test"], ["later@moody.test"]])
        self.assertEqual(self.inbox.arrived(), [])

    def test_refusedForGoodComesBackAsAReport(self) -> None:
        hop = self.hop("moody.test")
        hop.refused["gone@moody.test"] = "550 5.1.1 No such user here"
        self.submit(HARD["dots"], "gone@moody.test", "bob@moody.test")
        (bounce,) = self.inbox.wait()
        self.assertEqual(hop.recipients, [["bob@moody.test"]])
        self.assertIn(b"Return-Path: <>", bounce)
        report = email.message_from_bytes(bounce)
        self.assertEqual(report.get_content_type(), "multipart/report")
        self.assertEqual(report.get_param("report-type"), "delivery-status")
        self.assertEqual(parseaddr(report["To"])[1], ANN)
        _, status, original = _parts(report)
        of_message, of_recipient = _parts(status)
        self.assertEqual(of_message["Reporting-MTA"], "dns; relay.test")
        self.assertEqual(of_recipient["Final-Recipient"], "rfc822; gone@moody.test")
        self.assertEqual(of_recipient["Action"], "failed")
        self.assertEqual(of_recipient["Status"], "5.1.1")
        self.assertEqual(of_recipient["Diagnostic-Code"], "smtp; 550 5.1.1 No such user here")
        self.assertIn("Message-ID: <dots@remote.test>", str(original.get_payload(0)))

    def test_refusedAfterTheContentComesBackToo(self) -> None:
        hop = self.hop("moody.test")
        hop.answers = ["554 5.7.1 Spam"]
        self.submit(PLAIN, "bob@moody.test")
        (bounce,) = self.inbox.wait()
        _, status, _ = _parts(email.message_from_bytes(bounce))
        self.assertEqual(_parts(status)[1]["Status"], "5.7.1")
        self.assertEqual(hop.messages, [])

    def test_aReportThatCannotBeDeliveredMakesNone(self) -> None:
        hop = self.hop("moody.test")
        hop.refused["gone@moody.test"] = "550 5.1.1 No such user here"
        self.submit(PLAIN, "gone@moody.test", sender="")
        self.assertTrue(wait_until(lambda: hop.attempts["gone@moody.test"]))
        self.submit(PLAIN, "bob@moody.test")
        self.assertTrue(wait_until(lambda: hop.messages))
        self.assertNotIn("gone@moody.test", self.relay.admin("queue", "list", "--json"))
        self.assertEqual(self.inbox.arrived(), [])

    def test_fiveHundredRecipients(self) -> None:
        hop = self.hop("moody.test")
        recipients = [f"r{number}@moody.test" for number in range(500)]
        self.submit(PLAIN, *recipients)
        wait_until(lambda: sum(map(len, hop.recipients)) >= 500)
        self.assertEqual(sorted(chain(*hop.recipients)), sorted(recipients))
        self.assertLessEqual(max(map(len, hop.recipients)), 100)


def _parts(message: Message) -> list[Message]:
    """Give the parts of a multipart, or the groups of fields of a delivery status."""
    return [part for part in message.get_payload() if isinstance(part, Message)]
