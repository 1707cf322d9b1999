"""Logins with tokens: claims, signatures, keys that change, and issuers that are asked."""

import base64
import hmac
import json
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from postroom.credentials import BadToken, NotThatAccount, TokenRefused
from postroom.errors import Refusal
from postroom.interfaces import IProvenUser, ITokenReader
from postroom.logins.introspection import IntrospectedTokens
from postroom.logins.signed_tokens import IssuerKeys, SignedTokens, parse_keys
from postroom.logins.tokens import TokenChecker, TokenSettings

NOW = 1_800_000_000.0
SETTINGS = TokenSettings("https://login.example", ("mail",), "smtp", "email")
GOOD = {
    "iss": "https://login.example",
    "aud": "mail",
    "exp": NOW + 60,
    "scope": "openid smtp",
    "email": "joe@a.example",
}
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
KEYS = {"r": (RSA, "RS256"), "e": (EC, "ES256"), "d": (ED, "EdDSA")}


def key_set(*names: str) -> bytes:
    """Publish the public halves of some of the keys."""
    items = []
    for name in names:
        key, algorithm = KEYS[name]
        make: Any = jwt.get_algorithm_by_name(algorithm)
        item = json.loads(make.to_jwk(key.public_key()))
        items.append({**item, "kid": name, "alg": algorithm, "use": "sig"})
    return json.dumps({"keys": items}).encode()


def signed(name: str, claims: Mapping[str, Any] = GOOD, **header: Any) -> str:
    key, algorithm = KEYS[name]
    return jwt.encode(dict(claims), key, algorithm, headers={"kid": name, **header})


class Token:
    """What a mechanism makes of a client's response."""

    def __init__(self, token: str, username: bytes = b"") -> None:
        self.token, self.username = token.encode(), username


@implementer(ICredentialsChecker)
class Accounts:
    """Knows two accounts."""

    credentialInterfaces = (IProvenUser,)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes]:
        name = credentials.username.lower()
        if name in (b"joe", b"sales@a.example", b"joe@a.example"):
            return succeed(b"joe@a.example")
        return succeed(name) if name == b"zoe@a.example" else fail(UnauthorizedLogin())


@implementer(ITokenReader)
class Reader:
    """Believes every token, and reads its claims in JSON."""

    def claims(self, token: str) -> Deferred[Mapping[str, Any]]:
        return succeed(json.loads(token))


