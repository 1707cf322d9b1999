"""Claims about reading messages, however hostile, and finding them."""

import io

from twisted.trial.unittest import SynchronousTestCase

from postroom.maildirs.messages import StoredMessage, opened_mailbox
from postroom.maildirs.reading import (
    LINES,
    OCTETS,
    PARTS,
    Attachment,
    Summary,
    Text,
    read_text,
    summarise,
)
from postroom.maildirs.search import Criteria, find_messages
from tests.maildirs.support import MaildirCase

MIXED = (
    b"From: ann@a.example\r\nSubject: =?utf-8?q?caf=C3=A9?=\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
    b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable"
    b"\r\n\r\nBonjour =E9t=E9\r\n--b\r\n"
    b"Content-Type: text/html\r\n\r\n<style>p { color: red }</style><p>One &amp; two</p>\r\n--b\r\n"
    b'Content-Type: application/pdf; name="x"\r\n'
    b"Content-Disposition: attachment; filename*=utf-8''r%C3%A9sum%C3%A9.pdf\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--\r\n"
)


def text_of(octets: bytes) -> Text:
    return read_text(io.BytesIO(octets))


def summary_of(octets: bytes) -> Summary:
    return summarise(io.BytesIO(octets))


class Summaries(SynchronousTestCase):
    def test_a_message_is_summed_up_from_its_header(self) -> None:
        found = summary_of(
            b"From: =?utf-8?q?Zo=C3=AB?= <zoe@b.example>\r\nTo: ann@a.example\r\n"
            b"Subject: =?iso-8859-1?q?caf=E9?=\r\n =?utf-8?b?IG5vaXI=?=\r\n"
            b"Date: Fri, 02 Jan 2026 03:04:05 +0100\r\n\r\nSubject: not this\r\n"
        )
        self.assertEqual(found.sender, "Zoë <zoe@b.example>")
        self.assertEqual((found.recipients, found.subject), ("ann@a.example", "café noir"))
        self.assertEqual(found.date.isoformat() if found.date else "", "2026-01-02T03:04:05+01:00")

    def test_hostile_headers_are_read_somehow(self) -> None:
        for octets in (
            b"",
            b"\r\n",
            b"Subject: =?nonsense?q?x?=\n\n",
            b"Subject: =?utf-8?b?!!!!?=\n\n",
            b"Subject: \xff\xfe raw\nDate: Mon, 99 Foo 99999 99:99:99 +9999\n\n",
            b"Subject\nFrom\n: x\n\n",
            b"Date: Fri, 02 Jan 0000 03:04:05 +0100\n\n",
            b"X: " + b"y" * 1_000_000,
            b"Subject: " + b"=?a?q?" * 100_000 + b"\n\n",
            b"X: y\n" * 200_000,
        ):
            self.assertIsInstance(summary_of(octets), Summary)
            self.assertIsInstance(text_of(octets), Text)


class Texts(SynchronousTestCase):
    def test_text_parts_are_decoded_and_the_others_listed(self) -> None:
        text = text_of(MIXED)
        self.assertIn(("Subject", "café"), text.fields)
        self.assertEqual(text.body.split(), ["Bonjour", "été", "One", "&", "two"])
        self.assertEqual(text.attachments, (Attachment("résumé.pdf", "application/pdf", 3),))
        self.assertTrue(text.is_whole)

    def test_text_is_shown_unless_it_is_an_attachment(self) -> None:
        def part(head: str, text: str) -> str:
            return f"--b\n{head}\n\n{text}\n"

        octets = "Content-Type: multipart/mixed; boundary=b\n\n" + "".join(
            (
                part('Content-Type: text/plain; name="a.txt"', "one"),
                part('Content-Disposition: inline; filename="b.txt"', "two"),
                part(
                    "Content-Type: text/x-patch\nContent-Disposition: INLINE;\n filename=c", "three"
                ),
                part("Content-Disposition: attachment", "four"),
                part("Content-Disposition: attachment;\n filename*0=d.t;\n filename*1=xt", "five"),
                part("Content-Disposition: inline; filename=e\nContent-Type: image/png", "six"),
            )
        )
        for each in (octets + "--b--\n", octets.replace("\n", "\r\n") + "--b--\r\n"):
            text = text_of(each.encode())
            self.assertEqual(text.body.split(), ["one", "two", "three"])
            self.assertEqual(
                [(each.name, each.content_type) for each in text.attachments],
                [("", "text/plain"), ("d.txt", "text/plain"), ("e", "image/png")],
            )
            self.assertEqual(text.names, ("a.txt", "b.txt", "c", "d.txt", "e"))

    def test_a_boundary_may_be_folded(self) -> None:
        for parameter, boundary in (
            ('\n boundary="x y"', "x y"),
            ('\n\tboundary\n =\n "x y"', "x y"),
            ('boundary="x\n y"', "x y"),
            ('boundary="x\n\ty"', "x y"),
            ('boundary="x\n\ty"', "x\ty"),
            ('boundary="x\n y"', "xy"),
            ('boundary="\n xy"', "xy"),
            ('boundary*0="x ";\n boundary*1="y"', "x y"),
            ("boundary*0*=us-ascii''x%20;\n boundary*1=y", "x y"),
        ):
            octets = (
                f"Content-Type: multipart/mixed; {parameter}\n\n--{boundary}\n\none\n"
                f"--{boundary}\nContent-Type: image/png\n\ntwo\n--{boundary}--\n"
            )
            for each in (octets, octets.replace("\n", "\r\n")):
                text = text_of(each.encode())
                self.assertEqual((text.body.strip(), len(text.attachments)), ("one", 1), octets)

    def test_a_boundary_that_is_nowhere_is_none(self) -> None:
        text = text_of(b'Content-Type: multipart/mixed; boundary="x\n y"\n\none\n')
        self.assertEqual(len(text.attachments), 1)

    def test_charsets_that_are_none_do_no_harm(self) -> None:
        for name in (
            b"x-unknown",
            b"idna",
            b"punycode",
            b"zlib",
            b"hex",
            b"undefined",
            b"\xff",
            b"",
        ):
            octets = b'Content-Type: text/plain; charset="' + name + b'"\n\ncaf\xc3\xa9\n'
            self.assertEqual(text_of(octets).body, "café\n", name)

    def test_what_is_too_much_is_cut_and_said(self) -> None:
        head = b"Content-Type: text/plain\n\n"
        self.assertFalse(text_of(head + b"x" * OCTETS).is_whole)
        self.assertFalse(text_of(head + b"x\n" * LINES).is_whole)
        self.assertTrue(text_of(head + b"x\n" * (LINES - 2)).is_whole)


