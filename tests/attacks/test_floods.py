"""Floods: what comes without end costs the daemon no memory, and others are served meanwhile."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from postroom.testing.conversation import Silence
from tests.attacks.attack import Attack
from tests.conformance.daemon import USER
from tests.modes import REFUSE, STRICT

MEBIBYTE = 1 << 20
ROOM = 48 * MEBIBYTE
"""More than any session takes, and less than any flood."""


class FloodTests(Attack):
    """Memory stays flat, and the next client is answered at once."""

    @contextmanager
    def bounded(self) -> Iterator[None]:
        ours = self.daemon
        before = ours.resident_octets()
        ours.forget_peak()
        yield
        self.assertLess(ours.peak_octets() - before, ROOM)
        client = self.client()
        self.assertEqual(client.say("NOOP").code, 250)
        client.line.lose()

    def flood(self, unit: bytes, octets: int, *before: str, end: bytes = b"") -> str:
        """Send a unit on and on after these lines; give the code of what is heard, or nothing."""
        client = self.client()
        for line in before:
            reply = client.say(line)
            self.assertIn(reply.code, (250, 354), line)
        for _ in range(octets // len(unit)):
            client.line.send(unit)
        client.line.send(end)
        try:
            return str(client.line.hear().code)
        except Silence:
            return ""
        finally:
            client.line.lose()

    def message(self, unit: bytes, octets: int, end: bytes = b"\r\n\r\nx\r\n.\r\n") -> str:
        mail = ("MAIL FROM:<a@there.example>", f"RCPT TO:<{USER}>", "DATA")
        return self.flood(unit, octets, *mail, end=end)

    def test_a_command_without_end(self) -> None:
        with self.bounded():
            self.assertIn(self.flood(b"A" * 65536, 200 * MEBIBYTE), ("421", "500", "554", ""))

    def test_a_line_of_content_without_end(self) -> None:
        with self.bounded():
            self.assertEqual(self.message(b"A" * 65536, 100 * MEBIBYTE), "552")

    def body(self, unit: bytes, octets: int, end: bytes) -> int:
        """Send a message whose body is a unit on and on; return the code of its reply."""
        with self.bounded():
            client = self.client()
            for line in ("MAIL FROM:<a@there.example>", f"RCPT TO:<{USER}>", "DATA"):
                client.say(line)
            client.line.send(b"Subject: x\r\n\r\n")
            for _ in range(octets // len(unit)):
                client.line.send(unit)
            client.line.send(end)
            code = client.line.hear().code
            client.line.lose()
        return code

    def test_a_line_of_forty_mebibytes_is_taken(self) -> None:
        for unit in (b"A" * 65_536, b" " * 65_536, b"=\xc3\xa4." * 16_384):
            self.assertEqual(self.body(unit, 40 * MEBIBYTE, b"\r\n.\r\n"), 250)

    def test_returns_that_end_no_line(self) -> None:
        for end in (b"x\r\n.\r\n", b"\n.\r\n"):
            code = self.body(b"\r" * 65_536, 40 * MEBIBYTE, end)
            self.assertEqual(code, 250 if self.mode.mends else 550)

    def test_newlines_that_grow_when_they_are_mended(self) -> None:
        with self.bounded():
            found = self.message(b"\n" * 65536, 40 * MEBIBYTE)
            self.assertEqual(found, "552" if self.mode.mends else "550")

    def test_content_longer_than_the_limit(self) -> None:
        with self.bounded():
            line = (b"x" * 62 + b"\r\n") * 1024
            self.assertEqual(self.message(line, 100 * MEBIBYTE), "552")

    def test_a_header_without_end(self) -> None:
        for unit in (
            b"To: a@b.example\r\n" * 4096,
            b"X: y\r\n" * 8192,
            b" folded\r\n" * 8192,
            b"Received: from a by b; Thu, 1 Jan 1970 00:00:00 +0000\r\n" * 1024,
        ):
            with self.bounded():
                self.assertIn(self.message(unit, 30 * MEBIBYTE), ("552", "554"), unit[:20])

    def test_multiparts_within_multiparts(self) -> None:
        unit = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n"
        with self.bounded():
            self.assertIn(self.message(unit, 5 * MEBIBYTE), ("250", "552", "554"))

    def test_a_chunk_longer_than_the_limit(self) -> None:
        with self.bounded():
            client = self.client()
            for line in ("MAIL FROM:<a@there.example>", f"RCPT TO:<{USER}>"):
                self.assertEqual(client.say(line).code, 250)
            client.line.send(b"BDAT 104857600 LAST\r\n")
            for _ in range(100):
                client.line.send(b"A" * MEBIBYTE)
            self.assertEqual(client.line.hear().code, 552)
            self.assertEqual(client.say("NOOP").code, 250)
            client.line.lose()

    def test_recipients_without_end(self) -> None:
        with self.bounded():
            client = self.client()
            client.say("MAIL FROM:<a@there.example>")
            client.line.send(f"RCPT TO:<{USER}>\r\n".encode() * 1200)
            codes = [client.line.hear().code for _ in range(1200)]
            self.assertEqual(codes, [250] * 1000 + [452] * 200)
            client.line.lose()

    def test_replies_that_nobody_reads(self) -> None:
        with self.bounded():
            client = self.client(timeout_seconds=1)
            for _ in range(50):
                client.line.send(b"RSET\r\n" * 100_000)
            other = self.client()
            self.assertEqual(other.say("NOOP").code, 250)
            other.line.lose()
            client.line.lose()

    def test_a_crowd_that_says_nothing(self) -> None:
        with self.bounded():
            place = ("127.0.0.1", self.daemon.port)
            crowd = [socket.create_connection(place, 10) for _ in range(300)]
            client = self.client()
            self.assertEqual(client.say("NOOP").code, 250)
            client.line.lose()
            for each in crowd:
                each.close()


class StrictFloodTests(FloodTests):
    """Nothing is tolerated."""

    mode = STRICT


class RefuseFloodTests(FloodTests):
    """Bare CRs and LFs are refused."""

    mode = REFUSE
