"""The relay: what becomes of a message, whatever the world does."""

import email
import errno
import inspect
from dataclasses import replace
from email.message import Message

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from postroom.client.model import Destination, Sent
from postroom.client.sender import Sender
from postroom.errors import Refusal
from postroom.interfaces import IDirectory, ILocalAgent
from postroom.queue import admin
from postroom.queue.batch import Record
from postroom.queue.schedule import Schedule
from postroom.queue.store import LEASE_SECONDS
from postroom.wire.commands import Rcpt
from postroom.wire.line_ends import only_crlf
from postroom.wire.paths import Mailbox, mailbox
from postroom.wire.replies import reply
from tests.client.parts import SMARTHOST, World
from tests.queue.rig import (
    BUSY,
    OK,
    REMOTE,
    UNKNOWN,
    UNREACHABLE,
    FakeAgent,
    FakeDirectory,
    FakeSender,
    RelayTestCase,
)
from tests.queue.samples import SENDER, Content

DAY = 86_400
DISK = OSError(errno.EIO, "disk")


def part(report: bytes, number: int) -> Message:
    return email.message_from_bytes(report).get_payload(number)


class FakeTests(RelayTestCase):
    """The fakes are what they stand for."""

    def test_they_have_the_interfaces(self) -> None:
        verifyObject(IDirectory, FakeDirectory())
        verifyObject(ILocalAgent, FakeAgent())
        self.assertEqual(
            [*inspect.signature(FakeSender.send).parameters],
            [*inspect.signature(Sender.send).parameters],
        )


class UncleanTests(RelayTestCase):
    """Content that no text may hold, brought by a program; nothing of it is sent or lost.

    What comes by SMTP was mended when it came.
    """

    UNCLEAN = (b"a\nb\r\n", b"a\rb\r\n", b"a\0b\r\n", b"\n.\n", b"\r\n\0.\r\n", b"a\r")

    def setUp(self) -> None:
        super().setUp()
        self.world = World()
        self.sender = self.world.sender  # type: ignore[assignment]
        self.begin()

    def route(self, domain: str) -> Destination:
        return SMARTHOST

    def bring(self, *pieces: bytes, **more: object) -> None:
        """Queue a message; let everything happen."""
        self.enqueue("a@example.net", content=Content(*pieces), **more)
        self.world.pump()
        self.world.advance(10)
        self.assertEqual(self.rows(), [])

    def test_its_sender_is_told_at_once(self) -> None:
        for bad in self.UNCLEAN:
            for pieces in ((b"Subject: x\r\n\r\n", bad), (b"Subject: x\r\n\r\n" + bad,)):
                before = self.contents()
                self.bring(*pieces)
                (report,) = self.contents()[len(before) :]
                self.assertIn(b"554 5.6.0 The message cannot be sent by SMTP: a", report)
                self.assertIn(b"Subject: x\r\n", report)
                self.assertTrue(only_crlf(report) and b"\0" not in report, report)

    def test_if_nobody_can_be_told_the_log_is(self) -> None:
        with capturedLogs() as events:
            self.bring(b"Subject: x\n\nbody\n", sender=None)
        self.assertEqual(self.contents(), [])
        (event,) = [each for each in events if "result" in each]
        self.assertEqual(event["result"], "dropped")
        self.assertIn("a bare LF in the content", event["reply"])

    def contents(self) -> list[bytes]:
        return [content for peer in self.world.peers for content in peer.contents]


