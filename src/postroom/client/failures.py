"""The ways in which a host can fail, and the replies that we make when the host sent none.

A reply of ours is temporary unless retrying can never help. Its text names the host, because it is
shown in logs, in `queue list` and in bounces.
"""

from twisted.python.failure import Failure

from postroom.errors import LOCAL_ERROR, Refusal, reply_for
from postroom.wire.client_session import ClientPhase
from postroom.wire.replies import Reply, reply


class HostFailed(Refusal):
    """A host could not be used; the next one may be.

    Attributes:
        reply: of the host, or one that we made.
        answered: True if the host itself sent it.
    """

    def __init__(self, reply: Reply, answered: bool = False) -> None:
        """Store the reply that recipients get if no other host can be used."""
        super().__init__(reply)
        self.answered = answered


class TLSFailed(HostFailed):
    """TLS failed with a host that may be reachable in clear text."""


class SessionExhausted(HostFailed):
    """The host accepts no more mail in this session; in another one it may."""

    def __init__(self, reply: Reply) -> None:
        """Store the reply that recipients get if there is no other session."""
        super().__init__(reply, answered=True)


def reply_of(failure: Failure) -> Reply:
    """Return the reply for a failure; see `postroom.errors.reply_for`."""
    return reply_for(failure.value) if failure.value is not None else LOCAL_ERROR


def unreachable(remote: str, why: str) -> Reply:
    """Return the reply if there is no TCP connection. RFC 3463 s3.5."""
    return reply(451, "4.4.1", f"Cannot connect to {remote}: {why}")


def lost(remote: str, phase: ClientPhase) -> Reply:
    """Return the reply if the connection was lost. RFC 5321 s3.8: as 451."""
    return reply(451, "4.4.2", f"Lost connection with {remote} {phase.phrase}")


def timed_out(remote: str, phase: ClientPhase) -> Reply:
    """Return the reply if the host did not answer in time. RFC 5321 s4.5.3.2."""
    return reply(451, "4.4.2", f"Conversation with {remote} timed out {phase.phrase}")


def not_smtp(remote: str, phase: ClientPhase, what: str) -> Reply:
    """Return the reply if the host broke the protocol. RFC 3463 s3.6."""
    return reply(451, "4.5.0", f"Protocol error of {remote} {phase.phrase}: {what}")


def tls_failed(remote: str, why: str, requiretls: bool) -> Reply:
    """Return the reply if TLS failed: permanent if the message must not be sent without it.

    Args:
        remote: the host.
        why: the reason, in a few words.
        requiretls: True if the message asks for REQUIRETLS.

    RFC 3207 s4.1; RFC 8689 s4.2.1
    """
    if requiretls:
        text = f"The message requires TLS, and TLS with {remote} failed: {why}"
        return reply(550, "5.7.10", text)
    return reply(451, "4.7.5", f"TLS with {remote} failed: {why}")


def login_failed(remote: str, why: str) -> Reply:
    """Return the reply if our login failed: temporary, the settings are at fault. RFC 4954 s6."""
    return reply(451, "4.7.8", f"Cannot log in to {remote}: {why}")


def too_big(remote: str, limit_octets: int) -> Reply:
    """Return the reply if the message exceeds the host's limit. RFC 1870 s6.1."""
    return reply(
        552, "5.3.4", f"Message exceeds the size limit of {remote} ({limit_octets} octets)"
    )


def no_requiretls(remote: str) -> Reply:
    """Return the reply if REQUIRETLS is needed and not offered. RFC 8689 s4.2.1."""
    return reply(550, "5.7.30", f"The message requires TLS, and {remote} does not offer REQUIRETLS")


def no_utf8(remote: str, what: str) -> Reply:
    """Return the reply if SMTPUTF8 is needed and not offered. RFC 6531 s3.2, s3.5."""
    return reply(553, "5.6.7", f"{what} cannot be sent to {remote}, which does not offer SMTPUTF8")


def no_extension(remote: str, keyword: str) -> Reply:
    """Return the reply if a plugin's extension is needed and not offered. RFC 3463 s3.7."""
    return reply(554, "5.6.3", f"The message needs {keyword}, which {remote} does not offer")


def no_binary(remote: str) -> Reply:
    """Return the reply if binary content cannot be sent. RFC 3030 s3; RFC 3463 s3.7."""
    return reply(
        554, "5.6.3", f"Binary content cannot be sent to {remote}, which accepts only text"
    )


def not_in_time(remote: str) -> Reply:
    """Return the reply if the host does not deliver in the time left. RFC 2852 s4.1.4."""
    return reply(550, "5.4.7", f"{remote} does not deliver within the requested time")


def no_deliver_by(remote: str) -> Reply:
    """Return the reply if a time limit with return needs DELIVERBY. RFC 2852 s4.1.4."""
    return reply(
        550, "5.3.3", f"The message has a time limit, and {remote} does not support DELIVERBY"
    )


def no_valid_since(remote: str) -> Reply:
    """Return the reply if RRVS is needed and not offered. RFC 7293 s5.2, s10.2."""
    return reply(
        550, "5.7.19", f"{remote} cannot check since when the recipient has had the address"
    )


def no_8bit(remote: str) -> Reply:
    """Return the reply if 8-bit content cannot be sent. RFC 6152 s3; RFC 3463 s3.7."""
    return reply(
        554, "5.6.3", f"8-bit content cannot be sent to {remote}, which accepts only 7-bit content"
    )


def unclean(what: str) -> Reply:
    """Return the reply if the content can never be sent. RFC 5321 s2.3.8."""
    return reply(554, "5.6.0", f"The message cannot be sent by SMTP: {what}")


def unsendable(what: str) -> Reply:
    """Return the reply if an address fits into no command. RFC 3463 s3.2."""
    return reply(553, "5.1.3", f"The message cannot be sent by SMTP: {what}")


def exhausted(remote: str) -> Reply:
    """Return the reply if a session's limits are reached and there is no other. RFC 9422 s4."""
    return reply(451, "4.5.3", f"{remote} accepts no more mail in one session")


STOPPING = reply(451, "4.3.2", "The sending system is shutting down")
INCOMPLETE = reply(451, "4.3.0", "The stored content is incomplete")
