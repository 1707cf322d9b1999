"""The pages on accounts and mailboxes: their commands, given in order, print what is said."""

import os
import re
import shlex
import textwrap
import time
from pathlib import Path

from postroom.cli.output import counted
from postroom.service.settings import load_settings
from postroom.service.sources import check_sources
from tests.architecture.sources import ROOT
from tests.cli.support import CommandTestCase

ANN = "ann@example.org"
# A command, and what follows up to the next one or the end of the indented block.
_EXAMPLE = re.compile(r"^    \$ postroom (.*)\n((?:(?:    (?!\$ ).*)?\n)*)", re.MULTILINE)
_MESSAGES = (
    ("cur/1767225600.M1P1.mx:2,S", b"From: =?utf-8?q?Zo=C3=AB?= <zoe@example.com>", b"Hello"),
    ("new/1767312000.M1P1.mx", b"From: Bob <bob@example.com>", b"Lunch"),
)


class PageTestCase(CommandTestCase):
    def give_all(self, page: str, least: int, stdin: str | None = None) -> None:
        """Give all commands of a page, and compare what they print."""
        text = (ROOT / page).read_text()
        examples = _EXAMPLE.findall(text)
        self.assertGreaterEqual(len(examples), least)
        self.assertEqual(counted(len(examples), "x"), f"{text.count('    $ ')} xs")
        folder = Path(self.mktemp())
        folder.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder)
        for command, output in examples:
            result = self.run_command(*shlex.split(command), stdin=stdin)
            printed = result.output.replace(str(self.mail_root), "/var/lib/postroom/mail")
            expected = re.sub(r"(?m)^    ", "", output).rstrip("\n")
            self.assertEqual(printed.rstrip("\n"), expected, command)


class AccountsPage(PageTestCase):
    def test_every_example_prints_what_the_page_says(self) -> None:
        self.give_all("docs/accounts.rst", least=15, stdin="correct horse battery\n")

    def test_every_settings_file_is_one(self) -> None:
        page = (ROOT / "docs/accounts.rst").read_text()
        blocks = re.findall(r"\.\. code-block:: toml\n\n((?:   .*\n|\n)+)", page)
        self.assertEqual(len(blocks), 5)
        named = set()
        for block in blocks:
            path = Path(self.mktemp())
            path.write_text(textwrap.dedent(block))
            settings = load_settings(path, {})
            named.update(settings.accounts.sources)
            if {"sql", "static"}.intersection(settings.accounts.sources):
                self.assertEqual(check_sources(settings), [])
        self.assertEqual(named, {"database", "passwd_file", "sql", "ldap", "system", "static"})


class MailboxesPage(PageTestCase):
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
        self.give_all("docs/mailboxes.rst", least=15)
