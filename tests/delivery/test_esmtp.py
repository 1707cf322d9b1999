"""Claims about our deliveries behind twisted.mail's own ESMTP."""

import errno
import os
import smtplib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import trustme
from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.mail import smtp
from twisted.mail.imap4 import LOGINCredentials, PLAINCredentials
from twisted.mail.interfaces import IMessageDelivery, IMessageSMTP
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

import postroom.delivery.avatars  # noqa: F401  # registers the adapters
from postroom.delivery.avatars import MailRealm
from postroom.delivery.settings import SubmissionSettings
from postroom.delivery.submission import SubmissionRules
from postroom.envelope import Envelope, Recipient
from postroom.errors import Refusal
from postroom.interfaces import IDeliveryTransaction, ITransactionDelivery
from postroom.wire.commands import Rcpt
from postroom.wire.paths import Mailbox
from postroom.wire.replies import reply
from tests.delivery.support import MESSAGE, box, envelope
from tests.delivery.test_submission import make_permission
from tests.delivery.test_transaction import make_services
from tests.interop.mail import HARD, ODD, as_sent, delivered

SENDER = "sender@remote.test"
JOE, PASSWORD = "joe@here.example", "opensesame"
STORED = reply(250, "2.0.0", "Stored")
CHALLENGERS = {b"LOGIN": LOGINCredentials, b"PLAIN": PLAINCredentials}


class Factory(smtp.SMTPFactory):
    """Serves a portal as the documentation of twisted.mail shows."""

    protocol = smtp.ESMTP
    domain = "mx.here.example"
    noisy = False
    contextFactory: Any = None

    def buildProtocol(self, addr: Any) -> Any:
        protocol = super().buildProtocol(addr)
        protocol.challengers, protocol.ctx = CHALLENGERS, self.contextFactory
        return protocol


