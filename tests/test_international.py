"""Addresses beyond ASCII: what is one, and what only looks like one."""

import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom.international import address_key, ascii_name, local_key


class Names(SynchronousTestCase):
    def test_are_given_in_a_labels(self) -> None:
        for name, expected in (
            ("Example.ORG", "example.org"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.Example", "xn--bcher-kva.example"),
            ("bu\u0308cher.example", "xn--bcher-kva.example"),
            ("straße.example", "xn--strae-oqa.example"),
            ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("Foo_Bar.example", "foo_bar.example"),
            ("_Foo.-x-.bücher.example", "_foo.-x-.xn--bcher-kva.example"),
            ("xn--bcher-kva.bücher.example.", "xn--bcher-kva.xn--bcher-kva.example"),
        ):
            self.assertEqual(ascii_name(name), expected, name)

    def test_that_are_none_are_refused(self) -> None:
        for name in (
            *("☃.example", "ü" * 300, "-ü.example", "ü..example", "\u0301a.example"),
            *("b_ü.example", "a b.ü", "a@b.ü", "xn--\u0000.ü", "xn--a-.ü", "a" * 64 + ".ü", "ü.."),
            *(".ü", "ü." + "a." * 130 + "a"),
        ):
            self.assertRaises(ValueError, ascii_name, name)


class LocalParts(SynchronousTestCase):
    def key(self, text: str) -> str:
        return local_key(text.encode()).decode()

    def test_are_compared_without_case_and_in_one_form(self) -> None:
        for same in (
            ("Jörg", "JÖRG", "jo\u0308rg"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος", "σίσυφοσ"),
            ("Joe", "JOE"),
        ):
            self.assertEqual(len({self.key(text) for text in same}), 1, same)

    def test_no_look_alike_becomes_ascii(self) -> None:
        for text in (
            "\u212aim",
            "\u017fam",
            "stra\u00dfe",
            "\ufb01n",
            "\u0130",
            "\uff4aoe",
            "\u0261",
        ):
            self.assertFalse(self.key(text).isascii(), text)

    def test_no_character_at_all_becomes_ascii(self) -> None:
        for number in range(128, sys.maxunicode + 1):
            if not 0xD800 <= number < 0xE000:
                self.assertFalse(self.key(chr(number)).isascii(), hex(number))

    def test_octets_that_are_no_text_stay_as_they_are(self) -> None:
        self.assertEqual(local_key(b"A\xff"), b"A\xff")

    @given(st.text(max_size=20))
    def test_the_key_of_a_key_is_itself(self, text: str) -> None:
        key = self.key(text)
        self.assertEqual(self.key(key), key)

    @given(st.text(max_size=20))
    def test_forms_of_one_text_have_one_key(self, text: str) -> None:
        text = "".join(each for each in text if not unicodedata.normalize("NFC", each).isascii())
        self.assertEqual(self.key(unicodedata.normalize("NFD", text)), self.key(text))


class Addresses(SynchronousTestCase):
    def test_are_quoted_where_they_need_it(self) -> None:
        self.assertEqual(address_key(b"Joe", "a.example"), "joe@a.example")
        self.assertEqual(address_key(b"a b", "a.example"), '"a b"@a.example')
        self.assertEqual(address_key("JÖ".encode(), "a.example"), "jö@a.example")
