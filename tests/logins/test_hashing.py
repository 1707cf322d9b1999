"""Passwords and their hashes."""

import argon2
from twisted.trial.unittest import SynchronousTestCase

from postroom.errors import UserError
from postroom.logins.hashing import Forms, Hashing, HashParameters, new_password
from postroom.logins.schemes import BadStoredPassword
from tests.directory.support import CHEAP

SHA512_CRYPT = (
    "LAV5VE5Y7w1d73x1mFNspYWUpazfmwv2SoepNXNKJ/otop/Zok96Hr8Q13LEv0DRY/x8v0/crpIjl8NJSAqXV/"
)


class HashingTests(SynchronousTestCase):
    def test_the_right_password_matches_and_no_other(self) -> None:
        stored = CHEAP.hash(new_password("correct horse"))
        self.assertTrue(CHEAP.verify((stored,), b"correct horse").matches)
        for wrong in (b"correct horsf", b"", b"Correct horse", b"correct horse\0", b"\xff\xfe"):
            self.assertFalse(CHEAP.verify((stored,), wrong).matches, wrong)

    def test_the_default_is_argon2id_at_the_cost_that_owasp_names(self) -> None:
        stored = Hashing().hash(b"x")
        self.assertTrue(stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$"), stored)

    def test_nobodys_password_never_matches(self) -> None:
        self.assertFalse(CHEAP.verify((), b"the password of nobody").matches)

    def test_an_unreadable_hash_is_an_error_of_ours_and_not_a_wrong_password(self) -> None:
        trouble = (
            argon2.exceptions.InvalidHashError,
            argon2.exceptions.VerificationError,
            BadStoredPassword,
        )
        damaged = CHEAP.hash(b"x")[:-3] + "!!!"
        for stored in ("", "!", "$argon2id$", "$6$salt$hash", "{NONE}x", damaged):
            with self.assertRaises(trouble):
                CHEAP.verify((stored,), b"x")

    def test_unknown_users_cost_one_verification_of_the_same_cost(self) -> None:
        done = []
        real = argon2.PasswordHasher.verify

        def verify(hasher: argon2.PasswordHasher, stored: str, password: bytes) -> bool:
            done.append(argon2.extract_parameters(stored))
            return real(hasher, stored, password)

        stored = CHEAP.hash(b"right")
        CHEAP.prepare()
        self.patch(argon2.PasswordHasher, "verify", verify)
        for hash_, offered in (
            ((stored,), b"wrong"),
            ((), b"wrong"),
            ((stored,), b""),
            ((), b"\xff"),
            ((stored,), b"x" * 9999),
        ):
            done.clear()
            CHEAP.verify(hash_, offered)
            self.assertEqual(done, [argon2.extract_parameters(stored)], offered)

    def test_a_hash_of_other_parameters_is_made_anew(self) -> None:
        stored = CHEAP.hash(b"right")
        stronger = Hashing(HashParameters(passes=2, memory_kib=8))
        self.assertIsNone(CHEAP.verify((stored,), b"right").new_stored)
        self.assertIsNone(stronger.verify((stored,), b"wrong").new_stored)
        renewed = stronger.verify((stored,), b"right").new_stored
        assert renewed is not None
        self.assertTrue(stronger.verify(renewed, b"right").matches)

    def test_trouble_in_argon2_is_not_a_wrong_password(self) -> None:
        def verify(hasher: argon2.PasswordHasher, stored: str, password: bytes) -> bool:
            raise argon2.exceptions.VerificationError("Memory allocation error")

        stored = CHEAP.hash(b"right")
        self.patch(argon2.PasswordHasher, "verify", verify)
        self.assertRaises(argon2.exceptions.VerificationError, CHEAP.verify, (stored,), b"right")


class FormTests(SynchronousTestCase):
    """In which forms a password is stored, and how an old one becomes a new one."""

    FULL = Hashing(
        HashParameters(passes=1, memory_kib=8),
        Forms(scram=True, clear_text=True, scram_iterations=4096),
    )

    def test_a_hash_of_other_days_becomes_argon2id(self) -> None:
        old = "$6$rounds=1000$saltsalt$" + SHA512_CRYPT
        self.assertFalse(CHEAP.verify((old,), b"wrong").matches)
        verdict = CHEAP.verify((old,), b"secret")
        self.assertTrue(verdict.matches)
        assert verdict.new_stored is not None
        self.assertTrue(verdict.new_stored[0].startswith("$argon2id$"))
        self.assertTrue(CHEAP.verify(verdict.new_stored, b"secret").matches)

    def test_an_old_hash_that_does_not_match_costs_what_nobodys_does_on_top(self) -> None:
        done = []
        real = argon2.PasswordHasher.verify

        def verify(hasher: argon2.PasswordHasher, stored: str, password: bytes) -> bool:
            done.append(argon2.extract_parameters(stored))
            return real(hasher, stored, password)

        CHEAP.prepare()
        self.patch(argon2.PasswordHasher, "verify", verify)
        CHEAP.verify((), b"wrong")
        CHEAP.verify(("{SHA}" + "A" * 27 + "=",), b"wrong")
        self.assertEqual(len(done), 2)
        self.assertEqual(done[0], done[1])

    def test_a_password_is_stored_in_all_forms_asked_for(self) -> None:
        stored = self.FULL.store(b"secret")
        kinds = [text.partition("}")[0] if text[0] == "{" else text[:10] for text in stored]
        self.assertEqual(kinds, ["$argon2id$", "{SCRAM-SHA-256", "{PLAIN"])
        for form in stored:
            self.assertTrue(self.FULL.verify((form,), b"secret").matches, form)
            self.assertFalse(self.FULL.verify((form,), b"Secret").matches, form)
        self.assertIsNone(self.FULL.verify(stored, b"secret").new_stored)

    def test_forms_come_and_go_with_a_login(self) -> None:
        plain = (CHEAP.hash(b"secret"),)
        fuller = self.FULL.verify(plain, b"secret").new_stored
        assert fuller is not None
        self.assertEqual((len(fuller), fuller[0]), (3, plain[0]))
        self.assertEqual(CHEAP.verify(fuller, b"secret").new_stored, plain)

    def test_keys_of_other_iterations_are_made_anew(self) -> None:
        other = Hashing(
            HashParameters(passes=1, memory_kib=8), Forms(scram=True, scram_iterations=5000)
        )
        renewed = other.verify(self.FULL.store(b"secret")[:2], b"secret").new_stored
        assert renewed is not None
        self.assertIn("{SCRAM-SHA-256}5000,", renewed[1])

    def test_a_password_that_scram_cannot_take_still_logs_in(self) -> None:
        hashed = CHEAP.hash("\u0627x".encode())  # right-to-left and left-to-right: SASLprep says no
        verdict = self.FULL.verify((hashed,), "\u0627x".encode())
        self.assertTrue(verdict.matches)
        self.assertIsNone(verdict.new_stored)
        self.assertIn(
            "SCRAM", str(self.assertRaises(UserError, self.FULL.store, "\u0627x".encode()))
        )


class PasswordTests(SynchronousTestCase):
    def test_a_password_is_the_same_in_every_way_to_write_it(self) -> None:
        stored = CHEAP.hash(new_password("caf\u00e9\u00a0noir"))
        for offered in ("cafe\u0301 noir", "caf\u00e9\u2003noir"):
            self.assertTrue(CHEAP.verify((stored,), offered.encode()).matches, offered)
        self.assertFalse(CHEAP.verify((stored,), "caf\u00e9 noir".encode("latin-1")).matches)

    def test_the_longest_password_works(self) -> None:
        longest = "é" * 512
        self.assertTrue(
            CHEAP.verify((CHEAP.hash(new_password(longest)),), longest.encode()).matches
        )

    def test_what_cannot_be_a_password_is_refused(self) -> None:
        for text, why in (
            ("", "empty"),
            ("é" * 513, "1024"),
            ("a\nb", "control"),
            ("\0", "control"),
        ):
            self.assertIn(why, str(self.assertRaises(UserError, new_password, text)))
