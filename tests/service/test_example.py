"""The example file and the reference page are what the declarations say."""

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from postroom.service.example import rst_text, toml_text
from postroom.service.settings import Settings, load_settings
from postroom.settings.declarations import declarations
from tests.architecture.sources import ROOT


class ExampleTests(SynchronousTestCase):
    """Tests for ``etc/postroom.toml`` and ``docs/settings.rst``."""

    maxDiff = None

    def test_the_example_file_is_up_to_date(self) -> None:
        self.assertEqual(
            (ROOT / "etc" / "postroom.toml").read_text("utf-8"),
            toml_text(),
            "run: python -m postroom.service.example > etc/postroom.toml",
        )

    def test_the_reference_page_is_up_to_date(self) -> None:
        self.assertEqual(
            (ROOT / "docs" / "settings.rst").read_text("utf-8"),
            rst_text(),
            "run: python -m postroom.service.example --rst > docs/settings.rst",
        )

    def test_every_setting_is_documented(self) -> None:
        text = toml_text()
        for item in declarations(Settings):
            self.assertIn(item.setting["paragraph"].split()[0], text)
            name = item.key.rpartition(".")[2]
            self.assertTrue(f"\n#{name} = " in text or f"\n[{item.key}]" in text, item.key)

    def test_as_it_stands_it_changes_nothing(self) -> None:
        path = Path(self.mktemp())
        path.write_text(toml_text(), "utf-8")
        self.assertEqual(load_settings(path, {}), load_settings(None, {}))

    def test_it_can_be_used_with_every_comment_sign_taken_off(self) -> None:
        path = Path(self.mktemp())
        path.write_text(re.sub(r"(?m)^#(?=\S)", "", toml_text()), "utf-8")
        settings = load_settings(path, {})
        self.assertEqual(settings.hostname, "mx.example.org")
        self.assertEqual(settings.limits, load_settings(None, {}).limits)
        self.assertEqual(settings.routes["example.com"].host, "192.0.2.25")
