"""Writing a batch of messages into Maildirs, durably.

The order of calls was measured (ext4, two cores, files of 4 KiB; `tests/bench/maildir.py`). Writing
all files, starting their write-back with ``posix_fadvise(DONTNEED)`` and only then syncing them
lets the first sync commit the journal for all: on a quiet machine 1.4 to 1.7 times the rate of
syncing file by file, in batches of 5 to 50. ``fdatasync`` gains nothing for new files; ``link`` and
``unlink`` instead of ``rename`` cost a call more; ``O_TMPFILE`` with ``link`` is slower, for the
inode passes through the list of orphans; ``syncfs`` is as fast and makes mail wait for everybody's
data.

Durability: a message may be delivered twice, never lost. *The commit instant is the return of the
sync of* ``new/``; success is reported only after it. F is the file, K its key
(`maildir.message_key`), the same for each delivery of this message to this account.

    state                         after a crash      repair
    ----------------------------  -----------------  -------------------------------------------
    0 nothing                     the sender or the  none
                                  queue has it
    1 F in tmp/, partly written   as 0               its name is random and blocks nothing; swept
    2 F in tmp/, synced           as 0               with all that is 36 hours old when the
                                                     Maildir is next opened (mail readers do too)
    3 F in new/, new/ not synced  F is there whole,  from a peer: it tries again, with a new id:
                                  or as 2            the copy that RFC 5321 s6.1 allows.
                                                     from the queue: K is looked for in new/ and
                                                     cur/ first; if found, that directory is synced
                                                     and the delivery is done, else as 0
    4 F in new/, new/ synced      delivered          none; the queue may ask again, see 3
    5 F moved or removed by its   delivered          a queue that asks again finds K in cur/; if F
      reader                                         was removed or filed, it makes a second copy

    failure                       what is done
    ----------------------------  ---------------------------------------------------------------
    open, write or sync of F,     F is closed and unlinked, and its caller gets the error. Never a
    or rename                     second sync of the same file: after the first failure the kernel
                                  holds the lost pages for clean. The rest of the batch goes on
    sync of new/                  all of the batch in it fail, and are unlinked from new/; where
                                  that fails too it is state 3
    the quota has no room         F is unlinked from tmp/; its caller gets `quotas.OverQuota`
    the folder was deleted        as for the sync of new/: the next attempt goes to the inbox

The quota is checked in state 1, when the size of F is known. ``maildirsize`` gets one line for each
Maildir of a batch, after the commit and unsynced (`postroom.maildirs.usage` explains why that is
enough); until then no other thread counts that Maildir.

Who controls the input: nothing here looks at content, which is hostile (`filling` does); its size
was limited before. Names come from `maildir`.

RFC 5321 s4.2.5, s6.1
"""

import errno
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Final

from postroom.delivery.filling import Body, Filler
from postroom.delivery.maildir import Maildir, OpenMaildirs
from postroom.delivery.quotas import BatchQuotas, full_reply
from postroom.delivery.settings import DeliverySettings
from postroom.interfaces import IContent
from postroom.maildirs.directories import CREATE
from postroom.maildirs.line_ends import LineEnds, Sizes
from postroom.maildirs.names import host_part, size_fields, size_in
from postroom.maildirs.usage import Quota

_NOTHING: Final = Sizes(0, 0)

Outcome = Exception | None
"""The result of a write: None if it is durable, else the error."""


@dataclass(frozen=True, slots=True, eq=False)
class MaildirWrite:
    """One file to be written.

    Attributes:
        maildir: absolute path of the Maildir.
        key: from `maildir.message_key`.
        head: trace fields, before the content.
        content: must not change until the result is known.
        cuts: ``(start, end)`` of what is left out of the content, in order.
        repeated: True if this very delivery may have been made before: it is looked for first.
        folder: directory of the folder for the file, if it exists; empty for the inbox.
        quota: the account's; None if it has none.
        binary: True if the content is no text: its line ends stay as they are.
    """

    maildir: str
    key: str
    head: bytes
    content: IContent
    cuts: Sequence[tuple[int, int]] = ()
    repeated: bool = False
    folder: str = ""
    quota: Quota | None = None
    binary: bool = False


