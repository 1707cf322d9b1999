"""BDAT attacked: sizes that are none, chunks that look like commands, chunks without end.

Whatever the size says, the octets of a chunk are never commands: they are taken, or the connection
ends. Each case in clear text, through STARTTLS and within TLS, in one segment and octet by octet.
"""

from itertools import product

from tests.attacks.attack import TRANSPORTS, Attack, connected, cut, in_transaction
from tests.attacks.test_smuggling import END, EVIL, contents, mended
from tests.modes import REFUSE, STRICT
from tests.server.scene import Peer

SIZES_THAT_ARE_NONE = (
    "", "LAST", "-1", "-1 LAST", "+1", "1_0", "1.0", "1e1", "0x10", "1k", "01x", "1 LASTX",
    "1 LAST LAST", "1 2", "LAST 1", "\u0661", "\uff11", "9" * 21, "9" * 400, "1\0", "1\t LAST",
    "1,LAST", "1  LAST  x",
)  # fmt: skip
SIZES_TOO_LARGE = ("99999999999999999999", "18446744073709551616", "9223372036854775808")
COMMANDS = b"NOOP\r\nRSET\r\n" + EVIL + END + b"NOOP\r\n"


class ChunkTests(Attack):
    """Nothing in a chunk is ever a command."""

    def send(self, peer: Peer, octets: bytes, how: str) -> list[int]:
        for segment in cut(octets, how):
            peer.send(segment)
            peer.settle()
        return [reply.code for reply in peer.hear_all()]

    def test_a_size_that_is_none_ends_it_or_makes_no_command_of_what_follows(self) -> None:
        for size, transport, how in product(SIZES_THAT_ARE_NONE, TRANSPORTS, ("whole", "octets")):
            with self.subTest(f"{size!r} {transport} {how}"):
                scene = self.scene()
                peer = in_transaction(scene, transport)
                line = f"BDAT {size}".encode()
                codes = self.send(peer, line + b"\r\n", how)
                self.assertIn(codes[0] // 100, (2, 4, 5), codes)
                self.assertEqual(scene.world.stored, [])
                if not peer.closed and codes[0] // 100 != 2:
                    self.assertIn(peer.say("RSET").code, (250, 501, 503))

    def test_octets_of_a_chunk_with_a_size_too_large_are_no_commands(self) -> None:
        for size, transport in product(SIZES_TOO_LARGE, TRANSPORTS):
            scene = self.scene()
            peer = in_transaction(scene, transport)
            codes = self.send(peer, f"BDAT {size} LAST\r\n".encode() + COMMANDS, "whole")
            self.assertNotIn(250, codes, size)
            self.assertNotIn("sender evil@there.example", scene.world.calls)
            self.assertEqual(scene.world.stored, [])

    def test_a_chunk_that_may_not_come_is_taken_and_refused(self) -> None:
        before: dict[str, list[str]] = {
            "MAIL": [],
            "RCPT": ["MAIL FROM:<a@there.example>"],
            "a good RCPT": ["MAIL FROM:<a@there.example>", "RCPT TO:<unknown@here.example>"],
        }
        for lines, last, transport, how in product(
            before.values(), ("", " LAST"), TRANSPORTS, ("whole", "octets")
        ):
            scene = self.scene()
            peer = connected(scene, transport)
            peer.say("EHLO client.example")
            for line in lines:
                peer.say(line)
            octets = f"BDAT {len(COMMANDS)}{last}\r\n".encode() + COMMANDS
            (code,) = self.send(peer, octets + b"", how)
            self.assertIn(code, (503, 554))
            self.assertEqual(peer.say("NOOP").code, 250)
            self.assertNotIn("sender evil@there.example", scene.world.calls)

    def test_commands_in_a_chunk_are_content(self) -> None:
        for transport, how in product(TRANSPORTS, ("whole", "octets")):
            scene = self.scene()
            peer = in_transaction(scene, transport)
            octets = f"BDAT {len(COMMANDS)} LAST\r\n".encode() + COMMANDS
            self.assertEqual(self.send(peer, octets, how), [250])
            (message,) = scene.world.stored
            self.assertEqual(message.content, COMMANDS)
            self.assertEqual(peer.say("NOOP").code, 250)

    def test_an_end_of_data_in_a_chunk_ends_nothing(self) -> None:
        for at in range(len(END) + 1):
            scene = self.scene()
            peer = in_transaction(scene, "clear")
            first, second = b"x" + END[:at], END[at:] + b"NOOP\r\n"
            octets = b"BDAT %d\r\n%bBDAT %d LAST\r\n%b" % (len(first), first, len(second), second)
            self.assertEqual(self.send(peer, octets, "whole"), [250, 250])
            self.assertEqual(scene.world.stored[0].content, first + second)

    def test_ten_thousand_chunks_of_one_octet_are_a_message(self) -> None:
        scene = self.scene()
        peer = in_transaction(scene, "clear")
        content = (b"x" * 98 + b"\r\n") * 100
        chunks = b"".join(b"BDAT 1\r\n" + content[at : at + 1] for at in range(len(content)))
        codes = self.send(peer, chunks + b"BDAT 0 LAST\r\n", "whole")
        self.assertEqual((set(codes), len(codes)), ({250}, len(content) + 1))
        self.assertEqual(scene.world.stored[0].content, content)

    def test_what_does_not_go_with_chunks_is_refused_and_they_are_forgotten(self) -> None:
        for command in ("DATA", "RCPT TO:<other@here.example>", "MAIL FROM:<b@there.example>"):
            scene = self.scene()
            peer = in_transaction(scene, "clear")
            self.assertEqual(self.send(peer, b"BDAT 4\r\nevil", "whole"), [250])
            self.assertEqual(peer.say(command).code, 503, command)
            self.assertEqual(peer.say("RSET").code, 250)
            self.assertEqual(peer.say("DATA").code, 503)
            peer.say("MAIL FROM:<a@there.example>")
            peer.say("RCPT TO:<user@here.example>")
            self.assertEqual(self.send(peer, b"BDAT 3 LAST\r\nx\r\n", "whole"), [250])
            self.assertEqual([each.content for each in scene.world.stored], [b"x\r\n"])

    def test_a_connection_lost_within_a_chunk_stores_nothing(self) -> None:
        for octets in (
            b"BDAT 10\r\nabc",
            b"BDAT 10 LAST\r\nabc",
            b"BDAT 3\r\nabc",
            b"BDAT 5 LAST\r\n",
        ):
            scene = self.scene()
            peer = in_transaction(scene, "clear")
            self.send(peer, octets, "whole")
            peer.lose()
            self.assertEqual(scene.world.stored, [])
            self.assertEqual(scene.world.calls.count("commit"), 0)

    def test_no_sequence_is_more_than_content(self) -> None:
        for name, content in contents():
            wanted = mended(content, self.mode)
            for at, how in product((1, 11, 18, len(content)), ("whole", "octets")):
                scene = self.scene()
                peer = in_transaction(scene, "clear")
                octets = b"BDAT %d\r\n%b" % (at, content[:at])
                octets += b"BDAT %d LAST\r\n%b" % (len(content) - at, content[at:])
                codes = self.send(peer, octets, how)
                stored = [each.content for each in scene.world.stored]
                self.assertEqual(len(codes), 2, (name, at))
                if wanted is not None:
                    self.assertEqual((codes, stored), ([250, 250], [wanted]), (name, at))
                else:  # one chunk is refused, and the next for that
                    self.assertIn(550, codes, (name, at))
                    self.assertEqual(stored, [], (name, at))
                self.assertEqual(peer.say("RSET").code, 250)
                self.assertNotIn("sender evil@there.example", scene.world.calls)

    def test_binary_content_is_kept_and_never_a_command(self) -> None:
        for (name, content), how in product(contents(), ("whole", "octets")):
            scene = self.scene(binarymime=True)
            peer = connected(scene, "clear")
            peer.say("EHLO client.example")
            self.assertEqual(
                peer.say("MAIL FROM:<a@there.example> BODY=BINARYMIME").code, 250, name
            )
            peer.say("RCPT TO:<user@here.example>")
            octets = b"BDAT %d LAST\r\n%b" % (len(content), content)
            self.assertEqual(self.send(peer, octets, how), [250])
            self.assertEqual([each.content for each in scene.world.stored], [content])
            self.assertEqual(peer.say("NOOP").code, 250)
            self.assertNotIn("sender evil@there.example", scene.world.calls)

    def test_no_content_is_binary_unless_that_was_offered(self) -> None:
        scene = self.scene()
        peer = connected(scene, "clear")
        self.assertFalse([line for line in peer.say("EHLO c").text if "BINARYMIME" in line])
        for body in ("BINARYMIME", "binarymime", "8BITMIME BODY=BINARYMIME"):
            code = peer.say(f"MAIL FROM:<a@there.example> BODY={body}").code
            self.assertIn(code, (501, 504, 555), body)


class StrictChunkTests(ChunkTests):
    """Nothing is tolerated: NULs are refused."""

    mode = STRICT


class RefuseChunkTests(ChunkTests):
    """Bare CRs and LFs are refused."""

    mode = REFUSE
