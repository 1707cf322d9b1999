"""A message as Maildirs store it: the one place that decides what is written, and where."""

from collections.abc import Sequence
from dataclasses import dataclass

from postroom.delivery.batch import MaildirWrite
from postroom.delivery.maildir import message_key
from postroom.delivery.quotas import quota_of
from postroom.delivery.trace import delivered_to_field, original_to_fields, return_path_field
from postroom.envelope import Account
from postroom.interfaces import IContent
from postroom.maildirs.folders import sub_address_folder
from postroom.wire.paths import Mailbox


@dataclass(frozen=True, slots=True)
class MaildirMessage:
    """What all copies of a message have in common.

    Attributes:
        id: the queue id.
        sender: the reverse-path; None for the null sender.
        received_at: POSIX time of acceptance.
        content: must not change until it is stored.
        return_paths: the ``(start, end)`` of the Return-Path fields in it, which are left out.
        binary: True to keep its octets, whatever the line ends.
        received: the fields that come below those of the copy.
        repeated: True if an earlier attempt may have stored a copy already.
    """

    id: str
    sender: Mailbox | None
    received_at: float
    content: IContent
    return_paths: Sequence[tuple[int, int]] = ()
    binary: bool = False
    received: bytes = b""
    repeated: bool = False

    def write_for(self, account: Account, originals: Sequence[Mailbox]) -> MaildirWrite:
        """Return the write of an account's copy.

        Args:
            account: with the folder that the copy is for.
            originals: the recipients that led to the account.

        RFC 5321 s4.4; RFC 9228 s2
        """
        return MaildirWrite(
            account.maildir,
            message_key(int(self.received_at), self.id, account.address),
            return_path_field(self.sender)
            + original_to_fields(originals)
            + delivered_to_field(account.address)
            + self.received,
            self.content,
            self.return_paths,
            repeated=self.repeated,
            folder=sub_address_folder(account.folder) if account.folder else "",
            quota=quota_of(account),
            binary=self.binary,
        )
