"""The contract, run on every source that needs no server of another program but PostgreSQL."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from postroom.database import migrate, open_database
from postroom.directory import accounts, aliases, domains
from postroom.directory.sql_directory import SQLDirectory
from postroom.envelope import Alias
from postroom.interfaces import ICredentialSource, IDirectory
from postroom.logins.database_source import SQLCredentialSource
from postroom.logins.hashing import Forms
from postroom.sources import system
from postroom.sources.passwd_file import PasswdFile
from postroom.sources.profile import Maildirs, SourceDown, SourceError
from postroom.sources.settings import PasswdSettings, SQLSettings, SystemSettings
from postroom.sources.sql import SQLLookUps
from postroom.sources.static import StaticSource
from postroom.sources.system import SystemUsers
from postroom.sources.threads import LookUps, ThreadedSource
from tests.database.postgresql import new_postgresql_url
from tests.directory.support import CHEAP, fresh_database
from tests.sources.contract import PASSWORD, SourceContract

MAILDIRS = Maildirs(Path("/mail"))
HASH = CHEAP.hash(PASSWORD.encode())


def threaded(case: TestCase, look_ups: LookUps) -> ThreadedSource:
    source = ThreadedSource("tested", look_ups, reactor, 10)  # type: ignore[arg-type]
    source.start()
    case.addCleanup(source.stop)
    return source


@implementer(IDirectory, ICredentialSource)
class DatabaseSource:
    """The embedded database's two halves as one."""

    def __init__(self, directory: SQLDirectory, logins: SQLCredentialSource) -> None:
        self.revision = directory.revision
        self.find_domain = directory.find_domain
        self.find_address = directory.find_address
        self.find_credential = logins.find_credential
        self.knows = logins.knows


class DatabaseTests(SourceContract, TestCase):
    has_odd_dots = True

    def make_database(self) -> Engine:
        return fresh_database(self)  # type: ignore[arg-type]

    def setUp(self) -> None:
        self.engine = self.make_database()
        domains.add_domain(self.engine, "a.example")
        accounts.add_account(self.engine, "joe@a.example", HASH)
        accounts.add_account(self.engine, "off@a.example", HASH)
        accounts.set_enabled(self.engine, "off@a.example", False)
        accounts.add_account(self.engine, '"a..b"@a.example', HASH)
        aliases.add_alias(self.engine, "sales@a.example", ["joe@a.example", "X@b.example"])
        pool = ThreadPool(0, 2)
        pool.start()
        self.addCleanup(pool.stop)
        given: Any = (reactor, pool)
        self.source = DatabaseSource(
            SQLDirectory(self.engine, Path("/mail"), *given),
            SQLCredentialSource(self.engine, *given, Forms()),
        )

    def break_source(self) -> None:
        self.rename("", "lost_")

    def mend_source(self) -> None:
        self.rename("lost_", "")

    def rename(self, before: str, after: str) -> None:
        with self.engine.begin() as connection:
            for table in ("account", "domain"):
                change = f"ALTER TABLE {before}{table} RENAME TO {after}{table}"
                connection.exec_driver_sql(change)


class SharedDatabaseTests(DatabaseTests):
    """Our own tables on PostgreSQL."""

    def make_database(self) -> Engine:
        engine = open_database(new_postgresql_url())
        self.addCleanup(engine.dispose)
        migrate(engine)
        return engine


class StaticTests(SourceContract, TestCase):
    has_disabled = False
    has_odd_dots = True
    is_always_up = True

    def setUp(self) -> None:
        self.source = StaticSource(
            {"Joe@a.example": HASH, '"a..b"@a.example': HASH},
            {"sales@a.example": ["joe@a.example", "X@b.example"]},
            MAILDIRS,
            "a.example",
        )


class PasswdFileTests(SourceContract, TestCase):
    has_aliases = False
    has_odd_dots = True

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_text(
            f"# users\n\nJoe:{HASH}\noff@a.example:{HASH}:::::: userdb_enabled=no\n"
            f'"a..b"@a.example:{HASH}\n'
        )
        settings = PasswdSettings(self.path, "a.example")
        self.source = threaded(self, PasswdFile(settings, MAILDIRS))

    def break_source(self) -> None:
        self.path.rename(self.path.with_suffix(".away"))

    def mend_source(self) -> None:
        self.path.with_suffix(".away").rename(self.path)


class EmptiedPasswdFileTests(PasswdFileTests):
    """The moment in which an editor has cut the file and not yet written it."""

    def break_source(self) -> None:
        self.octets = self.path.read_bytes()
        self.path.write_bytes(b"")

    def mend_source(self) -> None:
        self.path.write_bytes(self.octets)


