"""Tests for `postroom.server.protocol`: transactions, faults, logins.

What is said to which command is in ``tests/transcripts``; here is what a dialogue cannot show.
"""

import json
from dataclasses import replace
from typing import Any, cast

from twisted.cred.error import LoginDenied, LoginFailed, UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import LogEvent, eventAsJSON, eventAsText, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from postroom.errors import Refusal
from postroom.wire.replies import Reply, reply
from tests.server.scene import PASSWORD, PATIENT, STORED, USER, Peer, Scene, settings

PLAIN = "AUTH PLAIN AHVzZXJAaGVyZS5leGFtcGxlAGNvcnJlY3QgaG9yc2U="
WRONG = "AUTH PLAIN AHVzZXJAaGVyZS5leGFtcGxlAHdyb25n"
MAIL, RCPT = "MAIL FROM:<a@there.example>", "RCPT TO:<user@here.example>"


def short(answer: Reply) -> tuple[int, str | None]:
    return answer.code, answer.enhanced


class ConnectionTests(SynchronousTestCase):
    """The connection itself."""

    def test_the_greeting_names_the_host_first(self) -> None:
        peer = Scene().connect(greeted=False)
        self.assertEqual(peer.transport.value(), b"220 mx.here.example ESMTP Postroom\r\n")
        self.assertTrue(peer.transport.no_delay)

    def test_helo_is_answered_in_one_line(self) -> None:
        peer = Scene().connect()
        self.assertEqual(peer.say("HELO client.example").wire, b"250 mx.here.example\r\n")

    def test_the_replies_to_a_group_leave_in_one_write(self) -> None:
        peer = Scene().connect()
        peer.say("EHLO client.example")
        del peer.transport.writes[:]
        peer.send(f"{MAIL}\r\n{RCPT}\r\n{RCPT}\r\nDATA\r\n".encode())
        self.assertEqual(len(peer.transport.writes), 1)
        self.assertEqual([each.code for each in peer.hear_all()], [250, 250, 250, 354])

    def test_a_lost_connection_is_let_go_of(self) -> None:
        scene = Scene()
        for peer in (scene.connect(), scene.in_transaction(), scene.in_content()):
            peer.lose()
        self.assertEqual(len(scene.connections), 0)
        self.assertEqual(scene.world.calls[-1], "abort")
        self.assertEqual(scene.world.logouts, 2)
        self.assertEqual(scene.clock.getDelayedCalls(), [])

    def test_an_abandoned_message_is_not_stored(self) -> None:
        scene = Scene()
        peer = scene.in_content()
        peer.send(b"half a mess")
        peer.lose()
        self.assertEqual(scene.world.stored, [])
        self.assertEqual(scene.world.calls[-1], "abort")


