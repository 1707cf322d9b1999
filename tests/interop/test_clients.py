"""Clients of other projects deliver what they were given, octet by octet."""

import smtplib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from twisted.trial.unittest import TestCase

from tests.daemon import Daemon
from tests.interop import clients
from tests.interop.certificates import make_certificates
from tests.interop.clients import Login, Route
from tests.interop.fixtures import new_folder, stopped_at_exit
from tests.interop.mail import HARD, ODD, PLAIN, Inbox, delivered

ANN, PASSWORD = "ann@local.test", "correct-horse-battery"
_SETTINGS = """
[auth]
clear_text_networks = ["127.0.0.0/8"]
"""


@cache
def _server() -> tuple[Daemon, Path]:
    """Start the daemon that all tests here use; give it and the authority's certificate."""
    folder = new_folder("clients")
    certificates = make_certificates(folder)
    daemon = Daemon(
        folder,
        *certificates.options,
        listeners=("mx", "mx-tls", "submission", "submission-tls"),
        settings=_SETTINGS,
    )
    daemon.add_account(ANN, PASSWORD)
    daemon.admin("domain", "catch-all", "local.test", ANN)
    daemon.admin("domain", "add", "strict.test")
    stopped_at_exit(daemon).start()
    return daemon, certificates.authority


class _ClientTests(TestCase):
    """What all clients are tested with."""

    send: ClassVar[Callable[..., Any]]
    added: ClassVar = b""  # what the client itself adds to every message
    protocol: ClassVar = "ESMTP"
    timeout = 120

    def setUp(self) -> None:
        self.daemon, self.authority = _server()
        self.inbox = Inbox(self.daemon.maildir(ANN) / "new")

    def tearDown(self) -> None:
        self.assertNotIn("Traceback", self.daemon.log())

    def route(self, listener: str, security: Any, mechanism: Any = None) -> Route:
        login = Login(mechanism, ANN, PASSWORD) if mechanism else None
        return Route(self.daemon.ports[listener], security, login, self.authority)

    async def deliver(self, route: Route, to: Sequence[str], content: bytes) -> None:
        sending = type(self).send(route, to, content)
        if sending is not None:
            await sending

    async def check(self, route: Route, *contents: bytes, to: Sequence[str] = (ANN,)) -> None:
        """Send messages; each must arrive as it is, and over what the route says."""
        secure = "" if route.security == "clear" else "S"
        wanted = f"{self.protocol}{secure}{'A' if route.login else ''} id "
        for content in contents:
            await self.deliver(route, to, content)
            files = self.inbox.arrived()
            self.assertEqual([delivered(file) for file in files], [content + self.added])
            self.assertIn(f"with {wanted}".encode(), files[0])


class _MxTests:
    async def test_mxInClear(self) -> None:
        await self.check(self.route("mx", "clear"), *HARD.values())

    async def test_theClientHearsOfARefusal(self) -> None:
        with self.assertRaises(clients.REFUSED):
            await self.deliver(self.route("mx", "clear"), ["nobody@strict.test"], PLAIN)
        self.assertEqual(self.inbox.arrived(), [])


class _TLSTests:
    async def test_mxWithSTARTTLS(self) -> None:
        await self.check(self.route("mx", "starttls"), HARD["dots"], HARD["big"])

    async def test_mxWithImplicitTLS(self) -> None:
        await self.check(self.route("mx-tls", "implicit"), HARD["dots"], HARD["big"])


class _LoginTests:
    async def test_mxWithLogin(self) -> None:
        await self.check(self.route("mx", "starttls", "PLAIN"), PLAIN)

    async def test_submissionInClearWithPLAIN(self) -> None:
        await self.check(self.route("submission", "clear", "PLAIN"), HARD["dots"])

    async def test_submissionInClearWithLOGIN(self) -> None:
        await self.check(self.route("submission", "clear", "LOGIN"), PLAIN)

    async def test_submissionWithSTARTTLSAndPLAIN(self) -> None:
        await self.check(self.route("submission", "starttls", "PLAIN"), HARD["big"])

    async def test_submissionWithSTARTTLSAndLOGIN(self) -> None:
        await self.check(self.route("submission", "starttls", "LOGIN"), PLAIN)

    async def test_submissionWithImplicitTLSAndPLAIN(self) -> None:
        await self.check(self.route("submission-tls", "implicit", "PLAIN"), HARD["big"])

    async def test_submissionWithImplicitTLSAndLOGIN(self) -> None:
        await self.check(self.route("submission-tls", "implicit", "LOGIN"), PLAIN)

    async def test_manyRecipientsAreOneCopy(self) -> None:
        recipients = [f"anyone-{number}@local.test" for number in range(120)]
        await self.check(self.route("submission", "starttls", "PLAIN"), PLAIN, to=recipients)


