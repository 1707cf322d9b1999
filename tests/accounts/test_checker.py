"""Logins."""

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, execute, fail
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from postroom.accounts import administration as admin
from postroom.accounts.checker import SQLCredentialsChecker
from postroom.accounts.hashing import Hashing, HashParameters, Verdict
from postroom.accounts.passwords import BUSY
from postroom.errors import Refusal
from tests.accounts.support import CHEAP, InlinePool, InlineReactor, fresh_database


class _Passwords:
    """Verifies at once, and keeps what it was asked to verify against."""

    def __init__(self, hashing: Hashing = CHEAP) -> None:
        self.hashing = hashing
        self.stored: list[str | None] = []
        self.failure: Exception | None = None
        self.full = False

    def verify(self, stored: str | None, offered: bytes) -> Deferred[Verdict]:
        self.stored.append(stored)
        if self.failure is not None:
            return fail(self.failure)
        return execute(self.hashing.verify, stored, offered)


class CheckerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.engine = fresh_database(self)
        admin.add_domain(self.engine, "a.example")
        admin.add_domain(self.engine, "b.example")
        admin.add_account(self.engine, "joe@a.example", CHEAP.hash(b"right"))
        admin.add_account(self.engine, "zoe@b.example", CHEAP.hash(b"right"))
        admin.add_account(self.engine, "postmaster@a.example", None)
        self.passwords = _Passwords()
        self.checker = SQLCredentialsChecker(
            self.engine,
            self.passwords,  # type: ignore[arg-type]
            InlineReactor(),  # type: ignore[arg-type]
            InlinePool(),  # type: ignore[arg-type]
        )

    def log_in(self, name: bytes, password: bytes) -> Deferred[object]:
        return self.checker.requestAvatarId(UsernamePassword(name, password))

    def assert_unauthorized(self, name: bytes, password: bytes) -> str:
        self.passwords.stored.clear()
        failure = self.failureResultOf(self.log_in(name, password), UnauthorizedLogin)
        self.assertEqual(len(self.passwords.stored), 1, "one verification, whoever it is")
        return failure.getErrorMessage()

    def test_it_provides_its_interface(self) -> None:
        verifyObject(ICredentialsChecker, self.checker)

    def test_the_avatar_id_is_the_address_however_the_name_was_written(self) -> None:
        for name in (b"joe@a.example", b"JOE@A.example", b"joe", b"Joe", b'"joe"@a.example'):
            self.assertEqual(self.successResultOf(self.log_in(name, b"right")), b"joe@a.example")

    def test_a_bare_name_is_one_in_the_first_domain_only(self) -> None:
        self.assert_unauthorized(b"zoe", b"right")
        self.assertEqual(
            self.successResultOf(self.log_in(b"zoe@b.example", b"right")), b"zoe@b.example"
        )

    def test_all_that_is_wrong_with_a_login_looks_the_same(self) -> None:
        admin.add_account(self.engine, "off@a.example", CHEAP.hash(b"right"))
        admin.set_enabled(self.engine, "off@a.example", False)
        admin.add_alias(self.engine, "alias@a.example", ["joe@a.example"])
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
        self.assertIn("t=1", self.passwords.stored[0] or "")
        self.assertIn("t=2", self.passwords.stored[1] or "")

    def test_a_hash_that_cannot_be_renewed_does_not_stop_the_login(self) -> None:
        self.passwords.hashing = Hashing(HashParameters(passes=2, memory_kib=8))
        with self.engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TRIGGER no BEFORE UPDATE ON account BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        self.assertEqual(self.successResultOf(self.log_in(b"joe", b"right")), b"joe@a.example")
        self.assertEqual(len(self.flushLoggedErrors()), 1)
