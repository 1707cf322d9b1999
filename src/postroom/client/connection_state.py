"""The state machine of a connection to another mail server, as a table.

Rule 1: which stage of its life a connection is in, and what leads to another, is in this file.
Rule 2: this file knows nothing of commands, replies, sockets or time. What may be said in a session
is the business of `postroom.wire.client_session`.

`STEPS` has a line for each event that changes the stage. An event that has no line for a stage
changes nothing: a connection that is over stays over, whatever comes late.

    CONNECTING --connected--> INITIATION --opened--> IDLE --message--> SENDING
                               |      ^               ^                   |
                           start TLS  |               +---- delivered ----+
                               v      |
                     TLS_HANDSHAKE    | first reply
                               |      |
                            secured   |
                               v      |
                           TLS_UNCONFIRMED

    INITIATION, TLS_UNCONFIRMED, IDLE, SENDING --quit--> QUITTING
    every stage --close--> CLOSED

With TLS from the first octet the TLS handshake comes before the greeting; with STARTTLS it comes
after EHLO. Until a first reply has come through TLS, TLS is to blame for whatever goes wrong
(`TLS_IS_TO_BLAME`): the sender may then try the same host in clear text.

A connection is over (`OVER`) as soon as no more mail will be sent: while QUIT waits for its answer,
and when nothing is waited for but the end of the transport.
"""

from enum import Enum
from typing import Final


class Stage(Enum):
    """A stage in the life of a connection."""

    CONNECTING = "the TCP connection is being made"
    INITIATION = "greeting, EHLO and login"
    TLS_HANDSHAKE = "the TLS handshake"
    TLS_UNCONFIRMED = "within TLS, before the first reply"
    IDLE = "ready for a message"
    SENDING = "a message is being sent"
    QUITTING = "QUIT was sent"
    CLOSED = "nothing is sent or read any more"

    __hash__ = object.__hash__  # stages are looked up with every message, and each is one object


class Event(Enum):
    """What may change the stage of a connection."""

    CONNECTED = "the TCP connection was made"
    START_TLS = "the TLS handshake begins"
    SECURED = "the TLS handshake is done"
    REPLY = "a reply came"
    OPENED = "the host is ready for mail"
    MESSAGE = "there is a message to send"
    DELIVERED = "every recipient of the message is decided on"
    QUIT = "QUIT is sent"
    CLOSE = "the transport is closed, or lost"

    __hash__ = object.__hash__


STEPS: Final[dict[tuple[Stage, Event], Stage]] = {
    (Stage.CONNECTING, Event.CONNECTED): Stage.INITIATION,
    (Stage.INITIATION, Event.START_TLS): Stage.TLS_HANDSHAKE,
    (Stage.TLS_HANDSHAKE, Event.SECURED): Stage.TLS_UNCONFIRMED,
    (Stage.TLS_UNCONFIRMED, Event.REPLY): Stage.INITIATION,
    (Stage.INITIATION, Event.OPENED): Stage.IDLE,
    (Stage.IDLE, Event.MESSAGE): Stage.SENDING,
    (Stage.SENDING, Event.DELIVERED): Stage.IDLE,
    (Stage.INITIATION, Event.QUIT): Stage.QUITTING,
    (Stage.TLS_UNCONFIRMED, Event.QUIT): Stage.QUITTING,
    (Stage.IDLE, Event.QUIT): Stage.QUITTING,
    (Stage.SENDING, Event.QUIT): Stage.QUITTING,
    **{(stage, Event.CLOSE): Stage.CLOSED for stage in Stage},
}

OVER: Final = frozenset({Stage.QUITTING, Stage.CLOSED})
"""The stages in which no more mail is sent."""

OPEN: Final = frozenset({Stage.IDLE, Stage.SENDING})
"""The stages in which the connection has an owner that gives it messages."""

TLS_IS_TO_BLAME: Final = frozenset({Stage.TLS_HANDSHAKE, Stage.TLS_UNCONFIRMED})
"""The stages in which a failure is one of TLS."""


def next_stage(stage: Stage, event: Event) -> Stage:
    """Return the stage that an event leads to; the same one if it changes nothing."""
    return STEPS.get((stage, event), stage)
