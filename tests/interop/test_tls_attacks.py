"""What attackers send instead of a handshake, and within TLS, to a daemon of ours.

Each is tried after STARTTLS and where TLS comes first. Afterwards the daemon must have said nothing
in clear text, and must serve the next client.
"""

import contextlib
import os
import smtplib
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon, wait_until
from tests.interop.certificates import make_certificates
from tests.interop.fixtures import new_folder, stopped_at_exit
from tests.interop.hellos import (
    ALPN,
    HEARTBEAT,
    USUAL,
    client_hello,
    extension,
    records,
    server_name,
    vector,
)

HANDSHAKE_SECONDS = 2
ALERT, SERVER_HELLO = 21, 22
PATIENCE_SECONDS = 20
_SETTINGS = f"""
[limits]
handshake_timeout_seconds = {HANDSHAKE_SECONDS}
connections_per_address = 10
[session]
unlimited_networks = []
unsynchronised_networks = ["127.0.0.0/8"]
"""


@cache
def server() -> Daemon:
    folder = new_folder("tls-attacks")
    daemon = Daemon(
        folder,
        *make_certificates(folder).options,
        listeners=("mx", "mx-tls", "submission", "submission-tls"),
        settings=_SETTINGS,
    )
    stopped_at_exit(daemon).start()
    return daemon


class Case(SynchronousTestCase):
    def tearDown(self) -> None:
        """The next client is served, and nobody was surprised."""
        with smtplib.SMTP("127.0.0.1", server().port, timeout=PATIENCE_SECONDS) as smtp:
            smtp.starttls(context=ssl._create_unverified_context())
            smtp.sendmail("a@example.org", "postmaster@localhost", "Subject: x\r\n\r\nx\r\n")
        self.assertNotIn("Traceback", server().log())

    def connections(self, role: str = "mx") -> Iterator[socket.socket]:
        """Give one that waits for a ClientHello after STARTTLS, and one that does so at once."""
        ports = server().ports
        with socket.create_connection(("127.0.0.1", ports[role]), PATIENCE_SECONDS) as starttls:
            stream = starttls.makefile("rb")
            stream.readline()
            for command in (b"EHLO c\r\n", b"STARTTLS\r\n"):
                starttls.sendall(command)
                while stream.readline()[3:4] == b"-":
                    pass
            yield starttls
        with socket.create_connection(
            ("127.0.0.1", ports[f"{role}-tls"]), PATIENCE_SECONDS
        ) as implicit:
            yield implicit

    def answer(self, connection: socket.socket, octets: bytes) -> bytes:
        """Send octets; give all that comes until the end, which must come."""
        with contextlib.suppress(OSError):
            connection.sendall(octets)
        return self.rest(connection)

    def rest(self, connection: socket.socket) -> bytes:
        received = b""
        with contextlib.suppress(ConnectionError):
            while octets := connection.recv(65_536):
                received += octets
        self.assertNotIn(b"250 ", received)
        return received

    def first(self, connection: socket.socket, octets: bytes) -> int:
        """Send octets; give the type of the first record that comes, 0 for the end."""
        with contextlib.suppress(OSError):
            connection.sendall(octets)
            return (connection.recv(1) or b"\0")[0]
        return 0


