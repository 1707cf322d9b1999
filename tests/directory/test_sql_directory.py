"""The directory, as the routing asks it."""

import time
from dataclasses import replace
from pathlib import Path

from sqlalchemy.exc import OperationalError
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from postroom.directory import accounts, aliases, domains, properties
from postroom.directory.sql_directory import SQLDirectory
from postroom.envelope import (
    Account,
    AccountLimits,
    Alias,
    Domain,
    DomainKind,
    RelayRecipient,
    Writers,
)
from postroom.errors import UserError
from postroom.interfaces import IDirectory
from tests.directory.support import InlinePool, InlineReactor, fresh_database


class DirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.engine = fresh_database(self)
        domains.add_domain(self.engine, "a.example", "joe@a.example")
        accounts.add_account(self.engine, "joe@a.example", None)
        aliases.add_alias(self.engine, "sales@a.example", ["Zoe@b.example", "discard:"])
        self.reactor = InlineReactor()
        self.pool = InlinePool()
        self.directory = SQLDirectory(
            self.engine,
            Path("/mail"),
            self.reactor,  # type: ignore[arg-type]
            self.pool,  # type: ignore[arg-type]
        )

    def start(self) -> None:
        self.directory.start()
        self.addCleanup(self.directory.stop)

    def break_database(self) -> None:
        with self.engine.begin() as connection:
            for table in ("directory_revision", "account", "domain"):
                connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO lost_{table}")

    def mend_database(self) -> None:
        with self.engine.begin() as connection:
            for table in ("directory_revision", "account", "domain"):
                connection.exec_driver_sql(f"ALTER TABLE lost_{table} RENAME TO {table}")

    def test_it_provides_its_interface(self) -> None:
        verifyObject(IDirectory, self.directory)

    def test_a_domain_is_found_and_a_strange_one_is_not(self) -> None:
        found = self.successResultOf(self.directory.find_domain("a.example"))
        self.assertEqual(found, Domain("a.example", "joe@a.example"))
        self.assertIsNone(self.successResultOf(self.directory.find_domain("b.example")))

    def test_an_account_is_found_with_its_maildir_below_the_mail_root(self) -> None:
        found = self.successResultOf(self.directory.find_address("joe@a.example"))
        expected = Account("joe@a.example", "/mail/a.example/joe", True)
        self.assertEqual(replace(found, created_at=None), expected)

    def test_the_age_of_an_account_is_known(self) -> None:
        before = time.time()
        accounts.add_account(self.engine, "new@a.example", None)
        found = self.successResultOf(self.directory.find_address("new@a.example"))
        self.assertTrue(before <= found.created_at <= time.time())

    def test_an_account_comes_with_all_that_it_has_by_any_of_its_addresses(self) -> None:
        properties.add_addresses(self.engine, "joe@a.example", ["jo@a.example", "j@a.example"])
        targets = ["z@b.example", "X@b.example"]
        properties.set_forwards(self.engine, "joe@a.example", targets, keeps_copy=False)
        properties.set_senders(self.engine, "joe@a.example", ["@b.example", "j@c.example"])
        limits = AccountLimits(1, 2, 3, 4, 5)
        properties.set_limits(self.engine, "joe@a.example", limits)
        expected = Account(
            "joe@a.example",
            "/mail/a.example/joe",
            addresses=("j@a.example", "jo@a.example"),
            forwards=("z@b.example", "X@b.example"),
            keeps_copy=False,
            senders=("@b.example", "j@c.example"),
            limits=limits,
        )
        for address in ("joe@a.example", "jo@a.example", "j@a.example"):
            found = self.successResultOf(self.directory.find_address(address))
            self.assertEqual(replace(found, created_at=None), expected, address)

    def test_domains_of_all_kinds_are_found(self) -> None:
        domains.add_alias_domain(self.engine, "too.example", "a.example")
        domains.add_relay_domain(self.engine, "relayed.example", any_recipient=True)
        domains.add_relay_domain(self.engine, "strict.example")
        domains.add_recipients(self.engine, ["X@strict.example"])
        for expected in (
            Domain("too.example", kind=DomainKind.ALIAS, target="a.example"),
            Domain("relayed.example", kind=DomainKind.RELAY, any_recipient=True),
            Domain("strict.example", kind=DomainKind.RELAY),
        ):
            found = self.successResultOf(self.directory.find_domain(expected.name))
            self.assertEqual(found, expected)
        found = self.successResultOf(self.directory.find_address("x@strict.example"))
        self.assertEqual(found, RelayRecipient("x@strict.example"))

    def test_a_group_says_who_may_write(self) -> None:
        aliases.add_alias(self.engine, "g@a.example", ["joe@a.example"], Writers.MEMBERS)
        found = self.successResultOf(self.directory.find_address("g@a.example"))
        self.assertEqual(found, Alias("g@a.example", ("joe@a.example",), Writers.MEMBERS))

    def test_an_alias_says_whether_tags_go_on(self) -> None:
        for address, passes in (("t@a.example", True), ("u@a.example", False)):
            aliases.add_alias(self.engine, address, ["joe@a.example"], passes_tags=passes)
            found = self.successResultOf(self.directory.find_address(address))
            self.assertEqual(found.passes_tags, passes)

    def test_an_account_that_is_switched_off_is_found_so(self) -> None:
        accounts.set_enabled(self.engine, "joe@a.example", False)
        found = self.successResultOf(self.directory.find_address("joe@a.example"))
        self.assertIs(found.enabled, False)

    def test_an_alias_is_found_with_its_targets_in_order(self) -> None:
        found = self.successResultOf(self.directory.find_address("sales@a.example"))
        self.assertEqual(found, Alias("sales@a.example", ("Zoe@b.example", "discard:")))

    def test_an_unknown_address_is_none(self) -> None:
        for address in ("jo@a.example", "' OR 1=1 --@a.example", "joe@b.example"):
            self.assertIsNone(self.successResultOf(self.directory.find_address(address)))

    def test_look_ups_are_made_in_the_pool(self) -> None:
        self.pool.hold()
        result = self.directory.find_domain("a.example")
        self.assertNoResult(result)
        self.pool.release()
        self.assertIsNotNone(self.successResultOf(result))

    def test_trouble_with_the_database_is_a_failure_and_not_an_unknown_user(self) -> None:
        self.break_database()
        self.failureResultOf(self.directory.find_address("joe@a.example"), OperationalError)
        self.failureResultOf(self.directory.find_domain("a.example"), OperationalError)

    def test_the_change_of_another_process_is_seen_within_a_second(self) -> None:
        self.start()
        before = self.directory.revision()
        self.reactor.advance(1)
        self.assertEqual(self.directory.revision(), before)
        accounts.add_account(self.engine, "jim@a.example", None)
        self.assertEqual(self.directory.revision(), before)
        self.reactor.advance(1)
        self.assertNotEqual(self.directory.revision(), before)

    def test_a_slow_poll_is_not_overtaken_by_the_next(self) -> None:
        self.start()
        self.pool.hold()
        self.reactor.pump([1, 1, 1])
        self.assertEqual(len(self.pool.held or ()), 1)
        self.pool.release()

    def test_a_change_of_our_own_is_seen_at_once(self) -> None:
        before = self.directory.revision()
        made = self.directory.change(accounts.add_account, "jim@a.example", password_hash=None)
        self.assertEqual(self.successResultOf(made).address, "jim@a.example")
        self.assertNotEqual(self.directory.revision(), before)

    def test_the_revision_has_changed_before_the_change_is_told(self) -> None:
        before = self.directory.revision()
        made = self.directory.change(domains.add_domain, "b.example")
        made.addCallback(lambda _: self.directory.revision())
        self.assertNotEqual(self.successResultOf(made), before)

    def test_a_change_that_is_refused_fails_with_the_reason(self) -> None:
        self.failureResultOf(self.directory.change(domains.add_domain, "a.example"), UserError)

    def test_polls_that_fail_are_told_once_and_polling_goes_on(self) -> None:
        events: list[str] = []
        self.start()
        before = self.directory.revision()

        def observe(event: LogEvent) -> None:
            if event.get("log_namespace") == "postroom.directory.revision_poll.RevisionPoll":
                events.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.break_database()
        self.reactor.pump([1, 1, 1])
        self.assertEqual(len(self.flushLoggedErrors(OperationalError)), 1)
        self.assertEqual(self.directory.revision(), before)
        self.mend_database()
        domains.add_domain(self.engine, "b.example")
        self.reactor.advance(1)
        self.assertNotEqual(self.directory.revision(), before)
        self.assertEqual(
            events,
            ["Cannot read the directory's changes", "Reading the directory's changes works again"],
        )

    def test_after_stop_nothing_is_polled(self) -> None:
        self.directory.start()
        self.directory.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
