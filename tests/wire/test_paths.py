"""Tests for `postroom.wire.paths`."""

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from postroom.wire.errors import LocalViolation
from postroom.wire.paths import (
    Mailbox,
    PathError,
    check_literal,
    mailbox,
    parse_mailbox,
    parse_path,
)
from postroom.wire.tolerance import ALL, NONE, Tolerance
from tests.wire.addresses import FOLDED, MAILBOXES

READ = {
    b"a@b": (b"a", b"b"),
    b"A.b@C.D": (b"A.b", b"C.D"),
    b'"a b"@c': (b"a b", b"c"),
    b'"a"@c': (b"a", b"c"),
    b'"\\a\\b"@c': (b"ab", b"c"),
    b'"a\\"b\\\\c"@d': (b'a"b\\c', b"d"),
    b'""@c': (b"", b"c"),
    b'"@"@c': (b"@", b"c"),
    b"!#$%&'*+-/=?^_`{|}~@c": (b"!#$%&'*+-/=?^_`{|}~", b"c"),
    b"a@xn--nxasmq6b": (b"a", b"xn--nxasmq6b"),
    b"a@1.2.3": (b"a", b"1.2.3"),
    b"a@[192.0.2.1]": (b"a", b"[192.0.2.1]"),
    b"a@[IPv6:2001:db8::1]": (b"a", b"[IPv6:2001:db8::1]"),
    b"a@[tag:x!y]": (b"a", b"[tag:x!y]"),
    b"SRS0=" + b"x" * 90 + b"@a": (b"SRS0=" + b"x" * 90, b"a"),
}
REFUSED = {
    b"": "empty",
    b"a": "no @",
    b"@": "domain",
    b"a@": "domain",
    b"@a": "local part",
    b".a@b": "local part",
    b"a.@b": "local part",
    b"a..b@c": "local part",
    b"a b@c": "local part",
    b"a@b.": "domain",
    b"a@-b": "domain",
    b"a@b-": "domain",
    b"a@b_c": "domain",
    b"a@b@c": "local part",
    b"a\n@b": "control",
    b"a@b\n": "control",
    b"a@b\r\n": "control",
    b'"a\n"@b': "control",
    b'"a\\\n"@b': "control",
    b"a\x80@b": "UTF-8",
    b"a@[1]": "literal",
    b"a@[IPv6:fe80::1%1]": "zone",
    b"a@[]": "malformed",
    b"a@[192.0.2.1": "malformed",
    b"l" * 65 + b"@a": "64 octets",
    b"a@" + b"a" * 64: "domain",
    b"a@" + b".".join([b"a" * 50] * 6): "255 octets",
}
READ_UTF8 = {
    "jürgen@example": ("jürgen", "example"),
    "a@bücher.example": ("a", "bücher.example"),
    '"ü ü"@b': ("ü ü", "b"),
    "δοκιμή@παράδειγμα.δοκιμή": ("δοκιμή", "παράδειγμα.δοκιμή"),
    "我買@屋企.香港": ("我買", "屋企.香港"),
    "ü@[192.0.2.1]": ("ü", "[192.0.2.1]"),
    "e\u0301@b": ("e\u0301", "b"),  # not in NFC, and kept so
    "\uff20\uff0e\u3002@b": ("\uff20\uff0e\u3002", "b"),  # letters like any other
    "a@l\u00b7l.example": ("a", "l\u00b7l.example"),
    "a@xn--bcher-kva.ü": ("a", "xn--bcher-kva.ü"),
}
REFUSED_UTF8 = {
    "a\uff20b": "no @",
    "a@b\uff0ec": "domain",  # full-width full stop
    "a@b\u3002c": "domain",
    "a@\uff42": "domain",  # full-width b
    "a@\u212aelvin": "domain",  # the Kelvin sign, whose lower case is k
    "a@u\u0308.b": "domain",  # not in NFC
    "a@\u0301a": "domain",
    "a@-ü": "domain",
    "a@ü-": "domain",
    "a@ü..b": "domain",
    "a@ü.": "domain",
    "a@☃": "domain",
    "a@" + "ü" * 58: "domain",
    "a@ü\u202eb": "domain",
    "ü" * 33 + "@a": "64 octets",
    "a\u2028@b": "separator",
    "a\x85@b": "control",
    '"\\ü"@b': "malformed",
}


