"""The extension of ``docs/examples`` in a daemon: offered, queued, and told to a next hop."""

import contextlib
import shutil
import smtplib
import socket
import threading

from twisted.trial.unittest import TestCase

from tests.daemon import ROOT, Daemon, wait_until
from tests.interop.fixtures import new_folder
from tests.interop.mail import PLAIN

ANN, PASSWORD = "ann@local.test", "correct-horse-battery"


class NextHop:
    """A server that takes whatever it is sent.

    Attributes:
        heard: the lines of MAIL that came.
    """

    def __init__(self, offers: str) -> None:
        """Listen on a port of loopback."""
        self.heard: list[str] = []
        self._offers = offers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        connection.sendall(b"220 hop.test\r\n")
        for line in connection.makefile("rb"):
            connection.sendall(self._answer(line.decode().rstrip()))

    def _answer(self, line: str) -> bytes:
        verb = line.split(" ")[0].upper()
        if verb == "MAIL":
            self.heard.append(line)
        if verb == "EHLO":
            return f"250-hop.test\r\n{self._offers}250 HELP\r\n".encode()
        if verb == "DATA":
            return b"354 go on\r\n"
        return b"250 2.0.0 Ok\r\n" if verb in ("MAIL", "RCPT", ".", "RSET", "QUIT") else b""

    def stop(self) -> None:
        """Listen no longer."""
        self._listener.close()


class ThirdPartyTests(TestCase):
    """``docs/examples/tenant.py``, installed as a plugin."""

    timeout = 120

    def relayed(self, offers: str) -> str:
        """Submit a message for a tenant, and give the MAIL that a next hop hears."""
        hop = NextHop(offers)
        self.addCleanup(hop.stop)
        folder = new_folder("third-party")
        plugins = folder / "python/twisted/plugins"
        plugins.mkdir(parents=True)
        shutil.copy(ROOT / "docs/examples/tenant.py", plugins / "tenant.py")
        daemon = Daemon(
            folder,
            *("--relay-host", f"smtp://127.0.0.1:{hop.port}?tls=never"),
            listeners=("mx", "submission"),
            settings='[auth]\nclear_text_networks = ["127.0.0.0/8"]\n',
            path=folder / "python",
        )
        daemon.add_account(ANN, PASSWORD)
        self.addCleanup(daemon.stop)
        daemon.start()
        with smtplib.SMTP("127.0.0.1", daemon.ports["submission"], timeout=30) as smtp:
            smtp.login(ANN, PASSWORD)
            smtp.ehlo()
            self.assertTrue(smtp.has_extn("xtenant"))
            refused = smtp.docmd("MAIL", f"FROM:<{ANN}> XTENANT=a_b")
            self.assertEqual(refused[0], 501)
            smtp.sendmail(ANN, ["bob@elsewhere.test"], PLAIN, ["XTENANT=Blue"])
        wait_until(lambda: hop.heard)
        self.assertNotIn("Traceback", daemon.log())
        return hop.heard[0]

    def test_a_next_hop_that_knows_it_is_told(self) -> None:
        self.assertIn(" XTENANT=Blue", self.relayed("250-XTENANT\r\n"))

    def test_one_that_does_not_gets_the_message_without(self) -> None:
        heard = self.relayed("")
        self.assertTrue(heard.startswith(f"MAIL FROM:<{ANN}>"), heard)
        self.assertNotIn("XTENANT", heard)