class OverTCP(TestCase):
    """With real sockets, real Maildirs, and a portal with our realm."""

    timeout = 60

    def setUp(self) -> None:
        self.services = make_services(self)
        self.queue: Any = self.services.queue
        permission, _ = make_permission()
        realm = MailRealm(self.services, SubmissionRules(SubmissionSettings(), permission))
        logins = InMemoryUsernamePasswordDatabaseDontUse()
        logins.addUser(JOE.encode(), PASSWORD.encode())
        self.portal = Portal(realm, [AllowAnonymousAccess(), logins])

    async def talk(self, talk: Callable[[smtplib.SMTP], Any]) -> Any:
        port = reactor.listenTCP(0, Factory(self.portal), interface="127.0.0.1")  # type: ignore[attr-defined]

        def in_thread() -> Any:
            with smtplib.SMTP("127.0.0.1", port.getHost().port, "client.test", timeout=30) as peer:
                return talk(peer)

        try:
            return await deferToThread(in_thread)
        finally:
            await port.stopListening()

    def mail_of(self, name: str) -> list[bytes]:
        """Return what the Maildir of an account holds, with CRLF, oldest first."""
        folder = os.path.join(self.root, name, "new")  # type: ignore[attr-defined]
        paths = [os.path.join(folder, each) for each in os.listdir(folder)]
        found = []
        for path in sorted(paths, key=lambda path: os.stat(path).st_mtime_ns):
            with open(path, "rb") as file:
                found.append(as_sent(file.read()))
        return found

    async def test_content_goes_into_maildirs_line_for_line(self) -> None:
        contents = [*HARD.values(), *ODD.values()]

        def send(peer: smtplib.SMTP) -> None:
            for content in contents:
                peer.sendmail(SENDER, [JOE], content)

        await self.talk(send)
        # Not as lists: to show how two of them differ takes minutes.
        self.assertCountEqual(map(delivered, self.mail_of("joe")), contents)
        self.assertEqual(self.queue.messages, [])

    async def test_whoever_logs_in_may_relay(self) -> None:
        for mechanism in ("PLAIN", "LOGIN"):

            def send(peer: smtplib.SMTP, mechanism: str = mechanism) -> None:
                peer.ehlo()
                peer.user, peer.password = JOE, PASSWORD
                peer.auth(mechanism, getattr(peer, f"auth_{mechanism.lower()}"))
                peer.sendmail(JOE, ["x@there.example", "ann@here.example"], OWN)

            await self.talk(send)
            message, content = self.queue.messages.pop()
            self.assertEqual(delivered(content), OWN)
            self.assertEqual([str(rcpt.forward_path) for rcpt in message.recipients], [THERE])
            self.assertEqual((str(message.sender), message.identity), (JOE, JOE))
            identified = b"with ESMTPA id " + message.id.encode()
            (copy,) = (each for each in self.mail_of("ann") if identified in each)
            self.assertEqual(delivered(copy), OWN)
            self.assertIn(b"Received: from client.test ([127.0.0.1])", copy)

    async def test_mail_of_who_logged_in_is_completed(self) -> None:
        bare = b"From: " + JOE.encode() + b"\r\nSubject: hi\r\n\r\nbody\r\n"

        def send(peer: smtplib.SMTP) -> None:
            peer.login(JOE, PASSWORD)
            peer.sendmail(JOE, [JOE], bare)

        await self.talk(send)
        (copy,) = self.mail_of("joe")
        self.assertTrue(copy.endswith(bare))
        for name in (b"\nDate: ", b"\nMessage-ID: "):
            self.assertEqual(copy.count(name), 1, name)

    async def test_nobody_else_may(self) -> None:
        def send(peer: smtplib.SMTP) -> list[object]:
            peer.ehlo()
            recipients = (THERE, "nobody@here.example", JOE)
            said: list[object] = [peer.mail(SENDER)[0], *map(peer.rcpt, recipients)]
            return [*said, peer.data(OWN)]

        said = await self.talk(send)
        self.assertEqual(said[0], 250)
        self.assertEqual(said[1], (550, b"5.7.1 Relaying denied"))
        self.assertEqual(said[2][0], 550)
        self.assertTrue(said[2][1].startswith(b"5.1.1 "))
        self.assertEqual([code for code, _ in said[3:]], [250, 250])
        self.assertEqual(len(self.mail_of("joe")), 1)
        self.assertEqual(self.queue.messages, [])

    async def test_tls_is_in_the_trace(self) -> None:
        leaf = trustme.CA().issue_cert("mx.here.example")
        identity = PrivateCertificate.loadPEM(leaf.private_key_and_cert_chain_pem.bytes())
        self.patch(Factory, "contextFactory", identity.options())

        def send(peer: smtplib.SMTP) -> None:
            peer.starttls()
            peer.sendmail(SENDER, [JOE], OWN)

        await self.talk(send)
        (copy,) = self.mail_of("joe")
        self.assertIn(b" with ESMTPS id ", copy)
        self.assertIn(b"TLSv1.3", copy)

    async def test_who_logs_in_sends_as_nobody_else(self) -> None:
        def send(peer: smtplib.SMTP) -> tuple[int, bytes]:
            peer.login(JOE, PASSWORD)
            return peer.mail("ann@here.example")

        code, text = await self.talk(send)
        self.assertEqual(code, 553)
        self.assertIn(b"You are not allowed to send as this address", text)

    async def test_an_account_that_is_reached_twice_gets_one_copy(self) -> None:
        def send(peer: smtplib.SMTP) -> None:
            peer.sendmail(SENDER, [JOE, "both@here.example", "bob@here.example"], OWN)

        await self.talk(send)
        self.assertEqual([len(self.mail_of(name)) for name in ("joe", "ann", "bob")], [1, 1, 1])

    async def test_a_full_disk_makes_the_peer_come_again(self) -> None:
        """ESMTP alone would say 550, and the mail would be given up."""
        self.queue.failures = [OSError(errno.ENOSPC, "full")]

        def send(peer: smtplib.SMTP) -> int:
            peer.login(JOE, PASSWORD)
            with self.assertRaises(smtplib.SMTPDataError) as caught:
                peer.sendmail(JOE, ["x@there.example"], OWN)
            return int(caught.exception.smtp_code)

        self.assertEqual(await self.talk(send), 421)
        self.flushLoggedErrors(OSError)