class OutcomeTests(RelayTestCase):
    """Tests for what becomes of a recipient after an answer."""

    def test_a_message_is_sent_from_memory_and_leaves_the_queue(self) -> None:
        new = self.enqueue("a@example.net", content=Content(b"x: y\r\n", b"\r\nbody\r\n"))
        self.assertEqual(
            self.sender.sent, [(Destination("example.net"), new, b"x: y\r\n\r\nbody\r\n")]
        )
        self.assertEqual((self.rows(), self.readers.reads), ([], 0))

    def test_4yz_is_tried_again_by_the_schedule(self) -> None:
        self.sender.answer = lambda *_: BUSY
        self.relay.start()
        self.enqueue("a@example.net")
        self.assertEqual(self.rows(), [("a@example.net", 1, 300.0, "450 4.2.1 Mailbox busy")])
        tried = []
        while len(tried) < 6:
            before = len(self.sender.sent)
            self.until(lambda seen=before: len(self.sender.sent) > seen, 10)
            tried.append(self.clock.seconds())
        for at, wanted in zip(tried, [300, 900, 2100, 4500, 9300, 16_500], strict=True):
            self.assert_close(at, wanted, 60)
        self.sender.answer = lambda *_: OK
        self.until(lambda: not self.rows(), 100)

    def test_no_attempt_is_made_before_its_time(self) -> None:
        self.sender.answer = lambda *_: BUSY
        self.relay.start()
        self.enqueue("a@example.net")
        self.clock.pump([1] * 299)
        self.assertEqual(len(self.sender.sent), 1)
        self.clock.pump([1] * 2)
        self.assertEqual(len(self.sender.sent), 2)

    def test_the_content_of_a_retry_comes_from_the_store(self) -> None:
        self.sender.answer = lambda *_: BUSY
        self.relay.start()
        self.enqueue("a@example.net", content=Content(b"x: y\r\n", b"\r\nbody\r\n"))
        self.clock.advance(301)
        self.assertEqual([octets for *_, octets in self.sender.sent], [b"x: y\r\n\r\nbody\r\n"] * 2)

    def test_5yz_is_reported_to_the_sender_from_the_null_sender(self) -> None:
        self.sender.answer = lambda where, _: UNKNOWN if where.domain == "example.net" else OK
        self.enqueue("a@example.net")
        self.assertEqual(self.sender.domains(), ["example.net", "example.org"])
        _, report, octets = self.sender.sent[1]
        self.assertEqual(
            (report.sender, report.recipients), (None, (Rcpt(SENDER, {"NOTIFY": "NEVER"}),))
        )
        status = part(octets, 1).get_payload(1)
        self.assertEqual(status["Final-Recipient"], "rfc822; a@example.net")
        self.assertEqual((status["Action"], status["Status"]), ("failed", "5.1.1"))
        self.assertEqual(self.rows(), [])

    def test_a_report_is_stored_by_the_commit_that_finishes_the_recipient(self) -> None:
        self.sender.answer = lambda where, _: UNKNOWN if where.domain == "example.net" else OK
        self.enqueue("a@example.net")
        records = [job for job in self.writer.jobs if isinstance(job, Record)]
        self.assertEqual([(len(r.outcomes), len(r.puts)) for r in records], [(1, 1), (1, 0)])

    def test_mail_from_the_null_sender_is_dropped_and_logged(self) -> None:
        self.sender.answer = lambda *_: UNKNOWN
        with capturedLogs() as events:
            self.enqueue("a@example.net", sender=None)
        self.assertEqual((self.rows(), len(self.sender.sent)), ([], 1))
        self.assertEqual([e["result"] for e in events if "result" in e], ["dropped"])

    def test_a_report_that_fails_makes_no_other(self) -> None:
        self.sender.answer = lambda *_: UNKNOWN
        self.enqueue("a@example.net")
        self.assertEqual((self.rows(), len(self.sender.sent)), ([], 2))

    def test_each_recipient_of_a_message_has_its_own_outcome(self) -> None:
        answers = [OK, BUSY, UNKNOWN, BUSY, UNKNOWN]
        self.sender.answer = lambda where, _: (
            Sent(answers, REMOTE) if where.domain == "example.net" else OK
        )
        self.enqueue(*(f"{name}@example.net" for name in "abcde"))
        self.assertEqual(
            [(address, attempts) for address, attempts, _, _ in self.rows()],
            [("b@example.net", 1), ("d@example.net", 1)],
        )
        reports = [octets for where, _, octets in self.sender.sent if where.domain == "example.org"]
        self.assertEqual(len(reports), 1)
        groups = part(reports[0], 1).get_payload()[1:]
        self.assertEqual(
            [group["Final-Recipient"] for group in groups],
            ["rfc822; c@example.net", "rfc822; e@example.net"],
        )
        self.sender.answer = lambda *_: OK
        self.relay.start()
        self.clock.advance(301)
        self.assertEqual(
            [str(r.forward_path) for r in self.sender.sent[-1][1].recipients],
            ["b@example.net", "d@example.net"],
        )
        self.assertEqual(self.rows(), [])

    def test_odd_addresses_survive_the_store(self) -> None:
        odd = [
            Mailbox(local, b"foo_bar.example")
            for local in (b"a..b", b".ann", b"ann.", b"x" * 200, "..\xfc".encode())
        ]
        new = replace(self.message(), sender=odd[0], recipients=tuple(map(Rcpt, odd)))
        content = Content(b"a: b\r\n\r\nc\r\n")
        self.successResultOf(self.store.put(new, content, claim=False))
        self.relay.start()
        self.until(lambda: self.sender.sent)
        ((where, sent, _),) = self.sender.sent
        self.assertEqual(where, Destination("foo_bar.example"))
        self.assertEqual(sent.sender, odd[0])
        self.assertEqual([rcpt.forward_path for rcpt in sent.recipients], odd)

    def test_a_final_dot_makes_no_other_destination(self) -> None:
        for domain in (b"Example.net", b"example.net.", b"example.net"):
            recipients = (Rcpt(Mailbox(b"a", domain)),)
            new = replace(self.message(), recipients=recipients)
            self.successResultOf(self.queue.enqueue(new, Content(b"a: b\r\n\r\nc\r\n")))
        self.assertEqual(self.sender.domains(), ["example.net"] * 3)

    def test_recipients_are_grouped_by_destination(self) -> None:
        self.enqueue("a@example.net", "b@example.com", "c@EXAMPLE.net")
        self.assertEqual(
            [(where.domain, len(new.recipients)) for where, new, _ in self.sender.sent],
            [("example.net", 2), ("example.com", 1)],
        )

    def test_one_next_hop_for_all_domains_gets_one_transaction(self) -> None:
        self.route = lambda _: Destination("")
        self.begin()
        new = self.enqueue("a@example.net", "b@example.com", "c@example.edu")
        self.assertEqual([new for _, new, _ in self.sender.sent], [new])

    def test_parameters_and_sender_reach_the_next_hop(self) -> None:
        new = self.enqueue("a@example.net", "b@example.com", parameters={"BODY": "8BITMIME"})
        for _, sent, _ in self.sender.sent:
            self.assertEqual((sent.sender, sent.parameters), (new.sender, {"BODY": "8BITMIME"}))

    def test_one_event_tells_of_a_message_out(self) -> None:
        with capturedLogs() as events:
            new = self.enqueue("a@example.net", "b@example.net")
        (event,) = [e for e in events if "result" in e]
        wanted = {
            "id": new.id,
            "result": "sent",
            "sender": "<sender@example.org>",
            "recipients": ["a@example.net", "b@example.net"],
            "destination": "example.net",
            "remote": REMOTE,
            "reply": "250 2.0.0 Ok",
            "delay": 0.0,
            "size": 24,
            "attempts": 1,
            "tls": "no TLS",
        }
        self.assertEqual({key: event[key] for key in wanted}, wanted)

    def test_a_route_that_refuses_bounces_or_delays(self) -> None:
        def route(domain: str) -> Destination:
            if domain == "closed.example":
                raise Refusal(reply(550, "5.7.1", "Not there"))
            if domain == "later.example":
                raise Refusal(reply(451, "4.4.0", "Not now"))
            return Destination(domain)

        self.route = route
        self.begin()
        self.enqueue("a@closed.example", "b@later.example", "c@example.net")
        self.assertEqual(sorted(self.sender.domains()), ["example.net", "example.org"])
        self.assertEqual([row[0] for row in self.rows()], ["b@later.example"])

    def test_a_directory_that_is_down_delays(self) -> None:
        self.directory.error = DISK
        self.enqueue("a@example.net")
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual([row[:2] for row in self.rows()], [("a@example.net", 1)])
        self.assertEqual(self.sender.sent, [])

    def test_whatever_a_sender_does_wrong_is_a_delay(self) -> None:
        for wrong in (ValueError("bug"), Sent([]), Sent([UNKNOWN, UNKNOWN])):
            self.sender.answer = lambda _, __, answer=wrong: answer
            self.enqueue("a@example.net")
        self.flushLoggedErrors(ValueError)
        self.assertEqual({row[:2] for row in self.rows()}, {("a@example.net", 1)})
        self.assertEqual(len(self.rows()), 3)

    def test_a_sender_that_raises_is_a_delay(self) -> None:
        def send(*_: object) -> None:
            raise ValueError

        self.sender.send = send
        self.enqueue("a@example.net")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual([row[1] for row in self.rows()], [1])

    def test_content_that_cannot_be_read_for_a_report_keeps_the_recipient(self) -> None:
        sending = Deferred()
        self.sender.answer = lambda *_: sending
        self.put("a@example.net")
        self.relay.start()
        self.clock.advance(0)
        real, self.store.chunk = self.store.chunk, lambda *_: self.fail_later()
        sending.callback(Sent([UNKNOWN], REMOTE))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual([row[:2] for row in self.rows()], [("a@example.net", 1)])
        self.store.chunk = real
        self.sender.answer = lambda where, _: UNKNOWN if where.domain == "example.net" else OK
        self.until(lambda: not self.rows(), 60)
        self.assertEqual(self.sender.domains()[-1], "example.org")

    def fail_later(self) -> Deferred[bytes]:
        failing: Deferred[bytes] = Deferred()
        failing.errback(DISK)
        return failing


