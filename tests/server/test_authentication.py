"""Tests for `postroom.server.authentication`; the dialogues are in ``tests/transcripts``."""

from base64 import b64encode
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import classImplements, implementer

from postroom.credentials import SASLSession
from postroom.envelope import SessionFacts
from postroom.errors import Refusal
from postroom.interfaces import IIdentified, ILoginGuard, ITransactionDelivery
from postroom.later import now_or_later
from postroom.server.authentication import Authentication, Exchange, Login, LoginAttempt, LoginParts
from postroom.server.sasl.clear import LOGIN, PLAIN
from postroom.wire.replies import Reply, reply
from tests.server.scene import PASSWORD, USER, Scene

BUSY = reply(454, "4.7.0", "Busy")


def encode(octets: bytes) -> bytes:
    return b64encode(octets)


FACTS = SessionFacts("mx", "192.0.2.1", 1)
SESSION = SASLSession(FACTS, "mx.here.example", (), None, lambda _: None)
CLEAR = {"PLAIN": PLAIN, "LOGIN": LOGIN}


class Talk:
    """An exchange whose credentials are what it ends in, asked without waiting."""

    def __init__(self, name: str) -> None:
        give: Any = succeed
        self.exchange = Exchange(
            CLEAR[name], SESSION, LoginAttempt(Clock(), None, "192.0.2.1"), give
        )

    def begin(self, initial_response: bytes | None) -> Any:
        return now_or_later(self.exchange.start(initial_response))

    def take(self, line: bytes) -> Any:
        return now_or_later(self.exchange.respond(line))


class ExchangeTests(SynchronousTestCase):
    """Tests for `Exchange`."""

    def refused(self, mechanism: str, response: bytes, code: int, enhanced: str) -> None:
        for initial in (True, False):
            exchange = Talk(mechanism)
            if not initial:
                exchange.begin(None)
            elif not response:
                continue
            take = exchange.begin if initial else exchange.take
            reply = self.assertRaises(Refusal, take, response).reply
            self.assertEqual((reply.code, reply.enhanced), (code, enhanced), response)

    def credentials(self, outcome: Any) -> tuple[bytes, bytes]:
        assert IUsernamePassword.providedBy(outcome)
        return outcome.username, outcome.password

    def test_plain(self) -> None:
        for response in (b"\0user\0pass word", b"user\0user\0pass word"):
            self.assertEqual(
                self.credentials(Talk("PLAIN").begin(encode(response))),
                (b"user", b"pass word"),
            )
            exchange = Talk("PLAIN")
            self.assertEqual(exchange.begin(None), Reply(334, ("",)))
            self.assertEqual(
                self.credentials(exchange.take(encode(response))), (b"user", b"pass word")
            )

    def test_plain_that_is_none(self) -> None:
        for response in (
            b"",
            b"a",
            b"a\0b",
            b"\0\0",
            b"\0a\0",
            b"\0\0b",
            b"\0a\0b\0",
            b"\0a\0b\0c",
        ):
            self.refused("PLAIN", encode(response), 501, "5.5.2")

    def test_login(self) -> None:
        exchange = Talk("LOGIN")
        self.assertEqual(exchange.begin(None), Reply(334, ("VXNlcm5hbWU6",)))
        self.assertEqual(exchange.take(encode(b"user")), Reply(334, ("UGFzc3dvcmQ6",)))
        self.assertEqual(self.credentials(exchange.take(encode(b"pass"))), (b"user", b"pass"))

    def test_login_with_an_initial_response(self) -> None:
        exchange = Talk("LOGIN")
        self.assertEqual(exchange.begin(encode(b"user")), Reply(334, ("UGFzc3dvcmQ6",)))
        self.assertEqual(self.credentials(exchange.take(encode(b"pass"))), (b"user", b"pass"))

    def test_login_that_is_none(self) -> None:
        for response in (b"", b"a\0b", b"\0"):
            self.refused("LOGIN", encode(response), 501, "5.5.2")

    def test_an_empty_initial_response_is_written_as_one_equals_sign(self) -> None:
        reply = self.assertRaises(Refusal, Talk("PLAIN").begin, b"=").reply
        self.assertIn("Malformed", reply.text[0])
        exchange = Talk("PLAIN")
        exchange.begin(None)
        reply = self.assertRaises(Refusal, exchange.take, b"=").reply
        self.assertIn("base64", reply.text[0])

    def test_a_star_cancels_only_as_a_response(self) -> None:
        for mechanism in CLEAR:
            exchange = Talk(mechanism)
            exchange.begin(None)
            reply = self.assertRaises(Refusal, exchange.take, b"*").reply
            self.assertEqual((reply.code, reply.enhanced), (501, "5.7.0"))
            reply = self.assertRaises(Refusal, Talk(mechanism).begin, b"*").reply
            self.assertEqual((reply.code, reply.enhanced), (501, "5.5.2"))

    def test_base64_is_strict(self) -> None:
        good = encode(b"\0user\0pass")
        for wrong in (
            *(
                b"!" + good,
                good + b"!",
                b" " + good,
                good + b" ",
                good + b"=",
                good[:-1],
                b"=" + good,
            ),
            *(good[:4] + b"\n" + good[4:], b"====", b"=", b"A", b"AA", b"AAA", b"\xff\xfe", b"**"),
        ):
            self.refused("PLAIN", wrong, 501, "5.5.2")

    @given(st.sampled_from(sorted(CLEAR)), st.lists(st.binary(max_size=40), max_size=4))
    def test_any_responses_are_credentials_a_challenge_or_a_refusal(
        self, mechanism: str, responses: list[bytes]
    ) -> None:
        exchange = Talk(mechanism)
        outcome = exchange.begin(None)
        for response in responses:
            if IUsernamePassword.providedBy(outcome):
                return
            self.assertEqual(outcome.code, 334)
            try:
                outcome = exchange.take(response)
            except Refusal as refusal:
                self.assertIn(refusal.reply.code, (501, 535))
                return

    @given(
        st.binary(min_size=1).filter(lambda b: 0 not in b),
        st.binary(min_size=1).filter(lambda b: 0 not in b),
    )
    def test_names_and_passwords_are_octets(self, user: bytes, password: bytes) -> None:
        plain = Talk("PLAIN").begin(encode(b"\0" + user + b"\0" + password))
        self.assertEqual(self.credentials(plain), (user, password))
        login = Talk("LOGIN")
        login.begin(encode(user))
        self.assertEqual(self.credentials(login.take(encode(password))), (user, password))


