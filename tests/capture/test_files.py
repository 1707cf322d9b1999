"""Capture files: every kind of link, and every kind of damage."""

import bz2
import contextlib
import gzip
import lzma
import random
import struct
from collections.abc import Callable
from pathlib import Path

import dpkt
from twisted.trial.unittest import SynchronousTestCase

from postroom.capture.files import CaptureError, CaptureFile
from postroom.capture.sessions import Sessions
from tests.capture.wire import (
    Line,
    cooked,
    cooked_2,
    ethernet,
    loopback,
    raw,
    sessions_in,
    shown,
    vlan,
    write_pcap,
    write_pcapng,
)

LINKS = (
    *((1, ethernet), (1, vlan), (0, loopback), (108, loopback), (101, raw), (12, raw)),
    *((113, cooked), (276, cooked_2)),
)


def talk(line: Line) -> Line:
    line.open().server(b"220 mx\r\n").client(b"EHLO c\r\n").server(b"250 mx\r\n")
    return line.client(b"QUIT\r\n").server(b"221 bye\r\n").close()


SHOWN = ["S: 220 mx", "C: EHLO c", "S: 250 mx", "C: QUIT", "S: 221 bye"]


class FileTests(SynchronousTestCase):
    """Files as they should be."""

    def path(self) -> Path:
        return Path(self.mktemp())

    def test_every_kind_of_link_in_both_formats(self) -> None:
        for link_type, link in LINKS:
            for hosts in (("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")):
                for write in (write_pcap, write_pcapng):
                    line = talk(Line(25, *hosts, link=link))
                    found = sessions_in(write(self.path(), line.frames, link_type))
                    self.assertEqual(len(found), 1, (link_type, hosts))
                    self.assertEqual(shown(found[0].conversation), SHOWN)
                    self.assertEqual(found[0].client.address, hosts[0])

    def test_times(self) -> None:
        session = sessions_in(write_pcap(self.path(), talk(Line()).frames))[0]
        self.assertAlmostEqual(session.began, 1_000_000.001, 5)
        self.assertAlmostEqual(session.ended - session.began, 0.007, 5)
        self.assertTrue(session.conversation.complete)

    def test_frames_out_of_order_and_twice(self) -> None:
        frames = talk(Line()).frames
        frames[3], frames[4] = frames[4], frames[3]
        session = sessions_in(write_pcap(self.path(), [*frames, *frames]))[0]
        self.assertIn("C: QUIT", shown(session.conversation))
        self.assertTrue(session.conversation.complete)

    def test_a_frame_that_is_missing(self) -> None:
        frames = talk(Line()).frames
        del frames[4]  # EHLO
        session = sessions_in(write_pcap(self.path(), frames))[0]
        self.assertIn(
            "-: [8 octets of the client are not in the capture]", shown(session.conversation)
        )
        self.assertFalse(session.conversation.complete)

    def test_a_capture_of_the_beginnings_of_packets(self) -> None:
        frames = [(time, frame[:57]) for time, frame in talk(Line()).frames]
        session = sessions_in(write_pcap(self.path(), frames))[0]
        self.assertIn("not in the capture", " ".join(shown(session.conversation)))

    def test_a_capture_that_begins_late(self) -> None:
        session = sessions_in(write_pcap(self.path(), talk(Line()).frames[4:]))[0]
        self.assertEqual(shown(session.conversation), SHOWN[1:])
        self.assertEqual(session.client.port, 40_000)
        self.assertFalse(session.conversation.complete)

    def test_other_traffic_is_passed_over(self) -> None:
        junk = [
            (1.0, ethernet(bytes(dpkt.ip.IP(src=b"abcd", dst=b"efgh", p=17)))),
            (1.0, b"\xff" * 60),
            (1.0, b""),
            (1.0, ethernet(b"\x45" + b"\xff" * 30)),
        ]
        found = sessions_in(write_pcap(self.path(), junk + talk(Line()).frames + junk))
        self.assertEqual([shown(each.conversation) for each in found], [SHOWN])


