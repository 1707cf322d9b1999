"""Certificates from a real ACME server: the first, the next, and the one that is refused."""

import json
import smtplib
import ssl
import subprocess
from functools import cache
from pathlib import Path

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from tests.cli.support import run_process
from tests.daemon import Daemon, free_port, wait_until
from tests.interop.fixtures import new_folder, stopped_at_exit
from tests.interop.pebble import BLOCKED, Pebble, start_pebble
from tests.service.test_tls import shown

NAME, OTHER = "mx.test.example", "mail.test.example"
PATIENCE_SECONDS = 40


@cache
def pebble() -> Pebble:
    return stopped_at_exit(start_pebble(new_folder("pebble")))


class Case(SynchronousTestCase):
    """A daemon that gets its certificate from Pebble."""

    def setUp(self) -> None:
        self.folder = new_folder("acme")

    def start(
        self, server: Pebble, *names: str, more: str = "", http_port: int | None = None
    ) -> Daemon:
        port = server.http_port if http_port is None else http_port
        settings = (
            f'hostname = "{NAME}"\n[tls]\nwatch_seconds = 1\n[tls.acme]\n{server.settings}'
            f"domains = {json.dumps(list(names))}\n"
            f'http_listen = "tcp:{port}:interface=127.0.0.1"\n{more}'
        )
        daemon = Daemon(self.folder, settings=settings)
        daemon.start()
        self.addCleanup(self.stop, daemon)
        return daemon

    def stop(self, daemon: Daemon) -> None:
        daemon.stop()
        self.assertNotIn("Traceback", daemon.log())

    def certificate(self, daemon: Daemon, name: str = NAME) -> x509.Certificate:
        return x509.load_der_x509_certificate(shown(daemon.ports["mx"], name, implicit=False))

    def issuer(self, daemon: Daemon) -> str:
        return self.certificate(daemon).issuer.rfc4514_string()

    def wait_for_certificate(self, daemon: Daemon) -> None:
        self.assertTrue(
            wait_until(lambda: "Pebble" in self.issuer(daemon), PATIENCE_SECONDS), daemon.log()
        )


class OrderTests(Case):
    """The first certificate, and the next."""

    def check(self, daemon: Daemon) -> None:
        """A first certificate, then a renewal while a session is open."""
        self.wait_for_certificate(daemon)
        first = self.certificate(daemon)
        names = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(set(names.get_values_for_type(x509.DNSName)), {NAME, OTHER})
        with smtplib.SMTP("127.0.0.1", daemon.port, timeout=10) as session:
            session.starttls(context=ssl._create_unverified_context())
            session.ehlo()
            session.mail("a@example.org")
            session.rcpt("postmaster@localhost")
            (daemon.state / "acme" / "renew").touch()
            renewed = wait_until(
                lambda: self.certificate(daemon).serial_number != first.serial_number,
                PATIENCE_SECONDS,
            )
            self.assertTrue(renewed, daemon.log())
            self.assertEqual(session.data(b"Subject: x\r\n\r\nx\r\n")[0], 250)
        self.assertIn("Pebble", self.issuer(daemon))
        self.assertFalse((daemon.state / "acme" / "renew").exists())

    def test_http_01(self) -> None:
        daemon = self.start(pebble(), NAME, OTHER, more='contact = ["me@example.org"]\n')
        self.check(daemon)
        folder = daemon.state / "acme"
        self.assertEqual(folder.stat().st_mode & 0o777, 0o700)
        files = sorted(folder.iterdir())
        self.assertEqual(
            [path.name for path in files], ["account.pem", "attempts.json", "certificate.pem"]
        )
        self.assertEqual({path.stat().st_mode & 0o777 for path in files}, {0o600})
        account = (folder / "account.pem").read_bytes()
        self.restart(daemon)
        self.assertEqual((folder / "account.pem").read_bytes(), account)

    def restart(self, daemon: Daemon) -> None:
        """A new start serves what there is, and orders nothing."""
        before = self.certificate(daemon).serial_number
        ordered = daemon.log().count("is ordered from")
        daemon.terminate()
        daemon.start()
        self.assertEqual(self.certificate(daemon).serial_number, before)
        self.assertEqual(daemon.log().count("is ordered from"), ordered)

    def test_tls_alpn_01(self) -> None:
        server = stopped_at_exit(start_pebble(new_folder("pebble")))
        daemon = Daemon(
            self.folder,
            *("--listen", f"mx=ssl:{server.tls_port}:interface=127.0.0.1"),
            settings=(
                f'hostname = "{NAME}"\n[tls]\nwatch_seconds = 1\n[tls.acme]\n{server.settings}'
                f'domains = ["{NAME}", "{OTHER}"]\nchallenge = "tls-alpn-01"\n'
            ),
        )
        daemon.start()
        self.addCleanup(self.stop, daemon)
        self.check(daemon)

    def test_it_is_renewed_when_two_thirds_of_its_life_have_passed(self) -> None:
        server = stopped_at_exit(start_pebble(new_folder("pebble"), lifetime_seconds=12))
        daemon = self.start(server, NAME)
        self.wait_for_certificate(daemon)
        first = self.certificate(daemon).serial_number
        self.assertTrue(
            wait_until(lambda: self.certificate(daemon).serial_number != first, 30), daemon.log()
        )

    def test_other_names_in_the_settings_are_ordered_at_the_next_start(self) -> None:
        daemon = self.start(pebble(), NAME)
        self.wait_for_certificate(daemon)
        daemon.terminate()
        path = self.folder / "postroom.toml"
        path.write_text(path.read_text().replace(f'["{NAME}"]', f'["{NAME}", "{OTHER}"]'))
        daemon.start()

        def has_both() -> bool:
            return OTHER in str(self.certificate(daemon, OTHER).extensions)

        self.assertTrue(wait_until(has_both, PATIENCE_SECONDS), daemon.log())


