"""Addresses that only form speaks against arrive at servers of other projects, octet for octet.

The client writes quotes around local parts that need them, so every next hop gets valid syntax, and
looks up domains whose names have underscores or hyphens at the ends of labels.
"""

from collections.abc import Sequence
from ipaddress import ip_network
from typing import Protocol

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from postroom.client.model import Destination, Outgoing, Sent, SmartHost, TLSMode
from postroom.client.sender import Sender
from postroom.client.settings import Chunking, ClientSettings
from postroom.envelope import NewMessage
from postroom.queue.tables import read_mailbox
from postroom.wire.commands import Rcpt
from postroom.wire.paths import Mailbox
from tests.client.parts import MemorySource, TableResolver
from tests.daemon import free_port, wait_until
from tests.interop.fixtures import new_folder
from tests.interop.lmtp import DovecotLMTP
from tests.interop.mail import delivered, lines, message
from tests.interop.peers import Aiosmtpd, Exim, Postfix, SmtpSink

LONG = b"confirm-" + b"0123456789abcdef" * 12  # 200 octets, as list managers make them
LOCAL_PARTS = (b"a..b", b".ann", b"ann.", b"..", LONG, b"a b", b'q"\\@x')
DOMAINS = (b"foo_bar.example", b"-x-.example", b"_.y-.example")
SENDER = Mailbox(b"..sender.", b"here.example")
CONTENT = message("odd", b"text\r\n.\r\n")
LONG_LINE = message("long", b"." + b"x" * 70_000 + "€".encode() * 1000 + b"\r\n.\r\nend\r\n")
# As Debian's Exim does.
_NO_LONG_LINES = """
chunking_advertise_hosts = *
acl_smtp_data = short
begin acl
short:
  deny condition = ${if > {$max_received_linelength}{998}}
       message = lines too long
  accept
"""


class _Hop(Protocol):
    def received(self) -> list[bytes]: ...


class _Case(TestCase):
    async def send(
        self,
        port: int,
        recipients: Sequence[Mailbox],
        content: bytes = CONTENT,
        code: str = "250",
        **settings: object,
    ) -> None:
        """Send a message to a port of loopback; everybody must get it."""
        where = Destination("", SmartHost("127.0.0.1", port, TLSMode.NEVER))
        sent = await self.send_to(where, recipients, content, {}, **settings)
        self.assertEqual({str(reply)[:3] for reply in sent.replies}, {code}, sent.replies)

    async def send_to(
        self,
        destination: Destination,
        recipients: Sequence[Mailbox],
        content: bytes,
        mx: dict[str, list[tuple[int, str]]],
        **settings: object,
    ) -> Sent:
        rcpts = tuple(Rcpt(each, {}) for each in recipients)
        addresses = {
            host.rstrip("."): ["127.0.0.1"] for records in mx.values() for _, host in records
        }
        sender = Sender(
            reactor,
            TableResolver(mx, addresses),
            ClientSettings("us.example", **settings),  # type: ignore[arg-type]
        )
        source = MemorySource(*(content[at : at + 9999] for at in range(0, len(content), 9999)))
        try:
            new = NewMessage("id", SENDER, rcpts, 0.0)
            return await sender.send(destination, Outgoing(new, source))
        finally:
            await sender.stop(5)

    async def there(self, hop: _Hop, count: int) -> list[bytes]:
        """Wait until a hop has so many messages."""
        found = await deferToThread(wait_until, lambda: len(hop.received()) >= count)
        self.assertTrue(found, hop.received())
        return hop.received()


def _everybody() -> list[Mailbox]:
    mailboxes = [Mailbox(local, b"there.example") for local in LOCAL_PARTS]
    return [*mailboxes, *(Mailbox(b"bob", domain) for domain in DOMAINS)]


