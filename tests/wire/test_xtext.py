"""Tests for `postroom.wire.xtext`."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom.wire.xtext import decode_xtext, encode_xtext


class XtextTests(SynchronousTestCase):
    """Tests for `decode_xtext` and `encode_xtext`."""

    @given(st.binary(max_size=60))
    def test_xtext_is_undone(self, octets: bytes) -> None:
        self.assertEqual(decode_xtext(encode_xtext(octets)), octets)

    def test_how_it_is_written(self) -> None:
        self.assertEqual(encode_xtext(b"a+b=c d\r\n~\xff"), "a+2Bb+3Dc+20d+0D+0A~+FF")

    def test_what_is_no_xtext(self) -> None:
        for value in ("+", "+4", "+zz", "+4g", "+0d", "a=b", "a b", "\r", "\xff", "a+"):
            self.assertRaises(ValueError, decode_xtext, value)
