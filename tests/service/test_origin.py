"""Addresses without a domain, and those that name this host by its address, at a daemon."""

import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon, wait_until

ANN, PASSWORD = "ann@here.example", "correct horse battery"
SETTINGS = """
[delivery]
literal_addresses = ["192.0.2.25"]
[auth]
clear_text_networks = ["127.0.0.0/8"]
"""


class OriginTests(SynchronousTestCase):
    """Whom an address without domain means."""

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        self.daemon = Daemon(folder, listeners=("mx", "submission"), settings=SETTINGS)
        self.addCleanup(self.daemon.stop)
        self.daemon.add_account(ANN, PASSWORD)
        self.daemon.start()

    @contextmanager
    def client(self, listener: str = "mx") -> Iterator[smtplib.SMTP]:
        with smtplib.SMTP("127.0.0.1", self.daemon.ports[listener]) as smtp:
            smtp.ehlo()
            yield smtp

    def delivered(self) -> list[str]:
        """Return the messages in ann's mailbox, oldest first."""
        new = self.daemon.maildir(ANN) / "new"
        self.assertTrue(wait_until(lambda: list(new.glob("*"))))
        return [each.read_text() for each in sorted(new.iterdir())]

    def test_recipients_without_a_domain_are_of_the_first_domain_of_ones_own(self) -> None:
        with self.client() as smtp:
            for path in ("<ann>", "ann", "< ann >", "<ann@[127.0.0.1]>", "<Ann@[192.0.2.25]>"):
                smtp.docmd("MAIL FROM:<you@example.org>")
                self.assertEqual(smtp.docmd(f"RCPT TO:{path}")[0], 250, path)
                self.assertEqual(smtp.docmd("RSET")[0], 250)
            smtp.docmd("MAIL FROM:<you@example.org>")
            self.assertEqual(smtp.docmd("RCPT TO:<nobody>")[0], 550)
            self.assertEqual(smtp.docmd("RCPT TO:<ann@[127.0.0.2]>")[0], 550)
            self.assertEqual(smtp.docmd("RCPT TO:<x%elsewhere.example@[127.0.0.1]>")[0], 550)
            self.assertEqual(smtp.docmd("RCPT TO:<ann>")[0], 250)
            self.assertEqual(smtp.data(b"Subject: x\r\n\r\nx\r\n")[0], 250)
        (message,) = self.delivered()
        self.assertIn("for <ann@here.example>", message)

    def test_a_stranger_needs_a_domain_and_who_logged_in_does_not(self) -> None:
        with self.client() as smtp:
            self.assertEqual(smtp.docmd("MAIL FROM:<ann>")[0], 501)
        with self.client("submission") as smtp:
            smtp.login(ANN, PASSWORD)
            self.assertEqual(smtp.docmd("MAIL FROM:<someone>")[0], 553)  # not ann's
            self.assertEqual(smtp.docmd("MAIL FROM:<ann>")[0], 250)
            self.assertEqual(smtp.docmd("RCPT TO:<ann>")[0], 250)
            self.assertEqual(smtp.docmd("RCPT TO:<x@[192.0.2.77]>")[0], 550)
            self.assertEqual(smtp.data(b"Subject: x\r\n\r\nx\r\n")[0], 250)
        (message,) = self.delivered()
        self.assertTrue(message.startswith("Return-Path: <ann@here.example>"))
