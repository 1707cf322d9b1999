"""Commands about the session itself: EHLO, HELO, LHLO, STARTTLS, AUTH, NOOP, RSET, HELP, QUIT.

Each but QUIT and STARTTLS counts as one that moves no mail: a session that goes on and on with them
is ended (`Limits.idle_commands`).

Who controls the input: the peer.
"""

from typing import Final

from postroom.later import chain
from postroom.server.authentication import AUTHENTICATED, Login
from postroom.server.session import Session
from postroom.server.verdicts import OK
from postroom.wire.commands import Auth, Hello, Helo, Help
from postroom.wire.replies import Reply, reply
from postroom.wire.session import Response

BYE: Final = reply(221, "2.0.0", "Bye")
NO_SUCH_TOPIC: Final = reply(504, "5.5.4", "No help on that")
START_TLS: Final = reply(220, "2.0.0", "Ready to start TLS")
TLS_UNAVAILABLE: Final = reply(454, "4.7.0", "TLS not available")
TOO_MANY_HANDSHAKES: Final = reply(454, "4.7.0", "Too many TLS handshakes, try again later")

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


def hello(session: Session, command: Hello) -> Reply:
    """EHLO, HELO, LHLO: offer what this session may use. RFC 5321 s4.1.1.1; RFC 2033 s4.1."""
    session.count_idle_command()
    extended = not isinstance(command, Helo)
    capabilities = session.greet(command.domain, extended)
    return capabilities.ehlo_reply if extended else capabilities.helo_reply


def starttls(session: Session, _: object) -> Reply:
    """STARTTLS: let the handshake begin, unless the client had too many. RFC 3207 s4."""
    listener = session.listener
    if listener.tls is None:
        return TLS_UNAVAILABLE
    return START_TLS if listener.takes_handshake(session.facts.client) else TOO_MANY_HANDSHAKES


def auth(session: Session, command: Auth) -> object:
    """AUTH: begin an exchange. RFC 4954 s4."""
    session.count_idle_command()
    exchange = session.begin_exchange(command.mechanism)
    return chain(exchange.begin(command.initial_response), _authenticated, session)


def auth_response(session: Session, response: Response) -> object:
    """Go on with the exchange by a line of the client's. RFC 4954 s4."""
    return chain(session.exchange.take(response.line), _authenticated, session)


def _authenticated(outcome: Reply | Login, session: Session) -> Reply:
    if isinstance(outcome, Reply):
        return outcome
    session.log_in(outcome)
    return AUTHENTICATED


def noop(session: Session, _: object) -> Reply:
    """NOOP and RSET. RFC 5321 s4.1.1.9, s4.1.1.5."""
    session.count_idle_command()
    return OK


def quit_(_: Session, __: object) -> Reply:
    """QUIT. RFC 5321 s4.1.1.10."""
    return BYE


def help_(session: Session, command: Help) -> Reply:
    """HELP: all that may be used in this session, or one command. RFC 5321 s4.1.1.8."""
    session.count_idle_command()
    if command.topic:
        topic = command.topic.decode("ascii").upper()
        return _HELP_ON.get(topic, NO_SUCH_TOPIC)
    return session.state.capabilities.help_reply
