"""Tokens by the settings: what is wrong with them, and issuers behind real HTTP."""

import base64
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks, succeed
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from postroom.credentials import TokenRefused
from postroom.errors import Refusal, UserError
from postroom.service.sections import TokensSection
from postroom.service.settings import load_settings
from postroom.service.tokens import MOST_OCTETS, make_token_checker
from tests.logins.test_tokens import GOOD, Accounts, Token, key_set, signed

COMMON = {"issuer": "https://login.example", "audiences": ["mail"]}


def tokens(**settings: Any) -> TokensSection:
    """Return the settings of ``[auth.tokens]``."""
    overrides = {f"auth.tokens.{name}": value for name, value in settings.items()}
    return load_settings(None, overrides).auth.tokens


class SettingsTests(SynchronousTestCase):
    def make(self, **settings: Any) -> Any:
        section = tokens(**settings)
        return make_token_checker(reactor, section, None, Accounts())  # type: ignore[arg-type]

    def test_without_keys_and_url_there_are_no_tokens(self) -> None:
        self.assertIsNone(self.make(**COMMON))

    def test_what_is_wrong_is_said(self) -> None:
        secret = Path(self.mktemp())
        secret.write_bytes(b"\xff")
        junk = Path(self.mktemp())
        junk.write_text("junk")
        for settings, why in (
            ({"keys": "/nowhere", "introspection_url": "https://x.example"}, "exclude each other"),
            ({"keys": "/nowhere"}, "need issuer and audiences"),
            ({**COMMON, "keys": "/nowhere"}, "auth.tokens.keys /nowhere: cannot be read: No such"),
            ({**COMMON, "keys": str(junk)}, f"auth.tokens.keys {junk.absolute()}: "),
            ({**COMMON, "keys": "http://login.example/"}, "use https"),
            ({"introspection_url": "https://x.example"}, "client_secret_file"),
            (
                {"introspection_url": "ftp://x.example", "client_secret_file": str(junk)},
                "not a URL",
            ),
            (
                {"introspection_url": "https://x.example", "client_secret_file": "/nowhere"},
                "client_secret_file /nowhere: No such",
            ),
            (
                {"introspection_url": "https://x.example", "client_secret_file": str(secret)},
                "not UTF-8",
            ),
            (
                {**COMMON, "keys": "https://x.example", "ca_file": str(junk)},
                "no PEM certificate",
            ),
        ):
            self.assertIn(why, str(self.assertRaises(UserError, self.make, **settings)))

    def test_a_missing_package_is_named(self) -> None:
        present = import_module("treq")
        sys.modules["treq"] = None  # type: ignore[assignment]  # this is how imports are forbidden
        self.addCleanup(sys.modules.__setitem__, "treq", present)
        error = self.assertRaises(UserError, self.make, introspection_url="https://x.example")
        self.assertIn("pip install 'postroom[auth]'", str(error))


class Issuer(Resource):
    """Publishes keys, and says of the token "opaque" that it is active."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[bytes, bytes | None, dict[bytes, list[bytes]]]] = []
        self.keys = key_set("r")

    def render_GET(self, request: Any) -> bytes:
        if request.path == b"/moved":
            request.redirect(b"/keys")
            return b""
        return self.keys

    def render_POST(self, request: Any) -> bytes:
        self.asked.append((request.path, request.getHeader("authorization"), request.args))
        active = request.args[b"token"] == [b"opaque"]
        return json.dumps({**GOOD, "exp": 1e12, "active": active}).encode()


class HTTPTests(TestCase):
    def setUp(self) -> None:
        self.issuer = Issuer()
        port: Any = reactor.listenTCP(0, Site(self.issuer), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}"

    def make(self, **settings: Any) -> Any:
        section = tokens(**COMMON, **settings)
        return make_token_checker(reactor, section, None, Accounts())  # type: ignore[arg-type]

    @inlineCallbacks
    def test_keys_come_from_a_url(self) -> Any:
        checker = self.make(keys=f"{self.url}/keys")
        token = signed("r", {**GOOD, "exp": 1e12})
        self.assertEqual((yield checker.requestAvatarId(Token(token))), b"joe@a.example")
        with self.assertRaises(TokenRefused):
            yield checker.requestAvatarId(Token(signed("r", {**GOOD, "exp": 1})))

    @inlineCallbacks
    def test_neither_redirects_nor_endless_documents_are_followed(self) -> Any:
        self.issuer.keys = b" " * (MOST_OCTETS + 1) + key_set("r")
        for path in ("moved", "keys"):
            checker = self.make(keys=f"{self.url}/{path}")
            with self.assertRaises(Refusal):
                yield checker.requestAvatarId(Token(signed("r")))
        self.flushLoggedErrors(OSError, ValueError)

    @inlineCallbacks
    def test_a_token_is_shown_to_its_issuer(self) -> Any:
        secret = Path(self.mktemp())
        secret.write_text("s3cret\n")
        checker = self.make(
            introspection_url=f"{self.url}/introspect",
            client_id="postroom",
            client_secret_file=str(secret.absolute()),
        )
        self.assertEqual((yield checker.requestAvatarId(Token("opaque"))), b"joe@a.example")
        path, authorization, arguments = self.issuer.asked[0]
        self.assertEqual(path, b"/introspect")
        self.assertEqual(authorization, "Basic " + base64.b64encode(b"postroom:s3cret").decode())
        self.assertEqual(arguments[b"token"], [b"opaque"])
        with self.assertRaises(UnauthorizedLogin):
            yield checker.requestAvatarId(Token("other"))

    @inlineCallbacks
    def test_an_issuer_that_is_down_makes_no_token_wrong(self) -> Any:
        checker = self.make(keys="http://127.0.0.1:1/keys")
        with self.assertRaises(Refusal) as caught:
            yield checker.requestAvatarId(Token(signed("r")))
        self.assertEqual(caught.exception.reply.code, 454)
        self.flushLoggedErrors()
        yield succeed(None)
