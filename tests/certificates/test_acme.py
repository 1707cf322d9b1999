"""Orders that fail, as a person is told of them; those that do not are in tests/interop."""

import socket
from pathlib import Path
from typing import Any

import requests
from acme import errors, messages
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from postroom.certificates.acme import Order
from postroom.certificates.challenges import HTTP_PATH, Challenges, http_site
from postroom.certificates.identity import Identity
from postroom.certificates.model import ACMESettings
from postroom.certificates.self_signed import sign
from postroom.errors import UserError
from tests.certificates.test_renewal import DAY, NOW

URL = "https://acme.example/dir"


class OrderTests(SynchronousTestCase):
    """Tests for `Order`."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.challenges = Challenges()
        self.settings = ACMESettings(URL, ("mx.example.org",), self.folder)

    def failure(self, error: Exception) -> str:
        """Have the library raise; give what is told."""
        order: Any = Order(self.settings, self.challenges)

        def fail(account: object) -> None:
            self.challenges.answer_http("token", "answer")
            raise error

        order._log_in = fail
        told = str(self.assertRaises(UserError, order.run))
        self.assertNotIn("\n", told)
        self.assertIsNone(self.challenges.find_http(b"token"))
        return told

    def test_what_the_server_says_is_told(self) -> None:
        refused = messages.Error.with_code("rateLimited", detail="too many orders:\nwait")
        self.assertEqual(self.failure(refused), f"{URL} refuses: too many orders: wait")
        self.assertEqual(
            self.failure(errors.IssuanceError(refused)), f"{URL} refuses: too many orders: wait"
        )

    def test_a_server_that_cannot_be_reached(self) -> None:
        unknown = requests.ConnectionError()
        unknown.__cause__ = socket.gaierror(-2, "Name or service not known")
        for error, told in (
            (unknown, f"{URL} cannot be reached: Name or service not known"),
            (requests.ReadTimeout("x"), f"{URL}: no answer in 30 seconds"),
            (requests.exceptions.SSLError("x"), "not trusted; for a private one set tls.acme.ca"),
            (errors.TimeoutError(), f"{URL}: no result in 180 seconds"),
            (errors.ClientError("x"), f"{URL}: not understood: ClientError: x"),
            (ValueError("bad\njson"), f"{URL}: not understood: ValueError: bad json"),
        ):
            self.assertIn(told, self.failure(error))

    def test_a_folder_that_cannot_be_made(self) -> None:
        self.settings = ACMESettings(URL, ("mx.example.org",), Path("/proc/acme"))
        order = Order(self.settings, self.challenges)
        error = self.assertRaises(UserError, order.run)
        self.assertEqual(str(error), "/proc/acme: cannot be made: No such file or directory")

    def test_an_account_key_that_is_none(self) -> None:
        self.folder.mkdir()
        self.settings.account_key.write_bytes(b"junk")
        error = self.assertRaises(UserError, Order(self.settings, self.challenges).run)
        self.assertEqual(str(error), f"{self.settings.account_key}: no PEM private key in it")

    def test_only_a_certificate_for_our_key_and_names_is_taken(self) -> None:
        order: Any = Order(self.settings, self.challenges)
        key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

        def given(signer: Any, *names: str) -> str:
            chain = [sign(signer, names, NOW, NOW + DAY)]
            return Identity(chain, signer, "").pem().decode()

        for pem, told in (
            (given(other, "mx.example.org"), "for another key"),
            (given(key, "other.example.org"), "for other names"),
            ("junk", "what the ACME server gave: no PEM certificate in it"),
            ("", "no PEM certificate in it"),
            ("\u2028", "no PEM certificate in it"),
        ):
            error = self.assertRaises(UserError, order._checked, pem, key)
            self.assertIn(told, str(error))
        self.assertEqual(
            order._checked(given(key, "mx.example.org"), key).names, ("mx.example.org",)
        )


class HTTPTests(SynchronousTestCase):
    """The web server of http-01."""

    def setUp(self) -> None:
        self.challenges = Challenges()
        self.challenges.answer_http("a-Token_1", "a-Token_1.print")

    def get(self, path: bytes, method: bytes = b"GET") -> tuple[bytes, bytes]:
        """Give status line and body of the answer to a request."""
        protocol = http_site(self.challenges).buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(
            method + b" " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        head, _, body = transport.value().partition(b"\r\n\r\n")
        protocol.connectionLost(None)  # type: ignore[arg-type]
        return head.split(b"\r\n")[0], body

    def test_a_token_is_answered_while_it_is_asked_for(self) -> None:
        self.assertEqual(
            self.get(HTTP_PATH + b"a-Token_1"), (b"HTTP/1.1 200 OK", b"a-Token_1.print")
        )
        self.challenges.clear()
        self.assertEqual(self.get(HTTP_PATH + b"a-Token_1"), (b"HTTP/1.1 404 Not Found", b""))

    def test_nothing_else_is(self) -> None:
        for path in (
            *(b"/", HTTP_PATH, HTTP_PATH + b"other", b"/a-Token_1", HTTP_PATH + b"a-Token_1/"),
            *(HTTP_PATH + b"../a-Token_1", HTTP_PATH + b"%61-Token_1", b"/etc/passwd"),
        ):
            status, body = self.get(path)
            self.assertEqual((status, body), (b"HTTP/1.1 404 Not Found", b""), path)
        for method in (b"POST", b"PUT", b"DELETE"):
            status, _ = self.get(HTTP_PATH + b"a-Token_1", method)
            self.assertRegex(status, b" (405|501) ")
