"""Commands about the session itself: EHLO, HELO, LHLO, STARTTLS, AUTH, NOOP, RSET, HELP, QUIT.

All but QUIT and STARTTLS count as commands that move no mail: a session with too many of them is
ended (`Limits.idle_commands`).

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
NO_SUCH_TOPIC: Final = reply(504, "5.5.4", "No help on this topic")
START_TLS: Final = reply(220, "2.0.0", "Ready to start TLS")
TLS_UNAVAILABLE: Final = reply(454, "4.7.0", "TLS not available")
TOO_MANY_HANDSHAKES: Final = reply(454, "4.7.0", "Too many TLS handshakes, try again later")

HELP_TEXTS: Final[dict[str, str]] = {
    "EHLO": "EHLO <domain or [address]>: start a session, and list the extensions",
    "HELO": "HELO <domain>: start a session without extensions",
    "LHLO": "LHLO <domain or [address]>: start an LMTP session",
    "MAIL": "MAIL FROM:<reverse-path> [parameters]: start a message",
    "RCPT": "RCPT TO:<forward-path> [parameters]: add a recipient",
    "DATA": "DATA: send the content, ended by a line with a dot alone",
    "BDAT": "BDAT <octets> [LAST]: send a chunk of the content",
    "RSET": "RSET: drop the message that was started",
    "NOOP": "NOOP: do nothing",
    "QUIT": "QUIT: end the session",
    "VRFY": "VRFY <name or mailbox>: verify that a mailbox exists",
    "EXPN": "EXPN <list>: list the members of a mailing list",
    "HELP": "HELP [command]: explain a command",
    "ETRN": "ETRN <domain>: start the delivery of mail that waits for a domain",
    "AUTH": "AUTH <mechanism> [initial response]: log in",
    "STARTTLS": "STARTTLS: start TLS",
    "XCLIENT": "XCLIENT <attribute>=<value> ...: set the client of this session",
    "XFORWARD": "XFORWARD <attribute>=<value> ...: log where a message came from",
}
"""The HELP text of each command. RFC 5321 s4.1.1.8."""

_HELP_ON: Final = {verb: reply(214, "2.0.0", text) for verb, text in HELP_TEXTS.items()}


def hello(session: Session, command: Hello) -> Reply:
    """Answer EHLO, HELO or LHLO with what is offered. RFC 5321 s4.1.1.1; RFC 2033 s4.1."""
    session.count_idle_command()
    extended = not isinstance(command, Helo)
    capabilities = session.greet(command.domain, extended)
    return capabilities.ehlo_reply if extended else capabilities.helo_reply


def starttls(session: Session, _: object) -> Reply:
    """Answer STARTTLS; refuse it if the client had too many handshakes. RFC 3207 s4."""
    listener = session.listener
    if listener.tls is None:
        return TLS_UNAVAILABLE
    return START_TLS if listener.takes_handshake(session.facts.client) else TOO_MANY_HANDSHAKES


def auth(session: Session, command: Auth) -> object:
    """Answer AUTH: start an exchange. RFC 4954 s4."""
    session.count_idle_command()
    exchange = session.begin_exchange(command.mechanism)
    return chain(exchange.start(command.initial_response), _authenticated, session)


def auth_response(session: Session, response: Response) -> object:
    """Answer the client's response within AUTH. RFC 4954 s4."""
    return chain(session.exchange.respond(response.line), _authenticated, session)


def _authenticated(outcome: Reply | Login, session: Session) -> Reply:
    if isinstance(outcome, Reply):
        return outcome
    session.log_in(outcome)
    return AUTHENTICATED


def noop(session: Session, _: object) -> Reply:
    """Answer NOOP or RSET. RFC 5321 s4.1.1.9, s4.1.1.5."""
    session.count_idle_command()
    return OK


def quit_(_: Session, __: object) -> Reply:
    """Answer QUIT. RFC 5321 s4.1.1.10."""
    return BYE


def help_(session: Session, command: Help) -> Reply:
    """Answer HELP: list all commands of this session, or explain one. RFC 5321 s4.1.1.8."""
    session.count_idle_command()
    if command.topic:
        topic = command.topic.decode("ascii").upper()
        return _HELP_ON.get(topic, NO_SUCH_TOPIC)
    return session.state.capabilities.help_reply