class HelloTests(Case):
    """ClientHellos."""

    def test_one_by_hand_is_answered(self) -> None:
        """Or the other tests would show nothing."""
        for connection in self.connections():
            self.assertEqual(self.first(connection, records(client_hello())), SERVER_HELLO)

    def test_half_of_one_and_silence_is_cut_off(self) -> None:
        half = records(client_hello())[:60]
        for connection in self.connections():
            for octets in (b"", half[:1], half):
                connection.sendall(octets)
            self.assertEqual(self.rest(connection), b"")
        said = "TLS handshake failed client=127.0.0.1"
        self.assertTrue(wait_until(lambda: said in server().log()), server().log())

    def test_one_that_drips_is_cut_off(self) -> None:
        hello = records(client_hello(USUAL + extension(21, b"\0" * 500)))
        for connection in self.connections():
            connection.settimeout(0.1)
            for octet in hello:
                with contextlib.suppress(TimeoutError):
                    try:
                        connection.sendall(bytes([octet]))
                        if connection.recv(1) == b"":
                            break
                    except ConnectionError:
                        break
            else:
                self.fail("it was never cut off")

    def test_a_thousand_extensions(self) -> None:
        many = b"".join(extension(0x1000 + number, b"") for number in range(1000))
        large = b"".join(extension(0x1000 + number, b"x" * 60) for number in range(900))
        twice = USUAL + extension(0x1234, b"") + extension(0x1234, b"")
        for octets, answers in ((USUAL + many, {SERVER_HELLO}), (USUAL + large, {22, 21, 0})):
            for connection in self.connections():
                self.assertIn(self.first(connection, records(client_hello(octets))), answers)
        for connection in self.connections():
            self.assertIn(self.first(connection, records(client_hello(twice))), {21, 22})

    def test_one_in_many_records(self) -> None:
        octets = records(client_hello(), size=1)
        for connection in self.connections():
            self.assertIn(self.first(connection, octets), {SERVER_HELLO, ALERT})

    def test_odd_server_names(self) -> None:
        for name, answers in (
            (b"localhost", {SERVER_HELLO}),
            (b"LOCALHOST", {SERVER_HELLO}),
            (b"127.0.0.1", {SERVER_HELLO}),
            (b"\xff\xfe\r\n%s", {SERVER_HELLO}),
            (b"a" * 255, {SERVER_HELLO}),
            (b"local\0host", {ALERT}),
            (b"a" * 300, {ALERT}),
            (b"", {SERVER_HELLO}),
        ):
            octets = records(client_hello(USUAL + server_name(name)))
            for connection in self.connections():
                self.assertIn(self.first(connection, octets), answers, name)

    def test_two_server_names_and_lengths_that_lie(self) -> None:
        pair = vector(b"\0" + vector(b"a.example") + b"\0" + vector(b"b.example"))
        for value in (pair, b"\xff\xff" + b"\0" * 10, b"\0", b""):
            octets = records(client_hello(USUAL + extension(0, value)))
            for connection in self.connections():
                self.assertIn(self.first(connection, octets), {ALERT, SERVER_HELLO, 0})

    def test_other_protocols_are_refused(self) -> None:
        for name in (b"h2", b"http/1.1", b"acme-tls/1", b"\0", b"x" * 255):
            octets = records(client_hello(USUAL + extension(ALPN, vector(vector(name, 1)))))
            for connection in self.connections():
                self.assertEqual(self.first(connection, octets), ALERT, name)

    def test_old_versions_and_weak_suites_are_refused(self) -> None:
        no_1_3 = USUAL[: USUAL.index(struct.pack("!HH", 43, 5))]
        weak = {
            "NULL": (0x0001, 0x0002, 0x003B, 0xC006, 0xC010),
            "export": (0x0003, 0x0006, 0x0008, 0x0014),
            "RC4": (0x0004, 0x0005, 0xC007, 0xC011),
            "DES": (0x0009, 0x0015),
            "3DES": (0x000A, 0x0016, 0xC008, 0xC012),
            "anonymous": (0x0034, 0xC018, 0xC019),
        }
        weaker = {
            "no forward secrecy": (0x002F, 0x0035, 0x009C, 0x009D),
            "CBC": (0xC009, 0xC00A, 0xC013, 0xC014, 0xC023, 0xC027),
        }
        for role, refused in (("mx", weak), ("submission", {**weak, **weaker})):
            for what, suites in refused.items():
                for connection in self.connections(role):
                    octets = records(client_hello(no_1_3, suites=suites))
                    self.assertEqual(self.first(connection, octets), ALERT, (role, what))
        for version in (0x0300, 0x0301, 0x0302):
            for connection in self.connections():
                octets = records(client_hello(no_1_3, version=version))
                self.assertEqual(self.first(connection, octets), ALERT, hex(version))

    def test_compression_is_not_chosen(self) -> None:
        no_1_3 = USUAL[: USUAL.index(struct.pack("!HH", 43, 5))]
        octets = records(client_hello(no_1_3, compressions=b"\x01\x00", suites=(0xC02F, 0xC02B)))
        for connection in self.connections():
            self.assertEqual(self.first(connection, octets), SERVER_HELLO)
            hello = connection.recv(100)
            session_octets = hello[4 + 4 + 2 + 32]
            compression = hello[4 + 4 + 2 + 32 + 1 + session_octets + 2]
            self.assertEqual(compression, 0)


class GarbageTests(Case):
    """What is no ClientHello at all."""

    def test_it_is_the_end(self) -> None:
        for octets in (
            b"EHLO c\r\nMAIL FROM:<a@b>\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\0" * 5000,
            b"\xff" * 5000,
            os.urandom(20_000),
            b"\x80\x2e\x01\x00\x02" + b"\0" * 50,  # SSL 2
            records(b"\x0e\0\0\0"),  # ServerHelloDone
            records(b"\x01\xff\xff\xff" + b"\0" * 100),  # a message of 16 MB
            b"\x16\x03\x01\xff\xff" + b"\0" * 20_000,  # a record of 64 KB
            records(b"\x01", kind=24),  # Heartbeat
            records(b"\x02\x28", kind=21),  # an alert
            records(b"x" * 100, kind=23),
            records(client_hello(USUAL + extension(HEARTBEAT, b"\x01")))
            + records(b"\x01\x40\x00", kind=24),  # Heartbleed
        ):
            for connection in self.connections():
                self.answer(connection, octets)

    def test_many_empty_records(self) -> None:
        for connection in self.connections():
            self.answer(connection, b"\x16\x03\x01\x00\x00" * 10_000)