class MaildirFile:
    """A write on its way through a batch, and in the end its outcome.

    Attributes:
        write: what is to be written.
        outcome: valid when the batch is done.
        sizes: valid from state 1.
    """

    __slots__ = ("descriptor", "maildir", "new_name", "outcome", "sizes", "tmp_name", "write")

    def __init__(self, write: MaildirWrite) -> None:
        """Create a file in state 0."""
        self.write = write
        self.outcome: Outcome = None
        self.descriptor = -1
        self.maildir: Maildir | None = None
        self.sizes = _NOTHING
        self.tmp_name = ""
        self.new_name = ""


class BatchStore:
    """Stores batches and keeps the Maildirs open in between. For one thread only."""

    def __init__(self, settings: DeliverySettings) -> None:
        """Read the settings for file names, line ends and the reply for a full mailbox."""
        self._full = full_reply(settings)
        self._maildirs = OpenMaildirs(settings.cached_maildirs)
        self._filler = Filler(LineEnds(settings.line_ends))
        self._host = host_part(settings.hostname)
        # time.unique.host, as for any Maildir; the unique part is random, so that a file which a
        # crash has left is never in the way of the same message's next attempt.
        self._tmp_prefix = f"R{secrets.token_hex(8)}Q"
        self._counter = count()

    def store(self, files: Sequence[MaildirFile]) -> None:
        """Write files durably, and set each one's ``outcome``; an error of the disk is not raised.

        RFC 5321 s6.1
        """
        missing = [file for file in files if not (file.write.repeated and self._is_done(file))]
        written = [file for file in missing if _attempt(self._create, file)]
        self._filler.forget()
        limited = {file.write.maildir for file in written if file.write.quota is not None}
        if limited:
            with BatchQuotas(self._full, limited) as quotas:
                admit = _admission(quotas)
                renamed = self._commit([file for file in written if _attempt(admit, file)])
                for maildir, size_octets in _stored_under_quota(renamed):
                    quotas.note(maildir, size_octets, 1)
        else:
            self._commit(written)
        self._maildirs.trim()

    def _commit(self, written: Sequence[MaildirFile]) -> Sequence[MaildirFile]:
        """Bring files from state 1 to 4; return those that reached state 3, failed or not."""
        if len(written) > 1:
            _start_write_back(written)
        synced = [file for file in written if _attempt(_sync, file)]
        renamed = [file for file in synced if _attempt(self._rename, file)]
        _sync_directories(renamed)
        return renamed

    def remove(self, files: Sequence[MaildirFile]) -> None:
        """Remove files from ``new/`` that `store` put there, unless their reader was faster."""
        limited = {file.write.maildir for file in files if file.write.quota is not None}
        with BatchQuotas(self._full, limited) as quotas:
            for file in files:
                write = file.write
                try:
                    name = self._maildirs.get_for(write.maildir, write.folder).unlink_new(write.key)
                except OSError as error:
                    file.outcome = error
                    continue
                if write.quota is not None:
                    quotas.note(write.maildir, -(size_in(name) or 0), -1)
        self._maildirs.trim()

    def close(self) -> None:
        """Close all directories."""
        self._maildirs.close()

    def _is_done(self, file: MaildirFile) -> bool:
        """Return whether a file needs no more work: it is stored, or looking for it failed."""
        try:
            write = file.write
            maildir = self._maildirs.get_for(write.maildir, write.folder)
            # The folder may have been made since the inbox got the message.
            return maildir.sync_if_present(write.key) or bool(
                maildir.folder and self._maildirs.get(write.maildir).sync_if_present(write.key)
            )
        except OSError as error:
            file.outcome = error
            return True

    def _create(self, file: MaildirFile) -> None:
        """State 0 to 1: an open file in ``tmp/`` with all its octets, in the page cache."""
        write = file.write
        file.maildir = self._maildirs.get_for(write.maildir, write.folder)
        time = write.key.partition(".")[0]
        name = f"{time}.{self._tmp_prefix}{next(self._counter)}.{self._host}"
        file.descriptor = os.open(name, CREATE, 0o600, dir_fd=file.maildir.tmp)
        file.tmp_name = name
        body = Body(write.content, write.cuts, write.binary)
        file.sizes = self._filler.fill(file.descriptor, write.head, body)

    def _rename(self, file: MaildirFile) -> None:
        """State 2 to 3. A file of that name is the same message: replacing it is as good."""
        maildir, name = file.maildir, f"{file.write.key}{self._host}{size_fields(file.sizes)}"
        if maildir is not None:
            os.rename(file.tmp_name, name, src_dir_fd=maildir.tmp, dst_dir_fd=maildir.new)
        file.new_name = name


