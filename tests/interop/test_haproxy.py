"""HAProxy in front of our listeners, with both versions of its header."""

import smtplib
import ssl
import subprocess
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon, free_port, greets, wait_until
from tests.interop.fixtures import new_folder, stopped_at_exit

CLIENT = "127.0.0.7"  # loopback as well, and not where HAProxy comes from
VERSIONS = ("send-proxy", "send-proxy-v2", "send-proxy-v2-ssl")
_CONFIG = """
global
    log stderr local0
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
"""
_PAIR = """
listen {name}
    bind 127.0.0.1:{port}
    server us 127.0.0.1:{target} {how} check check-send-proxy inter 200
"""


class Proxy:
    """A running HAProxy.

    Attributes:
        daemon: ours, behind it.
        ports: where it listens, by version of the header and by our listener.
    """

    def __init__(self) -> None:
        """Start both."""
        self.folder = new_folder("haproxy")
        targets = {"mx": free_port(), "mx-tls": free_port()}
        listen = [
            *("--listen", f"mx+proxy=tcp:{targets['mx']}:interface=127.0.0.1"),
            *("--listen", f"mx+proxy=ssl:{targets['mx-tls']}:interface=127.0.0.1"),
        ]
        settings = '[session]\nproxy_networks = ["127.0.0.1"]\n'
        self.daemon = Daemon(self.folder, *listen, settings=settings)
        stopped_at_exit(self.daemon).start()
        self.ports = {(how, name): free_port() for how in VERSIONS for name in targets}
        config = _CONFIG + "".join(
            _PAIR.format(name=f"{how}-{name}", port=port, target=targets[name], how=how)
            for (how, name), port in self.ports.items()
        )
        path = self.folder / "haproxy.cfg"
        path.write_text(config)
        with (self.folder / "haproxy.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["haproxy", "-db", "-f", str(path)], stdout=log, stderr=log
            )
        stopped_at_exit(self)
        if not wait_until(lambda: greets(self.ports["send-proxy", "mx"]), 20):
            raise RuntimeError((self.folder / "haproxy.log").read_text())

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)


@cache
def proxy() -> Proxy:
    return Proxy()


class HAProxyTests(SynchronousTestCase):
    """Mail that comes through it."""

    def tearDown(self) -> None:
        self.assertNotIn("Traceback", proxy().daemon.log())
        self.assertNotIn("PROXY header refused", proxy().daemon.log())

    def deliver(self, port: int, security: str) -> str:
        """Send a message from `CLIENT`; give its Received field, unfolded."""
        inbox: Path = proxy().daemon.maildir("postmaster@localhost") / "new"
        before = set(inbox.iterdir()) if inbox.exists() else set()
        context, source = ssl._create_unverified_context(), (CLIENT, 0)
        smtp: smtplib.SMTP
        if security == "implicit":
            smtp = smtplib.SMTP_SSL(
                "127.0.0.1", port, context=context, source_address=source, timeout=10
            )
        else:
            smtp = smtplib.SMTP("127.0.0.1", port, source_address=source, timeout=10)
        with smtp:
            if security == "starttls":
                smtp.starttls(context=context)
            smtp.sendmail("a@example.org", "postmaster@localhost", "Subject: x\r\n\r\nx\r\n")
        (path,) = set(inbox.iterdir()) - before
        text = " ".join(path.read_text().split())
        return text.partition("Received: ")[2].partition("Subject:")[0]

    def test_the_header_names_the_client_in_clear_with_starttls_and_within_tls(self) -> None:
        for how in VERSIONS:
            for name, security in (("mx", "clear"), ("mx", "starttls"), ("mx-tls", "implicit")):
                received = self.deliver(proxy().ports[how, name], security)
                self.assertIn(f"([{CLIENT}])", received, (how, security))
                self.assertEqual("TLSv1.3" in received, security != "clear")
