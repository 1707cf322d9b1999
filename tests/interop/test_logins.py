"""Clients of other projects log in with every mechanism that they know."""

import json
import select
import smtplib
import socket
import ssl
import threading
import time
from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import trustme
from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from postroom.cli.main import cli
from tests.daemon import Daemon, free_port, wait_until
from tests.interop import clients
from tests.interop.certificates import make_certificates
from tests.interop.clients import Login, Route, program, run
from tests.interop.fixtures import new_folder, stopped_at_exit
from tests.interop.mail import PLAIN, Inbox, delivered
from tests.logins.test_tokens import key_set, signed

ANN, PASSWORD = "ann@local.test", "correct-horse-battery"
_SETTINGS = """
[auth]
mechanisms = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "EXTERNAL", "OAUTHBEARER", "XOAUTH2",
              "CRAM-MD5", "PLAIN", "LOGIN"]
scram_keys = true
clear_text_passwords = true

[auth.lockout]
refusal_seconds = 0.1

[auth.tokens]
issuer = "https://login.example"
audiences = ["mail"]
keys = {keys}

[tls]
client_ca = {clients}
"""


@dataclass(frozen=True)
class Place:
    """The daemon that all tests here use, and what clients need for it."""

    daemon: Daemon
    port: int
    authority: Path
    certificate: Path
    key: Path

    def route(self, mechanism: Any, password: str = PASSWORD) -> Route:
        """Give the way in with a mechanism."""
        return Route(self.port, "starttls", Login(mechanism, ANN, password), self.authority)


@cache
def place() -> Place:
    """Start the daemon."""
    folder = new_folder("logins")
    certificates = make_certificates(folder)
    client_authority = trustme.CA()
    client = client_authority.issue_cert(ANN, common_name=ANN)
    client_authority.cert_pem.write_to_path(folder / "clients.pem")
    client.cert_chain_pems[0].write_to_path(folder / "client.pem")
    client.private_key_pem.write_to_path(folder / "client.key")
    (folder / "keys.json").write_bytes(key_set("r"))
    settings = _SETTINGS.format(
        keys=json.dumps(str(folder / "keys.json")), clients=json.dumps(str(folder / "clients.pem"))
    )
    port = free_port()
    listen = f"submission+ask-certificate=tcp:{port}:interface=127.0.0.1"
    daemon = Daemon(folder, *certificates.options, "--listen", listen, settings=settings)
    daemon.admin("domain", "add", "local.test")
    options = ["--config", str(folder / "postroom.toml"), "--state-dir", str(daemon.state)]
    added = CliRunner().invoke(cli, [*options, "account", "add", ANN, "--password-stdin"], PASSWORD)
    assert added.exit_code == 0, added.output
    stopped_at_exit(daemon).start()
    return Place(daemon, port, certificates.authority, folder / "client.pem", folder / "client.key")


def token(**changes: Any) -> str:
    """Make a token of the issuer whom the daemon believes."""
    claims = {"iss": "https://login.example", "aud": "mail", "email": ANN}
    return signed("r", {**claims, "exp": time.time() + 600, **changes})


