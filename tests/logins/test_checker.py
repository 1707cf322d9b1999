"""Logins."""

from collections.abc import Sequence
from typing import Any

import argon2
from sqlalchemy import event, insert
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import (
    IUsernameHashedPassword,
    UsernameHashedPassword,
    UsernamePassword,
)
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from postroom.credentials import Credential, Knowledge
from postroom.directory import accounts, aliases, domains
from postroom.directory.tables import account_address
from postroom.errors import Refusal
from postroom.interfaces import (
    ICredentialSource,
    ICredentialStore,
    ILoginSecrets,
    IProvenUser,
)
from postroom.logins import secrets
from postroom.logins.checker import SourcesChecker
from postroom.logins.database_source import SQLCredentialSource
from postroom.logins.hashing import Forms, Hashing, HashParameters, PasswordVerdict
from postroom.logins.passwords import BUSY
from postroom.logins.scram import DummyScramKeys
from tests.directory.support import CHEAP, InlinePool, InlineReactor, fresh_database


class _Passwords:
    """Verifies at once, and keeps what it was asked to verify against."""

    def __init__(self, hashing: Hashing = CHEAP) -> None:
        self.hashing = hashing
        self.stored: list[tuple[str, ...]] = []
        self.failure: Exception | None = None
        self.full = False

    def verify(self, stored: Sequence[str], offered: bytes) -> Deferred[PasswordVerdict]:
        self.stored.append(tuple(stored))
        if self.failure is not None:
            return fail(self.failure)
        return execute(self.hashing.verify, stored, offered)


class CheckerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.engine = fresh_database(self)
        domains.add_domain(self.engine, "a.example")
        domains.add_domain(self.engine, "b.example")
        accounts.add_account(self.engine, "joe@a.example", CHEAP.hash(b"right"))
        accounts.add_account(self.engine, "zoe@b.example", CHEAP.hash(b"right"))
        accounts.add_account(self.engine, "postmaster@a.example", None)
        self.passwords = _Passwords()
        self.checker = self.make_checker()

    def make_checker(self, *before: Any, forms: Forms | None = None) -> SourcesChecker:
        own = SQLCredentialSource(
            self.engine,
            InlineReactor(),  # type: ignore[arg-type]
            InlinePool(),  # type: ignore[arg-type]
            forms or Forms(),
        )
        verifyObject(ICredentialStore, own)
        nobody = DummyScramKeys(b"secret" * 6, "a.example", 4096)
        return SourcesChecker([*before, own], self.passwords, nobody)  # type: ignore[arg-type]

    def log_in(self, name: bytes, password: bytes) -> Deferred[object]:
        return self.checker.requestAvatarId(UsernamePassword(name, password))

    def assert_unauthorized(self, name: bytes, password: bytes) -> str:
        self.passwords.stored.clear()
        failure = self.failureResultOf(self.log_in(name, password), UnauthorizedLogin)
        self.assertEqual(len(self.passwords.stored), 1, "one verification, whoever it is")
        return failure.getErrorMessage()

    def test_it_provides_its_interface(self) -> None:
        verifyObject(ICredentialsChecker, self.checker)
        verifyObject(ILoginSecrets, self.checker)

    def test_the_avatar_id_is_the_address_however_the_name_was_written(self) -> None:
        for name in (b"joe@a.example", b"JOE@A.example", b"joe", b"Joe", b'"joe"@a.example'):
            self.assertEqual(self.successResultOf(self.log_in(name, b"right")), b"joe@a.example")

    def test_a_bare_name_is_one_in_the_first_domain_only(self) -> None:
        self.assert_unauthorized(b"zoe", b"right")
        self.assertEqual(
            self.successResultOf(self.log_in(b"zoe@b.example", b"right")), b"zoe@b.example"
        )

    def test_all_that_is_wrong_with_a_login_looks_the_same(self) -> None:
        accounts.add_account(self.engine, "off@a.example", CHEAP.hash(b"right"))
        accounts.set_enabled(self.engine, "off@a.example", False)
        aliases.add_alias(self.engine, "alias@a.example", ["joe@a.example"])
        texts = {
            self.assert_unauthorized(name, password)
            for name, password in (
                (b"joe@a.example", b"wrong"),
                (b"joe@a.example", b""),
                (b"nobody@a.example", b"right"),
                (b"joe@c.example", b"right"),
                (b"off@a.example", b"right"),
                (b"postmaster@a.example", b""),
                (b"alias@a.example", b"right"),
                (b"", b"right"),
                (b"joe\0@a.example", b"right"),
                (b"\xff\xff", b"right"),
                (b"x" * 5000, b"right"),
                (b"' OR ''='", b"right"),
            )
        }
        self.assertEqual(len(texts), 1)

    def test_all_that_is_wrong_with_a_login_costs_the_same_work(self) -> None:
        """The same statements, and one verification of a hash of the same parameters."""
        accounts.add_account(self.engine, "off@a.example", CHEAP.hash(b"right"))
        accounts.set_enabled(self.engine, "off@a.example", False)
        statements: list[str] = []
        event.listen(
            self.engine,
            "before_cursor_execute",
            lambda _c, _u, statement, *_: statements.append(statement),
        )
        hashes: list[str] = []
        real = argon2.PasswordHasher.verify

        def verify(hasher: argon2.PasswordHasher, stored: str, password: bytes) -> bool:
            hashes.append(str(argon2.extract_parameters(stored)))
            return real(hasher, stored, password)

        CHEAP.prepare()
        self.patch(argon2.PasswordHasher, "verify", verify)
        works = []
        for name, password in (
            (b"joe@a.example", b"wrong"),
            (b"joe@a.example", b"abcde-fghij-kmnpq-rstuv"),
            (b"joe", b"wrong"),
            (b"nobody@a.example", b"wrong"),
            (b"nobody", b"wrong"),
            (b"joe@nowhere.example", b"wrong"),
            (b"off@a.example", b"right"),
            (b"postmaster@a.example", b"wrong"),
            (b"\xff", b"wrong"),
            (b"", b"\xff"),
        ):
            statements.clear()
            hashes.clear()
            self.assert_unauthorized(name, password)
            works.append((tuple(statements), tuple(hashes)))
        self.assertEqual(len(works[0][1]), 1)
        self.assertEqual(set(works), {works[0]})

    def test_trouble_with_the_database_is_no_wrong_password(self) -> None:
        with self.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE account RENAME TO lost")
        failure = self.failureResultOf(self.log_in(b"joe", b"right"), Refusal)
        self.assertEqual((failure.value.reply.code, failure.value.reply.enhanced), (454, "4.7.0"))
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_a_hash_that_cannot_be_computed_is_no_wrong_password(self) -> None:
        self.passwords.failure = MemoryError()
        failure = self.failureResultOf(self.log_in(b"joe", b"right"), Refusal)
        self.assertEqual(failure.value.reply.code, 454)
        self.assertEqual(len(self.flushLoggedErrors(MemoryError)), 1)

    def test_a_full_pool_is_told_as_it_is(self) -> None:
        self.passwords.failure = Refusal(BUSY)
        failure = self.failureResultOf(self.log_in(b"joe", b"right"), Refusal)
        self.assertIs(failure.value.reply, BUSY)

    def test_a_full_pool_is_told_before_anybody_is_looked_up(self) -> None:
        self.passwords.full = True
        with self.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE account RENAME TO lost")
        failure = self.failureResultOf(self.log_in(b"joe", b"right"), Refusal)
        self.assertIs(failure.value.reply, BUSY)

    def test_a_login_renews_a_hash_of_old_parameters(self) -> None:
        self.passwords.hashing = Hashing(HashParameters(passes=2, memory_kib=8))
        for _ in range(2):
            self.successResultOf(self.log_in(b"joe", b"right"))
        self.assertIn("t=1", self.passwords.stored[0][0])
        self.assertIn("t=2", self.passwords.stored[1][0])

    def test_a_hash_that_cannot_be_renewed_does_not_stop_the_login(self) -> None:
        self.passwords.hashing = Hashing(HashParameters(passes=2, memory_kib=8))
        with self.engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TRIGGER no BEFORE UPDATE ON account BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        self.assertEqual(self.successResultOf(self.log_in(b"joe", b"right")), b"joe@a.example")
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_any_address_of_an_account_is_a_name_for_it(self) -> None:
        row = {"address": "joseph@b.example", "domain": "b.example", "account": "joe@a.example"}
        with self.engine.begin() as connection:
            connection.execute(insert(account_address).values(row))
        login = self.log_in(b"joseph@b.example", b"right")
        self.assertEqual(self.successResultOf(login), b"joe@a.example")