class LocalTests(RelayTestCase):
    """Tests for mail that waited for a local account."""

    def test_local_recipients_go_to_the_agent(self) -> None:
        self.enqueue("a@local.example", "b@example.net", content=Content(b"body"))
        self.assertEqual(self.agent.delivered, [("a@local.example", b"body")])
        self.assertEqual((self.sender.domains(), self.rows()), (["example.net"], []))

    def test_a_full_mailbox_is_tried_again(self) -> None:
        self.agent.answer = reply(452, "4.2.2", "Mailbox full")
        self.enqueue("a@local.example")
        self.assertEqual(self.rows(), [("a@local.example", 1, 300.0, "452 4.2.2 Mailbox full")])

    def test_an_agent_that_fails_is_a_delay(self) -> None:
        self.agent.answer = DISK
        self.enqueue("a@local.example")
        self.flushLoggedErrors(OSError)
        self.assertEqual([row[1] for row in self.rows()], [1])

    def test_an_account_that_went_is_reported(self) -> None:
        self.agent.answer = UNKNOWN
        self.enqueue("a@local.example")
        self.assertEqual((self.sender.domains(), self.rows()), (["example.org"], []))

    def test_a_recipient_local_no_longer_is_relayed(self) -> None:
        self.agent.answer = None
        self.enqueue("a@local.example", "b@local.example")
        self.assertEqual((self.sender.domains(), self.rows()), (["local.example"] * 2, []))

    def test_a_report_reaches_a_local_sender_past_a_dead_smarthost(self) -> None:
        self.route = lambda _: Destination("")
        self.begin(schedule=Schedule(lifetime_seconds=0))
        self.sender.answer = lambda *_: UNREACHABLE
        self.enqueue("a@example.net", sender=mailbox("joe@local.example"))
        self.assertEqual([who for who, _ in self.agent.delivered], ["joe@local.example"])

    def test_a_local_domain_is_ours_in_either_form(self) -> None:
        self.directory.local.add("xn--bcher-kva.example")
        self.enqueue("a@bücher.example")
        self.assertEqual([who for who, _ in self.agent.delivered], ["a@bücher.example"])
        self.assertEqual(self.sender.domains(), [])

    def test_a_relay_only_domain_of_ours_is_relayed(self) -> None:
        self.directory.relayed.add("relayed.example")
        self.enqueue("a@relayed.example")
        self.assertEqual((self.sender.domains(), self.agent.delivered), (["relayed.example"], []))

    def test_a_domain_that_becomes_local_is_noticed(self) -> None:
        self.enqueue("a@example.net")
        self.directory.local.add("example.net")
        self.directory.number += 1
        self.enqueue("a@example.net")
        self.assertEqual((len(self.sender.sent), len(self.agent.delivered)), (1, 1))


