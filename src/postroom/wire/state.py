"""The server's state machine, as tables.

Rule 1: everything that decides which command is legal when, and what follows, is in this file.
Rule 2: this file knows nothing of deliveries, policy, sockets or time.

Theory of operation
-------------------

The machine has two inputs: *a command arrived* and *we replied*. `STEPS` answers both. For a phase
and a verb it holds either a `Reply`, when the command is out of place there, or the `Phase` that a
positive reply to it leads to. A negative reply leaves the phase as it is (RFC 5321 s4.1.4), with
the exceptions that stand in the table's second half, `AFTER_FAILURE`: the end of the content closes
the transaction whatever the reply, a failed authentication is over, and after a refused chunk only
RSET or a new greeting is legal.

Two replies lead elsewhere than their verb says, since they ask for more: 354 and 334
(`INTERMEDIATE`).

Between a command and the reply to it nothing else can happen: see `session.ServerSession`.

    GREETING --220--> HELLO --EHLO--> READY --MAIL--> SENDER --RCPT--> RECIPIENTS --DATA, 354--+
        |                              |  ^              |                 |                   |
       554                       334  AUTH|RSET, EHLO <--+-----------------+             CONTENT
        v                              v  |                                                    |
    TURNED_AWAY                    CHALLENGE           READY <------------ end of content -----+

BDAT takes another way from RECIPIENTS (RFC 3030 s2). A chunk changes the phase only when it is
answered; the last chunk is an input of its own.

    RECIPIENTS --BDAT--> CHUNKS --BDAT--> CHUNKS --BDAT LAST--> READY
        any chunk but the last that is refused --> BROKEN --RSET, EHLO--> READY

STARTTLS leads to HANDSHAKE from anywhere after EHLO, and from there to no phase at all: the session
object is dropped and a new one starts in HELLO. So nothing that was sent in clear text can be kept
by mistake (RFC 3207 s4.2). XCLIENT leads to RESTART in the same way, and a new session starts with
its greeting. LHLO is the EHLO of LMTP; where one is spoken, the other is barred. QUIT leads to
CLOSED from everywhere.

A session that tolerates a missing greeting uses `STEPS_WITHOUT_GREETING`, where MAIL and STARTTLS
are legal in HELLO, too.
"""

from enum import Enum
from typing import Final

from postroom.wire.replies import Reply, reply


class Phase(Enum):
    """The phase of a session: it decides which commands are legal."""

    GREETING = "before the greeting"
    TURNED_AWAY = "after a 554 greeting"
    HELLO = "before EHLO or HELO"
    READY = "between transactions"
    SENDER = "after MAIL"
    RECIPIENTS = "after RCPT"
    CONTENT = "within the content"
    CHUNKS = "between chunks"
    BROKEN = "after a chunk that was refused"
    CHALLENGE = "within AUTH"
    HANDSHAKE = "before the TLS handshake"
    RESTART = "before a new greeting"
    CLOSED = "after QUIT"

    __hash__ = object.__hash__  # phases are looked up with every command, and each is one object


END_OF_CONTENT: Final = "."
"""The pseudo-verb of the dot that ends the content."""

LAST_CHUNK: Final = "BDAT LAST"
"""The pseudo-verb of the chunk that ends the content."""

RESPONSE: Final = "="
"""The pseudo-verb of a client's line within AUTH."""

EHLO_FIRST: Final = reply(503, "5.5.1", "Send EHLO or HELO first")
MAIL_FIRST: Final = reply(503, "5.5.1", "Send MAIL first")
NESTED_MAIL: Final = reply(503, "5.5.1", "A transaction is open already")
NO_RECIPIENTS: Final = reply(554, "5.5.1", "No valid recipients")
NOT_IN_TRANSACTION: Final = reply(503, "5.5.1", "Not allowed within a transaction")
CHUNKS_BEGAN: Final = reply(503, "5.5.1", "Send BDAT or RSET")
RSET_FIRST: Final = reply(503, "5.5.1", "The message has failed, send RSET first")
EXTENSION_NEEDS_EHLO: Final = reply(503, "5.5.1", "Send EHLO first")
NO_SERVICE: Final = reply(503, "5.5.1", "No service here, send QUIT")

_VERBS: Final = (
    *("EHLO", "HELO", "LHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT"),
    *("VRFY", "EXPN", "HELP", "ETRN", "AUTH", "STARTTLS", "XCLIENT", "XFORWARD"),
)


