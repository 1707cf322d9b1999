"""SMTP smuggling: every sequence that was ever taken for an end, wherever it may stand.

A sequence is put behind the header, behind text and at the very beginning of the content, with a
whole message behind it that must never become one; in clear text, through STARTTLS and within TLS;
in one segment, octet by octet, and cut in two at each octet. What must come of it is one reply
after the true end, and at most one message.
"""

from collections.abc import Iterator
from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from tests.server.scene import Peer, Scene

# CERT VU#302671 and what tools and papers have added since.
SEQUENCES = {
    "LF.LF": b"\n.\n",
    "LF.CR": b"\n.\r",
    "CR.LF": b"\r.\n",
    "CR.CR": b"\r.\r",
    "LF.CRLF": b"\n.\r\n",
    "CR.CRLF": b"\r.\r\n",
    "CRLF NUL.CRLF": b"\r\n\0.\r\n",
    "CRLF.LF": b"\r\n.\n",
    "CRLF.CR": b"\r\n.\r",
    "CRLF.CRCRLF": b"\r\n.\r\r\n",
    "CRCRLF.CRCRLF": b"\r\r\n.\r\r\n",
    "CR NUL LF.CRLF": b"\r\0\n.\r\n",
    "CRLF.NUL CRLF": b"\r\n.\0\r\n",
    "CRLF.CR NUL LF": b"\r\n.\r\0\n",
    "CRLF. CRLF": b"\r\n. \r\n",
    "CRLF .CRLF": b"\r\n .\r\n",
    "CRLF..CRLF": b"\r\n..\r\n",
    "VT.VT": b"\x0b.\x0b",
    "FF.FF": b"\x0c.\x0c",
    "FS.FS": b"\x1c.\x1c",
    "GS.GS": b"\x1d.\x1d",
    "RS.RS": b"\x1e.\x1e",
    "NEL.NEL": b"\xc2\x85.\xc2\x85",
    "LS.LS": b"\xe2\x80\xa8.\xe2\x80\xa8",
    "PS.PS": b"\xe2\x80\xa9.\xe2\x80\xa9",
    "overlong dot": b"\r\n\xc0\xae\r\n",
    "full-width dot": b"\r\n\xef\xbc\x8e\r\n",
    "CRLF.CRLF in overlong": b"\xc0\x8d\xc0\x8a.\xc0\x8d\xc0\x8a",
}
FIRST = {  # what may follow 354 at once
    ".LF": b".\n",
    ".CR": b".\r",
    ".CRCRLF": b".\r\r\n",
    ".NUL CRLF": b".\0\r\n",
    "LF.LF": b"\n.\n",
    "CR.LF": b"\r.\n",
    "LF.CRLF": b"\n.\r\n",
    "CR.CRLF": b"\r.\r\n",
}
PLACES = {
    "in the header": b"Subject: x",
    "behind the header": b"Subject: x\r\n\r\n",
    "behind text": b"Subject: x\r\n\r\ntext",
    "behind a line": b"Subject: x\r\n\r\ntext\r\n",
    "behind a dot": b"Subject: x\r\n\r\ntext\r\n..",
}
EVIL = (
    b"MAIL FROM:<evil@there.example>\r\nRCPT TO:<other@here.example>\r\nDATA\r\n"
    b"Subject: evil\r\n\r\nevil\r\n"
)
END = b"\r\n.\r\n"
TRANSPORTS = ("clear", "starttls", "tls")


def connected(scene: Scene, transport: str) -> Peer:
    """Open a connection and get to where EHLO comes next."""
    peer = scene.connect(tls=transport == "tls")
    if transport == "starttls":
        peer.say("EHLO in-clear.example")
        assert peer.say("STARTTLS").code == 220
    return peer


def in_content(scene: Scene, transport: str) -> Peer:
    """Get as far as 354."""
    peer = connected(scene, transport)
    for line in (
        "EHLO client.example",
        "MAIL FROM:<a@there.example>",
        "RCPT TO:<user@here.example>",
    ):
        assert peer.say(line).code == 250, line
    assert peer.say("DATA").code == 354
    return peer


def cut(octets: bytes, how: str) -> list[bytes]:
    """Cut what is sent into segments."""
    if how == "octets":
        return [octets[at : at + 1] for at in range(len(octets))]
    return [octets]


