"""Postroom and Dovecot with one list of users: a passwd-file, or one database for both.

Either program takes what the administrator changes there: a new password, a new user.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon, wait_until
from tests.interop.clients import program
from tests.interop.dovecot_users import SharedDovecot
from tests.interop.fixtures import new_folder
from tests.interop.postgresql import Postgresql
from tests.interop.traffic import login, send

OLD, NEW = "correct horse", "battery staple"
_OWNER = "nobody" if os.geteuid() == 0 else ""
_COMMON = """
domains = ["here.example"]
[auth]
clear_text_networks = ["127.0.0.0/8"]
"""


def hashed(password: str, scheme: str = "SHA512-CRYPT") -> str:
    command = [program("doveadm"), "pw", "-s", scheme, "-p", password]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


class SharedUsers:
    """What holds for each list; Maildirs are in ``homes``, by user."""

    folder: Path

    def start(self: Any, settings: str, users: str, mail_location: str) -> None:
        self.daemon = Daemon(
            self.folder, listeners=("mx", "submission"), settings=_COMMON + settings
        )
        self.daemon.start()
        self.addCleanup(self.daemon.stop)
        own = self.folder / "dovecot"
        own.mkdir()
        self.dovecot = SharedDovecot(own, users, mail_location)
        self.addCleanup(self.dovecot.stop)

    def set_password(self, user: str, password: str) -> None:
        """Change a user's password, or add the user."""
        raise NotImplementedError

    def maildirs(self) -> list[Path]:
        """Give the directories that Dovecot's processes have to read."""
        raise NotImplementedError

    def read(self: Any, user: str, password: str) -> "list[str] | None":
        if _OWNER:
            for directory in self.maildirs():
                for path in (directory, *directory.rglob("*")):
                    shutil.chown(path, _OWNER, "nogroup")
        found: list[str] | None = self.dovecot.subjects(user, password)
        return found

    def test_both_take_the_same_users_and_passwords(self: Any) -> None:
        self.prepare()
        for number in range(3):
            send(self.daemon, "joe@a.example", f"message {number}")
        self.assertEqual(self.read("joe@a.example", OLD), [f"message {n}" for n in range(3)])
        self.assertIsNone(self.read("joe@a.example", NEW))
        self.assertEqual(login(self.daemon, "joe@a.example", OLD), 235)
        self.assertEqual(login(self.daemon, "joe@a.example", NEW), 535)
        self.set_password("joe@a.example", NEW)
        self.set_password("ann@a.example", OLD)
        self.assertTrue(wait_until(lambda: login(self.daemon, "joe@a.example", NEW) == 235, 10))
        self.assertEqual(login(self.daemon, "joe@a.example", OLD), 535)
        self.assertIsNone(self.read("joe@a.example", OLD))
        send(self.daemon, "ann@a.example", "welcome")
        self.assertEqual(self.read("ann@a.example", OLD), ["welcome"])
        send(self.daemon, "joe@a.example", "more")
        self.assertIn("more", self.read("joe@a.example", NEW) or [])


class PasswdFile(SharedUsers, SynchronousTestCase):
    def prepare(self) -> None:
        self.folder = new_folder("shared")
        self.homes = self.folder / "homes"
        self.homes.mkdir()
        self.users: dict[str, str] = {}
        self.passwd = self.folder / "passwd"
        self.set_password("joe@a.example", OLD)
        self.start(
            f"""
[accounts]
sources = ["passwd_file", "database"]
[accounts.passwd_file]
path = "{self.passwd}"
maildir = "{{home}}/Maildir"
""",
            f"""
passdb {{
  driver = passwd-file
  args = username_format=%u {self.passwd}
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {self.passwd}
}}
""",
            "maildir:~/Maildir",
        )

    def set_password(self, user: str, password: str) -> None:
        home = self.homes / user.partition("@")[0]
        home.mkdir(exist_ok=True)
        self.users[user] = (
            f"{user}:{hashed(password)}:{_uid()}::{home}::userdb_quota_rule=*:storage=1G"
        )
        new = self.passwd.with_suffix(".new")
        new.write_text("".join(f"{line}\n" for line in self.users.values()))
        new.chmod(0o644)
        new.rename(self.passwd)

    def maildirs(self) -> list[Path]:
        return list(self.homes.iterdir())


