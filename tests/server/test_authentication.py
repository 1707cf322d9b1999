"""Tests for `postroom.server.authentication`; the dialogues are in ``tests/transcripts``."""

from base64 import b64encode
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import IRealm, Portal
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import classImplements, implementer

from postroom.envelope import SessionFacts
from postroom.errors import Refusal
from postroom.interfaces import IIdentified, ITransactionDelivery
from postroom.server.authentication import Authentication, Exchange, Login
from postroom.server.sasl import MECHANISMS
from postroom.wire.replies import Reply


def encode(octets: bytes) -> bytes:
    return b64encode(octets)


def exchange_of(mechanism: str) -> Exchange:
    """Begin an exchange whose credentials are what it ends in."""
    give: Any = lambda credentials: credentials  # noqa: E731
    return Exchange(mechanism, give)


class ExchangeTests(SynchronousTestCase):
    """Tests for `Exchange`."""

    def refused(self, mechanism: str, response: bytes, code: int, enhanced: str) -> None:
        for initial in (True, False):
            exchange = exchange_of(mechanism)
            if not initial:
                exchange.begin(None)
            elif not response:
                continue
            take = exchange.begin if initial else exchange.take
            reply = self.assertRaises(Refusal, take, response).reply
            self.assertEqual((reply.code, reply.enhanced), (code, enhanced), response)

    def credentials(self, outcome: object) -> tuple[bytes, bytes]:
        assert isinstance(outcome, UsernamePassword)
        return outcome.username, outcome.password

    def test_plain(self) -> None:
        for response in (b"\0user\0pass word", b"user\0user\0pass word"):
            self.assertEqual(
                self.credentials(exchange_of("PLAIN").begin(encode(response))),
                (b"user", b"pass word"),
            )
            exchange = exchange_of("PLAIN")
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

    def test_nobody_acts_for_another(self) -> None:
        self.refused("PLAIN", encode(b"root\0user\0pass"), 535, "5.7.8")

    def test_login(self) -> None:
        exchange = exchange_of("LOGIN")
        self.assertEqual(exchange.begin(None), Reply(334, ("VXNlcm5hbWU6",)))
        self.assertEqual(exchange.take(encode(b"user")), Reply(334, ("UGFzc3dvcmQ6",)))
        self.assertEqual(self.credentials(exchange.take(encode(b"pass"))), (b"user", b"pass"))

    def test_login_with_an_initial_response(self) -> None:
        exchange = exchange_of("LOGIN")
        self.assertEqual(exchange.begin(encode(b"user")), Reply(334, ("UGFzc3dvcmQ6",)))
        self.assertEqual(self.credentials(exchange.take(encode(b"pass"))), (b"user", b"pass"))

    def test_login_that_is_none(self) -> None:
        for response in (b"", b"a\0b", b"\0"):
            self.refused("LOGIN", encode(response), 501, "5.5.2")

    def test_an_empty_initial_response_is_written_as_one_equals_sign(self) -> None:
        reply = self.assertRaises(Refusal, exchange_of("PLAIN").begin, b"=").reply
        self.assertIn("Malformed", reply.text[0])
        exchange = exchange_of("PLAIN")
        exchange.begin(None)
        reply = self.assertRaises(Refusal, exchange.take, b"=").reply
        self.assertIn("base64", reply.text[0])

    def test_a_star_cancels_only_as_a_response(self) -> None:
        for mechanism in MECHANISMS:
            exchange = exchange_of(mechanism)
            exchange.begin(None)
            reply = self.assertRaises(Refusal, exchange.take, b"*").reply
            self.assertEqual((reply.code, reply.enhanced), (501, "5.7.0"))
            reply = self.assertRaises(Refusal, exchange_of(mechanism).begin, b"*").reply
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

    @given(st.sampled_from(sorted(MECHANISMS)), st.lists(st.binary(max_size=40), max_size=4))
    def test_any_responses_are_credentials_a_challenge_or_a_refusal(
        self, mechanism: str, responses: list[bytes]
    ) -> None:
        exchange = exchange_of(mechanism)
        outcome: object = exchange.begin(None)
        for response in responses:
            if isinstance(outcome, UsernamePassword):
                return
            assert isinstance(outcome, Reply)
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
        plain = exchange_of("PLAIN").begin(encode(b"\0" + user + b"\0" + password))
        self.assertEqual(self.credentials(plain), (user, password))
        login = exchange_of("LOGIN")
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
        authentication = Authentication(Portal(Realm(avatar), [checker]), ["PLAIN"])
        exchange = authentication.exchange("PLAIN", SessionFacts("mx", "192.0.2.1", 1))
        outcome: Any = exchange.begin(encode(b"\0" + username + b"\0secret"))
        login = self.successResultOf(outcome)
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
