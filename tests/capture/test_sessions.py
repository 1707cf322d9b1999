"""Which connections of a capture are sessions, and what is told of those that were not whole."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from postroom.capture import recognition
from postroom.capture.files import CaptureFile
from postroom.capture.recognition import StreamKind, kind_of
from postroom.capture.sessions import Sessions
from postroom.capture.transcript import text_lines
from tests.capture.wire import ACK, RST, SYN, Frame, Line, shown, write_pcap

CLIENT_HELLO = b"\x16\x03\x01\x00\x05hello"
SERVER_HELLO = b"\x16\x03\x03\x00\x05hello"
RECORD = b"\x17\x03\x03\x00\x04\xf0\x01\x02\x03"


def talk(port: int = 25) -> Line:
    line = Line(port).open().server(b"220 mx\r\n").client(b"EHLO c\r\n")
    line.server(b"250-mx\r\n250 PIPELINING\r\n")
    line.client(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n")
    line.server(b"250 a\r\n250 b\r\n354 c\r\n").client(b"x\r\n.\r\n").server(b"250 kept\r\n")
    return line.client(b"QUIT\r\n").server(b"221 bye\r\n").close()


def of_client(line: Line) -> list[Frame]:
    """Give the frames that the client sent."""
    return [frame for frame in line.frames if frame[1][26:30] == b"\xc0\x00\x02\x01"]


def of_server(line: Line) -> list[Frame]:
    return [frame for frame in line.frames if frame not in of_client(line)]


class Reading(SynchronousTestCase):
    def read(self, *frames: Frame) -> Sessions:
        file = CaptureFile(write_pcap(Path(self.mktemp()), frames))
        sessions = Sessions()
        for segment in file.segments():
            sessions.take(segment)
        file.close()
        sessions.finish()
        return sessions

    def read_session(self, *frames: Frame) -> list[str]:
        """Read the one session of a capture; gives what it shows."""
        found = self.read(*frames).found
        self.assertEqual(len(found), 1)
        self.facts = list(text_lines(found[0]))[1:]
        return shown(found[0].conversation)


class SilenceTests(Reading):
    """Where nothing is said there is no session."""

    def assert_nothing(self, *lines: Line) -> None:
        sessions = self.read(*(frame for line in lines for frame in line.frames))
        self.assertEqual((sessions.found, sessions.foreign), ([], []))

    def test_a_syn(self) -> None:
        for port in (25, 465, 587, 2525):
            self.assert_nothing(Line(port)._segment(0, SYN))
            self.assert_nothing(Line(port)._segment(0, SYN)._segment(0, SYN)._segment(0, SYN))

    def test_a_port_that_is_closed(self) -> None:
        self.assert_nothing(Line()._segment(0, SYN)._segment(1, RST | ACK))

    def test_scans(self) -> None:
        half_open = Line()._segment(0, SYN)._segment(1, SYN | ACK)._segment(0, RST)
        self.assert_nothing(half_open, Line(587).open().close(), Line(2525).open().reset())

    def test_parts_of_a_connection_that_is_quiet(self) -> None:
        self.assert_nothing(Line()._segment(0, ACK), Line(587).close(), Line(465).reset())

    def test_a_scan_before_a_session(self) -> None:
        scan = Line(first=9)._segment(0, SYN)._segment(1, SYN | ACK)._segment(0, RST)
        self.assertIn("C: QUIT", self.read_session(*scan.frames, *talk().frames))
        self.assertNotIn("capture: ", " ".join(self.facts))

    def test_octets_in_the_syn(self) -> None:
        line = Line()._segment(0, SYN, b"EHLO c\r\n")._segment(1, SYN | ACK)
        line.server(b"220 mx\r\n")
        self.assertEqual(
            self.read_session(*line.frames),
            ["C: EHLO c", "!! sent before the greeting", "S: 220 mx"],
        )

    def test_what_was_said_is_not_in_the_capture(self) -> None:
        sessions = self.read(*((time, frame[:54]) for time, frame in talk().frames))
        self.assertEqual(sessions.found, [])
        self.assertIn("nothing of what was said is in the capture", str(sessions.foreign[0]))


class ForeignTests(Reading):
    """What is neither SMTP nor TLS is not called one."""

    def assert_foreign(self, line: Line, seen: str) -> None:
        sessions = self.read(*line.frames)
        self.assertEqual(sessions.found, [])
        self.assertEqual(len(sessions.foreign), 1)
        ends = f"192.0.2.1:40000 > 192.0.2.2:{line.port}"
        text = str(sessions.foreign[0])
        self.assertEqual(text, f"{ends}: neither SMTP nor TLS, {seen}")
        self.assertTrue(text.isprintable())

    def test_http(self) -> None:
        line = Line().open().client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assert_foreign(line, 'the client began with "GET / HTTP/1.1"')
        line.server(b"HTTP/1.1 400 Bad Request\r\n\r\n").close()
        self.assert_foreign(line, 'the client began with "GET / HTTP/1.1"')

    def test_ssh(self) -> None:
        line = Line(587).open().server(b"SSH-2.0-x\r\n")
        self.assert_foreign(line, 'the server began with "SSH-2.0-x"')
        line.client(b"SSH-2.0-y\r\n").server(bytes(range(256)))
        self.assert_foreign(line, 'the server began with "SSH-2.0-x"')

    def test_octets_that_are_no_text(self) -> None:
        line = Line(465).open().client(b"\0\x1b[2J\a").server(b"\x16\x02")
        self.assert_foreign(line, r'the client began with "\x00\x1b[2J\x07"')

    def test_a_flood_of_them(self) -> None:
        line = Line(2525).open()
        for _ in range(100):
            line.client(b"\0" * 1400)
        self.assert_foreign(line, f'the client began with "{chr(92)}x00' + r"\x00" * 63 + '"')

    def test_pop_which_has_some_of_the_verbs(self) -> None:
        for said in (b"USER joe\r\n", b"QUIT\r\n", b"NOOP\r\n", b"AUTH PLAIN\r\n"):
            line = Line(2525).open().server(b"+OK ready\r\n").client(said).server(b"+OK\r\n")
            line.client(b"QUIT\r\n")
            self.assert_foreign(line, 'the server began with "+OK ready"')

    def test_their_segments_do_not_matter(self) -> None:
        line = Line().open()
        for octet in b"GET / HTTP/1.1\r\n":
            line.client(bytes((octet,)))
        self.assert_foreign(line, 'the client began with "GET / HTTP/1.1"')

    def test_too_little_to_tell(self) -> None:
        self.assert_foreign(Line().open().server(b"22"), 'the server began with "22"')
        self.assert_foreign(Line().open().client(b"EH"), 'the client began with "EH"')
        self.assert_foreign(Line().open().client(b"\x16"), r'the client began with "\x16"')

    def test_where_the_beginning_is_missing_nothing_is_shown_that_may_be_a_secret(self) -> None:
        for password in (b"Y29ycmVjdGhvcnNl\r\n", b"Y29y\r\n"):
            sessions = self.read(*Line().client(password).frames)
            text = str(sessions.foreign[0])
            self.assertIn(f"{len(password)} octets of the client and 0 of the server", text)
            self.assertNotIn("Y29y", text)

    def test_what_waits_is_bounded(self) -> None:
        opening = recognition.Opening(from_start=False)
        line = Line()
        for _ in range(200):
            line.client(b"\xff" * 1400)
        file = CaptureFile(write_pcap(Path(self.mktemp()), line.frames))
        self.addCleanup(file.close)
        for segment in file.segments():
            opening.take(recognition.StreamPart(0, True, segment.payload))
        self.assertLess(sum(len(each.octets) for each in opening.deliveries), 70_000)


class SessionTests(Reading):
    """What is one, although one side or the beginning is odd."""

    def test_one_side_is_enough(self) -> None:
        for line in (
            Line().open().server(b"220 mx\r\n").client(b"GET / HTTP/1.1\r\n").server(b"500 a\r\n"),
            Line().open().client(b"GET / HTTP/1.1\r\n").server(b"220 mx\r\n"),
            Line().open().client(b"\0\1").server(b"220 mx\r\n"),
            Line().open().server(b"hello\r\n").client(b"EHLO c\r\n"),
            Line().open().server(b"220\tmx\r\n"),
            Line().open().client(b"ehlo c\r\n"),
        ):
            self.assertTrue(self.read_session(*line.frames))

    def test_a_beginning_in_pieces(self) -> None:
        line = Line().open()
        for octet in b"220 mx\r\n":
            line.server(bytes((octet,)))
        self.assertEqual(self.read_session(*line.frames), ["S: 220 mx"])

    def test_tls(self) -> None:
        for port in (25, 465):
            line = Line(port).open().client(CLIENT_HELLO[:1]).client(CLIENT_HELLO[1:])
            line.server(SERVER_HELLO).client(RECORD).close()
            self.assertEqual(self.read_session(*line.frames), ["-: [TLS from here on]"])

    def test_kinds(self) -> None:
        for head, from_client, from_start, kind in (
            (b"\x17\x03", True, True, StreamKind.OTHER),
            (b"\x17\x03", True, False, StreamKind.TLS),
            (b"\x16\x02", True, True, StreamKind.OTHER),
            (b"\x16", False, True, None),
            (b"2200 x", False, True, StreamKind.OTHER),
            (b"220", False, True, None),
            (b"250\n", False, True, StreamKind.SMTP),
            (b"199 x", False, True, StreamKind.OTHER),
            (b"STARTTLS", True, True, None),
            (b"STARTTLS\r", True, True, StreamKind.SMTP),
            (b"STARTTLSX", True, True, StreamKind.OTHER),
            (b"EHLOX c", True, True, StreamKind.OTHER),
        ):
            self.assertIs(kind_of(head, from_client, from_start), kind, head)


class PartTests(Reading):
    """Sessions of which a part is missing: it is said, and nobody is blamed for it."""

    def test_the_client_alone(self) -> None:
        talked = self.read_session(*of_client(talk()))
        self.assertEqual(
            talked,
            [
                *("C: EHLO c", "C: MAIL FROM:<a@b.example>", "C: RCPT TO:<c@d.example>"),
                *("C: DATA", "C: [content, 3 octets]", "C: QUIT"),
                "-: [73 octets of the server are not in the capture]",
            ],
        )
        self.assertEqual(self.facts[0], "  capture: nothing of what the server said")

    def test_the_server_alone(self) -> None:
        talked = self.read_session(*of_server(talk()))
        self.assertEqual(talked[:3], ["S: 220 mx", "S: 250-mx", "S: 250 PIPELINING"])
        self.assertEqual([line for line in talked if line.startswith("!!")], [])
        self.assertEqual(self.facts[0], "  capture: nothing of what the client said")
        self.assertEqual(self.facts[1], "  extensions: PIPELINING")

    def test_a_side_that_is_silent_is_not_one_that_was_not_captured(self) -> None:
        line = Line().open().client(b"EHLO c\r\nMAIL FROM:<>\r\n")
        talked = self.read_session(*line.frames)
        self.assertIn("!! sent before the greeting", talked)
        self.assertNotIn("  capture: nothing of what the server said", self.facts)

    def test_secrets_of_the_client_alone(self) -> None:
        line = Line().open().server(b"220 mx\r\n").client(b"EHLO c\r\n")
        line.server(b"250-mx\r\n250 AUTH LOGIN\r\n").client(b"AUTH LOGIN\r\n")
        line.server(b"334 a\r\n").client(b"am9l\r\n").server(b"334 b\r\n").client(b"c2VjcmV0\r\n")
        line.server(b"235 ok\r\n").client(b"QUIT\r\n")
        text = "\n".join(self.read_session(*of_client(line)))
        self.assertNotIn("c2VjcmV0", text)
        self.assertNotIn("!!", text)
        self.assertTrue(text.startswith("C: EHLO c\nC: AUTH LOGIN\nC: [response of 4 octets]"))

    def test_a_beginning_anywhere(self) -> None:
        frames = talk().frames
        for start in range(2, 11):
            talked = self.read_session(*frames[start:])
            self.assertEqual([line for line in talked if line.startswith("!!")], [], start)
            self.assertEqual(talked[-2:], ["C: QUIT", "S: 221 bye"])

    def test_a_beginning_within_content_shows_none_of_it(self) -> None:
        line = Line()
        for said in (b"Help me\r\nsecret\r\n", b"RCPT TO:<a@b.example>\r\nDATA\r\n", b"x\r\n.\r\n"):
            line.client(said)
        line.server(b"250 kept\r\n").client(b"QUIT\r\n")
        self.assertEqual(
            self.read_session(*line.frames),
            ["C: [52 octets that are no command]", "S: 250 kept", "C: QUIT"],
        )

    def test_more_of_such_content_than_is_kept(self) -> None:
        line = Line()
        for _ in range(100):
            line.client(b"x" * 998 + b"\r\n")
        line.client(b".\r\n").server(b"250 kept\r\n")
        talked = self.read_session(*line.frames)
        self.assertEqual(
            talked,
            [
                "-: [100000 octets of which the beginning is not in the capture]",
                "C: [3 octets that are no command]",
                "S: 250 kept",
            ],
        )

    def test_what_is_pipelined_behind_such_content(self) -> None:
        line = Line().client(b"secret\r\n.\r\nQUIT\r\n").server(b"250 kept\r\n221 bye\r\n")
        talked = self.read_session(*line.frames)
        self.assertEqual(talked[:2], ["C: [11 octets that are no command]", "C: QUIT"])

    def test_a_beginning_within_tls(self) -> None:
        line = Line(587).client(RECORD).server(RECORD[3:] + RECORD).client(b"EHLO c\r\n")
        self.assertEqual(self.read_session(*line.frames), ["-: [TLS from here on]"])
        self.assertEqual(self.facts[0], "  capture: not the whole session")

    def test_lmtp(self) -> None:
        line = Line(2525).open().server(b"220 l\r\n").client(b"LHLO c\r\n")
        line.server(b"250-l\r\n250 PIPELINING\r\n")
        line.client(b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@b>\r\nDATA\r\n")
        line.server(b"250 1\r\n250 2\r\n250 3\r\n354 4\r\n").client(b"x\r\n.\r\n")
        line.server(b"250 a\r\n").server(b"452 c\r\n").client(b"QUIT\r\n").server(b"221 b\r\n")
        for frames in (line.frames, of_client(line), of_server(line), line.frames[6:]):
            talked = self.read_session(*frames)
            self.assertEqual([line for line in talked if line.startswith("!!")], [])
