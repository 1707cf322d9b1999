"""What a file and a command line make of declared settings, and what wrong ones are told."""

from ipaddress import ip_network
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from postroom.errors import UserError
from postroom.settings.reading import read_settings
from tests.settings.shop import Fruit, Poster, Till, Town


class ReadingCase(SynchronousTestCase):
    """Reads the settings of a town."""

    def read(self, text: str, overrides: dict[str, Any] | None = None) -> Town:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = (folder / "town.toml").absolute()
        self.path.write_text(text)
        replaced = {"shop.window": "shop.posters"}
        return read_settings(Town, self.path, overrides or {}, replaced)

    def errors(self, text: str, overrides: dict[str, Any] | None = None) -> list[str]:
        """Return the lines of the error, without the file's name."""
        error = self.assertRaises(UserError, self.read, text, overrides)
        return [line.removeprefix(f"{self.path}: ") for line in str(error).splitlines()]


class ValueTests(ReadingCase):
    """Values that are right."""

    def test_an_empty_file_changes_nothing(self) -> None:
        self.assertEqual(self.read(""), Town())
        self.assertEqual(read_settings(Town, None, {}, {}), Town())
        self.assertEqual(Town().shop.till, Till("nobody"))

    def test_values_reach_their_fields(self) -> None:
        town = self.read(
            """
            name = "B.Example."
            streets = ["10.0.0.0/8", "::1"]
            [shop]
            width = 3
            key = "steel"
            door_plan = "/p"
            homes = ["2001:DB8::0"]
            best = "apple"
            fruits = ["pear", "pear"]
            [shop.till]
            limit_cents = 7
            wait_seconds = 2
            opened = true
            pairs = 4
            [signs]
            "C.example" = ["a", "b"]
            """
        )
        self.assertEqual(town.name, "b.example")
        self.assertEqual(town.streets, (ip_network("10.0.0.0/8"), ip_network("::1")))
        self.assertEqual(town.homes, ("2001:db8::",))
        self.assertEqual(town.signs, {"c.example": ("a", "b")})
        self.assertEqual((town.shop.door.width, town.shop.door.key), (3, "steel"))
        self.assertEqual(town.shop.door.key_file, Path("/p"))
        self.assertEqual((town.shop.best, town.shop.fruits), (Fruit.APPLE, {Fruit.PEAR}))
        self.assertEqual(town.shop.till, Till("nobody", 7, 2, True, 4))

    def test_paths_start_from_the_files_folder(self) -> None:
        town = self.read('plan = "a"\n[shop]\ndoor_plan = "b/c"\n[[shop.posters]]\npicture = "d"\n')
        folder = self.path.parent
        self.assertEqual((town.plan, town.shop.door.key_file), (folder / "a", folder / "b/c"))
        self.assertEqual(town.shop.posters, (Poster(folder / "d"),))

    def test_the_command_line_wins_and_its_paths_start_from_where_we_are(self) -> None:
        text = 'plan = "a"\n[shop.till]\nlimit_cents = 1\npairs = 4\n'
        town = self.read(text, {"plan": "b", "shop.till.limit_cents": 2, "shop.homes": ["::1"]})
        self.assertEqual(town.plan, Path("b").absolute())
        self.assertEqual((town.shop.till.limit_cents, town.shop.till.pairs), (2, 4))
        self.assertEqual(town.homes, ("::1",))

    def test_no_two_share_a_mapping(self) -> None:
        self.assertIsNot(Town().signs, Town().signs)


