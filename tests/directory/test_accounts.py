"""Changing the directory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import select
from twisted.trial.unittest import SynchronousTestCase

from postroom.directory import accounts, aliases, changes, domains
from postroom.directory.tables import directory_revision
from postroom.envelope import Alias, Domain, DomainKind, Writers
from postroom.errors import UserError
from postroom.logins.secrets import replace_stored, stored_forms
from tests.directory.support import fresh_database


class _DatabaseTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.engine = fresh_database(self)

    def revision(self) -> int:
        with self.engine.connect() as connection:
            return connection.execute(select(directory_revision.c.revision)).scalar_one()

    def assert_refused(self, why: str, function: Callable[..., Any], *args: Any) -> None:
        """The change is refused in one line, and leaves no trace."""
        before = self.revision()
        error = self.assertRaises(UserError, function, self.engine, *args)
        self.assertIn(why, str(error))
        self.assertEqual(len(str(error).splitlines()), 1)
        self.assertEqual(self.revision(), before)


class DomainTests(_DatabaseTestCase):
    def test_domains_are_listed_in_the_order_in_which_they_came(self) -> None:
        for name in ("Zebra.example", "ant.example."):
            domains.add_domain(self.engine, name)
        names = [row.name for row in domains.list_domains(self.engine)]
        self.assertEqual(names, ["zebra.example", "ant.example"])

    def test_a_domain_counts_its_accounts_and_aliases(self) -> None:
        domains.add_domain(self.engine, "a.example", "Joe@A.example")
        accounts.add_account(self.engine, "joe@a.example", None)
        aliases.add_alias(self.engine, "x@a.example", ["joe@a.example"])
        aliases.add_alias(self.engine, "y@a.example", ["joe@a.example"])
        self.assertEqual(
            domains.list_domains(self.engine),
            (
                domains.DomainRow(
                    "a.example", "joe@a.example", 1, 2, DomainKind.LOCAL, None, False, 0
                ),
            ),
        )

    def test_a_domain_is_added_once(self) -> None:
        domains.add_domain(self.engine, "a.example")
        self.assert_refused("exists already", domains.add_domain, "A.example")

    def test_a_catch_all_has_to_be_an_address(self) -> None:
        self.assert_refused("'joe' is not an address", domains.add_domain, "a.example", "joe")

    def test_a_catch_all_is_set_and_taken_away(self) -> None:
        domains.add_domain(self.engine, "a.example")
        changed = domains.set_catch_all(self.engine, "a.example", "joe@b.example")
        self.assertEqual(changed, Domain("a.example", "joe@b.example"))
        self.assertEqual(domains.list_domains(self.engine)[0].catch_all, "joe@b.example")
        domains.set_catch_all(self.engine, "a.example", None)
        self.assertIsNone(domains.list_domains(self.engine)[0].catch_all)

    def test_a_domain_in_use_is_not_removed(self) -> None:
        domains.add_domain(self.engine, "a.example")
        accounts.add_account(self.engine, "joe@a.example", None)
        aliases.add_alias(self.engine, "x@a.example", ["discard:"])
        self.assert_refused("still has joe@a.example", domains.remove_domain, "a.example")
        accounts.remove_account(self.engine, "joe@a.example")
        self.assert_refused("'postroom alias remove", domains.remove_domain, "a.example")
        aliases.remove_alias(self.engine, "x@a.example")
        domains.remove_domain(self.engine, "a.example")
        self.assertEqual(domains.list_domains(self.engine), ())

    def test_an_unknown_domain_is_answered_with_those_there_are(self) -> None:
        self.assert_refused("there is no domain yet", domains.remove_domain, "b.example")
        for number in range(10):
            domains.add_domain(self.engine, f"a{number}.example")
        self.assert_refused("a7.example and 2 more", domains.remove_domain, "b.example")
        self.assert_refused(
            "'postroom domain add b.example'", domains.set_catch_all, "b.example", None
        )


class AccountTests(_DatabaseTestCase):
    def setUp(self) -> None:
        super().setUp()
        domains.add_domain(self.engine, "a.example")

    def test_an_account_gets_a_maildir_of_its_own(self) -> None:
        row = accounts.add_account(self.engine, "Joe@A.example", "hash")
        self.assertEqual(row, accounts.AccountRow("joe@a.example", "a.example/joe", True, True))
        self.assertEqual(accounts.list_accounts(self.engine), (row,))
        self.assertEqual(accounts.find_account(self.engine, "JOE@a.example"), row)

    def test_an_account_needs_a_domain_that_exists(self) -> None:
        for function in (accounts.check_new_account, lambda e, a: accounts.add_account(e, a, None)):
            self.assert_refused(
                "unknown domain b.example: the domains are a.example; 'postroom domain add",
                function,
                "joe@b.example",
            )

    def test_an_address_is_given_once(self) -> None:
        accounts.add_account(self.engine, "joe@a.example", None)
        aliases.add_alias(self.engine, "jim@a.example", ["joe@a.example"])
        self.assert_refused("it is an account", accounts.add_account, "JOE@a.example", None)
        self.assert_refused("it is an alias", accounts.add_account, "jim@a.example", None)
        self.assert_refused("it is an account", aliases.add_alias, "joe@a.example", ["x@y.example"])
        self.assert_refused("it is an alias", aliases.add_alias, "jim@a.example", ["x@y.example"])

    def test_an_unknown_account_is_answered_with_the_nearest(self) -> None:
        accounts.add_account(self.engine, "joseph@a.example", None)
        aliases.add_alias(self.engine, "jim@a.example", ["discard:"])
        self.assert_refused("did you mean joseph@", accounts.find_account, "josef@a.example")
        self.assert_refused("it is an alias", accounts.remove_account, "jim@a.example")
        self.assert_refused("no account q@b.example", accounts.set_password, "q@b.example", "hash")

    def test_a_password_is_changed_and_taken_away(self) -> None:
        accounts.add_account(self.engine, "joe@a.example", None)
        self.assertTrue(accounts.set_password(self.engine, "joe@a.example", "hash").has_password)
        self.assertFalse(accounts.set_password(self.engine, "joe@a.example", None).has_password)

    def test_an_account_is_switched_off_and_on(self) -> None:
        accounts.add_account(self.engine, "joe@a.example", None)
        self.assertFalse(accounts.set_enabled(self.engine, "joe@a.example", False).enabled)
        self.assertTrue(accounts.set_enabled(self.engine, "joe@a.example", True).enabled)

    def test_removing_an_account_names_what_still_points_to_it(self) -> None:
        accounts.add_account(self.engine, "joe@a.example", None)
        aliases.add_alias(self.engine, "x@a.example", ["JOE@a.example", "discard:"])
        domains.set_catch_all(self.engine, "a.example", "joe@a.example")
        removed = accounts.remove_account(self.engine, "joe@a.example")
        self.assertEqual(removed.referrers, ("x@a.example", "@a.example"))
        self.assertEqual(removed.maildir, "a.example/joe")
        self.assertEqual(accounts.list_accounts(self.engine), ())

    def test_a_new_hash_does_not_undo_a_change_of_password(self) -> None:
        accounts.add_account(self.engine, "joe@a.example", "old")
        replace_stored(self.engine, "joe@a.example", ["old"], ["stronger", "further"])
        replace_stored(self.engine, "joe@a.example", ["old"], ["late"])
        replace_stored(self.engine, "joe@a.example", ["stronger"], ["late"])
        with self.engine.connect() as connection:
            stored = stored_forms(connection, "joe@a.example")
        self.assertEqual(stored, ("stronger", "further"))


class AliasTests(_DatabaseTestCase):
    def setUp(self) -> None:
        super().setUp()
        domains.add_domain(self.engine, "a.example")

    def test_targets_keep_their_order_and_come_once(self) -> None:
        added = aliases.add_alias(
            self.engine, "X@a.example", ["Zoe@b.example", "discard:", "Zoe@B.example"]
        )
        self.assertEqual(added, Alias("x@a.example", ("Zoe@b.example", "discard:")))
        self.assertEqual(aliases.list_aliases(self.engine), (added,))

    def test_tags_are_passed_on_until_that_is_switched_off(self) -> None:
        self.assertTrue(aliases.add_alias(self.engine, "x@a.example", ["t@b.example"]).passes_tags)
        changed = aliases.set_passes_tags(self.engine, "X@a.example", False)
        self.assertEqual(changed, Alias("x@a.example", ("t@b.example",), passes_tags=False))
        for change in (
            lambda: aliases.add_targets(self.engine, "x@a.example", ["u@b.example"]),
            lambda: aliases.remove_targets(self.engine, "x@a.example", ["t@b.example"]),
            lambda: aliases.set_writers(self.engine, "x@a.example", Writers.USERS),
        ):
            change()
            (listed,) = aliases.list_aliases(self.engine)
            self.assertFalse(listed.passes_tags)
        made = aliases.add_alias(self.engine, "y@a.example", ["t@b.example"], passes_tags=False)
        self.assertEqual(aliases.list_aliases(self.engine)[1], made)
        self.assertFalse(made.passes_tags)
        self.assert_refused("no alias", aliases.set_passes_tags, "z@a.example", True)

    def test_odd_dots_make_an_address_of_its_own(self) -> None:
        accounts.add_account(self.engine, "ann@a.example", None)
        accounts.add_account(self.engine, '"ann."@a.example', None)
        aliases.add_alias(self.engine, '"a..b"@a.example', ['"Ann."@a.example'])
        domains.set_catch_all(self.engine, "a.example", '".x"@a.example')
        self.assertEqual(
            [row.maildir for row in accounts.list_accounts(self.engine)],
            ["a.example/ann.", "a.example/ann"],
        )
        removed = accounts.remove_account(self.engine, '"ann."@a.example')
        self.assertEqual(removed.referrers, ('"a..b"@a.example',))
        self.assertEqual(
            changes.unknown_targets(self.engine, ['".x"@a.example']), ('".x"@a.example',)
        )
        self.assertEqual(domains.list_domains(self.engine)[0].catch_all, '".x"@a.example')

    def test_an_alias_that_leads_to_itself_is_refused(self) -> None:
        self.assert_refused(
            "x@a.example -> x@a.example", aliases.add_alias, "x@a.example", ["X@a.example"]
        )

    def test_an_alias_that_leads_back_through_others_is_refused(self) -> None:
        aliases.add_alias(self.engine, "x@a.example", ["y@a.example", "out@b.example"])
        aliases.add_alias(self.engine, "y@a.example", ["Z@a.example"])
        self.assert_refused(
            "z@a.example -> x@a.example -> y@a.example -> z@a.example",
            aliases.add_alias,
            "z@a.example",
            ["x@a.example"],
        )

    def test_two_ways_to_one_target_are_no_loop(self) -> None:
        aliases.add_alias(self.engine, "x@a.example", ["t@b.example"])
        aliases.add_alias(self.engine, "y@a.example", ["x@a.example", "t@b.example"])
        made = [alias.address for alias in aliases.list_aliases(self.engine)]
        self.assertEqual(made, ["x@a.example", "y@a.example"])

    def test_an_alias_needs_a_target(self) -> None:
        self.assert_refused("at least one target", aliases.add_alias, "x@a.example", [])

    def test_an_alias_needs_a_domain_that_exists(self) -> None:
        self.assert_refused("unknown domain", aliases.add_alias, "x@b.example", ["x@c.example"])

    def test_removing_an_alias_takes_its_targets_along(self) -> None:
        aliases.add_alias(self.engine, "x@a.example", ["t@b.example"])
        gone = aliases.remove_alias(self.engine, "x@a.example")
        self.assertEqual(gone, Alias("x@a.example", ("t@b.example",)))
        aliases.add_alias(self.engine, "x@a.example", ["u@b.example"])
        self.assertEqual(aliases.list_aliases(self.engine)[0].targets, ("u@b.example",))

    def test_an_unknown_alias_is_refused(self) -> None:
        accounts.add_account(self.engine, "joe@a.example", None)
        self.assert_refused("it is an account", aliases.remove_alias, "joe@a.example")
        self.assert_refused("no alias q@a.example", aliases.remove_alias, "q@a.example")

    def test_local_addresses_that_nobody_has_are_told(self) -> None:
        accounts.add_account(self.engine, "joe@a.example", None)
        found = changes.unknown_targets(
            self.engine, ["Joe@a.example", "nobody@a.example", "x@b.example", "discard:"]
        )
        self.assertEqual(found, ("nobody@a.example",))


class RevisionTests(_DatabaseTestCase):
    def test_every_change_counts_the_revision_up(self) -> None:
        for change in (
            lambda: domains.add_domain(self.engine, "a.example"),
            lambda: domains.set_catch_all(self.engine, "a.example", "joe@a.example"),
            lambda: accounts.add_account(self.engine, "joe@a.example", None),
            lambda: accounts.set_password(self.engine, "joe@a.example", "hash"),
            lambda: accounts.set_enabled(self.engine, "joe@a.example", False),
            lambda: aliases.add_alias(self.engine, "x@a.example", ["joe@a.example"]),
            lambda: aliases.remove_alias(self.engine, "x@a.example"),
            lambda: accounts.remove_account(self.engine, "joe@a.example"),
            lambda: domains.remove_domain(self.engine, "a.example"),
            lambda: accounts.ensure_defaults(self.engine, (), Path("/mail")),
        ):
            before = self.revision()
            change()
            self.assertEqual(self.revision(), before + 1)


class DefaultsTests(_DatabaseTestCase):
    def ensure(self, *domains: str) -> list[str]:
        made = accounts.ensure_defaults(self.engine, domains, Path("/mail"))
        return [each.address for each in made]

    def test_without_any_domain_there_is_localhost_with_its_postmaster_as_catch_all(self) -> None:
        made = accounts.ensure_defaults(self.engine, (), Path("/mail"))
        self.assertEqual(made[0].maildir, "/mail/localhost/postmaster")
        (row,) = domains.list_domains(self.engine)
        self.assertEqual((row.name, row.catch_all), ("localhost", "postmaster@localhost"))
        self.assertFalse(accounts.find_account(self.engine, "postmaster@localhost").has_password)

    def test_a_domain_that_is_delivered_elsewhere_gets_no_postmaster_here(self) -> None:
        domains.add_relay_domain(self.engine, "relayed.example")
        self.ensure("here.example")
        domains.add_alias_domain(self.engine, "too.example", "here.example")
        self.assertEqual(self.ensure("relayed.example", "too.example", "here.example"), [])

    def test_the_second_time_changes_nothing(self) -> None:
        self.ensure("a.example")
        before = self.revision()
        self.assertEqual(self.ensure("A.example"), [])
        self.assertEqual(self.ensure(), [])
        self.assertEqual(self.revision(), before)

    def test_domains_of_the_settings_get_a_postmaster_and_no_catch_all(self) -> None:
        made = self.ensure("a.example", "b.example", "a.example")
        self.assertEqual(made, ["postmaster@a.example", "postmaster@b.example"])
        listed = domains.list_domains(self.engine)
        self.assertEqual([each.catch_all for each in listed], [None, None])

    def test_a_domain_that_is_there_keeps_its_catch_all(self) -> None:
        domains.add_domain(self.engine, "localhost", "joe@localhost")
        self.assertEqual(self.ensure("localhost"), ["postmaster@localhost"])
        self.assertEqual(domains.list_domains(self.engine)[0].catch_all, "joe@localhost")

    def test_a_postmaster_that_is_an_alias_stays_one(self) -> None:
        domains.add_domain(self.engine, "a.example")
        aliases.add_alias(self.engine, "postmaster@a.example", ["joe@b.example"])
        self.assertEqual(self.ensure("a.example"), [])

    def test_a_database_with_a_domain_needs_no_localhost(self) -> None:
        domains.add_domain(self.engine, "a.example")
        self.assertEqual(self.ensure(), [])
