"""A passwd-file: its lines, its faults, and its changes."""

import os
import subprocess
from pathlib import Path

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from postroom.credentials import Knowledge
from postroom.envelope import Account
from postroom.errors import UserError
from postroom.logins.schemes import BadStoredPassword
from postroom.sources.passwd_file import PasswdFile, check_passwd_file
from postroom.sources.profile import Maildirs, SourceError
from postroom.sources.settings import PasswdSettings
from tests.directory.support import CHEAP
from tests.interop.clients import program

ENCODED = ("SSHA256.HEX", "SHA256.B64")
UNKNOWN = {
    "CRAM-MD5",
    "DIGEST-MD5",
    "HMAC-MD5",
    "OTP",
    "PLAIN-MD4",
    "PLAIN-TRUNC",
    "SCRAM-SHA-1",
}
"""Schemes that are left alone: for mechanisms that nobody should use, or of a cut password."""


class PasswdCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.events: list[str] = []

        def observe(event: dict[str, object]) -> None:
            self.events.append(str(event.get("fault") or event.get("log_format")))

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)  # type: ignore[arg-type]

    def read(self, *lines: str, domain: str | None = "a.example", scheme: str = "") -> PasswdFile:
        self.path.write_text("".join(f"{line}\n" for line in lines))
        return PasswdFile(PasswdSettings(self.path, domain, scheme), Maildirs(Path("/mail")))


class Lines(PasswdCase):
    def test_all_fields_are_read(self) -> None:
        source = self.read(
            "joe:x:1000:1000:Joe:/home/joe:/bin/sh:userdb_mail=maildir:/v/j "
            "userdb_quota_rule=*:storage=1M userdb_forwards=x@b.example other=1"
        )
        found = source.address("joe@a.example")
        assert isinstance(found, Account)
        self.assertEqual((found.maildir, found.forwards), ("/v/j", ("x@b.example",)))
        self.assertEqual(found.limits.quota_octets, 1024**2)

    def test_further_addresses_lead_to_the_first(self) -> None:
        source = self.read("joe:x::::::userdb_addresses=j@a.example,jo@b.example")
        for address in ("j@a.example", "jo@b.example"):
            found = source.address(address)
            assert found is not None
            self.assertEqual(found.address, "joe@a.example")
        self.assertIsNotNone(source.domain("b.example"))
        credential = source.credential(b"jo@b.example")
        assert credential is not None
        self.assertEqual(credential.address, "joe@a.example")

    def test_comments_empty_lines_and_crlf_are_left_out(self) -> None:
        source = self.read("# joe:x", "", "joe:{PLAIN}secret\r")
        credential = source.credential(b"joe")
        assert credential is not None
        self.assertEqual(credential.stored, ("{PLAIN}secret",))
        self.assertEqual(source.current().faults, [])

    def test_fields_that_would_keep_somebody_out_do(self) -> None:
        source = self.read("joe:x:::::: nologin", "ann:x:::::: allow_nets=192.0.2.1/32")
        for name in (b"joe", b"ann"):
            credential = source.credential(name)
            assert credential is not None
            self.assertFalse(credential.enabled)
        found = source.address("joe@a.example")
        assert found is not None
        self.assertTrue(found.enabled)

    def test_it_knows_which_mechanisms_work(self) -> None:
        self.assertEqual(self.read("joe:$6$x").knows, {Knowledge.CHECKABLE})
        self.assertIn(Knowledge.CLEAR_TEXT, self.read("joe:{PLAIN}x").knows)