class EnvelopeTests(SynchronousTestCase):
    """What a delivery is told."""

    def test_the_facts_of_a_session(self) -> None:
        scene = Scene()
        peer = scene.connect("192.0.2.9", tls=True)
        peer.say("EHLO client.example")
        peer.say(PLAIN)
        for line in (MAIL, RCPT, "DATA", "x\r\n."):
            peer.say(line)
        facts = scene.world.stored[0].facts
        self.assertEqual(
            (facts.role, facts.client, facts.client_port, facts.helo, facts.extended),
            ("mx", "192.0.2.9", 40_000, b"client.example", True),
        )
        assert facts.tls is not None
        self.assertEqual((facts.tls.version, facts.tls.bits), ("TLSv1.3", 256))
        self.assertEqual((facts.identity, facts.protocol), (USER.decode(), "ESMTPSA"))

    def test_each_transaction_has_an_envelope_of_its_own(self) -> None:
        scene = Scene()
        seen = []
        peer = scene.connect()
        peer.say("HELO client.example")
        for _ in range(2):
            peer.say(MAIL)
            seen.append(peer.protocol.session.envelope)
            peer.say("RSET")
            self.assertIsNone(peer.protocol.session.envelope)
        self.assertIsNot(seen[0], seen[1])
        self.assertNotEqual(seen[0].id, seen[1].id)
        self.assertEqual(seen[0].session.protocol, "SMTP")

    def test_the_delivery_is_asked_for_once(self) -> None:
        scene = Scene()
        peer = scene.in_transaction()
        peer.say("RSET")
        peer.say(MAIL)
        self.assertEqual([call for call in scene.world.calls if "login" in call], ["login ()"])

    def test_a_positive_reply_of_a_delivery_accepts(self) -> None:
        scene = Scene()
        answers = {"sender": reply(250, "2.1.0", "fine"), "recipient": reply(251, "2.1.5", "sure")}
        others = scene.world.answer
        scene.world.answer = lambda point, make: answers.get(point) or others(point, make)
        peer = scene.in_content(rcpts=2)
        self.assertEqual(peer.say("x\r\n."), STORED)
        self.assertEqual(len(scene.world.stored[0].recipients), 2)

    def test_a_refusal_may_be_returned_raised_or_come_later(self) -> None:
        refusal = reply(451, "4.7.1", "Greylisted")

        def raising() -> object:
            raise Refusal(refusal)

        async def coroutine() -> object:
            raise Refusal(refusal)

        for way in (
            lambda: refusal,
            raising,
            coroutine,
            lambda: succeed(refusal),
            lambda: fail(Refusal(refusal)),
        ):
            scene = Scene()
            scene.world.answer = lambda point, make, way=way: (  # type: ignore[misc]
                way() if point == "recipient" else make()
            )
            peer = scene.connect()
            peer.say("EHLO client.example")
            peer.say(MAIL)
            self.assertEqual(peer.say(RCPT), refusal)
            self.assertEqual(peer.say("DATA").code, 554)

    def test_a_delivery_may_hang_up(self) -> None:
        scene = Scene()
        scene.world.fail("sender", Refusal(reply(421, "4.7.0", "Not now")))
        peer = scene.connect()
        peer.say("EHLO client.example")
        self.assertEqual(peer.say(MAIL).code, 421)
        self.assertTrue(peer.closed)

    def test_nobody_may_be_unwelcome(self) -> None:
        scene = Scene()
        scene.world.fail("anonymous", UnauthorizedLogin())
        peer = scene.connect()
        peer.say("EHLO client.example")
        self.assertEqual(short(peer.say(MAIL)), (530, "5.7.0"))
        self.assertEqual(peer.say(RCPT).code, 503)


class FaultTests(SynchronousTestCase):
    """What is our fault is never the peer's."""

    def fault(self, point: str, error: Exception) -> tuple[Reply, Peer, Scene]:
        scene = Scene()
        scene.world.fail(point, error)
        peer = scene.connect()
        peer.say("EHLO client.example")
        answer = None
        for line in (MAIL, RCPT, "DATA", "x\r\n."):
            answer = peer.say(line)
            if answer.code >= 400:
                break
        assert answer is not None
        return answer, peer, scene

    def test_an_exception_is_451_with_a_receipt_that_the_log_has(self) -> None:
        for point in ("anonymous", "sender", "recipient", "begin", "write", "commit"):
            events: list[LogEvent] = []
            globalLogPublisher.addObserver(events.append)
            self.addCleanup(globalLogPublisher.removeObserver, events.append)
            answer, peer, scene = self.fault(point, RuntimeError("secret detail"))
            globalLogPublisher.removeObserver(events.append)
            self.assertEqual(short(answer), (451, "4.3.0"), point)
            self.assertNotIn("secret", answer.text[0])
            receipt = answer.text[0].partition("receipt ")[2].rstrip(")")
            logged = [event for event in events if event.get("receipt") == receipt]
            self.assertEqual(len(logged), 1, point)
            self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
            self.assertEqual(scene.world.stored, [])
            self.assertEqual(peer.say("NOOP").code, 250)

    def test_a_full_disk_says_so(self) -> None:
        for number in (28, 122):
            answer, _, _ = self.fault("write", OSError(number, "full"))
            self.assertEqual(short(answer), (452, "4.3.1"))
            self.flushLoggedErrors(OSError)

    def test_after_a_failed_write_the_message_is_read_to_its_end_and_aborted(self) -> None:
        scene = Scene()
        scene.world.fail("write", OSError(28, "full"))
        peer = scene.in_content()
        peer.send(b"some\r\n")
        peer.send(b"more\r\nRSET\r\n")
        self.assertEqual(peer.hear_all(), [])
        self.assertEqual(short(peer.say(".")), (452, "4.3.1"))
        self.assertEqual(scene.world.calls.count("abort"), 1)
        self.assertNotIn("commit", scene.world.calls)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_a_failed_commit_closes_the_transaction(self) -> None:
        answer, peer, _ = self.fault("commit", RuntimeError())
        self.assertEqual(answer.code, 451)
        self.assertEqual(peer.say(RCPT).code, 503)
        self.flushLoggedErrors(RuntimeError)

    def test_results_that_differ_are_folded_so_that_nothing_is_lost(self) -> None:
        later, never = reply(452, "4.2.2", "Full"), reply(550, "5.7.1", "Spam")
        for results, answer in (
            ([STORED, STORED], (250, "2.0.0")),
            ([STORED, later], (451, "4.3.0")),
            ([later, later], (452, "4.2.2")),
            ([never, never], (550, "5.7.1")),
            ([STORED, never], (550, "5.7.1")),
            ([later, never], (452, "4.2.2")),
        ):
            scene = Scene()
            scene.world.commit_with = lambda _, results=results: results  # type: ignore[misc]
            peer = scene.in_content(rcpts=2)
            self.assertEqual(short(peer.say("x\r\n.")), answer)

    def test_a_commit_without_results_is_a_fault(self) -> None:
        scene = Scene()
        scene.world.commit_with = lambda _: []
        self.assertEqual(short(scene.in_content().say("x\r\n.")), (451, "4.3.0"))
        self.flushLoggedErrors(IndexError)


