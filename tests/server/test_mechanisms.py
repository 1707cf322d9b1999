"""The SASL mechanisms, each with a client written after its RFC, against a portal that knows much.

What a name or a password is worth is the checker's to say (`tests.logins.test_checker`); here a
small one knows all forms of one password.
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient, ScramMechanism
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.mail.interfaces import IChallengeResponse
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from postroom.credentials import Knowledge, Offer, SASLSession, ScramKeys, TokenRefused
from postroom.envelope import SessionFacts, TLSFacts
from postroom.errors import Refusal, UserError
from postroom.interfaces import IBearerToken, ILoginSecrets, IProvenUser, ISASLMechanism
from postroom.later import now_or_later
from postroom.server.authentication import (
    REJECTED,
    SERVER_BEGINS,
    UNAVAILABLE,
    Authentication,
    Login,
    LoginParts,
)
from postroom.server.sasl.available import OURS, mechanisms_named
from postroom.server.sasl.mechanism import MALFORMED
from postroom.server.sasl.scram import ScramSteps
from postroom.wire.replies import Reply
from tests.server.scene import HOSTNAME, PASSWORD, USER, Realm, World

SALT, ITERATIONS = b"salt" * 4, 4096
_, STORED_KEY, SERVER_KEY, _ = ScramMechanism("SCRAM-SHA-256").make_auth_info(
    PASSWORD.decode(), ITERATIONS, SALT
)
BINDING = {"tls-exporter": b"e" * 32, "tls-server-end-point": b"s" * 32}
JSON = b'{"status":"invalid_token"}'
OTHER = b"other@here.example"
ACCOUNTS = {USER: USER, b"user": USER, b"sales@here.example": USER, OTHER: OTHER}
"""Whose account a name is of."""


@implementer(ICredentialsChecker, ILoginSecrets)
class Checker:
    """Knows two users by all their names, and the keys and the token of one."""

    credentialInterfaces = (IUsernamePassword, IUsernameHashedPassword, IProvenUser, IBearerToken)
    knows = frozenset(Knowledge)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes]:
        if IBearerToken.providedBy(credentials):
            if credentials.token != b"good":
                raise TokenRefused(JSON)
            return succeed(USER)
        proven = IProvenUser.providedBy(credentials) or credentials.checkPassword(PASSWORD)
        account = ACCOUNTS.get(credentials.username.lower())
        if account is None or not proven:
            raise UnauthorizedLogin()
        return succeed(account)

    def scram_keys(self, username: bytes) -> Deferred[ScramKeys]:
        if username == USER:
            return succeed(ScramKeys(SALT, ITERATIONS, STORED_KEY, SERVER_KEY, USER.decode()))
        return succeed(ScramKeys(b"n" * 16, ITERATIONS, b"n" * 32, b"n" * 32))


def facts(*, tls: bool = True, name: str | None = None) -> SessionFacts:
    channel = TLSFacts("TLSv1.3", "x", 128, name is not None, name) if tls else None
    return SessionFacts("submission", "192.0.2.1", 1, b"c", True, channel)


class MechanismTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.checker = Checker()
        portal = Portal(Realm(World()), [self.checker])
        self.authentication = Authentication(
            Clock(),
            portal,
            mechanisms_named(tuple(OURS)),
            HOSTNAME,
            LoginParts(self.checker, tokens=True),
        )

    def begin(self, name: str, session: SessionFacts | None = None) -> Any:
        self.patch(
            __import__("postroom.server.authentication", fromlist=["x"]),
            "_binding",
            lambda _, kind: BINDING.get(kind),
        )
        return self.authentication.exchange(name, session or facts(), None)

    def send(self, exchange: Any, octets: bytes | None, first: bool = False) -> Any:
        """Send a response; gives a challenge, decoded, a login, or the reply that refuses."""
        line = None if octets is None else b64encode(octets)
        try:
            outcome = now_or_later(exchange.start(line) if first else exchange.respond(line))
        except Refusal as refusal:
            return refusal.reply
        if isinstance(outcome, Reply):
            self.assertEqual(outcome.code, 334)
            return b64decode(outcome.text[0])
        return outcome

    def assert_login(self, outcome: object) -> None:
        assert isinstance(outcome, Login), outcome
        self.assertEqual(outcome.identity, USER.decode())


class OfferTests(MechanismTestCase):
    def test_each_is_offered_just_where_it_can_work(self) -> None:
        everything, nothing = frozenset(Knowledge), frozenset[Knowledge]()
        clear = ["SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"]
        for offer, names in (
            (Offer(True, True, everything, True), list(OURS)),
            (Offer(False, False, everything, True), clear),
            (Offer(True, False, frozenset({Knowledge.CHECKABLE})), ["PLAIN", "LOGIN"]),
            (Offer(True, True, nothing), ["EXTERNAL"]),
            (Offer(True, False, nothing, True), ["OAUTHBEARER", "XOAUTH2"]),
            (
                Offer(True, False, frozenset({Knowledge.SCRAM})),
                ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"],
            ),
            (Offer(True, False, frozenset({Knowledge.CLEAR_TEXT})), ["CRAM-MD5"]),
        ):
            offered = [name for name, each in OURS.items() if each.is_offered(offer)]
            self.assertEqual(offered, names, offer)

    def test_only_what_is_offered_can_be_begun(self) -> None:
        for name, session in (
            ("EXTERNAL", facts()),
            ("SCRAM-SHA-256-PLUS", facts(tls=False)),
            ("GSSAPI", facts()),
        ):
            refusal = self.assertRaises(Refusal, self.begin, name, session)
            self.assertEqual(refusal.reply.code, 504)

    def test_they_provide_their_interfaces(self) -> None:
        session = SASLSession(facts(), HOSTNAME, (), None, BINDING.get)
        for mechanism in OURS.values():
            verifyObject(ISASLMechanism, mechanism)
            verifyObject(IChallengeResponse, mechanism.steps(session))

    def test_a_name_that_none_has_is_an_error_that_names_those_there_are(self) -> None:
        error = self.assertRaises(UserError, mechanisms_named, ("PLAIN", "SCRAM-SHA-1"))
        self.assertIn("no mechanism 'SCRAM-SHA-1'; there are SCRAM-SHA-256-PLUS", str(error))


class CramTests(MechanismTestCase):
    """RFC 2195."""

    def answer(self, challenge: bytes, name: bytes, password: bytes) -> bytes:
        return name + b" " + hmac.new(password, challenge, "md5").hexdigest().encode()

    def test_login(self) -> None:
        exchange = self.begin("CRAM-MD5")
        challenge = self.send(exchange, None, first=True)
        self.assertRegex(challenge, rb"\A<[0-9a-f]+\.[0-9]+@mx\.here\.example>\Z")
        self.assert_login(self.send(exchange, self.answer(challenge, USER, PASSWORD)))

    def test_a_challenge_never_comes_again(self) -> None:
        challenges = {self.send(self.begin("CRAM-MD5"), None, first=True) for _ in range(9)}
        self.assertEqual(len(challenges), 9)

    def test_wrong_and_malformed(self) -> None:
        for make, reply in (
            (lambda c: self.answer(c, USER, b"wrong"), REJECTED),
            (lambda c: self.answer(c, b"nobody", PASSWORD), REJECTED),
            (lambda c: self.answer(b"<other>", USER, PASSWORD), REJECTED),
            (lambda c: b"", MALFORMED),
            (lambda c: USER, MALFORMED),
            (lambda c: USER + b" short", MALFORMED),
            (lambda c: b" " + b"0" * 32, MALFORMED),
            (lambda c: USER + b"\0 " + b"0" * 32, MALFORMED),
        ):
            exchange = self.begin("CRAM-MD5")
            challenge = self.send(exchange, None, first=True)
            self.assertIs(self.send(exchange, make(challenge)), reply)

    def test_the_client_may_not_speak_first(self) -> None:
        self.assertIs(self.send(self.begin("CRAM-MD5"), b"x", first=True), SERVER_BEGINS)


class ScramTests(MechanismTestCase):
    """RFC 5802 and RFC 7677, with scramp's client where it can, by hand where it cannot."""

    def test_login_with_scramps_client(self) -> None:
        for binding in (None, ("tls-server-end-point", BINDING["tls-server-end-point"])):
            name = "SCRAM-SHA-256" if binding is None else "SCRAM-SHA-256-PLUS"
            client = ScramClient([name], USER.decode(), PASSWORD.decode(), channel_binding=binding)
            exchange = self.begin(name)
            first = self.send(exchange, client.get_client_first().encode(), first=True)
            client.set_server_first(first.decode())
            final = self.send(exchange, client.get_client_final().encode())
            client.set_server_final(final.decode())  # it raises unless we know the keys
            self.assert_login(self.send(exchange, b""))

    def dialogue(
        self,
        header: bytes,
        bound: bytes = b"",
        *,
        name: str = "SCRAM-SHA-256",
        user: bytes = USER,
        password: bytes = PASSWORD,
        repeated: bytes | None = None,
    ) -> Any:
        """Log in by hand; gives the answer to the client's proof, or the first that refuses."""
        self.exchange = self.begin(name)
        bare = b"n=" + user + b",r=nonce"
        first = self.send(self.exchange, header + bare, first=True)
        if not isinstance(first, bytes):
            return first
        nonce, salt, count = (part[2:] for part in first.split(b","))
        self.assertTrue(nonce.startswith(b"nonce") and len(nonce) > 20)
        salted = hashlib.pbkdf2_hmac("sha256", password, b64decode(salt), int(count))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        again = header if repeated is None else repeated
        without = b"c=" + b64encode(again + bound) + b",r=" + nonce
        message = b",".join((bare, first, without))
        signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self.expected = b"v=" + b64encode(
            hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
        )
        return self.send(self.exchange, without + b",p=" + b64encode(proof))

    def test_login_by_hand(self) -> None:
        for header in (b"n,,", b"n,a=" + USER + b","):
            self.assertEqual(self.dialogue(header), self.expected)
            self.assert_login(self.send(self.exchange, b""))

    def test_login_bound_to_the_channel(self) -> None:
        for kind, data in BINDING.items():
            header = b"p=" + kind.encode() + b",,"
            answer = self.dialogue(header, data, name="SCRAM-SHA-256-PLUS")
            self.assertEqual(answer, self.expected)
            self.assert_login(self.send(self.exchange, b""))

    def test_whoever_is_in_between_is_noticed(self) -> None:
        plus = "SCRAM-SHA-256-PLUS"
        exporter = b"p=tls-exporter,,"
        for header, bound, name in (
            (exporter, b"x" * 32, plus),  # another channel
            (exporter, b"", plus),
            (b"p=tls-unique,,", b"u" * 12, plus),  # TLS 1.3 has none
            (b"p=no-such,,", b"", plus),
            (b"n,,", b"", plus),
            (b"y,,", b"", plus),
            (b"y,,", b"", "SCRAM-SHA-256"),  # it was told that we do not offer PLUS
            (exporter, BINDING["tls-exporter"], "SCRAM-SHA-256"),
        ):
            self.assertIs(self.dialogue(header, bound, name=name), REJECTED, (header, name))
        self.assertIs(self.dialogue(b"n,,", repeated=b"y,,"), REJECTED)

    def test_y_is_right_where_plus_is_not_offered(self) -> None:
        clear = self.authentication.exchange("SCRAM-SHA-256", facts(tls=False), None)
        self.patch(self, "begin", lambda name: clear)
        self.assertEqual(self.dialogue(b"y,,"), self.expected)

    def test_wrong_password_and_unknown_name_go_the_same_way(self) -> None:
        self.assertIs(self.dialogue(b"n,,", password=b"wrong"), REJECTED)
        self.assertIs(self.dialogue(b"n,,", user=b"nobody@here.example"), REJECTED)

    def test_a_name_may_have_commas_and_equals_signs(self) -> None:
        steps = ScramSteps(
            SASLSession(facts(), HOSTNAME, (), self.checker.scram_keys, BINDING.get), False
        )
        self.successResultOf(steps.setResponse(b"n,,n=a=2Cb=3Dc,r=nonce"))  # type: ignore[arg-type]
        self.assertEqual(steps.username, b"a,b=c")

    def test_whom_the_client_acts_as_is_compared_after_its_proof(self) -> None:
        for name in (b"user", USER.upper(), b"sales@here.example"):
            self.assertEqual(self.dialogue(b"n,a=" + name + b","), self.expected, name)
            self.assert_login(self.send(self.exchange, b""))
        for name in (OTHER, b"root", b"a=2Cb"):
            self.assertEqual(self.dialogue(b"n,a=" + name + b","), self.expected, name)
            self.assertIs(self.send(self.exchange, b""), REJECTED, name)
            answer = self.dialogue(b"n,a=" + name + b",", password=b"wrong")
            self.assertIs(answer, REJECTED, name)

    def test_first_messages_that_are_none(self) -> None:
        for message in (
            *(b"", b"n,,", b"n,,n=user", b"n,,r=nonce,n=user", b"n,,n=,r=nonce", b"x,,n=u,r=n"),
            *(b"n,,m=ext,n=u,r=n", b"n,,n=a=2D,r=n", b"n,,n=a=,r=n", b"n,,n=u,r=n\0", b"n,n=u,r=n"),
            *(b"n,,n=u,r=", b"n,,n=\xff,r=n", b"n,,n=u,r=n,r=n", b"p=,,n=u,r=n", b"n,a=,n=u,r=n"),
        ):
            answer = self.send(self.begin("SCRAM-SHA-256"), message, first=True)
            self.assertIs(answer, MALFORMED, message)

    def test_final_messages_that_are_none(self) -> None:
        for message in (b"", b"c=biws", b"c=biws,r=nonce,p=AAAA", b"\xff", b"p=AA,c=biws,r=x"):
            exchange = self.begin("SCRAM-SHA-256")
            self.send(exchange, b"n,,n=" + USER + b",r=nonce", first=True)
            self.assertIs(self.send(exchange, message), REJECTED, message)

    def test_nothing_may_follow_our_proof_but_nothing(self) -> None:
        self.dialogue(b"n,,")
        self.assertIs(self.send(self.exchange, b"x"), MALFORMED)

    @given(st.lists(st.binary(max_size=80), min_size=1, max_size=4))
    def test_no_octets_log_in_or_break_it(self, messages: list[bytes]) -> None:
        exchange = self.begin("SCRAM-SHA-256")
        for number, message in enumerate(messages):
            outcome = self.send(exchange, message, first=number == 0)
            if isinstance(outcome, Reply):
                self.assertIn(outcome, (REJECTED, MALFORMED))
                return
            self.assertIsInstance(outcome, bytes)