class SmtplibTests(_MxTests, _TLSTests, _LoginTests, _ClientTests):
    send = staticmethod(clients.send_with_smtplib)

    async def test_oddMessages(self) -> None:
        """They may have no header, no body, or nothing but a dot where one begins."""
        await self.check(self.route("mx", "clear"), *ODD.values())

    def test_submissionWithoutLoginIsRefused(self) -> None:
        for security in ("clear", "starttls"):
            with self.assertRaises(smtplib.SMTPSenderRefused) as caught:
                clients.send_with_smtplib(self.route("submission", security), [ANN], PLAIN)
            self.assertEqual(caught.exception.smtp_code, 530)
        self.assertEqual(self.inbox.arrived(), [])

    def test_wrongPasswordIsRefused(self) -> None:
        login = Login("PLAIN", ANN, "wrong")
        route = Route(self.daemon.ports["submission"], "starttls", login, self.authority)
        with self.assertRaises(smtplib.SMTPAuthenticationError) as caught:
            clients.send_with_smtplib(route, [ANN], PLAIN)
        self.assertEqual(caught.exception.smtp_code, 535)

    def test_unknownRecipientAndForeignDomainAreRefused(self) -> None:
        recipients = ["nobody@strict.test", "bob@elsewhere.test"]
        with self.assertRaises(smtplib.SMTPRecipientsRefused) as caught:
            clients.send_with_smtplib(self.route("mx", "clear"), recipients, PLAIN)
        said = [caught.exception.recipients[recipient] for recipient in recipients]
        self.assertEqual(
            [(code, text.split()[0]) for code, text in said], [(550, b"5.1.1"), (550, b"5.7.1")]
        )


class AiosmtplibTests(_MxTests, _TLSTests, _LoginTests, _ClientTests):
    send = staticmethod(clients.send_with_aiosmtplib)


class TwistedTests(_MxTests, _TLSTests, _LoginTests, _ClientTests):
    send = staticmethod(clients.send_with_twisted)


class SwaksTests(_MxTests, _TLSTests, _LoginTests, _ClientTests):
    send = staticmethod(clients.send_with_swaks)


class PipeliningSwaksTests(_MxTests, _TLSTests, _LoginTests, _ClientTests):
    send = staticmethod(clients.send_pipelined_with_swaks)


class CurlTests(_MxTests, _TLSTests, _LoginTests, _ClientTests):
    send = staticmethod(clients.send_with_curl)


class MsmtpTests(_MxTests, _TLSTests, _LoginTests, _ClientTests):
    send = staticmethod(clients.send_with_msmtp)


class NodemailerTests(_MxTests, _TLSTests, _LoginTests, _ClientTests):
    send = staticmethod(clients.send_with_nodemailer)


class SmtpSourceTests(_MxTests, _ClientTests):
    added = b"\r\n"
    protocol = "SMTP"

    @staticmethod
    def send(route: Route, recipients: Sequence[str], content: bytes) -> None:
        clients.send_with_smtp_source(route, recipients, content, _server()[0].folder)

    def test_manyRecipients(self) -> None:
        """Five hundred names that the catch-all takes are one mailbox, and so one copy."""
        clients.smtp_source(self.daemon.port, "-r", "500", "-m", "3", "-t", "bob@local.test")
        self.assertEqual(len(self.inbox.wait(3)), 3)

    def test_largeMessages(self) -> None:
        size = 5_000_000
        clients.smtp_source(self.daemon.port, "-l", str(size), "-m", "4", "-s", "4", "-t", ANN)
        files = self.inbox.wait(4)
        self.assertEqual(len(files), 4)
        for file in files:
            content = delivered(file)
            self.assertGreaterEqual(len(content), size)
            self.assertTrue(content.endswith(b"X\r\n"))

    def test_persistentConnections(self) -> None:
        clients.smtp_source(self.daemon.port, "-d", "-s", "10", "-m", "200", "-t", ANN)
        self.assertEqual(len(self.inbox.wait(200)), 200)

    def test_aConnectionEach(self) -> None:
        clients.smtp_source(self.daemon.port, "-s", "10", "-m", "200", "-t", ANN)
        self.assertEqual(len(self.inbox.wait(200)), 200)