class LoginTests(SynchronousTestCase):
    timeout = 120

    def setUp(self) -> None:
        self.place = place()
        self.inbox = Inbox(self.place.daemon.maildir(ANN) / "new")
        self.addCleanup(lambda: self.assertNotIn("Traceback", self.place.daemon.log()))

    def check(self, send: Any, mechanism: str, password: str = PASSWORD) -> None:
        """Log in, right and wrong; only the first delivers."""
        send(self.place.route(mechanism, password), [ANN], PLAIN)
        files = self.inbox.arrived()
        self.assertEqual([delivered(file) for file in files], [PLAIN])
        self.assertIn(b"with ESMTPSA id ", files[0])
        with self.assertRaises(clients.REFUSED):
            send(self.place.route(mechanism, "wrong" + password[5:]), [ANN], PLAIN)
        self.assertEqual(self.inbox.arrived(), [])

    def test_what_is_offered(self) -> None:
        context = self.place.route("PLAIN").context
        for shows in (False, True):
            if shows:
                context.load_cert_chain(self.place.certificate, self.place.key)
            with smtplib.SMTP("localhost", self.place.port) as smtp:
                smtp.ehlo()
                self.assertNotIn("auth", smtp.esmtp_features)
                smtp.starttls(context=context)
                smtp.ehlo()
                offered = smtp.esmtp_features["auth"].split()
            external = ["EXTERNAL"] if shows else []
            self.assertEqual(
                offered,
                [
                    *("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", *external, "OAUTHBEARER", "XOAUTH2"),
                    *("CRAM-MD5", "PLAIN", "LOGIN"),
                ],
            )

    def test_smtplib(self) -> None:
        for mechanism in ("PLAIN", "LOGIN"):
            self.check(clients.send_with_smtplib, mechanism)

    def test_aiosmtplib(self) -> None:
        for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
            self.check(clients.send_with_aiosmtplib, mechanism)

    def test_swaks(self) -> None:
        for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
            self.check(clients.send_with_swaks, mechanism)

    def test_msmtp(self) -> None:
        for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"):
            self.check(clients.send_with_msmtp, mechanism)

    def test_msmtp_with_a_token(self) -> None:
        for mechanism in ("OAUTHBEARER", "XOAUTH2"):
            self.check(clients.send_with_msmtp, mechanism, token())

    def test_msmtp_with_a_certificate(self) -> None:
        certificate, key = self.place.certificate, self.place.key
        shown = [f"--tls-cert-file={certificate}", f"--tls-key-file={key}"]
        clients.send_with_msmtp(self.place.route("EXTERNAL", ""), [ANN], PLAIN, *shown)
        self.assertEqual([delivered(file) for file in self.inbox.arrived()], [PLAIN])
        with self.assertRaises(clients.REFUSED):
            clients.send_with_msmtp(self.place.route("EXTERNAL", ""), [ANN], PLAIN)

    def test_nodemailer(self) -> None:
        for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
            self.check(clients.send_with_nodemailer, mechanism)

    def test_nodemailer_with_a_token(self) -> None:
        self.check(clients.send_with_nodemailer, "XOAUTH2", token())

    def test_a_token_that_is_too_old_hears_why(self) -> None:
        with self.assertRaises(RuntimeError) as caught:
            clients.send_with_nodemailer(self.place.route("XOAUTH2", token(exp=1)), [ANN], PLAIN)
        self.assertIn("535", str(caught.exception))


class Preamble:
    """Says EHLO for a client that begins with STARTTLS, and is a mere wire from then on.

    gsasl's own SMTP knows no EHLO before TLS. TLS is between it and the server all the same, and
    so is what a login is bound to.
    """

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        with client, socket.create_connection(("127.0.0.1", self._server)) as server:
            client.sendall(server.recv(1000))
            said = b""
            while not said.endswith(b"\n"):
                said += client.recv(100)
            assert said == b"STARTTLS\r\n", said
            server.sendall(b"EHLO client.test\r\n")
            while not server.recv(4000).splitlines()[-1].startswith(b"250 "):
                pass
            server.sendall(b"STARTTLS\r\n")
            client.sendall(server.recv(1000))
            ends = {client: server, server: client}
            while True:
                for ready in select.select([*ends], [], [])[0]:
                    octets = ready.recv(65536)
                    if not octets:
                        return
                    ends[ready].sendall(octets)

    def close(self) -> None:
        """End it, after its client has ended."""
        self._thread.join(30)
        self._listener.close()


class GsaslTests(SynchronousTestCase):
    """A SCRAM client that we did not write, with channel binding: GNU SASL."""

    timeout = 120

    def log_in(self, mechanism: str, *more: str, password: str = PASSWORD) -> str:
        where = place()
        preamble = Preamble(where.port)
        self.addCleanup(preamble.close)
        command = [program("gsasl"), "--client", "--smtp", "--starttls", f"--mechanism={mechanism}"]
        command += ["--hostname=localhost", f"--x509-ca-file={where.authority}", *more]
        command += [f"--authentication-id={ANN}", f"--password={password}", "--no-client-first"]
        return run([*command, f"--connect=localhost:{preamble.port}"], b"")

    def assert_in(self, mechanism: str, *more: str) -> None:
        said = self.log_in(mechanism, *more)
        self.assertIn("235 2.7.0", said)

    def test_scram_with_the_binding_of_tls_1_3(self) -> None:
        self.assert_in("SCRAM-SHA-256-PLUS")

    def test_scram_without_binding(self) -> None:
        self.assert_in("SCRAM-SHA-256", "--no-cb")

    def test_other_mechanisms(self) -> None:
        for mechanism in ("CRAM-MD5", "PLAIN", "LOGIN"):
            self.assert_in(mechanism)

    def test_whom_to_act_as(self) -> None:
        for mechanism in ("SCRAM-SHA-256-PLUS", "PLAIN"):
            self.assert_in(mechanism, "--authorization-id=ann")
            with self.assertRaises(RuntimeError):
                self.log_in(mechanism, "--authorization-id=root")

    def test_a_wrong_password(self) -> None:
        for mechanism in ("SCRAM-SHA-256-PLUS", "CRAM-MD5", "PLAIN"):
            with self.assertRaises(RuntimeError):
                self.log_in(mechanism, password="wrong")