class OwnDatabase(SharedUsers, SynchronousTestCase):
    """Dovecot reads the tables of Postroom's own database, whose hashes it knows."""

    def prepare(self) -> None:
        self.folder = new_folder("shared")
        sql = self.folder / "dovecot-sql.conf"
        state = self.folder / "state"
        sql.write_text(f"""
driver = sqlite
connect = {state}/postroom.db
password_query = SELECT address AS user, '{{ARGON2ID}}' || password_hash AS password \\
  FROM account WHERE address = '%u' AND enabled
user_query = SELECT 'maildir:{state}/mail/' || maildir AS mail FROM account WHERE address = '%u'
""")
        self.start("", _sql_users(sql, self.folder), "maildir:/nowhere")
        self.daemon.add_account("joe@a.example", OLD)

    def set_password(self, user: str, password: str) -> None:
        if user == "joe@a.example":
            self.daemon.admin("account", "password", user, "--password-stdin", stdin=password)
        else:
            self.daemon.add_account(user, password)

    def maildirs(self) -> list[Path]:
        # Dovecot's processes have to pass through; the daemon and the database stay who they are.
        self.daemon.state.chmod(0o711)
        return [self.daemon.state / "mail"]


class ForeignDatabase(SharedUsers, SynchronousTestCase):
    """Both read a PostgreSQL database that belongs to neither."""

    def prepare(self) -> None:
        self.folder = new_folder("shared")
        self.server = Postgresql(self.folder / "postgresql")
        self.addCleanup(self.server.stop)
        self.server.execute("CREATE TABLE users (address text PRIMARY KEY, secret text, home text)")
        self.homes = self.folder / "homes"
        self.homes.mkdir()
        self.set_password("joe@a.example", OLD)
        sql = self.folder / "dovecot-sql.conf"
        sql.write_text(f"""
driver = pgsql
connect = host=127.0.0.1 port={self.server.port} dbname=postgres user=postroom
password_query = SELECT address AS user, secret AS password FROM users WHERE address = '%u'
user_query = SELECT home FROM users WHERE address = '%u'
""")
        self.start(
            f"""
[accounts]
sources = ["sql", "database"]
cache_seconds = 0.5
negative_cache_seconds = 0.2
[accounts.sql]
url = "{self.server.url}"
domains = ["a.example"]
user_query = "SELECT secret AS password, home FROM users WHERE address = :address"
maildir = "{{home}}/Maildir"
""",
            _sql_users(sql, self.folder),
            "maildir:~/Maildir",
        )

    def set_password(self, user: str, password: str) -> None:
        home = self.homes / user.partition("@")[0]
        home.mkdir(exist_ok=True)
        self.server.execute(
            f"INSERT INTO users VALUES ('{user}', '{hashed(password, 'BLF-CRYPT')}', '{home}')"
            " ON CONFLICT (address) DO UPDATE SET secret = excluded.secret"
        )

    def maildirs(self) -> list[Path]:
        return list(self.homes.iterdir())


def _uid() -> str:
    if not _OWNER:
        return f"{os.geteuid()}:{os.getegid()}"
    import grp
    import pwd

    return f"{pwd.getpwnam(_OWNER).pw_uid}:{grp.getgrnam('nogroup').gr_gid}"


def _sql_users(sql: Path, folder: Path) -> str:
    uid, _, gid = _uid().partition(":")
    return f"""
passdb {{
  driver = sql
  args = {sql}
}}
userdb {{
  driver = sql
  args = {sql}
  default_fields = uid={uid} gid={gid} home={folder}/nobody
}}
"""
