"""STARTTLS and TLS, attacked through sockets of the daemon: what is no handshake, or too little.

The command injections are dialogues of RFC 3207; here are those for which the bytes of TLS matter.
"""

import contextlib
import socket
import ssl
import struct

from tests.attacks.attack import Attack
from tests.daemon import Daemon
from tests.modes import REFUSE, STRICT

HELLO = b"EHLO client.example\r\n"


def client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Wire:
    """TLS by hand: what is encrypted comes out of memory, and can be sent as one likes."""

    def __init__(self, server: Daemon, listener: str = "mx") -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.ports[listener]), 10)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context().wrap_bio(self.incoming, self.outgoing)

    def read(self) -> bytes:
        """Give what comes next; nothing if the server has closed."""
        try:
            return self.socket.recv(65536)
        except ConnectionResetError:
            return b""

    def read_to_end(self) -> bytes:
        octets = b""
        while piece := self.read():
            octets += piece
        return octets

    def until_starttls(self) -> None:
        self.read()
        self.socket.sendall(HELLO)
        self.read()
        self.socket.sendall(b"STARTTLS\r\n")
        assert self.read().startswith(b"220 ")

    def handshake(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                self.incoming.write(self.read())
            else:
                self.flush()
                return

    def flush(self) -> None:
        self.socket.sendall(self.outgoing.read())

    def say(self, octets: bytes) -> bytes:
        """Send within TLS, and give what is heard within it."""
        self.tls.write(octets)
        self.flush()
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                piece = self.read()
                if not piece:
                    return b""
                self.incoming.write(piece)


def client_hello() -> bytes:
    wire_in, wire_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(wire_in, wire_out, server_hostname="mx.here.example")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return wire_out.read()


def with_extensions(hello: bytes, extensions: bytes) -> bytes:
    """Put more extensions at the end of a ClientHello, the three lengths adjusted."""
    body = hello[9:]
    at = 2 + 32
    at += 1 + body[at]
    at += 2 + struct.unpack_from(">H", body, at)[0]
    at += 1 + body[at]
    (length,) = struct.unpack_from(">H", body, at)
    new = body[:at] + struct.pack(">H", length + len(extensions)) + body[at + 2 :] + extensions
    message = b"\x01" + len(new).to_bytes(3, "big") + new
    pieces = [message[n : n + 16_000] for n in range(0, len(message), 16_000)]
    return b"".join(b"\x16\x03\x01" + struct.pack(">H", len(each)) + each for each in pieces)


def server_name(name: bytes) -> bytes:
    """Give the extension that names a server."""
    return struct.pack(">HHHBH", 0, len(name) + 5, len(name) + 3, 0, len(name)) + name


class HandshakeTests(Attack):
    """What is no handshake ends the connection, and nothing goes on in clear text."""

    def closes_after(self, octets: bytes) -> None:
        wire = Wire(self.daemon)
        wire.until_starttls()
        wire.socket.sendall(octets)
        said = wire.read_to_end()
        self.assertNotIn(b"250", said)
        self.assertNotIn(b"500", said)
        wire.socket.close()

    def test_garbage(self) -> None:
        for octets in (
            b"NOOP\r\nNOOP\r\n",
            HELLO,
            b"\x00" * 100,
            b"\xff" * 100,
            b"\x16\x03\x01\x00\x05hello",
            b"\x80\x2e\x01\x00\x02" + b"\x00" * 50,  # SSL 2
            b"\x15\x03\x01\x00\x02\x02\x28",  # an alert
            b"\x17\x03\x03\x00\x06NOOP\r\n",  # application data before any key
        ):
            self.closes_after(octets)

    def test_garbage_on_a_port_with_tls_from_the_start(self) -> None:
        for octets in (b"EHLO x\r\nQUIT\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 100):
            wire = Wire(self.daemon, "mx-tls")
            wire.socket.sendall(octets)
            self.assertNotIn(b"220", wire.read_to_end())
            wire.socket.close()

    def test_a_client_hello_with_many_or_odd_extensions(self) -> None:
        hello = client_hello()
        many = b"".join(struct.pack(">HH", 0x5000 + n, 0) for n in range(1000))
        plain = with_extensions(hello, b"")
        for octets in (
            with_extensions(hello, many),
            with_extensions(hello, server_name(b"a\0b")),
            with_extensions(hello, server_name(b"a" * 300)),
            with_extensions(hello, server_name(b"192.0.2.1")),
            plain,
            plain.replace(b"mx.here.example", b"MX.HERE.EXAMPLE"),
            plain.replace(b"mx.here.example", b"mx.here\0example"),
            plain.replace(b"mx.here.example", b"mx.here.exampl\xff"),
            plain[:50],
        ):
            wire = Wire(self.daemon)
            wire.until_starttls()
            wire.socket.sendall(octets)
            if octets is not plain and len(octets) == 50:
                wire.socket.shutdown(socket.SHUT_WR)
            said = wire.read()
            self.assertIn(said[:1], (b"\x16", b"\x15", b""), octets[-40:])
            wire.socket.close()
        after = Wire(self.daemon)  # the daemon is as it was
        after.until_starttls()
        after.handshake()
        self.assertTrue(after.say(HELLO).startswith(b"250-"))


class StrictHandshakeTests(HandshakeTests):
    """Nothing is tolerated."""

    mode = STRICT


class RefuseHandshakeTests(HandshakeTests):
    """Bare newlines in content are refused."""

    mode = REFUSE


class WithinTests(Attack):
    """What comes outside TLS once it stands is nothing."""

    def within(self) -> Wire:
        wire = Wire(self.daemon)
        wire.until_starttls()
        wire.handshake()
        self.assertTrue(wire.say(HELLO).startswith(b"250-"))
        return wire

    def test_clear_text_within_tls_ends_the_connection(self) -> None:
        wire = self.within()
        wire.socket.sendall(b"NOOP\r\nNOOP\r\n")
        said = wire.read_to_end()
        self.assertNotIn(b"250", said)

    def test_clear_text_after_close_notify_is_not_read(self) -> None:
        for before in (b"", b"MAIL FROM:<a@there.example>\r\nRCPT TO:<user@here.example>\r\n"):
            wire = self.within()
            if before:
                wire.say(before)
            with contextlib.suppress(ssl.SSLWantReadError):
                wire.tls.unwrap()
            wire.flush()
            wire.socket.sendall(b"NOOP\r\nMAIL FROM:<evil@there.example>\r\n")
            said = wire.read_to_end()
            self.assertNotIn(b"250 ", said)

    def test_close_notify_in_the_content_stores_nothing(self) -> None:
        wire = self.within()
        for command in (b"MAIL FROM:<a@there.example>", b"RCPT TO:<user@here.example>", b"DATA"):
            wire.say(command + b"\r\n")
        inbox = self.daemon.maildir("user@here.example") / "new"
        before = set(inbox.iterdir()) if inbox.exists() else set()
        wire.tls.write(b"Subject: x\r\n\r\nhalf a message\r\n")
        with contextlib.suppress(ssl.SSLWantReadError):
            wire.tls.unwrap()
        wire.flush()
        wire.socket.sendall(b".\r\nNOOP\r\n")
        self.assertNotIn(b"250", wire.read_to_end())
        self.assertEqual(set(inbox.iterdir()) if inbox.exists() else set(), before)


class StrictWithinTests(WithinTests):
    """Nothing is tolerated."""

    mode = STRICT


class RefuseWithinTests(WithinTests):
    """Bare newlines in content are refused."""

    mode = REFUSE