def _attempt(step: Callable[[MaildirFile], None], file: MaildirFile) -> bool:
    """Run one step for one file; return False if that failed, and the file is out of the batch."""
    try:
        step(file)
    except Exception as error:
        _discard(file, error)
        return False
    return True


def _admission(quotas: BatchQuotas) -> Callable[[MaildirFile], None]:
    """Return the step that checks the quota; two ways to one inbox are checked once."""
    admitted: set[tuple[Maildir | None, str]] = set()

    def admit(file: MaildirFile) -> None:
        write = file.write
        if write.quota is not None and (file.maildir, write.key) not in admitted:
            quotas.admit(write.maildir, write.quota, file.sizes.octets)
            admitted.add((file.maildir, write.key))

    return admit


def _start_write_back(files: Iterable[MaildirFile]) -> None:
    """Ask the kernel to write all files while the first is synced; only a hint, never an error."""
    with suppress(OSError):
        for file in files:
            os.posix_fadvise(file.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _sync(file: MaildirFile) -> None:
    """State 1 to 2. The descriptor is closed whatever happens, and so never synced again."""
    descriptor, file.descriptor = file.descriptor, -1
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_directories(files: Sequence[MaildirFile]) -> None:
    """State 3 to 4, with one sync for each directory."""
    by_directory: dict[Maildir | None, list[MaildirFile]] = {}
    for file in files:
        by_directory.setdefault(file.maildir, []).append(file)
    for maildir, together in by_directory.items():
        try:
            if maildir is not None:
                os.fsync(maildir.new)
                # A folder may have been deleted meanwhile, with the file: never promise that mail.
                if maildir.folder and not maildir.is_current():
                    raise OSError(errno.ESTALE, f"the folder {maildir.folder} is gone")
        except OSError as error:
            for file in together:
                _discard(file, error)


def _stored_under_quota(files: Iterable[MaildirFile]) -> Iterator[tuple[str, int]]:
    """Yield Maildir and size of each stored file; two ways to one inbox make one file."""
    stored = {
        (file.maildir, file.new_name): file
        for file in files
        if file.outcome is None and file.write.quota is not None
    }
    return ((file.write.maildir, file.sizes.octets) for file in stored.values())


def _discard(file: MaildirFile, error: Exception) -> None:
    """Record a failure and go back to state 0, as far as the disk allows."""
    file.outcome = error
    if file.descriptor >= 0:
        os.close(file.descriptor)
        file.descriptor = -1
    if file.maildir is None:
        return
    try:
        if file.new_name:
            os.unlink(file.new_name, dir_fd=file.maildir.new)
        elif file.tmp_name:
            os.unlink(file.tmp_name, dir_fd=file.maildir.tmp)
    except OSError:
        # The first error is the one to report; what is left is state 1, 2 or 3 of the table.
        return
