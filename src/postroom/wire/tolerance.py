"""The deviations from the grammar that honest mail software sends, and a session may tolerate.

Each member names one deviation and can be switched off by itself. A deviation is tolerated only if
it is a matter of form: it has one possible meaning, and nothing else depends on it. What would let
somebody forge the end of a message, relay, or give one address two meanings is never tolerated, and
so is no member here.

Commands are first matched against the grammar of the RFC. Only what does not match is looked at
again with the tolerances of the session, so that a well-formed command pays nothing for them.

Text that was accepted once (the queue, tables, aliases, imports) is always read with `ALL`,
whatever a session would tolerate today.
"""

from enum import Enum
from typing import Final


class Tolerance(Enum):
    """One deviation that a session may tolerate; the value is its name in the settings."""

    __hash__ = object.__hash__  # each member is one object, and they are looked up often

    BLANKS = "blanks"
    """Blanks or tabs around the colon of MAIL and RCPT, before ``FROM:`` and ``TO:``, and at the
    two ends inside the brackets: ``MAIL FROM: < ann@example.org >``.

    Bends: RFC 5321 s3.3, "no spaces are permitted on either side of the colon".
    Sent by: Outlook and Outlook Express, and scripts and devices by the thousand.
    Harmless: a blank cannot be part of an unquoted address. Within an address it is refused.
    """

    MISSING_BRACKETS = "missing_brackets"
    """A path without angle brackets: ``MAIL FROM:ann@example.org SIZE=100``.

    Bends: RFC 5321 s4.1.2, ``Path = "<" [ A-d-l ":" ] Mailbox ">"``.
    Sent by: printers, scanners, monitoring scripts, mail merge programs.
    Harmless: the path ends at the first blank outside quotes. A missing path is refused, and is
    never the null sender.
    """

    LOCAL_PART_DOTS = "local_part_dots"
    """A local part with a dot first, last or doubled: ``name.@example.org``, ``a..b@example.org``.

    Bends: RFC 5321 s4.1.2, ``Dot-string = Atom *("." Atom)``.
    Sent by: HP's storage controllers, subscribers of Japanese mobile carriers.
    Harmless: the octets are kept as they are, and are sent on in quotes. No dot is ever added or
    taken away: ``ann.`` is not ``ann``.
    """

    LONG_LOCAL_PARTS = "long_local_parts"
    """A local part of more than 64 octets.

    Bends: RFC 5321 s4.5.3.1.1.
    Sent by: Mailman's confirmation addresses, Google's groups, bounce addresses of mail services.
    Harmless: the path as a whole stays within the 256 octets of RFC 5321 s4.5.3.1.3.
    """

    DOMAIN_CHARACTERS = "domain_characters"
    """Underscores anywhere in a label of a domain, and hyphens at its ends: ``ann@web_1.example``.

    Bends: RFC 5321 s4.1.2, ``sub-domain = Let-dig [Ldh-str]``.
    Sent by: hosts that are named after containers, virtual machines or Windows computers.
    Harmless: DNS looks such names up like any others. Empty labels, and labels of more than 63
    octets, which it cannot, are refused.
    """

    TRAILING_DOT = "trailing_dot"
    """A dot behind the domain: ``ann@example.org.``

    Bends: RFC 5321 s2.3.5, which wants names written without it.
    Sent by: scripts that take the domain from a DNS answer.
    Harmless: the dot is taken off by the parser, so that the name is one and the same everywhere.
    """

    MISSING_DOMAIN = "missing_domain"
    """A local part alone: ``RCPT TO:<ann>``; in MAIL only from those who have logged in and from
    relay networks.

    Bends: RFC 5321 s4.1.2, ``Mailbox = Local-part "@" ( Domain / address-literal )``.
    Sent by: cron, log watchers and other programs of the site's own hosts.
    Harmless: it means the mailbox of that name in the site's own domain (``delivery.origin``),
    which is put behind it before anything is checked.
    """

    ODD_GREETING = "odd_greeting"
    """An argument of EHLO, HELO or LHLO that is neither a domain nor an address literal.

    Bends: RFC 5321 s4.1.1.1.
    Sent by: Windows clients whose computer's name is in Latin-1 or has an apostrophe or a blank,
    and hosts that have no name, which send ``(none)``.
    Harmless: no name that a client gives itself is believed. Trace fields show it only if it is a
    domain or an address literal.
    """

    MISSING_GREETING = "missing_greeting"
    """MAIL before any greeting, and STARTTLS before one or after HELO.

    Bends: RFC 5321 s4.1.1.1, s4.1.4; RFC 3207 s4.
    Sent by: embedded devices and shell scripts.
    Harmless: a greeting proves nothing. Without EHLO no extension is on.
    """

    NUL_IN_TEXT = "nul_in_text"
    """NULs in content that is not declared to be binary.

    Bends: RFC 5322 s2.2, s3.1; RFC 5321 s2.3.1 with RFC 6152 s3.
    Sent by: programs that write fixed-size buffers, and old messages of MH and Exchange.
    Harmless: they are taken out before anything else looks at the line ends.
    """


Tolerances = frozenset[Tolerance]

ALL: Final[Tolerances] = frozenset(Tolerance)
"""Every tolerance: the default of a session, and how all that was stored is read."""

NONE: Final[Tolerances] = frozenset()
"""No tolerance: the grammar of the RFCs to the letter."""