class GzipTests(SynchronousTestCase):
    """Files that are gzipped, whatever their names are."""

    def packed(self, octets: bytes) -> Path:
        path = Path(self.mktemp())
        path.write_bytes(octets)
        return path

    def capture(self, write: Callable[..., Path] = write_pcap, noise: int = 0) -> bytes:
        path = Path(self.mktemp())
        # What cannot be compressed makes many blocks of it.
        junk = [(1.0, random.Random(seed).randbytes(1000)) for seed in range(noise)]
        return write(path, [*talk(Line()).frames, *junk]).read_bytes()

    def error_and_sessions(self, path: Path) -> tuple[str, list[list[str]]]:
        sessions, file, error = Sessions(), CaptureFile(path), ""
        try:
            for segment in file.segments():
                sessions.take(segment)
        except CaptureError as raised:
            error = str(raised)
        file.close()
        sessions.finish()
        return error, [shown(each.conversation) for each in sessions.found]

    def test_both_formats(self) -> None:
        for write in (write_pcap, write_pcapng):
            path = self.packed(gzip.compress(self.capture(write)))
            self.assertEqual(self.error_and_sessions(path), ("", [SHOWN]))

    def test_several_members_are_one_file(self) -> None:
        whole = self.capture()
        path = self.packed(gzip.compress(whole[:100]) + gzip.compress(whole[100:]) + bytes(8))
        self.assertEqual(self.error_and_sessions(path), ("", [SHOWN]))

    def test_what_comes_before_the_cut_is_read(self) -> None:
        for write in (write_pcap, write_pcapng):
            packed = gzip.compress(self.capture(write, noise=300))
            for length in (len(packed) - 1, len(packed) - 8, len(packed) // 2):
                path = self.packed(packed[:length])
                error, found = self.error_and_sessions(path)
                self.assertRegex(error, f"^{path}: the gzip data is cut off, behind \\d+ octets")
                self.assertEqual(found, [SHOWN])

    def test_what_comes_before_the_damage_is_read(self) -> None:
        packed = bytearray(gzip.compress(self.capture(noise=300)))
        for at in (len(packed) - 6, len(packed) // 2):
            damaged = packed.copy()
            damaged[at : at + 4] = bytes(4)
            error, found = self.error_and_sessions(self.packed(damaged))
            self.assertRegex(error, "gzip data is damaged|damaged or no capture")
            self.assertEqual(found, [SHOWN])

    def test_cut_off_within_its_own_header(self) -> None:
        packed = gzip.compress(self.capture())
        for length in range(2, 30):
            with self.assertRaisesRegex(CaptureError, "gzip data is cut off"):
                sessions_in(self.packed(packed[:length]))

    def test_what_is_in_it_is_no_capture(self) -> None:
        for inside, why in ((b"", "is empty"), (b"hello " * 9, "not a pcap or pcapng file")):
            with self.assertRaisesRegex(CaptureError, why):
                sessions_in(self.packed(gzip.compress(inside)))
        with self.assertRaisesRegex(CaptureError, "gzip data is damaged"):
            sessions_in(self.packed(b"\x1f\x8b\xff" + bytes(30)))

    def test_what_is_compressed_otherwise_is_named(self) -> None:
        for packed, name in ((bz2.compress(b"x"), "bzip2"), (lzma.compress(b"x"), "xz")):
            with self.assertRaisesRegex(CaptureError, f"compressed by {name}, unpack it first"):
                sessions_in(self.packed(packed))

    def test_how_far_it_was_read_is_told_in_octets_of_the_file(self) -> None:
        path = self.packed(gzip.compress(self.capture() + bytes(1000)))
        file = CaptureFile(path)
        self.addCleanup(file.close)
        with contextlib.suppress(CaptureError):
            list(file.segments())
        self.assertEqual(file.place_octets, file.size_octets)


class PortTests(SynchronousTestCase):
    """Which connections are sessions."""

    def sessions(self, *lines: Line, **options: object) -> list[int]:
        path = write_pcap(Path(self.mktemp()), [each for line in lines for each in line.frames])
        return [session.server.port for session in sessions_in(path, **options)]

    def test_known_ports_and_what_speaks_smtp(self) -> None:
        lines = [talk(Line(port)) for port in (25, 465, 587, 2525, 10_025)]
        self.assertEqual(self.sessions(*lines), [25, 465, 587, 2525, 10_025])

    def test_what_does_not(self) -> None:
        ftp = Line(21).open().server(b"220 ftp\r\n").client(b"USER joe\r\n").server(b"331 a\r\n")
        http = Line(80).open().client(b"GET / HTTP/1.1\r\n").server(b"HTTP/1.1 200 OK\r\n")
        self.assertEqual(self.sessions(ftp, http, Line(24).open()), [])

    def test_a_port_that_is_named(self) -> None:
        line = Line(9999).open().server(b"220 a\r\n").client(b"RSET\r\n")
        self.assertEqual(self.sessions(line), [])
        self.assertEqual(self.sessions(line, ports=[9999]), [9999])

    def test_smtp_that_began_before_the_capture_on_another_port(self) -> None:
        line = talk(Line(10_025))
        del line.frames[:3]
        self.assertEqual(self.sessions(line), [10_025])

    def test_the_same_ports_once_more(self) -> None:
        self.assertEqual(self.sessions(talk(Line()), talk(Line(first=99))), [25, 25])
        cut_off = Line().open().server(b"220 a\r\n").reset()
        self.assertEqual(self.sessions(cut_off, talk(Line(first=99))), [25, 25])


class DamageTests(SynchronousTestCase):
    """Files as they should not be: one clear message, never anything else."""

    def assert_error(self, octets: bytes, text: str) -> None:
        path = Path(self.mktemp())
        path.write_bytes(octets)
        with self.assertRaises(CaptureError) as caught:
            sessions_in(path)
        self.assertIn(text, str(caught.exception))
        self.assertIn(str(path), str(caught.exception))

    def whole(self) -> bytes:
        return write_pcap(Path(self.mktemp()), talk(Line()).frames).read_bytes()

    def whole_pcapng(self) -> bytes:
        return write_pcapng(Path(self.mktemp()), talk(Line()).frames).read_bytes()

    def test_empty(self) -> None:
        self.assert_error(b"", "is empty")

    def test_foreign(self) -> None:
        for octets in (
            b"From: a\r\n\r\nb\r\n" * 10,
            b"\x7fELF" + bytes(100),
            bytes(24),
            b"\xd4\xc3",
        ):
            self.assert_error(octets, ": ")

    def test_an_unknown_link(self) -> None:
        path = write_pcap(Path(self.mktemp()), [], 147)
        self.assert_error(path.read_bytes(), "link type 147 is not supported")

    def test_a_record_that_claims_too_much(self) -> None:
        header = self.whole()[:24]
        self.assert_error(header + struct.pack("<IIII", 1, 1, 2**31, 2**31), "claims a length")
        section = self.whole_pcapng()[:60]
        for length in (2**31, 0, 4):
            self.assert_error(section + struct.pack("<II", 6, length), ": ")

    def test_no_such_file(self) -> None:
        with self.assertRaisesRegex(CaptureError, "nowhere: No such file"):
            sessions_in(Path("nowhere"))

    def test_cut_off_anywhere(self) -> None:
        for whole in (self.whole(), self.whole_pcapng()):
            for length in range(len(whole)):
                path = Path(self.mktemp())
                path.write_bytes(whole[:length])
                try:
                    sessions_in(path)
                except CaptureError as error:
                    self.assertNotIn("Traceback", str(error))

    def test_cut_off_within_a_record(self) -> None:
        self.assert_error(self.whole()[:-1], "cut off at octet")
        self.assert_error(self.whole_pcapng()[:-1], "cut off at octet")

    def test_any_octet_damaged(self) -> None:
        for whole in (self.whole(), self.whole_pcapng()):
            for at in range(min(len(whole), 400)):
                path = Path(self.mktemp())
                path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
                try:
                    sessions_in(path)
                except CaptureError:
                    continue
