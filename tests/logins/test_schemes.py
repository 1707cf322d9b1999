"""Passwords as others store them; each sample was made by `doveadm pw` of the password "secret"."""

import builtins
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom.logins.hashing import Hashing, HashParameters
from postroom.logins.schemes import BadStoredPassword, Stored, matches, parse_stored

SAMPLES = """
{PLAIN}secret
{CLEARTEXT}secret
{CLEAR}secret
{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
{SHA1}5en6G6MezRroT3XKqkdPOmY/BfQ=
{SSHA}4Adr8wzfjD7t/UzKlAZ0hs7Qp1UwqYUa
{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=
{SSHA256}ve+75YKwvoAgQiZbosyguBuL/RZuilUBSCA72VwEpX2efWjA
{SSHA256.HEX}632c76e9fbaf7fc6afbf70fa926daba94aff42b9ce1f942309930ebee91ebd74f7023f7b
{SHA512}vSsar3708Jvp9Szi2NWZZ02Bqp1qRCFpbcTZPdBhnWgs5WtNZKnvCXdhztmeD2cmW192CF5bDufKRpayrW/isg==
{SSHA512}0d/TF4DHAc3tNspvbXENNrAGa+WsWf63b8eAKrdnQXYp3RpBlhJgUFxQQ7SmRVbBcOCLd5whA7QWk0Yg5u8p2zHUgzY=
{SMD5}36ahShltg2ERsBAzjfzc9VlKVng=
{LDAP-MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==
{PLAIN-MD5}5ebe2294ecd0e0f08eab7690d2a6ee69
{MD5}$1$zuTb1Sqx$eVwMU4NzZfZYvTzZMIeXk/
{MD5}5ebe2294ecd0e0f08eab7690d2a6ee69
{MD5-CRYPT}$1$xVazs2xx$/fpRnmGz9QqpwgSFDuYFm0
{SHA256-CRYPT}$5$HvbCqj6qF1gFO0VA$3l91XsL110At/75e7Zs/NEr1Hw4CZqeVKH8hCC9IBMD
{SHA512-CRYPT}$6$UuqFNsTTZlCqDcfB$MzBIRZiIuWnrUfIroGMbApfgUXU.3bojiR1MLg6ek7fw3KPIUJ6VtuynCbX5OnQ4OxFbqAXyulQZ1O/EwagCy0
{BLF-CRYPT}$2y$05$3z59o0KwgD8eENuMNykB2eoZguhMkM5pgAZbCUxM.xjNzrpJLEpBu
{CRYPT}$2y$05$dFmMfwc8V92KLFpNkyXNHelpU2m6KXUEghG/Cy6h3c2cVVzts.GJW
{DES-CRYPT}/HeCgnKo3ju.g
{PBKDF2}$1$HOG1ZHqoq08HJA6Z$5000$070c32f25bcfc18a0fd8b971217068720a76c790
{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$hgSHvV+kg3ckHjtz7SZM8A$cMh4TlGI64DsZNMmlocxne/748aghrX/naL6NIW3Tvo
{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$gWqNTVs17p+coXtvgDgTJA$zlvM2K0plfurrFjTsrvO4UBfnR2ovDxRHjzJ03niKhg
{SCRAM-SHA-256}4096,8BbLG9LioQg7Ip7e5S/hEA==,go6/jFfPy51nyiwQe2DRduHpP3nteL+o3lxIEFREu3A=,YpncA2NVb1qIGDO65Q4wgYL0j3GDoAAnzXVEeESHVMU=
$6$UuqFNsTTZlCqDcfB$MzBIRZiIuWnrUfIroGMbApfgUXU.3bojiR1MLg6ek7fw3KPIUJ6VtuynCbX5OnQ4OxFbqAXyulQZ1O/EwagCy0
/HeCgnKo3ju.g
""".split()  # as they are

SCRAM = next(sample for sample in SAMPLES if "SCRAM" in sample)
HASHING = Hashing(HashParameters(passes=1, memory_kib=8))


class SchemeTests(SynchronousTestCase):
    def test_the_right_password_matches_and_becomes_argon2id(self) -> None:
        for sample in SAMPLES:
            verdict = HASHING.verify((sample,), b"secret")
            self.assertTrue(verdict.matches, sample)
            assert verdict.new_stored is not None
            self.assertTrue(verdict.new_stored[0].startswith("$argon2id$"), sample)

    def test_no_other_password_matches(self) -> None:
        for sample in SAMPLES:
            for wrong in (b"Secret", b"secre", b"secret\0", b"", sample.encode(), b"\xff" * 9):
                self.assertFalse(HASHING.verify((sample,), wrong).matches, (sample, wrong))

    def test_octets_that_are_no_ascii_are_hashed_as_they_come_or_as_we_prepare_them(self) -> None:
        import hashlib

        for octets in ("caf\u00e9".encode(), "cafe\u0301".encode()):
            stored = "{PLAIN-MD5}" + hashlib.md5(octets).hexdigest()
            self.assertTrue(HASHING.verify((stored,), octets).matches)

    def test_what_cannot_be_read_is_no_wrong_password(self) -> None:
        for stored, named in (
            ("secret", "no scheme"),
            ("", "no scheme"),
            ("{NO-SUCH}x", "NO-SUCH"),
            ("{CRAM-MD5}00", "CRAM-MD5"),
            ("{SHA}%%%", "base64"),
            ("{SHA}AAAA", "length"),
            ("{SHA.HEX}zz", "hexadecimal"),
            ("{PBKDF2}x", "PBKDF2"),
            ("{PBKDF2}$1$salt$0$" + "0" * 40, "PBKDF2"),
            ("$6$salt", "sha512_crypt"),
            ("{CRYPT}!", "des_crypt"),
            ("$scram-sha-256$x", "{SCRAM-SHA-256}"),
            ("{SCRAM-SHA-256}4096,AAAA,AAAA,AAAA", "length"),
            ("{SCRAM-SHA-256}0,AAAA,AAAA,AAAA", "iterations"),
            (SCRAM.replace("}4096,", "}4095,"), "less than 4096 iterations"),
            ("{SCRAM-SHA-256}9999999,AAAA,AAAA,AAAA", "iterations"),
            ("{SCRAM-SHA-256}4096", "iterations"),
        ):
            error = self.assertRaises(BadStoredPassword, HASHING.verify, (stored,), b"hunter2")
            self.assertIn(named, str(error), stored)

    @given(st.text(max_size=60))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        try:
            stored = parse_stored(text)
            if stored.scheme not in ("ARGON2", "SCRAM-SHA-256", "CRYPT"):
                matches(stored, b"x")
        except BadStoredPassword as error:
            self.assertLess(len(str(error)), 200)

    def test_a_missing_package_is_named(self) -> None:
        real = builtins.__import__

        def no_libpass(name: str, *rest: Any) -> Any:
            if name.startswith("passlib"):
                raise ImportError(name)
            return real(name, *rest)

        self.patch(builtins, "__import__", no_libpass)
        error = self.assertRaises(BadStoredPassword, HASHING.verify, (SAMPLES[-1],), b"secret")
        self.assertIn("pip install 'postroom[auth]'", str(error))

    def test_what_is_stored_is_never_shown(self) -> None:
        self.assertEqual(repr(parse_stored("{PLAIN}secret")), "Stored(PLAIN)")
        self.assertIsInstance(parse_stored("{PLAIN}secret"), Stored)
