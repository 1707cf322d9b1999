"""Sessions with hosts that offer more: BDAT, LMTP, PRDR, LIMITS, DSN; whole and byte by byte."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from postroom.client.model import Destination, Sent, SmartHost, TLSMode
from postroom.client.settings import Chunking
from postroom.wire.folding import LineFolder
from tests.client.parts import (
    CLOSE,
    CONTENT,
    MUTE,
    SMARTHOST,
    STUFFED,
    MemorySource,
    World,
    outgoing,
)

LMTP = Destination("", SmartHost("192.0.2.1", 24, TLSMode.NEVER, lmtp=True))
THREE = ("a@there.example", "b@there.example", "c@there.example")
PIECE = b"x" * 70 + b"\r\n"


class WorldCase(SynchronousTestCase):
    def worlds(
        self, *extensions: str, answers: dict[str, Any] | None = None, **settings: object
    ) -> Iterator[World]:
        """Give worlds whose hosts offer extensions, and say things whole or byte by byte."""
        for whole in (True, False):
            how = {
                "extensions": extensions,
                "answers": deepcopy(answers) or {},
                "whole": whole,
            }
            yield World(peers=lambda _, how=how: dict(how), **settings)

    def sent(
        self, world: World, *recipients: str, where: Destination = SMARTHOST, **more: Any
    ) -> Sent:
        return self.successResultOf(world.send(where, outgoing(*recipients, **more)))

    def codes(self, sent: Sent) -> list[int]:
        return [reply.code for reply in sent.replies]


class ChunkTests(WorldCase):
    """Tests for BDAT."""

    def test_one_piece_is_one_chunk_without_stuffing(self) -> None:
        for world in self.worlds("PIPELINING", "CHUNKING", chunking=Chunking.ALWAYS):
            self.assertEqual(self.codes(self.sent(world)), [250])
            (peer,) = world.peers
            self.assertEqual(peer.contents, [CONTENT])
            self.assertEqual(
                peer.commands,
                [
                    "EHLO us.example",
                    "MAIL FROM:<from@here.example>",
                    "RCPT TO:<to@there.example>",
                    f"BDAT {len(CONTENT)} LAST",
                ],
            )
            self.assertEqual(len(peer.writes), 3)

    def test_several_pieces_are_chunks_and_only_some_are_ahead_of_their_answers(self) -> None:
        for offers, ahead in ((("PIPELINING", "CHUNKING"), 4), (("CHUNKING",), 1)):
            how = {"extensions": offers, "answers": {"BDAT": MUTE}}
            world = World(peers=lambda _, how=how: how)
            sending = world.send(message=outgoing(source=MemorySource(*[PIECE] * 10)))
            self.assertNoResult(sending)
            (peer,) = world.peers
            self.assertEqual(len(peer.contents), ahead)
            peer.answers["BDAT"] = "250 2.0.0 more"
            peer.hear(b"250 2.0.0 more\r\n" * ahead)
            world.pump()
            self.assertEqual(self.codes(self.successResultOf(sending)), [250])
            self.assertEqual(peer.contents, [PIECE] * 10)
            self.assertEqual(peer.commands[-1], f"BDAT {len(PIECE)} LAST")

    def test_a_refused_chunk_is_the_answer_and_nothing_more_is_sent(self) -> None:
        answers = {"BDAT": ["250 2.0.0 more", "552 5.2.2 full", "503 5.5.1 bad"]}
        for world in self.worlds("PIPELINING", "CHUNKING", answers=answers):
            source = MemorySource(*[PIECE] * 50)
            sent = self.sent(world, *THREE, source=source)
            self.assertEqual([str(reply) for reply in sent.replies], ["552 5.2.2 full"] * 3)
            (peer,) = world.peers
            self.assertEqual(peer.commands[-1], "RSET")
            self.assertFalse([each for each in peer.commands if "LAST" in each])
            self.assertEqual(self.codes(self.sent(world)), [250])
            self.assertEqual(len(world.peers), 1)

    def test_a_refused_last_chunk_is_cleared_by_rset(self) -> None:
        answers = {"CONTENT": ["451 4.3.0 later", "250 ok"]}
        for world in self.worlds("CHUNKING", answers=answers, chunking=Chunking.ALWAYS):
            self.assertEqual(self.codes(self.sent(world)), [451])
            self.assertEqual(world.peers[0].commands[-1], "RSET")
            self.assertEqual(self.codes(self.sent(world)), [250])

    def test_no_chunk_goes_where_nobody_was_accepted(self) -> None:
        answers = {"RCPT": "550 5.1.1 no"}
        for world in self.worlds(
            "PIPELINING", "CHUNKING", answers=answers, chunking=Chunking.ALWAYS
        ):
            self.assertEqual(self.codes(self.sent(world, *THREE)), [550] * 3)
            self.assertEqual(world.peers[0].commands[-1], "RSET")
            self.assertEqual(world.peers[0].contents, [])

    def test_binary_content_arrives_as_it_is(self) -> None:
        octets = bytes(range(256)) + b"\r.\r\n.\r\nMAIL FROM:<evil@example.com>\n"
        for world in self.worlds("PIPELINING", "CHUNKING", "BINARYMIME", "8BITMIME"):
            sent = self.sent(world, content=octets, parameters={"BODY": "BINARYMIME"})
            self.assertEqual(self.codes(sent), [250])
            self.assertEqual(world.peers[0].contents, [octets])
            self.assertIn("BODY=BINARYMIME", world.peers[0].commands[1])

    def test_text_that_could_smuggle_is_refused_for_bdat_too(self) -> None:
        for octets in (b"a\nb\r\n", b"a\rb\r\n", b"a\0b\r\n", b"a\r"):
            for world in self.worlds("CHUNKING", chunking=Chunking.ALWAYS):
                self.assertEqual(self.codes(self.sent(world, content=octets)), [554])
                self.assertEqual(world.peers[0].contents, [])

    def test_folded_chunks_are_as_long_as_they_say(self) -> None:
        line = b"x" * 300
        pieces = [line] * 10 + [b"x", b"x" * 97, b"\r", b"\n", b".\r\n.", "€".encode() * 400]
        whole = b"".join(pieces)
        wanted = LineFolder(998)
        folded = wanted.feed(whole) + wanted.finish()
        for source in (MemorySource(*pieces), MemorySource(whole)):
            for world in self.worlds(
                "CHUNKING", "SIZE", chunking=Chunking.ALWAYS, text_line_octets=998
            ):
                self.assertEqual(self.codes(self.sent(world, source=source)), [250])
                (peer,) = world.peers
                self.assertEqual(b"".join(peer.contents), folded)
                said = [int(each.split()[1]) for each in peer.commands if each[:4] == "BDAT"]
                self.assertEqual(said, [len(each) for each in peer.contents])
                self.assertNotIn(0, said)
                self.assertIn(f"SIZE={len(whole) + 3 * (len(whole) // 994)}", peer.commands[1])
                self.assertEqual(max(map(len, folded.split(b"\r\n"))), 998)

    def test_dots_are_stuffed_in_what_is_folded_for_data(self) -> None:
        for pieces in ([b"." * 1000 + b"\r\n."], [b"." * 997, b"." * 3, b"\r\n", b"."]):
            for world in self.worlds("PIPELINING", text_line_octets=998):
                self.assertEqual(self.codes(self.sent(world, source=MemorySource(*pieces))), [250])
                (content,) = world.peers[0].contents
                self.assertEqual(content, b"." * 999 + b"\r\n ..\r\n..\r\n.\r\n")

    def test_lines_of_any_length_go_as_they_are_unless_that_is_set(self) -> None:
        content = b"Subject: x\r\n\r\n" + b"y" * 100_000
        for world in self.worlds("PIPELINING"):
            self.assertEqual(self.codes(self.sent(world, content=content)), [250])
            self.assertEqual(world.peers[0].contents, [content + b"\r\n.\r\n"])

    def test_binary_content_is_never_folded(self) -> None:
        content = bytes(range(256)) * 20
        for world in self.worlds("CHUNKING", "BINARYMIME", text_line_octets=78):
            sent = self.sent(world, content=content, parameters={"BODY": "BINARYMIME"})
            self.assertEqual(self.codes(sent), [250])
            self.assertEqual(world.peers[0].contents, [content])

    def test_a_terminator_within_a_chunk_is_stuffed_for_data(self) -> None:
        octets = b"a\r\n.\r\nMAIL FROM:<evil@example.com>\r\n"
        for world in self.worlds("PIPELINING"):
            self.assertEqual(self.codes(self.sent(world, content=octets)), [250])
            (content,) = world.peers[0].contents
            self.assertEqual(content, octets.replace(b"\r\n.\r\n", b"\r\n..\r\n") + b".\r\n")

    def test_a_connection_lost_after_the_last_chunk_may_have_delivered(self) -> None:
        for world in self.worlds("CHUNKING", answers={"CONTENT": CLOSE}, chunking=Chunking.ALWAYS):
            (reply,) = self.sent(world).replies
            self.assertEqual(reply.code, 451)
            self.assertIn("may be sent twice", str(reply))

    def test_content_that_ends_early_is_never_a_whole_message(self) -> None:
        for world in self.worlds("CHUNKING"):
            source = MemorySource(PIECE, PIECE)
            source.size_octets += 1
            self.assertEqual(self.codes(self.sent(world, source=source)), [451])
            self.assertFalse([each for each in world.peers[0].commands if "LAST" in each])
            self.assertTrue(world.peers[0].transport.closed)


class LMTPTests(WorldCase):
    """Tests for LMTP. RFC 2033 s4."""

    def test_each_recipient_has_its_own_answer_after_the_content(self) -> None:
        answers = {
            "RCPT": ["250 ok", "550 5.1.1 no", "250 ok"],
            "CONTENT": "250 2.1.5 a has it\r\n452 4.2.2 c is full",
        }
        for world in self.worlds("PIPELINING", answers=answers):
            sent = self.sent(world, *THREE, where=LMTP)
            self.assertEqual(
                [str(reply) for reply in sent.replies],
                ["250 2.1.5 a has it", "550 5.1.1 no", "452 4.2.2 c is full"],
            )
            (peer,) = world.peers
            self.assertEqual(peer.commands[0], "LHLO us.example")
            self.assertEqual(peer.contents, [STUFFED])
            answers = {"RCPT": "250 ok", "CONTENT": "250 ok"}
            peer.answers |= answers
            self.assertEqual(self.codes(self.sent(world, where=LMTP)), [250])
            self.assertEqual(len(world.peers), 1)

    def test_helo_is_no_way_out(self) -> None:
        for world in self.worlds(answers={"LHLO": "500 what"}):
            self.assertEqual(self.codes(self.sent(world, where=LMTP)), [500])
            self.assertEqual(world.peers[0].commands[0], "LHLO us.example")
            self.assertNotIn("HELO us.example", world.peers[0].commands)

    def test_answers_given_before_a_connection_is_lost_stand(self) -> None:
        answers = {"CONTENT": "250 2.1.5 a has it\r\n421 4.3.2 closing"}
        for world in self.worlds("PIPELINING", answers=answers):
            self.assertEqual(self.codes(self.sent(world, *THREE, where=LMTP)), [250, 421, 421])

    def test_chunks_are_answered_for_each_recipient_too(self) -> None:
        answers = {"CONTENT": "250 a\r\n550 b\r\n250 c"}
        for world in self.worlds("CHUNKING", answers=answers, chunking=Chunking.ALWAYS):
            self.assertEqual(self.codes(self.sent(world, *THREE, where=LMTP)), [250, 550, 250])


class PRDRTests(WorldCase):
    """Tests for PRDR. draft-hall-prdr."""

    def test_it_is_asked_for_with_several_recipients_only(self) -> None:
        for world in self.worlds("PIPELINING", "PRDR"):
            self.assertEqual(self.codes(self.sent(world)), [250])
            self.assertNotIn("PRDR", world.peers[0].commands[1])
        for world in self.worlds("PIPELINING", "PRDR", prdr=False):
            self.sent(world, *THREE)
            self.assertNotIn("PRDR", world.peers[0].commands[1])

    def test_each_recipient_is_judged_after_353(self) -> None:
        judged = "353 judging\r\n250 a yes\r\n550 5.7.1 b no\r\n250 c yes\r\n250 queued for two"
        for world in self.worlds("PIPELINING", "PRDR", answers={"CONTENT": judged}):
            self.assertEqual(self.codes(self.sent(world, *THREE)), [250, 550, 250])
            self.assertTrue(world.peers[0].commands[1].endswith(" PRDR"))
            world.peers[0].answers["CONTENT"] = "250 ok"
            self.assertEqual(self.codes(self.sent(world)), [250])

    def test_the_last_word_counts_when_it_is_no(self) -> None:
        judged = "353 judging\r\n250 a\r\n550 b\r\n250 c\r\n451 4.3.0 the disk is full"
        for world in self.worlds("PIPELINING", "PRDR", answers={"CONTENT": judged}):
            self.assertEqual(self.codes(self.sent(world, *THREE)), [451, 550, 451])

    def test_one_answer_without_353_is_for_all(self) -> None:
        for answer, code in (("250 ok", 250), ("550 no", 550)):
            for world in self.worlds("PIPELINING", "PRDR", answers={"CONTENT": answer}):
                self.assertEqual(self.codes(self.sent(world, *THREE)), [code] * 3)

    def test_who_was_not_asked_may_not_say_353(self) -> None:
        for world in self.worlds("PIPELINING", answers={"CONTENT": "353 judging"}):
            self.assertEqual(self.codes(self.sent(world, *THREE)), [451] * 3)


class LimitTests(WorldCase):
    """Tests for LIMITS. RFC 9422 s4."""

    def test_a_session_has_no_more_messages_than_the_host_takes(self) -> None:
        for world in self.worlds("PIPELINING", "LIMITS MAILMAX=2"):
            for _ in range(5):
                self.assertEqual(self.codes(self.sent(world)), [250])
            mails = [[c for c in p.commands if c.startswith("MAIL")] for p in world.peers]
            self.assertEqual([len(each) for each in mails], [2, 2, 1])
            self.assertEqual(world.peers[0].commands[-1], "QUIT")

    def test_recipients_are_split_as_the_host_says(self) -> None:
        for world in self.worlds("PIPELINING", "LIMITS RCPTMAX=2 MAILMAX=1"):
            self.assertEqual(self.codes(self.sent(world, *THREE)), [250] * 3)
            rcpts = [[c for c in p.commands if c.startswith("RCPT")] for p in world.peers]
            self.assertEqual([len(each) for each in rcpts], [2, 1])

    def test_domains_are_split_over_sessions(self) -> None:
        many = ("a@x.example", "b@y.example", "c@X.example", "d@z.example")
        for world in self.worlds("PIPELINING", "LIMITS RCPTDOMAINMAX=2"):
            self.assertEqual(self.codes(self.sent(world, *many)), [250] * 4)
            rcpts = [[c for c in p.commands if c.startswith("RCPT")] for p in world.peers]
            self.assertEqual(
                rcpts,
                [
                    [f"RCPT TO:<{each}>" for each in many[:3]],
                    [f"RCPT TO:<{many[3]}>"],
                ],
            )


class ReportTests(WorldCase):
    """Tests for who reports: us or the host. RFC 3461 s5.2."""

    def test_the_relay_is_told_which_hosts_do_not_report(self) -> None:
        answers = {"RCPT": ["250 ok", "550 no", "250 ok"]}
        for extensions, unaware in ((("DSN",), frozenset()), ((), frozenset({0, 2}))):
            for world in self.worlds(*extensions, answers=answers):
                sent = self.sent(world, *THREE, rcpt={"NOTIFY": "SUCCESS"})
                self.assertEqual(sent.unaware, unaware)
                told = [c for c in world.peers[0].commands if c.endswith(" NOTIFY=SUCCESS")]
                self.assertEqual(len(told), 3 if extensions else 0)

    def test_a_recipient_that_the_host_must_not_get_is_never_named(self) -> None:
        for world in self.worlds("PIPELINING"):
            sent = self.sent(world, "a@there.example", "jörg@there.example")
            self.assertEqual(self.codes(sent), [250, 553])
            self.assertNotIn("rg@", "".join(world.peers[0].commands))
            self.assertEqual(self.codes(self.sent(world, "jörg@there.example")), [553])
        for world in self.worlds("PIPELINING", "SMTPUTF8", "8BITMIME"):
            self.assertEqual(self.codes(self.sent(world, "jörg@there.example")), [250])
            self.assertEqual(
                world.peers[0].commands[1:3],
                ["MAIL FROM:<from@here.example> SMTPUTF8", "RCPT TO:<jörg@there.example>"],
            )
