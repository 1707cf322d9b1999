"""An ACME server that answers nonsense: one line, and never a traceback."""

import json
import ssl
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import trustme
from twisted.trial.unittest import SynchronousTestCase

from postroom.certificates.acme import Order
from postroom.certificates.challenges import Challenges
from postroom.certificates.model import ACMESettings
from postroom.errors import UserError


class Nonsense(BaseHTTPRequestHandler):
    """Answers whatever the server holds."""

    server: Any

    def do_GET(self) -> None:
        status, kind, body = self.server.answers.get(self.path, self.server.answers["/dir"])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Replay-Nonce", self.server.nonce)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_POST = do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class NonsenseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.folder / "ca.pem"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        server: Any = HTTPServer(("127.0.0.1", 0), Nonsense)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.nonce = "bm9uY2U"
        self.server = server
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.url = f"https://127.0.0.1:{server.server_address[1]}"

    def directory(self) -> dict[str, object]:
        return {name: f"{self.url}/{name}" for name in ("newNonce", "newAccount", "newOrder")}

    def told(self, **answers: object) -> str:
        self.server.answers = {
            f"/{path}": (answer if isinstance(answer, tuple) else (200, "application/json", answer))
            for path, answer in answers.items()
        }
        settings = ACMESettings(
            f"{self.url}/dir", ("mx.example.org",), self.folder, ca_file=self.folder / "ca.pem"
        )
        told = str(self.assertRaises(UserError, Order(settings, Challenges()).run))
        self.assertNotIn("\n", told)
        self.assertTrue(told.startswith(f"{self.url}/dir"), told)
        self.assertLess(len(told), 600)
        return told

    def test_directories(self) -> None:
        for body in (
            *(b"", b"{}", b"[]", b"null", b"5", b'"x"', b"\xff\xfe", b"{" * 10_000),
            *(b'{"newNonce": 5}', b'{"newNonce": "x", "meta": []}', b"\x1b[2J" * 1000),
        ):
            self.told(dir=body)
        for status in (204, 301, 400, 404, 500, 503):
            self.told(dir=(status, "text/html", b"<html>\n" * 100))

    def test_what_follows(self) -> None:
        directory = json.dumps(self.directory()).encode()
        problem = b'{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too\\nmany"}'
        for body in (b"{}", b"[]", b"null", b"", b'{"status": "x"}', b'{"contact": 5}'):
            self.told(dir=directory, newAccount=body)
            account = (201, "application/json", b'{"status": "valid"}')
            self.told(dir=directory, newAccount=account, newOrder=body)
        refused = (429, "application/problem+json", problem)
        told = self.told(dir=directory, newAccount=refused)
        self.assertEqual(told, f"{self.url}/dir refuses: too many")
        for body in (b"[]", b'{"type": 5}', b'{"detail": {}}', b'{"subproblems": 5}'):
            self.told(dir=directory, newAccount=(400, "application/problem+json", body))
        for nonce in ("", "?!", "x" * 5000):
            self.server.nonce = nonce
            self.told(dir=directory, newAccount=b"{}")
