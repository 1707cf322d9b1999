"""The settings of sessions: what listeners offer, to whom, and how strict they are."""

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator

from postroom.server.limits import ListenerSettings
from postroom.service.declarations import Allowed, Extra, Networks, Section, setting
from postroom.service.sections import default_of
from postroom.wire.tolerance import Tolerance, Tolerances
from postroom.wire.values import read_solicitations

_KEYWORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-]*")


def parse_keyword(text: str) -> str:
    """Read an EHLO keyword; gives it in upper case.

    Raises:
        ValueError: it is none.

    RFC 5321 s4.1.1.1
    """
    if _KEYWORD.fullmatch(text) is None:
        raise ValueError("not an EHLO keyword")
    return text.upper()


def parse_solicitation(text: str) -> str:
    """Read one solicitation keyword.

    Raises:
        ValueError: it is none.

    RFC 3865 s2
    """
    (word,) = read_solicitations(text)
    return word


def parse_tolerance(text: str) -> Tolerance:
    """Parse the name of a tolerance.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        return Tolerance(text)
    except ValueError:
        near = get_close_matches(text, [each.value for each in Tolerance], 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"there is no such tolerance{hint}") from None


def _tolerances(values: object) -> object:
    if not isinstance(values, list | tuple | frozenset):
        raise ValueError("not a list")
    return frozenset(parse_tolerance(each) if isinstance(each, str) else each for each in values)


def _each(parse: Callable[[str], str]) -> BeforeValidator:
    def convert(values: object) -> object:
        if not isinstance(values, list | tuple):
            raise ValueError("not a list")
        return tuple(parse(value) if isinstance(value, str) else value for value in values)

    return BeforeValidator(convert)


_Keyword = Annotated[str, Allowed('an EHLO keyword such as "CHUNKING"')]
_TOLERANCE_NAMES: Final = ", ".join(f'"{each.value}"' for each in Tolerance)
Toleration = Annotated[
    Tolerances,
    BeforeValidator(_tolerances),
    Allowed(f"a list of {_TOLERANCE_NAMES}"),
]
_Solicitation = Annotated[str, Allowed('a keyword such as "net.example:ADV"')]
Keywords = Annotated[tuple[_Keyword, ...], _each(parse_keyword)]
Solicitations = Annotated[tuple[_Solicitation, ...], _each(parse_solicitation)]


def _listener(name: str, paragraph: str, *, extra: Extra | None = None, **constraints: Any) -> Any:
    return setting(default_of(ListenerSettings, name), paragraph, extra=extra, **constraints)


class SessionSection(Section):
    """What listeners offer, to whom, and how they treat peculiar peers."""

    extensions_off: Keywords = _listener(
        "extensions_off",
        """Extensions that EHLO does not offer, and whose commands and parameters are then unknown;
        but VRFY and HELP are answered, as RFC 5321 wants it.""",
        extra=Extra(example=["CHUNKING", "BINARYMIME"], rfc="RFC 5321 s4.1.1.1"),
    )
    synchronised: bool = _listener(
        "synchronised",
        """On listeners with the role mx: end the session of a peer without a login that talks
        before the greeting, or goes on where the protocol makes it wait for a reply. Mail software
        never does so, and much of what sends spam does.""",
        extra=Extra(rfc="RFC 2920 s3.1"),
    )
    greeting_delay_seconds: float = _listener(
        "greeting_delay_seconds",
        """How long such a peer waits for the greeting. A few seconds catch more of those that talk
        first; what it has sent before its connection was taken counts in any case.""",
        ge=0,
        le=60,
    )
    unsynchronised_networks: Networks = _listener(
        "unsynchronised_networks",
        """Networks that neither session.synchronised nor session.greeting_delay_seconds concerns,
        for programs of one's own that do not wait.""",
        extra=Extra(example=["192.0.2.0/24"]),
    )
    tolerate: Toleration = _listener(
        "tolerate",
        """Deviations from the grammar that are tolerated: by default all. docs/tolerance.rst says
        what each is, who sends it and why it is harmless. An empty list holds every client to the
        letter of the RFCs.""",
        extra=Extra(
            example=["blanks", "missing_brackets"],
            shown_default="all of them",
            rfc="RFC 5321 s4.1.2",
        ),
    )
    bare_newline: Literal["normalise", "refuse"] = _listener(
        "bare_newline",
        """What becomes of content in which a CR or an LF stands alone. "normalise" makes CRLF of a
        bare LF and a blank of a bare CR. "refuse" answers 550 after the end of the message. In
        either case only CRLF.CRLF ends a message, so that none can smuggle in a second one.""",
        extra=Extra(rfc="RFC 5321 s2.3.8"),
    )
    bare_newline_networks: Networks = _listener(
        "bare_newline_networks",
        """Networks of old programs that end their lines with LF alone. From there any LF ends a
        command, and a line with a dot alone ends a message, whichever way it ends. From anywhere
        else a command that ends with a bare LF is refused, and the connection closed.""",
        extra=Extra(example=["192.0.2.7"], rfc="RFC 5321 s2.3.8"),
    )
    unlimited_networks: Networks = _listener(
        "unlimited_networks",
        """Networks that limits.connections_per_address and limits.handshakes_per_minute do not
        count. All programs of this host come from one address.""",
    )
    proxy_networks: Networks = setting(
        (),
        """Proxies that begin their connections to listeners with "+proxy" by saying whom they speak
        for (PROXY protocol, version 1 or 2). The client's address counts for all limits and
        networks. Whoever else connects there is taken for the client itself.""",
        extra=Extra(example=["192.0.2.80"]),
    )
    binarymime: bool = _listener(
        "binarymime",
        """Offer BINARYMIME, by which content may hold any octets. Few servers offer it: where the
        next hop does not, such a message is returned to its sender.""",
        extra=Extra(rfc="RFC 3030 s3"),
    )
    prdr: bool = _listener(
        "prdr",
        """Offer PRDR, by which a client that asks for it gets a reply for each recipient after the
        content. Exim knows it; no RFC does, and RFC 5321 wants keywords to be registered.""",
        extra=Extra(rfc="RFC 5321 s2.2.2"),
    )
    vrfy: bool = _listener(
        "vrfy",
        "Let VRFY tell anybody whether a local mailbox exists. Without it VRFY answers 252 always.",
        extra=Extra(rfc="RFC 5321 s3.5.3, s7.3"),
    )
    expn: bool = _listener(
        "expn",
        "Offer EXPN, which tells anybody the addresses behind an alias or a group.",
        extra=Extra(rfc="RFC 5321 s3.5.2, s7.3"),
    )
    etrn_networks: Networks = _listener(
        "etrn_networks",
        "Networks whose hosts may ask with ETRN for the mail that waits for them.",
        extra=Extra(example=["192.0.2.25"], rfc="RFC 1985 s5"),
    )
    xclient_networks: Networks = _listener(
        "xclient_networks",
        """Proxies that may say with XCLIENT whose session it is. Whoever is listed can be any
        client he likes, relaying rights included.""",
        extra=Extra(example=["192.0.2.80"]),
    )
    xforward_networks: Networks = _listener(
        "xforward_networks",
        "Filters that may say with XFORWARD where a message comes from; it goes to the log.",
        extra=Extra(example=["192.0.2.81"]),
    )
    unwanted_solicitations: Solicitations = _listener(
        "unwanted_solicitations",
        """Keywords that EHLO lists after NO-SOLICITING; mail that declares itself as one of these
        is refused.""",
        extra=Extra(example=["net.example:ADV"], rfc="RFC 3865 s2"),
    )
    hold_seconds: int = _listener(
        "hold_seconds",
        """How long a message that is submitted may ask to be held before it is sent; 0 offers no
        FUTURERELEASE.""",
        ge=0,
        le=31_557_600,
        extra=Extra(rfc="RFC 4865 s3"),
    )
