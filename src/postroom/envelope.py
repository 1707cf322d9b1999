"""The values that travel with a message, from the listener to the queue.

They belong to no room: the server makes them, deliveries read them, the queue stores what must
outlive the session. All but `Envelope` are immutable; a session whose facts change (EHLO, TLS,
AUTH) gets new facts, so that code that holds the old ones is not affected.
"""

import itertools
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntFlag
from typing import Final

from postroom.wire.commands import Mail, Rcpt
from postroom.wire.paths import Mailbox, is_host_name, mailbox
from postroom.wire.replies import Reply

# Of general address literals, those whose octets mean nothing in a header.
_HEADER_NAME: Final = re.compile(rb"[A-Za-z0-9.:_\[\]-]+")


@dataclass(frozen=True, slots=True)
class TLSFacts:
    """The facts about a session's TLS.

    Attributes:
        version: as in ``TLSv1.3``.
        cipher: the suite's name.
        bits: the cipher's key length.
        client_verified: the client showed a certificate of an authority that the listener trusts.
        client_name: the subject of that certificate: its mail address, else its common name, else
            its host name; None without one, or if it is not verified.
    """

    version: str
    cipher: str
    bits: int
    client_verified: bool = False
    client_name: str | None = None

    def __str__(self) -> str:
        """Return the facts as text for the log."""
        text = f"{self.version} {self.cipher}"
        return f"{text}, client {self.client_name} verified" if self.client_verified else text


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """The facts about a session at one moment.

    Attributes:
        role: the listener's role, ``"mx"``, ``"submission"`` or ``"lmtp"``.
        client: the peer's IP address as text (IPv4-mapped IPv6 unmapped), or ``"unix"``.
        client_port: the peer's port, 0 for a UNIX socket.
        helo: the argument of EHLO or HELO, as sent: any octets but controls; empty before. See
            `helo_name`.
        extended: True after EHLO.
        tls: None in clear text.
        identity: the avatar id that authentication gave, None for an anonymous session.
        forwarded: what XFORWARD told of the next message's origin, for the log.
    """

    role: str
    client: str
    client_port: int
    helo: bytes = b""
    extended: bool = False
    tls: TLSFacts | None = None
    identity: str | None = None
    forwarded: str = ""

    @property
    def helo_name(self) -> bytes:
        """The greeting's argument if it is a domain or an address literal that a header can hold.

        Empty for anything else: only a check that asks for it should see octets that a client may
        have made up.

        RFC 5321 s4.1.1.1, s4.4
        """
        fits = is_host_name(self.helo) and _HEADER_NAME.fullmatch(self.helo) is not None
        return self.helo if fits else b""

    @property
    def client_literal(self) -> str:
        """The client's address as an address literal, or how a header calls one without address.

        RFC 5321 s4.1.3
        """
        address = self.client.partition("%")[0]
        if address == "unix":
            return "localhost"
        if address == "unknown":  # so a proxy says with XCLIENT
            return address
        return f"[IPv6:{address}]" if ":" in address else f"[{address}]"

    @property
    def protocol(self) -> str:
        """The ``with`` protocol type of Received: SMTP, or ESMTP or LMTP with S, A or SA.

        RFC 3848; RFC 5321 s4.4
        """
        if not self.extended:
            return "SMTP"
        name = "LMTP" if self.role == "lmtp" else "ESMTP"
        return name + ("S" if self.tls else "") + ("A" if self.identity is not None else "")


@dataclass(frozen=True, slots=True)
class Recipient:
    """An accepted recipient.

    Attributes:
        rcpt: the command.
        route: what the delivery's `validate_recipient` returned for it; only that delivery knows
            what it is.
    """

    rcpt: Rcpt
    route: object