class AddressTests(_Case):
    """Local parts and domains."""

    async def test_aiosmtpd(self) -> None:
        port = free_port()
        hop = Aiosmtpd(port)
        self.addCleanup(hop.stop)
        await self.send(port, _everybody())
        (recipients,) = hop.recipients
        self.assertEqual([read_mailbox(each.encode()) for each in recipients], _everybody())

    async def test_smtp_sink(self) -> None:
        port = free_port()
        hop = SmtpSink(port, new_folder("sink"))
        self.addCleanup(hop.stop)
        await self.send(port, _everybody())
        (stored,) = await self.there(hop, 1)
        for each in _everybody():
            self.assertIn(b"X-Rcpt-Args: <" + bytes(each) + b">", stored)
        self.assertIn(b"X-Mail-Args: <" + bytes(SENDER) + b">", stored)

    async def test_postfix(self) -> None:
        port = free_port()
        hop = Postfix(port, new_folder("postfix"))
        self.addCleanup(hop.stop)
        # It takes no hyphen at the end of a label from anyone.
        taken = [each for each in _everybody() if b"-." not in each.domain]
        await self.send(port, taken)
        text = b"".join(await self.there(hop, len(taken)))
        for each in taken:
            self.assertIn(b"Delivered-To: " + bytes(each), text)
        self.assertIn(b"Return-Path: <" + bytes(SENDER) + b">", text)

    async def test_exim(self) -> None:
        port = free_port()
        hop = Exim(port, new_folder("exim"))
        self.addCleanup(hop.stop)
        # It takes no underscore in a domain from anyone, nor a hyphen at the end of a label.
        taken = [each for each in _everybody() if each.domain not in DOMAINS]
        await self.send(port, taken)
        await self.there(hop, 1)
        log = hop.log()
        for each in taken:
            self.assertIn(bytes(each), log)

    async def test_dovecot_by_lmtp(self) -> None:
        users = [b"a..b", b".ann", b"ann.", LONG]
        hop = DovecotLMTP([user.decode() for user in users], new_folder("dovecot"))
        self.addCleanup(hop.stop)
        recipients = [Mailbox(user, b"foo_bar.example") for user in users]
        where = SmartHost("127.0.0.1", hop.port, TLSMode.NEVER, lmtp=True)
        sent = await self.send_to(Destination("", where), recipients, CONTENT, {})
        self.assertEqual([reply.code for reply in sent.replies], [250] * len(users))
        for user in users:
            (stored,) = hop.received(user.decode())
            self.assertEqual(lines(delivered(stored)), lines(CONTENT))


class DomainTests(_Case):
    """Domains that are looked up."""

    async def test_mx_of_a_domain_with_an_underscore(self) -> None:
        port = free_port()
        hop = Aiosmtpd(port)
        self.addCleanup(hop.stop)
        for domain in DOMAINS:
            name = domain.decode()
            sent = await self.send_to(
                Destination(name),
                [Mailbox(b"a..b", domain)],
                CONTENT,
                {name: [(10, f"_mx.{name}.")]},
                port=port,
                allowed_networks=(ip_network("127.0.0.0/8"),),
            )
            self.assertEqual([reply.code for reply in sent.replies], [250])
        recipients = [read_mailbox(each.encode()) for (each,) in hop.recipients]
        self.assertEqual(recipients, [Mailbox(b"a..b", domain) for domain in DOMAINS])


class LineTests(_Case):
    """Long lines, as they are and folded."""

    async def test_they_arrive_as_they_are(self) -> None:
        port = free_port()
        hop = Exim(port, new_folder("exim"))
        self.addCleanup(hop.stop)
        await self.send(port, [Mailbox(b"bob", b"there.example")], LONG_LINE)
        (stored,) = await self.there(hop, 1)
        self.assertEqual(lines(delivered(stored)), lines(LONG_LINE))

    async def test_hosts_that_refuse_them_get_them_folded(self) -> None:
        for chunking in (Chunking.BINARY, Chunking.ALWAYS):
            port = free_port()
            hop = Exim(port, new_folder("exim"), _NO_LONG_LINES)
            self.addCleanup(hop.stop)
            bob = [Mailbox(b"bob", b"there.example")]
            await self.send(port, bob, LONG_LINE, "550", chunking=chunking)
            await self.send(port, bob, LONG_LINE, chunking=chunking, text_line_octets=998)
            (stored,) = await self.there(hop, 1)
            self.assertLessEqual(max(map(len, stored.split(b"\n"))), 998)
            unfolded = delivered(stored).replace(b"\n ", b"").replace(b"\r", b"")
            self.assertEqual(unfolded, LONG_LINE.replace(b"\r\n ", b"").replace(b"\r", b""))
            self.assertEqual(b" K S=" in hop.log(), chunking is Chunking.ALWAYS)