class TimeTests(RelayTestCase):
    """Tests for five days, and for clocks that jump."""

    def test_after_five_days_the_sender_is_told(self) -> None:
        self.begin(delay_report_seconds=0)
        self.sender.answer = lambda where, _: BUSY if where.domain == "example.net" else OK
        self.relay.start()
        self.enqueue("a@example.net")
        self.until(lambda: "example.org" in self.sender.domains(), 600)
        self.assertEqual(self.rows(), [])
        self.assert_close(self.clock.seconds(), 5 * DAY, 2 * 3600 + 600)
        self.assert_close(self.sender.domains().count("example.net"), 65, 5)
        status = part(self.sender.sent[-1][2], 1).get_payload(1)
        self.assertEqual(status["Status"], "5.4.7")
        self.assertEqual(status["Diagnostic-Code"], "smtp; 450 4.2.1 Mailbox busy")

    def test_a_clock_six_days_ahead_bounces_nothing(self) -> None:
        self.begin(delay_report_seconds=0)
        self.sender.answer = lambda *_: BUSY
        self.relay.start()
        self.enqueue("a@example.net")
        self.clock.pump([60] * 60)
        self.jump = 6 * DAY
        self.clock.pump([600] * 6 * 24)
        self.assertEqual(set(self.sender.domains()), {"example.net"})
        self.sender.answer = lambda *_: OK
        self.until(lambda: not self.rows(), 60)
        self.assertEqual(set(self.sender.domains()), {"example.net"})

    def test_a_clock_six_days_back_stops_nothing(self) -> None:
        self.sender.answer = lambda *_: BUSY
        self.relay.start()
        self.enqueue("a@example.net")
        self.clock.pump([60] * 60)
        before = len(self.sender.sent)
        self.jump = -6 * DAY
        self.clock.pump([1] * 3)
        self.assertEqual(len(self.sender.sent), before + 1)
        self.assertLessEqual(self.rows()[0][2], Schedule().longest_step_seconds)
        self.assertEqual(set(self.sender.domains()), {"example.net"})

    def test_a_jump_of_the_clock_sends_nothing_twice(self) -> None:
        sending = Deferred()
        self.sender.answer = lambda *_: sending
        self.relay.start()
        self.enqueue("a@example.net")
        self.jump = 6 * DAY
        self.clock.pump([1] * 120)
        self.jump = -6 * DAY
        self.clock.pump([1] * 120)
        self.assertEqual(len(self.sender.sent), 1)
        sending.callback(Sent([OK], REMOTE))
        self.assertEqual(self.rows(), [])

    def test_what_another_process_makes_due_is_seen_within_a_second(self) -> None:
        self.sender.answer = lambda *_: BUSY
        self.relay.start()
        new = self.enqueue("a@example.net")
        self.sender.answer = lambda *_: OK
        self.clock.advance(10)
        admin.retry(self.engine, [new.id], self.now())
        self.clock.advance(1)
        self.assertEqual(self.rows(), [])


