"""``postroom account app-password``."""

import re

from postroom.directory import accounts, domains
from postroom.logins.secrets import APP_PASSWORDS, app_password_letters
from tests.cli.support import CommandTestCase
from tests.directory.support import CHEAP


class AppPasswordTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        domains.add_domain(self.engine, "a.example")
        accounts.add_account(self.engine, "joe@a.example", None)

    def run_on(self, *arguments: str) -> str:
        return self.succeed("account", "app-password", *arguments)

    def test_one_is_made_shown_once_listed_and_revoked(self) -> None:
        shown = self.run_on("add", "JOE@a.example", "phone").strip()
        self.assertTrue(re.fullmatch(r"[a-z2-9]{5}(-[a-z2-9]{5}){3}", shown), shown)
        with self.engine.connect() as connection:
            row = connection.exec_driver_sql("SELECT address, key, stored FROM app_password").one()
        letters = app_password_letters(shown.encode())
        assert letters is not None
        self.assertEqual((row.address, row.key), ("joe@a.example", letters[:5].decode()))
        self.assertTrue(CHEAP.verify((row.stored,), letters).matches)

        listed = self.run_on("list", "joe@a.example")
        self.assertIn("phone", listed)
        self.assertIn("never", listed)
        self.assertNotIn(shown, listed)
        self.assertIn(
            "Revoked the app password phone", self.run_on("revoke", "joe@a.example", "phone")
        )
        self.assertNotIn("phone", self.run_on("list", "joe@a.example"))

    def test_json(self) -> None:
        made = self.succeed_json("account", "app-password", "add", "joe@a.example", "desk")
        self.assertEqual(sorted(made), ["created_at", "last_used_at", "name", "password"])
        listed = self.succeed_json("account", "app-password", "list", "joe@a.example")
        self.assertEqual([each["name"] for each in listed], ["desk"])
        self.assertNotIn("password", listed[0])

    def test_mistakes(self) -> None:
        self.run_on("add", "joe@a.example", "phone")
        for arguments, why in (
            (("add", "joe@a.example", "phone"), "already"),
            (("add", "jo@a.example", "phone"), "did you mean joe@a.example?"),
            (("add", "joe@a.example", " "), "printable"),
            (("add", "joe@a.example", "x" * 101), "printable"),
            (("add", "joe@a.example", "a\nb"), "printable"),
            (("revoke", "joe@a.example", "fone"), "it has 'phone'"),
            (("list", "nobody"), "address"),
        ):
            self.refuse(why, "account", "app-password", *arguments)

    def test_there_is_an_end_to_them(self) -> None:
        with self.engine.begin() as connection:
            for number in range(APP_PASSWORDS):
                connection.exec_driver_sql(
                    "INSERT INTO app_password (address, key, name, stored, created_at)"
                    f" VALUES ('joe@a.example', '{number}', 'n{number}', 'x', 1)"
                )
        self.refuse("revoke one first", "account", "app-password", "add", "joe@a.example", "more")

    def test_they_go_with_the_account(self) -> None:
        self.run_on("add", "joe@a.example", "phone")
        accounts.remove_account(self.engine, "joe@a.example")
        with self.engine.connect() as connection:
            self.assertEqual(
                connection.exec_driver_sql("SELECT count(*) FROM app_password").scalar_one(), 0
            )