class SmugglingTests(SynchronousTestCase):
    """Nothing in content is ever a command."""

    def smuggle(self, content: bytes, transport: str, how: str) -> None:
        scene = Scene()
        peer = in_content(scene, transport)
        for segment in cut(content + END, how):
            peer.send(segment)
            peer.settle()
        (reply,) = peer.hear_all()
        self.assertIn(reply.code, (250, 550))
        self.assertEqual(peer.say("NOOP").code, 250)
        self.assertEqual(len(scene.world.stored), reply.code == 250)
        self.assertNotIn("sender evil@there.example", scene.world.calls)
        for message in scene.world.stored:
            self.assertEqual(str(message.recipients[0]), "user@here.example")
            self.assertIn(EVIL.strip(), message.content)
        self.assertEqual(peer.say("QUIT").code, 221)

    def contents(self) -> Iterator[tuple[str, bytes]]:
        for (name, sequence), (place, before) in product(SEQUENCES.items(), PLACES.items()):
            yield f"{name} {place}", before + sequence + EVIL
        for name, sequence in FIRST.items():
            yield f"{name} first", sequence + EVIL

    def test_no_sequence_ends_the_content_anywhere(self) -> None:
        count = 0
        for (name, content), transport, how in product(
            self.contents(), TRANSPORTS, ("whole", "octets")
        ):
            with self.subTest(f"{name}, {transport}, {how}"):
                self.smuggle(content, transport, how)
                count += 1
        self.assertEqual(count, (len(SEQUENCES) * len(PLACES) + len(FIRST)) * 6)

    def test_content_with_a_bare_cr_lf_or_nul_is_refused_and_once(self) -> None:
        for name, sequence in SEQUENCES.items():
            clean = not ({*b"\r\n\0"} & {*sequence.replace(b"\r\n", b"")})
            scene = Scene()
            peer = in_content(scene, "clear")
            peer.send(b"Subject: x\r\n\r\n" + sequence + EVIL + END)
            peer.settle()
            (reply,) = peer.hear_all()
            self.assertEqual(
                (reply.code, reply.enhanced), (250, "2.0.0") if clean else (550, "5.5.2"), name
            )

    def test_the_true_end_is_found_wherever_it_is_cut(self) -> None:
        content = b"Subject: x\r\n\r\ntext\r\n..\r\n.x\r\n"
        stream = content + END[2:] + b"NOOP\r\n"
        for at in range(len(stream) + 1):
            scene = Scene()
            peer = in_content(scene, "clear")
            for segment in (stream[:at], stream[at:]):
                if segment:
                    peer.send(segment)
                    peer.settle()
            self.assertEqual([each.code for each in peer.hear_all()], [250, 250], at)
            (message,) = scene.world.stored
            self.assertEqual(message.content, b"Subject: x\r\n\r\ntext\r\n.\r\nx\r\n", at)

    def test_a_line_too_long_makes_no_commands_of_what_follows(self) -> None:
        for octets, transport in product((999, 4096, 16_385, 65_536, 1_000_000), TRANSPORTS):
            scene = Scene()
            peer = in_content(scene, transport)
            peer.send(b"x" * octets + b"\r\nRSET\r\nQUIT\r\n" + EVIL + END)
            peer.settle()
            (reply,) = peer.hear_all()
            self.assertEqual((reply.code, reply.enhanced), (550, "5.5.2"))
            self.assertEqual(peer.say("NOOP").code, 250)
            self.assertEqual(scene.world.stored, [])

    def test_two_messages_in_one_segment_are_two(self) -> None:
        for transport in TRANSPORTS:
            scene = Scene()
            peer = in_content(scene, transport)
            peer.send(
                b"one" + END + b"MAIL FROM:<b@there.example>\r\nRCPT TO:<other@here.example>\r\n"
                b"DATA\r\n"
            )
            peer.settle()
            self.assertEqual([each.code for each in peer.hear_all()], [250, 250, 250, 354])
            peer.send(b"two" + END)
            peer.settle()
            self.assertEqual(peer.hear().code, 250)
            self.assertEqual([m.content for m in scene.world.stored], [b"one\r\n", b"two\r\n"])
