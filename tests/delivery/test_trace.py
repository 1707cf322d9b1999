"""Claims about trace fields."""

import time
from dataclasses import replace
from email import message_from_bytes, policy
from email.utils import parsedate_to_datetime

from twisted.trial.unittest import SynchronousTestCase

from postroom.delivery.trace import (
    delivered_to_field,
    header_date,
    original_to_fields,
    received_field,
    return_path_field,
)
from postroom.wire.paths import Mailbox
from tests.delivery.support import FACTS, TLS, box

NOW = 1_763_812_987.25


def received(recipient: Mailbox | None = None, **facts: object) -> bytes:
    return received_field(replace(FACTS, **facts), "mx.example", "1kD3vB0007Qwbz", recipient, NOW)  # type: ignore[arg-type]


class Received(SynchronousTestCase):
    def test_says_from_by_with_id_and_date(self) -> None:
        self.assertEqual(
            received(),
            b"Received: from client.example ([192.0.2.1])\r\n"
            b"\tby mx.example with ESMTP id 1kD3vB0007Qwbz;\r\n"
            b"\t" + header_date(int(NOW)).encode() + b"\r\n",
        )

    def test_names_the_recipient_if_there_is_one(self) -> None:
        self.assertIn(b"for <u@here.example>;", received(box("u@here.example")))
        self.assertNotIn(b"for", received())

    def test_names_protocol_and_tls(self) -> None:
        text = received(tls=TLS, identity="joe@here.example")
        self.assertIn(b"with ESMTPSA id", text)
        unfolded = text.replace(b"\r\n\t", b" ")
        self.assertIn(b"(TLSv1.3 TLS_AES_256_GCM_SHA384 256 bits)", unfolded)
        self.assertNotIn(b"joe", text)

    def test_says_that_the_clients_certificate_was_verified_and_not_whose_it_was(self) -> None:
        text = received(tls=replace(TLS, client_verified=True, client_name="ann@here.example"))
        unfolded = text.replace(b"\r\n\t", b" ")
        self.assertIn(b"AES_256_GCM_SHA384 256 bits, client certificate verified)", unfolded)
        self.assertNotIn(b"ann", text)

    def test_ipv6_is_a_tagged_literal_without_zone(self) -> None:
        self.assertIn(b"([IPv6:fe80::1])", received(client="fe80::1%eth0"))

    def test_a_local_socket_has_no_address(self) -> None:
        self.assertIn(b"from client.example (local socket)", received(client="unix"))
        self.assertIn(b"from client.example (unknown)", received(client="unknown"))

    def test_a_literal_is_a_name(self) -> None:
        self.assertIn(
            b"from [IPv6:2001:db8::2] ([192.0.2.1])", received(helo=b"[IPv6:2001:db8::2]")
        )

    def test_a_name_that_is_none_is_dropped(self) -> None:
        hostile = (
            b"",
            b"a b",
            b"x) by evil (",
            b"a\r\nX-Evil: 1",
            b'"quoted"',
            b"caf\xc3\xa9.example",
            b"[192.0.2.1",
            b"[tag:a(b)]",
            b"[999.1.1.1]",
            b"x" * 300,
            b"a;b",
            b"=?utf-8?q?x?=",
        )
        for name in hostile:
            self.assertIn(b"from [192.0.2.1] ([192.0.2.1])\r\n", received(helo=name), repr(name))

    def test_a_tls_word_cannot_break_out(self) -> None:
        text = received(tls=replace(TLS, cipher="x) y\r\nZ: 1"))
        self.assertIn(b"xyZ1 256 bits", text)

    def test_lines_are_short_and_the_field_is_one(self) -> None:
        name = b"a" * 60 + b"." + b"b" * 60 + b"." + b"c" * 60 + b"." + b"d" * 60
        long = Mailbox(b"x" * 64, name)
        for text in (received(long, helo=name, tls=TLS), received(box("u@h.example"), tls=TLS)):
            self.assertTrue(text.endswith(b"\r\n"))
            lines = text[:-2].split(b"\r\n")
            self.assertTrue(all(len(line) <= 998 for line in lines))
            self.assertTrue(all(line[:1] == b"\t" for line in lines[1:]))
            for line in lines:
                if b"a" * 60 not in line:
                    self.assertLessEqual(len(line), 78)
            parsed = message_from_bytes(text + b"\r\n", policy=policy.default)
            self.assertEqual(parsed.keys(), ["Received"])
            self.assertEqual(parsed.defects, [])


class Dates(SynchronousTestCase):
    def setUp(self) -> None:
        import os

        before = os.environ.get("TZ")

        def restore() -> None:
            if before is None:
                os.environ.pop("TZ", None)
            else:
                os.environ["TZ"] = before
            time.tzset()
            header_date.cache_clear()

        self.addCleanup(restore)
        self.environment = os.environ

    def date_in(self, zone: str) -> str:
        self.environment["TZ"] = zone
        time.tzset()
        header_date.cache_clear()
        return header_date(int(NOW))

    def test_have_a_numeric_offset(self) -> None:
        self.assertEqual(self.date_in("UTC0"), "Sat, 22 Nov 2025 12:03:07 +0000")
        self.assertEqual(self.date_in("IST-5:30"), "Sat, 22 Nov 2025 17:33:07 +0530")
        self.assertEqual(self.date_in("NST3:30"), "Sat, 22 Nov 2025 08:33:07 -0330")

    def test_can_be_read_back(self) -> None:
        for zone in ("UTC0", "CET-1", "NST3:30", "LINT-14"):
            self.assertEqual(parsedate_to_datetime(self.date_in(zone)).timestamp(), int(NOW))


class FinalDelivery(SynchronousTestCase):
    def test_return_path_has_the_reverse_path(self) -> None:
        self.assertEqual(
            return_path_field(box('"a b"@c.example')), b'Return-Path: <"a b"@c.example>\r\n'
        )

    def test_return_path_of_the_null_sender_is_empty(self) -> None:
        self.assertEqual(return_path_field(None), b"Return-Path: <>\r\n")

    def test_original_to_names_each_address_as_it_was_written(self) -> None:
        made = original_to_fields([box("Joe+x@Here.example"), Mailbox(b"a..b", b"x.example")])
        expected = b'X-Original-To: Joe+x@Here.example\r\nX-Original-To: "a..b"@x.example\r\n'
        self.assertEqual(made, expected)
        utf8 = original_to_fields([Mailbox("\u00fc".encode(), b"x")])
        self.assertEqual(utf8, "X-Original-To: \u00fc@x\r\n".encode())

    def test_delivered_to_names_the_account(self) -> None:
        self.assertEqual(delivered_to_field("u@here.example"), b"Delivered-To: u@here.example\r\n")
        self.assertEqual(delivered_to_field("\u00fc@x"), "Delivered-To: \u00fc@x\r\n".encode())