class DestinationTests(RelayTestCase):
    """Tests for limits, and for destinations in trouble."""

    def test_a_dead_destination_does_not_starve_another(self) -> None:
        self.begin(fetched=50)
        self.sender.answer = lambda where, _: UNREACHABLE if where.domain == "dead.example" else OK
        for _ in range(300):
            self.put("a@dead.example")
        self.clock.advance(1)
        self.put("b@live.example")
        self.relay.start()
        self.until(lambda: "live.example" in self.sender.domains(), limit=10)
        self.assertLessEqual(self.sender.domains().count("dead.example"), 5)
        self.assertEqual({row[0] for row in self.rows()}, {"a@dead.example"})

    def test_a_hanging_probe_does_not_starve_another(self) -> None:
        self.begin(fetched=50)
        self.sender.answer = lambda where, _: UNREACHABLE if where.domain == "dead.example" else OK
        self.enqueue("a@dead.example")
        self.sender.answer = lambda where, _: Deferred() if where.domain == "dead.example" else OK
        self.clock.advance(20)
        for _ in range(200):
            self.put("a@dead.example")
        self.clock.advance(1)
        self.put("b@live.example")
        self.relay.start()
        self.until(lambda: "live.example" in self.sender.domains(), limit=10)
        self.assertEqual(self.sender.domains().count("dead.example"), 2)

    def test_a_slow_destination_does_not_starve_another(self) -> None:
        self.begin(fetched=40)
        self.sender.answer = lambda where, _: Deferred() if where.domain == "slow.example" else OK
        for _ in range(300):
            self.put("a@slow.example")
        self.clock.advance(1)
        self.put("b@live.example")
        self.relay.start()
        self.until(lambda: "live.example" in self.sender.domains(), limit=20)
        self.assertEqual({row[1] for row in self.rows()}, {0})

    def test_a_short_outage_counts_no_attempts_of_those_that_waited(self) -> None:
        self.sender.answer = lambda *_: UNREACHABLE
        for name in "abcde":
            self.enqueue(f"{name}@example.net")
        self.assertEqual(len(self.sender.sent), 1)
        self.assertEqual([row[1] for row in self.rows()], [1, 0, 0, 0, 0])
        self.sender.answer = lambda *_: OK
        self.relay.start()
        self.clock.pump([1] * 18)
        self.assertEqual([row[0] for row in self.rows()], ["a@example.net"])

    def test_mail_of_a_destination_dead_for_days_expires(self) -> None:
        self.begin(delay_report_seconds=0)
        self.sender.answer = lambda where, _: UNREACHABLE if where.domain == "example.net" else OK
        self.relay.start()
        for name in "abcd":
            self.enqueue(f"{name}@example.net")
        self.until(lambda: self.sender.domains().count("example.org") == 4, 900)
        self.assert_close(self.clock.seconds(), 5 * DAY, DAY / 2)
        self.assertEqual(self.rows(), [])

    def test_a_failed_probe_puts_the_waiting_back(self) -> None:
        answers: list[Deferred[Sent]] = []
        self.sender.answer = lambda *_: answers.append(Deferred()) or answers[-1]
        for number in range(10):
            self.enqueue(f"{number}@example.net")
        self.assertEqual(len(answers), 5)  # the first window
        answers[0].callback(Sent([UNREACHABLE]))
        self.assertEqual([row[1] for row in self.rows()], [1] + [0] * 9)
        for answer in answers[1:]:
            answer.callback(Sent([UNREACHABLE]))
        self.assertEqual([row[1] for row in self.rows()], [1] * 5 + [0] * 5)

    def test_limits_hold_for_each_destination_and_for_all(self) -> None:
        open_: list[tuple[str, Deferred[Sent]]] = []

        def answer(where: Destination, _: object) -> Deferred[Sent]:
            open_.append((where.domain, Deferred()))
            return open_[-1][1]

        self.begin(per_destination=3, in_all=4)
        self.sender.answer = answer
        for _ in range(10):
            self.enqueue("a@one.example")
        self.enqueue("b@two.example")
        self.enqueue("b@two.example")
        self.assertEqual([domain for domain, _ in open_], ["one.example"] * 3 + ["two.example"])
        open_.pop(0)[1].callback(Sent([OK], REMOTE))
        self.assertEqual([domain for domain, _ in open_].count("two.example"), 2)
        while open_:
            open_.pop(0)[1].callback(Sent([OK], REMOTE))
            self.assertLessEqual(len(open_), 4)
        self.assertEqual(self.rows(), [])

    def test_destinations_take_turns(self) -> None:
        held: list[Deferred[Sent]] = []
        self.begin(in_all=1)
        self.sender.answer = lambda *_: held.append(Deferred()) or held[-1]
        for _ in range(3):
            self.enqueue("a@one.example")
        for _ in range(2):
            self.enqueue("b@two.example")
        while held:
            held.pop().callback(Sent([OK], REMOTE))
        short = [domain.split(".")[0] for domain in self.sender.domains()]
        self.assertEqual(short, ["one", "one", "two", "one", "two"])

    def test_a_thousand_answers_at_once_do_not_exhaust_the_stack(self) -> None:
        gate: Deferred[Sent] = Deferred()
        self.begin(per_destination=1)
        self.sender.answer = lambda *_: gate if len(self.sender.sent) == 1 else OK
        self.writer.paused = []
        for _ in range(1500):
            self.queue.enqueue(self.message("a@example.net"), Content(b"x"))
        self.writer.resume()
        gate.callback(Sent([OK], REMOTE))
        self.assertEqual((len(self.sender.sent), self.rows()), (1500, []))

    def test_lanes_that_nobody_uses_are_dropped(self) -> None:
        self.relay.start()
        for number in range(50):
            self.enqueue(f"a@{number}.example")
        self.clock.pump([60] * 15)
        self.assertEqual((self.relay._lanes, self.relay._by_domain), ({}, {}))
        self.enqueue("a@1.example")
        self.assertEqual(self.rows(), [])


