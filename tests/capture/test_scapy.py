"""The layer of scapy."""

import doctest
import subprocess
import sys
from pathlib import Path

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import rdpcap, wrpcap
from twisted.trial.unittest import SynchronousTestCase

from postroom.capture import scapy as binding
from postroom.capture.scapy import SMTP
from postroom.wire.builder import SmtpBuilder
from postroom.wire.ports import SMTP_PORTS
from postroom.wire.stream import IN_DATA

MAIL = SmtpBuilder().mail_from("a@b.example", SIZE="5").rcpt_to("c@d.example").build()


class BindingTests(SynchronousTestCase):
    """What scapy makes of segments."""

    def test_a_segment_to_or_from_each_port_is_dissected(self) -> None:
        for port in SMTP_PORTS:
            for ports in ({"dport": port, "sport": 4000}, {"sport": port, "dport": 4000}):
                octets = bytes(IP() / TCP(**ports) / b"250-a\r\n250 SIZE 5\r\n")
                layer = IP(octets)[SMTP]
                self.assertEqual((layer.reply_code, layer.keywords), (250, {"SIZE": "5"}))
                self.assertEqual(bytes(IP(octets)), octets)
        self.assertNotIn(SMTP, IP(bytes(IP() / TCP(sport=80, dport=4000) / b"250 a\r\n")))

    def test_fields(self) -> None:
        layer = IP(bytes(IP() / TCP(dport=25) / SMTP(MAIL)))[SMTP]
        self.assertEqual(layer.verb, "MAIL")
        self.assertEqual(layer.mailfrom, b"a@b.example")
        self.assertEqual(layer.params, {"SIZE": 5})
        self.assertEqual([each.command for each in layer.view], ["MAIL", "RCPT"])
        self.assertEqual(layer.errors, ())
        with self.assertRaises(AttributeError):
            layer.nothing  # noqa: B018

    def test_the_server_is_known_by_its_port(self) -> None:
        layer = IP(bytes(IP() / TCP(sport=25, dport=4000) / SMTP(b"hello\r\n")))[SMTP]
        self.assertTrue(layer.is_response)
        self.assertTrue(layer.view.malformed)

    def test_a_state(self) -> None:
        self.assertEqual(SMTP(b"QUIT\r\n.\r\n").view_in(IN_DATA).content, b"QUIT\r\n")

    def test_it_is_built_for_port_25(self) -> None:
        packet = IP(bytes(IP() / TCP() / SMTP(MAIL)))
        self.assertEqual((packet[TCP].dport, packet[SMTP].octets), (25, MAIL))

    def test_summaries_hide_what_follows_auth(self) -> None:
        packet = Ether() / IP() / TCP(dport=25) / SMTP(b"AUTH PLAIN c2VjcmV0\r\n")
        self.assertIn("SMTP C: AUTH PLAIN [8 octets]", packet.summary())
        self.assertNotIn("c2VjcmV0", packet.summary())

    def test_files(self) -> None:
        path = Path(self.mktemp())
        wrpcap(str(path), [Ether() / IP() / TCP(dport=587, sport=9) / SMTP(MAIL)])
        self.assertEqual(rdpcap(str(path))[0][SMTP].rcptto, None)
        self.assertEqual(rdpcap(str(path))[0][SMTP].verb, "MAIL")

    def test_the_example_of_the_docstring(self) -> None:
        names = {"IP": IP, "TCP": TCP, "SMTP": SMTP, "SmtpBuilder": SmtpBuilder}
        result = doctest.testmod(binding, extraglobs=names)
        self.assertEqual((result.failed, result.attempted), (0, 3))

    def test_the_package_does_without_scapy(self) -> None:
        loaded = "[name in sys.modules for name in ('scapy', 'postroom.wire.layer')]"
        code = f"import sys, postroom.wire; print(*{loaded})"
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        self.assertEqual(run.stdout, "False False\n")

    def test_without_scapy_the_extra_is_named(self) -> None:
        code = "import sys; sys.modules['scapy'] = None; import postroom.capture.scapy"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        self.assertIn("needs scapy: pip install 'postroom[capture]'", run.stderr)
