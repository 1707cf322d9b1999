"""Each step of a session failing in each way; every case whole and byte by byte."""

from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from postroom.client.model import Destination, Sent
from tests.client.parts import (
    CLOSE,
    CONTENT,
    PIPELINING,
    SILENCE,
    SMARTHOST,
    STUFFED,
    MemorySource,
    TableResolver,
    World,
    outgoing,
)

LOST = "Lost connection"
TIMED_OUT = "timed out"
TEXT = {
    "GREETING": "while waiting for the greeting",
    "EHLO": "while sending EHLO",
    "MAIL": "while sending MAIL FROM",
    "RCPT": "while sending RCPT TO",
    "DATA": "while sending DATA",
    "CONTENT": "after the final dot: the message may be sent twice",
}
STEPS = tuple(TEXT)
WAYS = {
    "4xx": "450 4.2.0 not now",
    "5xx": "550 5.7.1 never",
    "421": "421 4.3.2 closing",
    "close": CLOSE,
    "silence": SILENCE,
}
ONE_BY_ONE = ("SIZE 1000000", "8BITMIME")


class StepTests(SynchronousTestCase):
    def result(self, world: World) -> Sent:
        sending = world.send()
        if not sending.called:
            world.advance(1900)
        return self.successResultOf(sending)

    def test_every_step_failing_in_every_way_gives_the_right_reply(self) -> None:
        for step, way, extensions, whole in product(
            STEPS, WAYS, (PIPELINING, ONE_BY_ONE), (True, False)
        ):
            case = (step, way, extensions, whole)
            answers = {step: WAYS[way]}
            if step == "EHLO" and way == "5xx":
                answers["HELO"] = WAYS[way]
            how = {"answers": answers, "extensions": extensions, "whole": whole}
            world = World(peers=lambda _, how=how: how)
            (reply,) = self.result(world).replies
            expected = {"4xx": 450, "5xx": 550, "421": 421}.get(way, 451)
            self.assertEqual(reply.code, expected, case)
            if way in ("close", "silence"):
                self.assertIn(LOST if way == "close" else TIMED_OUT, str(reply), case)
                self.assertIn(TEXT[step], str(reply), case)
                self.assertEqual(reply.enhanced, "4.4.2", case)
            world.advance(400)
            self.assertTrue(all(peer.transport.closed for peer in world.peers), case)
            self.assertEqual(world.reactor.getDelayedCalls(), [], case)

    def test_another_host_is_tried_unless_this_one_has_decided_or_may_have_the_message(
        self,
    ) -> None:
        resolver = TableResolver(
            {"d.example": [(1, "a"), (2, "b")]}, {"a": ["192.0.2.1"], "b": ["192.0.2.2"]}
        )
        for step, way in product(STEPS, WAYS):
            answers = {step: WAYS[way]}
            if step == "EHLO" and way == "5xx":
                answers["HELO"] = WAYS[way]
            how = {"192.0.2.1": {"answers": answers}, "192.0.2.2": {}}
            world = World(resolver, how.get)
            sending = world.send(Destination("d.example"))
            world.advance(700)
            (reply,) = self.successResultOf(sending).replies
            decided = step == "CONTENT" or (
                step in ("MAIL", "RCPT", "DATA") and way in ("4xx", "5xx")
            )
            self.assertEqual(world.addresses, ["192.0.2.1"] + ["192.0.2.2"] * (not decided))
            self.assertEqual(reply.code == 250, not decided, (step, way))

    def test_a_session_that_goes_well_is_three_writes_and_quit_when_idle(self) -> None:
        world = World(peers=lambda _: {})
        sent = self.successResultOf(world.send())
        self.assertEqual([reply.code for reply in sent.replies], [250])
        self.assertEqual(sent.remote, "192.0.2.1[192.0.2.1]:25")
        (peer,) = world.peers
        self.assertEqual(
            peer.writes,
            [
                b"EHLO us.example\r\n",
                b"MAIL FROM:<from@here.example> SIZE=%d\r\n" % len(CONTENT)
                + b"RCPT TO:<to@there.example>\r\nDATA\r\n",
                STUFFED,
            ],
        )
        world.advance(10)
        self.assertEqual(peer.commands[-1], "QUIT")
        self.assertTrue(peer.transport.closed)

    def test_without_ehlo_there_is_helo_and_no_extension_is_used(self) -> None:
        world = World(peers=lambda _: {"answers": {"EHLO": "502 5.5.1 what"}})
        sent = self.successResultOf(world.send())
        self.assertEqual(sent.replies[0].code, 250)
        self.assertEqual(
            world.peers[0].commands,
            ["EHLO us.example", "HELO us.example", "MAIL FROM:<from@here.example>",
             "RCPT TO:<to@there.example>", "DATA"],
        )  # fmt: skip

    def test_the_null_sender_is_sent_as_such(self) -> None:
        world = World(peers=lambda _: {})
        self.successResultOf(world.send(message=outgoing(sender=None)))
        self.assertIn(f"MAIL FROM:<> SIZE={len(CONTENT)}", world.peers[0].commands)

    def test_each_recipient_gets_its_own_reply(self) -> None:
        answers = {"RCPT": ["250 ok", "550 5.1.1 who", "451 later", "250 ok"]}
        for extensions, whole in product((PIPELINING, ONE_BY_ONE), (True, False)):
            how = {
                "answers": {k: list(v) for k, v in answers.items()},
                "extensions": extensions,
                "whole": whole,
            }
            world = World(peers=lambda _, how=how: how)
            message = outgoing(*(f"r{n}@there.example" for n in range(4)))
            sent = self.successResultOf(world.send(message=message))
            self.assertEqual([reply.code for reply in sent.replies], [250, 550, 451, 250])

    def test_when_nobody_is_accepted_no_content_is_sent_and_the_connection_lives_on(self) -> None:
        for data in ("354 go", "554 5.5.1 no recipients"):
            answers = {"RCPT": ["550 5.1.1 who", "250 ok"], "DATA": [data, "354 go"]}
            world = World(peers=lambda _, answers=answers: {"answers": answers})
            first = self.successResultOf(world.send())
            second = self.successResultOf(world.send())
            self.assertEqual([first.replies[0].code, second.replies[0].code], [550, 250])
            self.assertEqual(len(world.peers), 1)
            self.assertEqual(world.peers[0].contents[-1], STUFFED)
            self.assertNotIn(STUFFED, world.peers[0].contents[:-1])

    def test_552_to_rcpt_is_tried_again(self) -> None:
        world = World(peers=lambda _: {"answers": {"RCPT": "552 5.5.3 too many"}})
        self.assertEqual(self.successResultOf(world.send()).replies[0].code, 452)

    def test_replies_already_given_survive_a_lost_connection(self) -> None:
        world = World(peers=lambda _: {"answers": {"RCPT": ["550 5.1.1 who", CLOSE]}})
        sent = self.successResultOf(world.send(message=outgoing("a@x.example", "b@x.example")))
        self.assertEqual([reply.code for reply in sent.replies], [550, 451])

    def test_what_is_accepted_before_nonsense_is_accepted(self) -> None:
        world = World(peers=lambda _: {"answers": {"CONTENT": "250 ok\r\nnonsense"}})
        self.assertEqual(self.successResultOf(world.send()).replies[0].code, 250)
        self.assertTrue(world.peers[0].transport.closed)


