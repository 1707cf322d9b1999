"""What goes wrong with a host, and the replies that we make ourselves when none came.

A reply of ours is temporary unless retrying can never help. Its text names the host, for it ends in
logs, in `queue list` and in bounces.
"""

from twisted.python.failure import Failure

from postroom.errors import LOCAL_ERROR, Refusal, reply_for
from postroom.wire.client_session import Phase
from postroom.wire.replies import Reply, reply


class HostFailed(Refusal):
    """A host could not be used; the next one may be.

    Attributes:
        reply: what the host said, or what we say in its place.
        answered: True if the host itself said it.
    """

    def __init__(self, reply: Reply, answered: bool = False) -> None:
        """Take the reply that recipients get if no other host does better."""
        super().__init__(reply)
        self.answered = answered


class TLSFailed(HostFailed):
    """TLS failed with a host that might well be spoken to in clear text."""


class SessionExhausted(HostFailed):
    """The host accepts no more mail in this session; in another one it may."""

    def __init__(self, reply: Reply) -> None:
        """Store the reply that recipients get if there is no other session."""
        super().__init__(reply, answered=True)


def reply_of(failure: Failure) -> Reply:
    """Give the reply for a failure; see `postroom.errors.reply_for`."""
    return reply_for(failure.value) if failure.value is not None else LOCAL_ERROR


def unreachable(remote: str, why: str) -> Reply:
    """No TCP connection. RFC 3463 s3.5."""
    return reply(451, "4.4.1", f"Cannot connect to {remote}: {why}")


def lost(remote: str, phase: Phase) -> Reply:
    """The connection broke. RFC 5321 s3.8: as 451."""
    return reply(451, "4.4.2", f"Lost connection with {remote} {phase.phrase}")


def timed_out(remote: str, phase: Phase) -> Reply:
    """The host kept silent too long. RFC 5321 s4.5.3.2."""
    return reply(451, "4.4.2", f"Conversation with {remote} timed out {phase.phrase}")


def not_smtp(remote: str, phase: Phase, what: str) -> Reply:
    """The host broke the protocol. RFC 3463 s3.6."""
    return reply(451, "4.5.0", f"Protocol error of {remote} {phase.phrase}: {what}")


def tls_failed(remote: str, why: str, requiretls: bool) -> Reply:
    """TLS failed: for good only if the message must not go without. RFC 3207 s4.1; RFC 8689 s4.2.1.

    Args:
        remote: the host.
        why: the reason, in a few words.
        requiretls: True if the message asks for REQUIRETLS.
    """
    if requiretls:
        text = f"The message requires TLS, and TLS with {remote} failed: {why}"
        return reply(550, "5.7.10", text)
    return reply(451, "4.7.5", f"TLS with {remote} failed: {why}")


def login_failed(remote: str, why: str) -> Reply:
    """Our login was not possible; temporary, for the settings are at fault. RFC 4954 s6."""
    return reply(451, "4.7.8", f"Cannot log in to {remote}: {why}")


def too_big(remote: str, limit_octets: int) -> Reply:
    """The host named a limit that the message exceeds. RFC 1870 s6.1."""
    return reply(552, "5.3.4", f"Message is larger than {remote} takes ({limit_octets} octets)")


def no_requiretls(remote: str) -> Reply:
    """The message must go by TLS all the way, which that host does not promise. RFC 8689 s4.2.1."""
    return reply(550, "5.7.30", f"The message requires TLS, and {remote} lacks REQUIRETLS")


def no_utf8(remote: str, what: str) -> Reply:
    """Nothing is downgraded. RFC 6531 s3.2, s3.5."""
    return reply(553, "5.6.7", f"{what} cannot be sent to {remote}, which takes only ASCII ones")


def no_extension(remote: str, keyword: str) -> Reply:
    """A plugin's extension that the message cannot do without. RFC 3463 s3.7."""
    return reply(554, "5.6.3", f"The message needs {keyword}, which {remote} lacks")


def no_binary(remote: str) -> Reply:
    """Binary content and a host without CHUNKING and BINARYMIME. RFC 3030 s3; RFC 3463 s3.7."""
    return reply(554, "5.6.3", f"Binary content cannot be sent to {remote}, which takes only text")


def not_in_time(remote: str) -> Reply:
    """The host undertakes no delivery within the time that is left. RFC 2852 s4.1.4."""
    return reply(550, "5.4.7", f"{remote} does not deliver in the time that was asked for")


def no_deliver_by(remote: str) -> Reply:
    """Returned if late, so never to a host that does not know it. RFC 2852 s4.1.4."""
    return reply(550, "5.3.3", f"The time limit of the message is unknown to {remote}")


def no_valid_since(remote: str) -> Reply:
    """The recipient's owner cannot be checked there. RFC 7293 s5.2, s10.2."""
    return reply(550, "5.7.19", f"{remote} cannot check since when the recipient is the same")


def no_8bit(remote: str) -> Reply:
    """8-bit content, a host without 8BITMIME, and no conversion. RFC 6152 s3; RFC 3463 s3.7."""
    return reply(554, "5.6.3", f"8-bit content cannot be sent to {remote}, which takes 7-bit only")


def unclean(what: str) -> Reply:
    """The content must not leave us, ever. RFC 5321 s2.3.8."""
    return reply(554, "5.6.0", f"The message cannot be sent by SMTP: {what}")


def unsendable(what: str) -> Reply:
    """An address that no command can hold; it should never have been queued. RFC 3463 s3.2."""
    return reply(553, "5.1.3", f"The message cannot be sent by SMTP: {what}")


def exhausted(remote: str) -> Reply:
    """The host takes no more in one session, and no other session could be had. RFC 9422 s4."""
    return reply(451, "4.5.3", f"{remote} takes no more in one session")


STOPPING = reply(451, "4.3.2", "The sending system is shutting down")
INCOMPLETE = reply(451, "4.3.0", "The stored content is shorter than it was")