class CommandTests(Case):
    """``postroom tls renew``, beside a daemon and without one."""

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        config = str(self.folder / "postroom.toml")
        return run_process("--config", config, "--state-dir", f"{self.folder}/state", *words)

    def test_beside_a_daemon_it_is_the_daemon_that_orders(self) -> None:
        daemon = self.start(pebble(), NAME)
        self.wait_for_certificate(daemon)
        first = self.certificate(daemon).serial_number
        done = self.command("tls", "renew")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertTrue(done.stdout.startswith(f"There is a new certificate for {NAME}\n"))
        renewed = wait_until(lambda: self.certificate(daemon).serial_number != first, 10)
        self.assertTrue(renewed, daemon.log())
        found = json.loads(self.command("tls", "status", "--json").stdout)
        (acme, own) = found["certificates"]
        self.assertEqual((acme["names"], acme["from"], acme["error"]), ([NAME], "acme", None))
        self.assertIn(acme["days"], range(88, 91))
        self.assertEqual(acme["renewed_from"], found["acme"]["next"])
        self.assertEqual(own["from"], "self-signed")

    def test_without_a_daemon_it_orders_by_itself(self) -> None:
        daemon = self.start(pebble(), NAME)
        self.wait_for_certificate(daemon)
        daemon.terminate()
        file = daemon.state / "acme" / "certificate.pem"
        before = file.read_bytes()
        done = self.command("tls", "renew", "--json")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(json.loads(done.stdout)["file"], str(file))
        self.assertNotEqual(file.read_bytes(), before)
        daemon.start()

    def test_it_says_why_there_is_none(self) -> None:
        daemon = self.start(pebble(), NAME, BLOCKED)
        told = "There is no new certificate: "
        self.assertTrue(wait_until(lambda: told in daemon.log(), PATIENCE_SECONDS), daemon.log())
        for _ in range(2):  # with and without a daemon
            done = self.command("tls", "renew")
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertRegex(done.stderr, rf"^postroom: https://\S+ refuses: .*{BLOCKED}.*\n$")
            daemon.stop()
        found = self.command("tls", "status")
        self.assertIn("note: the last order failed: ", found.stderr)
        self.assertIn("'postroom tls renew'", found.stderr)


class RefusalTests(Case):
    """Orders that come to nothing: mail goes on with the certificate that there is."""

    def check(self, daemon: Daemon, *expected: str) -> None:
        told = "There is no new certificate: "
        self.assertTrue(wait_until(lambda: told in daemon.log(), PATIENCE_SECONDS), daemon.log())
        (line,) = [line for line in daemon.log().splitlines() if told in line]
        for text in expected:
            self.assertIn(text, line)
        self.assertTrue(wait_until(lambda: "The next attempt is due at" in daemon.log(), 5))
        self.assertNotIn("Pebble", self.issuer(daemon))
        note = json.loads((daemon.state / "acme" / "attempts.json").read_text())
        self.assertEqual(note["failures"], 1)
        with smtplib.SMTP("127.0.0.1", daemon.port, timeout=10) as session:
            session.sendmail("a@example.org", "postmaster@localhost", "Subject: x\r\n\r\nx\r\n")

    def test_a_name_that_the_server_does_not_want(self) -> None:
        daemon = self.start(pebble(), NAME, BLOCKED)
        self.check(daemon, "refuses: ", BLOCKED)
        # A new start does not try again before its time; nor does it forget to say why.
        daemon.terminate()
        ordered = daemon.log().count("is ordered from")
        daemon.start()
        last = "The last order of a certificate failed"
        self.assertTrue(wait_until(lambda: last in daemon.log(), 10))
        self.assertEqual(daemon.log().count("is ordered from"), ordered)

    def test_a_challenge_that_the_server_does_not_find(self) -> None:
        daemon = self.start(pebble(), NAME, http_port=free_port())
        self.check(daemon, f"{NAME} could not be shown to be ours: ")

    def test_a_server_that_is_not_trusted(self) -> None:
        server = Pebble(pebble().directory, Path("/etc/ssl/certs/ca-certificates.crt"), 0, 0, [])
        daemon = self.start(server, NAME, http_port=0)
        self.check(daemon, "its own certificate is not trusted")

    def test_a_server_that_is_not_there(self) -> None:
        server = Pebble("https://127.0.0.1:1/dir", pebble().authority, 0, 0, [])
        daemon = self.start(server, NAME, http_port=0)
        self.check(daemon, "https://127.0.0.1:1/dir cannot be reached: Connection refused")