class AppPasswordTests(CheckerTests):
    """Passwords of single programs; all that holds without them holds with them."""

    def setUp(self) -> None:
        super().setUp()
        self.app = secrets.new_app_password()
        for name, password in (("phone", self.app), ("desk", secrets.new_app_password())):
            letters = secrets.app_password_letters(password.encode())
            assert letters is not None
            secrets.add_app_password(
                self.engine, "joe@a.example", name, letters, CHEAP.hash(letters)
            )

    def test_it_is_as_good_as_the_main_one_however_it_is_typed(self) -> None:
        for typed in (self.app, self.app.replace("-", ""), self.app.upper().replace("-", " ")):
            self.passwords.stored.clear()
            login = self.log_in(b"joe", typed.encode())
            self.assertEqual(self.successResultOf(login), b"joe@a.example")
            self.assertEqual(len(self.passwords.stored), 1)

    def test_what_only_looks_like_one_is_verified_once_as_any_other(self) -> None:
        wrong_end = self.app[:-1] + ("b" if self.app[-1] == "a" else "a")
        for typed in (wrong_end, secrets.new_app_password()):
            self.assert_unauthorized(b"joe@a.example", typed.encode())
        self.assert_unauthorized(b"zoe@b.example", self.app.encode())

    def test_a_main_password_may_look_like_one(self) -> None:
        look_alike = secrets.new_app_password()
        accounts.set_password(self.engine, "joe@a.example", CHEAP.hash(look_alike.encode()))
        login = self.log_in(b"joe", look_alike.encode())
        self.assertEqual(self.successResultOf(login), b"joe@a.example")

    def test_revoked_or_switched_off_it_is_wrong(self) -> None:
        secrets.revoke_app_password(self.engine, "joe@a.example", "phone")
        self.assert_unauthorized(b"joe@a.example", self.app.encode())

    def test_a_disabled_account_has_none(self) -> None:
        accounts.set_enabled(self.engine, "joe@a.example", False)
        self.assert_unauthorized(b"joe@a.example", self.app.encode())

    def test_its_last_use_is_noted_and_not_more_than_once_a_minute(self) -> None:
        def used() -> dict[str, int | None]:
            rows = secrets.list_app_passwords(self.engine, "joe@a.example")
            return {row.name: row.last_used_at for row in rows}

        self.assertEqual(used(), {"phone": None, "desk": None})
        self.log_in(b"joe", self.app.encode())
        self.assertIsNotNone(used()["phone"])
        self.assertIsNone(used()["desk"])
        with self.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE app_password SET last_used_at = 1")
        self.log_in(b"joe", self.app.encode())
        self.assertEqual(used()["phone"], 1)


@implementer(ICredentialSource)
class Source:
    """Answers as it was told."""

    def __init__(self, answer: Credential | Exception | None, *knows: Knowledge) -> None:
        self.answer = answer
        self.knows = frozenset(knows)
        self.asked: list[bytes] = []

    def find_credential(self, username: bytes) -> Deferred[Credential | None]:
        self.asked.append(username)
        if isinstance(self.answer, Exception):
            return fail(self.answer)
        return succeed(self.answer)


class Proven:
    """Somebody who has proven who they are."""

    def __init__(self, username: bytes) -> None:
        self.username = username


implementer(IProvenUser)(Proven)


