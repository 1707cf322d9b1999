"""The exceptions of Postroom, and the one place where a failure becomes a reply.

Only a deliberate `Refusal` is ever permanent. Any other exception is our own fault, or the disk's:
the peer gets a temporary reply, the log gets the details, and nothing is lost (RFC 5321 s6.1).
"""

import errno

from postroom.wire.replies import Reply, reply


class PostroomError(Exception):
    """Anything that Postroom raises on purpose."""


class Refusal(PostroomError):
    """A deliberate answer to the peer, temporary or permanent.

    Raising it from any extension point gives the peer exactly this reply.

    Attributes:
        reply: a reply of 4yz or 5yz.
    """

    def __init__(self, reply: Reply) -> None:
        """Store the reply that the peer is to get."""
        super().__init__(str(reply))
        self.reply = reply


class UserError(PostroomError):
    """An error that the user can correct; its text is the one line that they are shown.

    Wrong settings, an unknown account, a database that cannot be opened, a port in use: the command
    or the daemon prints the text and exits with status 1, without a traceback.
    """


class Unavailable(PostroomError):
    """An outside service cannot answer now: a temporary failure, and not our fault.

    Its text names the service, in one line. The code that raises it has already logged the cause,
    so no traceback is needed.
    """


LOCAL_ERROR = reply(451, "4.3.0", "Local error in processing, try again later")
NO_SPACE = reply(452, "4.3.1", "Insufficient system storage, try again later")

_NO_SPACE_ERRNO = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def reply_for(error: BaseException) -> Reply:
    """Return the reply for an exception.

    Args:
        error: what an extension point, the store or the disk raised.

    Returns:
        A refusal's own reply; 452 4.3.1 for a full disk or quota; 451 4.3.0 for all else.

    RFC 5321 s4.2.1, s6.1; RFC 3463 s3.4
    """
    if isinstance(error, Refusal):
        return error.reply
    if isinstance(error, OSError) and error.errno in _NO_SPACE_ERRNO:
        return NO_SPACE
    return LOCAL_ERROR
