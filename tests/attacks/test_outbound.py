"""Smuggling outwards: whatever is in the queue, no next hop can read two messages in one.

Content with every sequence of `test_smuggling`, in pieces cut at each octet around it, goes to next
hops with and without extensions. Either it is refused before anything of it is said, or what leaves
us has no bare CR, no bare LF and no NUL, and its first CRLF.CRLF is its last.

What came in was mended, in each mode, and is never refused on the way out: it goes through the
server's decoder and the client's encoder to a next hop that takes for an end of line whatever some
server ever took (`ends`), and finds one end there, the last.
"""

import re
from collections.abc import Iterator
from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from postroom.wire.data import BareNewlineDecoder, ChunkDecoder, DotDecoder, TextRules
from postroom.wire.encode import DotEncoder, FoldingEncoder, TextEncoder
from tests.attacks.attack import Attack, cut
from tests.attacks.test_smuggling import (
    END,
    EVIL,
    FIRST,
    PLACES,
    SEQUENCES,
    contents,
    expected,
    mended,
)
from tests.client.parts import PIPELINING, MemorySource, World, outgoing
from tests.modes import REFUSE, STRICT

BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)|\0")
ONE_BY_ONE = ("SIZE 1000000", "8BITMIME")
_LINE_END = rb"(?:\r*\n|\r)"
_LENIENT_END = re.compile(_LINE_END + rb"\.[ \t]*(?=" + _LINE_END + rb")")


def ends(octets: bytes) -> list[int]:
    """Return where content ends for a host that drops NULs and takes CR or LF for a line end."""
    octets = octets.replace(b"\0", b"")
    stream = b"\r\n" + octets
    return [len(octets) + 2 - match.end() for match in _LENIENT_END.finditer(stream)]


def attacks() -> Iterator[tuple[str, bytes]]:
    """Yield contents to send to us: what `contents` has, what is long, what is folded at a dot."""
    yield from contents()
    for name, sequence in SEQUENCES.items():
        yield f"{name} twice", b"Subject: x\r\n\r\n" + sequence * 2 + EVIL
        yield f"{name} at the end", b"Subject: x\r\n\r\nx" + sequence + b"\r\n"
    for octets in range(990, 1003):
        yield f"a dot after {octets}", b"x" * octets + b".\r\n" + EVIL
        yield f"a line of a dot after {octets}", b"x" * octets + b"\n.\n" + EVIL
        yield f"dots after {octets}", b"x" * octets + b"." * 2000 + b"\r.\r\n" + EVIL


class OutboundTests(SynchronousTestCase):
    """What leaves us is one message."""

    def send(self, source: MemorySource, extensions: tuple[str, ...]) -> None:
        world = World(peers=lambda _: {"extensions": extensions})
        sending = world.send(message=outgoing(source=source))
        if not sending.called:
            world.advance(1900)
        (reply,) = self.successResultOf(sending).replies
        written = b"".join(octets for peer in world.peers for octets in peer.writes)
        self.assertIsNone(BARE.search(written), written)
        contents = [content for peer in world.peers for content in peer.contents]
        self.assertEqual(len(contents), reply.code == 250)
        for content in contents:
            self.assertEqual(content.count(b"\r\n.\r\n"), 1)
        commands = [command for peer in world.peers for command in peer.commands]
        self.assertFalse([command for command in commands if "evil" in command])

    def test_no_sequence_leaves_us_as_an_end(self) -> None:
        contents = [
            before + sequence + EVIL
            for sequence, before in product(SEQUENCES.values(), PLACES.values())
        ]
        contents += [sequence + EVIL for sequence in FIRST.values()]
        contents += [
            b".\r\n" + EVIL,
            b"\r\n.\r\n" + EVIL,
            EVIL + b"\r\n.\r\n" + EVIL,
            b".",
            b"x\r\n.",
        ]
        for content, extensions in product(contents, (PIPELINING, ONE_BY_ONE)):
            self.send(MemorySource(content), extensions)

    def test_nor_does_one_that_lies_across_pieces(self) -> None:
        for sequence in (*SEQUENCES.values(), *FIRST.values(), b"\r\n.\r\n"):
            before = b"Subject: x\r\n\r\ntext"
            content = before + sequence + EVIL
            for at in range(len(before), len(before) + len(sequence) + 1):
                self.send(MemorySource(content[:at], content[at:]), PIPELINING)

    def test_dots_that_begin_lines_are_doubled_wherever_pieces_are_cut(self) -> None:
        content = b"Subject: x\r\n\r\n.\r\n..\r\n.x\r\nx.\r\n"
        for at in range(1, len(content)):
            world = World(peers=lambda _: {})
            source = MemorySource(content[:at], content[at:])
            self.successResultOf(world.send(message=outgoing(source=source)))
            (stuffed,) = world.peers[0].contents
            self.assertEqual(stuffed, b"Subject: x\r\n\r\n..\r\n...\r\n..x\r\nx.\r\n.\r\n", at)