OWN = HARD["dots"].replace(b"sender@remote.test", JOE.encode())
THERE = "x@there.example"


@implementer(IDeliveryTransaction)
class Kept:
    """Keeps what it is given."""

    def __init__(self, delivery: "Keeper", envelope: Envelope) -> None:
        self.delivery, self.envelope = delivery, envelope
        self.content = b""
        self.aborted = self.committed = 0

    def write(self, chunk: bytes) -> Any:
        assert self.aborted + self.committed == 0
        self.content += chunk
        return self.delivery.answer("write", None)

    def commit(self) -> Any:
        self.committed += 1
        return self.delivery.answer("commit", [STORED] * len(self.envelope.recipients))

    def abort(self) -> None:
        self.aborted += 1


@implementer(ITransactionDelivery)
@dataclass
class Keeper:
    """A delivery of a third party, whose answers a test may choose.

    Attributes:
        answers: where to what: a value, an exception, or a Deferred, used once each.
        begun: its transactions.
        envelopes: what it was asked about, with recipients at that time.
    """

    answers: dict[str, list[Any]] = field(default_factory=dict)
    begun: list[Kept] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)

    def answer(self, where: str, otherwise: object) -> Any:
        chosen = self.answers.get(where)
        if not chosen:
            return otherwise
        answer = chosen.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def validate_sender(self, envelope: Envelope) -> Any:
        self.envelopes.append(envelope)
        return self.answer("sender", None)

    def validate_recipient(self, envelope: Envelope, rcpt: Rcpt) -> Any:
        return self.answer("recipient", rcpt.forward_path)

    def begin(self, envelope: Envelope) -> Any:
        kept = Kept(self, envelope)
        self.begun.append(kept)
        answer = self.answer("begin", kept)
        return answer.addCallback(lambda _: kept) if isinstance(answer, Deferred) else answer


PEER = IPv4Address("TCP", "192.0.2.1", 4711)


class Transport(StringTransport):
    """Tells whether it is to be read from."""

    @property
    def reads(self) -> bool:
        return bool(self.producerState == "producing")


class InMemory(SynchronousTestCase):
    """Twisted's ESMTP with an adapted delivery, over a transport in memory."""

    def setUp(self) -> None:
        self.keeper = Keeper()
        self.connect(IMessageDelivery(self.keeper))

    def connect(self, delivery: object, peer: Any = PEER) -> None:
        verifyObject(IMessageDelivery, delivery)
        self.esmtp = smtp.ESMTP()
        self.esmtp.noisy = False
        self.esmtp.delivery = delivery
        self.esmtp.host = b"mx.here.example"
        self.transport = Transport(peerAddress=peer)
        self.esmtp.makeConnection(self.transport)
        self.addCleanup(self.esmtp.setTimeout, None)

    def said(self, *lines: bytes) -> list[int]:
        """Send lines; return the codes of the replies."""
        self.transport.clear()
        self.esmtp.dataReceived(b"".join(line + b"\r\n" for line in lines))
        return self.codes()

    def codes(self) -> list[int]:
        replies = self.transport.value().split(b"\r\n")
        return [int(line[:3]) for line in replies if line[3:4] == b" "]

    def begin(self, *recipients: bytes) -> None:
        self.said(b"EHLO client.example")
        self.assertEqual(self.said(b"MAIL FROM:<a@client.example>"), [250])
        for recipient in recipients:
            self.assertEqual(self.said(b"RCPT TO:<" + recipient + b">"), [250])
        self.assertEqual(self.said(b"DATA"), [354])

    def paths(self, kept: Kept) -> list[str]:
        return [str(each.rcpt.forward_path) for each in kept.envelope.recipients]