class LoginTests(SynchronousTestCase):
    """AUTH, where a dialogue cannot show it."""

    def peer(self, scene: Scene) -> Peer:
        peer = scene.connect(tls=True)
        peer.say("EHLO client.example")
        return peer

    def test_a_source_that_is_down_is_no_wrong_password(self) -> None:
        for error in (RuntimeError("down"), OSError("gone")):
            scene = Scene()
            scene.world.login_error = error
            peer = self.peer(scene)
            self.assertEqual(short(peer.say(PLAIN)), (454, "4.7.0"))
            self.assertEqual(len(self.flushLoggedErrors(type(error))), 1)
            scene.world.login_error = None
            self.assertEqual(peer.say(PLAIN).code, 235)

    def test_any_refused_login_is_535_and_a_refusal_is_itself(self) -> None:
        for error, answer in (
            (UnauthorizedLogin(), (535, "5.7.8")),
            (LoginDenied(), (535, "5.7.8")),
            (LoginFailed("secret"), (535, "5.7.8")),
            (Refusal(reply(454, "4.7.0", "Busy")), (454, "4.7.0")),
        ):
            scene = Scene()
            scene.world.login_error = error
            self.assertEqual(short(self.peer(scene).say(PLAIN)), answer)

    def test_a_failed_login_leaves_the_session_as_it_was(self) -> None:
        scene = Scene()
        peer = self.peer(scene)
        peer.say(WRONG)
        self.assertEqual(peer.say(MAIL).code, 250)
        self.assertEqual(peer.say("RCPT TO:<b@there.example>").code, 550)
        self.assertIsNone(peer.protocol.session.facts.identity)

    def test_a_login_takes_the_place_of_nobodys_delivery(self) -> None:
        scene = Scene()
        peer = self.peer(scene)
        peer.say(MAIL)
        peer.say("RSET")
        peer.say(PLAIN)
        self.assertEqual(scene.world.logouts, 1)
        peer.say(MAIL)
        self.assertEqual(peer.say("RCPT TO:<b@there.example>").code, 250)
        peer.lose()
        self.assertEqual(scene.world.logouts, 2)

    def test_a_login_that_gives_no_delivery_is_our_fault(self) -> None:
        scene = Scene()
        scene.portal.realm.requestAvatar = lambda *_: (None, object(), lambda: None)  # type: ignore[method-assign]
        self.assertEqual(short(self.peer(scene).say(PLAIN)), (454, "4.7.0"))
        self.flushLoggedErrors(TypeError)

    def test_what_comes_along_with_a_login_waits_for_it(self) -> None:
        scene = Scene(settings(role="submission"))
        scene.world.hold("login")
        peer = self.peer(scene)
        peer.send(f"{PLAIN}\r\n{MAIL}\r\n".encode())
        self.assertEqual(peer.hear_all(), [])
        scene.world.held.popleft().give()
        self.assertEqual([each.code for each in peer.hear_all()], [235, 250])

    def test_no_password_is_ever_logged(self) -> None:
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        blob = PLAIN.split()[-1]
        word = "Y29ycmVjdCBob3JzZQ=="
        for error in (None, UnauthorizedLogin(), RuntimeError("down"), OSError("gone")):
            scene = Scene(settings(limits=replace(PATIENT, errors=50)))
            scene.world.login_error = error
            clear, peer = scene.connect(), self.peer(scene)
            clear.say("EHLO client.example")
            for talker in (clear, peer):
                talker.say(PLAIN + "x")
                talker.say("AUTH LOGIN")
                talker.say("dXNlckBoZXJlLmV4YW1wbGU=")
                talker.say(word)
                talker.say(word)
                talker.say(PLAIN)
                talker.say("AUTH X " + blob)
                talker.say(f"AUTH PLAIN {blob} {blob}")
                talker.say(blob)
                talker.say("MAIL FROM:<a@there.example> " + blob)
        self.flushLoggedErrors(RuntimeError, OSError)
        self.assertGreater(len(events), 40)
        for event in events:
            text = eventAsText(event, includeTraceback=True) + eventAsJSON(event)
            text += json.dumps(event, default=repr)
            self.assertNotIn(PASSWORD.decode(), text)
            self.assertNotIn(word, text)
            # The parameter of MAIL is quoted back, as any other is; it is no login.
            if "Malformed parameter" not in text:
                self.assertNotIn(blob[:20], text)


