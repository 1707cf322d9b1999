"""The whole configuration of this room: one frozen value, made by `postroom.service`.

Every figure is the default of the setting of the same name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """What deliveries need to know of the site.

    Attributes:
        hostname: our name in trace headers and in the names of Maildir files.
        relay_networks: clients whose mail to other domains is queued without login.
        sub_address_separator: what divides ``user`` from ``tag``; empty turns sub-addresses off.
        postmaster_domain: whose postmaster answers for the bare ``<postmaster>`` and for local
            domains that have none; usually the first local domain. None if there is none.
        spool_directory: where large content waits until it is stored; its files have no name, and
            so are gone when the process is.
        memory_octets: content up to this size stays in memory.
        header_octets: the largest header section (552 5.3.4 beyond).
        header_lines: the most lines in a header section (552 5.3.4 beyond).
        received_fields: so many Received fields mean a loop (RFC 5321 s6.3: at least 100).
        alias_depth: how many aliases may lead to each other.
        alias_targets: how many addresses one recipient may expand to.
        cached_routes: how many recipients' routes are kept.
        cached_maildirs: how many Maildirs are kept open, at two file descriptors each.
        batch_files: how many files are written between two directory syncs.
        batch_octets: how much content a batch may hold before no more is added to it.
        hands_over: True if another server keeps the mailboxes, and mail for accounts goes there.
        over_quota: what a full mailbox's mail gets: ``"temporary"``, 452, or ``"permanent"``, 552.
        line_ends: what lines of text end with in Maildir files.
    """

    hostname: str
    relay_networks: Sequence[Network] = ()
    sub_address_separator: str = "+"
    postmaster_domain: str | None = None
    spool_directory: str = "."
    memory_octets: int = 262_144
    header_octets: int = 262_144
    header_lines: int = 5000
    received_fields: int = 100
    alias_depth: int = 10
    alias_targets: int = 1000
    cached_routes: int = 10_000
    cached_maildirs: int = 128
    batch_files: int = 64
    batch_octets: int = 8_388_608
    hands_over: bool = False
    over_quota: Literal["temporary", "permanent"] = "temporary"
    line_ends: Literal["lf", "crlf"] = "lf"


@dataclass(frozen=True, slots=True)
class SubmissionSettings:
    """What is asked of mail after a login.

    Attributes:
        own_senders: MAIL FROM has to be one of the account's own addresses.
        own_authors: From and Sender have to be, too.
        null_sender: ``MAIL FROM:<>`` is taken, as for notes that a message was read.
        add_date: a message that lacks Date gets it.
        add_message_id: a message that lacks Message-ID gets it.
    """

    own_senders: bool = True
    own_authors: bool = False
    null_sender: bool = True
    add_date: bool = True
    add_message_id: bool = True
