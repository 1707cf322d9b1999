"""Sources of accounts that are stopped in the middle of traffic: nothing is refused for good.

Each is a real one: a passwd-file that ``doveadm pw`` made, PostgreSQL, slapd, PAM.
"""

import os
import subprocess
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.daemon import Daemon, wait_until
from tests.interop.clients import program
from tests.interop.fixtures import new_folder
from tests.interop.postgresql import Postgresql
from tests.interop.slapd import BASE, SEARCHER, SEARCHER_PASSWORD, Slapd, person, salted_sha
from tests.interop.traffic import Traffic, login, send

PASSWORD = "correct horse"
_COMMON = """
domains = ["here.example"]
[auth]
clear_text_networks = ["127.0.0.0/8"]
[accounts]
sources = ["{source}", "database"]
cache_seconds = 0.5
negative_cache_seconds = 0.2
look_up_seconds = 5
"""


class StoppedSource:
    """What happens to each."""

    source: str
    settings: str
    address = "joe@a.example"
    maildir = "a.example/joe"
    recipients_fail = True

    def prepare(self) -> None:
        """Make the source; sets ``settings``."""
        raise NotImplementedError

    def stop_source(self) -> None:
        raise NotImplementedError

    def start_source(self) -> None:
        raise NotImplementedError

    def run_daemon(self: Any) -> Daemon:
        self.folder = new_folder("sources")
        self.prepare()
        settings = _COMMON.format(source=self.source) + self.settings
        daemon = Daemon(self.folder, listeners=("mx", "submission"), settings=settings)
        daemon.start()
        self.addCleanup(daemon.stop)
        return daemon

    def test_nothing_is_refused_for_good_and_all_is_well_again_afterwards(self: Any) -> None:
        daemon = self.run_daemon()
        send(daemon, self.address, "before")
        self.assertEqual(login(daemon, self.address, PASSWORD), 235)
        self.assertEqual(login(daemon, self.address, "wrong"), 535)
        traffic = Traffic(daemon, self.address, PASSWORD)
        self.addCleanup(traffic.stop)
        codes = traffic.codes
        self.assertTrue(traffic.wait_for(250, "known") and traffic.wait_for(235, "logins"))
        self.stop_source()
        self.assertTrue(traffic.wait_for(454, "logins"), codes)
        if self.recipients_fail:
            self.assertTrue(traffic.wait_for(451, "known"), codes)
            self.assertTrue(traffic.wait_for(451, "unknown"), codes)
        self.start_source()
        self.assertTrue(traffic.wait_for(250, "known"), codes)
        self.assertTrue(traffic.wait_for(550, "unknown"), codes)
        self.assertTrue(traffic.wait_for(235, "logins"), codes)
        traffic.stop()
        self.assertEqual(traffic.faults, [])
        self.assertEqual(set(codes.known) - {250, 451}, set(), codes)
        self.assertEqual(set(codes.unknown) - {550, 451}, set(), codes)
        self.assertEqual(set(codes.logins) - {235, 454}, set(), codes)
        send(daemon, self.address, "after")
        new = os.listdir(daemon.state / "mail" / self.maildir / "new")
        self.assertEqual(len(new), 2)
        self.assertNotIn("Traceback", daemon.log())
        if self.recipients_fail:
            # Once for the whole time that it was down, or a few times while it comes up.
            told = daemon.log().count(f"The source {self.source}: ")
            self.assertTrue(1 <= told <= 3, told)
            again = f"The source {self.source} answers again"
            self.assertTrue(wait_until(lambda: again in daemon.log(), 10))


class PasswdFile(StoppedSource, SynchronousTestCase):
    source = "passwd_file"

    def prepare(self) -> None:
        command = [program("doveadm"), "pw", "-s", "SHA512-CRYPT", "-p", PASSWORD]
        hashed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        self.path = Path(self.folder) / "passwd"
        self.path.write_text(f"joe@a.example:{hashed}\n")
        self.settings = f'[accounts.passwd_file]\npath = "{self.path}"\n'

    def stop_source(self) -> None:
        self.path.rename(self.path.with_suffix(".away"))

    def start_source(self) -> None:
        self.path.with_suffix(".away").rename(self.path)


class PostgreSQL(StoppedSource, SynchronousTestCase):
    source = "sql"

    def prepare(self) -> None:
        self.server = Postgresql(self.folder / "postgresql")
        self.addCleanup(self.server.stop)
        self.server.execute(
            "CREATE TABLE users (name text, domain text, secret text)",
            "CREATE TABLE domains (name text)",
            "INSERT INTO domains VALUES ('a.example')",
            f"INSERT INTO users VALUES ('joe', 'a.example', '{salted_sha(PASSWORD)}')",
        )
        self.settings = f"""
[accounts.sql]
url = "{self.server.url}"
user_query = "SELECT secret AS password FROM users WHERE name = :user AND domain = :domain"
domain_query = "SELECT 1 FROM domains WHERE name = :domain"
"""

    def stop_source(self) -> None:
        self.server.stop()

    def start_source(self) -> None:
        self.server.start()


class LDAP(StoppedSource, SynchronousTestCase):
    source = "ldap"

    def prepare(self) -> None:
        folder = self.folder / "slapd"
        folder.mkdir()
        self.server = Slapd(folder, [person("joe", salted_sha(PASSWORD))])
        self.addCleanup(self.server.stop)
        secret = self.folder / "ldap-password"
        secret.write_text(SEARCHER_PASSWORD + "\n")
        self.settings = f"""
[accounts.ldap]
url = "ldap://localhost:{self.server.port}"
ca_file = "{self.server.authority}"
bind_dn = "{SEARCHER}"
bind_password_file = "{secret}"
base = "{BASE}"
domains = ["a.example"]
"""

    def stop_source(self) -> None:
        self.server.stop()

    def start_source(self) -> None:
        self.server.start()


class PAM(StoppedSource, SynchronousTestCase):
    """The user is ``nobody``, whom every system has; his password is in a file that PAM reads."""

    source = "system"
    address = "nobody@a.example"
    maildir = "a.example/nobody"
    recipients_fail = False

    def prepare(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("a PAM service can only be made by root")
        service = Path(f"/etc/pam.d/postroom-test-{os.getpid()}")
        self.passwords = self.folder / "pam-passwords"
        self.passwords.write_text(f"nobody:{PASSWORD}:{service.name}\n")
        module = sorted(Path("/usr/lib").glob("*/pam_wrapper/pam_matrix.so"))[0]
        service.write_text(
            f"auth required {module} passdb={self.passwords}\n"
            f"account required {module} passdb={self.passwords}\n"
        )
        self.addCleanup(service.unlink)
        self.settings = f"""
[accounts.system]
domains = ["a.example"]
service = "{service.name}"
"""

    def stop_source(self) -> None:
        self.passwords.rename(self.passwords.with_suffix(".away"))

    def start_source(self) -> None:
        self.passwords.with_suffix(".away").rename(self.passwords)
