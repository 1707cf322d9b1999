"""Claims about rewritten senders; the first vectors are those of other implementations' tests."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom.delivery.srs import DAY_SECONDS, Rewriting, SRSError
from postroom.wire.paths import Mailbox, parse_path
from tests.delivery.support import box

NEW_YEAR = 1_577_836_860.0
"""The first minute of 2020, whose day is written ``2W``."""


class SRSCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.secrets = [b"tops3cr3t"]
        self.now = NEW_YEAR
        self.srs = Rewriting("example.com", lambda: self.secrets, lambda: self.now)

    def forward(self, sender: str) -> str:
        return str(self.srs.forward(box(sender)))

    def reverse(self, address: str) -> str:
        self.assertTrue(self.srs.concerns(box(address)))
        return str(self.srs.reverse(box(address)))

    def reason(self, address: str) -> str:
        return str(self.assertRaises(SRSError, self.srs.reverse, box(address)))


class KnownVectors(SRSCase):
    def test_a_sender_is_wrapped(self) -> None:
        self.assertEqual(
            self.forward("test@otherdomain.com"),
            "SRS0=vmyz=2W=otherdomain.com=test@example.com",
        )

    def test_one_that_another_host_wrapped_becomes_srs1(self) -> None:
        self.assertEqual(
            self.forward("SRS0=opaque+string@otherdomain.com"),
            "SRS1=chaI=otherdomain.com==opaque+string@example.com",
        )

    def test_srs1_of_another_host_keeps_the_first_forwarder(self) -> None:
        self.assertEqual(
            self.forward("SRS1=X=thirddomain.com==opaque+string@otherdomain.com"),
            "SRS1=JIBX=thirddomain.com==opaque+string@example.com",
        )

    def test_the_way_back(self) -> None:
        for address, sender in (
            ("SRS0=XjO9=2V=otherdomain.com=test@example.com", "test@otherdomain.com"),
            ("SRS0=vmyz=2W=otherdomain.com=test@example.com", "test@otherdomain.com"),
            (
                "SRS1=JIBX=thirddomain.com==opaque+string@example.com",
                "SRS0=opaque+string@thirddomain.com",
            ),
        ):
            self.assertEqual(self.reverse(address), sender)


class WayBack(SRSCase):
    def test_survives_hosts_that_change_case(self) -> None:
        address = "srs0=VMYZ=2w=otherdomain.com=test@Example.COM"
        self.assertEqual(self.reverse(address), "test@otherdomain.com")

    def test_takes_other_separators(self) -> None:
        for separator in "+-":
            address = f"SRS0{separator}vmyz=2W=otherdomain.com=test@example.com"
            self.assertEqual(self.reverse(address), "test@otherdomain.com")

    def test_a_user_may_hold_equals_signs_and_need_quotes(self) -> None:
        for sender in (
            *("a=b==c@there.example", '"a b"@there.example', "=@there.example"),
            *('"a..b"@there.example', '"ann."@there.example', '".ann"@there.example'),
        ):
            self.assertEqual(self.reverse(self.forward(sender)), sender)

    def test_a_host_may_have_underscores_and_hyphens_anywhere(self) -> None:
        for domain in (b"foo_bar.example", b"_x.-y-.example"):
            sender = Mailbox(b"ann", domain)
            self.assertEqual(self.srs.reverse(self.srs.forward(sender)), sender)

    def test_every_part_is_signed(self) -> None:
        for forged in (
            "SRS0=vmyZ1=2W=otherdomain.com=test@example.com",
            "SRS0=vmyz=2V=otherdomain.com=test@example.com",
            "SRS0=vmyz=2W=elsewhere.com=test@example.com",
            "SRS0=vmyz=2W=otherdomain.com=toast@example.com",
            "SRS1=JIBX=thirddomain.net==opaque+string@example.com",
            "SRS1=JIBX=thirddomain.com=+opaque+string@example.com",
        ):
            self.assertEqual(self.reason(forged), "forged", forged)

    def test_broken_ones_are_told(self) -> None:
        for broken in ("SRS0=x", "SRS0==2W=b=c", "SRS0=vmyz=2=b=c", "SRS1=JIBX=a", "SRS1=a=b=c"):
            self.assertIn("malformed", self.reason(f"{broken}@example.com"), broken)

    def test_a_domain_that_is_none_is_malformed_even_if_signed(self) -> None:
        made = self.srs.forward(Mailbox(b"a", b"[192.0.2.1]"))
        self.assertIn("malformed domain", str(self.assertRaises(SRSError, self.srs.reverse, made)))

    def test_it_lasts_for_its_days_and_through_the_wrap(self) -> None:
        for start in (NEW_YEAR, 1023 * DAY_SECONDS):
            self.now = start
            address = self.forward("test@otherdomain.com")
            self.now = start + 21 * DAY_SECONDS
            self.assertEqual(self.reverse(address), "test@otherdomain.com")
            self.now += DAY_SECONDS
            self.assertEqual(self.reason(address), "expired 1 days ago")

    def test_a_host_whose_clock_lags_a_day_still_knows_it(self) -> None:
        address = self.forward("test@otherdomain.com")
        self.now -= DAY_SECONDS
        self.assertEqual(self.reverse(address), "test@otherdomain.com")

    def test_older_secrets_are_known_and_the_newest_signs(self) -> None:
        before = self.forward("test@otherdomain.com")
        self.secrets.insert(0, b"new")
        self.assertEqual(self.reverse(before), "test@otherdomain.com")
        after = self.forward("test@otherdomain.com")
        self.assertNotEqual(after, before)
        self.secrets.pop()
        self.assertEqual(self.reason(before), "forged")
        self.assertEqual(self.reverse(after), "test@otherdomain.com")


class WhatConcernsUs(SRSCase):
    def test_is_our_domain_and_the_form(self) -> None:
        for address in (
            "SRS0=x@example.net",
            "SRS2=x@example.com",
            "SRS0@example.com",
            "s@example.com",
        ):
            self.assertFalse(self.srs.concerns(box(address)), address)

    def test_our_own_addresses_are_not_wrapped(self) -> None:
        for own in ("test@example.com", "SRS0=XjO9=2V=otherdomain.com=test@example.com"):
            self.assertEqual(self.forward(own), own)

    def test_what_would_be_too_long_stays_as_it_is(self) -> None:
        sender = f"{'l' * 64}@{'.'.join(['d' * 60] * 2)}.example"
        self.assertNotEqual(self.forward(sender), sender)
        sender = f"{'l' * 64}@{'.'.join(['d' * 57] * 3)}.example"
        self.assertEqual(self.forward(sender), sender)

    @given(st.binary(min_size=1, max_size=40), st.sampled_from([b"a.example", b"B.Example"]))
    def test_any_local_part_comes_back(self, local: bytes, domain: bytes) -> None:
        local = bytes(octet % 95 + 32 for octet in local)
        self.now = NEW_YEAR
        made = Rewriting("example.com", lambda: [b"s"], lambda: NEW_YEAR)
        sender = Mailbox(local, domain)
        rewritten = made.forward(sender)
        if made.concerns(sender) or local[:3].upper() == b"SRS":
            return
        self.assertEqual(parse_path(b"<" + bytes(rewritten) + b">"), rewritten)
        self.assertEqual(made.reverse(rewritten), sender)