class LeaseTests(RelayTestCase):
    """Tests for claims, kept and lost."""

    def test_leases_are_renewed_while_a_transaction_lasts(self) -> None:
        sending = Deferred()
        self.sender.answer = lambda *_: sending
        self.relay.start()
        self.enqueue("a@example.net")
        other = self.new_store("other")
        for _ in range(12):
            self.clock.pump([300] * 3)
            self.assertEqual(self.successResultOf(other.claim(self.now(), 10)), [])
        sending.callback(Sent([OK], REMOTE))
        self.assertEqual((self.rows(), len(self.sender.sent)), ([], 1))

    def steal(self) -> None:
        """Have another process claim everything, long after our leases ended."""
        other = self.new_store("other")
        taken = self.successResultOf(other.claim(self.now() + LEASE_SECONDS, 1000))
        self.assertTrue(taken)

    def test_the_outcome_of_a_lost_lease_is_not_recorded(self) -> None:
        sending = Deferred()
        self.sender.answer = lambda *_: sending
        self.enqueue("a@example.net")
        ours = self.writer
        self.steal()
        self.relay.start()
        self.clock.advance(LEASE_SECONDS / 2 + 1)
        sending.callback(Sent([UNKNOWN], REMOTE))
        self.assertEqual([row[0] for row in self.rows()], ["a@example.net"])
        self.assertEqual([job for job in ours.jobs if isinstance(job, Record)], [])
        self.assertTrue(self.relay._claims.empty)

    def test_a_message_whose_lease_was_lost_is_not_begun(self) -> None:
        sending = Deferred()
        self.begin(per_destination=1)
        self.sender.answer = lambda *_: sending
        self.enqueue("a@example.net")
        self.enqueue("b@example.net")
        self.steal()
        self.relay.start()
        self.clock.advance(LEASE_SECONDS / 2 + 1)
        sending.callback(Sent([OK], REMOTE))
        self.assertEqual(
            [str(new.recipients[0].forward_path) for _, new, _ in self.sender.sent],
            ["a@example.net"],
        )

    def test_a_message_whose_lease_ran_out_is_not_begun(self) -> None:
        sending = Deferred()
        self.begin(per_destination=1)
        self.sender.answer = lambda *_: sending
        self.enqueue("a@example.net")
        self.enqueue("b@example.net")
        self.clock.advance(LEASE_SECONDS + 1)  # not started: nothing renews
        sending.callback(Sent([OK], REMOTE))
        self.assertEqual(len(self.sender.sent), 1)
        self.assertEqual([row[:2] for row in self.rows()], [("b@example.net", 0)])

    def test_a_message_removed_while_it_waits_is_not_begun(self) -> None:
        sending = Deferred()
        self.begin(per_destination=1)
        self.sender.answer = lambda *_: sending
        self.relay.start()
        self.enqueue("a@example.net")
        removed = self.enqueue("b@example.net")
        admin.remove(self.engine, removed.id)
        self.clock.pump([30] * 60)
        sending.callback(Sent([OK], REMOTE))
        self.assertEqual((len(self.sender.sent), self.rows()), (1, []))

    def test_claimed_messages_of_a_dead_process_are_sent_after_their_lease(self) -> None:
        self.sender.answer = lambda *_: Deferred()
        self.enqueue("a@example.net")
        self.sender.answer = lambda *_: OK
        self.store = self.new_store("second")
        self.begin()
        self.relay.start()
        self.clock.pump([60] * 29)
        self.assertEqual(len(self.sender.sent), 1)
        self.clock.pump([60] * 2)
        self.assertEqual((len(self.sender.sent), self.rows()), (2, []))