class ErrorTests(ReadingCase):
    """Values that are wrong, and the line that tells so."""

    def test_ranges_hold_for_types_of_every_kind(self) -> None:
        for text, line in {
            "limit_cents = 0": "limit_cents = 0; allowed: a whole number from 1 to 1000",
            "limit_cents = 1001": "limit_cents = 1001; allowed: a whole number from 1 to 1000",
            "wait_seconds = 0": "wait_seconds = 0; allowed: a number above 0 to 60",
            "wait_seconds = nan": "wait_seconds = nan; allowed: a number above 0 to 60",
            "wait_seconds = true": "wait_seconds = true; allowed: a number above 0 to 60",
            "pairs = 3": "pairs = 3 (odd); allowed: an even number to 10",
            "pairs = 12": "pairs = 12; allowed: an even number to 10",
            "pairs = true": "pairs = true; allowed: an even number to 10",
            "letter = 'ab'": 'letter = "ab"; allowed: a letter',
            "letter = 3": "letter = 3; allowed: a letter",
        }.items():
            self.assertEqual(self.errors(f"[shop.till]\n{text}\n"), [f"shop.till.{line}"])

    def test_lists_name_the_item(self) -> None:
        allowed = '; allowed: an IP address such as "192.0.2.1"'
        for text, place in {
            '"::1"': f'homes = "::1" (not a list){allowed}',
            "3": f"homes = 3 (not a list){allowed}",
            '["::1", 3]': f"homes[1] = 3{allowed}",
            "[[]]": f"homes[0] = []{allowed}",
        }.items():
            (line,) = self.errors(f"[shop]\nhomes = {text}\n")
            self.assertEqual(line.replace("a list, each item ", ""), f"shop.{place}")

    def test_one_of_a_few_words_is_guessed(self) -> None:
        fruits, metals = 'allowed: one of "apple", "pear"', 'allowed: one of "brass", "steel"'
        for text, line in {
            'best = "peer"': f'best = "peer" (did you mean "pear"?); {fruits}',
            'fruits = ["aple"]': f'fruits[0] = "aple" (did you mean "apple"?); {fruits}',
            'fruits = [["pear"]]': f'fruits[0] = ["pear"]; {fruits}',
            'key = "bras"': f'key = "bras" (did you mean "brass"?); {metals}',
            'key = "iron"': f'key = "iron"; {metals}',
        }.items():
            self.assertEqual(self.errors(f"[shop]\n{text}\n"), [f"shop.{line}"])

    def test_a_list_of_tables_is_checked_within(self) -> None:
        allowed = "; allowed: tables of picture and text"
        for text, place in {
            "": "[0].picture is missing",
            "picture = 3": "[0].picture = 3",
            'picture = "a"\nframe = 3': "[0].frame = 3",
        }.items():
            (line,) = self.errors(f"[[shop.posters]]\n{text}\n")
            self.assertEqual(line, f"shop.posters{place}{allowed}")

    def test_what_is_no_setting_cannot_be_set(self) -> None:
        for text, line in {
            "[shop]\nowner = 1": "unknown key owner in [shop]; did you mean shop.posters?",
            "[shop]\nkey_file = '/'": "unknown key key_file in [shop]; did you mean shop.key?",
            "[shop.door]\nwidth = 1": "unknown key door in [shop]; did you mean shop.door_plan?",
            "widt = 1": "unknown key widt; did you mean shop.width?",
            "[shop.til]\npairs = 2": "unknown key til in [shop]; did you mean shop.till?",
            "shop = 3": "shop is not a table; write its settings below [shop]",
            "[shop]\nwindow = 1": "shop.window is no longer a setting; use shop.posters",
        }.items():
            (found,) = self.errors(text)
            self.assertEqual(found, line)

    def test_an_option_is_named(self) -> None:
        (line,) = self.errors("", {"shop.till.limit_cents": 0})
        self.assertTrue(line.startswith("--limit = 0; "), line)
        (line,) = self.errors("", {"shop.homes": ["x"]})
        self.assertTrue(line.startswith('--home[0] = "x" ('), line)
        (line,) = self.errors("shop = 3", {"shop.till.limit_cents": 1})
        self.assertIn("shop is not a table", line)

    def test_what_values_cannot_be_together_is_told_with_the_table(self) -> None:
        self.assertEqual(
            self.errors("[shop.till]\nlimit_cents = 13\n"), ["[shop.till]: 13 is bad luck"]
        )

    def test_all_errors_are_told_at_once(self) -> None:
        self.assertEqual(len(self.errors("name = 1\nplan = 2\n[shop]\nwidth = 0\nx = 1\n")), 4)