class MailboxTests(SynchronousTestCase):
    """Tests for `parse_mailbox` and `Mailbox`."""

    def test_a_rewritten_sender_may_be_longer(self) -> None:
        for local in (b"SRS0=" + b"x" * 90, b"srs1=" + b"x" * 90):
            self.assertEqual(parse_mailbox(local + b"@a"), Mailbox(local, b"a"))

    def test_what_is_read(self) -> None:
        for octets, parts in READ.items():
            self.assertEqual(parse_mailbox(octets), Mailbox(*parts), octets)

    def test_what_is_refused_and_why(self) -> None:
        for octets, why in REFUSED.items():
            error = self.assertRaises(PathError, parse_mailbox, octets, NONE)
            self.assertIn(why, str(error), octets)

    def test_what_is_read_beyond_ascii(self) -> None:
        for text, parts in READ_UTF8.items():
            read = parse_mailbox(text.encode())
            self.assertEqual(read, Mailbox(*(part.encode() for part in parts)), text)
            self.assertEqual(bytes(read), text.encode())
            self.assertEqual(str(read), text)
            self.assertFalse(read.is_ascii)
        self.assertTrue(Mailbox(b"a", b"b").is_ascii)

    def test_what_is_refused_beyond_ascii_and_why(self) -> None:
        for text, why in REFUSED_UTF8.items():
            error = self.assertRaises(PathError, parse_mailbox, text.encode(), NONE)
            self.assertIn(why, str(error), text)

    def test_octets_that_are_no_utf8_are_refused(self) -> None:
        for octets in (b"\xc0\xae@b", b"a@\xc0\xae", b"\xed\xa0\x80@b", b"\xe2\x82@b", b"a@b\xe2"):
            self.assertIn("UTF-8", str(self.assertRaises(PathError, parse_mailbox, octets, NONE)))

    def test_u_labels_are_compared_in_lower_case(self) -> None:
        self.assertEqual(parse_mailbox("a@BÜCHER.example".encode()).domain_key, "bücher.example")

    def test_what_cannot_be_seen_is_escaped_in_text(self) -> None:
        self.assertEqual(str(Mailbox("a\u202e".encode(), b"b")), "a\\u202e@b")
        self.assertEqual(str(Mailbox(b"a\xff\r", b"b")), '"a\\xff\\r"@b')

    @given(MAILBOXES)
    def test_what_is_written_reads_back(self, written: Mailbox) -> None:
        try:
            self.assertEqual(parse_mailbox(bytes(written)), written)
        except PathError as error:  # quoting has made it too long
            self.assertIn("longer than", str(error))

    @given(FOLDED)
    def test_what_is_read_is_written_in_one_form_only(self, octets: bytes) -> None:
        try:
            read = parse_mailbox(octets)
        except PathError:
            return
        self.assertLessEqual(len(bytes(read)), len(octets) + len(b'""'))
        self.assertEqual(bytes(parse_mailbox(bytes(read))), bytes(read))
        self.assertFalse(set(bytes(read)) & set(b"\r\n\0"))

    def test_only_what_needs_quotes_is_quoted(self) -> None:
        for local, written in ((b"a.b", b"a.b"), (b"a b", b'"a b"'), (b'a"\\', b'"a\\"\\\\"')):
            self.assertEqual(bytes(Mailbox(local, b"c")), written + b"@c")

    def test_domains_are_compared_in_lower_case_and_local_parts_as_they_are(self) -> None:
        read = parse_mailbox(b"User@Here.EXAMPLE")
        self.assertEqual((read.domain_key, read.local_part), ("here.example", b"User"))
        self.assertNotEqual(read, parse_mailbox(b"user@Here.EXAMPLE"))

    def test_a_literal_says_that_it_is_one(self) -> None:
        self.assertTrue(parse_mailbox(b"a@[192.0.2.1]").is_literal)
        self.assertFalse(parse_mailbox(b"a@192.0.2.1").is_literal)

    def test_text_of_ours_becomes_a_mailbox_or_is_our_error(self) -> None:
        self.assertEqual(mailbox("a@b"), Mailbox(b"a", b"b"))
        for wrong in ("a", "a@b\r\nDATA", "ü@b\ud800", "a@\u2028b", ""):
            self.assertRaises(LocalViolation, mailbox, wrong)

    def test_any_length_is_refused_in_linear_time(self) -> None:
        # Were it quadratic, this would take minutes.
        for octet in (b'"', b"\\", b"@", b"(", b"a.", b"a", b"<", b'"\\"', b"[", b"-", b"\xc3\xbc"):
            for tail in (b"", b"@b", b'"@b', b'"'):
                self.assertRaises(PathError, parse_mailbox, octet * 40_000 + tail)
                self.assertRaises(PathError, parse_mailbox, b"a@" + octet * 40_000 + tail + b"!")


