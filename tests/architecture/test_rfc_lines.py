"""The lines that name RFCs have one form, so that the index can be made."""

from twisted.trial.unittest import SynchronousTestCase

from tests.architecture import rfc_index
from tests.architecture.sources import modules


class RFCLineTests(SynchronousTestCase):
    """Tests for the last paragraph of docstrings."""

    def test_every_line_is_well_formed(self) -> None:
        self.assertEqual([line for module in modules() for line in rfc_index.malformed(module)], [])

    def test_the_index_leads_from_a_section_to_its_code(self) -> None:
        found = {
            (entry.rfc, entry.section)
            for module in modules()
            for entry in rfc_index.entries(module)
            if entry.name == "postroom.wire.paths.parse_path"
        }
        self.assertIn((5321, ((4, "4"), (1, "1"), (2, "2"))), found)

    def test_the_form(self) -> None:
        for right in ("RFC 5321 s4.1.2", "RFC 5321 s4.1.2, s3.3, sC; RFC 1870 s6", "RFC 3848"):
            self.assertIsNotNone(rfc_index.WELL_FORMED.fullmatch(right), right)
        for wrong in ("RFC5321 s4", "RFC 5321 section 4", "RFC 5321 s4.1.2.", "RFC 5321, s4"):
            self.assertIsNone(rfc_index.WELL_FORMED.fullmatch(wrong), wrong)

    def test_a_malformed_line_is_not_taken_for_prose(self) -> None:
        self.assertEqual(rfc_index.source_line("Read.\n\nRFC5321 s4"), "RFC5321 s4")
        self.assertIsNone(rfc_index.source_line("Read.\n\nAs in RFC 5321."))
