"""What sources say of an account, read field by field."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from postroom.credentials import Knowledge
from postroom.envelope import Account, AccountLimits
from postroom.sources.password_text import knowledge_from, stored_password
from postroom.sources.profile import Maildirs, SourceError, make_account

ROOT = Maildirs(Path("/mail"))


class Fields(SynchronousTestCase):
    def make(self, maildirs: Maildirs = ROOT, **said: str) -> Account:
        return make_account("joe@a.example", said, maildirs)

    def refuse(self, why: str, **said: str) -> None:
        error = str(self.assertRaises(SourceError, self.make, **said))
        self.assertTrue(error.startswith("joe@a.example: "), error)
        self.assertIn(why, error)

    def test_none_are_needed(self) -> None:
        self.assertEqual(self.make(), Account("joe@a.example", "/mail/a.example/joe"))

    def test_all_are_read(self) -> None:
        self.assertEqual(
            self.make(
                maildir="elsewhere/joe",
                addresses="j@a.example, jo@a.example",
                forwards="X@b.example",
                keeps_copy="no",
                senders="@b.example",
                quota_octets="5",
                quota_messages="4",
                messages_per_day="3",
                recipients_per_day="2",
                message_octets="1",
            ),
            Account(
                "joe@a.example",
                "/mail/elsewhere/joe",
                addresses=("j@a.example", "jo@a.example"),
                forwards=("X@b.example",),
                keeps_copy=False,
                senders=("@b.example",),
                limits=AccountLimits(5, 4, 3, 2, 1),
            ),
        )

    def test_an_account_is_switched_off_by_either_name(self) -> None:
        for said in ("no", "0", "False", "f", "OFF", "n", ""):
            self.assertFalse(self.make(enabled=said).enabled, said)
            self.assertFalse(self.make(active=said).enabled, said)
        self.assertTrue(self.make(enabled="1", active="yes").enabled)

    def test_without_forwards_a_copy_is_always_kept(self) -> None:
        self.assertTrue(self.make(keeps_copy="no").keeps_copy)

    def test_quota_rules_of_dovecot(self) -> None:
        for rule, octets, messages in (
            ("*:storage=100M", 100 * 1024**2, None),
            ("*:storage=2G:messages=1000", 2 * 1024**3, 1000),
            ("*:storage=10", 10_240, None),
            ("*:bytes=5000", 5000, None),
            ("*:storage=1MB", 1024**2, None),
            ("*:storage=0", None, None),
        ):
            limits = self.make(quota_rule=rule).limits
            self.assertEqual((limits.quota_octets, limits.quota_messages), (octets, messages), rule)

    def test_what_makes_no_sense_is_told(self) -> None:
        for rule in ("Trash:storage=1M", "*:storage=+10%", "*:ignore", "100M", "*:storage=x"):
            self.refuse("not supported", quota_rule=rule)
        self.refuse("is not a whole number", message_octets="-1")
        self.refuse("is not a whole number", message_octets="\u0663")
        self.refuse("is not an address", addresses="nobody")
        self.refuse("is not a target", forwards="file:/x")

    def test_maildirs_in_dovecots_notation(self) -> None:
        self.assertEqual(self.make(mail="maildir:/v/joe:INDEX=/i").maildir, "/v/joe")
        self.refuse("only maildir:", mail="mdbox:/v/joe")

    def test_a_maildir_stays_where_maildirs_are(self) -> None:
        for path in ("../joe", "a/../../b", "/v/../etc", "a\0b"):
            self.refuse("not a path of a Maildir", maildir=path)


class Templates(SynchronousTestCase):
    def test_places_stand_for_what_the_account_has(self) -> None:
        for template, expected in (
            ("{home}/Maildir", "/home/joe/Maildir"),
            ("/v/{domain}/{user}", "/v/a.example/joe"),
            ("/v/{address}", "/v/joe@a.example"),
        ):
            found = Maildirs(Path("/mail"), template).of("joe@a.example", "", "/home/joe")
            self.assertEqual(found, expected)

    def test_no_address_leaves_the_directory(self) -> None:
        maildirs = Maildirs(Path("/mail"), "/v/{user}")
        self.assertEqual(maildirs.of('"../x"@a.example', "", ""), "/v/%2e.%2fx")
        self.assertEqual(ROOT.of('"/etc"@a.example', "", ""), "/mail/a.example/%2fetc")

    def test_a_home_is_wanted_where_it_is_used(self) -> None:
        maildirs = Maildirs(Path("/mail"), "{home}/Maildir")
        self.assertRaises(SourceError, maildirs.of, "joe@a.example", "", "")
        self.assertRaises(SourceError, maildirs.of, "joe@a.example", "", "relative")

    def test_ones_that_mean_nothing_are_refused(self) -> None:
        for template in ("Maildir", "{user}/x", "/v/{name}"):
            self.assertRaises(ValueError, Maildirs, Path("/mail"), template)


class StoredPasswords(SynchronousTestCase):
    def test_locked_ones_are_none(self) -> None:
        for text in ("", "*", "!", "!!", "!$6$x"):
            self.assertEqual(stored_password(text), ())

    def test_a_default_scheme_is_for_those_that_name_none(self) -> None:
        self.assertEqual(stored_password("abc", "SSHA"), ("{SSHA}abc",))
        self.assertEqual(stored_password("{PLAIN}abc", "SSHA"), ("{PLAIN}abc",))
        self.assertEqual(stored_password("$6$abc", "SSHA"), ("$6$abc",))
        self.assertEqual(stored_password("abc"), ("abc",))

    def test_they_tell_which_mechanisms_work(self) -> None:
        self.assertEqual(knowledge_from([]), {Knowledge.CHECKABLE})
        self.assertEqual(
            knowledge_from(["{plain}x", "{SCRAM-SHA-256}x", "$6$x"]),
            {Knowledge.CHECKABLE, Knowledge.CLEAR_TEXT, Knowledge.SCRAM},
        )