@dataclass(slots=True)
class Envelope:
    """One transaction's envelope: it grows by recipients and is dropped whole.

    Attributes:
        id: the queue id, which the 250, the trace headers and the logs show.
        session: the session's facts when MAIL came.
        mail: the MAIL command.
        recipients: those accepted so far, in order.
    """

    id: str
    session: SessionFacts
    mail: Mail
    recipients: list[Recipient] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """The limits of an account; None sets no limit.

    Attributes:
        quota_octets: the mail that its Maildir may hold, in octets.
        quota_messages: the mail that its Maildir may hold, in messages.
        messages_per_day: how many messages it may send between two midnights UTC.
        recipients_per_day: how many recipients they may have in all.
        message_octets: the largest message that it may send.
    """

    quota_octets: int | None = None
    quota_messages: int | None = None
    messages_per_day: int | None = None
    recipients_per_day: int | None = None
    message_octets: int | None = None


UNLIMITED: Final = AccountLimits()


@dataclass(frozen=True, slots=True)
class Account:
    """A local account.

    Attributes:
        address: its canonical address, lower case.
        maildir: absolute path of its Maildir, from the account's own record, never from what a
            peer sent.
        enabled: False refuses its mail for now and its logins.
        folder: the tag of the address that led here (``lists`` of ``user+lists``), which names the
            folder that gets the mail if there is one; empty for the inbox. Only the routing sets
            it, from what the peer sent: it may hold anything that a local part may.
        addresses: its further addresses, each as good as the first.
        forwards: addresses that get its mail too.
        keeps_copy: False if its mail is forwarded and not kept.
        senders: what it may send as besides its own addresses: addresses, or ``@domain`` for all of
            a domain.
        limits: what it may do at most.
        created_at: POSIX time since when the address has been this account's, for RFC 7293; None if
            unknown.
    """

    address: str
    maildir: str
    enabled: bool = True
    folder: str = ""
    addresses: tuple[str, ...] = ()
    forwards: tuple[str, ...] = ()
    keeps_copy: bool = True
    senders: tuple[str, ...] = ()
    limits: AccountLimits = UNLIMITED
    created_at: float | None = None

    def delivery_address(self, separator: str) -> Mailbox:
        """Return the address by which the queue, and other servers, find the account again.

        It has the folder as its tag, unless that cannot be written.

        Args:
            separator: what divides user from tag; empty for none.

        RFC 5233 s1
        """
        address = mailbox(self.address)
        if not self.folder or not self.folder.isascii() or not separator:
            return address
        tag = f"{separator}{self.folder}".encode("ascii")
        return Mailbox(address.local_part + tag, address.domain)


class Writers(Enum):
    """The senders that may write to an alias."""

    ANYONE = "anyone"
    USERS = "users"
    """Every user who has logged in."""
    MEMBERS = "members"
    """Accounts that the alias leads to, once they have logged in."""


@dataclass(frozen=True, slots=True)
class Alias:
    """An alias; with several targets, a group.

    Attributes:
        address: lower case.
        targets: addresses, or ``"discard:"``, which accepts the mail and drops it.
        writers: who may write to it.
        passes_tags: True if the tag of ``alias+tag`` goes on to its targets.
    """

    address: str
    targets: tuple[str, ...]
    writers: Writers = Writers.ANYONE
    passes_tags: bool = True


DISCARD: Final = "discard:"


@dataclass(frozen=True, slots=True)
class RelayRecipient:
    """A known recipient in a domain whose mail is relayed."""

    address: str


Entry = Account | Alias | RelayRecipient
"""What an address can be in the directory."""


