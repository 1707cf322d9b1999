"""The settings of deliveries, and of mail that is submitted."""

from dataclasses import dataclass
from typing import Annotated, Literal

from postroom.settings.declaring import setting
from postroom.settings.values import Networks, matching

Separator = Annotated[str, matching("(?s).?", 'one character, or ""')]


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """Deliveries to accounts and into the queue.

    Attributes:
        hostname: our name in trace headers and in the names of Maildir files.
        relay_networks: clients whose mail to other domains is queued without login.
        postmaster_domain: whose postmaster answers for the bare ``<postmaster>`` and for local
            domains that have none; usually the first local domain. None if there is none.
        spool_directory: where large content waits until it is stored; its files have no name, and
            so are gone when the process is.
        hands_over: True if another server keeps the mailboxes, and mail for accounts goes there.
    """

    hostname: str
    relay_networks: Networks = ()
    sub_address_separator: Separator = setting(
        "+",
        """What separates user from tag in user+tag@example.org, which is delivered to user. Empty
        switches sub-addresses off.""",
        rfc="RFC 5233 s1",
    )
    postmaster_domain: str | None = None
    spool_directory: str = "."
    memory_octets: int = setting(
        262_144,
        """Content up to this size is kept in memory while it arrives. What is larger goes into an
        unnamed file in the state directory.""",
        within=(0, 1_073_741_824),
    )
    header_octets: int = setting(
        262_144,
        "The largest header section that is accepted. A message with more gets 552.",
        within=(4096, 1_073_741_824),
    )
    header_lines: int = setting(
        5000,
        "The most lines in a header section. A message with more gets 552.",
        within=(100, 10_000_000),
    )
    received_fields: int = setting(
        100,
        "A message with so many Received fields is in a loop, and gets 554.",
        within=(100, 10_000),
        rfc="RFC 5321 s6.3",
    )
    alias_depth: int = setting(10, "How many aliases may lead to one another.", within=(1, 100))
    alias_targets: int = setting(
        1000, "How many addresses the aliases of one recipient may lead to.", within=(1, 100_000)
    )
    cached_routes: int = setting(
        10_000, "For how many recipients the route of their mail is cached.", within=(0, 10_000_000)
    )
    cached_maildirs: int = setting(
        128, "How many Maildirs are kept open, at two open files each.", within=(1, 100_000)
    )
    batch_files: int = setting(
        64,
        "How many messages are written into Maildirs before their directories are synced.",
        within=(1, 10_000),
    )
    batch_octets: int = setting(
        8_388_608,
        "How much content a batch of such messages may hold before no more are added to it.",
        within=(1, 1_073_741_824),
    )
    hands_over: bool = False
    over_quota: Literal["temporary", "permanent"] = setting(
        "temporary",
        """How mail for a full mailbox is refused: "temporary" answers 452, after which the sender's
        server tries again for some days, "permanent" answers 552. Quotas are those of the accounts
        (postroom quota).""",
        rfc="RFC 3463 s3.3",
    )
    line_ends: Literal["lf", "crlf"] = setting(
        "lf",
        """What lines end with in Maildir files: LF, as every program that reads Maildirs expects,
        or CRLF, as in the message that came. A binary message (BODY=BINARYMIME) keeps its octets
        under both. Files that are there already keep theirs.""",
    )


@dataclass(frozen=True, slots=True)
class SubmissionSettings:
    """What is asked of mail after a login; several From or Sender fields are refused always."""

    own_senders: bool = setting(
        True,
        """Whoever has logged in may use only their own addresses in MAIL FROM: those of the
        account, aliases that lead to it alone, and its list of senders. Others get 553.""",
        rfc="RFC 6409 s6.1",
    )
    own_authors: bool = setting(
        False,
        """Whoever has logged in may use only their own addresses in the From and Sender fields of
        the header, too. Others get 550.""",
    )
    null_sender: bool = setting(
        True,
        """Accept MAIL FROM:<> after a login. Programs use it to tell that a message was read.""",
        rfc="RFC 8098 s2.1",
    )
    add_date: bool = setting(
        True,
        """Add a Date field to a message that comes in on a submission listener without one, unless
        a DKIM signature covers its absence. Mail that is relayed stays as it is.""",
        rfc="RFC 6409 s8.2",
    )
    add_message_id: bool = setting(
        True, "Add a Message-ID field where submission.add_date adds Date.", rfc="RFC 6409 s8.3"
    )
