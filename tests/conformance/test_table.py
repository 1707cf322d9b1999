"""The page of results is what the results are."""

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from tests.architecture.sources import ROOT
from tests.conformance.table import page, rows


class TableTests(SynchronousTestCase):
    """Tests for ``docs/conformance.rst``."""

    maxDiff = None

    def test_the_page_is_up_to_date(self) -> None:
        self.assertEqual(
            (ROOT / "docs" / "conformance.rst").read_text("utf-8"),
            page(),
            "run: python -m tests.conformance.table > docs/conformance.rst",
        )

    def test_every_must_is_kept_or_deviated_from_with_a_reason(self) -> None:
        count = Counter(row.ours for row in rows() if row.requirement.level == "MUST")
        self.assertGreater(count.pop("kept"), 200)
        self.assertEqual(count.pop("broken", 0), 0)
        for row in rows():
            if row.ours == "deviates":
                self.assertGreater(len(row.requirement.dialogue.notes["deviation"]), 20)