class ClaimTests(SynchronousTestCase):
    def ask(self, username: bytes = b"", **changes: Any) -> Deferred[Any]:
        claims = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
        checker = TokenChecker(SETTINGS, Reader(), Accounts(), lambda: NOW)
        verifyObject(ICredentialsChecker, checker)
        return checker.requestAvatarId(Token(json.dumps(claims), username))

    def test_a_token_that_claims_all_that_it_has_to_logs_in(self) -> None:
        for changes in (
            {},
            {"aud": ["others", "mail"]},
            {"scope": None, "scp": ["smtp"]},
            {"nbf": NOW},
            {"exp": NOW - 29},
            {"email": "Joe@A.example"},
            {"email_verified": True},
        ):
            self.assertEqual(self.successResultOf(self.ask(**changes)), b"joe@a.example", changes)

    def test_any_other_is_refused_in_the_same_words(self) -> None:
        said = set()
        for changes in (
            {"iss": "https://evil.example"},
            {"iss": None},
            {"aud": "others"},
            {"aud": None},
            {"aud": [7]},
            {"exp": NOW - 31},
            {"exp": None},
            {"exp": "tomorrow"},
            {"nbf": NOW + 31},
            {"nbf": "x"},
            {"scope": "openid"},
            {"scope": None},
            {"scope": 7},
            {"email": None},
            {"email": ["joe@a.example"]},
            {"email": ""},
            {"email_verified": False},
        ):
            error = self.failureResultOf(self.ask(**changes), TokenRefused).value
            said.add(error.challenge)
        self.assertEqual(
            [json.loads(each) for each in said],
            [{"status": "invalid_token", "schemes": "bearer", "scope": "smtp"}],
        )

    def test_the_client_may_say_whom_it_is_for(self) -> None:
        for name in (b"JOE@a.example", b"joe", b"sales@a.example", b"sales"):
            self.assertEqual(self.successResultOf(self.ask(name)), b"joe@a.example")

    def test_another_user_is_refused_but_is_no_guess(self) -> None:
        for name in (b"zoe@a.example", b"nobody@a.example", b"\xff"):
            error = self.failureResultOf(self.ask(name), TokenRefused).value
            self.assertIsInstance(error, NotThatAccount)
            error = self.failureResultOf(self.ask(name, exp=1), TokenRefused).value
            self.assertNotIsInstance(error, NotThatAccount)

    def test_a_good_token_of_somebody_without_account_is_no_login(self) -> None:
        self.failureResultOf(self.ask(email="nobody@a.example"), UnauthorizedLogin)

    def test_a_reader_in_trouble_is_454(self) -> None:
        checker = TokenChecker(SETTINGS, Reader(), Accounts(), lambda: NOW)
        login = checker.requestAvatarId(Token("no JSON"))
        self.assertEqual(self.failureResultOf(login, Refusal).value.reply.code, 454)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class SignatureTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.fetched = 0
        self.published: bytes | Exception = key_set(*KEYS)
        self.reader = SignedTokens(IssuerKeys(self.fetch, self.clock, 3600))
        verifyObject(ITokenReader, self.reader)

    def fetch(self) -> Deferred[bytes]:
        self.fetched += 1
        if isinstance(self.published, Exception):
            return fail(self.published)
        return succeed(self.published)

    def read(self, token: str) -> Any:
        return self.successResultOf(self.reader.claims(token))

    def refuse(self, token: str) -> str:
        return self.failureResultOf(self.reader.claims(token), BadToken).getErrorMessage()

    def test_each_kind_of_key(self) -> None:
        for name in KEYS:
            self.assertEqual(self.read(signed(name))["email"], "joe@a.example")
        self.assertEqual(self.fetched, 1)

    def test_claims_are_not_looked_at_here(self) -> None:
        self.assertEqual(self.read(signed("r", {"exp": 1, "aud": "x"}))["exp"], 1)

    def test_a_signature_of_another_is_wrong(self) -> None:
        other = rsa.generate_private_key(65537, 2048)
        forged = jwt.encode(GOOD, other, "RS256", headers={"kid": "r"})
        self.assertIn("signature", self.refuse(forged))
        head, body, _ = signed("r").split(".")
        self.assertIn("signature", self.refuse(f"{head}.{body}."))
        swapped = base64.urlsafe_b64encode(b'{"email":"root@a.example"}').decode().rstrip("=")
        self.assertIn("signature", self.refuse(f"{head}.{swapped}.{_}"))

    def test_no_algorithm_but_the_keys_own(self) -> None:
        none = jwt.encode(GOOD, None, "none", headers={"kid": "r"})
        self.assertIn("signature", self.refuse(none))
        public = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        _, body, _ = signed("r").split(".")
        head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"r"}').decode().rstrip("=")
        mac = hmac.digest(public, f"{head}.{body}".encode(), "sha256")
        confused = f"{head}.{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
        self.assertIn("signature", self.refuse(confused))
        other = jwt.encode(GOOD, RSA, "RS512", headers={"kid": "r"})
        self.assertIn("signature", self.refuse(other))

    def test_what_is_no_token(self) -> None:
        for token in ("", "x", "a.b.c", "....", signed("r")[:-9], "e30.e30.e30"):
            self.refuse(token)

    def test_a_token_may_name_no_key_if_there_is_only_one(self) -> None:
        unnamed = jwt.encode(GOOD, RSA, "RS256")
        self.assertIn("no key", self.refuse(unnamed))
        self.published = key_set("r")
        self.clock.advance(3601)
        self.assertEqual(self.read(unnamed)["aud"], "mail")

    def test_a_new_key_is_found_and_made_up_ones_cost_a_request_a_minute(self) -> None:
        self.published = key_set("r")
        self.read(signed("r"))
        self.published = key_set("r", "e")
        for _ in range(5):
            self.refuse(signed("e"))
        self.assertEqual(self.fetched, 1)
        self.clock.advance(61)
        self.read(signed("e"))
        for number in range(5):
            self.refuse(signed("e", kid=f"made up {number}"))
        self.assertEqual(self.fetched, 2)

    def test_while_the_keys_cannot_be_had_the_old_ones_serve(self) -> None:
        self.read(signed("r"))
        self.published = OSError("down")
        self.clock.advance(3601)
        for _ in range(3):
            self.read(signed("r"))
        self.assertEqual(self.fetched, 2)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_without_any_keys_no_token_is_wrong_and_the_issuer_is_not_flooded(self) -> None:
        self.published = OSError("down")
        for _ in range(3):
            self.failureResultOf(self.reader.claims(signed("r")), OSError)
        self.assertEqual(self.fetched, 1)
        self.flushLoggedErrors(OSError)
        self.published = key_set("r")
        self.clock.advance(11)
        self.read(signed("r"))

    def test_those_who_come_at_once_share_one_request(self) -> None:
        waiting: Deferred[bytes] = Deferred()
        self.patch(self.reader._keys, "_fetch", lambda: waiting)
        logins = [self.reader.claims(signed("r")) for _ in range(3)]
        waiting.callback(key_set("r"))
        for login in logins:
            self.successResultOf(login)

    def test_key_sets_that_are_none(self) -> None:
        secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "s", "alg": "HS256"}
        for document in (b"", b"[]", b"{}", b'{"keys": 7}', b'{"keys": []}', b'{"keys": [7, {}]}'):
            self.assertRaises(ValueError, parse_keys, document)
        self.assertRaises(ValueError, parse_keys, json.dumps({"keys": [secret]}).encode())


class IntrospectionTests(SynchronousTestCase):
    def claims(self, answer: object) -> Deferred[Any]:
        asked: list[Mapping[str, str]] = []

        def ask(form: Mapping[str, str]) -> Deferred[bytes]:
            asked.append(form)
            if isinstance(answer, Exception):
                return fail(answer)
            return succeed(json.dumps(answer).encode())

        reader = IntrospectedTokens(ask)
        verifyObject(ITokenReader, reader)
        result = reader.claims("opaque")
        self.assertEqual(asked, [{"token": "opaque", "token_type_hint": "access_token"}])
        return result

    def test_an_active_token_claims_what_the_issuer_says(self) -> None:
        answer = {**GOOD, "active": True}
        self.assertEqual(self.successResultOf(self.claims(answer)), answer)

    def test_any_other_is_wrong(self) -> None:
        for answer in ({"active": False}, {}, {"active": "true"}, {**GOOD}):
            self.failureResultOf(self.claims(answer), BadToken)

    def test_trouble_is_no_wrong_token(self) -> None:
        for answer in (OSError("down"), [], "x"):
            failure = self.failureResultOf(self.claims(answer))
            self.assertFalse(failure.check(BadToken))
