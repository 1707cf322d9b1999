"""The server's state machine, as tables.

Rule 1: everything that decides which command is legal when, and what follows, is in this file.
Rule 2: this file knows nothing of deliveries, policy, sockets or time.

Theory of operation
-------------------

The machine has two inputs: *a command arrived* and *we replied*. `STEPS` answers both. For a phase
and a verb it holds either a `Reply`, when the command is out of place there, or the `Phase` that a
positive reply to it leads to. A negative reply leaves the phase as it is (RFC 5321 s4.1.4), with
two exceptions that stand in the table's second half, `AFTER_FAILURE`: the end of the content closes
the transaction whatever we say to it, and a failed authentication is over.

Two replies lead elsewhere than their verb says, since they ask for more: 354 and 334
(`INTERMEDIATE`).

Between a command and the reply to it nothing else can happen: see `session.ServerSession`.

    GREETING --220--> HELLO --EHLO--> READY --MAIL--> SENDER --RCPT--> RECIPIENTS --DATA, 354--+
        |                              |  ^              |                 |                   |
       554                       334  AUTH|RSET, EHLO <--+-----------------+             CONTENT
        v                              v  |                                                    |
    TURNED_AWAY                    CHALLENGE           READY <------------ end of content -----+

STARTTLS leads to HANDSHAKE from anywhere after EHLO, and from there to no phase at all: the session
object is thrown away and a new one begins in HELLO. What was said in clear text cannot be kept by
mistake (RFC 3207 s4.2). QUIT leads to CLOSED from everywhere.
"""

from enum import Enum
from typing import Final

from postroom.wire.replies import Reply, reply


class Phase(Enum):
    """Where a session stands."""

    GREETING = "before the greeting"
    TURNED_AWAY = "after a 554 greeting"
    HELLO = "before EHLO or HELO"
    READY = "between transactions"
    SENDER = "after MAIL"
    RECIPIENTS = "after RCPT"
    CONTENT = "within the content"
    CHALLENGE = "within AUTH"
    HANDSHAKE = "before the TLS handshake"
    CLOSED = "after QUIT"


END_OF_CONTENT: Final = "."
"""The pseudo-verb of the dot that ends the content."""

RESPONSE: Final = "="
"""The pseudo-verb of a client's line within AUTH."""

EHLO_FIRST: Final = reply(503, "5.5.1", "Send EHLO or HELO first")
MAIL_FIRST: Final = reply(503, "5.5.1", "Send MAIL first")
NESTED_MAIL: Final = reply(503, "5.5.1", "A transaction is open already")
NO_RECIPIENTS: Final = reply(554, "5.5.1", "No valid recipients")
NOT_IN_TRANSACTION: Final = reply(503, "5.5.1", "AUTH is not allowed within a transaction")
EXTENSION_NEEDS_EHLO: Final = reply(503, "5.5.1", "Send EHLO first")
NO_SERVICE: Final = reply(503, "5.5.1", "No service here, send QUIT")

_VERBS: Final = (
    *("EHLO", "HELO", "MAIL", "RCPT", "DATA", "RSET"),
    *("NOOP", "QUIT", "VRFY", "HELP", "AUTH", "STARTTLS"),
)


def _anywhere(here: Phase) -> dict[str, Phase | Reply]:
    """Give the verbs that are legal wherever commands are: RFC 5321 s4.1.4."""
    return {"NOOP": here, "HELP": here, "VRFY": here, "QUIT": Phase.CLOSED}


_HELLO: Final[dict[str, Phase | Reply]] = {"EHLO": Phase.READY, "HELO": Phase.READY}
_RESTART: Final[dict[str, Phase | Reply]] = {**_HELLO, "RSET": Phase.READY}

STEPS: Final[dict[Phase, dict[str, Phase | Reply]]] = {
    Phase.TURNED_AWAY: {
        **dict.fromkeys(_VERBS, NO_SERVICE),
        "QUIT": Phase.CLOSED,
    },  # RFC 5321 s3.1
    Phase.HELLO: {
        **_anywhere(Phase.HELLO),
        **_HELLO,
        "RSET": Phase.HELLO,
        "MAIL": EHLO_FIRST,
        "RCPT": EHLO_FIRST,
        "DATA": EHLO_FIRST,
        "AUTH": EXTENSION_NEEDS_EHLO,
        "STARTTLS": EXTENSION_NEEDS_EHLO,
    },
    Phase.READY: {
        **_anywhere(Phase.READY),
        **_RESTART,
        "MAIL": Phase.SENDER,
        "RCPT": MAIL_FIRST,
        "DATA": MAIL_FIRST,
        "AUTH": Phase.READY,
        "STARTTLS": Phase.HANDSHAKE,
    },
    Phase.SENDER: {
        **_anywhere(Phase.SENDER),
        **_RESTART,
        "MAIL": NESTED_MAIL,
        "RCPT": Phase.RECIPIENTS,
        "DATA": NO_RECIPIENTS,
        "AUTH": NOT_IN_TRANSACTION,  # RFC 4954 s4
        "STARTTLS": Phase.HANDSHAKE,
    },
    Phase.RECIPIENTS: {
        **_anywhere(Phase.RECIPIENTS),
        **_RESTART,
        "MAIL": NESTED_MAIL,
        "RCPT": Phase.RECIPIENTS,
        "DATA": Phase.CONTENT,
        "AUTH": NOT_IN_TRANSACTION,
        "STARTTLS": Phase.HANDSHAKE,
    },
    Phase.CONTENT: {END_OF_CONTENT: Phase.READY},
    Phase.CHALLENGE: {RESPONSE: Phase.READY},
}

AFTER_FAILURE: Final[dict[str, Phase]] = {
    END_OF_CONTENT: Phase.READY,
    RESPONSE: Phase.READY,
}

INTERMEDIATE: Final[dict[int, Phase]] = {354: Phase.CONTENT, 334: Phase.CHALLENGE}

IN_TRANSACTION: Final = frozenset({Phase.SENDER, Phase.RECIPIENTS, Phase.CONTENT})
"""The phases in which an envelope is open."""