class FloodTests(Case):
    """Many at once."""

    def test_handshakes_that_stand_still_do_not_keep_others_out_for_long(self) -> None:
        half = records(client_hello())[:60]
        with contextlib.ExitStack() as stack:
            for _ in range(30):  # 10 are let in
                made = socket.create_connection(("127.0.0.1", server().ports["mx-tls"]), 20)
                stack.enter_context(made).sendall(half)

            def is_served() -> bool:
                try:
                    with smtplib.SMTP("127.0.0.1", server().port, timeout=5) as smtp:
                        return smtp.noop()[0] == 250
                except smtplib.SMTPException:
                    return False

            self.assertTrue(wait_until(is_served, PATIENCE_SECONDS))

    def test_records_of_one_octet(self) -> None:
        context = ssl._create_unverified_context()
        for connection in self.connections():
            with context.wrap_socket(connection) as secure:
                for octet in b"EHLO c\r\nNOOP\r\n" * 2:
                    secure.sendall(bytes([octet]))
                received = b""
                while received.count(b"250 2.0.0") < 2:
                    received += secure.recv(1000)


class Wire:
    """A client whose TLS ends in octets that the test sends itself."""

    def __init__(self, connection: socket.socket) -> None:
        """Shake hands."""
        self.connection = connection
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl._create_unverified_context()
        self._tls = context.wrap_bio(self._incoming, self._outgoing)
        self._try(self._tls.do_handshake)

    def _try(self, act: Callable[[], Any]) -> Any:
        while True:
            try:
                result = act()
                self.connection.sendall(self._outgoing.read())
                return result
            except ssl.SSLWantReadError:
                self.connection.sendall(self._outgoing.read())
                octets = self.connection.recv(65_536)
                assert octets, "the server hung up"
                self._incoming.write(octets)

    def say(self, octets: bytes, until: bytes) -> None:
        """Send octets within TLS, and read until something comes."""
        self._try(lambda: self._tls.write(octets))
        received = b""
        while until not in received:
            received += self._try(lambda: self._tls.read(65_536))

    def end(self) -> bytes:
        """Give the octets that end TLS in order."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        return self._outgoing.read()


class ClosureTests(Case):
    """Clear text after the end of TLS."""

    def test_nothing_is_read_as_clear_text(self) -> None:
        envelope = b"EHLO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<postmaster>\r\n"
        before = self.messages()
        for said, until, clear in (
            (b"EHLO c\r\n", b"250 ", b"NOOP\r\n"),
            (b"EHLO c\r\nNOO", b"250 ", b"P\r\n"),
            (envelope + b"DATA\r\nhalf", b"354 ", b"x\r\n.\r\nNOOP\r\n"),
            # Exim's "Dead.Letter", CVE-2026-45185.
            (envelope + b"BDAT 10 LAST\r\nhalf", b"250 2.1.5", b"x\r\nx\r\nNOOP\r\n"),
            (envelope + b"BDAT 9\r\nhalf", b"250 2.1.5", b"x\r\nBDAT 0 LAST\r\n"),
        ):
            for connection in self.connections():
                wire = Wire(connection)
                wire.say(said, until)
                after = self.answer(connection, wire.end() + clear)
                # Nothing but TLS's own farewell, a record of its own kind.
                self.assertIn(after[:1], (b"", b"\x15", b"\x17"), after)
        self.assertEqual(self.messages(), before)

    def messages(self) -> int:
        folder = server().maildir("postmaster@localhost") / "new"
        return len(list(folder.iterdir())) if folder.exists() else 0

    def test_a_reset_instead_of_an_end(self) -> None:
        context = ssl._create_unverified_context()
        hard = struct.pack("ii", 1, 0)
        act: Callable[[ssl.SSLSocket], object]
        for act in (
            lambda secure: secure.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, hard),
            lambda secure: secure.shutdown(socket.SHUT_WR),
        ):
            for connection in self.connections():
                with context.wrap_socket(connection) as secure:
                    secure.sendall(b"EHLO c\r\n")
                    act(secure)
