"""The server on real sockets and real TLS, on loopback; the clients are Python's, in threads."""

import contextlib
import os
import socket
import ssl
import struct
import tempfile
from collections.abc import Callable
from typing import Any, cast

import trustme
from twisted.cred.portal import Portal
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.threads import deferToThread
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import TestCase

from postroom.server.connections import Connections
from postroom.server.factory import ServerFactory
from postroom.server.limits import ListenerSettings
from tests.server.scene import (
    HOSTNAME,
    Anonymous,
    Checker,
    Late,
    Realm,
    World,
    settings,
)
from tests.server.test_protocol import MAIL, PLAIN, RCPT

reactor: Any = _reactor
PATIENCE_SECONDS = 10

_authority = trustme.CA()
_issued = _authority.issue_cert(HOSTNAME)
SERVER_CONTEXT = PrivateCertificate.loadPEM(
    _issued.private_key_and_cert_chain_pem.bytes()
).options()


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    _authority.configure_trust(context)
    return context


class Client:
    """A blocking client."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_SECONDS)
        self.socket = connection
        self._unread = b""

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def line(self) -> bytes:
        while b"\r\n" not in self._unread:
            octets = self.socket.recv(65_536)
            if not octets:
                raise EOFError
            self._unread += octets
        line, _, self._unread = self._unread.partition(b"\r\n")
        return line

    def reply(self) -> list[bytes]:
        lines = [self.line()]
        while lines[-1][3:4] == b"-":
            lines.append(self.line())
        return lines

    def say(self, line: str) -> int:
        self.send(line.encode() + b"\r\n")
        return int(self.reply()[-1][:3])

    def start_tls(self) -> None:
        assert not self._unread, self._unread
        self.socket = client_context().wrap_socket(self.socket, server_hostname=HOSTNAME)

    def at_end(self) -> bool:
        """Read to the end; True if nothing more came."""
        try:
            return self.socket.recv(1000) == b""
        except (ConnectionResetError, ssl.SSLError):
            return True


class LoopbackTestCase(TestCase):
    """One listener on loopback."""

    limit = 100
    timeout = 3 * PATIENCE_SECONDS

    def setUp(self) -> None:
        self.world = World()
        self.connections = Connections(reactor, self.limit, 10)

    def listen(self, listener: ListenerSettings | None = None, implicit: bool = False) -> int:
        listener = listener or settings()
        portal = Portal(Realm(self.world), [Checker(self.world)])
        portal.registerChecker(Anonymous(self.world))
        factory: Any = ServerFactory(reactor, portal, listener, self.connections, SERVER_CONTEXT)
        self.factory = factory
        if implicit:
            factory = TLSMemoryBIOFactory(SERVER_CONTEXT, False, factory)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(self.gone)
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def gone(self) -> "Deferred[None]":
        """Wait until the sessions are over."""
        return self.connections.drain()

    def run_client(self, port: int, talk: Callable[[Client], Any], implicit: bool = False) -> Any:
        def thread() -> Any:
            with socket.create_connection(("127.0.0.1", port)) as plain:
                connection: socket.socket = plain
                if implicit:
                    connection = client_context().wrap_socket(plain, server_hostname=HOSTNAME)
                try:
                    return talk(Client(connection))
                finally:
                    connection.close()

        return deferToThread(thread)


def send_mail(client: Client) -> None:
    for line, code in ((MAIL, 250), (RCPT, 250), ("DATA", 354), ("x\r\n.", 250)):
        assert client.say(line) == code, line


class PlainTests(LoopbackTestCase):
    """Without TLS."""

    async def test_a_session(self) -> None:
        def talk(client: Client) -> None:
            self.assertEqual(client.reply(), [b"220 mx.here.example ESMTP Postroom"])
            client.say("EHLO c")
            send_mail(client)
            self.assertEqual(client.say("QUIT"), 221)
            self.assertTrue(client.at_end())

        await self.run_client(self.listen(), talk)
        self.assertEqual([each.content for each in self.world.stored], [b"x\r\n"])
        self.assertEqual(self.world.stored[0].facts.client, "127.0.0.1")

    async def test_a_connection_that_is_reset_is_let_go_of(self) -> None:
        def talk(client: Client) -> None:
            client.reply()
            client.say("EHLO c")
            for line in (MAIL, RCPT, "DATA"):
                client.say(line)
            client.send(b"half a mess")
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        await self.run_client(self.listen(), talk)
        await self.gone()
        self.assertEqual(self.world.calls[-1], "abort")
        self.assertEqual(self.world.stored, [])

    async def test_a_client_that_does_not_read_gets_every_reply_in_order_when_it_does(self) -> None:
        count = 30_000
        commands = b"".join(b"VRFY %d\r\nNOOP\r\n" % number for number in range(count))
        replies = (
            b"252 2.0.0 Cannot verify, send RCPT to try delivery\r\n250 2.0.0 Ok\r\n"
        ) * count
        sessions: list[Any] = []

        def talk(client: Client) -> None:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            client.reply()
            sessions.extend(self.connections._sessions)
            ours = sessions[0].transport.getHandle()
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
            client.send(commands)
            client.send(b"QUIT\r\n")
            received = bytearray()
            while octets := client.socket.recv(1_000_000):
                received += octets
            self.assertEqual(bytes(received), replies + b"221 2.0.0 Bye\r\n")

        await self.run_client(self.listen(), talk)
        # Else the socket took everything, and nothing was shown.
        self.assertIsNone(sessions[0]._direct._socket)

    async def test_a_peer_that_takes_no_replies_is_not_read_from(self) -> None:
        transaction = f"{MAIL}\r\n{RCPT}\r\nDATA\r\nx\r\n.\r\n".encode()

        def talk(client: Client) -> None:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.reply()
            client.say("EHLO c")
            (session,) = self.connections._sessions
            transport = cast(Any, session).transport
            transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            client.socket.settimeout(1)
            with self.assertRaises(TimeoutError):  # all that lies between us is full
                for _ in range(10_000):
                    client.send(transaction * 500)
            self.assertTrue(cast(Any, session).congested)
            # One segment's replies, and what the transport takes before it complains.
            self.assertLess(len(transport.dataBuffer) + transport._tempDataLen, 500_000)

        await self.run_client(self.listen(), talk)

    async def test_lmtp_on_a_unix_socket(self) -> None:
        self.listen(settings(role="lmtp"))
        path = os.path.join(tempfile.mkdtemp(), "lmtp")
        port = reactor.listenUNIX(path, self.factory)
        self.addCleanup(port.stopListening)

        def talk() -> None:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
                client = Client(connection)
                assert client.reply() == [b"220 mx.here.example LMTP Postroom"]
                for line in ("LHLO c", MAIL, RCPT, RCPT):
                    assert client.say(line) == 250
                client.send(b"BDAT 3 LAST\r\nx\r\nQUIT\r\n")
                codes = [client.reply()[-1][:3] for _ in range(3)]
                assert codes == [b"250", b"250", b"221"]

        await deferToThread(talk)
        self.assertEqual(self.world.stored[0].facts.protocol, "LMTP")

    async def test_a_peer_may_close_its_side_before_it_hears_anything(self) -> None:
        def talk(client: Client) -> None:
            client.reply()
            client.say("EHLO c")
            client.send(f"{MAIL}\r\n{RCPT}\r\nBDAT 3 LAST\r\nx\r\nQUIT\r\n".encode())
            client.socket.shutdown(socket.SHUT_WR)
            codes = [client.reply()[-1][:3] for _ in range(4)]
            self.assertEqual(codes, [b"250"] * 3 + [b"221"])
            self.assertTrue(client.at_end())

        port = self.listen()
        self.world.answer = Late(reactor)
        await self.run_client(port, talk)
        self.assertEqual([each.content for each in self.world.stored], [b"x\r\n"])

    async def test_a_unix_socket(self) -> None:
        self.listen()
        path = os.path.join(tempfile.mkdtemp(), "smtp")
        port = reactor.listenUNIX(path, self.factory)
        self.addCleanup(port.stopListening)

        def talk() -> None:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
                client = Client(connection)
                client.reply()
                client.say("EHLO c")
                send_mail(client)
                assert client.say("QUIT") == 221

        await deferToThread(talk)
        self.assertEqual(self.world.stored[0].facts.client, "unix")


class StarttlsTests(LoopbackTestCase):
    """From clear text to TLS."""

    async def test_a_login_and_a_message(self) -> None:
        def talk(client: Client) -> None:
            client.reply()
            client.say("EHLO c")
            self.assertEqual(client.say(PLAIN), 538)
            self.assertEqual(client.say("STARTTLS"), 220)
            client.start_tls()
            self.assertEqual(client.say(PLAIN), 503)
            client.say("EHLO c")
            self.assertEqual(client.say(MAIL), 530)
            self.assertEqual(client.say(PLAIN), 235)
            send_mail(client)
            self.assertEqual(client.say("QUIT"), 221)

        await self.run_client(self.listen(settings(role="submission")), talk)
        facts = self.world.stored[0].facts
        assert facts.tls is not None
        self.assertEqual((facts.tls.version, facts.protocol), ("TLSv1.3", "ESMTPSA"))
        self.assertIn(facts.tls.bits, (128, 256))

    async def test_what_was_injected_before_is_not_answered_within(self) -> None:
        # The sequences of the EAST tester: a reply too many shows that the injected one was taken.
        def talk(injected: bytes) -> Callable[[Client], None]:
            def go(client: Client) -> None:
                client.reply()
                client.say("EHLO c")
                client.send(b"STARTTLS\r\n" + injected)
                self.assertEqual(client.reply()[0][:3], b"220")
                client.start_tls()
                client.send(b"HELP\r\n")
                self.assertEqual(client.reply()[0][:3], b"214", injected)
                self.assertEqual(client.say("QUIT"), 221)
                self.assertTrue(client.at_end())

            return go

        port = self.listen()
        for injected in (
            b"EHLO x\r\n",
            b"NOOP\r\n",
            b"NOOP",
            f"EHLO x\r\n{MAIL}\r\n{RCPT}\r\nDATA\r\nx\r\n.\r\n".encode(),
        ):
            await self.run_client(port, talk(injected))
        self.assertEqual(self.world.stored, [])

    async def test_a_broken_handshake_is_the_end(self) -> None:
        def talk(octets: bytes) -> Callable[[Client], None]:
            def go(client: Client) -> None:
                client.reply()
                client.say("EHLO c")
                client.say("STARTTLS")
                client.send(octets)
                with contextlib.suppress(OSError):
                    while answer := client.socket.recv(1000):
                        assert b"250" not in answer

            return go

        port = self.listen()
        for octets in (b"EHLO c\r\n" + MAIL.encode() + b"\r\n", b"\x16\x03\x01\x00\x05garbage" * 9):
            await self.run_client(port, talk(octets))
        self.assertEqual(self.world.calls, [])

    async def test_clear_text_after_the_end_of_tls_is_the_end(self) -> None:
        def talk(client: Client) -> None:
            client.reply()
            client.say("EHLO c")
            client.say("STARTTLS")
            client.start_tls()
            client.say("EHLO c")
            for line in (MAIL, RCPT, "DATA"):
                client.say(line)
            client.send(b"half a mess")
            secured = client.socket
            assert isinstance(secured, ssl.SSLSocket)
            plain = secured.unwrap()
            with contextlib.suppress(OSError):
                plain.sendall(b"\r\n.\r\nNOOP\r\n")
                self.assertEqual(plain.recv(1000), b"")
            plain.close()

        await self.run_client(self.listen(), talk)
        await self.gone()
        self.assertEqual(self.world.stored, [])
        self.assertEqual(self.world.calls[-1], "abort")

    async def test_half_a_handshake_does_not_outlast_the_service(self) -> None:
        def talk(client: Client) -> None:
            client.reply()
            client.say("EHLO c")
            client.say("STARTTLS")
            client.send(b"\x16\x03\x01")
            reactor.callFromThread(self.connections.drain)
            self.assertTrue(client.at_end())

        await self.run_client(self.listen(), talk)

    async def test_nothing_is_read_as_a_chunk_after_the_end_of_tls(self) -> None:
        def talk(client: Client) -> None:
            client.reply()
            client.say("EHLO c")
            client.say("STARTTLS")
            client.start_tls()
            client.say("EHLO c")
            for line in (MAIL, RCPT):
                client.say(line)
            client.send(b"BDAT 20 LAST\r\nhalf")
            secured = client.socket
            assert isinstance(secured, ssl.SSLSocket)
            plain = secured.unwrap()
            with contextlib.suppress(OSError):
                plain.sendall(b"x" * 16 + b"NOOP\r\n")
                self.assertEqual(plain.recv(1000), b"")
            plain.close()

        await self.run_client(self.listen(), talk)
        await self.gone()
        self.assertEqual(self.world.stored, [])
        self.assertEqual(self.world.calls[-1], "abort")


class ImplicitTests(LoopbackTestCase):
    """TLS from the first octet: RFC 8314 s3."""

    async def test_a_login_and_a_message(self) -> None:
        def talk(client: Client) -> None:
            self.assertEqual(client.reply()[0][:3], b"220")
            client.send(b"EHLO c\r\n")
            offered = [line[4:] for line in client.reply()]
            self.assertIn(b"AUTH PLAIN LOGIN", offered)
            self.assertNotIn(b"STARTTLS", offered)
            self.assertEqual(client.say("STARTTLS"), 503)
            self.assertEqual(client.say(PLAIN), 235)
            send_mail(client)
            self.assertEqual(client.say("QUIT"), 221)

        port = self.listen(settings(role="submission"), implicit=True)
        await self.run_client(port, talk, implicit=True)
        facts = self.world.stored[0].facts
        assert facts.tls is not None
        self.assertEqual((facts.tls.version, facts.protocol), ("TLSv1.3", "ESMTPSA"))

    async def test_clear_text_is_not_answered_in_clear(self) -> None:
        def talk(client: Client) -> None:
            client.send(b"EHLO c\r\n")
            with contextlib.suppress(OSError):
                while answer := client.socket.recv(1000):
                    assert b"220" not in answer

        await self.run_client(self.listen(implicit=True), talk)
        await self.gone()

    async def test_a_large_pipelined_session(self) -> None:
        body = (b"x" * 70 + b"\r\n") * 20_000

        def talk(client: Client) -> None:
            client.send(
                f"EHLO c\r\n{MAIL}\r\n{RCPT}\r\nDATA\r\n".encode() + body + b".\r\nQUIT\r\n"
            )
            codes = [int(client.reply()[-1][:3]) for _ in range(7)]
            self.assertEqual(codes, [220, 250, 250, 250, 354, 250, 221])

        await self.run_client(self.listen(implicit=True), talk, implicit=True)
        self.assertEqual([each.content for each in self.world.stored], [body])


class RefusedConnectionTests(LoopbackTestCase):
    """No room."""

    limit = 0

    async def test_the_peer_hears_why(self) -> None:
        def talk(client: Client) -> None:
            self.assertEqual(
                client.reply(), [b"421 4.3.2 mx.here.example Too many connections, try again later"]
            )
            self.assertTrue(client.at_end())

        await self.run_client(self.listen(), talk)
        await self.run_client(self.listen(implicit=True), talk, implicit=True)
