"""Where fields begin, and how those of a name are found."""

from twisted.trial.unittest import TestCase

from postroom.wire.fields import FIELD_BEGUN, FIELD_LINES, field_pattern


class FieldTests(TestCase):
    """RFC 5322 s2.2, s3.6.8, s4.5.8."""

    def test_a_field_begins_with_a_name_and_a_colon(self) -> None:
        for begun in (b"A:", b"!~:", b"Old :x", b"Old \t:"):
            self.assertIsNotNone(FIELD_BEGUN.match(begun), begun)
        for other in (b"", b":", b" A:", b"A B:", b"A", b"\xe9:", b"A\r\n:"):
            self.assertIsNone(FIELD_BEGUN.match(other), other)

    def test_whole_lines_of_fields_are_matched_to_the_first_that_is_none(self) -> None:
        section = b"A: b\r\n c\r\nD:\r\n"
        no_field = b"x y: z\r\nE: f\r\n"  # its blank confuses re before 3.11.5
        for rest in (b"", b"\r\nbody", no_field, b"E: without end"):
            found = FIELD_LINES.match(section + rest)
            assert found is not None
            self.assertEqual(found[0], section)

    def test_fields_are_found_by_name_with_their_folded_lines(self) -> None:
        pattern = field_pattern("from", "sender")
        section = b"From: a\r\nX-From: b\r\nSENDER :\r\n c\r\n\td\r\nTo: From: e\r\n From: f\r\n"
        self.assertEqual(
            pattern.findall(section), [(b"From", b" a\r"), (b"SENDER", b"\r\n c\r\n\td\r")]
        )
        spans = [section[slice(*found.span())] for found in pattern.finditer(section)]
        self.assertEqual(spans, [b"From: a\r\n", b"SENDER :\r\n c\r\n\td\r\n"])

    def test_the_last_line_needs_no_end(self) -> None:
        self.assertEqual(field_pattern("a.b").findall(b"axb: 1\na.b: 2"), [(b"a.b", b" 2")])