class DomainKind(Enum):
    """How a domain's mail is handled."""

    LOCAL = "local"
    """It is delivered here."""
    ALIAS = "alias"
    """Its addresses stand for the same ones of another domain."""
    RELAY = "relay"
    """It is passed on, as the routes and MX records of the domain say."""


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain whose mail we accept.

    Attributes:
        name: lower case.
        catch_all: the address that gets mail for unknown recipients; None refuses it.
        kind: how its mail is handled.
        target: the domain that an alias stands for; None for the other kinds.
        any_recipient: True if all recipients of a relay-only domain are accepted, not just the
            listed ones.
    """

    name: str
    catch_all: str | None = None
    kind: DomainKind = DomainKind.LOCAL
    target: str | None = None
    any_recipient: bool = False


class Trait(IntFlag):
    """A property of a message beside its envelope; the numbers are stored."""

    TLS_OPTIONAL = 1
    """Its header says ``TLS-Required: No``: it goes out even where TLS fails (RFC 8689 s5)."""
    UTF8_HEADER = 2
    """Its header holds 8-bit octets: only a hop with SMTPUTF8 may get it (RFC 6531 s3.2)."""
    TRUSTED = 4
    """It came from somebody who may relay: reports of success are sent if they are asked for."""


NO_TRAITS: Final = Trait(0)


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to be queued.

    Attributes:
        id: its queue id.
        sender: the reverse-path; None for the null sender.
        recipients: RCPT for each final address, aliases expanded, at least one; the parameters are
            those that were accepted.
        received_at: POSIX time of acceptance, in seconds.
        parameters: all MAIL parameters that were accepted, keyword to value as sent, but ``SIZE``:
            content grows on its way.
        identity: who submitted it, for the log; None if nobody logged in.
        priority: -9 to 9; what is higher goes first (RFC 6710 s4.1).
        held_until: POSIX time before which it must not be sent on; None sends it at once. It is
            known only until the message is queued, and then is the time of its first attempt
            (RFC 4865 s4).
        traits: what else is known of it.
    """

    id: str
    sender: Mailbox | None
    recipients: tuple[Rcpt, ...]
    received_at: float
    parameters: Mapping[str, str | None] = field(default_factory=dict)
    identity: str | None = None
    priority: int = 0
    held_until: float | None = None
    traits: Trait = NO_TRAITS


class Action(Enum):
    """The result for a recipient, in the words of a report. RFC 3464 s2.3.3."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    """To a host that will not report what becomes of it."""
    EXPANDED = "expanded"
    """To several addresses, which report nothing in its place."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What a report states about one recipient.

    Attributes:
        rcpt: the recipient, with the parameters it came with.
        action: the result for it.
        reply: the last answer about it.
        remote: the host that gave it, as ``host[address]:port``; empty if none did.
        expired: True if it was retried for as long as the queue may, or as its sender wished.
    """

    rcpt: Rcpt
    action: Action
    reply: Reply
    remote: str = ""
    expired: bool = False

    @property
    def status(self) -> str:
        """The status code: of the action's class, whatever the reply was.

        RFC 3463 s3.5; RFC 3464 s2.3.4; RFC 2852 s4.1.3
        """
        kind = {Action.FAILED: "5", Action.DELAYED: "4"}.get(self.action, "2")
        if self.expired and kind != "2":
            return kind + ".4.7"
        enhanced = self.reply.enhanced
        if self.action is Action.RELAYED:
            return "2.1.9"
        return enhanced if enhanced and enhanced[0] == kind else kind + ".0.0"


_ALPHABET: Final = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
_sequence = itertools.count(int.from_bytes(os.urandom(3), "big"))


def _digits(number: int, width: int) -> str:
    """Return a number in the alphabet above: no vowels, so that no id is ever a word."""
    text = ""
    while number or len(text) < width:
        number, rest = divmod(number, len(_ALPHABET))
        text = _ALPHABET[rest] + text
    return text


_PROCESS: Final = _digits(int.from_bytes(os.urandom(3), "big"), 4)


def new_queue_id() -> str:
    """Return a new queue id: unique over processes, nodes and restarts, sortable by second.

    Seconds, then a number that counts up from a random start, then this process's random mark: a
    clock that is set back or a reused process id cannot produce an old id again.
    """
    return _digits(int(time.time()), 6) + _digits(next(_sequence) % 7_311_616, 4) + _PROCESS
