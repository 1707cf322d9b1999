"""``postroom quota``."""

import os

from tests.cli.support import CommandTestCase

ME = "postmaster@localhost"


class QuotaTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.maildir = self.mail_root / "localhost" / "postmaster"

    def fill(self, *sizes: int) -> None:
        for part in ("tmp", "new", "cur"):
            (self.maildir / part).mkdir(parents=True, exist_ok=True)
        for number, size in enumerate(sizes):
            (self.maildir / "cur" / f"{number}.x,S={size}:2,S").touch()

    def record(self) -> str:
        return (self.maildir / "maildirsize").read_text()

    def test_a_quota_is_set_shown_and_taken_away(self) -> None:
        self.fill(600, 400)
        found = self.succeed_json("quota", "set", ME, "--size", "2k")
        self.assertEqual(
            found,
            [
                {
                    "address": ME,
                    "size_octets": 1000,
                    "quota_octets": 2048,
                    "messages": 2,
                    "quota_messages": None,
                }
            ],
        )
        self.assertEqual(self.record(), "2048S\n1000 2\n")
        self.succeed("quota", "set", ME, "--messages", "4")
        self.assertEqual(self.record(), "2048S,4C\n1000 2\n")
        row = self.succeed("quota", "list").splitlines()[1].split()
        self.assertEqual(row, [ME, "1000", "B", "2.0", "KiB", "2", "4", "50", "%"])
        self.succeed("quota", "set", ME, "--size", "none")
        self.assertEqual(self.record(), "4C\n1000 2\n")
        self.succeed("quota", "unset", ME)
        self.assertFalse(os.path.exists(self.maildir / "maildirsize"))
        self.assertEqual(self.succeed_json("quota", "show", ME)["messages"], 2)

    def test_what_was_done_by_hand_is_counted_anew(self) -> None:
        self.fill(600, 400)
        self.succeed("quota", "set", ME, "--size", "1M")
        (self.maildir / "cur" / "0.x,S=600:2,S").unlink()
        self.assertEqual(self.succeed_json("quota", "show", ME)["messages"], 2)
        for arguments in ((ME,), ("--all",)):
            found = self.succeed_json("quota", "recount", *arguments)
            self.assertEqual([each["size_octets"] for each in found], [400])

    def test_an_account_without_mail_gets_no_maildir(self) -> None:
        self.succeed("quota", "set", ME, "--messages", "4")
        self.succeed("quota", "recount", "--all")
        self.assertFalse(self.mail_root.exists())

    def test_sizes_and_numbers_are_checked(self) -> None:
        for option, value in (
            *(("--size", each) for each in ("0", "-1", "x", "1.5G", "5 M", "5X", "", "²")),
            *(("--messages", each) for each in ("0", "5k", "x", "-1", "1.5")),
        ):
            self.misuse("is neither a", "quota", "set", ME, option, value)
        self.misuse("give --size", "quota", "set", ME)
        self.misuse("or --all", "quota", "recount")
        self.misuse("or --all", "quota", "recount", ME, "--all")
        for size, octets in (("5", 5), ("5b", 5), ("5K", 5120), ("5KiB", 5120), ("1gb", 1 << 30)):
            found = self.succeed_json("quota", "set", ME, "--size", size)
            self.assertEqual(found[0]["quota_octets"], octets)

    def test_an_unknown_account_is_refused(self) -> None:
        for arguments in (("show",), ("set", "--size", "5"), ("unset",), ("recount",)):
            self.refuse(
                "no account who@localhost", "quota", arguments[0], "who@localhost", *arguments[1:]
            )

    def test_a_maildir_that_is_broken_is_named(self) -> None:
        self.maildir.parent.mkdir(parents=True)
        self.maildir.write_text("a file")
        self.refuse(f"{self.maildir}: Not a directory", "quota", "show", ME)
        self.refuse(f"{self.maildir}: Not a directory", "quota", "recount", ME)