@implementer(IRealm)
class Realm:
    """Gives every login the same avatar."""

    def __init__(self, avatar: object) -> None:
        self.avatar = avatar

    def requestAvatar(self, avatar_id: object, mind: object, *interfaces: Any) -> Any:
        return ITransactionDelivery, self.avatar, lambda: None


class IdentityTests(SynchronousTestCase):
    """Who has logged in."""

    def identity(self, avatar: object, username: bytes) -> str | None:
        checker = InMemoryUsernamePasswordDatabaseDontUse()
        checker.addUser(username, b"secret")
        portal = Portal(Realm(avatar), [checker])
        authentication = Authentication(Clock(), portal, [PLAIN], "mx.here.example")
        exchange = authentication.exchange("PLAIN", FACTS, None)
        login = now_or_later(exchange.start(encode(b"\0" + username + b"\0secret")))
        assert isinstance(login, Login)
        self.assertIs(login.delivery, avatar)
        return login.identity

    def test_an_avatar_may_know_a_better_name(self) -> None:
        class Avatar: ...

        class Known:
            def identity(self) -> str:
                return "canonical"

        classImplements(Avatar, ITransactionDelivery)
        classImplements(Known, ITransactionDelivery, IIdentified)
        self.assertEqual(self.identity(Known(), b"typed"), "canonical")
        self.assertEqual(self.identity(Avatar(), b"typed"), "typed")
        self.assertEqual(self.identity(Avatar(), b"\xff"), "\ufffd")


@implementer(ILoginGuard)
class Guard:
    """Refuses whom it is told to, lets the others wait, and keeps what it hears."""

    def __init__(self) -> None:
        self.refuses: set[bytes | None] = set()
        self.heard: list[tuple[str, str, bytes]] = []

    def refusal(self, client: str, username: bytes | None) -> Reply | None:
        return BUSY if username in self.refuses else None

    def failed(self, client: str, username: bytes) -> float:
        self.heard.append(("failed", client, username))
        return 3

    def succeeded(self, client: str, username: bytes) -> None:
        self.heard.append(("succeeded", client, username))