class LateTests(SynchronousTestCase):
    """Verdicts that come late, in their order, for their own transaction."""

    def codes(self, peer: Peer) -> list[int]:
        return [each.code for each in peer.hear_all()]

    def test_replies_come_in_the_order_of_commands_whatever_is_late(self) -> None:
        scene = Scene()
        scene.world.hold("sender", "recipient", "begin", "commit")
        peer = scene.connect()
        peer.send(
            f"EHLO c\r\n{MAIL}\r\n{RCPT}\r\nRCPT TO:<unknown@here.example>\r\nDATA\r\n"
            f"one\r\n.\r\nRSET\r\n{MAIL}\r\nQUIT\r\n".encode()
        )
        heard = [self.codes(peer)]
        while scene.world.held:
            self.assertEqual(len(scene.world.held), 1, "asked before the verdict ahead")
            scene.world.held.popleft().give()
            peer.settle()
            heard.append(self.codes(peer))
        self.assertEqual(heard, [[250], [250], [250], [550], [354], [250, 250], [250, 221]])
        self.assertEqual(len(scene.world.stored), 1)

    def test_quit_waits_for_the_250_of_the_message(self) -> None:
        scene = Scene()
        scene.world.hold("commit")
        peer = scene.in_content()
        peer.send(b"x\r\n.\r\nQUIT\r\n")
        self.assertEqual((self.codes(peer), peer.closed), ([], False))
        scene.world.held.popleft().give()
        self.assertEqual((self.codes(peer), peer.closed), ([250, 221], True))

    def test_rset_waits_for_the_recipient_before_it(self) -> None:
        scene = Scene()
        scene.world.hold("recipient")
        peer = scene.connect()
        peer.send(f"EHLO c\r\n{MAIL}\r\n{RCPT}\r\nRSET\r\nDATA\r\n".encode())
        self.assertEqual(self.codes(peer), [250, 250])
        scene.world.held.popleft().give()
        self.assertEqual(self.codes(peer), [250, 250, 503])

    def test_a_verdict_that_never_comes_is_451(self) -> None:
        for point, last in (("sender", MAIL), ("recipient", RCPT), ("begin", "DATA")):
            scene = Scene()
            scene.world.hold(point)
            peer = scene.connect()
            peer.say("EHLO c")
            for line in (MAIL, RCPT, "DATA"):
                peer.send(line.encode() + b"\r\n")
                if line == last:
                    break
                peer.hear()
            scene.wait(299, peer)
            self.assertEqual(self.codes(peer), [], point)
            scene.wait(2, peer)
            answer = peer.hear()
            self.assertEqual(short(answer), (451, "4.3.0"), point)
            self.assertEqual(peer.say("NOOP").code, 250)

    def test_a_commit_that_never_ends_is_451_and_the_transaction_is_over(self) -> None:
        scene = Scene()
        scene.world.hold("commit")
        peer = scene.in_content()
        peer.send(b"x\r\n.\r\n")
        scene.wait(301, peer)
        self.assertEqual(short(peer.hear()), (451, "4.3.0"))
        self.assertEqual(peer.say(RCPT).code, 503)

    def test_a_login_that_never_ends_is_454(self) -> None:
        scene = Scene()
        scene.world.hold("login")
        peer = scene.connect(tls=True)
        peer.say("EHLO c")
        peer.send(PLAIN.encode() + b"\r\n")
        scene.wait(301, peer)
        self.assertEqual(short(peer.hear()), (454, "4.7.0"))
        scene.world.held.popleft().deferred.callback(USER)
        self.assertIsNone(peer.protocol.session.facts.identity)
        self.assertEqual(peer.say(MAIL).code, 250)
        self.assertEqual(peer.say("RCPT TO:<b@there.example>").code, 550)

    def test_a_late_result_does_not_touch_the_next_transaction(self) -> None:
        scene = Scene()
        scene.world.hold("recipient")
        peer = scene.connect()
        peer.say("EHLO c")
        peer.say(MAIL)
        peer.send(b"RCPT TO:<late@here.example>\r\n")
        late = scene.world.held.popleft()
        scene.wait(301, peer)
        self.assertEqual(peer.hear().code, 451)
        peer.say("RSET")
        self.assertEqual(peer.say("MAIL FROM:<b@there.example>").code, 250)
        late.give()
        self.assertEqual(self.codes(peer), [])
        self.assertEqual(peer.say("DATA").code, 554)
        peer.send(RCPT.encode() + b"\r\n")
        scene.world.held.popleft().give()
        self.assertEqual(peer.hear().code, 250)
        for line in ("DATA", "x\r\n."):
            peer.say(line)
        self.assertEqual(
            [str(each) for each in scene.world.stored[0].recipients], ["user@here.example"]
        )

    def test_a_late_commit_does_not_answer_the_next_message(self) -> None:
        scene = Scene()
        scene.world.hold("commit")
        peer = scene.in_content()
        peer.send(b"one\r\n.\r\n")
        first = scene.world.held.popleft()
        scene.wait(301, peer)
        self.assertEqual(peer.hear().code, 451)
        for line in (MAIL, RCPT, "DATA"):
            peer.say(line)
        peer.send(b"two\r\n.\r\n")
        first.give()
        self.assertEqual(self.codes(peer), [])
        scene.world.held.popleft().give()
        self.assertEqual(self.codes(peer), [250])

    def test_a_connection_lost_while_a_verdict_is_awaited_takes_it_back(self) -> None:
        for point in ("anonymous", "sender", "recipient", "begin"):
            scene = Scene()
            scene.world.hold(point)
            peer = scene.connect()
            peer.send(f"EHLO c\r\n{MAIL}\r\n{RCPT}\r\nDATA\r\n".encode())
            held = scene.world.held.popleft()
            while held.point != point:
                held.give()
                held = scene.world.held.popleft()
            cancelled: list[object] = []
            held.deferred.addErrback(cancelled.append)
            peer.lose()
            self.assertTrue(held.deferred.called, point)
            held.give()
            self.assertEqual(scene.world.stored, [])
            self.assertEqual(len(scene.connections), 0)

    def test_a_connection_lost_while_a_message_is_stored_does_not_lose_it(self) -> None:
        scene = Scene()
        scene.world.hold("commit")
        peer = scene.in_content()
        peer.send(b"x\r\n.\r\n")
        peer.lose()
        self.assertFalse(scene.world.held[0].deferred.called)
        scene.world.held.popleft().give()
        self.assertEqual(len(scene.world.stored), 1)
        self.assertEqual(peer.hear_all(), [])

    def test_a_transaction_that_begins_as_the_connection_is_lost_is_aborted(self) -> None:
        scene = Scene()
        others = scene.world.answer

        def answer(point: str, make: Any) -> object:
            if point != "begin":
                return others(point, make)
            return Deferred(lambda cancelled: cancelled.callback(make()))

        scene.world.answer = answer
        peer = scene.in_transaction()
        peer.send(b"DATA\r\n")
        peer.lose()
        self.assertEqual(scene.world.calls[-2:], ["begin", "abort"])


