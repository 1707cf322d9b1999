"""Tests for `postroom.server.sasl`; the dialogues are in ``tests/transcripts``."""

from base64 import b64encode

from hypothesis import given
from hypothesis import strategies as st
from twisted.cred.credentials import UsernamePassword
from twisted.trial.unittest import SynchronousTestCase

from postroom.errors import Refusal
from postroom.server.sasl import MECHANISMS, Exchange
from postroom.wire.replies import Reply


def encode(octets: bytes) -> bytes:
    return b64encode(octets)


class ExchangeTests(SynchronousTestCase):
    """Tests for `Exchange`."""

    def refused(self, mechanism: str, response: bytes, code: int, enhanced: str) -> None:
        for initial in (True, False):
            exchange = Exchange(mechanism)
            if not initial:
                exchange.begin(None)
            elif not response:
                continue
            take = exchange.begin if initial else exchange.take
            reply = self.assertRaises(Refusal, take, response).reply
            self.assertEqual((reply.code, reply.enhanced), (code, enhanced), response)

    def credentials(self, outcome: Reply | UsernamePassword) -> tuple[bytes, bytes]:
        assert isinstance(outcome, UsernamePassword)
        return outcome.username, outcome.password

    def test_plain(self) -> None:
        for response in (b"\0user\0pass word", b"user\0user\0pass word"):
            self.assertEqual(
                self.credentials(Exchange("PLAIN").begin(encode(response))), (b"user", b"pass word")
            )
            exchange = Exchange("PLAIN")
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
        exchange = Exchange("LOGIN")
        self.assertEqual(exchange.begin(None), Reply(334, ("VXNlcm5hbWU6",)))
        self.assertEqual(exchange.take(encode(b"user")), Reply(334, ("UGFzc3dvcmQ6",)))
        self.assertEqual(self.credentials(exchange.take(encode(b"pass"))), (b"user", b"pass"))

    def test_login_with_an_initial_response(self) -> None:
        exchange = Exchange("LOGIN")
        self.assertEqual(exchange.begin(encode(b"user")), Reply(334, ("UGFzc3dvcmQ6",)))
        self.assertEqual(self.credentials(exchange.take(encode(b"pass"))), (b"user", b"pass"))

    def test_login_that_is_none(self) -> None:
        for response in (b"", b"a\0b", b"\0"):
            self.refused("LOGIN", encode(response), 501, "5.5.2")

    def test_an_empty_initial_response_is_written_as_one_equals_sign(self) -> None:
        reply = self.assertRaises(Refusal, Exchange("PLAIN").begin, b"=").reply
        self.assertIn("Malformed", reply.text[0])
        exchange = Exchange("PLAIN")
        exchange.begin(None)
        reply = self.assertRaises(Refusal, exchange.take, b"=").reply
        self.assertIn("base64", reply.text[0])

    def test_a_star_cancels_only_as_a_response(self) -> None:
        for mechanism in MECHANISMS:
            exchange = Exchange(mechanism)
            exchange.begin(None)
            reply = self.assertRaises(Refusal, exchange.take, b"*").reply
            self.assertEqual((reply.code, reply.enhanced), (501, "5.7.0"))
            reply = self.assertRaises(Refusal, Exchange(mechanism).begin, b"*").reply
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
        exchange = Exchange(mechanism)
        outcome = exchange.begin(None)
        for response in responses:
            if isinstance(outcome, UsernamePassword):
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
        plain = Exchange("PLAIN").begin(encode(b"\0" + user + b"\0" + password))
        self.assertEqual(self.credentials(plain), (user, password))
        login = Exchange("LOGIN")
        login.begin(encode(user))
        self.assertEqual(self.credentials(login.take(encode(password))), (user, password))
