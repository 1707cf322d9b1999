"""Claims about the fields that submission adds."""

from twisted.trial.unittest import SynchronousTestCase

from postroom.delivery.completion import Completion
from postroom.delivery.settings import SubmissionSettings
from postroom.delivery.trace import header_date

NOW = 1_763_812_987.25
DATE = b"Date: " + header_date(int(NOW)).encode() + b"\r\n"
MESSAGE_ID = b"Message-ID: <20251122120307.Q1@mx.example>\r\n"


def missing(section: bytes, **changes: bool) -> bytes:
    completion = Completion.by(SubmissionSettings(**changes), "mx.example")
    return completion.missing_fields(section, "Q1", NOW)


class MissingFields(SynchronousTestCase):
    def test_are_added(self) -> None:
        self.assertEqual(missing(b"From: x\r\n"), DATE + MESSAGE_ID)
        self.assertEqual(missing(b""), DATE + MESSAGE_ID)

    def test_what_is_there_is_not_added_however_it_is_written(self) -> None:
        for name in (b"Date", b"DATE", b"date "):
            self.assertEqual(missing(b"A: b\r\n" + name + b":\r\n x\r\n"), MESSAGE_ID)
        for name in (b"Message-ID", b"Message-Id", b"MESSAGE-ID\t"):
            self.assertEqual(missing(name + b": <x@y>"), DATE)
        self.assertEqual(missing(b"Date: x\r\nMessage-Id: <x@y>\r\n"), b"")

    def test_what_only_sounds_like_one_is_none(self) -> None:
        section = b"X-Date: a\r\nResent-Date: b\r\nX: y\r\n Date: c\r\nResent-Message-ID: <d@e>\r\n"
        self.assertEqual(missing(section), DATE + MESSAGE_ID)

    def test_each_may_be_switched_off(self) -> None:
        self.assertEqual(missing(b"", add_date=False), MESSAGE_ID)
        self.assertEqual(missing(b"", add_message_id=False), DATE)
        self.assertEqual(missing(b"", add_date=False, add_message_id=False), b"")


class Signatures(SynchronousTestCase):
    def test_a_missing_field_that_one_covers_is_not_added(self) -> None:
        for value, added in (
            (b"v=1; h=From:Date:Message-ID; b=x", b""),
            (b"v=1; h=from:date; b=x", MESSAGE_ID),
            (b"v=1;\r\n\th = From : \r\n MESSAGE-id ; b=x", DATE),
            (b"v=1; h=From:From:\r\n Mess\r\n age-ID", DATE),
            (b"v=1; h=From; z=Date:x; bh=Date; d=date.example", DATE + MESSAGE_ID),
            (b"nonsense", DATE + MESSAGE_ID),
        ):
            for name in (b"DKIM-Signature", b"dkim-signature ", b"ARC-Message-Signature"):
                section = b"From: x\r\n" + name + b": " + value + b"\r\nTo: y\r\n"
                self.assertEqual(missing(section), added, section)

    def test_any_of_several_counts(self) -> None:
        section = b"DKIM-Signature: h=from\r\nDKIM-Signature: h=date\r\n"
        self.assertEqual(missing(section), MESSAGE_ID)

    def test_other_fields_sign_nothing(self) -> None:
        self.assertEqual(missing(b"X-DKIM-Signature: h=date\r\n"), DATE + MESSAGE_ID)