class ThroughTests(Attack):
    """What we took is one message to the next hop."""

    def taken(self, content: bytes, how: str) -> bytes | None:
        """Return what the server keeps of content sent by DATA; None if it is refused."""
        decoder = DotDecoder(TextRules(0, not self.mode.mends, not self.mode.tolerant))
        kept = b"".join([decoder.feed(piece) for piece in cut(content + END[2:], how)])
        self.assertEqual((decoder.ended, decoder.rest), (True, b""))
        return None if decoder.flaw is not None else kept

    def taken_as_chunk(self, content: bytes, how: str) -> bytes | None:
        """Return what the server keeps of content sent by BDAT; None if it is refused."""
        decoder = ChunkDecoder(TextRules(0, not self.mode.mends, not self.mode.tolerant))
        decoder.begin(len(content))
        kept = b"".join([decoder.feed(piece) for piece in cut(content, how)]) + decoder.finish()
        return None if decoder.flaw is not None else kept

    def encoded(self, encoder: TextEncoder, content: bytes, how: str) -> bytes:
        sent = [encoder.feed(piece) for piece in cut(content, how)]
        return b"".join([*sent, encoder.finish()])

    def test_the_first_end_is_the_last(self) -> None:
        refused = 0
        for (name, content), how in product(attacks(), ("whole", "octets")):
            for kept, wanted in (
                (self.taken(content, how), expected(content, self.mode)),
                (self.taken_as_chunk(content, how), mended(content, self.mode)),
            ):
                self.assertEqual(kept, wanted, name)
                refused += kept is None
                for encoder in (DotEncoder(), FoldingEncoder(DotEncoder(), 998)):
                    if kept is not None:
                        sent = self.encoded(encoder, kept, how)
                        self.assertIsNone(BARE.search(sent), name)
                        self.assertEqual(ends(sent), [2], name)
        self.assertEqual(refused > 0, not (self.mode.mends and self.mode.tolerant))

    def test_nor_has_what_a_host_sent_for_whom_any_lf_ends_a_line(self) -> None:
        for name, content in attacks():
            decoder = BareNewlineDecoder(TextRules(0, not self.mode.mends, not self.mode.tolerant))
            kept = decoder.feed(content + END[2:])
            self.assertTrue(decoder.ended, name)
            if decoder.flaw is None:
                sent = self.encoded(DotEncoder(), kept, "whole")
                self.assertIsNone(BARE.search(sent), name)
                self.assertEqual(ends(sent), [2], name)

    def test_the_client_sends_it_so(self) -> None:
        for (name, content), (extensions, pieces) in product(
            attacks(), ((PIPELINING, 1), (ONE_BY_ONE, 3))
        ):
            kept = self.taken(content, "whole")
            if kept is None:
                continue
            size = -(-len(kept) // pieces)
            source = MemorySource(*(kept[at : at + size] for at in range(0, len(kept), size)))
            world = World(peers=lambda _, offered=extensions: {"extensions": offered})
            (reply,) = self.successResultOf(world.send(message=outgoing(source=source))).replies
            self.assertEqual(reply.code, 250, name)
            ((sent,),) = [peer.contents for peer in world.peers]
            self.assertEqual(ends(sent), [2], name)
            self.assertEqual(DotDecoder().feed(sent), kept, name)


class StrictThroughTests(ThroughTests):
    """NULs are refused, line ends are mended."""

    mode = STRICT


class RefuseThroughTests(ThroughTests):
    """Bare CRs and LFs are refused, NULs are taken out."""

    mode = REFUSE