class PressureTests(SynchronousTestCase):
    """A delivery that takes its time with content."""

    def test_the_peer_is_held_until_a_chunk_is_taken(self) -> None:
        scene = Scene()
        scene.world.hold("write")
        peer = scene.in_content()
        peer.send(b"one\r\n")
        for part in (b"two\r\n", b"three\r\n"):
            peer.send(part)
        transaction = peer.protocol.session.incoming._transaction
        self.assertEqual(b"".join(transaction.chunks), b"one")
        self.assertEqual(peer.transport.producerState, "paused")
        scene.world.held.popleft().give()
        self.assertEqual(b"".join(transaction.chunks), b"one\r\ntwo")
        self.assertEqual(peer.transport.producerState, "producing")
        scene.world.answer = lambda _, make: make()
        scene.world.held.popleft().give()
        peer.settle()
        self.assertEqual(peer.say("."), STORED)
        self.assertEqual(scene.world.stored[0].content, b"one\r\ntwo\r\nthree\r\n")

    def test_the_last_chunk_is_taken_before_the_message_is_stored(self) -> None:
        scene = Scene()
        scene.world.hold("write")
        peer = scene.in_content()
        peer.send(b"one\r\n.\r\nNOOP\r\n")
        self.assertNotIn("commit", scene.world.calls)
        scene.world.held.popleft().give()
        self.assertEqual([each.code for each in peer.hear_all()], [250, 250])
        self.assertEqual(len(scene.world.stored), 1)

    def test_a_chunk_that_fails_later_refuses_the_message_at_its_end(self) -> None:
        for last in (b"one\r\n", b"one\r\n.\r\n"):
            scene = Scene()
            scene.world.hold("write")
            peer = scene.in_content()
            peer.send(last)
            scene.world.held.popleft().deferred.errback(OSError(28, "full"))
            self.flushLoggedErrors(OSError)
            if last == b"one\r\n":
                self.assertEqual(peer.hear_all(), [])
                peer.send(b".\r\n")
            self.assertEqual(short(peer.hear()), (452, "4.3.1"))
            self.assertEqual(scene.world.calls[-1], "abort")
            self.assertEqual(peer.say("NOOP").code, 250)

    def test_a_chunk_that_is_taken_at_once_by_a_deferred_holds_nobody(self) -> None:
        scene = Scene()
        scene.world.answer = lambda point, make: succeed(None) if point == "write" else make()
        peer = scene.in_content()
        peer.send(b"one\r\ntwo\r\n.\r\n")
        self.assertEqual(peer.hear(), STORED)

    def test_a_connection_lost_while_a_chunk_is_taken(self) -> None:
        scene = Scene()
        scene.world.hold("write")
        peer = scene.in_content()
        peer.send(b"one\r\n")
        peer.lose()
        self.assertEqual(scene.world.calls[-1], "abort")
        scene.world.held.popleft().deferred.errback(OSError(28, "full"))
        self.assertEqual(peer.hear_all(), [])