class GuardTests(SynchronousTestCase):
    """What the guard is told, and what it can do."""

    def setUp(self) -> None:
        self.scene = Scene()
        self.guard = Guard()
        self.scene.log_in_with(LoginParts(guard=self.guard))
        self.peer = self.scene.connect(tls=True)
        self.peer.say("EHLO client.example")

    def plain(self, password: bytes, act_as: bytes = b"") -> bytes:
        return b"AUTH PLAIN " + encode(act_as + b"\0" + USER + b"\0" + password) + b"\r\n"

    def test_a_wrong_login_waits_for_its_answer(self) -> None:
        self.peer.send(self.plain(b"wrong"))
        self.scene.wait(2.5, self.peer)
        self.assertEqual(self.peer.hear_all(), [])
        self.scene.wait(0.5, self.peer)
        self.assertEqual([each.code for each in self.peer.hear_all()], [535])
        self.assertEqual(self.guard.heard, [("failed", "192.0.2.1", USER)])

    def test_the_wait_counts_from_the_clients_line(self) -> None:
        self.scene.world.hold("login")
        self.peer.send(self.plain(b"wrong"))
        self.scene.wait(2, self.peer)
        self.scene.world.held.popleft().give()
        self.scene.wait(0.9, self.peer)
        self.assertEqual(self.peer.hear_all(), [])
        self.scene.wait(0.2, self.peer)
        self.assertEqual([each.code for each in self.peer.hear_all()], [535])

    def test_a_right_login_does_not_wait(self) -> None:
        self.peer.send(self.plain(PASSWORD))
        self.assertEqual(self.peer.hear().code, 235)
        self.assertEqual(self.guard.heard, [("succeeded", "192.0.2.1", USER)])

    def test_trouble_of_ours_is_not_told_as_a_failure(self) -> None:
        self.scene.world.login_error = RuntimeError("down")
        self.peer.send(self.plain(PASSWORD))
        self.assertEqual(self.peer.hear().code, 454)
        self.assertEqual(self.guard.heard, [])
        self.flushLoggedErrors(RuntimeError)

    def test_whom_to_act_as_changes_nothing_about_a_wrong_password(self) -> None:
        for act_as in (b"", USER, USER.upper(), b"root", b"\xff"):
            self.guard.heard.clear()
            self.peer.send(self.plain(b"wrong", act_as))
            self.scene.wait(2.9, self.peer)
            self.assertEqual(self.peer.hear_all(), [], act_as)
            self.scene.wait(0.2, self.peer)
            self.assertEqual([each.code for each in self.peer.hear_all()], [535], act_as)
            self.assertEqual(self.guard.heard, [("failed", "192.0.2.1", USER)], act_as)

    def test_to_act_as_somebody_else_is_refused_and_counted_as_nothing(self) -> None:
        for act_as in (b"root", b"\xff"):
            self.peer.send(self.plain(PASSWORD, act_as))
            reply = self.peer.hear()
            self.assertEqual((reply.code, reply.enhanced), (535, "5.7.8"))
        self.assertEqual(self.guard.heard, [])
        self.assertEqual(self.scene.world.logouts, 2)
        self.peer.send(self.plain(PASSWORD, USER.upper()))
        self.assertEqual(self.peer.hear().code, 235)

    def test_who_is_refused_is_asked_nothing(self) -> None:
        self.guard.refuses.add(None)
        self.assertEqual(self.peer.say("AUTH PLAIN").code, 454)

    def test_a_name_that_is_refused_hears_the_same_whatever_the_password(self) -> None:
        self.guard.refuses.add(USER)
        self.scene.world.calls.clear()
        for password in (PASSWORD, b"wrong"):
            self.peer.send(self.plain(password))
            self.assertEqual(self.peer.hear(), BUSY)
        self.assertEqual((self.guard.heard, self.scene.world.calls), ([], []))

    def test_a_peer_that_leaves_while_it_waits_has_failed_all_the_same(self) -> None:
        self.peer.send(self.plain(b"wrong"))
        self.peer.lose()
        self.assertEqual(self.guard.heard, [("failed", "192.0.2.1", USER)])
        self.assertEqual(self.scene.clock.getDelayedCalls(), [])

    def test_malformed_responses_are_no_guesses(self) -> None:
        for line in ("AUTH PLAIN AAA=", "AUTH PLAIN !"):
            self.assertEqual(self.peer.say(line).code, 501)
        self.assertEqual(self.guard.heard, [])