def _anywhere(here: Phase) -> dict[str, Phase | Reply]:
    """Return the verbs that are legal wherever commands are. RFC 5321 s4.1.4."""
    return {**dict.fromkeys(("NOOP", "HELP", "VRFY", "EXPN"), here), "QUIT": Phase.CLOSED}


_HELLO: Final[dict[str, Phase | Reply]] = dict.fromkeys(("EHLO", "HELO", "LHLO"), Phase.READY)
_RESTART: Final[dict[str, Phase | Reply]] = {**_HELLO, "RSET": Phase.READY}
# Between transactions only: AUTH by RFC 4954 s4.
_ASIDE: Final[dict[str, Phase | Reply]] = dict.fromkeys(
    ("AUTH", "ETRN", "XCLIENT", "XFORWARD"), NOT_IN_TRANSACTION
)
_WITHIN: Final[dict[str, Phase | Reply]] = {
    **_RESTART,
    **_ASIDE,
    "MAIL": NESTED_MAIL,
    "STARTTLS": Phase.HANDSHAKE,
}

STEPS: Final[dict[Phase, dict[str, Phase | Reply]]] = {
    Phase.TURNED_AWAY: {
        **dict.fromkeys(_VERBS, NO_SERVICE),
        "QUIT": Phase.CLOSED,
    },  # RFC 5321 s3.1
    Phase.HELLO: {
        **_anywhere(Phase.HELLO),
        **_HELLO,
        "RSET": Phase.HELLO,
        **dict.fromkeys(("MAIL", "RCPT", "DATA", "BDAT"), EHLO_FIRST),
        **dict.fromkeys(("AUTH", "STARTTLS", "ETRN", "XCLIENT", "XFORWARD"), EXTENSION_NEEDS_EHLO),
    },
    Phase.READY: {
        **_anywhere(Phase.READY),
        **_RESTART,
        "MAIL": Phase.SENDER,
        **dict.fromkeys(("RCPT", "DATA", "BDAT"), MAIL_FIRST),
        **dict.fromkeys(("AUTH", "ETRN", "XFORWARD"), Phase.READY),
        "STARTTLS": Phase.HANDSHAKE,
        "XCLIENT": Phase.RESTART,
    },
    Phase.SENDER: {
        **_anywhere(Phase.SENDER),
        **_WITHIN,
        "RCPT": Phase.RECIPIENTS,
        **dict.fromkeys(("DATA", "BDAT"), NO_RECIPIENTS),
    },
    Phase.RECIPIENTS: {
        **_anywhere(Phase.RECIPIENTS),
        **_WITHIN,
        "RCPT": Phase.RECIPIENTS,
        "DATA": Phase.CONTENT,
        "BDAT": Phase.CHUNKS,
        LAST_CHUNK: Phase.READY,
    },
    Phase.CHUNKS: {
        **_anywhere(Phase.CHUNKS),
        **_WITHIN,
        **dict.fromkeys(("RCPT", "DATA"), CHUNKS_BEGAN),  # RFC 3030 s2
        "BDAT": Phase.CHUNKS,
        LAST_CHUNK: Phase.READY,
    },
    Phase.BROKEN: {
        **_anywhere(Phase.BROKEN),
        **_WITHIN,
        **dict.fromkeys(("MAIL", "RCPT", "DATA", "BDAT"), RSET_FIRST),  # RFC 3030 s2
    },
    Phase.CONTENT: {END_OF_CONTENT: Phase.READY},
    Phase.CHALLENGE: {RESPONSE: Phase.READY},
}

STEPS_WITHOUT_GREETING: Final[dict[Phase, dict[str, Phase | Reply]]] = {
    **STEPS,
    Phase.HELLO: {**STEPS[Phase.HELLO], "MAIL": Phase.SENDER, "STARTTLS": Phase.HANDSHAKE},
}
"""The steps of a session that tolerates a missing greeting, see `tolerance.Tolerance`."""

AFTER_FAILURE: Final[dict[str, Phase]] = {
    END_OF_CONTENT: Phase.READY,
    RESPONSE: Phase.READY,
    "BDAT": Phase.BROKEN,
    LAST_CHUNK: Phase.READY,
}

INTERMEDIATE: Final[dict[int, Phase]] = {354: Phase.CONTENT, 334: Phase.CHALLENGE}

IN_TRANSACTION: Final = frozenset({Phase.SENDER, Phase.RECIPIENTS, Phase.CONTENT, Phase.CHUNKS})
"""The phases in which an envelope is open."""
