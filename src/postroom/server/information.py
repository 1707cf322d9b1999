"""Commands that ask or do nothing: NOOP, RSET, HELP, VRFY, EXPN, ETRN.

None of them touches a transaction, but RSET, which ends it. Each counts as one that moves no mail.

Who controls the input: the peer. VRFY and EXPN tell who has a mailbox here, which is why they do so
only where a setting allows it (RFC 5321 s7.3).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from postroom.interfaces import IInquiries
from postroom.server.authentication import Login
from postroom.server.verdicts import OK, settled, then
from postroom.wire.commands import Etrn, Expn, Help, Vrfy
from postroom.wire.paths import Mailbox
from postroom.wire.replies import Reply, reply

if TYPE_CHECKING:
    from postroom.server.protocol import SMTPServerProtocol

BYE: Final = reply(221, "2.0.0", "Bye")
CANNOT_VERIFY: Final = reply(252, "2.0.0", "Cannot verify, send RCPT to try delivery")
NO_SUCH_LIST: Final = reply(550, "5.1.1", "No such list here")
NO_SUCH_TOPIC: Final = reply(504, "5.5.4", "No help on that")
NEEDS_SMTPUTF8: Final = reply(553, "5.6.7", "The answer holds addresses beyond ASCII")
NOTHING_WAITS: Final = reply(251, "2.0.0", "Ok, no messages waiting for that node")
NODE_NOT_ALLOWED: Final = reply(459, "4.7.1", "Node not allowed")

HELP_TEXTS: Final[dict[str, str]] = {
    "EHLO": "EHLO <domain or [address]>: begin, and hear what is offered here",
    "HELO": "HELO <domain>: begin without extensions",
    "LHLO": "LHLO <domain or [address]>: begin a session of LMTP",
    "MAIL": "MAIL FROM:<reverse-path> [parameters]: begin a message",
    "RCPT": "RCPT TO:<forward-path> [parameters]: name one recipient",
    "DATA": "DATA: send the content, a dot alone on a line ends it",
    "BDAT": "BDAT <octets> [LAST]: send a chunk of the content",
    "RSET": "RSET: forget the message that was begun",
    "NOOP": "NOOP: do nothing",
    "QUIT": "QUIT: end the session",
    "VRFY": "VRFY <name or mailbox>: ask whether there is such a mailbox",
    "EXPN": "EXPN <list>: ask who is on a list",
    "HELP": "HELP [command]: explain a command",
    "ETRN": "ETRN <domain>: have waiting mail for a domain sent now",
    "AUTH": "AUTH <mechanism> [initial response]: log in",
    "STARTTLS": "STARTTLS: go on under TLS",
    "XCLIENT": "XCLIENT <attribute>=<value> ...: say whose session this is",
    "XFORWARD": "XFORWARD <attribute>=<value> ...: say where a message came from",
}
"""What HELP says of each command. RFC 5321 s4.1.1.8."""

_HELP_ON: Final = {verb: reply(214, "2.0.0", text) for verb, text in HELP_TEXTS.items()}


def noop(server: "SMTPServerProtocol", _: object) -> Reply:
    """NOOP and RSET. RFC 5321 s4.1.1.9, s4.1.1.5."""
    server.idle_commands += 1
    return OK


def quit_(_: "SMTPServerProtocol", __: object) -> Reply:
    """QUIT. RFC 5321 s4.1.1.10."""
    return BYE


def help_(server: "SMTPServerProtocol", command: Help) -> Reply:
    """HELP: all that may be used in this session, or one command. RFC 5321 s4.1.1.8."""
    server.idle_commands += 1
    if command.topic:
        topic = command.topic.decode("ascii").upper()
        return _HELP_ON.get(topic, NO_SUCH_TOPIC)
    return server.session.capabilities.help_reply


def vrfy(server: "SMTPServerProtocol", command: Vrfy) -> object:
    """VRFY: 250 only if somebody has really looked. RFC 5321 s3.5.3, s4.1.1.6."""
    server.idle_commands += 1
    if not server.factory.settings.vrfy:
        return CANNOT_VERIFY
    return then(_inquiries(server), _verify, command)


def _verify(inquiries: IInquiries | None, command: Vrfy) -> object:
    if inquiries is None:
        return CANNOT_VERIFY
    return then(settled(inquiries.verify(command.text)), _verified, command)


def _verified(found: object, command: Vrfy) -> Reply:
    if isinstance(found, Reply):
        return found
    return _listed([found], command.utf8) if isinstance(found, Mailbox) else CANNOT_VERIFY


def expn(server: "SMTPServerProtocol", command: Expn) -> object:
    """EXPN: the members of a list. RFC 5321 s3.5.2, s4.1.1.7."""
    server.idle_commands += 1
    return then(_inquiries(server), _expand, command)


def _expand(inquiries: IInquiries | None, command: Expn) -> object:
    if inquiries is None:
        return NO_SUCH_LIST
    return then(settled(inquiries.expand(command.text)), _expanded, command)


def _expanded(members: Sequence[Mailbox] | None, command: Expn) -> Reply:
    return _listed(members, command.utf8) if members else NO_SUCH_LIST


def _listed(mailboxes: Sequence[Mailbox], utf8: bool) -> Reply:
    """Give mailboxes, one a line. RFC 6531 s3.7.4.2."""
    if not utf8 and not all(each.is_ascii for each in mailboxes):
        return NEEDS_SMTPUTF8
    return Reply(250, tuple(f"<{each}>" for each in mailboxes), "2.1.5", utf8)


def _inquiries(server: "SMTPServerProtocol") -> object:
    """Give whom to ask; a session that has no delivery yet logs in as nobody."""
    if server.delivery is not None:
        return IInquiries(server.delivery, None)
    nobody = settled(server.factory.authentication.anonymous(server.facts))
    return then(nobody, _inquiries_of_nobody, server)


def _inquiries_of_nobody(login: Login, server: "SMTPServerProtocol") -> object:
    return IInquiries(server.take_delivery(login), None)


def etrn(server: "SMTPServerProtocol", command: Etrn) -> object:
    """ETRN: have the queue try what waits for a domain now. RFC 1985 s5."""
    server.idle_commands += 1
    flush = server.factory.around.flush
    if flush is None or command.option == b"#":  # there are no named queues here
        return NODE_NOT_ALLOWED
    domain = command.node.decode("ascii").lower()
    waiting = settled(flush.flush_domain(domain, command.option == b"@"))
    return then(waiting, _flushed, command)


def _flushed(waiting: object, command: Etrn) -> Reply:
    if waiting is None:
        return NODE_NOT_ALLOWED
    if not waiting:
        return NOTHING_WAITS
    node = command.node.decode("ascii")
    return reply(253, "2.0.0", f"Ok, {waiting} pending messages for node {node} started")
