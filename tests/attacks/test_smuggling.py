"""SMTP smuggling: every sequence that was ever taken for an end, wherever it may stand.

A sequence is put behind the header, behind text and at the very beginning of the content, with a
whole message behind it that must never become one; in clear text, through STARTTLS and within TLS;
in one segment, octet by octet, and cut in two at each octet. What must come of it is one reply
after the true end, and at most one message: the content as `mended` has it, or none.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

from tests.attacks.attack import TRANSPORTS, Attack, connected, cut, in_content
from tests.modes import REFUSE, STRICT, Mode
from tests.server.scene import PATIENT

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


def mended(text: bytes, mode: Mode) -> bytes | None:
    """Return what is stored of text, by the letter of what is promised; None if it is refused."""
    bare = re.search(rb"(?<!\r)\n|\r(?!\n)", text) is not None
    if (bare and not mode.mends) or (b"\0" in text and not mode.tolerant):
        return None
    text = re.sub(rb"\r*\n", b"\n", text.replace(b"\0", b""))
    return text.replace(b"\r", b" ").replace(b"\n", b"\r\n")


def expected(content: bytes, mode: Mode) -> bytes | None:
    """Return what is stored of content that is sent behind DATA, its last line ended."""
    return mended((b"\r\n" + content).replace(b"\r\n.", b"\r\n")[2:], mode)


def contents() -> Iterator[tuple[str, bytes]]:
    """Yield every sequence in every place, a message behind it; with a name."""
    for (name, sequence), (place, before) in product(SEQUENCES.items(), PLACES.items()):
        yield f"{name} {place}", before + sequence + EVIL
    for name, sequence in FIRST.items():
        yield f"{name} first", sequence + EVIL


class SmugglingTests(Attack):
    """Nothing in content is ever a command."""

    def smuggle(self, content: bytes, transport: str, segments: list[bytes]) -> None:
        """Send content in these segments; there is one reply, and at most one message."""
        scene = self.scene()
        peer = in_content(scene, transport)
        for segment in segments:
            peer.send(segment)
            peer.settle()
        (reply,) = peer.hear_all()
        wanted = expected(content, self.mode)
        self.assertEqual(
            (reply.code, reply.enhanced), (550, "5.5.2") if wanted is None else (250, "2.0.0")
        )
        self.assertEqual(peer.say("NOOP").code, 250)
        self.assertNotIn("sender evil@there.example", scene.world.calls)
        found = [(tuple(map(str, each.recipients)), each.content) for each in scene.world.stored]
        self.assertEqual(found, [] if wanted is None else [(("user@here.example",), wanted)])
        self.assertEqual(peer.say("QUIT").code, 221)

    def test_no_sequence_ends_the_content_anywhere(self) -> None:
        count = 0
        for (name, content), transport, how in product(contents(), TRANSPORTS, ("whole", "octets")):
            with self.subTest(f"{name}, {transport}, {how}"):
                self.smuggle(content, transport, cut(content + END[2:], how))
                count += 1
        self.assertEqual(count, (len(SEQUENCES) * len(PLACES) + len(FIRST)) * 6)

    def test_nor_does_one_that_is_cut_in_two(self) -> None:
        for name, content in contents():
            stream = content + END[2:]
            for at in range(1, stream.index(b"MAIL FROM")):
                with self.subTest(f"{name}, cut at {at}"):
                    self.smuggle(content, "clear", [stream[:at], stream[at:]])

    def test_the_true_end_is_found_wherever_it_is_cut(self) -> None:
        content = b"Subject: x\r\n\r\ntext\r\n..\r\n.x\r\n"
        stream = content + END[2:] + b"NOOP\r\n"
        for at in range(len(stream) + 1):
            scene = self.scene()
            peer = in_content(scene, "clear")
            for segment in (stream[:at], stream[at:]):
                if segment:
                    peer.send(segment)
                    peer.settle()
            self.assertEqual([each.code for each in peer.hear_all()], [250, 250], at)
            (message,) = scene.world.stored
            self.assertEqual(message.content, b"Subject: x\r\n\r\ntext\r\n.\r\nx\r\n", at)

    def test_a_line_of_any_length_makes_no_commands_of_what_follows(self) -> None:
        for octets, transport in product((999, 4096, 16_385, 65_536, 1_000_000), TRANSPORTS):
            content = b"x" * octets + b"\r\nRSET\r\nQUIT\r\n" + EVIL
            self.smuggle(content, transport, [content + END[2:]])

    def test_nor_does_one_that_is_refused(self) -> None:
        for octets, transport in product((999, 4096, 16_385, 65_536, 1_000_000), TRANSPORTS):
            scene = self.scene(limits=replace(PATIENT, text_line_octets=998))
            peer = in_content(scene, transport)
            peer.send(b"x" * octets + b"\r\nRSET\r\nQUIT\r\n" + EVIL + END)
            peer.settle()
            (reply,) = peer.hear_all()
            self.assertEqual((reply.code, reply.enhanced), (550, "5.5.2"))
            self.assertEqual(peer.say("NOOP").code, 250)
            self.assertEqual(scene.world.stored, [])

    def test_two_messages_in_one_segment_are_two(self) -> None:
        for transport in TRANSPORTS:
            scene = self.scene()
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


class StrictSmugglingTests(SmugglingTests):
    """Line ends are mended, NULs are refused."""

    mode = STRICT


class RefuseSmugglingTests(SmugglingTests):
    """Bare CRs and LFs are refused."""

    mode = REFUSE


class CommandLineTests(Attack):
    """A command that ends with LF alone is never obeyed, and nothing behind it is."""

    BEFORE = ("EHLO client.example", "MAIL FROM:<a@there.example>", "RCPT TO:<user@here.example>")
    LINES = (
        b"NOOP\n",
        b"NOOP\nNOOP\r\n",
        b"\n",
        b"RSET\n" + EVIL,
        b"DATA\n" + EVIL + END,
        b"RCPT TO:<other@here.example>\n",
        b"RCPT TO:<ot\nher@here.example>\r\n",
        b"RCPT TO:<other@here.example>\n\r\n" + EVIL,
        b"BDAT 5 LAST\nevil\n",
        b"QUIT\n",
        b"x" * 20_000 + b"\n" + EVIL,
    )

    def cut_off(self, octets: bytes, transport: str, how: str, before: Sequence[str]) -> None:
        scene = self.scene()
        peer = connected(scene, transport)
        for line in before:
            peer.say(line)
        calls = list(scene.world.calls)
        for segment in cut(octets, how):
            peer.send(segment)
            peer.settle()
        replies = [(reply.code, reply.enhanced) for reply in peer.hear_all()]
        self.assertEqual(replies[-1], (500, "5.5.2"), octets[:80])
        self.assertLessEqual(len(replies), 2)  # one more for a line that is too long besides
        self.assertTrue(peer.closed, octets[:80])
        self.assertEqual(scene.world.calls, calls)
        self.assertEqual(scene.world.stored, [])

    def test_wherever_a_session_stands(self) -> None:
        for octets, transport, how, said in product(
            self.LINES, TRANSPORTS, ("whole", "octets"), range(len(self.BEFORE) + 1)
        ):
            self.cut_off(octets, transport, how, self.BEFORE[:said])

    def test_within_auth(self) -> None:
        for mechanism, how in product(("PLAIN", "LOGIN"), ("whole", "octets")):
            before = ("EHLO client.example", f"AUTH {mechanism}")
            for octets in (b"AHVzZXIAeA==\n", b"*\n", b"\n", b"x\n" + EVIL):
                self.cut_off(octets, "tls", how, before)

    def test_behind_commands_that_end_as_they_should(self) -> None:
        for transport, how in product(TRANSPORTS, ("whole", "octets")):
            scene = self.scene()
            peer = connected(scene, transport)
            peer.say("EHLO client.example")
            for segment in cut(b"NOOP\r\nRSET\r\nMAIL FROM:<evil@there.example>\nNOOP\r\n", how):
                peer.send(segment)
                peer.settle()
            self.assertEqual([reply.code for reply in peer.hear_all()], [250, 250, 500])
            self.assertTrue(peer.closed)
            self.assertEqual(scene.world.calls, [])

    def test_behind_the_end_of_content(self) -> None:
        scene = self.scene()
        peer = in_content(scene, "clear")
        peer.send(b"x" + END + b"NOOP\n" + EVIL + END)
        peer.settle()
        self.assertEqual([reply.code for reply in peer.hear_all()], [250, 500])
        self.assertEqual([each.content for each in scene.world.stored], [b"x\r\n"])


class StrictCommandLineTests(CommandLineTests):
    """Nothing is tolerated."""

    mode = STRICT


class RefuseCommandLineTests(CommandLineTests):
    """Bare newlines in content are refused, too."""

    mode = REFUSE