TOLERATED = {
    Tolerance.LOCAL_PART_DOTS: {
        b"a.@b": (b"a.", b"b"),
        b".a@b": (b".a", b"b"),
        b"a..b@c": (b"a..b", b"c"),
        b".@b": (b".", b"b"),
        b"...@b": (b"...", b"b"),
        b"a.+x..y@b": (b"a.+x..y", b"b"),
        "ü.@b".encode(): ("ü.".encode(), b"b"),
        "a..ü@b".encode(): ("a..ü".encode(), b"b"),
    },
    Tolerance.LONG_LOCAL_PARTS: {
        b"x" * 65 + b"@b": (b"x" * 65, b"b"),
        b"x" * 252 + b"@b": (b"x" * 252, b"b"),
        b'"' + b"x " * 40 + b'"@b': (b"x " * 40, b"b"),
        ("ü" * 33 + "@b").encode(): (("ü" * 33).encode(), b"b"),
    },
    Tolerance.DOMAIN_CHARACTERS: {
        b"a@b_c": (b"a", b"b_c"),
        b"a@_b.c": (b"a", b"_b.c"),
        b"a@b_.c_": (b"a", b"b_.c_"),
        b"a@-b.c-": (b"a", b"-b.c-"),
        b"a@" + b"_" * 62 + b"x.b": (b"a", b"_" * 62 + b"x.b"),
        "ü@b_c".encode(): ("ü".encode(), b"b_c"),
        "a@ü.b_c".encode(): (b"a", "ü.b_c".encode()),
    },
    Tolerance.TRAILING_DOT: {
        b"a@b.": (b"a", b"b"),
        b"a@b.c.": (b"a", b"b.c"),
        "a@ü.".encode(): (b"a", "ü".encode()),
    },
}
NEVER = (
    *(b"a@b@c", b"a@@b", b"@b", b"a@", b"a@.", b"a@b..", b"a@.b", b"a@b..c", b"a b@c", b"a@b c"),
    *(b'"a@b', b'a"@b', b'a"b"@c', b"a(x)@b", b"a@b(x)", b"<a@b>", b"a,b@c", b"a;b@c", b"a:b@c"),
    *(b"a\\@b", b"a@[192.0.2.1].", b"a@[192.0.2.1", b"a@192.0.2.1]", b"a\t@b", b"a@b\0"),
    *(
        b"a@" + b"x" * 64,
        b"a@" + b"_" * 63 + b"x.b",
        b"a@_",
        b"a@-.b",
        b"a@" + b".".join([b"a" * 50] * 6),
    ),
    *("a@ü_b".encode(), "a@-ü".encode(), "a@ü..b".encode(), b"a@b\xff", b"\xff@b", b""),
)


