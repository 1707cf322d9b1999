"""PROXY headers: each case whole, byte by byte, and with what follows it."""

import socket
import struct
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from postroom.wire.proxy import ProxyError, ProxyReader

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
IPV4 = socket.inet_aton("192.0.2.1") + socket.inet_aton("192.0.2.25") + struct.pack("!HH", 4000, 25)
IPV6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::25")
    + struct.pack("!HH", 65_535, 25)
)
MAPPED = b"\0" * 10 + b"\xff\xff" + IPV4[:4] + IPV6[16:]
UNIX = b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")


def v2(body: bytes, command: int = 0x21, family: int = 0x11, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", size) + body


def field(kind: int, value: bytes, length: int | None = None) -> bytes:
    return bytes([kind]) + struct.pack("!H", len(value) if length is None else length) + value


class ProxyTests(SynchronousTestCase):
    def read(self, octets: bytes) -> tuple[str | None, int]:
        """Read a header in every cut, and with content behind it."""
        found = ProxyReader().feed(octets)
        assert found is not None, octets
        self.assertEqual(found.rest, b"")
        for cut in range(1, len(octets)):
            reader = ProxyReader()
            self.assertIsNone(reader.feed(octets[:cut]))
            self.assertEqual(reader.feed(octets[cut:]), found)
        reader = ProxyReader()
        for octet in octets[:-1]:
            self.assertIsNone(reader.feed(bytes([octet])))
        rest = b"EHLO x\r\nPROXY TCP4 "
        with_rest = replace(found, rest=rest)
        self.assertEqual(reader.feed(octets[-1:] + rest), with_rest)
        self.assertEqual(ProxyReader().feed(octets + rest), with_rest)
        return found.client, found.port

    def refuse(self, octets: bytes) -> None:
        """Refuse octets whole; and byte by byte at some point, without ever taking them."""
        self.assertRaises(ProxyError, ProxyReader().feed, octets)
        reader = ProxyReader()

        def feed_all() -> None:
            for octet in octets:
                self.assertIsNone(reader.feed(bytes([octet])))

        self.assertRaises(ProxyError, feed_all)

    def test_version_1(self) -> None:
        for line, client in {
            b"TCP4 192.0.2.1 192.0.2.25 4000 25": ("192.0.2.1", 4000),
            b"TCP4 255.255.255.255 0.0.0.0 65535 0": ("255.255.255.255", 65_535),
            b"TCP6 2001:db8::1 2001:db8::25 0 25": ("2001:db8::1", 0),
            b"TCP6 2001:DB8:0:0:0:0:0:1 ::1 4000 25": ("2001:db8::1", 4000),
            b"TCP6 ::ffff:192.0.2.1 ::1 4000 25": ("192.0.2.1", 4000),
            b"UNKNOWN": (None, 0),
            b"UNKNOWN " + b"f" * 91: (None, 0),
            b"UNKNOWN 192.0.2.1 \xff\0 junk": (None, 0),
        }.items():
            self.assertEqual(self.read(b"PROXY " + line + b"\r\n"), client)

    def test_where_the_client_connected_to(self) -> None:
        for line, destination in {
            b"TCP4 192.0.2.1 192.0.2.25 4000 25": "192.0.2.25",
            b"TCP6 2001:db8::1 2001:DB8:0::25 0 25": "2001:db8::25",
            b"TCP6 2001:db8::1 ::ffff:192.0.2.25 0 25": "192.0.2.25",
            b"UNKNOWN": None,
        }.items():
            found = ProxyReader().feed(b"PROXY " + line + b"\r\n")
            assert found is not None
            self.assertEqual(found.destination, destination)

    def test_version_1_that_is_wrong(self) -> None:
        good = b"TCP4 192.0.2.1 192.0.2.25 4000 25"
        for line in (
            b"",
            b"TCP4",
            b"TCP5 192.0.2.1 192.0.2.25 4000 25",
            b"tcp4 192.0.2.1 192.0.2.25 4000 25",
            b"UDP4 192.0.2.1 192.0.2.25 4000 25",
            b"UNKNOWNX",
            b"TCP4 192.0.2.1 192.0.2.25 4000",
            b"TCP4 192.0.2.1 192.0.2.25 4000 25 1",
            b"TCP4  192.0.2.1 192.0.2.25 4000 25",
            b"TCP4\t192.0.2.1 192.0.2.25 4000 25",
            good + b" ",
            b" " + good,
            b"TCP4 192.0.2.1 192.0.2.25 65536 25",
            b"TCP4 192.0.2.1 192.0.2.25 99999 25",
            b"TCP4 192.0.2.1 192.0.2.25 4000 99999",
            b"TCP4 192.0.2.1 192.0.2.25 -1 25",
            b"TCP4 192.0.2.1 192.0.2.25 +1 25",
            b"TCP4 192.0.2.1 192.0.2.25 04000 25",
            b"TCP4 192.0.2.1 192.0.2.25 4_0 25",
            "TCP4 192.0.2.1 192.0.2.25 ٤٠ 25".encode(),
            b"TCP4 192.0.2.256 192.0.2.25 4000 25",
            b"TCP4 192.0.2.01 192.0.2.25 4000 25",
            b"TCP4 192.0.2 192.0.2.25 4000 25",
            b"TCP4 192.0.2.1 192.0.2 4000 25",
            b"TCP4 2001:db8::1 2001:db8::25 4000 25",
            b"TCP6 192.0.2.1 192.0.2.25 4000 25",
            b"TCP6 2001:db8::1%eth0 2001:db8::25 4000 25",
            b"TCP6 :::1 2001:db8::25 4000 25",
            b"TCP4 192.0.2.1\n192.0.2.25 4000 25",
            b"TCP4 192.0.2.1 192.0.2.25 4000 25\0",
        ):
            self.refuse(b"PROXY " + line + b"\r\n")

    def test_a_line_has_107_octets_at_most_with_its_end(self) -> None:
        longest = b"PROXY UNKNOWN " + b"x" * (107 - 14 - 2) + b"\r\n"
        self.assertEqual(len(longest), 107)
        self.read(longest)
        self.refuse(b"PROXY UNKNOWN " + b"x" * (108 - 14 - 2) + b"\r\n")
        self.refuse(b"PROXY UNKNOWN " + b"x" * 1000)
        self.refuse(b"PROXY UNKNOWN \n" + b"x" * 100)

    def test_version_2(self) -> None:
        fields = field(1, b"h2") + field(5, b"unique") + field(4, b"") + field(0xEE, b"\0" * 300)
        for octets, client in (
            (v2(IPV4), ("192.0.2.1", 4000)),
            (v2(IPV6, family=0x21), ("2001:db8::1", 65_535)),
            (
                v2(b"\0" * 10 + b"\xff\xff" + IPV4[:4] + IPV6[16:], family=0x21),
                ("192.0.2.1", 65_535),
            ),
            (v2(UNIX, family=0x31), ("unix", 0)),
            (v2(b"", family=0), (None, 0)),
            (v2(fields, family=0), (None, 0)),
            (v2(IPV4 + fields), ("192.0.2.1", 4000)),
            (v2(IPV6 + fields, family=0x21), ("2001:db8::1", 65_535)),
            (v2(b"", command=0x20, family=0), (None, 0)),
            (v2(IPV4, command=0x20), (None, 0)),
            (v2(b"junk", command=0x20, family=0xFF), (None, 0)),
        ):
            self.assertEqual(self.read(octets), client)

    def test_version_2_that_is_wrong(self) -> None:
        for octets in (
            v2(IPV4, command=0x22),
            v2(IPV4, command=0x2F),
            v2(IPV4, command=0x11),
            v2(IPV4, command=0x31),
            v2(IPV4, command=0x01),
            v2(IPV4, family=0x10),
            v2(IPV4, family=0x12),
            v2(IPV4, family=0x13),
            v2(IPV4, family=0x41),
            v2(IPV4, family=0x01),
            v2(IPV4[:-1]),
            v2(b""),
            v2(IPV4, family=0x21),
            v2(IPV6[:-1], family=0x21),
            v2(UNIX[:-1], family=0x31),
            v2(IPV4 + b"\x01"),
            v2(IPV4 + b"\x01\x00"),
            v2(IPV4 + field(1, b"h2", length=3)),
            v2(IPV4 + field(1, b"h2") + field(2, b"", length=65_535)),
            v2(b"\x01", family=0),
            v2(IPV4 + field(1, b"\0" * 5000)),
            v2(b"", length=65_535),
        ):
            self.refuse(octets)

    def test_a_length_that_lies_is_waited_for_and_takes_no_more(self) -> None:
        self.assertIsNone(ProxyReader().feed(v2(IPV4, length=13)))
        self.refuse(v2(IPV4 + b"E", length=13))

    def test_what_is_no_header_is_refused_at_its_first_wrong_octet(self) -> None:
        for octets in (b"E", b"EHLO x\r\n", b"proxy", b"PROXZ", b"\n", b"\r\r", b"\0", b"\x16\x03"):
            self.assertRaises(ProxyError, ProxyReader().feed, octets)
        for octets in (b"PROXY\r\n", b"PROXY\t", b"PROX\r", SIGNATURE[:-1] + b"\r", b" PROXY "):
            self.refuse(octets)