class PlainTests(MechanismTestCase):
    """RFC 4616; what it refuses is in `tests.server.test_authentication`."""

    def log_in(self, act_as: bytes, name: bytes = USER, password: bytes = PASSWORD) -> object:
        message = b"\0".join((act_as, name, password))
        return self.send(self.begin("PLAIN"), message, first=True)

    def test_an_account_may_be_named_by_any_of_its_names(self) -> None:
        for act_as in (b"", USER, b"USER", b"User@Here.Example", b"sales@here.example", b"Sales"):
            for name in (USER, b"user", b"sales@here.example"):
                self.assertIsInstance(self.log_in(act_as, name), Login)

    def test_nobody_acts_for_another(self) -> None:
        for act_as in (OTHER, b"root", b"\xff", b"x" * 5000):
            self.assertIs(self.log_in(act_as), REJECTED)

    def test_without_the_password_no_second_name_is_looked_up(self) -> None:
        asked: list[bytes] = []
        ask = self.checker.requestAvatarId

        def remember(credentials: Any) -> Deferred[bytes]:
            asked.append(credentials.username)
            return ask(credentials)

        self.patch(self.checker, "requestAvatarId", remember)
        for act_as in (b"sales@here.example", OTHER, b"root"):
            self.assertIs(self.log_in(act_as, password=b"wrong"), REJECTED)
        self.assertEqual(asked, [USER] * 3)

    def test_a_name_that_cannot_be_looked_up_now_is_454(self) -> None:
        ask = self.checker.requestAvatarId

        def fail(credentials: Any) -> Deferred[bytes]:
            if IProvenUser.providedBy(credentials):
                raise Refusal(UNAVAILABLE)
            return ask(credentials)

        self.patch(self.checker, "requestAvatarId", fail)
        self.assertIs(self.log_in(b"sales@here.example"), UNAVAILABLE)
        self.assert_login(self.log_in(USER.upper()))


