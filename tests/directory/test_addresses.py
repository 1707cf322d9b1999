"""Addresses as the directory keeps them, and the directory names made from them."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom.directory.addresses import (
    NAME_OCTETS,
    foreign_forms,
    local_address,
    login_address,
    maildir_name,
    parse_address,
    parse_domain,
    parse_target,
)
from postroom.errors import UserError
from postroom.wire.paths import Mailbox

_printable = st.binary(min_size=1, max_size=64).map(
    lambda octets: bytes(32 + octet % 95 for octet in octets).lower()
)


class AddressTests(SynchronousTestCase):
    def assert_refused(self, text: str, why: str) -> None:
        error = self.assertRaises(UserError, local_address, text)
        self.assertIn(why, str(error))
        self.assertEqual(len(str(error).splitlines()), 1)

    def test_an_address_is_kept_in_lower_case(self) -> None:
        self.assertEqual(local_address("Joe.Bloggs+X@Example.ORG"), "joe.bloggs+x@example.org")

    def test_quotes_stay_where_they_are_needed_and_nowhere_else(self) -> None:
        self.assertEqual(local_address('"joe"@example.org'), "joe@example.org")
        self.assertEqual(local_address('"joe b"@example.org'), '"joe b"@example.org')

    def test_what_is_wrong_with_an_address_is_said(self) -> None:
        self.assert_refused("joe", "no @")
        self.assert_refused("", "empty")
        self.assert_refused(" joe@example.org", "local part")
        self.assert_refused("joe@exa mple.org", "domain")
        self.assert_refused("joe@example.org..", "domain")
        self.assert_refused("=" * 250 + "@example.org", "254")
        self.assert_refused("joe\n@example.org", "control")
        self.assert_refused("joe@[127.0.0.1]", "literal")

    def test_a_domain_beyond_ascii_is_kept_in_a_labels(self) -> None:
        for text in ("joe@bücher.example", "joe@BÜCHER.example", "joe@b\u0075\u0308cher。example"):
            self.assertEqual(local_address(text), "joe@xn--bcher-kva.example", text)
        self.assertEqual(parse_target("Joe@straße.example"), "Joe@xn--strae-oqa.example")
        self.assert_refused("joe@☃.example", "internationalised domain name")

    def test_a_local_part_beyond_ascii_is_kept_in_nfc_without_case(self) -> None:
        for text in ("jörg@a.example", "JÖRG@a.example", "jo\u0308rg@A.example"):
            self.assertEqual(local_address(text), "jörg@a.example", text)
        self.assertEqual(parse_target("Jörg@A.example"), "Jörg@a.example")

    def test_a_target_keeps_the_case_of_its_local_part(self) -> None:
        self.assertEqual(parse_target("Joe@Example.ORG"), "Joe@example.org")
        self.assertEqual(parse_target("DISCARD:"), "discard:")

    def test_no_other_kind_of_target_is_taken(self) -> None:
        for text in ("file:/etc/passwd", "|/bin/sh", "discard:x", "/dev/null", ""):
            self.assertRaises(UserError, parse_target, text)

    def test_a_domain_name_loses_its_final_dot(self) -> None:
        self.assertEqual(parse_domain("Example.ORG."), "example.org")
        self.assertEqual(local_address("Joe@Example.ORG."), "joe@example.org")
        self.assertEqual(parse_target("Joe@Bücher.example."), "Joe@xn--bcher-kva.example")

    def test_a_domain_may_have_underscores_and_hyphens_anywhere(self) -> None:
        for text in ("foo_bar.example", "_x.example", "x_.example", "-x.y-.example"):
            self.assertEqual(parse_domain(text.upper()), text)
        self.assertEqual(parse_domain("_x.bücher.example"), "_x.xn--bcher-kva.example")

    def test_odd_dots_are_kept_octet_for_octet(self) -> None:
        for local in ("a..b", ".ann", "ann.", "..", "a...b.c."):
            found = local_address(f'"{local}"@example.org')
            self.assertEqual(parse_address(found).local_part, local.encode())
            self.assertEqual(foreign_forms(found), (f"{local}@example.org", local, "example.org"))

    def test_others_write_quotes_where_nothing_else_will_do(self) -> None:
        for local in ("a b", "a@b", 'a\\"b', "a(b"):
            found = local_address(f'"{local}"@example.org')
            quoted = f'"{local}"'
            expected = (f"{quoted}@example.org", quoted, "example.org")
            self.assertEqual(foreign_forms(found), expected)
        self.assertEqual(foreign_forms("joe@a.example"), ("joe@a.example", "joe", "a.example"))

    def test_a_domain_name_beyond_ascii_is_kept_in_a_labels(self) -> None:
        self.assertEqual(parse_domain("BÜCHER.example."), "xn--bcher-kva.example")

    def test_what_is_wrong_with_a_domain_name_is_said(self) -> None:
        for text, why in (
            ("joe@example.org", "@"),
            ("a..b", "dots"),
            ("..", "dots"),
            ("", "dots"),
            (".a", "dots"),
            ("a/b", "letters"),
            ("a..", "dots"),
            ("a b", "letters"),
            ("a_b.☃", "internationalised"),
            ("a" * 64, "63"),
            ("a." * 128 + "a", "255"),
            ("☃", "internationalised"),
            ("ü" * 256, "255 characters"),
        ):
            error = self.assertRaises(UserError, parse_domain, text)
            self.assertIn(why, str(error))


class LoginTests(SynchronousTestCase):
    def test_a_bare_name_is_in_the_default_domain(self) -> None:
        self.assertEqual(login_address(b"Joe", "example.org"), "joe@example.org")

    def test_a_bare_name_without_a_default_domain_is_nobody(self) -> None:
        self.assertIsNone(login_address(b"joe", None))

    def test_a_full_address_is_taken_in_any_case(self) -> None:
        self.assertEqual(login_address(b"JOE@Example.org", "other.example"), "joe@example.org")

    def test_names_that_nobody_can_have_are_nobody(self) -> None:
        for name in (b"", b"a\0b@c", b"a\nb", b"\xff\xfe", "jö@☃".encode(), b"a@b@c", b"x" * 9999):
            self.assertIsNone(login_address(name, "example.org"), name)

    def test_a_name_beyond_ascii_is_taken_in_any_case_and_form(self) -> None:
        for name in ("JÖRG@bücher.example", "jo\u0308rg@xn--bcher-kva.example"):
            found = login_address(name.encode(), None)
            self.assertEqual(found, "jörg@xn--bcher-kva.example")

    def test_a_look_alike_is_somebody_else(self) -> None:
        self.assertEqual(login_address("\u212aim@a.example".encode(), None), "\u212aim@a.example")


class MaildirNameTests(SynchronousTestCase):
    def test_a_plain_address_is_readable(self) -> None:
        name = maildir_name(Mailbox(b"joe.b_c-d", b"example.org"))
        self.assertEqual(name, "example.org/joe.b_c-d")

    def test_nothing_leaves_the_mail_root(self) -> None:
        for local, encoded in (
            (b"../../etc/x", "%2e.%2f..%2fetc%2fx"),
            (b"..", "%2e."),
            (b".", "%2e"),
            (b".ann", "%2eann"),
            (b"ann.", "ann."),
            (b"a..b", "a..b"),
            (b"/etc/passwd", "%2fetc%2fpasswd"),
            (b"a\0b", "a%00b"),
            (b"%2e.", "%252e."),
            (b"", "%"),
        ):
            self.assertEqual(maildir_name(Mailbox(local, b"a.example")), f"a.example/{encoded}")

    def test_a_long_name_is_cut_and_stays_different_from_others(self) -> None:
        names = {
            maildir_name(Mailbox(b"\x01" * 100 + end, b"a.example")).partition("/")[2]
            for end in (b"a", b"b")
        }
        self.assertEqual(len(names), 2)
        self.assertEqual({len(name) for name in names}, {NAME_OCTETS})

    @given(_printable, _printable)
    def test_different_addresses_never_meet(self, one: bytes, other: bytes) -> None:
        first, second = (maildir_name(Mailbox(local, b"a.example")) for local in (one, other))
        self.assertEqual(first == second, one == other)

    @given(_printable)
    def test_every_name_is_safe(self, local: bytes) -> None:
        domain, _, name = maildir_name(Mailbox(local, b"a.example")).partition("/")
        self.assertEqual(domain, "a.example")
        self.assertRegex(name, r"\A[a-z0-9_%~-][a-z0-9._%~-]*\Z")
        self.assertLessEqual(len(name), NAME_OCTETS)
