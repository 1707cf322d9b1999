"""Which reports the relay makes, and what a message's own wishes do to its way."""

import email
from dataclasses import replace
from email.message import Message
from typing import Any

from postroom.client.model import Sent, TLSRequirement
from postroom.envelope import Action, Trait
from postroom.queue.notices import ReportLimit, released_at, wants
from postroom.wire.commands import Rcpt
from postroom.wire.paths import Mailbox, mailbox, parse_mailbox
from tests.queue.rig import BUSY, EPOCH, OK, REMOTE, UNKNOWN, UNREACHABLE, RelayTestCase
from tests.queue.samples import SENDER, Content, new_message

HOUR = 3600.0
CONTENT = Content(b"a: b\r\n\r\nc\r\n")


class ReportCase(RelayTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.unaware = False
        self.outcome: Any = OK
        self.sender.answer = self.answer

    def answer(self, where: Any, new: Any) -> Sent:
        """Accept every report; answer all others with the test's reply."""
        if new.sender is None:
            return Sent([OK], REMOTE)
        places = range(len(new.recipients))
        unaware = frozenset(places) if self.unaware else frozenset()
        return Sent([self.outcome for _ in places], REMOTE, unaware=unaware)

    def actions(self) -> list[str]:
        """Return the actions of the reports so far, one for each recipient."""
        return [group["Action"] for report in self.reports() for group in report[1:]]

    def reports(self) -> list[list[Message]]:
        contents = [octets for _, new, octets in self.sender.sent if new.sender is None]
        parsed = [email.message_from_bytes(content) for content in contents]
        return [message.get_payload(1).get_payload() for message in parsed]  # type: ignore[union-attr,misc]


class WantTests(ReportCase):
    """Tests for `wants`: the table of its module."""

    def test_notify_says_what_is_told(self) -> None:
        every = {"FAILED", "DELAYED", "DELIVERED", "RELAYED", "EXPANDED"}
        success = {"DELIVERED", "RELAYED", "EXPANDED"}
        for notify, trusted, told in (
            (None, True, {"FAILED", "DELAYED"}),
            ("NEVER", True, set()),
            ("FAILURE", True, {"FAILED"}),
            ("delay,Failure", True, {"FAILED", "DELAYED"}),
            ("SUCCESS", True, success),
            ("SUCCESS", False, set()),
            ("SUCCESS,FAILURE,DELAY", True, every),
            ("SUCCESS,FAILURE,DELAY", False, {"FAILED", "DELAYED"}),
        ):
            traits = Trait.TRUSTED if trusted else Trait(0)
            new = new_message(rcpt={"NOTIFY": notify} if notify else None, traits=traits)
            found = {a.name for a in Action if wants(new, new.recipients[0], a)}
            self.assertEqual(found, told, (notify, trusted))

    def test_the_null_sender_is_told_nothing(self) -> None:
        new = new_message(sender=None, rcpt={"NOTIFY": "SUCCESS,FAILURE"}, traits=Trait.TRUSTED)
        self.assertFalse([a for a in Action if wants(new, new.recipients[0], a)])


class SuccessTests(ReportCase):
    """Tests for reports of success."""

    def test_the_queue_reports_in_place_of_a_host_that_does_not(self) -> None:
        asks = {"rcpt": {"NOTIFY": "SUCCESS"}, "traits": Trait.TRUSTED}
        self.enqueue("a@example.net", **asks)
        self.assertEqual(self.actions(), [])
        self.unaware = True
        self.enqueue("a@example.net", "b@example.net", **asks)
        self.assertEqual(self.actions(), ["relayed"] * 2)
        self.enqueue("a@example.net", rcpt={"NOTIFY": "SUCCESS"})
        self.enqueue("a@example.net", rcpt={"NOTIFY": "FAILURE"}, traits=Trait.TRUSTED)
        self.enqueue("a@example.net", traits=Trait.TRUSTED)
        self.assertEqual(self.actions(), ["relayed"] * 2)
        self.assertEqual(self.rows(), [])

    def test_a_mailbox_is_told_of_as_delivered(self) -> None:
        self.enqueue(
            "a@local.example", rcpt={"NOTIFY": "SUCCESS"}, traits=Trait.TRUSTED, sender=SENDER
        )
        self.assertEqual(self.actions(), ["delivered"])
        self.assertEqual(self.reports()[0][1]["Final-Recipient"], "rfc822; a@local.example")

    def test_relaying_is_traced_where_that_is_asked_for(self) -> None:
        by = {"BY": "60;NT"}
        self.enqueue("a@example.net", parameters=by, traits=Trait.TRUSTED)
        self.assertEqual(self.actions(), ["relayed"])
        self.enqueue("a@example.net", parameters=by, traits=Trait.TRUSTED, rcpt={"NOTIFY": "NEVER"})
        self.enqueue("a@example.net", parameters=by)
        self.assertEqual(self.actions(), ["relayed"])


class FailureTests(ReportCase):
    """Tests for reports of failure."""

    def test_never_means_never(self) -> None:
        self.outcome = UNKNOWN
        self.enqueue("a@example.net", rcpt={"NOTIFY": "NEVER"})
        self.enqueue("a@example.net", rcpt={"NOTIFY": "SUCCESS,DELAY"})
        self.assertEqual((self.actions(), self.rows()), ([], []))
        self.enqueue("a@example.net", rcpt={"NOTIFY": "FAILURE"})
        self.assertEqual((self.actions(), self.rows()), (["failed"], []))

    def test_a_sender_gets_so_many_reports_an_hour_and_none_is_lost(self) -> None:
        self.begin(reports_per_sender_hour=3)
        self.relay.start()
        self.outcome = UNKNOWN
        for number in range(5):
            self.enqueue(f"{number}@example.net")
        self.assertEqual(self.actions(), ["failed"] * 3)
        self.assertEqual(
            [row[:2] for row in self.rows()], [("3@example.net", 0), ("4@example.net", 0)]
        )
        self.clock.pump([60] * 62)
        self.assertEqual((self.actions(), self.rows()), (["failed"] * 5, []))

    def test_a_report_of_success_too_many_is_dropped(self) -> None:
        self.begin(reports_per_sender_hour=1)
        self.unaware = True
        for number in range(3):
            self.enqueue(f"{number}@example.net", rcpt={"NOTIFY": "SUCCESS"}, traits=Trait.TRUSTED)
        self.assertEqual((self.actions(), self.rows()), (["relayed"], []))

    def test_the_limit_forgets_and_is_not_fooled_by_clocks(self) -> None:
        limit = ReportLimit(1)
        self.assertTrue(limit.allow(SENDER, 1000.0))
        self.assertFalse(limit.allow(SENDER, 1000.0 + HOUR - 1))
        self.assertTrue(limit.allow(mailbox("other@example.org"), 1000.0))
        self.assertTrue(limit.allow(SENDER, 1000.0 + HOUR))
        self.assertTrue(limit.allow(SENDER, 500.0))


class DelayTests(ReportCase):
    """Tests for reports of delay, and for deadlines."""

    def test_a_delay_is_told_once_after_four_hours(self) -> None:
        self.outcome = BUSY
        self.relay.start()
        self.enqueue("a@example.net")
        self.clock.pump([600] * 22)
        self.assertEqual(self.actions(), [])
        self.clock.pump([600] * 12 * 6)
        self.assertEqual(self.actions(), ["delayed"])
        self.assertEqual(self.reports()[0][1]["Status"], "4.2.1")
        self.outcome = OK
        self.until(lambda: not self.rows(), 600)
        self.assertEqual(self.actions(), ["delayed"])

    def test_time_that_the_sender_wanted_is_no_delay(self) -> None:
        self.outcome = BUSY
        self.relay.start()
        day = 86_400.0
        for parameters in ({"HOLDFOR": "86400"}, {"HOLDUNTIL": "2027-01-16T08:00:00Z"}):
            new = self.message("a@example.net", parameters=parameters)
            began = released_at(new)
            self.assertEqual(began, self.now() + day if "HOLDFOR" in parameters else EPOCH + day)
            held = replace(new, held_until=began)
            self.successResultOf(self.queue.enqueue(held, CONTENT))
        self.clock.pump([600] * (6 * 24 + 23))
        self.assertGreater(len(self.sender.sent), 2)
        self.assertEqual(self.actions(), [])
        self.clock.pump([600] * 12)
        self.assertEqual(self.actions(), ["delayed"] * 2)

    def test_a_delay_is_not_told_to_who_does_not_want_it(self) -> None:
        self.outcome = BUSY
        self.relay.start()
        self.enqueue("a@example.net", rcpt={"NOTIFY": "FAILURE"})
        self.clock.pump([600] * 12 * 6)
        self.assertEqual(self.actions(), [])

    def test_what_is_to_be_returned_when_late_is_returned_at_that_time(self) -> None:
        self.outcome = BUSY
        self.relay.start()
        self.enqueue("a@example.net", parameters={"BY": "1000;R"})
        self.clock.pump([10] * 99)
        self.assertEqual(self.actions(), [])
        tries = len(self.sender.sent)
        self.clock.pump([1] * 20)
        self.assertEqual((self.actions(), self.rows()), (["failed"], []))
        self.assertEqual(self.reports()[0][1]["Status"], "5.4.7")
        self.assertEqual(len(self.sender.sent), tries + 1, "it was sent once more when late")

    def test_who_wants_to_be_told_when_late_is_told_and_it_goes_on(self) -> None:
        self.outcome = BUSY
        self.relay.start()
        self.enqueue("a@example.net", parameters={"BY": "1000;N"})
        self.clock.pump([10] * 110)
        self.assertEqual(self.actions(), ["delayed"])
        self.assertEqual(self.reports()[0][1]["Status"], "4.4.7")
        self.outcome = OK
        self.until(lambda: not self.rows(), 600)
        self.assertEqual(self.actions(), ["delayed"])

    def test_a_message_that_is_late_already_is_returned_without_an_attempt(self) -> None:
        self.put("a@example.net", parameters={"BY": "10;R"})
        self.clock.advance(11)
        self.relay.start()
        self.clock.advance(1)
        self.assertEqual(self.actions(), ["failed"])
        self.assertEqual([new.sender for _, new, _ in self.sender.sent], [None])


class WayTests(ReportCase):
    """Tests for which way a message goes."""

    def test_what_asks_for_tls_has_lanes_of_its_own(self) -> None:
        self.enqueue("a@example.net")
        self.enqueue("a@example.net", parameters={"REQUIRETLS": None})
        self.enqueue("a@example.net", traits=Trait.TLS_OPTIONAL)
        self.enqueue("a@example.net", parameters={"REQUIRETLS": None}, traits=Trait.TLS_OPTIONAL)
        self.assertEqual(
            [where.tls_requirement for where, _, _ in self.sender.sent],
            [
                TLSRequirement.NONE,
                TLSRequirement.REQUIRED,
                TLSRequirement.OPTIONAL,
                TLSRequirement.REQUIRED,
            ],
        )

    def test_a_domain_in_any_script_has_one_destination(self) -> None:
        for name in ("bücher.example", "BÜCHER.example", "xn--bcher-kva.example"):
            new = self.message()
            rcpt = Rcpt(parse_mailbox(f"a@{name}".encode()))
            self.successResultOf(self.queue.enqueue(replace(new, recipients=(rcpt,)), CONTENT))
        found = {where.domain for where, _, _ in self.sender.sent}
        self.assertEqual(found, {"xn--bcher-kva.example"})

    def test_a_name_that_is_none_fails_for_good(self) -> None:
        rcpt = Rcpt(Mailbox(b"a", "ü..example".encode()))
        self.successResultOf(
            self.queue.enqueue(replace(self.message(), recipients=(rcpt,)), CONTENT)
        )
        self.assertEqual((self.actions(), self.rows()), (["failed"], []))

    def test_a_flushed_domain_is_tried_at_once_though_it_was_dead(self) -> None:
        self.relay.start()
        self.sender.answer = lambda *_: UNREACHABLE
        self.enqueue("a@example.net")
        self.clock.advance(1)
        self.assertEqual(len(self.sender.sent), 1)
        self.outcome, self.sender.answer = OK, self.answer
        self.assertEqual(self.successResultOf(self.queue.flush_domain("example.net", False)), 1)
        self.clock.advance(1)
        self.assertEqual((len(self.sender.sent), self.rows()), (2, []))
        self.assertEqual(self.successResultOf(self.queue.flush_domain("example.net", True)), 0)

    def test_what_is_held_is_sent_when_its_time_has_come(self) -> None:
        self.relay.start()
        new = self.message("a@example.net", held_until=self.now() + 1000)
        self.successResultOf(self.queue.enqueue(new, CONTENT))
        self.clock.pump([1] * 990)
        self.assertEqual(self.sender.sent, [])
        self.clock.pump([1] * 20)
        self.assertEqual((len(self.sender.sent), self.rows()), (1, []))
