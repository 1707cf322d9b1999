"""XCLIENT and XFORWARD: what a proxy or filter in front of us sends about its client.

Both commands are Postfix's, and both work for peers in listed networks only: anybody else could
choose an address with them. Who may use them is decided by the address of the connection, whatever
an earlier XCLIENT has set.

XCLIENT replaces the client of the session: its address counts from then on, for relaying, for
limits and for the log, and the session restarts with a greeting. With LOGIN the proxy has
authenticated a user; the portal gets credentials that provide `IProvenUser`. DESTADDR is the
address that the client connected to, by which mail may name this host. NAME, PROTO, HELO and
DESTPORT are parsed and not used: names are not looked up here, and EHLO follows. XFORWARD only adds
to the log, until the next message is over.

Who controls the input: a listed peer, whose values `wire` has decoded and found printable.
"""

from ipaddress import ip_address
from typing import Final

from postroom.envelope import SessionFacts
from postroom.later import chain
from postroom.server.authentication import Login
from postroom.server.session import Session
from postroom.server.verdicts import OK
from postroom.wire.commands import TEMPORARILY_UNAVAILABLE, UNAVAILABLE, Xclient, Xforward
from postroom.wire.replies import Reply, reply

BAD_ADDRESS: Final = reply(501, "5.5.4", "Bad address or port")
_UNKNOWN: Final = (UNAVAILABLE, TEMPORARILY_UNAVAILABLE)


def xclient(session: Session, command: Xclient) -> object:
    """Answer XCLIENT with a greeting, and restart the session as the client's that it names."""
    old, given = session.facts, command.attributes
    try:
        client = _address(given["ADDR"]) if "ADDR" in given else old.client
        port = _port(given["PORT"]) if "PORT" in given else old.client_port
        destination = _address(given["DESTADDR"]) if "DESTADDR" in given else None
    except ValueError:
        return BAD_ADDRESS
    facts = SessionFacts(old.role, client, port)
    login = given.get("LOGIN", UNAVAILABLE)
    if login in _UNKNOWN:
        return _restart(None, session, facts, destination)
    proven = session.listener.authentication.proven(login, facts)
    return chain(proven, _restart, session, facts, destination)


def _restart(
    login: Login | None, session: Session, facts: SessionFacts, destination: str | None
) -> Reply:
    refusal = session.listener.change_client(session.facts.client, facts.client)
    if refusal is not None:
        return refusal
    session.restart_as(facts, login, destination)
    return session.listener.greeting


def xforward(session: Session, command: Xforward) -> Reply:
    """Answer XFORWARD: store for the log where the next message comes from."""
    words = [
        f"{name.lower()}={value.decode('ascii', 'backslashreplace')}"
        for name, value in command.attributes.items()
        if value not in _UNKNOWN
    ]
    session.forward_for(" ".join(words))
    return OK


def _address(value: bytes) -> str:
    """Parse ADDR: an IPv4 address, an IPv6 one after ``IPV6:``, or ``unknown``.

    Raises:
        ValueError: it is none of these.
    """
    if value in _UNKNOWN:
        return "unknown"
    text = value.decode("ascii")
    address = ip_address(text[5:] if text[:5].upper() == "IPV6:" else text)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address).partition("%")[0]


def _port(value: bytes) -> int:
    port = 0 if value in _UNKNOWN else int(value) if value.isdigit() and len(value) < 6 else -1
    if not 0 <= port < 65_536:
        raise ValueError("not a port")
    return port
