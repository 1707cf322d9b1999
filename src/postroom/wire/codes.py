"""The reply codes and enhanced status codes of SMTP, each once.

The server names its replies by these numbers, the client tells them apart by their first digit, and
the packet view describes them. A code that is in no table is still legal: a client acts on the
first digit alone (RFC 5321 s4.2.1).
"""

from typing import Final

REPLY_SYSTEM_STATUS: Final = 211  # RFC 5321 s4.2.3
REPLY_HELP: Final = 214  # RFC 5321 s4.2.3
REPLY_SERVICE_READY: Final = 220  # RFC 5321 s4.2.3; RFC 3207 s4
REPLY_CLOSING: Final = 221  # RFC 5321 s4.2.3
REPLY_AUTH_SUCCESS: Final = 235  # RFC 4954 s6
REPLY_OK: Final = 250  # RFC 5321 s4.2.3
REPLY_USER_NOT_LOCAL: Final = 251  # RFC 5321 s3.4
REPLY_CANNOT_VRFY: Final = 252  # RFC 5321 s3.5.3
REPLY_MESSAGES_PENDING: Final = 253  # RFC 1985 s5.3
REPLY_AUTH_INPUT: Final = 334  # RFC 4954 s4
REPLY_RECIPIENTS_FOLLOW: Final = 353
REPLY_DATA_INPUT: Final = 354  # RFC 5321 s4.2.3
REPLY_SERVICE_UNAVAIL: Final = 421  # RFC 5321 s3.8
REPLY_PASSWORD_TRANSITION: Final = 432  # RFC 4954 s6
REPLY_MAILBOX_UNAVAIL: Final = 450  # RFC 5321 s4.2.3
REPLY_LOCAL_ERROR: Final = 451  # RFC 5321 s4.2.3
REPLY_INSUFF_STORAGE: Final = 452  # RFC 5321 s4.2.3
REPLY_NO_MAIL: Final = 453  # RFC 2645 s5
REPLY_TEMP_AUTH_FAIL: Final = 454  # RFC 4954 s6; RFC 3207 s4
REPLY_PARAMETERS_NOT_ACCOMMODATED: Final = 455  # RFC 5321 s4.2.3
REPLY_CANNOT_QUEUE: Final = 458  # RFC 1985 s5.3
REPLY_NODE_NOT_ALLOWED: Final = 459  # RFC 1985 s5.3
REPLY_CMD_UNRECOGNIZED: Final = 500  # RFC 5321 s4.2.3
REPLY_ARG_SYNTAX_ERROR: Final = 501  # RFC 5321 s4.2.3
REPLY_CMD_NOT_IMPL: Final = 502  # RFC 5321 s4.2.3
REPLY_BAD_CMD_SEQUENCE: Final = 503  # RFC 5321 s4.2.3
REPLY_CMD_NOT_IMPL_PARAM: Final = 504  # RFC 5321 s4.2.3
REPLY_HOST_ACCEPTS_NO_MAIL: Final = 521  # RFC 7504 s2
REPLY_STRONGER_ENCRYPTION_NEEDED: Final = 523
REPLY_AUTH_REQUIRED: Final = 530  # RFC 4954 s6; RFC 3207 s4
REPLY_AUTH_TOO_WEAK: Final = 534  # RFC 4954 s6
REPLY_AUTH_FAILED: Final = 535  # RFC 4954 s6
REPLY_ENCRYPTION_REQUIRED: Final = 538  # RFC 4954 s6
REPLY_MAILBOX_UNAVAIL_PERM: Final = 550  # RFC 5321 s4.2.3
REPLY_USER_NOT_LOCAL_PERM: Final = 551  # RFC 5321 s3.4
REPLY_EXCEED_STORAGE: Final = 552  # RFC 5321 s4.2.3
REPLY_MAILBOX_NAME_INVALID: Final = 553  # RFC 5321 s4.2.3
REPLY_TRANSACTION_FAILED: Final = 554  # RFC 5321 s4.2.3
REPLY_PARAMETERS_NOT_RECOGNIZED: Final = 555  # RFC 5321 s4.1.1.11
REPLY_DOMAIN_ACCEPTS_NO_MAIL: Final = 556  # RFC 7504 s3