class FailingStoreTests(RelayTestCase):
    """Tests for a store that is away for a while."""

    def test_outcomes_wait_for_the_store_without_spinning(self) -> None:
        self.relay.start()
        sending = Deferred()
        self.sender.answer = lambda *_: sending
        self.enqueue("a@example.net")
        self.writer.error = DISK
        before = len(self.writer.jobs)
        sending.callback(Sent([OK], REMOTE))
        self.clock.pump([1] * 600)
        self.assertLess(len(self.writer.jobs) - before, 20)
        self.writer.error = None
        self.clock.pump([1] * 60)
        self.flushLoggedErrors(OSError)
        self.assertEqual((self.rows(), len(self.sender.sent)), ([], 1))

    def test_a_report_waits_for_the_store_with_its_outcome(self) -> None:
        sending = Deferred()
        self.sender.answer = lambda where, _: sending if where.domain == "example.net" else OK
        self.enqueue("a@example.net")
        self.writer.error = DISK
        sending.callback(Sent([UNKNOWN], REMOTE))
        self.assertEqual(self.sender.domains(), ["example.net"])
        self.writer.error = None
        self.clock.advance(1)
        self.assertEqual((self.rows(), self.sender.domains()[1:]), ([], ["example.org"]))

    def test_polling_goes_on_when_the_store_is_back(self) -> None:
        self.put("a@example.net")
        self.writer.error = DISK
        self.relay.start()
        self.clock.pump([1] * 120)
        failures = len(self.flushLoggedErrors(OSError))
        self.assertTrue(2 < failures < 12, failures)
        self.writer.error = None
        self.clock.pump([1] * 31)
        self.assertEqual(self.rows(), [])

    def test_leases_that_cannot_be_renewed_are_tried_again(self) -> None:
        self.sender.answer = lambda *_: Deferred()
        self.enqueue("a@example.net")
        self.relay.start()
        self.clock.advance(LEASE_SECONDS / 2 + 1)
        self.writer.error = DISK
        self.clock.pump([30] * 3)
        self.flushLoggedErrors(OSError)
        self.writer.error = None
        self.clock.pump([30] * 30)
        self.assertGreater(self.rows()[0][2], LEASE_SECONDS / 2)

    def test_little_is_fetched_while_outcomes_cannot_be_recorded(self) -> None:
        self.begin(fetched=10)
        for _ in range(50):
            self.put("a@example.net")
        self.store.record = lambda *_: self.fail_now()
        self.relay.start()
        self.clock.pump([1] * 20)
        self.assertEqual(len(self.sender.sent), 10)

    def fail_now(self) -> Deferred[None]:
        failing: Deferred[None] = Deferred()
        failing.errback(DISK)
        return failing