class AuthorizationTests(SynchronousTestCase):
    """Whom a client asks to act as, at a daemon that locks out after the second failure."""

    timeout = 120

    def setUp(self) -> None:
        folder = new_folder("authorization")
        certificates = make_certificates(folder)
        client_authority = trustme.CA()
        client_authority.cert_pem.write_to_path(folder / "clients.pem")
        client = client_authority.issue_cert(ANN, common_name=ANN)
        client.private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
        (folder / "keys.json").write_bytes(key_set("r"))
        settings = _SETTINGS.format(
            keys=json.dumps(str(folder / "keys.json")),
            clients=json.dumps(str(folder / "clients.pem")),
        ).replace("[auth.lockout]", "[auth.lockout]\nexempt_networks = []\nfailures_of_account = 2")
        self.port = free_port()
        listen = f"submission+ask-certificate=ssl:{self.port}:interface=127.0.0.1"
        self.daemon = Daemon(folder, *certificates.options, "--listen", listen, settings=settings)
        self.daemon.add_account(ANN, PASSWORD)
        self.daemon.add_account("bob@local.test", PASSWORD)
        self.daemon.admin("account", "address", "add", ANN, "sales@local.test")
        self.daemon.start()
        self.addCleanup(self.daemon.stop)
        self.context = ssl.create_default_context(cafile=str(certificates.authority))
        self.context.load_cert_chain(folder / "client.pem")

    def log_in(self, mechanism: str, *responses: bytes) -> int:
        with smtplib.SMTP_SSL("localhost", self.port, context=self.context) as smtp:
            smtp.ehlo()
            code = smtp.docmd("AUTH", mechanism)[0]
            for response in responses:
                code = smtp.docmd(b64encode(response).decode() or "=")[0]
            return code

    def plain(self, act_as: bytes, password: str = PASSWORD) -> int:
        return self.log_in("PLAIN", b"\0".join((act_as, ANN.encode(), password.encode())))

    def test_plain(self) -> None:
        for act_as in (b"ann", b"Ann@Local.Test", b"ANN", b"sales@local.test", b"Sales"):
            self.assertEqual(self.plain(act_as), 235, act_as)
        for act_as in (b"bob@local.test", b"bob", b"nobody@local.test", b"\xff"):
            self.assertEqual(self.plain(act_as), 535, act_as)
        self.assertEqual(self.plain(b"ann"), 235)  # nothing has been counted
        for _ in range(2):
            self.assertEqual(self.plain(b"ann", "wrong"), 535)
        self.assertIn(f"account:{ANN} is locked out", self.daemon.log())

    def test_external_and_tokens(self) -> None:
        def bearer(name: str) -> bytes:
            return f"n,a={name},\1auth=Bearer {token()}\1\1".encode()

        for name in ("ann", "Ann@Local.Test", "sales@local.test"):
            self.assertEqual(self.log_in("EXTERNAL", name.encode()), 235, name)
            self.assertEqual(self.log_in("OAUTHBEARER", bearer(name)), 235, name)
        for name in ("bob", "bob@local.test", "nobody"):
            self.assertEqual(self.log_in("EXTERNAL", name.encode()), 535, name)
            for _ in range(3):
                self.assertEqual(self.log_in("OAUTHBEARER", bearer(name), b"\1"), 535, name)
        self.assertNotIn("locked out", self.daemon.log())


class LockoutTests(SynchronousTestCase):
    """Guesses at a running daemon, and the command that forgives them."""

    timeout = 120

    def setUp(self) -> None:
        folder = new_folder("lockouts")
        certificates = make_certificates(folder)
        self.daemon = Daemon(
            folder,
            *certificates.options,
            listeners=("mx", "submission-tls"),
            settings="[auth.lockout]\nrefusal_seconds = 0\nfailures_of_account = 2\n"
            "exempt_networks = []\n",
        )
        self.daemon.add_account(ANN, PASSWORD)
        self.daemon.start()
        self.addCleanup(self.daemon.stop)
        self.context = ssl.create_default_context(cafile=str(certificates.authority))

    def log_in(self, password: str) -> int:
        port = self.daemon.ports["submission-tls"]
        with smtplib.SMTP_SSL("localhost", port, context=self.context) as smtp:
            try:
                return smtp.login(ANN, password)[0]
            except smtplib.SMTPAuthenticationError as error:
                return error.smtp_code

    def test_a_name_is_locked_out_until_it_is_cleared(self) -> None:
        self.assertEqual(self.log_in("wrong"), 535)  # by PLAIN, and then by LOGIN
        self.assertEqual(self.log_in(PASSWORD), 454)
        self.assertTrue(wait_until(lambda: ANN in self.daemon.admin("lockout", "list"), 10))
        self.daemon.admin("lockout", "clear", ANN)
        self.assertTrue(wait_until(lambda: self.log_in(PASSWORD) == 235, 10))
        self.assertEqual(self.daemon.log().count("account:ann@local.test is locked out"), 1)
