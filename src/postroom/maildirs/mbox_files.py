"""Files that mailboxes are imported from: which may be mboxes, and for which mailbox.

    source                        mailbox
    ---------------------------   --------------------------------------------------------------
    a file                        the one given
    a zip with one file in it     the same
    a zip with more               one of the name of each file, below the one given
    a directory                   one of the name of each file, below the one given
    NAME.mbox/mbox                NAME: so Apple's Mail exports
    NAME.sbd/OTHER                NAME.OTHER: so Thunderbird keeps folders

The name of a mailbox is that of its file, without ``.mbox`` and the suffix of a compressed file.
Files without ``.mbox`` are tried too, because many programs omit it; reading shows whether a file
is an mbox. Hidden files and the indexes of Thunderbird are skipped.

Who controls the input: whoever made the directory or the zip. Names are checked when a mailbox is
created.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from postroom.maildirs.folders import INBOX

_COMPRESSED: Final = (".gz", ".bz2", ".xz", ".zip")
_MBOX: Final = (".mbox", ".mbx")
_INDEX: Final = ".msf"
_BELOW: Final = ".sbd"


@dataclass(frozen=True, slots=True)
class MboxFile:
    """A file that may be an mbox.

    Attributes:
        path: where it is.
        mailbox: the mailbox to import it into.
        fault: why it cannot be read; empty if that can be tried.
    """

    path: Path
    mailbox: str
    fault: str = ""


def files_in(directory: Path, mailbox: str) -> Iterator[MboxFile]:
    """Yield the files of a directory by name, and the mailbox for each.

    Args:
        directory: has to exist.
        mailbox: the one below which all are imported.

    Raises:
        OSError: it cannot be listed.
    """
    for path in sorted(directory.iterdir()):
        name = path.name
        target = below(mailbox, mailbox_of(name))
        if name.startswith(".") or name.endswith(_INDEX):
            continue
        if path.is_file():
            yield MboxFile(path, target)
        elif (path / "mbox").is_file():
            yield MboxFile(path / "mbox", target)
        elif name.endswith(_BELOW) and path.is_dir() and not path.is_symlink():
            yield from files_in(path, below(mailbox, name.removesuffix(_BELOW)))
        else:
            kind = "a directory: import it by itself" if path.is_dir() else "no regular file"
            yield MboxFile(path, target, f"it is {kind}")


def mailbox_of(file_name: str) -> str:
    """Return the name of a mailbox by that of its file, which may have directories before it."""
    name = PurePosixPath(file_name).name
    for suffixes in (_COMPRESSED, _MBOX):
        for suffix in suffixes:
            if name.lower().endswith(suffix) and len(name) > len(suffix):
                name = name[: -len(suffix)]
                break
    return name


def below(mailbox: str, name: str) -> str:
    """Return the mailbox for a folder that is imported below another."""
    if name.upper() == INBOX:
        return mailbox
    return name if mailbox.upper() == INBOX else f"{mailbox}.{name}"