class Faults(PasswdCase):
    def test_each_is_named_with_file_and_line_and_logged_once(self) -> None:
        source = self.read(
            "joe:x",
            "no colon here",
            "joe:y",
            "bad name:x",
            "wrong:x::::::userdb_quota_rule=lots",
        )
        expected = [
            f"{self.path}:2: no colon: a line is user:password, followed by more fields",
            f"{self.path}:3: joe@a.example is listed twice; the first one is used",
            f"{self.path}:4: 'bad name@a.example' is not an address: malformed local part",
            f"{self.path}:5: wrong@a.example: quota_rule 'lots' is not supported",
        ]
        self.assertEqual(source.current().faults, expected)
        source.address("joe@a.example")
        self.assertEqual([event for event in self.events if event in expected], expected)

    def test_whom_a_bad_line_names_is_not_unknown_and_nobody_else_is_hurt(self) -> None:
        source = self.read("joe:x", "joe:y", "wrong:x::::::userdb_quota_rule=lots")
        self.assertRaises(SourceError, source.address, "wrong@a.example")
        self.assertRaises(SourceError, source.credential, b"wrong")
        self.assertIsNone(source.address("who@a.example"))
        credential = source.credential(b"joe")
        assert credential is not None
        self.assertEqual(credential.stored, ("x",))

    def test_octets_that_are_no_text(self) -> None:
        self.path.write_bytes(b"joe:\xff\nann:x\n")
        settings = PasswdSettings(self.path, "a.example")
        faults = check_passwd_file(settings, Maildirs(Path("/mail")))
        self.assertEqual(faults, [f"{self.path}:1: the line is not UTF-8"])

    def test_a_bare_name_wants_a_default_domain(self) -> None:
        source = self.read("joe:x", "ann@b.example:x", domain=None)
        self.assertIn("has no domain", source.current().faults[0])
        self.assertIsNotNone(source.address("ann@b.example"))

    def test_a_thousand_do_not_fill_the_log(self) -> None:
        self.read(*(f"line {number}" for number in range(1000)))
        self.assertLess(len(self.events), 25)

    def test_a_file_that_cannot_be_read_at_the_start_is_told(self) -> None:
        for path, why in ((self.path, "No such file"), (Path("/"), "Is a directory")):
            settings = PasswdSettings(path)
            error = self.assertRaises(UserError, PasswdFile, settings, Maildirs(Path("/mail")))
            self.assertTrue(str(error).startswith(f"{path}: {why}"), error)
        self.path.write_text("\n")
        error = self.assertRaises(
            UserError, PasswdFile, PasswdSettings(self.path), Maildirs(Path("/mail"))
        )
        self.assertIn("empty", str(error))


class Changes(PasswdCase):
    def test_a_file_that_was_replaced_is_read_anew_and_its_version_differs(self) -> None:
        source = self.read("joe:x")
        before = source.version()
        other = self.path.with_suffix(".new")
        other.write_text("ann:x\n")
        os.replace(other, self.path)
        self.assertNotEqual(source.version(), before)
        self.assertIsNone(source.address("joe@a.example"))
        self.assertIsNotNone(source.address("ann@a.example"))

    def test_a_file_that_goes_and_comes_has_other_versions(self) -> None:
        source = self.read("joe:x")
        octets = self.path.read_bytes()
        versions = [source.version()]
        self.path.unlink()
        versions.append(source.version())
        self.path.write_bytes(octets)
        versions.append(source.version())
        self.assertEqual(len(set(versions)), 3)

    def test_one_that_did_not_change_is_not_read_again(self) -> None:
        source = self.read("joe:x")
        self.assertIs(source.current(), source.current())


class DoveadmPw(PasswdCase):
    def test_every_scheme_that_it_writes_is_understood_but_those_that_we_name(self) -> None:
        schemes = [*_doveadm("pw", "-l").split(), *ENCODED]
        self.assertGreater(len(schemes), 25)
        source = self.read(*(f"user{n}:{_hashed(scheme)}" for n, scheme in enumerate(schemes)))
        self.assertEqual(source.current().faults, [])
        unknown = set()
        for number, scheme in enumerate(schemes):
            credential = source.credential(f"user{number}".encode())
            assert credential is not None
            try:
                for password, right in ((b"correct horse", True), (b"wrong horse", False)):
                    found = CHEAP.verify(credential.stored, password).matches
                    self.assertIs(found, right, f"{scheme}: {credential.stored}")
            except BadStoredPassword:
                unknown.add(scheme)
        self.assertEqual(unknown, UNKNOWN)


def _hashed(scheme: str) -> str:
    return _doveadm("pw", "-s", scheme, "-p", "correct horse", "-u", "joe@a.example").strip()


def _doveadm(*arguments: str) -> str:
    command = [program("doveadm"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
