"""An account's mailboxes: the inbox and the folders of its Maildir.

An account whose Maildir does not exist yet has an empty inbox; the first message or folder creates
it. A folder is a directory with ``tmp``, ``new``, ``cur`` and the empty file ``maildirfolder``,
which tells delivery programs that it is not a Maildir of its own. Subscriptions are Dovecot's.

    operation   order                                     after a crash in the middle ---------
    ---------------------------------------   ------------------------------------------ create
    mkdir, parts, maildirfolder, sync         what is missing is created by the next create
                                                          or delivery, or by Dovecot
    rename      one directory after the other, those      some have the new name; repeating the
                below it first, itself last; sync         command renames the rest
    delete      renamed to a name without a dot, which    a directory that no program shows, removed
                is no folder for any program; removed     by the next delete

Who controls the input: the administrator, the names; whoever may write into the Maildir, all that
is found there.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from postroom.errors import UserError
from postroom.maildirs import usage
from postroom.maildirs.directories import (
    create_file,
    is_missing,
    make_directory,
    make_parts,
    open_below,
    open_or_make,
    open_root,
)
from postroom.maildirs.folders import INBOX, directory_of, folder_of, parse_folder, suggestion
from postroom.maildirs.names import FileName, size_in
from postroom.maildirs.usage import Usage

_DELETED: Final = "postroom-deleted-"


@dataclass(frozen=True, slots=True)
class MailboxRow:
    """A mailbox as it is listed.

    Attributes:
        name: ``INBOX``, or the folder's.
        messages: how many it holds.
        unseen: how many of them have not been read.
        size_octets: their size together.
    """

    name: str
    messages: int = 0
    unseen: int = 0
    size_octets: int = 0


def measure(maildir: Path) -> Usage:
    """Count the messages of all mailboxes, by the names and sizes of files only.

    Raises:
        UserError: the Maildir cannot be read.
    """
    try:
        with opened(maildir) as root:
            return usage.count(root)
    except FileNotFoundError:
        return Usage()


def list_mailboxes(maildir: Path) -> tuple[MailboxRow, ...]:
    """Return an account's mailboxes: the inbox, then the folders by name.

    Raises:
        UserError: the Maildir cannot be read.
    """
    try:
        with opened(maildir) as root:
            return tuple(
                _row(root, name, directory) for name, directory in mailboxes_in(root).items()
            )
    except FileNotFoundError:
        return (MailboxRow(INBOX),)


def find_mailbox(maildir: Path, name: str) -> MailboxRow:
    """Return one mailbox.

    Raises:
        UserError: there is no such mailbox.
    """
    with opened_existing(maildir) as root:
        known = mailboxes_in(root)
        found = known_name(known, name)
        return _row(root, found, known[found])


def has_mail(maildir: Path) -> bool:
    """Return whether an account has a Maildir yet, or something in its place."""
    return maildir.exists()


def create_mailbox(maildir: Path, name: str) -> str:
    """Create a folder, and the Maildir if it does not exist yet.

    Returns:
        The folder's name.

    Raises:
        UserError: the name is not valid, or the mailbox exists already.
        OSError: the disk.
    """
    wanted = parse_folder(name)
    with opened(maildir, make=True) as root:
        if wanted == INBOX or wanted in mailboxes_in(root):
            raise UserError(f"the mailbox {wanted} exists already")
        make_folder(root, wanted)
    return wanted


def rename_mailbox(maildir: Path, old: str, new: str) -> list[tuple[str, str]]:
    """Rename a folder and those below it; the inbox cannot be renamed.

    Returns:
        Old and new name of each.

    Raises:
        UserError: there is no such folder, or the new name is not valid or exists already.
        OSError: the disk.
    """
    wanted = parse_folder(new)
    with opened_existing(maildir) as root:
        known = mailboxes_in(root)
        name = known_name(known, old)
        if INBOX in (name, wanted):
            raise UserError("the inbox cannot be renamed: move its messages instead")
        if wanted == name or wanted.startswith(f"{name}."):
            raise UserError(f"{name} cannot be renamed to {wanted}, which is the same or below it")
        below = [each for each in known if each.startswith(f"{name}.")]
        pairs = [(each, wanted + each[len(name) :]) for each in (*below, name)]
        for _, target in pairs:
            parse_folder(target)
            if target in known:
                raise UserError(f"the mailbox {target} exists already")
        for source, target in pairs:
            os.rename(known[source], directory_of(target), src_dir_fd=root, dst_dir_fd=root)
        os.fsync(root)
    return sorted(pairs)


def delete_mailbox(maildir: Path, name: str) -> MailboxRow:
    """Delete a folder with all its messages; folders below it stay.

    Returns:
        The mailbox as it was.

    Raises:
        UserError: there is no such folder, or it is the inbox.
        OSError: the disk.
    """
    with opened_existing(maildir) as root:
        known = mailboxes_in(root)
        found = known_name(known, name)
        if found == INBOX:
            raise UserError("the inbox cannot be deleted: expunge its messages instead")
        row = _row(root, found, known[found])
        gone = f"{_DELETED}{secrets.token_hex(8)}"
        os.rename(known[found], gone, src_dir_fd=root, dst_dir_fd=root)
        os.fsync(root)
        usage.append(root, -row.size_octets, -row.messages)
        for each in os.listdir(root):
            if each.startswith(_DELETED):
                shutil.rmtree(each, ignore_errors=True, dir_fd=root)
    return row


@contextmanager
def opened(maildir: Path, *, make: bool = False) -> Iterator[int]:
    """Yield a Maildir's descriptor.

    Raises:
        FileNotFoundError: it does not exist, and is not to be created.
        UserError: it cannot be opened.
    """
    try:
        root = open_or_make(str(maildir)) if make else open_root(str(maildir))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{maildir}: {error.strerror}") from error
    try:
        if make:
            make_parts(root)
        yield root
    finally:
        os.close(root)


@contextmanager
def opened_existing(maildir: Path) -> Iterator[int]:
    """Yield a Maildir's descriptor, as `opened` does.

    Raises:
        UserError: it cannot be opened, or is not there.
    """
    try:
        with opened(maildir) as root:
            yield root
    except FileNotFoundError as error:
        if error.filename != str(maildir):
            raise
        raise UserError(f"there is no mail yet: the first message creates {maildir}") from error


def mailboxes_in(root: int) -> dict[str, str]:
    """Return the mailboxes of a Maildir and the directory of each; the inbox first."""
    found = {}
    for directory in os.listdir(root):
        name = folder_of(directory)
        if name is not None and _is_folder(directory, root):
            found[name] = directory
    return {INBOX: ".", **dict(sorted(found.items()))}


def known_name(known: dict[str, str], name: str) -> str:
    """Find a mailbox by the name that somebody typed.

    Raises:
        UserError: there is none of that name; the message suggests a similar one.
    """
    if name in known:
        return name
    wanted = parse_folder(name)
    if wanted not in known:
        meant = suggestion(wanted, list(known)) or "; 'postroom mailbox create' makes one"
        raise UserError(f"there is no mailbox {wanted}{meant}")
    return wanted


def make_folder(root: int, name: str) -> None:
    """Make a folder, durably.

    Raises:
        OSError: the disk.
    """
    directory = directory_of(name)
    make_directory(directory, root)
    folder = open_below(directory, root)
    try:
        make_parts(folder)
        if is_missing("maildirfolder", folder):
            os.close(create_file("maildirfolder", folder))
        os.fsync(folder)
    finally:
        os.close(folder)
    os.fsync(root)


def _is_folder(directory: str, root: int) -> bool:
    """Return whether a directory is a folder: no link, and something of a Maildir in it."""
    try:
        folder = open_below(directory, root)
    except OSError:
        return False
    try:
        return not (is_missing("cur", folder) and is_missing("maildirfolder", folder))
    finally:
        os.close(folder)


def _row(root: int, name: str, directory: str) -> MailboxRow:
    messages = unseen = size_octets = 0
    with suppress(OSError):
        folder = open_below(directory, root)
        try:
            for part in ("new", "cur"):
                for size, flags in _sizes_and_flags(folder, part):
                    messages += 1
                    size_octets += size
                    unseen += "S" not in flags
        finally:
            os.close(folder)
    return MailboxRow(name, messages, unseen, size_octets)


def _sizes_and_flags(folder: int, part: str) -> Iterator[tuple[int, str]]:
    try:
        descriptor = open_below(part, folder)
    except OSError:
        return
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                size = size_in(entry.name)
                with suppress(FileNotFoundError):
                    if size is None:
                        size = entry.stat(follow_symlinks=False).st_size
                    yield size, FileName.parse(entry.name).flags
    finally:
        os.close(descriptor)
