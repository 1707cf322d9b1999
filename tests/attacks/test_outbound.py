"""Smuggling outwards: whatever is in the queue, no next hop can read two messages in one.

Content with every sequence of `test_smuggling`, in pieces cut at each octet around it, goes to next
hops with and without extensions. Either it is refused before anything of it is said, or what leaves
us has no bare CR, no bare LF and no NUL, and its first CRLF.CRLF is its last.
"""

import re
from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from tests.attacks.test_smuggling import EVIL, FIRST, PLACES, SEQUENCES
from tests.client.parts import PIPELINING, MemorySource, World, outgoing

BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)|\0")
ONE_BY_ONE = ("SIZE 1000000", "8BITMIME")


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
