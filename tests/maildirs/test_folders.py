"""Claims about the names of folders and their directories."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from postroom.errors import UserError
from postroom.maildirs.folders import (
    INBOX,
    directory_of,
    folder_of,
    parse_folder,
    sub_address_folder,
    suggestion,
)

# Name and directory, as Dovecot writes it (tests/interop/test_mailboxes.py asks it).
NAMES = {
    "Lists": ".Lists",
    "Lists.Python": ".Lists.Python",
    "R&D": ".R&-D",
    "Entwürfe": ".Entw&APw-rfe",
    "Отправленные": ".&BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-",
    "台北": ".&U,BTFw-",
    "😀": ".&2D3eAA-",
    "a b+c": ".a b+c",
}


class Directories(SynchronousTestCase):
    def test_names_are_written_in_modified_utf_7(self) -> None:
        for name, directory in NAMES.items():
            self.assertEqual(directory_of(name), directory)
            self.assertEqual(folder_of(directory), name)

    def test_the_inbox_is_the_maildir_itself(self) -> None:
        self.assertEqual(directory_of(INBOX), ".")
        for directory in (".INBOX", ".inbox"):
            self.assertIsNone(folder_of(directory))

    def test_what_is_no_folder_is_none(self) -> None:
        for directory in (".", "..", "...", "..DOVECOT-TRASHED", "..x", "cur", "maildirsize", ""):
            self.assertIsNone(folder_of(directory), directory)

    def test_what_is_not_valid_is_shown_as_it_is_and_like_no_other(self) -> None:
        # not shifted back; padding bits; an ASCII character shifted; half a surrogate pair; 8 bits
        for directory in (".a&", ".&APx-", ".&AGE-", ".&2D0-", ".caf\xe9", ".\udce9", ".&APw"):
            self.assertEqual(folder_of(directory), directory[1:], directory)

    @given(st.text(min_size=1, max_size=40))
    def test_a_name_that_is_taken_comes_back_and_is_one_entry_of_a_directory(
        self, text: str
    ) -> None:
        try:
            name = parse_folder(text)
        except UserError:
            return
        directory = directory_of(name)
        self.assertTrue(directory.isascii() and directory.isprintable())
        self.assertNotIn("/", directory)
        self.assertNotEqual(directory, "..")
        self.assertEqual(parse_folder(name), name)
        if name != INBOX:
            self.assertEqual(folder_of(directory), name)


class Parsing(SynchronousTestCase):
    def test_the_inbox_has_one_spelling(self) -> None:
        self.assertEqual(parse_folder("InBox"), INBOX)

    def test_twins_in_unicode_are_one_name(self) -> None:
        self.assertEqual(parse_folder("Entwu\u0308rfe"), "Entwürfe")

    def test_wrong_names_are_refused_with_the_reason(self) -> None:
        for text, why in {
            "": "empty",
            "a/b": "slash",
            "../x": "slash",
            "..": "level",
            ".a": "level",
            "a.": "level",
            "a..b": "level",
            "a\0b": "control",
            "a\nb": "control",
            "a\udcffb": "control",
            " a": "blank",
            "~root": "tilde",
            "x" * 300: "longer than 200",
            "ü" * 100: "longer than 200",
        }.items():
            with self.assertRaisesRegex(UserError, why):
                parse_folder(text)

    def test_a_near_name_is_proposed(self) -> None:
        self.assertEqual(suggestion("Lsts", ["INBOX", "Lists"]), ": did you mean Lists?")
        self.assertEqual(suggestion("x", ["INBOX", "Lists"]), "")


class SubAddresses(SynchronousTestCase):
    def test_a_tag_names_a_folder(self) -> None:
        self.assertEqual(sub_address_folder("lists"), ".lists")
        self.assertEqual(sub_address_folder("lists.python"), ".lists.python")

    def test_a_tag_that_is_no_name_means_the_inbox(self) -> None:
        for tag in ("", "inbox", "../x", "..", ".", "a/b", "a\0", "/etc", "x" * 300, ".x", "~a"):
            self.assertEqual(sub_address_folder(tag), "", tag)
