"""What is written of declared settings."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from postroom.settings.declarations import declarations, tables
from postroom.settings.reading import read_settings
from postroom.settings.writing import rst_text, toml_text
from tests.settings.shop import Town

KEYS = [
    *("name", "streets", "signs", "plan"),
    *("shop.width", "shop.key", "shop.door_plan", "shop.fruits", "shop.best", "shop.posters"),
    "shop.homes",
    *(f"shop.till.{name}" for name in ("limit_cents", "wait_seconds", "opened", "pairs", "letter")),
]


class DeclarationTests(SynchronousTestCase):
    """The list of all settings."""

    def test_each_stands_in_its_table(self) -> None:
        self.assertEqual([item.key for item in declarations(Town)], KEYS)
        self.assertEqual(tables(Town), {"shop": "The shop.", "shop.till": "What is paid."})

    def test_each_finds_its_value(self) -> None:
        for item in declarations(Town):
            self.assertEqual(item.value(Town()), item.default, item.key)


class TextTests(SynchronousTestCase):
    """The commented file and the page."""

    maxDiff = None

    def test_a_file(self) -> None:
        text = toml_text(Town, "# A town.\n")
        for part in (
            "# A town.\n\n# What it is called.\n"
            '# Allowed: a domain name such as "example.org".\n#name = "town.example"\n',
            '#plan = "/plan"\n\n[shop]\n# The shop.\n\n# In metres.\n'
            "# Allowed: a whole number from 1 to 9.\n#width = 1\n",
            '# Its plan.\n# Allowed: a path. Default: none.\n#door_plan = "/plan"\n',
            '#best = "pear"\n',
            '#fruits = ["apple", "pear"]\n',
            "# Whether it is open.\n# Allowed: true or false. Default: by day.\n#opened = false\n",
            "# Allowed: tables of picture and text. Default: none.\n#posters = []\n",
            "\n[shop.till]\n# What is paid.\n\n",
            "\n[signs]\n# What they say.\n# Allowed: a table of a domain name",
            "# RFC 1 s2\n",
        ):
            self.assertIn(part, text)

    def test_a_file_changes_nothing(self) -> None:
        path = Path(self.mktemp())
        path.write_text(toml_text(Town, ""))
        self.assertEqual(read_settings(Town, path, {}, {}), Town())

    def test_a_page(self) -> None:
        text = rst_text(Town, "Town\n")
        self.assertTrue(text.startswith("Town\n\n``name``\n--------\n\nWhat it is called.\n\n"))
        self.assertIn(
            "\n``shop.till.limit_cents``\n-------------------------\n\nThe most that is taken.\n\n"
            "| Allowed: a whole number from 1 to 1000\n| Default: ``500``\n| Option: ``--limit``\n",
            text,
        )
        self.assertIn("| Default: by day\n", text)
        self.assertIn("| Default: ``/plan``\n| Source: RFC 1 s2\n", text.replace('"', ""))