class SourcesTests(CheckerTests):
    """Several sources; those of `CheckerTests` come after one that knows nobody."""

    def setUp(self) -> None:
        super().setUp()
        self.checker = self.make_checker(Source(None))

    def ask(self, *sources: Source, password: bytes = b"right") -> Deferred[bytes | tuple[()]]:
        checker = self.make_checker(*sources)
        return checker.requestAvatarId(UsernamePassword(b"joe@a.example", password))

    def test_the_first_that_knows_the_user_decides(self) -> None:
        other = Source(Credential("other@a.example", (CHEAP.hash(b"theirs"),)))
        login = self.ask(other, password=b"theirs")
        self.assertEqual(self.successResultOf(login), b"other@a.example")
        self.failureResultOf(self.ask(other), UnauthorizedLogin)

    def test_one_that_switches_a_user_off_decides_too(self) -> None:
        off = Source(Credential("joe@a.example", (CHEAP.hash(b"right"),), enabled=False))
        self.failureResultOf(self.ask(off), UnauthorizedLogin)

    def test_one_that_is_down_makes_no_password_wrong(self) -> None:
        down = Source(OSError("gone"))
        self.assertEqual(self.successResultOf(self.ask(down)), b"joe@a.example")
        checker = self.make_checker(down)
        login = checker.requestAvatarId(UsernamePassword(b"nobody@a.example", b"x"))
        self.assertEqual(self.failureResultOf(login, Refusal).value.reply.code, 454)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 2)

    def test_a_source_may_check_passwords_itself(self) -> None:
        asked = []

        def verify(password: bytes) -> Deferred[bool]:
            asked.append(password)
            return succeed(password == b"bound")

        source = Source(Credential("joe@a.example", verify=verify))
        login = self.ask(source, password=b"bound")
        self.assertEqual(self.successResultOf(login), b"joe@a.example")
        self.failureResultOf(self.ask(source, password=b"no"), UnauthorizedLogin)
        self.failureResultOf(self.ask(source, password=b""), UnauthorizedLogin)
        self.assertEqual(asked, [b"bound", b"no"], "an LDAP bind without a password succeeds")

    def test_a_stored_password_that_cannot_be_read_is_trouble_of_ours(self) -> None:
        self.passwords.hashing = CHEAP
        login = self.ask(Source(Credential("joe@a.example", ("{WHAT}ever",))))
        self.assertEqual(self.failureResultOf(login, Refusal).value.reply.code, 454)
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_what_is_known_is_what_all_know_together(self) -> None:
        checker = self.make_checker(Source(None, Knowledge.SCRAM))
        self.assertEqual(checker.knows, {Knowledge.CHECKABLE, Knowledge.SCRAM})

    def test_a_response_that_only_the_password_can_check(self) -> None:
        checker = self.make_checker(Source(Credential("joe@a.example", ("{PLAIN}right",))))

        def ask(hashed: bytes) -> Deferred[Any]:
            credentials = UsernameHashedPassword(b"joe@a.example", hashed)
            assert IUsernameHashedPassword.providedBy(credentials)
            return checker.requestAvatarId(credentials)

        self.assertEqual(self.successResultOf(ask(b"right")), b"joe@a.example")
        self.failureResultOf(ask(b"wrong"), UnauthorizedLogin)

    def test_no_response_is_right_where_only_a_hash_is_stored(self) -> None:
        for stored in (b"nobody's", b"right"):
            credentials = UsernameHashedPassword(b"joe@a.example", stored)
            self.failureResultOf(self.checker.requestAvatarId(credentials), UnauthorizedLogin)

    def test_whoever_has_proven_who_they_are_needs_an_account_that_is_on(self) -> None:
        def ask(name: bytes) -> Deferred[Any]:
            return self.checker.requestAvatarId(Proven(name))

        self.assertEqual(self.successResultOf(ask(b"JOE@a.example")), b"joe@a.example")
        self.failureResultOf(ask(b"nobody@a.example"), UnauthorizedLogin)
        accounts.set_enabled(self.engine, "joe@a.example", False)
        self.failureResultOf(ask(b"joe@a.example"), UnauthorizedLogin)


class ScramKeyTests(CheckerTests):
    """The keys that SCRAM begins with."""

    FULL = Hashing(HashParameters(passes=1, memory_kib=8), Forms(scram=True, scram_iterations=4096))

    def setUp(self) -> None:
        super().setUp()
        first, *further = self.FULL.store(b"right")
        accounts.set_password(self.engine, "joe@a.example", first, further)
        self.passwords.hashing = self.FULL

    def keys(self, name: bytes) -> Any:
        return self.successResultOf(self.checker.scram_keys(name))

    def test_an_account_has_its_own(self) -> None:
        keys = self.keys(b"Joe")
        self.assertEqual((keys.address, keys.iterations), ("joe@a.example", 4096))
        self.assertEqual(keys, self.keys(b"joe@a.example"))

    def test_names_that_cannot_log_in_have_keys_that_look_the_same(self) -> None:
        real = self.keys(b"joe")
        accounts.add_account(self.engine, "off@a.example", *self.full())
        accounts.set_enabled(self.engine, "off@a.example", False)
        for name in (b"nobody", b"off@a.example", b"zoe@b.example", b"\xff", b""):
            keys = self.keys(name)
            self.assertIsNone(keys.address)
            for each in ("salt", "stored_key", "server_key"):
                self.assertEqual(len(getattr(keys, each)), len(getattr(real, each)))
            self.assertEqual(keys.iterations, real.iterations)
            self.assertEqual(keys, self.keys(name), "the same whenever they are asked for")
        self.assertEqual(self.keys(b"nobody"), self.keys(b"Nobody@A.example"))
        self.assertNotEqual(self.keys(b"nobody"), self.keys(b"nobodi"))

    def full(self) -> tuple[str, list[str]]:
        first, *further = self.FULL.store(b"right")
        return first, further

    def test_a_login_with_the_password_itself_makes_them(self) -> None:
        self.assertIsNone(self.keys(b"zoe@b.example").address)
        self.successResultOf(self.log_in(b"zoe@b.example", b"right"))
        self.assertEqual(self.keys(b"zoe@b.example").address, "zoe@b.example")

    def test_a_new_password_leaves_none_behind(self) -> None:
        accounts.set_password(self.engine, "joe@a.example", CHEAP.hash(b"other"))
        self.assertIsNone(self.keys(b"joe").address)

    def test_trouble_with_the_database_is_told_as_such(self) -> None:
        with self.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE account RENAME TO lost")
        failure = self.failureResultOf(self.checker.scram_keys(b"joe"), Refusal)
        self.assertEqual(failure.value.reply.code, 454)
        self.flushLoggedErrors()
