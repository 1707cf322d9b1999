"""Claims about the lines that begin the messages of an mbox."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom.maildirs.from_lines import (
    LINE_OCTETS,
    FromLine,
    FromLineKind,
    is_field,
    parse_from_line,
)

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
HOUR = 3600


def parsed(text: str) -> FromLine:
    return parse_from_line(f"From {text}\n".encode())


class Dates(SynchronousTestCase):
    def assert_date(self, text: str, expected: float | None) -> None:
        self.assertEqual(parsed(text), FromLine(FromLineKind.DATED, expected), text)

    def test_senders_of_all_kinds_may_stand_before_it(self) -> None:
        for sender in (
            "joe@b.example",
            "joe@b.example ",
            "MAILER-DAEMON",
            "-",
            "()",
            "???@???",
            "host!joe",
            '"joe user"@b.example',
            "Joe User <joe@b.example>",
            "joe at b.example",
            "joe@b.example\t",
        ):
            self.assert_date(f"{sender} Thu Jan  1 00:00:00 2026", NEW_YEAR)
        self.assert_date("Thu Jan  1 00:00:00 2026", NEW_YEAR)

    def test_its_parts_stand_in_many_orders(self) -> None:
        for text, expected in (
            ("Thu Jan  1 00:00:00 2026", NEW_YEAR),
            ("Thu Jan 01 00:00:00 2026", NEW_YEAR),
            ("Thu\tJan\t1\t00:00:00\t2026", NEW_YEAR),
            ("Thu Jan  1 00:00 2026", NEW_YEAR),
            ("Thu Jan  1 0:0:0 2026", NEW_YEAR),
            ("Thu, Jan 1, 2026 00:00:00", NEW_YEAR),
            ("Jan 1 00:00:00 2026", NEW_YEAR),
            ("Thu Jan 1 2026 01:30:00 PM", NEW_YEAR + 13.5 * HOUR),
            ("Thu Jan 1 2026 12:30:00 a.m.", NEW_YEAR + HOUR / 2),
            ("Thu, 01 Jan 2026 00:00:00", NEW_YEAR),
            ("Thu 1 Jan 2026 00:00:00", NEW_YEAR),
            ("Thu, 01 Jan 26 00:00:00", NEW_YEAR),
            ("Thu Jan  1 00:00:00 26", NEW_YEAR),
            ("2026-01-01 00:00:00", NEW_YEAR),
            ("2026-01-01T00:00:00Z", NEW_YEAR),
            ("2026-01-01T00:00:00.123Z", NEW_YEAR),
            ("20260101T000000Z", NEW_YEAR),
            ("2026/01/01 00:00", NEW_YEAR),
            ("1.1.2026 00:00:00", NEW_YEAR),
        ):
            self.assert_date(f"joe@b.example {text}", expected)

    def test_zones_stand_anywhere_after_the_time(self) -> None:
        for text, hours in (
            ("Thu Jan  1 00:00:00 2026 +0200", 2),
            ("Thu Jan  1 00:00:00 +0200 2026", 2),
            ("Thu Jan  1 00:00:00 -0330 2026", -3.5),
            ("Thu Jan  1 00:00:00 2026 +02:00", 2),
            ("Thu Jan  1 00:00:00 CET 2026", 1),
            ("Thu Jan  1 00:00:00 2026 PST", -8),
            ("Thu Jan  1 00:00:00 XYZ 2026 +0100", 1),
            ("Thu Jan  1 00:00:00 2026 +0100 (CET)", 1),
            ("Thu Jan  1 2026 00:00:00 GMT+0100 (Central European Standard Time)", 1),
            ("Thu, 01 Jan 2026 00:00:00 GMT", 0),
            ("2026-01-01 00:00:00 +0100", 1),
            ("2026-01-01T00:00:00+01:00", 1),
        ):
            self.assert_date(f"joe@b.example {text}", NEW_YEAR - hours * HOUR)

    def test_words_are_of_any_language(self) -> None:
        for text, month, day in (
            ("Do Jan  1 00:00:00 2026", 1, 1),
            ("Mi Mär  4 00:00:00 2026", 3, 4),
            ("Mi, 4. März 2026 00:00:00 +0000", 3, 4),
            ("Di Dez  1 00:00:00 2026", 12, 1),
            ("jeu. 1 janv. 2026 00:00:00", 1, 1),
            ("jeu. janv.  1 00:00:00 2026", 1, 1),
            ("mar. févr.  3 00:00:00 2026", 2, 3),
            ("sam. août  1 00:00:00 UTC 2026", 8, 1),
            ("mié jul  1 00:00:00 2026", 7, 1),
            ("jueves, 1 de enero de 2026 00:00:00", 1, 1),
            ("gio 1 ott 2026, 00:00:00", 10, 1),
            ("qui 01 out 2026 00:00:00", 10, 1),
            ("do 01 okt 2026 00:00:00", 10, 1),
            ("czw, 1 paź 2026, 00:00:00", 10, 1),
            ("to  1. tammikuuta 2026 00.00.00", 1, 1),
            ("Чт мая  7 00:00:00 2026", 5, 7),
            ("2026. jan.  1., csütörtök, 00:00:00 UTC", 1, 1),
            ("木  1月  1 00:00:00 2026", 1, 1),
            ("2026年01月01日 00時00分00秒", 1, 1),
            ("2026년 01월 01일 00시 00분 00초", 1, 1),
        ):
            expected = datetime(2026, month, day, tzinfo=UTC).timestamp()
            self.assert_date(f"joe@b.example {text}", expected)
        line = "From joe sam. août  1 00:00:00 2026\n".encode("latin-1")
        self.assertEqual(parse_from_line(line).kind, FromLineKind.DATED)

    def test_uucp_says_where_it_is_from(self) -> None:
        self.assert_date("joe Thu Jan  1 00:00:00 2026 remote from host", NEW_YEAR)
        self.assert_date("joe Thu Jan  1 00:00:00 2026 remote from b remote from a", NEW_YEAR)

    def test_some_dates_are_dates_whose_time_nobody_knows(self) -> None:
        for text in (
            "Thu Jan 99 00:00:00 2026",
            "Mon Jan 00 00:00:00 0000",
            "Mon Jan 1 00:00:00 1965",
            "Thu Jan 1 00:00:00 1970 +0100",
            "joe@b.example Foo 1 Bar 2026 00:00:00",
            "01/02/2026 00:00:00",
        ):
            self.assert_date(f"joe@b.example {text}", None)


class Kinds(SynchronousTestCase):
    def test_prose_is_prose(self) -> None:
        for text in (
            "the beginning: it was light",
            "here",
            "now on, at 10:00, we meet",
            "1999 to 2001 we had 10:30 as our time",
            "the log of Thu Jan  1 00:00:00 2026:",
            "user  Fri Jan  x 10:14 1970 +0000",
            "user  Fri Jan  2 10: 1970",
            "joe@b.example and ann@b.example",
            "Russia with love",
        ):
            self.assertEqual(parsed(text).kind, FromLineKind.PROSE, text)
        self.assertEqual(parsed("x" * LINE_OCTETS + " 2026-01-01 00:00").kind, FromLineKind.PROSE)

    def test_a_dash_an_address_and_a_field_are_known(self) -> None:
        for text, kind in (
            ("", FromLineKind.BARE),
            ("-", FromLineKind.BARE),
            ("- ", FromLineKind.BARE),
            ("- yesterday", FromLineKind.ADDRESS),
            ("joe@b.example", FromLineKind.ADDRESS),
            ("MAILER-DAEMON", FromLineKind.ADDRESS),
            ("what we saw on Thu Jan  1 00:00:00 2026", FromLineKind.ADDRESS),
            (": joe@b.example", FromLineKind.FIELD),
            ("  :joe@b.example", FromLineKind.FIELD),
        ):
            self.assertEqual(parsed(text).kind, kind, text)

    def test_where_each_begins_a_message(self) -> None:
        for kind, expected in (
            (FromLineKind.DATED, (True, True, True, False)),
            (FromLineKind.BARE, (True, True, False, False)),
            (FromLineKind.ADDRESS, (True, False, False, False)),
            (FromLineKind.FIELD, (False,) * 4),
            (FromLineKind.PROSE, (False,) * 4),
        ):
            line = FromLine(kind)
            found = (
                line.begins(after_empty=True, before_field=True),
                line.begins(after_empty=False, before_field=True),
                line.begins(after_empty=True, before_field=False),
                line.begins(after_empty=False, before_field=False),
            )
            self.assertEqual(found, expected, kind)

    def test_what_a_field_is(self) -> None:
        for line in (b"Subject: x", b"X-A_b.9:", b"Subject : x", b">From joe Thu Jan 1"):
            self.assertTrue(is_field(line), line)
        for line in (
            b"",
            b"\n",
            b" Subject: x",
            b"http://b.example",
            b"10:30",
            b"a b: c",
            b"From x",
        ):
            self.assertFalse(is_field(line), line)

    @given(st.text(st.sampled_from("0123456789 :.-/,+TZJan日()@\t"), max_size=60))
    def test_nothing_upsets_it(self, text: str) -> None:
        self.assertIsInstance(parsed(text), FromLine)
