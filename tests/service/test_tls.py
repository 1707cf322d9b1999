"""Certificates of a running daemon: real processes, real files, real signals."""

import signal
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import trustme

from tests.daemon import Daemon, free_port, wait_until
from tests.service.daemons import failed_start
from tests.service.test_daemon import Case

NAMES = ("mx.example.org", "mail.example.net")


def shown(port: int, name: str, *, implicit: bool) -> bytes:
    """Give the certificate that a client gets for a name, as DER."""
    context = ssl._create_unverified_context()
    if implicit:
        with (
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            context.wrap_socket(plain, server_hostname=name) as secure,
        ):
            return secure.getpeercert(True) or b""
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as smtp:
        smtp._host = name  # type: ignore[attr-defined]  # smtplib sends it as SNI
        smtp.starttls(context=context)
        assert isinstance(smtp.sock, ssl.SSLSocket)
        return smtp.sock.getpeercert(True) or b""


class ReloadTests(Case):
    """Files that are replaced while the daemon serves them."""

    def setUp(self) -> None:
        super().setUp()
        self.authority = trustme.CA()
        self.files = [self.folder / f"{name}.pem" for name in NAMES]
        self.certificates = [self.issue(number) for number in range(2)]

    def issue(self, number: int) -> bytes:
        """Write a new certificate and key; give the certificate as DER."""
        leaf = self.authority.issue_cert(NAMES[number])
        fresh = self.files[number].with_suffix(".new")
        leaf.private_key_and_cert_chain_pem.write_to_path(str(fresh))
        fresh.rename(self.files[number])
        return ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())

    def serve(self, watch_seconds: int) -> Daemon:
        first, second = self.files
        settings = (
            f'[tls]\ncertificate = "{first}"\nkey = "{first}"\nwatch_seconds = {watch_seconds}\n'
            f'[[tls.sni]]\ncertificate = "{second}"\nkey = "{second}"\n'
        )
        return self.daemon(listeners=("mx", "submission-tls"), settings=settings)

    def is_shown(self, daemon: Daemon) -> bool:
        return all(
            shown(daemon.ports[listener], name, implicit=listener == "submission-tls")
            == self.certificates[number]
            for listener in daemon.ports
            for number, name in enumerate(NAMES)
        )

    def test_the_certificate_is_chosen_by_name(self) -> None:
        self.assertTrue(self.is_shown(self.serve(3600)))

    def test_hangup_takes_new_ones_up_and_drops_no_session(self) -> None:
        daemon = self.serve(3600)
        context = ssl._create_unverified_context()
        with smtplib.SMTP("127.0.0.1", daemon.port, timeout=10) as session:
            session.starttls(context=context)
            session.ehlo()
            session.mail("a@example.org")
            self.certificates = [self.issue(number) for number in range(2)]
            assert daemon.process is not None
            daemon.process.send_signal(signal.SIGHUP)
            self.assertTrue(wait_until(lambda: self.is_shown(daemon), 10))
            self.assertEqual(session.rcpt("postmaster@localhost")[0], 250)
            self.assertEqual(session.data(b"Subject: x\r\n\r\nx\r\n")[0], 250)
        told = "is in use from now on"
        self.assertTrue(wait_until(lambda: daemon.log().count(told) == 2, 5), daemon.log())
        self.assertNotIn("Traceback", daemon.log())

    def test_they_are_taken_up_without_a_signal(self) -> None:
        daemon = self.serve(1)
        self.certificates[1] = self.issue(1)
        self.assertTrue(wait_until(lambda: self.is_shown(daemon), 20))

    def test_a_broken_one_is_told_and_the_old_one_stays(self) -> None:
        daemon = self.serve(1)
        self.files[0].write_bytes(self.files[0].read_bytes()[:-100])
        expected = f"tls.certificate {self.files[0]}: a certificate in it is cut off"
        self.assertTrue(wait_until(lambda: expected in daemon.log(), 20))
        self.assertTrue(self.is_shown(daemon))
        self.certificates[0] = self.issue(0)
        self.assertTrue(wait_until(lambda: self.is_shown(daemon), 20))

    def test_under_load_no_handshake_fails_while_they_change(self) -> None:
        daemon = self.serve(3600)
        assert daemon.process is not None
        stopped = threading.Event()
        failed: list[Exception] = []
        done = [0]

        def talk() -> None:
            while not stopped.is_set():
                try:
                    for number, listener in enumerate(daemon.ports):
                        implicit = listener == "submission-tls"
                        shown(daemon.ports[listener], NAMES[number], implicit=implicit)
                        done[0] += 1
                except Exception as error:
                    failed.append(error)
                    return

        threads = [threading.Thread(target=talk) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            before = done[0]
            self.certificates = [self.issue(number) for number in range(2)]
            daemon.process.send_signal(signal.SIGHUP)
            self.assertTrue(wait_until(lambda: self.is_shown(daemon), 20))
            self.assertTrue(wait_until(lambda before=before: done[0] > before + 4 or failed, 20))
        stopped.set()
        for thread in threads:
            thread.join(20)
        self.assertEqual(failed, [])
        self.assertNotIn("Traceback", daemon.log())


class ACMEStartTests(Case):
    """What cannot be had at the start; what works is in tests/interop."""

    def test_a_port_in_use_is_told(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            for value, why in (
                (endpoint, "cannot listen: Address already in use"),
                ("tpc:80", "not a server endpoint: Unknown endpoint type: 'tpc'"),
            ):
                (self.folder / "p.toml").write_text(
                    '[tls.acme]\ndomains = ["mx.example.org"]\nagree_to_terms = true\n'
                    f'http_listen = "{value}"\n'
                )
                listen = ("--listen", f"mx=tcp:{free_port()}:interface=127.0.0.1")
                status, _, error = failed_start(self.folder, "--config", "p.toml", *listen)
                self.assertEqual(status, 1)
                self.assertEqual(error, f"twistd smtp: tls.acme.http_listen {value}: {why}\n")


class ClientCertificateTests(Case):
    """A listener that needs clients to show certificates."""

    def test_who_shows_one_is_named_in_the_log_and_vouched_for_in_the_header(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.folder / "ca.pem"))
        daemon = Daemon(self.folder, settings='[tls]\nclient_ca = "ca.pem"\n')
        daemon.options = [
            item.replace("mx=", "mx+need-certificate=") if "mx=" in item else item
            for item in daemon.options
        ]
        daemon.start()
        self.addCleanup(daemon.stop)
        context = ssl._create_unverified_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # where the client hears at once
        with smtplib.SMTP("127.0.0.1", daemon.port, timeout=10) as smtp:
            self.assertRaises(OSError, smtp.starttls, context=context)
        authority.issue_cert("ann@example.org").configure_cert(context)
        with smtplib.SMTP("127.0.0.1", daemon.port, timeout=10) as smtp:
            smtp.starttls(context=context)
            smtp.sendmail("you@example.org", "postmaster@localhost", "Subject: x\r\n\r\nx\r\n")
        (path,) = (daemon.maildir("postmaster@localhost") / "new").iterdir()
        self.assertIn("client certificate verified)", self.unfolded(path))
        self.assertTrue(
            wait_until(lambda: "client ann@example.org verified" in daemon.log(), 5), daemon.log()
        )
        self.assertIn("TLS handshake failed client=127.0.0.1", daemon.log())

    def test_it_is_a_login_where_the_settings_want_that(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.folder / "ca.pem"))
        daemon = Daemon(
            self.folder,
            listeners=("mx", "submission", "submission-tls"),
            settings='[tls]\nclient_ca = "ca.pem"\n[auth]\nmechanisms = ["PLAIN", "EXTERNAL"]\n',
        )
        daemon.options = [
            item.replace("submission=", "submission+ask-certificate=") for item in daemon.options
        ]
        daemon.add_account("ann@example.org", "correct horse battery")
        daemon.start()
        self.addCleanup(daemon.stop)
        for names, offered in (((), "PLAIN"), (("ann@example.org",), "PLAIN EXTERNAL")):
            context = ssl._create_unverified_context()
            if names:
                authority.issue_cert(*names).configure_cert(context)
            for smtp in self.sessions(daemon, context):
                smtp.ehlo()
                self.assertEqual(smtp.esmtp_features["auth"].strip(), offered)
                if names:
                    self.assertEqual(smtp.docmd("AUTH", "EXTERNAL =")[0], 235)
                    self.assertEqual(smtp.mail("ann@example.org")[0], 250)

    def sessions(self, daemon: Daemon, context: ssl.SSLContext) -> Iterator[smtplib.SMTP]:
        with smtplib.SMTP("127.0.0.1", daemon.ports["submission"], timeout=10) as smtp:
            smtp.starttls(context=context)
            yield smtp
        port = daemon.ports["submission-tls"]
        with smtplib.SMTP_SSL("127.0.0.1", port, context=context, timeout=10) as smtp:
            yield smtp

    def unfolded(self, path: Path) -> str:
        return " ".join(path.read_text().split())