REPLY_CODES: Final[dict[int, str]] = {
    REPLY_SYSTEM_STATUS: "System status, or system help reply",
    REPLY_HELP: "Help message",
    REPLY_SERVICE_READY: "Service ready",
    REPLY_CLOSING: "Service closing transmission channel",
    REPLY_AUTH_SUCCESS: "Authentication succeeded",
    REPLY_OK: "Requested mail action okay, completed",
    REPLY_USER_NOT_LOCAL: "User not local; will forward",
    REPLY_CANNOT_VRFY: "Cannot verify user, but will accept message and attempt delivery",
    REPLY_MESSAGES_PENDING: "Pending messages for the node started",
    REPLY_AUTH_INPUT: "Server challenge",
    REPLY_RECIPIENTS_FOLLOW: "Responses for recipients follow (PRDR)",
    REPLY_DATA_INPUT: "Start mail input",
    REPLY_SERVICE_UNAVAIL: "Service not available, closing transmission channel",
    REPLY_PASSWORD_TRANSITION: "A password transition is needed",
    REPLY_MAILBOX_UNAVAIL: "Requested mail action not taken: mailbox unavailable",
    REPLY_LOCAL_ERROR: "Requested action aborted: local error in processing",
    REPLY_INSUFF_STORAGE: "Requested action not taken: insufficient system storage",
    REPLY_NO_MAIL: "You have no mail",
    REPLY_TEMP_AUTH_FAIL: "Temporary authentication or TLS failure",
    REPLY_PARAMETERS_NOT_ACCOMMODATED: "Server unable to accommodate parameters",
    REPLY_CANNOT_QUEUE: "Unable to queue messages for the node",
    REPLY_NODE_NOT_ALLOWED: "Node not allowed",
    REPLY_CMD_UNRECOGNIZED: "Syntax error, command unrecognized",
    REPLY_ARG_SYNTAX_ERROR: "Syntax error in parameters or arguments",
    REPLY_CMD_NOT_IMPL: "Command not implemented",
    REPLY_BAD_CMD_SEQUENCE: "Bad sequence of commands",
    REPLY_CMD_NOT_IMPL_PARAM: "Command parameter not implemented",
    REPLY_HOST_ACCEPTS_NO_MAIL: "Host does not accept mail",
    REPLY_STRONGER_ENCRYPTION_NEEDED: "Message needs encryption stronger than offered",
    REPLY_AUTH_REQUIRED: "Authentication required",
    REPLY_AUTH_TOO_WEAK: "Authentication mechanism is too weak",
    REPLY_AUTH_FAILED: "Authentication credentials invalid",
    REPLY_ENCRYPTION_REQUIRED: "Encryption required for requested authentication mechanism",
    REPLY_MAILBOX_UNAVAIL_PERM: "Requested action not taken: mailbox unavailable",
    REPLY_USER_NOT_LOCAL_PERM: "User not local; please try another path",
    REPLY_EXCEED_STORAGE: "Requested mail action aborted: exceeded storage allocation",
    REPLY_MAILBOX_NAME_INVALID: "Requested action not taken: mailbox name not allowed",
    REPLY_TRANSACTION_FAILED: "Transaction failed, or no SMTP service here",
    REPLY_PARAMETERS_NOT_RECOGNIZED: "MAIL or RCPT parameters not recognized or not implemented",
    REPLY_DOMAIN_ACCEPTS_NO_MAIL: "Domain does not accept mail",
}

ENHANCED_CODES: Final[dict[tuple[int, int], str]] = {
    # (subject, detail), to be read after a class of 2, 4 or 5: RFC 3463 s3 and the IANA registry.
    (0, 0): "Other undefined status",
    (1, 0): "Other address status",
    (1, 1): "Bad destination mailbox address",
    (1, 2): "Bad destination system address",
    (1, 3): "Bad destination mailbox address syntax",
    (1, 4): "Destination mailbox address ambiguous",
    (1, 5): "Destination address valid",
    (1, 6): "Destination mailbox has moved, no forwarding address",
    (1, 7): "Bad sender's mailbox address syntax",
    (1, 8): "Bad sender's system address",
    (1, 9): "Message relayed to non-compliant mailer",
    (1, 10): "Recipient address has null MX",
    (2, 0): "Other or undefined mailbox status",
    (2, 1): "Mailbox disabled, not accepting messages",
    (2, 2): "Mailbox full",
    (2, 3): "Message length exceeds administrative limit",
    (2, 4): "Mailing list expansion problem",
    (3, 0): "Other or undefined mail system status",
    (3, 1): "Mail system full",
    (3, 2): "System not accepting network messages",
    (3, 3): "System not capable of selected features",
    (3, 4): "Message too big for system",
    (3, 5): "System incorrectly configured",
    (4, 0): "Other or undefined network or routing status",
    (4, 1): "No answer from host",
    (4, 2): "Bad connection",
    (4, 3): "Directory server failure",
    (4, 4): "Unable to route",
    (4, 5): "Mail system congestion",
    (4, 6): "Routing loop detected",
    (4, 7): "Delivery time expired",
    (5, 0): "Other or undefined protocol status",
    (5, 1): "Invalid command",
    (5, 2): "Syntax error",
    (5, 3): "Too many recipients",
    (5, 4): "Invalid command arguments",
    (5, 5): "Wrong protocol version",
    (5, 6): "Authentication exchange line is too long",
    (6, 0): "Other or undefined media error",
    (6, 1): "Media not supported",
    (6, 2): "Conversion required and prohibited",
    (6, 3): "Conversion required but not supported",
    (6, 6): "Message content not available",
    (6, 7): "Non-ASCII addresses not permitted for that sender or recipient",
    (7, 0): "Other or undefined security status",
    (7, 1): "Delivery not authorized, message refused",
    (7, 4): "Security features not supported",
    (7, 7): "Message integrity failure",
    (7, 8): "Authentication credentials invalid",
    (7, 9): "Authentication mechanism is too weak",
    (7, 10): "Encryption needed",
    (7, 11): "Encryption required for requested authentication mechanism",
}


def reply_code_description(code: int) -> str:
    """Return the meaning of a reply code in a few words.

    Args:
        code: three digits, 200 to 599; any other number is described as unknown.

    Returns:
        The text of the table, or one for the code's first digit.

    RFC 5321 s4.2.1, s4.2.3
    """
    classes = {2: "Success", 3: "More input wanted", 4: "Temporary failure", 5: "Permanent failure"}
    return REPLY_CODES.get(code) or classes.get(code // 100, "Unknown reply code")
