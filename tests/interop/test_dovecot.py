"""What was delivered to a Maildir is what Dovecot gives to mail programs, octet by octet."""

import os
import shutil
import smtplib
from functools import cache
from itertools import chain

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon
from tests.interop.clients import smtp_source
from tests.interop.dovecot import Dovecot
from tests.interop.fixtures import new_folder, stopped_at_exit
from tests.interop.mail import HARD, ODD, Folder, delivered

ANN = "ann@local.test"


@cache
def _servers() -> tuple[Daemon, Dovecot]:
    daemon = stopped_at_exit(Daemon(new_folder("dovecot")))
    daemon.add_account(ANN, "correct-horse-battery")
    daemon.start()
    reader = Dovecot(daemon.maildir(ANN), new_folder("dovecot-run"))
    return daemon, stopped_at_exit(reader)


class DovecotTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.daemon, self.dovecot = _servers()
        self.seen = len(self.read())

    def read(self, part: str = "") -> list[bytes]:
        """Read all mail with Dovecot, which as root's child must be somebody else to do so."""
        if os.geteuid() == 0:
            state = self.daemon.state
            below = (path for path in (state / "mail").rglob("*"))
            for path in chain((state, state / "mail"), below):
                shutil.chown(path, "nobody", "nogroup")
        return self.dovecot.messages(part)

    def deliver(self, *contents: bytes) -> None:
        for content in contents:
            with smtplib.SMTP("127.0.0.1", self.daemon.port, timeout=30) as smtp:
                smtp.sendmail("sender@remote.test", [ANN], content)

    def test_messagesAreReadAsTheyWereSent(self) -> None:
        contents = [*HARD.values(), *ODD.values()]
        self.deliver(*contents)
        read = [delivered(message) for message in self.read()[self.seen :]]
        self.assertEqual(sorted(read), sorted(contents))

    def test_aBareBodyIsNotHiddenInTheHeader(self) -> None:
        prose = b"Neither a header nor an empty line\r\n\r\nbefore the body.\r\n"
        self.deliver(prose)
        self.assertEqual(self.read("TEXT")[self.seen :], [prose])

    def test_mailGoesOnArrivingWhereDovecotHasReadSome(self) -> None:
        """Dovecot moves what it has read from new to cur."""
        for count in (40, 80):
            smtp_source(self.daemon.port, "-s", "5", "-m", "40", "-t", ANN)
            self.assertEqual(len(self.read()) - self.seen, count)
        self.assertEqual(Folder(self.daemon.maildir(ANN) / "new").contents(), [])
