"""Tests for `postroom.wire.values`."""

from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom.wire import values
from postroom.wire.values import DeliverBy, OriginalRecipient, ValidSince


class ValueTests(SynchronousTestCase):
    """What each parameter's value means, and what is none."""

    def read(self, read: Callable[[str | None], Any], meanings: dict[str, object]) -> None:
        for value, meaning in meanings.items():
            self.assertEqual(read(value), meaning, value)

    def refused(self, read: Callable[[str | None], Any], wrong: Iterable[str | None]) -> None:
        for value in wrong:
            with self.assertRaises(ValueError, msg=repr(value)):
                read(value)

    def test_flags(self) -> None:
        self.assertIs(values.read_flag(None), True)
        self.refused(values.read_flag, ("", "YES", "1"))

    def test_size(self) -> None:
        self.read(values.read_size, {"0": 0, "00012": 12, "9" * 20: 10**20 - 1})
        self.refused(
            values.read_size, (None, "", "1_0", "+1", "-1", "1" * 21, "1" * 5000, "\u0661")
        )

    def test_body(self) -> None:
        self.read(values.read_body, {"7bit": "7BIT", "8BitMime": "8BITMIME"})
        self.read(values.read_body, {"BINARYMIME": "BINARYMIME"})
        self.refused(values.read_body, (None, "", "8BIT", "7BIT,8BITMIME"))

    def test_submitter(self) -> None:
        self.read(values.read_submitter, {"<>": b"", "e+3Dmc2@example": b"e=mc2@example"})
        self.refused(values.read_submitter, (None, "+0Ax", "+00", "+7F", "+80", "+20", "+zz", "+"))

    def test_return(self) -> None:
        self.read(values.read_return, {"full": "FULL", "HDRS": "HDRS"})
        self.refused(values.read_return, (None, "", "BODY"))

    def test_envelope_id(self) -> None:
        self.read(values.read_envelope_id, {"QQ+20314159": b"QQ 314159", "x" * 100: b"x" * 100})
        self.refused(
            values.read_envelope_id, (None, "+00", "+0D+0A", "+80", "x" * 101, "+4", "+4a")
        )

    def test_notify(self) -> None:
        self.read(
            values.read_notify,
            {
                "never": {"NEVER"},
                "SUCCESS": {"SUCCESS"},
                "delay,Failure,SUCCESS": {"DELAY", "FAILURE", "SUCCESS"},
            },
        )
        self.refused(
            values.read_notify,
            (None, "", ",", "SUCCESS,", "NEVER,DELAY", "NEVER,NEVER", "DELAY,DELAY", "ALWAYS"),
        )

    def test_original_recipient(self) -> None:
        self.read(
            values.read_original_recipient,
            {
                "rfc822;a+2Bb@c": OriginalRecipient("rfc822", b"a+b@c"),
                "X400;/C=US/".replace("=", "+3D"): OriginalRecipient("X400", b"/C=US/"),
                "utf-8;j\\x{FC}rgen@b": OriginalRecipient("utf-8", "jürgen@b".encode()),
                "utf-8;jürgen@b": OriginalRecipient("utf-8", "jürgen@b".encode()),
                "UTF-8;a+2Bb@c": OriginalRecipient("UTF-8", b"a+b@c"),
                "rfc822;" + "x" * 493: OriginalRecipient("rfc822", b"x" * 493),
            },
        )
        self.refused(
            values.read_original_recipient,
            (
                *(None, "", "rfc822", "rfc822;", ";a@b", "a b;c", "rfc822;a+0D+0AB", "rfc822;+zz"),
                "utf-8;" + "ü" * 200,  # which nobody could be given in ASCII
                *("rfc822;" + "x" * 494, "rfc822;a+0", "rfc822;+C3+BC", "rfc822;jürgen@b"),
                *(
                    "utf-8;\\x{D800}",
                    "utf-8;\\x{110000}",
                    "utf-8;\\x{}",
                    "utf-8;\\",
                    "utf-8;\\x{A}",
                ),
                *("utf-8;\\x{2028}", "utf-8;\\x{85}", "utf-8;a\\b", "utf-8;+FF", "utf-8;\\x{A}"),
            ),
        )

    def test_an_original_recipient_is_written_in_ascii(self) -> None:
        for read, written in (
            (OriginalRecipient("rfc822", b"a+b=c @d"), "rfc822;a+2Bb+3Dc+20@d"),
            (OriginalRecipient("utf-8", "jü+=\\@b".encode()), r"utf-8;j\x{FC}\x{2B}\x{3D}\x{5C}@b"),
        ):
            self.assertEqual(read.encoded, written)
            self.assertEqual(values.read_original_recipient(written), read)

    def test_deliver_by(self) -> None:
        self.read(
            values.read_deliver_by,
            {
                "120;R": DeliverBy(120, True),
                "+5;nt": DeliverBy(5, False, True),
                "-999999999;N": DeliverBy(-999_999_999, False),
                "0;NT": DeliverBy(0, False, True),
            },
        )
        self.refused(
            values.read_deliver_by,
            (
                *(None, "", "5", "5;", "5;X", "0;R", "-1;R", "1000000000;N", "1_0;N", "5;NTT"),
                *("5;TN", "--5;N", "\u0665;N"),
            ),
        )

    @given(st.integers(-999_999_999, 999_999_999), st.booleans(), st.booleans())
    def test_deliver_by_reads_back(self, seconds: int, returned: bool, traced: bool) -> None:
        by = DeliverBy(seconds, returned and seconds > 0, traced)
        self.assertEqual(values.read_deliver_by(by.encoded), by)

    def test_hold(self) -> None:
        self.read(values.read_hold_seconds, {"1": 1, "999999999": 999_999_999})
        self.refused(values.read_hold_seconds, (None, "", "0", "01", "-1", "1000000000", "1.5"))
        self.read(values.read_hold_until, {"1970-01-02T00:00:01Z": 86_401.0})
        self.refused(
            values.read_hold_until,
            (
                *(
                    None,
                    "",
                    "1970-01-01T00:00:00",
                    "1970-01-01T00:00:00+00:00",
                    "1970-13-01T00:00:00Z",
                ),
                *(
                    "1970-02-30T00:00:00Z",
                    "0000-01-01T00:00:00Z",
                    "1970-01-01T24:00:00Z",
                    "1970-01-01",
                ),
                *("1970-01-01 00:00:00Z", "1970-01-01T00:61:00Z", "1970-01-01T00:00:61Z"),
            ),
        )

    def test_priority(self) -> None:
        self.read(values.read_priority, {"0": 0, "9": 9, "-9": -9})
        self.refused(values.read_priority, (None, "", "+1", "10", "-0", "01", "-10", "\u0661"))

    def test_solicitations(self) -> None:
        self.read(
            values.read_solicitations,
            {"net.example:ADV": ("net.example:ADV",), "a,B-c_d": ("a", "B-c_d")},
        )
        self.refused(values.read_solicitations, (None, "", ",", "a,", "1a", "a;b", "a" * 1001))

    def test_valid_since(self) -> None:
        self.read(
            values.read_valid_since,
            {
                "1970-01-01T01:00:00+01:00": ValidSince(0.0),
                "1970-01-01T00:00:00.5Z;C": ValidSince(0.0, True),
                "1969-12-31T23:00:00-01:00;r": ValidSince(0.0),
                "1972-06-30T23:59:60Z": ValidSince(78_796_800.0),
            },
        )
        self.refused(
            values.read_valid_since,
            (
                *(None, "", "C", "1970-01-01T00:00:00Z;", "1970-01-01T00:00:00Z;X"),
                *("1970-01-01T00:00:00", "1970-01-01T00:00:00+24:00", "1970-01-01T00:00:00+00:60"),
            ),
        )
