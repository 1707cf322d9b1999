"""The page on mailboxes: its commands are given, in order, and print what it says."""

import os
import re
import shlex
import time
from pathlib import Path

from postroom.cli.output import counted
from tests.architecture.sources import ROOT
from tests.cli.support import CommandTestCase

ANN = "ann@example.org"
# A command, and what follows up to the next one or the end of the indented block.
_EXAMPLE = re.compile(r"^    \$ postroom (.*)\n((?:(?:    (?!\$ ).*)?\n)*)", re.MULTILINE)
_MESSAGES = (
    ("cur/1767225600.M1P1.mx:2,S", b"From: =?utf-8?q?Zo=C3=AB?= <zoe@example.com>", b"Hello"),
    ("new/1767312000.M1P1.mx", b"From: Bob <bob@example.com>", b"Lunch"),
)


class MailboxesPage(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.set_zone, os.environ.get("TZ"))
        self.set_zone("UTC")
        self.succeed("domain", "add", "example.org")
        self.succeed("account", "add", ANN, "--password-stdin", stdin="correct horse battery")
        maildir = Path(self.succeed("mailbox", "path", ANN).strip())
        for part in ("tmp", "new", "cur"):
            (maildir / part).mkdir(parents=True)
        for name, sender, subject in _MESSAGES:
            head = sender + b"\r\nSubject: " + subject + b"\r\n\r\nHi!\r\n"
            (maildir / name).write_bytes(head)
            received_at = int(name[4:14])
            os.utime(maildir / name, (received_at, received_at))

    def set_zone(self, zone: str | None) -> None:
        os.environ.pop("TZ", None)
        if zone is not None:
            os.environ["TZ"] = zone
        time.tzset()

    def test_every_example_prints_what_the_page_says(self) -> None:
        page = (ROOT / "docs/mailboxes.rst").read_text()
        examples = _EXAMPLE.findall(page)
        self.assertGreater(len(examples), 15)
        self.assertEqual(counted(len(examples), "x"), f"{page.count('    $ ')} xs")
        folder = Path(self.mktemp())
        folder.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder)
        for command, output in examples:
            result = self.run_command(*shlex.split(command))
            expected = re.sub(r"(?m)^    ", "", output).rstrip("\n")
            self.assertEqual(result.output.rstrip("\n"), expected, command)
