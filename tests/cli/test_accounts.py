"""``postroom account``, ``domain`` and ``alias``."""

from click.testing import CliRunner, Result
from sqlalchemy import select

from postroom.cli.main import cli
from postroom.directory.tables import account
from tests.cli.support import CommandTestCase
from tests.directory.support import CHEAP


class AccountTests(CommandTestCase):
    def add(self, address: str = "joe@localhost", password: str = "correct horse\n") -> str:
        return self.succeed("account", "add", address, "--password-stdin", stdin=password)

    def stored_hash(self, address: str = "joe@localhost") -> str:
        query = select(account.c.password_hash).where(account.c.address == address)
        with self.engine.connect() as connection:
            return connection.execute(query).scalar_one()

    def test_an_account_is_added_with_the_password_on_standard_input(self) -> None:
        output = self.add("Joe@LOCALHOST")
        self.assertEqual(
            output, f"Added joe@localhost; its mail goes to {self.mail_root}/localhost/joe\n"
        )
        self.assertTrue(CHEAP.verify((self.stored_hash(),), b"correct horse").matches)

    def test_one_line_end_is_taken_off_the_password_and_nothing_else(self) -> None:
        for number, (typed, meant) in enumerate(
            ((" a b \r\n", b" a b "), ("abc", b"abc"), ("é\n", "é".encode()))
        ):
            self.add(f"u{number}@localhost", typed)
            stored = self.stored_hash(f"u{number}@localhost")
            self.assertTrue(CHEAP.verify((stored,), meant).matches, typed)

    def test_a_short_password_is_remarked_upon(self) -> None:
        result = self.run_command(
            "account", "add", "j@localhost", "--password-stdin", stdin="1234567"
        )
        self.assertEqual(result.exit_code, 0)
        self.assertIn("note: the password is shorter than 8 characters", result.stderr)
        result = self.run_command(
            "account", "add", "k@localhost", "--password-stdin", stdin="12345678"
        )
        self.assertEqual(result.stderr, "")

    def test_bad_passwords_are_refused(self) -> None:
        for stdin, why in (
            ("", "empty"),
            ("\n", "empty"),
            ("two\nlines\n", "control"),
            (b"\xff\n", "UTF-8"),
            ("x" * 1025, "1024"),
        ):
            self.refuse(why, "account", "add", "j@localhost", "--password-stdin", stdin=stdin)
        self.assertEqual(len(self.succeed_json("account", "list")), 1)

    def test_without_a_terminal_the_password_is_not_asked_for(self) -> None:
        self.refuse("--password-stdin", "account", "add", "j@localhost")

    def test_a_wrong_address_is_told_before_the_password_is_asked_for(self) -> None:
        self.add()
        self.refuse("exists already", "account", "add", "joe@localhost")
        self.refuse(
            "unknown domain b.example: the domains are localhost", "account", "add", "j@b.example"
        )
        self.refuse("no @", "account", "add", "joe")
        self.refuse("there is no account x@localhost", "account", "password", "x@localhost")

    def test_accounts_are_listed(self) -> None:
        self.add()
        self.succeed("account", "disable", "joe@localhost")
        lines = self.succeed("account", "list").splitlines()
        self.assertEqual([line.split()[:2] for line in lines], [
            ["ADDRESS", "LOGIN"], ["joe@localhost", "disabled"], ["postmaster@localhost", "none"],
        ])  # fmt: skip
        self.assertEqual(
            self.succeed_json("account", "list")[0],
            {
                "address": "joe@localhost",
                "enabled": False,
                "has_password": True,
                "maildir": f"{self.mail_root}/localhost/joe",
            },
        )

    def test_a_password_is_changed(self) -> None:
        self.add()
        self.succeed("account", "password", "joe@localhost", "--password-stdin", stdin="other one")
        self.assertTrue(CHEAP.verify((self.stored_hash(),), b"other one").matches)
        self.assertFalse(CHEAP.verify((self.stored_hash(),), b"correct horse").matches)

    def test_an_account_is_enabled_again(self) -> None:
        self.add()
        self.assertFalse(self.succeed_json("account", "disable", "joe@localhost")["enabled"])
        self.assertTrue(self.succeed_json("account", "enable", "joe@localhost")["enabled"])
        self.refuse("no account x@localhost", "account", "enable", "x@localhost")

    def test_removing_an_account_keeps_its_maildir_and_says_where(self) -> None:
        maildir = self.mail_root / "localhost" / "joe"
        self.add()
        self.succeed("alias", "add", "sales@localhost", "joe@localhost")
        maildir.mkdir(parents=True)
        result = self.run_command("account", "remove", "joe@localhost")
        self.assertEqual(result.stdout, f"Removed joe@localhost; its mail is kept in {maildir}\n")
        self.assertIn("the alias sales@localhost still refers to joe@localhost", result.stderr)
        self.assertTrue(maildir.exists())
        self.refuse("there is no account joe@localhost", "account", "remove", "joe@localhost")

    def test_the_maildir_of_an_earlier_account_is_remarked_upon(self) -> None:
        (self.mail_root / "localhost" / "joe").mkdir(parents=True)
        result = self.run_command(
            "account", "add", "joe@localhost", "--password-stdin", stdin="correct horse"
        )
        self.assertIn("there is mail of an earlier account in", result.stderr)

    def test_removal_is_one_json_document_too(self) -> None:
        self.add()
        self.assertEqual(
            self.succeed_json("account", "remove", "joe@localhost"),
            {
                "address": "joe@localhost",
                "maildir": f"{self.mail_root}/localhost/joe",
                "maildir_kept": False,
                "referrers": [],
            },
        )


