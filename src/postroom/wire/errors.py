"""What can be wrong with octets.

`RemoteViolation` is the peer's fault, `LocalViolation` ours; nothing else leaves `postroom.wire`.
"""

from postroom.wire.replies import Reply


class RemoteViolation(Exception):
    """The peer sent something that SMTP does not allow."""


class SyntaxViolation(RemoteViolation):
    """A command that cannot be read.

    Attributes:
        reply: the reply that says what is wrong with it and where.
    """

    def __init__(self, reply: Reply) -> None:
        """Store the reply that the peer is to get."""
        super().__init__(str(reply))
        self.reply = reply


class ReplyViolation(RemoteViolation):
    """A server's answer that is not an SMTP reply; the connection must be closed."""

    def __init__(self, what: str, line: bytes) -> None:
        """Store what was wrong, and the start of the line for the log."""
        super().__init__(f"{what}: {line[:80]!r}")
        self.line = line


class LocalViolation(ValueError):
    """Our own code asked for something that SMTP does not allow: a bug, or unclean data.

    It is raised before anything reaches the wire. A program that builds packets from somebody's
    input may catch it as the `ValueError` that it is.
    """
