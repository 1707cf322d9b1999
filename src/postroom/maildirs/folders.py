"""Folders of Maildirs: their names, and the directories that hold them.

    INBOX            the Maildir itself
    Lists            .Lists/
    Lists.Python     .Lists.Python/        not below .Lists/, which need not exist

This is Maildir++, Dovecot's default: levels are separated by dots, and names are written
in the modified UTF-7 of IMAP. A directory whose name is not valid in it is shown as it is.

Who controls the input: the administrator, the names of the command; a peer, the tag of a
sub-address (`sub_address_folder`); whoever may write into the Maildir, the directories found. No
name that this module accepts contains a slash or is ``.`` or ``..``, so each is one entry of one
directory.

RFC 3501 s5.1.3
"""

import binascii
import re
import unicodedata
from base64 import b64decode, b64encode
from difflib import get_close_matches
from typing import Final

from postroom.errors import UserError

INBOX: Final = "INBOX"
NAME_OCTETS: Final = 200
"""The longest directory name made here; file systems take 255, and Dovecot adds suffixes."""

# Printable US-ASCII stands for itself, but for the ampersand.
_SHIFTED: Final = re.compile(r"[^\x20-\x7e]+|&")
_UNSHIFTED: Final = re.compile(r"&([A-Za-z0-9+,]*)-")


def parse_folder(text: str) -> str:
    """Parse the name of a folder that somebody typed.

    Returns:
        The name, in Unicode's composed form (NFC); ``INBOX`` for the inbox, however it is spelt.

    Raises:
        UserError: no folder can have that name; the message tells why.
    """
    if text.upper() == INBOX:
        return INBOX
    name = unicodedata.normalize("NFC", text)
    wrong = _fault_of(name)
    if wrong is not None:
        raise UserError(f"{text!r} cannot be a mailbox: {wrong}")
    return name


def _fault_of(name: str) -> str | None:
    if not name:
        return "it is empty"
    if "/" in name:
        return "it has a slash; the levels of a name are divided by dots"
    if any(unicodedata.category(each) in {"Cc", "Cs"} for each in name):
        return "it has a control character"
    if "" in name.split("."):
        return "a level of it is empty: a dot begins or ends it, or follows another"
    if name != name.strip() or name.startswith("~"):
        return "it begins or ends with a blank, or begins with a tilde"
    if len(directory_of(name)) > NAME_OCTETS:
        return f"it is longer than {NAME_OCTETS} octets as a file name"
    return None


def directory_of(folder: str) -> str:
    """Return the directory of a folder, relative to the Maildir: ``.`` for the inbox."""
    return "." if folder == INBOX else "." + _encode(folder)


def folder_of(directory: str) -> str | None:
    """Return the folder that a directory holds; None if it is no folder's.

    A name that begins with two dots is a folder that Dovecot is deleting.
    """
    if len(directory) < 2 or directory[0] != "." or directory[1] == ".":
        return None
    if not directory.isascii():
        return directory[1:]
    name = _decode(directory[1:])
    if name.upper() == INBOX:
        return None
    # Two directories must not show as one folder.
    return name if directory_of(name) == directory else directory[1:]


def sub_address_folder(tag: str) -> str:
    """Return the directory for mail to ``user+tag``; empty for the inbox, or if the tag is no name.

    Args:
        tag: from an address that a peer sent.
    """
    if not tag or tag.upper() == INBOX or _fault_of(tag) is not None:
        return ""
    return directory_of(tag)


def suggestion(name: str, known: list[str]) -> str:
    """Return the end of a message about an unknown folder: which one may have been meant."""
    close = get_close_matches(name, known, n=1)
    return f": did you mean {close[0]}?" if close else ""


def _encode(name: str) -> str:
    def shift(found: "re.Match[str]") -> str:
        if found[0] == "&":
            return "&-"
        octets = b64encode(found[0].encode("utf-16-be"))
        return "&" + octets.decode("ascii").rstrip("=").replace("/", ",") + "-"

    return _SHIFTED.sub(shift, name)


def _decode(text: str) -> str:
    """Decode modified UTF-7; an invalid name is returned as it is."""

    def unshift(found: "re.Match[str]") -> str:
        if not found[1]:
            return "&"
        digits = found[1].replace(",", "/")
        try:
            return b64decode(digits + "=" * (-len(digits) % 4)).decode("utf-16-be")
        except (binascii.Error, UnicodeDecodeError):
            return found[0]

    return _UNSHIFTED.sub(unshift, text)
