"""``postroom mailbox``."""

import gzip
import io
import mailbox
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

from postroom.cli import mailbox_transfer, output
from tests.cli.support import CommandTestCase
from tests.filesystem import RecordingDisk, forbid_leaks

ME = "postmaster@localhost"
MESSAGE = b"From: Zoe <zoe@b.example>\r\nSubject: Hello\r\n\r\nFrom me to you\r\n"


class MailboxCase(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.maildir = self.mail_root / "localhost" / "postmaster"

    def put(self, name: str, content: bytes = MESSAGE, received_at: int = 1_000_000_000) -> Path:
        path = self.maildir / name
        for part in ("tmp", "new", "cur"):
            (path.parent.parent / part).mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (received_at, received_at))
        return path

    def names(self, directory: str = "cur") -> list[str]:
        return sorted(os.listdir(self.maildir / directory))


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class MailboxTests(MailboxCase):
    def deliver(self, message: bytes) -> None:
        self.maildir.parent.mkdir(parents=True, exist_ok=True)
        mailbox.Maildir(self.maildir, create=True).add(message)

    def test_path_prints_the_absolute_maildir_and_nothing_else(self) -> None:
        output = self.succeed("mailbox", "path", "Postmaster@localhost")
        self.assertEqual(output, f"{self.maildir}\n")
        self.assertTrue(Path(output.rstrip("\n")).is_absolute())
        self.assertEqual(
            self.succeed_json("mailbox", "path", "postmaster@localhost"),
            {"address": "postmaster@localhost", "maildir": str(self.maildir)},
        )

    def test_an_unknown_account_is_refused(self) -> None:
        for command in ("path", "show"):
            self.refuse("no account joe@localhost", "mailbox", command, "joe@localhost")

    def test_a_mailbox_that_never_got_mail_is_listed_empty_and_not_made(self) -> None:
        self.assertEqual(
            self.succeed_json("mailbox", "list"),
            [
                {
                    "address": "postmaster@localhost",
                    "messages": 0,
                    "size_octets": 0,
                    "maildir": str(self.maildir),
                }
            ],
        )
        self.assertEqual(
            self.succeed_json("mailbox", "show", "postmaster@localhost")["messages"], []
        )
        self.assertFalse(self.mail_root.exists())

    def test_messages_are_counted_and_shown(self) -> None:
        self.deliver(
            b"From: Zoe <zoe@b.example>\nSubject: =?utf-8?q?caf=C3=A9?=\n"
            b"Date: Fri, 02 Jan 2026 03:04:05 +0000\n\n" + b"x" * 2000
        )
        row = self.succeed("mailbox", "list").splitlines()[1]
        self.assertEqual(row.split(), ["postmaster@localhost", "1", "2.0", "KiB"])
        shown = self.succeed_json("mailbox", "show", "postmaster@localhost")["messages"][0]
        self.assertEqual(shown["from"], "Zoe <zoe@b.example>")
        self.assertEqual(shown["subject"], "café")
        self.assertEqual(shown["date"], "2026-01-02T03:04:05+00:00")
        self.assertGreater(shown["size_octets"], 2000)
        self.assertIn("café", self.succeed("mailbox", "show", "postmaster@localhost"))

    def test_showing_a_message_does_not_make_it_an_old_one(self) -> None:
        self.deliver(b"Subject: x\n\n")
        self.succeed("mailbox", "show", "postmaster@localhost")
        self.succeed("mailbox", "list")
        self.assertEqual(len(list((self.maildir / "new").iterdir())), 1)
        self.assertEqual(list((self.maildir / "cur").iterdir()), [])

    def test_a_subject_cannot_drive_the_terminal(self) -> None:
        self.deliver("Subject: \x1b]0;gotcha\x07 \u202eabc [red]x[/red]\nDate: x\n\n".encode())
        output = self.succeed("mailbox", "show", "postmaster@localhost")
        self.assertNotIn("\x1b", output)
        self.assertNotIn("\u202e", output)
        self.assertIn("[red]x[/red]", output)


