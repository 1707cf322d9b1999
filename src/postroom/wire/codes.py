"""The reply codes and enhanced status codes of SMTP, each once.

The server names its replies by these numbers, the client tells them apart by their first digit,
and the packet view describes them. A code that is in no table is still legal on the wire: a client
acts on the first digit alone (RFC 5321 s4.2.1).
"""

from typing import Final

REPLY_CODES: Final[dict[int, str]] = {
    211: "System status, or system help reply",  # RFC 5321 s4.2.3
    214: "Help message",  # RFC 5321 s4.2.3
    220: "Service ready",  # RFC 5321 s4.2.3; RFC 3207 s4
    221: "Service closing transmission channel",  # RFC 5321 s4.2.3
    235: "Authentication succeeded",  # RFC 4954 s6
    250: "Requested mail action okay, completed",  # RFC 5321 s4.2.3
    251: "User not local; will forward",  # RFC 5321 s3.4
    252: "Cannot verify user, but will accept message and attempt delivery",  # RFC 5321 s3.5.3
    334: "Server challenge",  # RFC 4954 s4
    353: "Responses for recipients follow (PRDR)",
    354: "Start mail input",  # RFC 5321 s4.2.3
    421: "Service not available, closing transmission channel",  # RFC 5321 s3.8
    432: "A password transition is needed",  # RFC 4954 s6
    450: "Requested mail action not taken: mailbox unavailable",  # RFC 5321 s4.2.3
    451: "Requested action aborted: local error in processing",  # RFC 5321 s4.2.3
    452: "Requested action not taken: insufficient system storage",  # RFC 5321 s4.2.3
    453: "You have no mail",  # RFC 2645 s5
    454: "Temporary authentication or TLS failure",  # RFC 4954 s6; RFC 3207 s4
    455: "Server unable to accommodate parameters",  # RFC 5321 s4.2.3
    500: "Syntax error, command unrecognized",  # RFC 5321 s4.2.3
    501: "Syntax error in parameters or arguments",  # RFC 5321 s4.2.3
    502: "Command not implemented",  # RFC 5321 s4.2.3
    503: "Bad sequence of commands",  # RFC 5321 s4.2.3
    504: "Command parameter not implemented",  # RFC 5321 s4.2.3
    521: "Host does not accept mail",  # RFC 7504 s2
    523: "Message needs encryption stronger than offered",
    530: "Authentication required",  # RFC 4954 s6; RFC 3207 s4
    534: "Authentication mechanism is too weak",  # RFC 4954 s6
    535: "Authentication credentials invalid",  # RFC 4954 s6
    538: "Encryption required for requested authentication mechanism",  # RFC 4954 s6
    550: "Requested action not taken: mailbox unavailable",  # RFC 5321 s4.2.3
    551: "User not local; please try another path",  # RFC 5321 s3.4
    552: "Requested mail action aborted: exceeded storage allocation",  # RFC 5321 s4.2.3
    553: "Requested action not taken: mailbox name not allowed",  # RFC 5321 s4.2.3
    554: "Transaction failed, or no SMTP service here",  # RFC 5321 s4.2.3
    555: "MAIL FROM/RCPT TO parameters not recognized or not implemented",  # RFC 5321 s4.1.1.11
    556: "Domain does not accept mail",  # RFC 7504 s3
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
    """Say in a few words what a reply code means.

    Args:
        code: three digits, 200 to 599; any other number is described as unknown.

    Returns:
        The text of the table, or one for the code's first digit.

    RFC 5321 s4.2.1, s4.2.3
    """
    classes = {2: "Success", 3: "More input wanted", 4: "Temporary failure", 5: "Permanent failure"}
    return REPLY_CODES.get(code) or classes.get(code // 100, "Unknown reply code")