class SQLContract(SourceContract):
    has_odd_dots = True
    url: str

    def set_up_tables(self: Any) -> None:
        self.engine = create_engine(self.url.replace("postgresql:", "postgresql+psycopg:"))
        self.addCleanup(self.engine.dispose)
        with self.engine.begin() as connection:
            for statement in (
                "CREATE TABLE users (name text, domain text, secret text, active boolean)",
                "CREATE TABLE aliases (address text, target text, tags boolean)",
                "CREATE TABLE domains (name text)",
                "INSERT INTO domains VALUES ('a.example')",
                "INSERT INTO aliases VALUES ('sales@a.example', 'joe@a.example', true),"
                " ('sales@a.example', 'X@b.example', true),"
                " ('a..@a.example', 'x@b.example', false)",
            ):
                connection.execute(text(statement))
            for name, active in (("joe", True), ("off", False), ("a..b", True)):
                connection.execute(
                    text("INSERT INTO users VALUES (:name, 'a.example', :hash, :active)"),
                    {"name": name, "hash": HASH, "active": active},
                )
        settings = SQLSettings(
            self.url,
            "SELECT secret AS password, active FROM users WHERE name = :user AND domain = :domain",
            "SELECT target, tags AS passes_tags FROM aliases WHERE address = :address",
            "SELECT 1 FROM domains WHERE name = :domain",
            default_domain="a.example",
        )
        self.source = threaded(self, SQLLookUps(settings, MAILDIRS))

    async def test_an_alias_may_have_odd_dots_and_pass_tags_on_or_not(self: Any) -> None:
        self.assertTrue((await self.source.find_address("sales@a.example")).passes_tags)
        found = await self.source.find_address('"a.."@a.example')
        self.assertEqual(found, Alias('"a.."@a.example', ("x@b.example",), passes_tags=False))

    def break_source(self) -> None:
        self.rename("", "lost_")

    def mend_source(self) -> None:
        self.rename("lost_", "")

    def rename(self: Any, before: str, after: str) -> None:
        with self.engine.begin() as connection:
            for table in ("users", "domains"):
                connection.execute(text(f"ALTER TABLE {before}{table} RENAME TO {after}{table}"))


class SqliteTests(SQLContract, TestCase):
    def setUp(self) -> None:
        self.url = f"sqlite:///{Path(self.mktemp()).absolute()}"
        self.set_up_tables()


class PostgresqlTests(SQLContract, TestCase):
    def setUp(self) -> None:
        self.url = new_postgresql_url()
        self.set_up_tables()

    async def test_a_query_without_end_is_ended_by_the_server(self) -> None:
        settings = SQLSettings(self.url, "SELECT pg_sleep(600)", timeout_seconds=0.2)
        look_ups = SQLLookUps(settings, MAILDIRS)
        with self.assertRaisesRegex(OperationalError, "statement timeout"):
            await deferToThread(look_ups.address, "joe@a.example")
        look_ups.close()


class SystemTests(SourceContract, TestCase):
    """With users and a PAM of the test's own; real ones are in ``tests.interop``."""

    has_aliases = False
    has_disabled = False
    domain_is_asked = False
    joe_maildir = "/home/joe/Maildir"

    def setUp(self) -> None:
        self.down = False
        self.patch(system, "find_user", self.find_user)
        self.patch(system, "_authenticator", self.authenticator)
        services = Path(self.mktemp())
        services.mkdir()
        self.service = services / "postroom"
        self.service.touch()
        self.patch(system, "PAM_DIRECTORIES", (services,))
        settings = SystemSettings(("a.example",))
        maildirs = Maildirs(Path("/mail"), "{home}/Maildir")
        self.source = threaded(self, SystemUsers(settings, maildirs))

    def find_user(self, name: str) -> tuple[int, str] | None:
        if self.down:
            raise SourceError("down")
        return {"joe": (1000, "/home/joe"), "daemon": (1, "/")}.get(name)

    def authenticator(self) -> Callable[[str, bytes, str], tuple[int, str]]:
        def authenticate(name: str, password: bytes, service: str) -> tuple[int, str]:
            self.assertEqual((name, service), ("joe", "postroom"))
            if self.down:
                return 9, "cannot retrieve authentication info"
            return (0, "") if password == PASSWORD.encode() else (7, "failure")

        return authenticate

    def break_source(self) -> None:
        self.down = True

    def mend_source(self) -> None:
        self.down = False

    async def test_daemons_have_no_mailbox(self) -> None:
        self.assertIsNone(await self.source.find_address("daemon@a.example"))

    async def test_a_pam_that_cannot_know_is_a_failure_and_not_a_wrong_password(self) -> None:
        found = await self.source.find_credential(b"joe")
        self.down = True
        with self.assertRaises(SourceError):
            await found.verify(PASSWORD.encode())

    async def test_so_is_a_service_that_is_not_there(self) -> None:
        found = await self.source.find_credential(b"joe")
        self.service.unlink()
        with self.assertRaisesRegex(SourceDown, "no PAM service postroom in "):
            await found.verify(PASSWORD.encode())

    def test_real_users_are_found_with_uid_and_home(self) -> None:
        self.patch(system, "find_user", _find_user)
        import pwd

        for name in ("root", "nobody"):
            entry = pwd.getpwnam(name)
            self.assertEqual(system.find_user(name), (entry.pw_uid, entry.pw_dir))
        self.assertIsNone(system.find_user("no-such-user-here"))


_find_user = system.find_user
