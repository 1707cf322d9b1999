"""Maildirs of ours in programs that read them, with files of both line ends in one folder."""

import os
import re
import shutil
import smtplib
from functools import cache
from itertools import chain
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon
from tests.interop.dovecot import Dovecot
from tests.interop.fixtures import new_folder, stopped_at_exit
from tests.interop.mail import as_sent, delivered, lines
from tests.interop.readers import by_mblaze, by_mutt, by_notmuch

ANN = "ann@local.test"
TEXT = "Grüße,\r\n\r\n世界.\r\n".encode()
LONG = b"".join(b"line %06d of a text that is not small\r\n" % n for n in range(20_000))
RULE = "*:storage=100M"


def message(subject: str, text: bytes) -> bytes:
    return (
        b"From: a@remote.test\r\nTo: ann@local.test\r\nSubject: %b\r\n"
        b"Message-ID: <%b@remote.test>\r\nDate: Sat, 22 Nov 2025 14:03:07 +0100\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n\r\n"
    ) % (subject.encode(), subject.encode()) + text


SENT = {"short": TEXT, "long": LONG, "binary": TEXT, "old": TEXT}


@cache
def _daemon() -> Daemon:
    settings = "[session]\nbinarymime = true\n"
    daemon = stopped_at_exit(Daemon(new_folder("readers"), settings=settings))
    daemon.add_account(ANN, "correct-horse-battery")
    daemon.start()
    daemon.admin("quota", "set", ANN, "--size", "100M")
    with smtplib.SMTP("127.0.0.1", daemon.port, timeout=30) as smtp:
        for subject in ("short", "long"):
            smtp.sendmail("a@remote.test", [ANN], message(subject, SENT[subject]))
        smtp.ehlo()
        smtp.mail("a@remote.test", ["BODY=BINARYMIME"])
        smtp.rcpt(ANN)
        content = message("binary", SENT["binary"])
        smtp.send(b"BDAT %d LAST\r\n" % len(content) + content)
        assert smtp.getreply()[0] == 250
    _add_old(daemon.maildir(ANN) / "new")
    return daemon


def _add_old(new: Path) -> None:
    """Put a file there as versions before this one wrote them: CRLF, and one size in the name."""
    octets = b"Return-Path: <a@remote.test>\r\nDelivered-To: ann@local.test\r\n"
    octets += message("old", SENT["old"])
    name = f"1763816587.1kD3vB0007Qwbz_0123456789abcdef.mx.local.test,S={len(octets)}"
    (new / name).write_bytes(octets)


class ReadersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.maildir = _daemon().maildir(ANN)
        self.folder = new_folder("readers-run")

    def test_files_have_the_line_ends_of_the_host_and_names_tell_their_sizes(self) -> None:
        kinds = set()
        for path in (*self.maildir.glob("new/*"), *self.maildir.glob("cur/*")):
            octets = path.read_bytes()
            found = re.search(r",S=([0-9]+)(?:,W=([0-9]+))?(?::2,|$)", path.name)
            assert found is not None, path.name
            self.assertEqual(int(found[1]), len(octets))
            kept = b"Subject: binary" in octets or b"Subject: old" in octets
            self.assertEqual(octets.count(b"\r\n"), octets.count(b"\n") if kept else 0)
            if found[2]:
                self.assertEqual(int(found[2]), len(as_sent(octets)))
            kinds.add((kept, bool(found[2])))
        self.assertEqual(kinds, {(False, True), (True, True), (True, False)})

    def test_mutt(self) -> None:
        self.check_text(by_mutt(self.maildir, self.folder))

    def test_mblaze(self) -> None:
        self.check_text(by_mblaze(self.maildir))

    def test_notmuch(self) -> None:
        self.check_text(by_notmuch(self.maildir, self.folder))

    def check_text(self, read: object) -> None:
        """Each gives out a text with the line ends that its file has."""
        as_stored = {"binary", "old"}
        expected = {
            subject: text if subject in as_stored else lines(text) for subject, text in SENT.items()
        }
        self.assertEqual(read, expected)

    def test_dovecot_shows_what_was_sent_with_its_size_and_counts_what_we_count(self) -> None:
        daemon = _daemon()
        if os.geteuid() == 0:
            mail = daemon.state / "mail"
            daemon.state.chmod(0o711)
            for path in chain((mail,), mail.rglob("*")):
                shutil.chown(path, "nobody", "nogroup")
        dovecot = Dovecot(self.maildir, self.folder, inside=True, quota_rule=RULE)
        self.addCleanup(dovecot.stop)
        read = dovecot.messages()
        wanted = sorted(message(subject, text) for subject, text in SENT.items())
        self.assertEqual(sorted(map(delivered, read)), wanted)
        with dovecot.session() as imap:
            imap.select()
            sizes = [int(size) for size in re.findall(rb"SIZE ([0-9]+)", _fetched(imap))]
            self.assertEqual(sizes, [len(each) for each in read])
            (quota,) = imap.getquotaroot("INBOX")[1][1]  # type: ignore[index]
        kib = re.search(rb"STORAGE ([0-9]+)", quota)
        assert kib is not None
        files = sum(path.stat().st_size for path in self.maildir.glob("[nc][eu][wr]/*"))
        self.assertEqual(int(kib[1]), -(-files // 1024))
        shown = daemon.admin("quota", "recount", ANN, "--json")
        self.assertIn(f'"size_octets": {files}', shown)
        self.assertEqual(dovecot.complaints(), [])


def _fetched(imap: object) -> bytes:
    answer = imap.fetch("1:*", "RFC822.SIZE")  # type: ignore[attr-defined]
    return b"\n".join(answer[1])