class DomainTests(CommandTestCase):
    def test_a_fresh_database_has_localhost(self) -> None:
        self.assertEqual(
            self.succeed_json("domain", "list"),
            [
                {
                    "name": "localhost",
                    "catch_all": "postmaster@localhost",
                    "accounts": 1,
                    "aliases": 0,
                    "kind": "local",
                    "target": None,
                    "any_recipient": False,
                    "recipients": 0,
                }
            ],
        )

    def test_domains_are_added_listed_and_removed(self) -> None:
        output = self.succeed("domain", "add", "A.example", "--catch-all", "postmaster@localhost")
        self.assertIn("Added a.example; mail for unknown addresses goes to postmaster@", output)
        lines = self.succeed("domain", "list").splitlines()
        self.assertEqual(lines[2].split(), ["a.example", "0", "0", "postmaster@localhost", "local"])
        self.assertEqual(self.succeed("domain", "remove", "a.example"), "Removed a.example\n")
        self.refuse("unknown domain a.example", "domain", "remove", "a.example")

    def test_a_catch_all_that_nobody_has_is_remarked_upon(self) -> None:
        result = self.run_command("domain", "add", "a.example", "--catch-all", "joe@a.example")
        self.assertEqual(result.exit_code, 0)
        self.assertIn("'postroom account add joe@a.example' adds it", result.stderr)

    def test_a_catch_all_is_changed_and_taken_away(self) -> None:
        changed = self.succeed_json("domain", "catch-all", "localhost", "joe@b.example")
        self.assertEqual(
            changed,
            {
                "name": "localhost",
                "catch_all": "joe@b.example",
                "kind": "local",
                "target": None,
                "any_recipient": False,
            },
        )
        self.assertIn("refused", self.succeed("domain", "catch-all", "localhost", "--none"))
        self.misuse("--none", "domain", "catch-all", "localhost")
        self.misuse("--none", "domain", "catch-all", "localhost", "joe@b.example", "--none")

    def test_a_domain_that_still_has_accounts_stays(self) -> None:
        self.refuse("still has postmaster@localhost", "domain", "remove", "localhost")

    def test_a_wrong_name_is_refused(self) -> None:
        self.refuse("'a/b' is not a domain name", "domain", "add", "a/b")
        self.refuse("exists already", "domain", "add", "LOCALHOST")


