"""Passwords and their hashes."""

import argon2
from twisted.trial.unittest import SynchronousTestCase

from postroom.accounts.hashing import Hashing, HashParameters, new_password
from postroom.errors import UserError
from tests.accounts.support import CHEAP


class HashingTests(SynchronousTestCase):
    def test_the_right_password_matches_and_no_other(self) -> None:
        stored = CHEAP.hash(new_password("correct horse"))
        self.assertTrue(CHEAP.verify(stored, b"correct horse").matches)
        for wrong in (b"correct horsf", b"", b"Correct horse", b"correct horse\0", b"\xff\xfe"):
            self.assertFalse(CHEAP.verify(stored, wrong).matches, wrong)

    def test_the_default_is_argon2id_at_the_cost_that_owasp_names(self) -> None:
        stored = Hashing().hash(b"x")
        self.assertTrue(stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$"), stored)

    def test_nobodys_password_never_matches(self) -> None:
        self.assertFalse(CHEAP.verify(None, b"the password of nobody").matches)

    def test_an_unreadable_hash_is_an_error_of_ours_and_not_a_wrong_password(self) -> None:
        trouble = (argon2.exceptions.InvalidHashError, argon2.exceptions.VerificationError)
        damaged = CHEAP.hash(b"x")[:-3] + "!!!"
        for stored in ("", "!", "$argon2id$", "$6$salt$hash", damaged):
            with self.assertRaises(trouble):
                CHEAP.verify(stored, b"x")

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
            (stored, b"wrong"),
            (None, b"wrong"),
            (stored, b""),
            (None, b"\xff"),
            (stored, b"x" * 9999),
        ):
            done.clear()
            CHEAP.verify(hash_, offered)
            self.assertEqual(done, [argon2.extract_parameters(stored)], offered)

    def test_a_hash_of_other_parameters_is_made_anew(self) -> None:
        stored = CHEAP.hash(b"right")
        stronger = Hashing(HashParameters(passes=2, memory_kib=8))
        self.assertIsNone(CHEAP.verify(stored, b"right").new_hash)
        self.assertIsNone(stronger.verify(stored, b"wrong").new_hash)
        renewed = stronger.verify(stored, b"right").new_hash
        self.assertIsNotNone(renewed)
        self.assertTrue(stronger.verify(renewed, b"right").matches)

    def test_trouble_in_argon2_is_not_a_wrong_password(self) -> None:
        def verify(hasher: argon2.PasswordHasher, stored: str, password: bytes) -> bool:
            raise argon2.exceptions.VerificationError("Memory allocation error")

        stored = CHEAP.hash(b"right")
        self.patch(argon2.PasswordHasher, "verify", verify)
        self.assertRaises(argon2.exceptions.VerificationError, CHEAP.verify, stored, b"right")


class PasswordTests(SynchronousTestCase):
    def test_a_password_is_the_same_in_every_way_to_write_it(self) -> None:
        stored = CHEAP.hash(new_password("caf\u00e9\u00a0noir"))
        for offered in ("cafe\u0301 noir", "caf\u00e9\u2003noir"):
            self.assertTrue(CHEAP.verify(stored, offered.encode()).matches, offered)
        self.assertFalse(CHEAP.verify(stored, "caf\u00e9 noir".encode("latin-1")).matches)

    def test_the_longest_password_works(self) -> None:
        longest = "é" * 512
        self.assertTrue(CHEAP.verify(CHEAP.hash(new_password(longest)), longest.encode()).matches)

    def test_what_cannot_be_a_password_is_refused(self) -> None:
        for text, why in (
            ("", "empty"),
            ("é" * 513, "1024"),
            ("a\nb", "control"),
            ("\0", "control"),
        ):
            self.assertIn(why, str(self.assertRaises(UserError, new_password, text)))
