"""What the documentation shows works."""

import io
import re
import runpy
import sys
import tomllib
from pathlib import Path

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from postroom.service.declarations import declarations
from postroom.service.settings import Settings, load_settings
from tests.architecture.sources import ROOT


class Transport(StringTransport):
    """Has what TCP has."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Do nothing."""


class ExampleTests(SynchronousTestCase):
    """``docs/examples``."""

    def test_the_delivery_for_twisted_mail_takes_mail(self) -> None:
        example = runpy.run_path(str(ROOT / "docs/examples/counting.py"))
        factory = example["make_factory"](Clock())
        protocol = factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1234))
        transport = Transport()
        printed = io.StringIO()
        self.patch(sys, "stdout", printed)
        protocol.makeConnection(transport)
        for line in (
            *(b"EHLO a", b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>"),
            *(b"RCPT TO:<e@example.org>", b"DATA", b"Subject: x\r\n\r\none\r\ntwo\r\n."),
        ):
            protocol.dataReceived(line + b"\r\n")
        codes = re.findall(rb"(?m)^(\d{3}) ", transport.value())
        self.assertEqual(codes, [b"220", b"250", b"250", b"550", b"250", b"354", b"250"])
        self.assertEqual(printed.getvalue(), "5 lines for e@example.org\n")


class TextTests(SynchronousTestCase):
    """The pages."""

    def test_settings_in_the_pages_exist(self) -> None:
        text = "".join(path.read_text() for path in (ROOT / "docs").glob("*.rst"))
        known = {item.key for item in declarations(Settings)}
        tables = "|".join({key.partition(".")[0] for key in known if "." in key})
        for name in re.findall(rf"``((?:{tables})\.[a-z_.]+)``", text):
            self.assertIn(name, known)

    def test_the_settings_of_the_tls_page_are_right(self) -> None:
        for page in ("tls.rst", "operations.rst"):
            text = (ROOT / "docs" / page).read_text()
            blocks = re.findall(r"(?m)::\n\n((?:    .*\n|\n)+)", text)
            blocks = [re.sub(r"(?m)^    ", "", block) for block in blocks]
            found = [block for block in blocks if re.match(r"\[(tls|session)|listen = ", block)]
            self.assertGreaterEqual(len(found), 1)
            for block in found:
                path = Path(self.mktemp())
                path.write_text(block)
                load_settings(path, {})

    def test_the_settings_of_the_operations_page_are_right(self) -> None:
        page = (ROOT / "docs/operations.rst").read_text()
        block = page.partition('    hostname = "mx.example.org"')
        text = block[1] + block[2].partition("\n\n``")[0]
        data = tomllib.loads(re.sub(r"(?m)^    ", "", text))
        path = Path(self.mktemp())
        path.write_text(re.sub(r"(?m)^    ", "", text))
        self.assertEqual(load_settings(path, {}).hostname, data["hostname"])