class ExternalTests(MechanismTestCase):
    """RFC 4422 appendix A."""

    def test_login(self) -> None:
        for identity in (b"", USER, USER.upper(), b"user", b"sales@here.example"):
            exchange = self.begin("EXTERNAL", facts(name=USER.decode()))
            self.assert_login(self.send(exchange, identity, first=True))
        exchange = self.begin("EXTERNAL", facts(name=USER.decode()))
        self.assertEqual(self.send(exchange, None, first=True), b"")
        self.assert_login(self.send(exchange, b""))

    def test_a_certificate_of_another_and_acting_for_another(self) -> None:
        exchange = self.begin("EXTERNAL", facts(name="nobody@here.example"))
        self.assertIs(self.send(exchange, b"", first=True), REJECTED)
        for identity in (b"root", OTHER, b"\xff"):
            exchange = self.begin("EXTERNAL", facts(name=USER.decode()))
            self.assertIs(self.send(exchange, identity, first=True), REJECTED)
        exchange = self.begin("EXTERNAL", facts(name=USER.decode()))
        self.assertIs(self.send(exchange, b"\0", first=True), MALFORMED)


class BearerTests(MechanismTestCase):
    """RFC 7628, and Google's description of XOAUTH2."""

    GOOD = {
        "OAUTHBEARER": (
            b"n,a=user@here.example,\1host=mx.here.example\1port=587\1auth=Bearer good\1\1",
            b"n,,\1auth=Bearer good\1\1",
            b"y,a=user@here.example,\1auth=bearer good\1\1",
        ),
        "XOAUTH2": (b"user=user@here.example\1auth=Bearer good\1\1",),
    }

    def test_login(self) -> None:
        for name, messages in self.GOOD.items():
            for message in messages:
                login = self.send(self.begin(name), message, first=True)
                self.assertIsInstance(login, Login)

    def test_a_wrong_token_hears_why_and_then_535(self) -> None:
        for name, messages in self.GOOD.items():
            for last in (b"\1", b"", b"anything"):
                exchange = self.begin(name)
                wrong = messages[0].replace(b"good", b"bad")
                self.assertEqual(self.send(exchange, wrong, first=True), JSON)
                self.assertIs(self.send(exchange, last), REJECTED)

    def test_the_last_line_after_a_wrong_token_is_not_read(self) -> None:
        for line in (b"*", b"AQ==", b"no base64!"):
            exchange = self.begin("XOAUTH2")
            self.send(exchange, b"user=x\1auth=Bearer bad\1\1", first=True)
            refusal = self.assertRaises(Refusal, lambda: now_or_later(exchange.respond(line)))  # noqa: B023
            self.assertIs(refusal.reply, REJECTED)

    def test_what_is_malformed(self) -> None:
        for name, messages in (
            (
                "OAUTHBEARER",
                (
                    b"",
                    b"\1",
                    b"n,,\1\1",
                    b"n,a=x\0,\1auth=Bearer good\1\1",
                    b"n,,\1auth=Basic good\1\1",
                    b"n,,\1auth=Bearer good\1",
                ),
            ),
            ("OAUTHBEARER", (b"p=tls-unique,,\1auth=Bearer good\1\1", b"n,,auth=Bearer good\1\1")),
            ("OAUTHBEARER", (b"n,,\1auth=Bearer a b\1\1", b"n,,\1auth=Bearer \xff\1\1")),
            (
                "XOAUTH2",
                (b"", b"user=\1auth=Bearer good\1\1", b"user=x\1\1", self.GOOD["OAUTHBEARER"][1]),
            ),
        ):
            for message in messages:
                answer = self.send(self.begin(name), message, first=True)
                self.assertIs(answer, MALFORMED, message)
