"""Where mailboxes are imported from: files that may be mboxes, and what is in them.

    source                        mailbox
    ---------------------------   --------------------------------------------------------------
    a file                        the one that was asked for
    a zip with one file in it     the same
    a zip with more               one of the name of each file, below the one that was asked for
    a directory                   one of the name of each file, below the one that was asked for
    NAME.mbox/mbox                NAME: so Apple's Mail exports
    NAME.sbd/OTHER                NAME.OTHER: so Thunderbird keeps folders

The name of a file is that of its mailbox without ``.mbox`` and what compression adds to it. A
directory may hold files without ``.mbox``, because many programs write none: whatever is no mbox is
found out when it is read. Hidden files, and the indexes of Thunderbird, are nobody's mail.

Who controls the input: whoever made the directory or the zip. Names are checked when a mailbox is
made of them.
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
        mailbox: the mailbox that it is meant for.
        fault: why it cannot be read; empty if it may be tried.
    """

    path: Path
    mailbox: str
    fault: str = ""


def files_in(directory: Path, mailbox: str) -> Iterator[MboxFile]:
    """List the files of a directory by name, and what each is meant for.

    Args:
        directory: that is there.
        mailbox: below which all goes.

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
    """Return the mailbox for a folder when all goes below another."""
    if name.upper() == INBOX:
        return mailbox
    return name if mailbox.upper() == INBOX else f"{mailbox}.{name}"