class Transactions(InMemory):
    def test_all_recipients_are_in_one(self) -> None:
        self.begin(b"u@here.example", b"v@here.example")
        self.assertEqual(self.said(b"A: b", b"", b"..dot", b"x" * 9000, b"x" * 9000, b"."), [250])
        (kept,) = self.keeper.begun
        big = b"x" * 9000 + b"\r\n"
        self.assertEqual(kept.content, b"A: b\r\n\r\n.dot\r\n" + big + big)
        self.assertEqual(self.paths(kept), ["u@here.example", "v@here.example"])
        routes = [each.route for each in kept.envelope.recipients]
        self.assertEqual(routes, [Mailbox(b"u", b"here.example"), Mailbox(b"v", b"here.example")])
        self.assertEqual((kept.committed, kept.aborted), (1, 0))
        session = kept.envelope.session
        self.assertEqual((session.client, session.client_port), ("192.0.2.1", 4711))
        self.assertEqual((session.helo, session.protocol), (b"client.example", "ESMTP"))
        self.assertEqual(kept.envelope.mail.reverse_path, Mailbox(b"a", b"client.example"))

    def test_each_message_has_its_own(self) -> None:
        for _ in range(2):
            self.begin(b"u@here.example")
            self.assertEqual(self.said(b"A: b", b"", b"."), [250])
        first, second = self.keeper.begun
        self.assertNotEqual(first.envelope.id, second.envelope.id)
        self.assertEqual(first.content, second.content)

    def test_a_message_without_a_line_is_one(self) -> None:
        self.begin(b"u@here.example", b"v@here.example")
        self.assertEqual(self.said(b"."), [250])
        (kept,) = self.keeper.begun
        self.assertEqual((kept.content, kept.committed), (b"", 1))

    def test_a_message_of_one_line_is_one(self) -> None:
        self.begin(b"u@here.example", b"v@here.example")
        self.assertEqual(self.said(b"A: b", b"."), [250])
        self.assertEqual(self.keeper.begun[0].content, b"A: b\r\n")

    def test_the_null_sender(self) -> None:
        self.assertEqual(self.said(b"MAIL FROM:<>"), [250])
        self.assertIsNone(self.keeper.envelopes[0].mail.reverse_path)

    def test_peers_of_all_kinds(self) -> None:
        for peer, client in (
            (IPv6Address("TCP", "2001:db8::1", 4711), "2001:db8::1"),
            (IPv6Address("TCP", "::ffff:192.0.2.7", 4711), "192.0.2.7"),
            (UNIXAddress(None), "unix"),
        ):
            self.connect(IMessageDelivery(self.keeper), peer)
            self.said(b"MAIL FROM:<a@client.example>")
            self.assertEqual(self.said(b"RCPT TO:<u@here.example>"), [250])
            self.assertEqual(self.keeper.envelopes[-1].session.client, client)

    def test_a_bare_postmaster_has_no_domain(self) -> None:
        self.begin(b"Postmaster")
        self.said(b".")
        (recipient,) = self.keeper.begun[0].envelope.recipients
        self.assertEqual(recipient.rcpt.forward_path, Mailbox(b"postmaster", b""))

    def test_bare_newlines_are_mended(self) -> None:
        self.begin(b"u@here.example")
        self.assertEqual(self.said(b"A: b", b"", b"x\n.\ny\rz\r", b"."), [250])
        self.assertEqual(self.keeper.begun[0].content, b"A: b\r\n\r\nx\r\n.\r\ny z\r\n")

    def test_a_lost_connection_aborts_once(self) -> None:
        self.begin(b"u@here.example", b"v@here.example")
        self.said(b"A: b", b"", b"body")
        self.esmtp.connectionLost(None)
        (kept,) = self.keeper.begun
        self.assertEqual((kept.committed, kept.aborted), (0, 1))

    def test_a_connection_lost_before_the_content_begins_nothing(self) -> None:
        self.begin(b"u@here.example")
        self.esmtp.connectionLost(None)
        self.assertEqual(self.keeper.begun, [])

    def test_a_connection_lost_while_the_delivery_begins_aborts_what_it_began(self) -> None:
        waiting: Deferred[None] = Deferred()
        self.keeper.answers["begin"] = [waiting]
        self.begin(b"u@here.example")
        self.said(b"A: b", b"", b"body")
        self.esmtp.connectionLost(None)
        waiting.callback(None)
        (kept,) = self.keeper.begun
        self.assertEqual((kept.content, kept.committed, kept.aborted), (b"", 0, 1))

    def test_250_comes_after_the_commit(self) -> None:
        waiting: Deferred[Any] = Deferred()
        self.keeper.answers["commit"] = [waiting]
        self.begin(b"u@here.example")
        self.assertEqual(self.said(b"A: b", b"."), [])
        self.assertFalse(self.transport.reads)
        waiting.callback([STORED])
        self.assertEqual(self.codes(), [250])
        self.assertTrue(self.transport.reads)

    def test_the_next_message_waits_for_the_commit(self) -> None:
        """A peer that does not wait would take the answer to MAIL for that to its message."""
        waiting: Deferred[Any] = Deferred()
        self.keeper.answers["commit"] = [waiting]
        self.begin(b"u@here.example")
        self.assertEqual(self.said(b"A: b", b".", b"MAIL FROM:<b@client.example>"), [])
        self.assertEqual(len(self.keeper.envelopes), 1)
        waiting.callback([reply(554, "5.7.1", "No")])
        self.assertEqual(self.codes(), [550, 250])
        self.flushLoggedErrors(smtp.SMTPServerError)

    def test_recipients_are_answered_in_order(self) -> None:
        waiting: Deferred[Any] = Deferred()
        self.keeper.answers["recipient"] = [waiting, reply(550, "5.1.1", "No such user")]
        self.said(b"MAIL FROM:<a@client.example>")
        self.assertEqual(self.said(b"RCPT TO:<u@here.example>", b"RCPT TO:<v@here.example>"), [])
        waiting.callback("somewhere")
        self.assertEqual(self.codes(), [250, 550])

    def test_a_peer_is_held_while_the_delivery_is_slow(self) -> None:
        big = b"x" * 9000
        begin, write, write_on = Deferred(), Deferred(), Deferred()  # type: ignore[var-annotated]
        self.keeper.answers.update(begin=[begin], write=[write, write_on])
        self.begin(b"u@here.example")
        self.said(b"A: b", b"", big, big)
        self.assertFalse(self.transport.reads)
        begin.callback(None)
        (kept,) = self.keeper.begun
        content = b"A: b\r\n\r\n" + big + b"\r\n" + big + b"\r\n"
        self.assertEqual(kept.content, content)
        self.assertFalse(self.transport.reads)
        self.assertEqual(self.said(b"more", b"."), [])  # these had been read already
        self.assertEqual(kept.content, content)
        write.callback(None)
        self.assertEqual((kept.content, kept.committed), (content + b"more\r\n", 0))
        write_on.callback(None)
        self.assertEqual(self.codes(), [250])
        self.assertTrue(self.transport.reads)


