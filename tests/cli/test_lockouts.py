"""``postroom lockout``."""

import time

from postroom.logins.guard import Lockout
from postroom.logins.lockouts import add_lockout
from tests.cli.support import CommandTestCase


class LockoutTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        now = time.time()
        for subject in ("account:joe@a.example", "address:2001:db8::/64"):
            add_lockout(self.engine, Lockout(subject, 20, now, now + 900))

    def test_they_are_listed_and_cleared(self) -> None:
        listed = self.succeed("lockout", "list")
        self.assertIn("joe@a.example", listed)
        self.assertIn("2001:db8::/64", listed)
        said = self.succeed("lockout", "clear", "2001:db8::/64")
        self.assertEqual(said, "Cleared address:2001:db8::/64\n")
        self.assertNotIn("2001", self.succeed("lockout", "list"))
        self.succeed("lockout", "clear", "--all")
        self.assertEqual(self.succeed("lockout", "clear", "--all"), "There was no lock-out\n")

    def test_json(self) -> None:
        rows = self.succeed_json("lockout", "list")
        self.assertEqual(
            {(row["kind"], row["name"], row["failures"]) for row in rows},
            {("account", "joe@a.example", 20), ("address", "2001:db8::/64", 20)},
        )
        self.assertEqual(len(self.succeed_json("lockout", "clear", "--all")), 2)

    def test_mistakes(self) -> None:
        self.refuse("zoe is not locked out", "lockout", "clear", "zoe")
        self.misuse("--all", "lockout", "clear")
        self.misuse("--all", "lockout", "clear", "zoe", "--all")
