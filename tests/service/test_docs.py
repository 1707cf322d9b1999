"""What the documentation shows works."""

import hmac
import io
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from base64 import b64decode, b64encode
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from postroom.credentials import Knowledge
from postroom.interfaces import ISASLMechanism
from postroom.server.authentication import Authentication, LoginParts
from postroom.service.settings import Settings, load_settings
from postroom.settings.declarations import declarations
from tests.architecture.sources import ROOT
from tests.server.scene import HOSTNAME, PASSWORD, USER, Peer, Scene, settings

EXTENSION = ROOT / "docs/examples/tenant.py"
MECHANISM = ROOT / "docs/examples/shared_word.py"
_FIND = """
from postroom.service.extensions import find_extensions
print([extension.keyword() for extension in find_extensions()])
"""


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


class ExtensionTests(SynchronousTestCase):
    """The extension of ``docs/examples/tenant.py``."""

    def setUp(self) -> None:
        self.example = runpy.run_path(str(EXTENSION))
        self.scene = Scene(settings(role="submission"))
        self.scene.factory.listener.add_extension(self.example["extension"])

    def log_in(self) -> Peer:
        peer = self.scene.connect(tls=True)
        self.assertNotIn("XTENANT", peer.say("EHLO client.example").text)
        peer.say("AUTH PLAIN AHVzZXJAaGVyZS5leGFtcGxlAGNvcnJlY3QgaG9yc2U=")
        return peer

    def test_it_is_offered_and_its_parameter_is_kept(self) -> None:
        peer = self.log_in()
        self.assertIn("XTENANT", peer.say("EHLO client.example").text)
        self.assertEqual(peer.say("MAIL FROM:<a@here.example> XTENANT=Blue SIZE=3").code, 250)
        parameters = peer.protocol.session.envelope.mail.parameters
        self.assertEqual(parameters, {"XTENANT": "Blue", "SIZE": "3"})
        self.assertEqual(self.example["TENANT"].of(parameters), "blue")
        self.assertIsNone(self.example["TENANT"].of({}))

    def test_what_is_no_tenant_is_refused(self) -> None:
        peer = self.log_in()
        peer.say("EHLO client.example")
        for wrong in ("XTENANT", "XTENANT=a_b", "XTENANT=a XTENANT=a", "XTENANT=" + "a" * 33):
            self.assertEqual(peer.say(f"MAIL FROM:<a@here.example> {wrong}").code, 501, wrong)
        self.assertEqual(peer.say("MAIL FROM:<a@here.example>").code, 250)
        self.assertEqual(peer.say("RCPT TO:<b@here.example> XTENANT=a").code, 555)

    def test_where_it_is_not_offered_it_does_not_exist(self) -> None:
        for listener in (
            settings(role="mx"),
            settings(role="submission", extensions_off=["XTENANT"]),
        ):
            self.scene = Scene(listener)
            self.scene.factory.listener.add_extension(self.example["extension"])
            peer = self.log_in()
            self.assertEqual(peer.say("MAIL FROM:<a@here.example> XTENANT=a").code, 555)

    def test_the_daemon_finds_it(self) -> None:
        folder = Path(self.mktemp())
        (folder / "twisted/plugins").mkdir(parents=True)
        shutil.copy(EXTENSION, folder / "twisted/plugins/tenant.py")
        path = os.pathsep.join([str(folder.absolute()), *filter(None, sys.path)])
        found = subprocess.run(
            [sys.executable, "-c", _FIND],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(found.stdout, "['XTENANT']\n")


class MechanismTests(SynchronousTestCase):
    """The SASL mechanism of one's own."""

    def test_it_logs_in(self) -> None:
        example = runpy.run_path(str(MECHANISM))
        scene = Scene(settings(role="submission"))
        mechanism = example["shared_word"]
        verifyObject(ISASLMechanism, mechanism)
        secrets: Any = SimpleNamespace(knows=frozenset(Knowledge), scram_keys=None)
        scene.factory.listener.authentication = Authentication(
            scene.clock, scene.portal, [mechanism], HOSTNAME, LoginParts(secrets)
        )
        for password, code in ((b"wrong", 535), (PASSWORD, 235)):
            peer = scene.connect(tls=True)
            self.assertIn("AUTH SHARED-WORD", peer.say("EHLO client.example").text)
            challenge = b64decode(peer.say("AUTH SHARED-WORD").text[0])
            mac = hmac.new(password, challenge, "sha256").hexdigest().encode()
            self.assertEqual(peer.say(b64encode(USER + b" " + mac)).code, code)

    def test_the_settings_can_name_it(self) -> None:
        folder = Path(self.mktemp())
        (folder / "twisted/plugins").mkdir(parents=True)
        shutil.copy(MECHANISM, folder / "twisted/plugins/shared_word.py")
        path = os.pathsep.join([str(folder.absolute()), *filter(None, sys.path)])
        find = (
            "from postroom.server.sasl.available import mechanisms_named;"
            "print([each.name for each in mechanisms_named(['SHARED-WORD', 'PLAIN'])])"
        )
        found = subprocess.run(
            [sys.executable, "-c", find],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(found.stdout, "['SHARED-WORD', 'PLAIN']\n")


class TextTests(SynchronousTestCase):
    """The pages."""

    def test_every_page_is_in_the_index(self) -> None:
        index = (ROOT / "docs/index.rst").read_text()
        pages = {path.stem for path in (ROOT / "docs").glob("*.rst")} - {"index"}
        self.assertEqual(set(re.findall(r"(?m)^   (\w+)$", index)), pages)

    def test_the_files_that_the_architecture_names_exist(self) -> None:
        page = (ROOT / "docs/architecture.rst").read_text()
        names = re.findall(r"``([a-z_]+/[a-z_/]*[a-z_]+(?:\.py)?)``", page)
        self.assertGreater(len(names), 40)
        for name in names:
            places = (ROOT / "src/postroom" / name, ROOT / name)
            self.assertTrue(any(each.exists() for each in places), name)

    def test_the_architecture_names_every_room(self) -> None:
        page = (ROOT / "docs/architecture.rst").read_text()
        rooms = {path.parent.name for path in (ROOT / "src/postroom").glob("*/__init__.py")}
        self.assertEqual(rooms - set(re.findall(r"``([a-z]+)``", page)), set())

    def test_the_tests_that_contributors_are_shown_exist(self) -> None:
        page = (ROOT / "CONTRIBUTING.rst").read_text()
        names = re.findall(r"(?m)^    (?:trial|python -m) (\S+)", page)
        self.assertGreater(len(names), 4)
        for name in names:
            namedAny(name)

    def test_news_fragments_have_names_that_towncrier_knows(self) -> None:
        settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]
        types = "|".join(each["directory"] for each in settings["type"])
        for path in (ROOT / settings["directory"]).iterdir():
            if path.name != "README.rst":
                self.assertRegex(path.name, rf"^\d+\.({types})(\.\d+)?\.rst$")
                self.assertEqual(path.read_text() == "", ".misc." in path.name, path.name)

    def test_settings_in_the_pages_exist(self) -> None:
        text = "".join(path.read_text() for path in (ROOT / "docs").glob("*.rst"))
        known = {item.key for item in declarations(Settings)}
        tables = "|".join({key.partition(".")[0] for key in known if "." in key})
        for name in re.findall(rf"``((?:{tables})\.[a-z_.]+)``", text):
            self.assertIn(name, known)

    def test_the_settings_of_the_pages_are_right(self) -> None:
        for page in (
            "tls.rst",
            "operations.rst",
            "sending.rst",
            "protocol.rst",
            "authentication.rst",
        ):
            text = (ROOT / "docs" / page).read_text()
            blocks = re.findall(r"(?m)::\n\n((?:    .*\n|\n)+)", text)
            blocks = [re.sub(r"(?m)^    ", "", block) for block in blocks]
            starts = r"\[(tls|session|delivery|auth)|(listen|relay_host) = "
            found = [block for block in blocks if re.match(starts, block)]
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