class Folders(MailboxCase):
    def test_they_are_made_listed_renamed_and_deleted(self) -> None:
        self.assertEqual(
            self.succeed("mailbox", "create", ME, "Entwürfe"),
            f"Created the mailbox Entwürfe of {ME}\n",
        )
        self.succeed("mailbox", "create", ME, "Lists.Python")
        self.put(".Lists.Python/cur/1.a:2,S")
        self.assertEqual(
            self.succeed_json("mailbox", "list", ME),
            [
                {"mailbox": name, "messages": n, "unseen": 0, "size_octets": n * len(MESSAGE)}
                for name, n in (("INBOX", 0), ("Entwürfe", 0), ("Lists.Python", 1))
            ],
        )
        self.assertEqual(
            self.succeed("mailbox", "list", ME).splitlines()[-1].split()[:3],
            ["Lists.Python", "1", "0"],
        )
        renamed = self.succeed_json("mailbox", "rename", ME, "Lists.Python", "Snakes")
        self.assertEqual(renamed["renamed"], [{"from": "Lists.Python", "to": "Snakes"}])
        self.assertIn("Snakes", self.succeed("mailbox", "delete", ME, "Snakes", "--yes"))
        self.assertNotIn("Snakes", self.succeed("mailbox", "list", ME))

    def test_deleting_asks(self) -> None:
        self.succeed("mailbox", "create", ME, "Old")
        self.refuse("to ask for confirmation: use --yes", "mailbox", "delete", ME, "Old")
        self.assertIn("Old", self.succeed("mailbox", "list", ME))

    def test_what_is_wrong_is_said_in_one_line(self) -> None:
        self.succeed("mailbox", "create", ME, "Lists")
        for why, *arguments in (
            ("exists already", "create", ME, "Lists"),
            ("slash", "create", ME, "../../etc"),
            ("is empty", "create", ME, "a..b"),
            ("no account who@localhost", "create", "who@localhost", "x"),
            ("did you mean Lists?", "rename", ME, "Lsts", "x"),
            ("inbox cannot be renamed", "rename", ME, "INBOX", "x"),
            ("cannot be deleted", "delete", ME, "INBOX", "--yes"),
            ("no mailbox Nope", "delete", ME, "Nope", "--yes"),
        ):
            self.refuse(why, "mailbox", *arguments)

    def test_a_maildir_that_is_broken_is_named(self) -> None:
        self.maildir.parent.mkdir(parents=True)
        self.maildir.write_text("a file")
        for command in ("list", "show"):
            self.refuse(f"{self.maildir}: Not a directory", "mailbox", command, ME)


class Messages(MailboxCase):
    def setUp(self) -> None:
        super().setUp()
        self.put("cur/1.a:2,S")
        self.put("new/2.b", b"Subject: \xff\x1b[31m\r\n\r\n\x1b[2Jclear\tit\r\n", 1_000_000_100)
        self.succeed("mailbox", "create", ME, "Old")

    def test_they_are_read(self) -> None:
        self.assertEqual(
            self.succeed("mailbox", "read", ME, "1"),
            "From: Zoe <zoe@b.example>\nSubject: Hello\n\nFrom me to you\n",
        )
        shown = self.succeed("mailbox", "read", ME, "2.b")
        self.assertNotIn("\x1b", shown)
        self.assertRegex(shown, r"clear +it")
        found = self.succeed_json("mailbox", "read", ME, "1")
        self.assertEqual((found["text"], found["flags"]), ("From me to you\n", ["seen"]))
        self.assertEqual(self.names("new"), ["2.b"])

    def test_raw_is_octet_by_octet(self) -> None:
        result = self.run_command("mailbox", "read", ME, "1", "--raw")
        self.assertEqual(result.stdout_bytes, MESSAGE)
        self.misuse("--raw excludes", "mailbox", "read", ME, "1", "--raw", "--json")

    def test_they_are_found(self) -> None:
        def keys(*options: str) -> list[str]:
            found = self.succeed_json("mailbox", "find", ME, *options)["messages"]
            return [each["key"] for each in found]

        self.assertEqual(keys(), ["1.a", "2.b"])
        self.assertEqual(keys("--from", "ZOE", "--text", "me to"), ["1.a"])
        self.assertEqual(keys("--header", "subject:hello"), ["1.a"])
        self.assertEqual(keys("--no-flag", "seen"), ["2.b"])
        self.assertEqual(keys("--flag", "seen", "--since", "2001-01-01"), ["1.a"])
        self.assertEqual(keys("--before", "2001-01-01"), [])
        self.misuse("NAME:TEXT", "mailbox", "find", ME, "--header", "x")
        self.misuse("does not match the formats", "mailbox", "find", ME, "--since", "yesterday")
        self.misuse("'read' is not one of", "mailbox", "find", ME, "--flag", "read")

    def test_they_are_flagged(self) -> None:
        self.succeed("mailbox", "flag", ME, "1", "2", "--set", "flagged", "--clear", "seen")
        self.assertEqual(self.names(), ["1.a:2,F", "2.b:2,F"])
        self.misuse("--set or to --clear", "mailbox", "flag", ME, "1")
        self.misuse(
            "set and cleared", "mailbox", "flag", ME, "1", "--set", "seen", "--clear", "seen"
        )

    def test_they_are_moved_and_copied(self) -> None:
        said = self.succeed("mailbox", "move", ME, "1.a", "--to", "Old")
        self.assertEqual(said, "Moved 1 message from INBOX to Old\n")
        self.assertEqual(self.names(".Old/cur"), ["1.a:2,S"])
        found = self.succeed_json("mailbox", "copy", ME, "1", "-m", "Old", "--to", "INBOX")
        self.assertEqual(found, {"copied": ["1.a"]})
        self.assertEqual(len(self.names()), 1)
        self.refuse("no mailbox New", "mailbox", "move", ME, "1", "--to", "New")
        self.refuse("in INBOX already", "mailbox", "move", ME, "1", "--to", "inbox")

    def test_they_are_deleted_when_that_is_confirmed(self) -> None:
        result = self.run_command("mailbox", "expunge", ME, "1")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("Zoe <zoe@b.example>: Hello", result.stderr)
        self.assertEqual(self.names(), ["1.a:2,S"])
        self.succeed("mailbox", "expunge", ME, "1", "2", "--yes")
        self.assertEqual((self.names(), self.names("new")), ([], []))

    def test_wrong_names_are_said(self) -> None:
        self.refuse("the mailbox INBOX has 2", "mailbox", "read", ME, "3")
        self.refuse("there is no message 'x.y'", "mailbox", "flag", ME, "x.y", "--set", "seen")
        self.refuse("the mailbox Old is empty", "mailbox", "read", ME, "1", "-m", "Old")
        os.symlink("/etc/passwd", self.maildir / "cur" / "3.c:2,")
        self.refuse("3.c cannot be read", "mailbox", "read", ME, "3.c")


