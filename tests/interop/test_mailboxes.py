"""The mailbox commands beside Dovecot, on the same Maildir, and quotas that both keep."""

import json
import os
import re
import shutil
import smtplib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from imaplib import IMAP4
from itertools import chain
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from postroom.delivery.quotas import FRESH_SECONDS
from tests.daemon import Daemon, wait_until
from tests.interop.dovecot import Dovecot
from tests.interop.fixtures import new_folder, stopped_at_exit
from tests.interop.mail import HARD, ODD
from tests.maildirs.test_folders import NAMES

ANN = "ann@local.test"
QUOTA = ("--size", "100k", "--messages", "20")
RULE = "*:storage=100K:messages=20"


@cache
def _servers() -> tuple[Daemon, Dovecot]:
    daemon = stopped_at_exit(Daemon(new_folder("mailboxes")))
    daemon.add_account(ANN, "correct-horse-battery")
    daemon.start()
    daemon.admin("mailbox", "create", ANN, "First")
    reader = Dovecot(daemon.maildir(ANN), new_folder("mailboxes-run"), inside=True, quota_rule=RULE)
    return daemon, stopped_at_exit(reader)


class MailboxesCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.daemon, self.dovecot = _servers()
        self.maildir = self.daemon.maildir(ANN)
        self.daemon.admin("quota", "unset", ANN)
        self.hand_over()
        with self.dovecot.session() as imap:
            for name in self.listed(imap) - {"INBOX"}:
                self.ok(imap.delete(f'"{name}"'))
            (count,) = self.ok(imap.select())
            if int(count):
                self.ok(imap.store("1:*", "+FLAGS", r"(\Deleted)"))
                self.ok(imap.expunge())
        self.addCleanup(lambda: self.assertEqual(self.dovecot.complaints(), []))

    def ok(self, answer: Any) -> list[Any]:
        status, data = answer
        self.assertEqual(status, "OK", data)
        return list(data)

    def hand_over(self) -> None:
        """Let Dovecot, which as root's child is somebody else, read what the daemon wrote."""
        if os.geteuid() == 0:
            mail = self.daemon.state / "mail"
            self.daemon.state.chmod(0o711)
            for path in chain((mail,), mail.rglob("*")):
                shutil.chown(path, "nobody", "nogroup")

    def admin(self, *words: str, stdin: str = "") -> Any:
        return json.loads(self.daemon.admin(*words, "--json", stdin=stdin))

    def append(self, number: int, mailbox: str = "INBOX", size: int = 100) -> None:
        """Have Dovecot put a message into a mailbox."""
        octets = b"Subject: %d\r\n\r\n" % number
        octets += b"x" * (size - len(octets) - 2) + b"\r\n"
        with self.dovecot.session() as imap:
            self.ok(imap.append(mailbox, "", "", octets))

    def listed(self, imap: IMAP4) -> set[str]:
        found = re.findall(rb'"\." "?([^"\r]+?)"?$', b"\n".join(imap.list()[1]), re.MULTILINE)  # type: ignore[arg-type]
        return {name.decode("ascii") for name in found}

    def state(self, imap: IMAP4, mailbox: str = "INBOX") -> tuple[int, dict[str, tuple[int, str]]]:
        """Give UIDVALIDITY, and UID and flags of each message by subject."""
        (count,) = self.ok(imap.select(f'"{mailbox}"'))
        (validity,) = imap.response("UIDVALIDITY")[1]
        found = {}
        if int(count):
            data = self.ok(imap.fetch("1:*", "(UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))
            for item in data:
                if isinstance(item, tuple):
                    uid = re.search(rb"UID ([0-9]+)", item[0])
                    flags = re.search(rb"FLAGS \(([^)]*)\)", item[0])
                    assert uid is not None
                    assert flags is not None
                    names = " ".join(sorted(flags[1].decode().replace("\\Recent", "").split()))
                    subject = item[1].strip().partition(b": ")[2].decode()
                    found[subject] = int(uid[1]), names
        return int(validity or b"0"), found

    def keys(self, mailbox: str = "INBOX") -> dict[str, str]:
        """Give our key of each message by subject."""
        messages = self.admin("mailbox", "show", ANN, "-m", mailbox)["messages"]
        return {each["subject"]: each["key"] for each in messages}


class Folders(MailboxesCase):
    def test_names_are_written_alike(self) -> None:
        for name in NAMES:
            self.admin("mailbox", "create", ANN, name)
        with self.dovecot.session() as imap:
            ours = self.listed(imap)
            for directory in NAMES.values():
                self.assertIn(directory[1:], ours)
                self.ok(imap.delete(f'"{directory[1:]}"'))
                self.ok(imap.create(f'"{directory[1:]}"'))
        theirs = {row["mailbox"] for row in self.admin("mailbox", "list", ANN)}
        self.assertEqual(theirs, {"INBOX", *NAMES})

    def test_one_that_is_renamed_keeps_its_uids_and_one_that_is_deleted_is_gone(self) -> None:
        self.admin("mailbox", "create", ANN, "A.B")
        self.append(1, "A.B")
        self.append(2, "A.B")
        with self.dovecot.session() as imap:
            before = self.state(imap, "A.B")
        self.admin("mailbox", "rename", ANN, "A.B", "Ä")
        with self.dovecot.session() as imap:
            self.assertEqual(self.state(imap, "&AMQ-"), before)
            self.assertNotIn("A.B", self.listed(imap))
        self.admin("mailbox", "delete", ANN, "Ä", "--yes")
        with self.dovecot.session() as imap:
            self.assertEqual(self.listed(imap), {"INBOX"})

    def test_what_is_being_deleted_is_shown_to_nobody(self) -> None:
        left = self.maildir / "postroom-deleted-0123456789abcdef" / "cur"
        left.mkdir(parents=True)
        self.addCleanup(shutil.rmtree, left.parent)
        self.hand_over()
        with self.dovecot.session() as imap:
            self.assertEqual(self.listed(imap), {"INBOX"})


class Messages(MailboxesCase):
    def setUp(self) -> None:
        super().setUp()
        for number in range(1, 5):
            self.append(number)

    def uidlists(self) -> dict[Path, bytes]:
        return {
            path: path.read_bytes() for path in self.maildir.rglob("dovecot*") if path.is_file()
        }

    def test_uids_stay_while_a_session_looks_on(self) -> None:
        self.admin("mailbox", "create", ANN, "Old")
        with self.dovecot.session() as imap:
            validity, before = self.state(imap)
            keys = self.keys()
            files = self.uidlists()
            self.admin("mailbox", "flag", ANN, keys["1"], "--set", "seen", "--set", "flagged")
            self.admin("mailbox", "flag", ANN, keys["2"], "--set", "answered")
            self.admin("mailbox", "move", ANN, keys["3"], "--to", "Old")
            self.admin("mailbox", "copy", ANN, keys["4"], "--to", "Old")
            self.assertEqual(self.uidlists(), files)
            self.ok(imap.noop())
            after = self.state(imap)
        self.assertEqual(after[0], validity)
        self.assertEqual(
            after[1],
            {
                "1": (before["1"][0], "\\Flagged \\Seen"),
                "2": (before["2"][0], "\\Answered"),
                "4": before["4"],
            },
        )
        with self.dovecot.session() as imap:
            self.assertEqual(set(self.state(imap, "Old")[1]), {"3", "4"})

    def test_what_dovecot_changed_is_found_by_the_same_name(self) -> None:
        keys = self.keys()
        with self.dovecot.session() as imap:
            imap.select()
            self.ok(imap.store("1", "+FLAGS", r"(\Seen custom)"))
        self.assertEqual(self.keys(), keys)
        self.admin("mailbox", "flag", ANN, keys["1"], "--set", "flagged")
        with self.dovecot.session() as imap:
            self.assertEqual(self.state(imap)[1]["1"][1], "\\Flagged \\Seen custom")

    def test_what_is_expunged_is_gone_and_there_and_back_is_there(self) -> None:
        keys = self.keys()
        self.admin("mailbox", "expunge", ANN, keys["2"], "--yes")
        self.admin("mailbox", "create", ANN, "Old")
        self.admin("mailbox", "move", ANN, keys["1"], "--to", "Old")
        with self.dovecot.session() as imap:
            self.assertEqual(set(self.state(imap)[1]), {"3", "4"})
            self.assertEqual(set(self.state(imap, "Old")[1]), {"1"})
        self.admin("mailbox", "move", ANN, keys["1"], "-m", "Old", "--to", "INBOX")
        with self.dovecot.session() as imap:
            self.assertEqual(set(self.state(imap)[1]), {"1", "3", "4"})


class Imports(MailboxesCase):
    def read(self, mailbox: str) -> list[bytes]:
        with self.dovecot.session() as imap:
            imap.select(mailbox)
            data = self.ok(imap.fetch("1:*", "(BODY.PEEK[])"))
            return sorted(item[1] for item in data if isinstance(item, tuple))

    def test_what_came_in_is_read_octet_by_octet_and_so_is_what_went_out_and_in_again(self) -> None:
        contents = sorted(each for each in (*HARD.values(), *ODD.values()) if each)
        source = new_folder("import") / "cur"
        source.mkdir()
        for number, content in enumerate(contents):
            (source / f"1000.M{number}P1.host:2,S").write_bytes(content)
        self.daemon.admin("mailbox", "import", ANN, str(source.parent), "-m", "In")
        expected = sorted(_crlf(content) for content in contents)
        self.assertEqual(self.read("In"), expected)
        mbox = str(new_folder("export") / "out")
        self.daemon.admin("mailbox", "export", ANN, mbox, "-m", "In", "--line-ends", "kept")
        self.daemon.admin("mailbox", "import", ANN, mbox, "-m", "Again")
        again = self.read("Again")
        self.assertEqual(again, sorted(map(_ended, expected)))

    def test_what_came_in_the_same_second_is_in_the_order_of_the_mbox(self) -> None:
        source = new_folder("import") / "mbox"
        first = b"From a@b.example Thu Jan  1 00:00:00 2026\n"
        numbers = range(1, 41)
        source.write_bytes(b"".join(first + b"Subject: %d\n\n" % number for number in numbers))
        self.daemon.admin("mailbox", "import", ANN, str(source), "-m", "In")
        with self.dovecot.session() as imap:
            imap.select("In")
            data = self.ok(imap.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))
            found = [item[1].strip() for item in data if isinstance(item, tuple)]
        self.assertEqual(found, [b"Subject: %d" % number for number in numbers])

    def test_flags_and_dates_come_along(self) -> None:
        source = new_folder("import") / "cur"
        source.mkdir()
        (source / "1000.M1P1.host:2,FS").write_bytes(b"Subject: 1\r\n\r\n")
        os.utime(source / "1000.M1P1.host:2,FS", (1_000_000_000, 1_000_000_000))
        self.daemon.admin("mailbox", "import", ANN, str(source.parent))
        with self.dovecot.session() as imap:
            self.assertEqual(self.state(imap)[1]["1"][1], "\\Flagged \\Seen")
            self.assertIn(b"09-Sep-2001", self.ok(imap.fetch("1", "INTERNALDATE"))[0])


class Quotas(MailboxesCase):
    def setUp(self) -> None:
        super().setUp()
        self.admin("quota", "set", ANN, *QUOTA)

    def theirs(self, dovecot: Dovecot | None = None) -> tuple[int, int]:
        """Give KiB and messages as Dovecot counts them."""
        with (dovecot or self.dovecot).session() as imap:
            (line,) = self.ok(imap.getquotaroot("INBOX"))[1]
        found = re.search(rb"STORAGE ([0-9]+) 100 MESSAGE ([0-9]+) 20", line)
        assert found is not None, line
        return int(found[1]), int(found[2])

    def ours(self) -> tuple[int, int]:
        shown = self.admin("quota", "show", ANN)
        return -(-shown["size_octets"] // 1024), shown["messages"]

    def deliver(self, size: int) -> None:
        with smtplib.SMTP("127.0.0.1", self.daemon.port, timeout=30) as smtp:
            smtp.sendmail("a@remote.test", [ANN], "Subject: d\n\n" + "x" * 60 + "\n" * size)
        self.hand_over()

    def agree(self, messages: int) -> None:
        theirs, ours = self.theirs(), self.ours()
        self.assertEqual((theirs[1], ours[1]), (messages, messages))
        self.assertLessEqual(abs(theirs[0] - ours[0]), 1)  # they round

    def counted(self) -> int:
        """Give how many messages there are indeed."""
        return int(self.admin("quota", "recount", ANN)[0]["messages"])

    def test_both_count_what_either_does(self) -> None:
        self.agree(0)
        self.deliver(5000)
        self.deliver(10)
        self.agree(2)
        self.append(1, size=3000)
        self.agree(3)
        self.admin("mailbox", "create", ANN, "Old")
        keys = self.keys()
        self.admin("mailbox", "copy", ANN, keys["1"], "--to", "Old")
        self.admin("mailbox", "move", ANN, keys["1"], "--to", "Old")
        self.agree(4)
        with self.dovecot.session() as imap:
            imap.select()
            imap.store("1", "+FLAGS", r"(\Deleted)")
            imap.expunge()
        self.agree(3)
        self.admin("mailbox", "delete", ANN, "Old", "--yes")
        self.agree(1)
        self.assertEqual(self.counted(), 1)
        self.agree(1)

    def refusal(self) -> tuple[int, bytes]:
        with smtplib.SMTP("127.0.0.1", self.daemon.port, timeout=30) as smtp:
            smtp.ehlo()
            smtp.mail("a@remote.test")
            return smtp.rcpt(ANN)

    def test_who_is_full_for_one_is_full_for_the_other_until_there_is_room(self) -> None:
        for number in range(20):
            self.append(number)
        self.agree(20)
        with self.dovecot.session() as imap:
            status, data = imap.append("INBOX", "", "", b"Subject: too much\r\n\r\n")
            self.assertEqual((status, b"OVERQUOTA" in data[0]), ("NO", True))
        self.assertTrue(wait_until(lambda: self.refusal()[0] == 452, 10 * FRESH_SECONDS))
        self.assertEqual(self.refusal()[1], b"4.2.2 Mailbox full, try again later")
        with self.dovecot.session() as imap:
            imap.select()
            imap.store("1", "+FLAGS", r"(\Deleted)")
            imap.expunge()
        self.assertTrue(wait_until(lambda: self.refusal()[0] == 250, 10 * FRESH_SECONDS))

    def test_dovecot_finds_the_limits_by_itself(self) -> None:
        self.append(1, size=3000)
        another = Dovecot(self.maildir, new_folder("mailboxes-run"), inside=True, quota_rule="")
        self.addCleanup(another.stop)
        self.assertEqual(self.theirs(another)[1], 1)

    def test_an_announced_size_is_looked_at(self) -> None:
        with smtplib.SMTP("127.0.0.1", self.daemon.port, timeout=30) as smtp:
            smtp.ehlo()
            smtp.mail("a@remote.test", ["SIZE=200000"])
            self.assertEqual(smtp.rcpt(ANN)[0], 452)


class FreshAccounts(SynchronousTestCase):
    """Who never had mail holds what the quota allows, however many sessions bring it at once."""

    def setUp(self) -> None:
        self.daemon, _ = _servers()

    def fresh(self, name: str) -> Path:
        address = f"{name}@local.test"
        self.daemon.admin("account", "add", address, "--password-stdin", stdin="horse-battery-1\n")
        self.daemon.admin("quota", "set", address, "--size", "10k", "--messages", "2")
        return self.daemon.maildir(address) / "new"

    def send(self, address: str, size: int = 500) -> int:
        """Send a message; gives the code of the first reply that is no success."""
        with smtplib.SMTP("127.0.0.1", self.daemon.port, timeout=60) as smtp:
            smtp.ehlo()
            content = b"Subject: x\r\n\r\n" + b"x" * 60 + b"\r\n" * (size // 2)
            for code, _ in (smtp.mail("a@remote.test"), smtp.rcpt(address), smtp.data(content)):
                if code >= 400:
                    return code
            return 250

    def send_many(self, address: str) -> Counter[int]:
        with ThreadPoolExecutor(20) as threads:
            return Counter(threads.map(self.send, [address] * 100))

    def test_alone(self) -> None:
        new = self.fresh("bob")
        self.assertEqual(self.send_many("bob@local.test"), {250: 2, 452: 98})
        self.assertEqual(len(list(new.iterdir())), 2)
        (found,) = self.daemon_json("quota", "recount", "bob@local.test")
        self.assertEqual(found["size_octets"], sum(p.stat().st_size for p in new.iterdir()))

    def test_in_a_group_whose_other_member_has_room(self) -> None:
        new = self.fresh("cat")
        self.daemon.add_account("fay@local.test", "correct-horse-battery")
        self.daemon.admin("alias", "add", "team@local.test", "cat@local.test", "fay@local.test")
        self.assertEqual(self.send_many("team@local.test"), {250: 100})
        self.assertEqual(len(list(new.iterdir())), 2)

    def test_as_the_target_of_a_forward(self) -> None:
        new = self.fresh("dan")
        self.daemon.admin("alias", "add", "old-dan@local.test", "dan@local.test")
        self.assertEqual(self.send_many("old-dan@local.test"), {250: 2, 452: 98})
        self.assertEqual(len(list(new.iterdir())), 2)

    def test_one_message_that_is_larger_than_the_quota(self) -> None:
        new = self.fresh("eve")
        self.assertEqual(self.send("eve@local.test", 30_000), 452)
        self.assertEqual(self.send("eve@local.test"), 250)
        self.assertEqual(len(list(new.iterdir())), 1)

    def daemon_json(self, *words: str) -> Any:
        return json.loads(self.daemon.admin(*words, "--json"))


def _crlf(content: bytes) -> bytes:
    """Write line ends as IMAP gives them."""
    return re.sub(rb"(?<!\r)\n", b"\r\n", content)


def _ended(content: bytes) -> bytes:
    return content if content.endswith(b"\n") else content + b"\r\n"