class ToleranceTests(SynchronousTestCase):
    """Tests for what `parse_mailbox` and `parse_path` tolerate."""

    def test_each_deviation_is_kept_octet_for_octet_if_its_tolerance_is_on(self) -> None:
        for tolerance, mailboxes in TOLERATED.items():
            for octets, parts in mailboxes.items():
                for tolerate in (frozenset({tolerance}), ALL):
                    read = parse_mailbox(octets, tolerate)
                    self.assertEqual(read, Mailbox(*parts), octets)
                self.assertRaises(PathError, parse_mailbox, octets, ALL - {tolerance})

    def test_what_was_tolerated_once_is_written_in_the_grammar_and_read_back(self) -> None:
        for octets in TOLERATED[Tolerance.LOCAL_PART_DOTS]:
            read = parse_mailbox(octets)
            self.assertEqual(parse_mailbox(bytes(read), NONE), read)
            self.assertTrue(bytes(read).startswith(b'"'))

    def test_what_is_never_tolerated(self) -> None:
        for octets in NEVER:
            self.assertRaises(PathError, parse_mailbox, octets, ALL)
            self.assertRaises(PathError, parse_path, b"<" + octets + b"> <c@d>", ALL)

    def test_blanks_at_the_ends_inside_the_brackets(self) -> None:
        for octets in (b"< a@b>", b"<a@b >", b"<  a@b  >", b"< @c:a@b>"):
            self.assertEqual(parse_path(octets, frozenset({Tolerance.BLANKS})), Mailbox(b"a", b"b"))
            self.assertRaises(PathError, parse_path, octets, ALL - {Tolerance.BLANKS})
        self.assertIsNone(parse_path(b"< >"))
        for within in (b"<a @b>", b"<a@ b>", b"<a b@c>", b"<a@b c>", b'<"a" @b>'):
            self.assertRaises(PathError, parse_path, within)

    def test_a_local_part_alone(self) -> None:
        alone = frozenset({Tolerance.MISSING_DOMAIN})
        for octets, local in ((b"<ann>", b"ann"), (b'<"a b">', b"a b"), (b"<a!b%c>", b"a!b%c")):
            self.assertEqual(parse_path(octets, alone), Mailbox(local, b""))
            self.assertRaises(PathError, parse_path, octets, ALL - alone)
        self.assertEqual(parse_path(b"<ann.>"), Mailbox(b"ann.", b""))
        self.assertRaises(PathError, parse_path, b"<ann.>", alone)
        for octets in (b'<"">', b"<a b>", b"<(a)>", b"<ann@>", b"<@>", b'<"a@b">'):
            self.assertRaises(PathError, parse_path, octets)

    def test_the_postmaster_needs_no_tolerance(self) -> None:
        found = Mailbox(b"postmaster", b"")
        self.assertEqual(parse_path(b"<PostMaster>", NONE, postmaster=True), found)
        self.assertEqual(parse_path(b"< postmaster >", ALL, postmaster=True), found)
        self.assertRaises(PathError, parse_path, b"<postmaster>", NONE)

    def test_a_path_has_at_most_256_octets(self) -> None:
        self.assertEqual(len(bytes(parse_path(b"<" + b"x" * 252 + b"@b>") or b"")), 254)
        self.assertRaises(PathError, parse_path, b"<" + b"x" * 253 + b"@b>")

    def test_a_source_route_may_have_the_same_domains(self) -> None:
        read = parse_path(b"<@a_b.,@-c:u@d>")
        self.assertEqual(read, Mailbox(b"u", b"d"))
        self.assertRaises(PathError, parse_path, b"<@a_b:u@d>", ALL - {Tolerance.DOMAIN_CHARACTERS})

    def test_the_address_in_a_literal(self) -> None:
        for domain, address in (
            (b"[192.0.2.1]", "192.0.2.1"),
            (b"[IPv6:2001:DB8:0::1]", "2001:db8::1"),
            (b"[IPv6:::ffff:192.0.2.1]", "::ffff:c000:201"),
            (b"[tag:x]", ""),
            (b"b.example", ""),
        ):
            self.assertEqual(Mailbox(b"a", domain).literal_address, address)


class PathTests(SynchronousTestCase):
    """Tests for `parse_path`."""

    def test_the_null_path(self) -> None:
        self.assertIsNone(parse_path(b"<>"))

    def test_a_source_route_is_left_out(self) -> None:
        for route in (b"", b"@a:", b"@a,@b.c:"):
            self.assertEqual(parse_path(b"<" + route + b"u@d>"), Mailbox(b"u", b"d"))

    def test_what_is_refused(self) -> None:
        for octets in (b"", b"<", b">", b"u@d", b"<u@d", b"u@d>", b"< >", b"<<u@d>>", b"<@a>"):
            self.assertRaises(PathError, parse_path, octets, NONE)
        for octets in (
            b"<@a,b:u@d>",
            b"<@a:@b:u@d>",
            b"<@:u@d>",
            b"<@a,@b>",
            b"<@[192.0.2.1]:u@d>",
        ):
            self.assertRaises(PathError, parse_path, octets, NONE)

    def test_a_path_has_256_octets_with_its_brackets(self) -> None:
        domain = b".".join([b"a" * 63] * 3 + [b"a" * 60])
        self.assertEqual(parse_path(b"<u@" + domain[:252] + b">"), Mailbox(b"u", domain[:252]))
        error = self.assertRaises(PathError, parse_path, b"<uu@" + domain[:252] + b">")
        self.assertIn("256", str(error))


class LiteralTests(SynchronousTestCase):
    """Tests for `check_literal`."""

    def test_literals(self) -> None:
        for right in (b"[192.0.2.1]", b"[IPv6:::1]", b"[ipv6:::ffff:192.0.2.1]", b"[a-b:c]"):
            check_literal(right)
        for wrong in (
            b"[1.2.3]",
            b"[1.2.3.4.5]",
            b"[256.1.1.1]",
            b"[::1]",
            b"[IPv6:]",
            b"[IPv6:1]",
        ):
            self.assertRaises(PathError, check_literal, wrong)
        for long in (b"[" + b"1" * 240 + b".1.1.1]", b"[IPv6:1::" + b"1" * 230 + b"]"):
            self.assertLess(len(str(self.assertRaises(PathError, check_literal, long))), 150)
        for wrong in (b"[a-:b]", b"[a:]", b"[:b]", b"[1_0.1.1.1]", b"[01.2.3.4]"):
            self.assertRaises(PathError, check_literal, wrong)