class FlatTests(SynchronousTestCase):
    """What a peer sends does not pile up."""

    def test_a_line_without_end_is_dropped_and_then_hung_up_on(self) -> None:
        scene = Scene()
        peer = scene.connect()
        most = 0
        for _ in range(100):
            peer.send(b"x" * 4096)
            most = max(most, len(peer.protocol._buffer))
        self.assertEqual(
            [short(each) for each in peer.hear_all()], [(500, "5.5.2"), (421, "4.7.0")]
        )
        self.assertTrue(peer.closed)
        self.assertLess(most, 20_000)

    def test_content_of_many_megabytes_is_not_kept_here(self) -> None:
        scene = Scene(settings(limits=replace(PATIENT, message_octets=1_000_000_000)))
        peer = scene.in_content()
        transaction = peer.protocol.session.incoming._transaction
        chunk = (b"x" * 70 + b"\r\n") * 910
        for _ in range(200):
            peer.send(chunk)
            self.assertLess(len(peer.protocol._buffer), 10)
            del transaction.chunks[:]
        self.assertEqual(peer.say("."), STORED)

    def test_an_endless_line_of_content_is_not_kept_here(self) -> None:
        scene = Scene(settings(limits=replace(PATIENT, message_octets=1_000_000)))
        peer = scene.in_content()
        for _ in range(40):
            peer.send(b"x" * 65_536)
            self.assertLess(len(peer.protocol._buffer), 10)
        self.assertEqual(short(peer.hear()), (421, "4.3.4"))
        self.assertTrue(peer.closed)
        peer.lose()
        self.assertEqual(scene.world.calls.count("abort"), 1)

    def test_a_hundred_thousand_recipients(self) -> None:
        limits = replace(PATIENT, recipients=1000, errors=20, errors_before_delay=20)
        scene = Scene(settings(limits=limits))
        peer = scene.in_transaction()
        peer.send((RCPT + "\r\n").encode() * 1500)
        self.assertEqual([each.code for each in peer.hear_all()], [250] * 999 + [452] * 501)
        peer.send((RCPT + "\r\n").encode() * 100_000)
        self.assertEqual(peer.hear_all()[-1].code, 421)
        self.assertTrue(peer.closed)
        self.assertEqual(len(cast(Any, peer.protocol).session.envelope.recipients), 1000)