class HostileStructure(SynchronousTestCase):
    """Nothing is timed here: each of these takes minutes, or all of the stack, without limits."""

    def test_ten_thousand_nested_multiparts(self) -> None:
        octets = b"".join(
            b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n)
            for n in range(10_000)
        )
        self.assertFalse(text_of(octets).is_whole)

    def test_nested_messages(self) -> None:
        self.assertFalse(text_of(b"Content-Type: message/rfc822\n\n" * 10_000).is_whole)

    def test_a_million_parts(self) -> None:
        text = text_of(b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 1_000_000)
        self.assertFalse(text.is_whole)
        self.assertLess(text.body.count("x"), PARTS)

    def test_as_many_levels_as_parts_with_many_lines_below(self) -> None:
        octets = b"".join(
            b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n)
            for n in range(PARTS - 2)
        )
        self.assertTrue(text_of(octets + b"\nx\n").is_whole)
        text_of(octets + b"\n" + b"--x\n" * LINES)

    def test_parameters_without_end(self) -> None:
        for junk in (b'"' + b";" * 500_000, b";a*0=b" * 100_000, b"\\" * 500_000, b"(" * 500_000):
            self.assertTrue(
                text_of(b"Content-Type: text/plain; charset=" + junk + b"\n\nx\n").is_whole
            )
            self.assertTrue(
                text_of(b"Content-Disposition: attachment; filename=" + junk + b"\n\nx\n").is_whole
            )

    def test_brackets_without_end(self) -> None:
        for junk in (b"<" * 3_000_000, b"<style>" * 400_000, b"&#" * 1_000_000, b"<!--" * 700_000):
            self.assertTrue(text_of(b"Content-Type: text/html\n\n" + junk).is_whole)


class Searching(MaildirCase):
    def setUp(self) -> None:
        super().setUp()
        self.put("cur/1.a:2,S", MIXED, 1000)
        self.put("cur/2.b:2,FS", b"From: Bob <bob@b.example>\nX-List: a  b\n\nHello\nworld\n", 2000)
        head = b"From: BOB <x@x.example>\nSubject: Hello\nContent-Disposition: inline; filename="
        self.put("new/3.c", head + b"notes.txt\n\n", 3000)

    def found(self, **criteria: object) -> list[str]:
        self.left_out: list[StoredMessage] = []
        with opened_mailbox(self.path, "INBOX") as inbox:
            made = Criteria(**criteria)  # type: ignore[arg-type]
            return [
                each.base
                for each in find_messages(inbox, made, lambda e, why: self.left_out.append(e))
            ]

    def test_by_field_by_text_by_flag_and_by_time(self) -> None:
        for criteria, expected in (
            ({}, ["1.a", "2.b", "3.c"]),
            ({"fields": [("from", "bob")]}, ["2.b", "3.c"]),
            ({"fields": [("from", "bob"), ("Subject", "hello")]}, ["3.c"]),
            ({"fields": [("subject", "CAFÉ")]}, ["1.a"]),
            ({"fields": [("X-List", "A B")]}, ["2.b"]),
            ({"fields": [("X-List", "")]}, ["2.b"]),
            ({"texts": ["hello world"]}, ["2.b"]),
            ({"texts": ["été", "two"]}, ["1.a"]),
            ({"texts": ["été", "nowhere"]}, []),
            ({"texts": ["résumé"]}, ["1.a"]),
            ({"texts": ["notes.txt"]}, ["3.c"]),
            ({"with_flags": "S"}, ["1.a", "2.b"]),
            ({"with_flags": "S", "without_flags": "F"}, ["1.a"]),
            ({"since": 2000.0}, ["2.b", "3.c"]),
            ({"since": 1500.0, "before": 3000.0}, ["2.b"]),
        ):
            self.assertEqual(self.found(**criteria), expected, criteria)

    def test_what_cannot_be_read_is_told_and_the_rest_found(self) -> None:
        (self.path / "cur" / "0.d:2,").mkdir()
        self.assertEqual(self.found(texts=["hello"]), ["2.b"])
        self.assertEqual([entry.base for entry in self.left_out], ["0.d"])