class StopTests(RelayTestCase):
    """Tests for the end of the process."""

    def test_a_relay_with_nothing_to_do_stops_at_once(self) -> None:
        self.relay.start()
        self.clock.advance(5)
        self.successResultOf(self.relay.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_is_under_way_is_finished_and_the_rest_waits_in_the_store(self) -> None:
        sending = Deferred()
        self.begin(per_destination=1)
        self.sender.answer = lambda *_: sending
        self.relay.start()
        for name in "abc":
            self.enqueue(f"{name}@example.net")
        stopped = self.relay.stop()
        self.assertEqual(
            [(row[:3]) for row in self.rows()[1:]],
            [("b@example.net", 0, 0.0), ("c@example.net", 0, 0.0)],
        )
        self.assertNoResult(stopped)
        self.clock.advance(5)
        sending.callback(Sent([OK], REMOTE))
        self.successResultOf(stopped)
        self.assertEqual(len(self.rows()), 2)
        self.assertEqual(len(self.sender.sent), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_transaction_without_end_is_given_up_uncounted(self) -> None:
        sending = Deferred()
        self.sender.answer = lambda *_: sending
        self.relay.start()
        self.enqueue("a@example.net")
        stopped = self.relay.stop()
        self.clock.advance(29)
        self.assertNoResult(stopped)
        self.clock.advance(1)
        self.successResultOf(stopped)
        self.assertEqual([row[:3] for row in self.rows()], [("a@example.net", 0, 0.0)])
        sending.callback(Sent([UNKNOWN], REMOTE))
        self.assertEqual([row[:3] for row in self.rows()], [("a@example.net", 0, 0.0)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_store_that_fails_does_not_hold_up_the_end(self) -> None:
        self.relay.start()
        sending = Deferred()
        self.sender.answer = lambda *_: sending
        self.enqueue("a@example.net")
        self.writer.error = DISK
        sending.callback(Sent([OK], REMOTE))
        stopped = self.relay.stop()
        self.clock.pump([1] * 36)
        self.successResultOf(stopped)
        self.flushLoggedErrors(OSError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_claim_that_comes_after_the_stop_is_released(self) -> None:
        self.put("a@example.net")
        self.writer.paused = []
        self.relay.start()
        self.clock.advance(0)
        stopped = self.relay.stop()
        self.assertNoResult(stopped)
        self.writer.resume()
        self.successResultOf(stopped)
        self.assertEqual([row[:3] for row in self.rows()], [("a@example.net", 0, 0.0)])
        self.assertEqual(self.sender.sent, [])

    def test_mail_accepted_during_the_stop_is_stored_for_the_next_start(self) -> None:
        self.sender.answer = lambda *_: Deferred()
        self.enqueue("a@example.net")
        self.relay.stop()
        self.enqueue("b@example.net")
        self.assertEqual(len(self.sender.sent), 1)
        self.sender.answer = lambda *_: OK
        self.clock.advance(60)
        self.store = self.new_store("second")
        self.begin()
        self.relay.start()
        self.clock.advance(1)
        self.assertEqual(self.rows(), [])


class ReportContractTests(RelayTestCase):
    """A report given to the store is whole."""

    def test_the_stored_report_is_the_one_that_was_made(self) -> None:
        self.sender.answer = lambda where, _: UNKNOWN if where.domain == "example.net" else BUSY
        self.enqueue("a@example.net", content=Content("Subject: é\r\n\r\nx\r\n".encode()))
        made = self.sender.sent[1][2]
        self.sender.answer = lambda *_: OK
        self.relay.start()
        self.clock.advance(301)
        self.assertEqual(self.sender.sent[2][2], made)
        self.assertEqual(self.sender.sent[2][1].parameters, {"BODY": "8BITMIME"})