class Refusals(InMemory):
    def test_of_senders(self) -> None:
        self.keeper.answers["sender"] = [reply(450, "4.7.1", "Come again"), Refusal(NO), KeyError()]
        self.assertEqual(self.said(b"MAIL FROM:<a@b.example>"), [450])
        self.assertIn(b"4.7.1 Come again", self.transport.value())
        self.assertEqual(self.said(b"MAIL FROM:<a@b.example>"), [554])
        self.assertEqual(self.said(b"MAIL FROM:<a@b.example>"), [451])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(self.said(b"MAIL FROM:<a@b.example>"), [250])

    def test_of_recipients(self) -> None:
        several = reply(550, "5.1.1", "Kein", "Empfänger")
        self.keeper.answers["recipient"] = [several, Refusal(NO), KeyError()]
        self.said(b"MAIL FROM:<a@b.example>")
        self.said(b"RCPT TO:<x@here.example>")
        self.assertEqual(self.transport.value(), b"550-5.1.1 Kein\r\n550 5.1.1 Empf?nger\r\n")
        self.assertEqual(self.said(b"RCPT TO:<x@here.example>"), [554])
        self.assertEqual(self.said(b"RCPT TO:<x@here.example>"), [451])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(self.said(b"DATA"), [503])

    def test_of_what_only_twisted_takes_for_an_address(self) -> None:
        self.assertEqual(self.said(b"MAIL FROM:<a..b@" + b"c" * 300 + b">"), [553])
        self.assertEqual(self.said(b"MAIL FROM:<a@b.example>"), [250])
        self.assertEqual(self.said(b"RCPT TO:<" + b"c" * 300 + b"@-.example>"), [553])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_of_the_header_come_with_their_own_code(self) -> None:
        self.keeper.answers["write"] = [Refusal(NO)]
        self.begin(b"u@here.example", b"v@here.example")
        self.assertEqual(self.said(b"A: b", b"", b"body", b"."), [554])
        self.assertIn(b"554 5.4.6 Loop", self.transport.value())
        (kept,) = self.keeper.begun
        self.assertEqual((kept.committed, kept.aborted), (0, 1))

    def test_of_data_come_with_their_own_code(self) -> None:
        self.keeper.answers["begin"] = [Refusal(reply(451, "4.7.1", "Enough for today"))]
        self.begin(b"u@here.example")
        self.assertEqual(self.said(b"A: b", b"", b"body", b"."), [451])
        self.begin(b"u@here.example")  # the session goes on

    def test_that_are_final_at_the_end_are_550(self) -> None:
        self.keeper.answers["commit"] = [Refusal(NO)]
        self.begin(b"u@here.example")
        self.assertEqual(self.said(b"A: b", b"", b"."), [550])
        self.assertFalse(self.transport.disconnecting)
        (failure,) = self.flushLoggedErrors(smtp.SMTPServerError)
        self.assertEqual((failure.value.code, failure.value.resp), (554, b"5.4.6 Loop"))

    def temporary(self, answer: Any) -> None:
        self.keeper.answers["commit"] = [answer]
        self.begin(b"u@here.example", b"v@here.example")
        self.assertEqual(self.said(b"A: b", b"", b"."), [421])
        self.assertTrue(self.transport.disconnecting)

    def test_that_are_temporary_at_the_end_end_the_session(self) -> None:
        self.temporary(Refusal(reply(452, "4.2.2", "Full")))
        self.assertIn(b"421 4.2.2 Full", self.transport.value())

    def test_that_concern_some_recipients_for_now_do_so_too(self) -> None:
        self.temporary([STORED, reply(452, "4.2.2", "Full")])

    def test_faults_are_temporary(self) -> None:
        self.temporary(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_delivery_that_cannot_count_is_at_fault(self) -> None:
        self.temporary([STORED])

    def test_of_a_last_line_are_not_lost(self) -> None:
        self.keeper.answers["write"] = [None, OSError(errno.EIO, "disk")]
        self.begin(b"u@here.example")
        self.assertEqual(self.said(b"A: b", b"", b"body", b"."), [421])
        self.assertEqual(self.keeper.begun[0].aborted, 1)
        self.flushLoggedErrors(OSError)


NO = reply(554, "5.4.6", "Loop")


@implementer(IMessageDelivery)
class Around:
    """A delivery of a site's own around ours, which puts a field into each message."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.sender: smtp.Address | None = None
        self.refused: Sequence[bytes] = ()
        self.fields = 1

    def receivedHeader(self, helo: object, origin: object, recipients: Any) -> bytes:
        return b"Received: for " + bytes(recipients[0]) if self.fields else b""

    async def _from(self, helo: Any, origin: Any) -> Any:
        return self.sender or await self.inner.validateFrom(helo, origin)

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        return Deferred.fromCoroutine(self._from(helo, origin))

    async def _to(self, user: Any) -> Any:
        make = await self.inner.validateTo(user)
        if user.dest.local in self.refused:
            raise smtp.SMTPBadRcpt(user)
        return lambda: self.make(make)

    def validateTo(self, user: Any) -> Any:
        return Deferred.fromCoroutine(self._to(user))

    def make(self, inner: Callable[[], Any]) -> Any:
        message = inner()
        verifyObject(IMessageSMTP, message)
        for number in range(1, self.fields):
            message.lineReceived(b"X-Field: %d" % number)
        return message


class BehindAnotherDelivery(InMemory):
    def setUp(self) -> None:
        super().setUp()
        self.around = Around(IMessageDelivery(self.keeper))
        self.connect(self.around)

    def test_no_recipient_sees_the_received_field_of_another(self) -> None:
        self.begin(b"u@here.example", b"v@here.example")
        self.assertEqual(self.said(b"A: b", b"", b"body", b"."), [250])
        (kept,) = self.keeper.begun
        self.assertEqual(kept.content, b"A: b\r\n\r\nbody\r\n")
        self.assertEqual(len(kept.envelope.recipients), 2)

    def test_the_received_field_of_the_only_recipient_stays(self) -> None:
        self.begin(b"u@here.example")
        self.assertEqual(self.said(b"A: b", b"", b"."), [250])
        self.assertEqual(
            self.keeper.begun[0].content, b"Received: for u@here.example\r\nA: b\r\n\r\n"
        )

    def test_a_recipient_that_it_refuses_is_left_out(self) -> None:
        self.around.refused = [b"v"]
        self.said(b"MAIL FROM:<a@client.example>")
        for name, code in ((b"u", 250), (b"v", 550), (b"w", 250)):
            self.assertEqual(self.said(b"RCPT TO:<" + name + b"@here.example>"), [code])
        self.assertEqual(self.said(b"DATA"), [354])
        self.assertEqual(self.said(b"A: b", b"", b"."), [250])
        self.assertEqual(self.paths(self.keeper.begun[0]), ["u@here.example", "w@here.example"])

    def test_the_sender_that_it_puts_in_counts(self) -> None:
        self.around.sender = smtp.Address(b"<other@here.example>")
        self.begin(b"u@here.example", b"v@here.example")
        self.assertEqual(self.said(b"A: b", b"", b"."), [250])
        (kept,) = self.keeper.begun
        self.assertEqual(str(kept.envelope.mail.reverse_path), "other@here.example")
        self.assertEqual(len(kept.envelope.recipients), 2)

    def test_more_lines_before_the_content_make_more_messages_and_lose_none(self) -> None:
        self.around.fields = 3
        self.begin(b"u@here.example", b"v@here.example")
        self.assertEqual(self.said(b"A: b", b"", b"."), [250])
        self.assertEqual(
            [self.paths(kept) for kept in self.keeper.begun],
            [["u@here.example"], ["v@here.example"]],
        )
        for kept in self.keeper.begun:
            self.assertTrue(kept.content.startswith(b"X-Field: 1\r\nX-Field: 2\r\nReceived: for "))
            self.assertTrue(kept.content.endswith(b"A: b\r\n\r\n"))
            self.assertEqual(kept.committed, 1)
        first, second = self.keeper.begun
        self.assertNotEqual(first.envelope.id, second.envelope.id)


class OnOurOwnServer(SynchronousTestCase):
    """There and back: our adapter for Twisted's deliveries around our delivery for Twisted."""

    def test_each_recipient_has_its_own_result(self) -> None:
        keeper = Keeper({"commit": [[STORED, reply(452, "4.2.2", "Full")]]})
        adapted: Any = ITransactionDelivery(Around(IMessageDelivery(keeper)))
        made = envelope()
        self.assertIsNone(self.successResultOf(adapted.validate_sender(made)))
        for address in ("u@here.example", "v@here.example"):
            rcpt = Rcpt(box(address))
            route = self.successResultOf(adapted.validate_recipient(made, rcpt))
            made.recipients.append(Recipient(rcpt, route))
        transaction = self.successResultOf(adapted.begin(made))
        self.assertIsNone(transaction.write(MESSAGE))
        replies = self.successResultOf(transaction.commit())
        self.assertEqual([each.code for each in replies], [250, 452])
        self.assertEqual(keeper.begun[0].content, MESSAGE)