class HostileReplyTests(SynchronousTestCase):
    def test_whatever_a_server_says_ends_in_a_temporary_reply(self) -> None:
        for step, reply, whole in product(
            ("GREETING", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT"),
            (
                "hello", "", "2500 ok", "250-a\r\n251 b", "250 a\0b", "250 a\rb", "250 a\n250 b",
                "250-x\r\n" * 300, "250 " + "x" * 9_000, "123 x", "999 x", "334 x", "220\t",
            ),
            (True, False),
        ):  # fmt: skip
            how = {"answers": {step: reply}, "whole": whole}
            world = World(peers=lambda _, how=how: how)
            sending = world.send()
            world.advance(700)
            (answer,) = self.successResultOf(sending).replies
            self.assertEqual((answer.code, answer.enhanced), (451, "4.5.0"), (step, reply[:20]))
            answer.wire.decode("ascii")

    def test_a_megabyte_without_line_end_is_not_kept(self) -> None:
        world = World(peers=lambda _: {"answers": {"MAIL": SILENCE}})
        sending = world.send()
        for _ in range(16):
            world.peers[0].hear(b"x" * 65_536)
        self.assertEqual(self.successResultOf(sending).replies[0].code, 451)

    def test_8bit_text_is_tolerated_and_made_printable(self) -> None:
        world = World(peers=lambda _: {"answers": {"RCPT": "550 5.1.1 n\xe4"}})
        (reply,) = self.successResultOf(world.send()).replies
        self.assertEqual(reply.wire, b"550 5.1.1 n?\r\n")

    def test_octets_that_complete_no_reply_do_not_extend_the_deadline(self) -> None:
        world = World(peers=lambda _: {"answers": {"MAIL": SILENCE}})
        sending = world.send()
        for _ in range(29):
            world.advance(10)
            world.peers[0].hear(b"2")
        self.assertNoResult(sending)
        world.advance(10)
        self.assertIn(TIMED_OUT, str(self.successResultOf(sending).replies[0]))

    def test_250_before_the_final_dot_is_never_a_delivery(self) -> None:
        source = MemorySource(CONTENT, CONTENT, later=True)
        world = World(peers=lambda _: {"answers": {"DATA": "354 go\r\n250 taken"}})
        sending = world.send(message=outgoing(source=source))
        source.give()
        world.pump()
        self.assertEqual(self.successResultOf(sending).replies[0].code, 451)


class ManyRecipientsTests(SynchronousTestCase):
    def test_more_than_a_hundred_go_in_several_transactions_of_one_connection(self) -> None:
        world = World(peers=lambda _: {})
        message = outgoing(*(f"r{n}@there.example" for n in range(250)))
        sent = self.successResultOf(world.send(message=message))
        self.assertEqual([reply.code for reply in sent.replies], [250] * 250)
        (peer,) = world.peers
        self.assertEqual(peer.contents, [STUFFED] * 3)
        self.assertEqual(sum(line.startswith("RCPT") for line in peer.commands), 250)

    def test_those_beyond_the_hosts_own_limit_follow_at_once(self) -> None:
        answers = {"RCPT": ["250 ok", "250 ok", "452 4.5.3 too many", "250 ok"]}
        world = World(peers=lambda _: {"answers": answers})
        sent = self.successResultOf(world.send(message=outgoing("a@x", "b@x", "c@x")))
        self.assertEqual([reply.code for reply in sent.replies], [250, 250, 250])
        self.assertEqual(len(world.peers[0].contents), 2)

    def test_a_host_that_takes_none_of_them_is_not_asked_for_ever(self) -> None:
        world = World(peers=lambda _: {"answers": {"RCPT": "452 4.5.3 too many"}})
        sent = self.successResultOf(world.send(message=outgoing("a@x", "b@x")))
        self.assertEqual([reply.code for reply in sent.replies], [452, 452])

    def test_a_full_mailbox_is_not_tried_again_at_once(self) -> None:
        world = World(peers=lambda _: {"answers": {"RCPT": ["250 ok", "452 4.2.2 full"]}})
        sent = self.successResultOf(world.send(message=outgoing("a@x", "b@x")))
        self.assertEqual([reply.code for reply in sent.replies], [250, 452])
        self.assertEqual(len(world.peers[0].contents), 1)

    def test_a_connection_lost_in_the_second_transaction_leaves_the_first_delivered(self) -> None:
        resolver = TableResolver(
            {"d.example": [(1, "a"), (2, "b")]}, {"a": ["192.0.2.1"], "b": ["192.0.2.2"]}
        )
        how = {"192.0.2.1": {"answers": {"MAIL": ["250 ok", CLOSE]}}, "192.0.2.2": {}}
        world = World(resolver, how.get)
        message = outgoing(*(f"r{n}@d.example" for n in range(150)))
        sent = self.successResultOf(world.send(Destination("d.example"), message))
        self.assertEqual({reply.code for reply in sent.replies}, {250})
        second = world.peers[1].commands
        self.assertEqual(sum(line.startswith("RCPT") for line in second), 50)
        self.assertIn("RCPT TO:<r100@d.example>", second)


class ExtensionTests(SynchronousTestCase):
    EIGHT_BIT = "Subject: \xe4\r\n".encode("latin-1")

    def test_8bit_content_is_declared_where_offered(self) -> None:
        world = World(peers=lambda _: {})
        self.successResultOf(world.send(message=outgoing(content=self.EIGHT_BIT)))
        self.assertIn("BODY=8BITMIME", world.peers[0].commands[1])

    def test_7bit_content_is_not_declared(self) -> None:
        world = World(peers=lambda _: {})
        self.successResultOf(world.send())
        self.assertNotIn("BODY", world.peers[0].commands[1])

    def test_8bit_content_is_not_sent_to_a_host_without_8bitmime(self) -> None:
        world = World(peers=lambda _: {"extensions": ["PIPELINING"]}, eight_bit_anyway=False)
        (reply,) = self.successResultOf(
            world.send(message=outgoing(content=self.EIGHT_BIT))
        ).replies
        self.assertEqual((reply.code, reply.enhanced), (554, "5.6.3"))
        self.assertEqual(world.peers[0].commands, ["EHLO us.example"])
        self.assertEqual(self.successResultOf(world.send()).replies[0].code, 250)

    def test_8bit_content_goes_anyway_where_the_settings_say_so(self) -> None:
        world = World(peers=lambda _: {"extensions": ["PIPELINING"]})
        self.successResultOf(world.send(message=outgoing(content=self.EIGHT_BIT)))
        self.assertEqual(world.peers[0].contents, [self.EIGHT_BIT + b".\r\n"])
        self.assertNotIn("BODY", world.peers[0].commands[1])

    def test_8bit_octets_in_a_later_piece_end_the_connection_without_the_final_dot(self) -> None:
        world = World(peers=lambda _: {"extensions": ["PIPELINING"]}, eight_bit_anyway=False)
        source = MemorySource(CONTENT, self.EIGHT_BIT)
        (reply,) = self.successResultOf(world.send(message=outgoing(source=source))).replies
        self.assertEqual((reply.code, reply.enhanced), (554, "5.6.3"))
        self.assertEqual(world.peers[0].contents, [])
        self.assertTrue(world.peers[0].transport.closed)

    def test_a_message_over_the_hosts_size_is_not_sent(self) -> None:
        world = World(peers=lambda _: {"extensions": ["SIZE 10"]})
        (reply,) = self.successResultOf(world.send()).replies
        self.assertEqual((reply.code, reply.enhanced), (552, "5.3.4"))
        self.assertEqual(world.peers[0].commands, ["EHLO us.example"])

    def test_a_thousand_messages_that_cannot_be_sent_do_not_exhaust_the_stack(self) -> None:
        world = World(peers=lambda _: {"extensions": ["SIZE 10"]}, messages_per_connection=5000)
        sendings = [world.sender.send(SMARTHOST, outgoing()) for _ in range(1000)]
        world.pump()
        self.assertEqual({self.successResultOf(each).replies[0].code for each in sendings}, {552})