class AliasTests(CommandTestCase):
    def test_aliases_are_added_listed_and_removed(self) -> None:
        output = self.succeed("alias", "add", "Sales@localhost", "postmaster@localhost", "discard:")
        self.assertEqual(output, "Added sales@localhost -> postmaster@localhost, discard:\n")
        self.assertEqual(
            self.succeed_json("alias", "list"),
            [
                {
                    "address": "sales@localhost",
                    "targets": ["postmaster@localhost", "discard:"],
                    "writers": "anyone",
                    "passes_tags": True,
                }
            ],
        )
        self.assertIn("sales@localhost", self.succeed("alias", "list"))
        self.succeed("alias", "remove", "sales@localhost")
        self.assertEqual(self.succeed_json("alias", "list"), [])

    def test_a_target_that_nobody_has_is_remarked_upon(self) -> None:
        result = self.run_command("alias", "add", "a@localhost", "b@localhost", "c@d.example")
        self.assertEqual(result.exit_code, 0)
        self.assertEqual(len(result.stderr.splitlines()), 1)
        self.assertIn("there is no b@localhost yet", result.stderr)

    def test_wrong_aliases_are_refused(self) -> None:
        self.refuse("would loop", "alias", "add", "a@localhost", "a@localhost")
        self.refuse("it is an account", "alias", "add", "postmaster@localhost", "a@localhost")
        self.refuse("not a target", "alias", "add", "a@localhost", "file:/x")
        self.refuse("there is no alias a@localhost", "alias", "remove", "a@localhost")
        self.misuse("TARGET", "alias", "add", "a@localhost")


class OtherSources(CommandTestCase):
    """Accounts that are kept elsewhere: no command changes them, and each says so."""

    def setUp(self) -> None:
        super().setUp()
        self.passwd = self.state_dir / "passwd"
        self.passwd.write_text("ann@localhost:x\n")
        self.config = self.state_dir / "postroom.toml"
        self.write('["database", "passwd_file"]')

    def write(self, sources: str) -> None:
        self.config.write_text(
            f'state_dir = "{self.state_dir}"\n[accounts]\nsources = {sources}\n'
            f'[accounts.passwd_file]\npath = "{self.passwd}"\ndomain = "localhost"\n'
        )

    def run_command(self, *arguments: str, stdin: "str | bytes | None" = None) -> "Result":
        return CliRunner().invoke(cli, ["--config", str(self.config), *arguments], stdin)

    def test_one_that_the_database_does_not_have_may_be_in_another(self) -> None:
        self.refuse(
            "accounts from passwd_file can only be changed there",
            *("account", "disable", "ann@localhost"),
        )

    def test_the_list_says_what_it_lacks(self) -> None:
        result = self.run_command("account", "list")
        self.assertIn("accounts from passwd_file are not listed here", result.stderr)

    def test_an_account_that_no_daemon_sees_is_remarked_upon(self) -> None:
        self.write('["passwd_file"]')
        result = self.run_command(
            "account", "add", "joe@localhost", "--password-stdin", stdin="correct horse"
        )
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn("the server does not use this account", result.stderr)

    def test_checking_the_settings_checks_the_sources(self) -> None:
        self.passwd.write_text("ann@localhost:x\nno colon\n")
        result = self.run_command("config", "check")
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn(f"note: {self.passwd}:2: no colon", result.stderr)
        self.passwd.unlink()
        self.refuse(f"accounts.passwd_file.path: {self.passwd}: No such file", "config", "check")

    def test_sources_that_are_set_up_wrongly_are_refused(self) -> None:
        for sources, more, why in (
            ("[]", "", "accounts.sources: list at least one source"),
            ('["sql", "sql"]', "", "accounts.sources: each source can be listed only once"),
            ('["sql"]', "", "accounts.sql.url: the source sql needs it"),
            ('["sql"]', '[accounts.sql]\nurl = "x"\n', "accounts.sql.domains: the source sql"),
            ('["ldap"]', "", "accounts.ldap.base: the source ldap needs it"),
            ('["static"]', '[accounts.static.users]\nx = ""\n', "'x' is not an address"),
            ('["ldep"]', "", 'accounts.sources[0] = "ldep"'),
        ):
            self.write(sources)
            self.config.write_text(self.config.read_text() + more)
            self.refuse(why, "config", "check")

    def test_queries_that_mean_nothing_are_refused(self) -> None:
        for url, query, why in (
            ("sqlite:///x", "SELECT :name", "user_query: there is no :name, only :address"),
            ("sqlite:///x", "", "user_query: the source sql needs it"),
            ("nonsense", "SELECT :user", "'nonsense' is not a database URL"),
            ("strange://x", "SELECT :user", "accounts.sql.url: "),
            ("mysql://x/y", "SELECT :user", "the driver is not installed"),
        ):
            self.write('["sql"]')
            more = f'[accounts.sql]\ndomains = ["a.example"]\nurl = "{url}"\n'
            self.config.write_text(f'{self.config.read_text()}{more}user_query = "{query}"\n')
            self.refuse(why, "config", "check")