class Confirming(CommandTestCase):
    def test_no_is_no_and_yes_is_yes(self) -> None:
        asked: list[str] = []

        def confirm(question: str, **options: Any) -> None:
            asked.append(question)

        self.patch(output.click, "confirm", confirm)
        self.patch(sys, "stdin", io.StringIO())
        self.patch(sys.stdin, "isatty", lambda: True)
        output.confirm("Sure?\x1b", False)
        output.confirm("Never asked", True)
        self.assertEqual(asked, ["Sure?\ufffd"])


class Transfers(MailboxCase):
    def setUp(self) -> None:
        super().setUp()
        self.put("cur/1.a:2,S")
        self.put("new/2.b", b"Subject: b\r\n\r\n")
        self.put(".Lists/cur/3.c:2,F")
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.succeed("account", "add", "ann@localhost", "--password-stdin", stdin="correct horse")
        self.ann = self.mail_root / "localhost" / "ann"

    def messages(self, *parts: str) -> list[bytes]:
        return [path.read_bytes() for part in parts for path in sorted((self.ann / part).iterdir())]

    def test_out_as_mbox_files_and_in_again(self) -> None:
        target = str(self.folder / "out")
        said = self.succeed("mailbox", "export", ME, target, "--line-ends", "kept")
        self.assertEqual(said, "INBOX: 2 messages exported\nLists: 1 message exported\n")
        self.assertEqual(sorted(os.listdir(target)), ["INBOX.mbox", "Lists.mbox"])
        self.assertEqual(os.stat(f"{target}/INBOX.mbox").st_mode & 0o777, 0o600)
        for expected in (
            "INBOX: 2 messages imported\nLists: 1 message imported\n",
            "INBOX: 0 messages imported, 2 there already\n"
            "Lists: 0 messages imported, 1 there already\n",
        ):
            self.assertEqual(self.succeed("mailbox", "import", "ann@localhost", target), expected)
        as_lf = MESSAGE.replace(b"\r\n", b"\n")
        self.assertEqual(self.messages("cur", ".Lists/cur"), [as_lf, as_lf])
        self.assertEqual(self.messages("new"), [b"Subject: b\n\n"])

    def test_out_as_a_maildir_and_in_below_a_mailbox(self) -> None:
        target = str(self.folder / "out")
        for number in (1, 0):
            found = self.succeed_json("mailbox", "export", ME, target, "--format", "maildir")
            self.assertEqual([each["exported"] for each in found], [2 * number, number])
        self.succeed("mailbox", "import", "ann@localhost", target, "-m", "Copies")
        self.assertEqual(self.messages(".Copies/cur", ".Copies.Lists/cur"), [MESSAGE] * 2)

    def test_one_mailbox_through_a_pipe(self) -> None:
        out = self.run_command("mailbox", "export", ME, "-", "-m", "Lists")
        self.assertIn(b"\n>From me to you\n", out.stdout_bytes)
        self.assertIn("Lists: 1 message exported", out.stderr)
        said = self.succeed("mailbox", "import", "ann@localhost", "-", stdin=out.stdout_bytes)
        self.assertEqual(said, "INBOX: 1 message imported\n")
        self.assertEqual(self.messages("cur"), [MESSAGE.replace(b"\r\n", b"\n")])

    def test_what_is_left_out_is_told_by_number_and_by_the_exit_status(self) -> None:
        os.symlink("/etc/passwd", self.maildir / "cur" / "0.x:2,")
        target = str(self.folder / "out")
        result = self.run_command("mailbox", "export", ME, target)
        self.assertEqual(result.exit_code, 1)
        self.assertIn("note: INBOX: message ", result.stderr)
        self.assertIn("Too many levels of symbolic links", result.stderr)
        self.assertIn("INBOX: 2 messages exported", result.stdout)

    def test_a_folder_whose_name_is_none_here_is_left_out_and_the_others_are_not(self) -> None:
        source = self.folder / "source"
        for directory in ("cur", ".~odd/cur", ".Zoo/cur"):
            (source / directory).mkdir(parents=True)
            (source / directory / "1000.M1P1.h:2,S").write_bytes(MESSAGE)
        result = self.run_command("mailbox", "import", "ann@localhost", str(source))
        self.assertEqual(result.exit_code, 1)
        self.assertIn(
            "note: ~odd: message 1 was left out: '~odd' cannot be a mailbox", result.stderr
        )
        self.assertEqual(self.messages("cur", ".Zoo/cur"), [MESSAGE] * 2)

    def test_the_quota_is_kept_unless_it_is_not_to_be(self) -> None:
        self.succeed("quota", "set", "ann@localhost", "--messages", "1")
        target = str(self.folder / "out")
        self.succeed("mailbox", "export", ME, target)
        result = self.run_command("mailbox", "import", "ann@localhost", target)
        self.assertEqual(result.exit_code, 1)
        self.assertIn("message 2 was left out: it does not fit into the quota", result.stderr)
        self.succeed("mailbox", "import", "ann@localhost", target, "--over-quota")
        self.assertEqual(self.succeed_json("quota", "show", "ann@localhost")["messages"], 3)

    def test_wrong_sources_and_targets_are_said(self) -> None:
        wrong = self.folder / "wrong"
        wrong.write_text("Hello\n")
        packed = self.folder / "packed"
        packed.write_bytes(gzip.compress(b"From -\nSubject: x\n\nHello\n")[:-10])
        archive = self.folder / "archive"
        archive.write_bytes(b"PK\x03\x04")
        empty = self.folder / "empty"
        empty.mkdir()
        for why, *arguments in (
            ("no such file", "import", ME, str(self.folder / "none")),
            (f"{wrong}: not an mbox", "import", ME, str(wrong)),
            (f"{wrong}: not an mbox", "import", ME, str(wrong), "-m", "New"),
            (f"{packed}: it is damaged: it ends too early", "import", ME, str(packed), "-m", "New"),
            (f"{archive}: it is a damaged or incomplete zip", "import", ME, str(archive)),
            ("neither a Maildir (it has no cur)", "import", ME, str(empty)),
            ("the Maildir of the account itself", "import", ME, str(self.maildir)),
            ("exists already", "export", ME, str(wrong), "-m", "INBOX"),
            (
                "exists and is not a Maildir",
                "export",
                ME,
                str(self.folder),
                "--format",
                "maildir",
            ),
            ("no mailbox X", "export", ME, str(self.folder / "x"), "-m", "X"),
            ("is a file: give a directory", "export", ME, str(wrong)),
        ):
            self.refuse(why, "mailbox", *arguments)
        self.misuse("standard output", "mailbox", "export", ME, "-")
        self.assertEqual(sorted(os.listdir(self.folder)), ["archive", "empty", "packed", "wrong"])
        self.assertNotIn("New", self.succeed("mailbox", "list", ME))

    def test_a_directory_is_gone_through_to_its_end(self) -> None:
        self.succeed("mailbox", "export", ME, str(self.folder), "--line-ends", "kept")
        inbox = (self.folder / "INBOX.mbox").read_bytes()
        (self.folder / "Bad.mbox").write_bytes(b"Hello\n")
        (self.folder / "Cut.mbox.gz").write_bytes(gzip.compress(inbox)[:-1])
        (self.folder / "notes").write_bytes(b"Subject: x\n\n")
        (self.folder / "a..b.mbox").write_bytes(inbox)
        result = self.run_command("mailbox", "import", "ann@localhost", str(self.folder), "-m", "D")
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(
            result.stdout,
            "D.Cut: 2 messages imported\nD: 2 messages imported\nD.Lists: 1 message imported\n",
        )
        notes = [line.partition(str(self.folder))[2] for line in result.stderr.splitlines()]
        self.assertEqual(
            [each[: len(expected)] for each, expected in zip(notes, self.NOTES, strict=True)],
            list(self.NOTES),
        )
        found = self.succeed_json("mailbox", "list", "ann@localhost")
        self.assertEqual([each["mailbox"] for each in found], ["INBOX", "D", "D.Cut", "D.Lists"])

    NOTES = (
        "/Bad.mbox: not an mbox: it begins with no 'From ' line",
        "/Cut.mbox.gz: it is damaged: it ends too early; the messages before that were imported",
        "/a..b.mbox: 'D.a..b' cannot be a mailbox",
        "/notes: not an mbox: it begins with a header field",
    )

    def test_what_is_compressed_is_unpacked(self) -> None:
        one, more = self.folder / "one.zip", self.folder / "more.zip"
        self.succeed("mailbox", "export", ME, str(self.folder / "out"), "--line-ends", "kept")
        inbox = (self.folder / "out" / "INBOX.mbox").read_bytes()
        with zipfile.ZipFile(one, "w") as archive:
            archive.writestr("Takeout/All.mbox", inbox)
        with zipfile.ZipFile(more, "w") as archive:
            archive.writestr("x/INBOX.mbox", inbox)
            archive.writestr("x/Lists.mbox.gz", gzip.compress(inbox))
        for source, expected in (
            (str(one), "A: 2 messages imported\n"),
            (str(more), "B: 2 messages imported\nB.Lists: 2 messages imported\n"),
        ):
            said = self.succeed("mailbox", "import", "ann@localhost", source, "-m", expected[0])
            self.assertEqual(said, expected)
        packed = gzip.compress(inbox)
        said = self.succeed("mailbox", "import", "ann@localhost", "-", "-m", "C", stdin=packed)
        self.assertEqual(said, "C: 2 messages imported\n")
        for parts in (".A/", ".B/", ".B.Lists/", ".C/"):
            as_lf = [MESSAGE.replace(b"\r\n", b"\n"), b"Subject: b\n\n"]
            self.assertEqual(self.messages(f"{parts}cur", f"{parts}new"), as_lf)

    def test_lines_in_doubt_are_said_and_no_failure(self) -> None:
        first = b"From a@b.example Thu Jan  1 00:00:00 2026\n"
        path = self.folder / "x"
        path.write_bytes(first + b"Subject: x\n\nHello\n\nFrom here\n")
        result = self.run_command("mailbox", "import", "ann@localhost", str(path))
        self.assertEqual((result.exit_code, result.stdout), (0, "INBOX: 1 message imported\n"))
        self.assertEqual(
            result.stderr,
            f"note: {path}: 1 line like the beginning of a message was kept as text of the message"
            " before; the first is line 6\n",
        )
        (found,) = self.succeed_json("mailbox", "import", "ann@localhost", str(path))
        self.assertEqual((found["source"], found["doubtful_lines"]), (str(path), 1))

    def test_a_power_cut_takes_nothing_that_was_exported(self) -> None:
        forbid_leaks(self, self.folder)
        disk = RecordingDisk(self, self.folder)
        self.succeed("mailbox", "export", ME, str(self.folder / "in.mbox"), "-m", "INBOX")
        self.assertEqual((disk.torn, disk.unsynced()), ([], []))

    def test_a_disk_that_is_full_says_how_to_go_on(self) -> None:
        target = str(self.folder / "out")
        self.succeed("mailbox", "export", ME, target)
        true = os.fsync

        def fsync(descriptor: int) -> None:
            if os.readlink(f"/proc/self/fd/{descriptor}").endswith("/new"):
                raise OSError(28, "No space left on device")
            true(descriptor)

        self.patch(os, "fsync", fsync)
        self.refuse(
            "No space left on device after 0 messages; correct that",
            *("mailbox", "import", "ann@localhost", target),
        )

    def test_on_a_terminal_a_bar_shows_how_far_it_is(self) -> None:
        screen = _Terminal("")
        self.patch(mailbox_transfer.sys, "stderr", screen)
        with mailbox_transfer._progress("into [red]Lists\x1b", 10) as advance:
            advance(5)
        self.assertIn("[red]Lists", screen.getvalue())
        self.assertIn("50%", screen.getvalue())
